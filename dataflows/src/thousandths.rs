//! Numbers with three decimals, kept exactly.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A number with up to three decimals, as 3.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Thousandths(pub i64);

impl fmt::Display for Thousandths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0 as f64 / 1e3)
    }
}

impl Serialize for Thousandths {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0 as f64 / 1e3)
    }
}

impl<'de> Deserialize<'de> for Thousandths {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Thousandths, D::Error> {
        let number = f64::deserialize(deserializer)?;
        let thousandths = (number * 1e3).round();
        if (number * 1e3 - thousandths).abs() > 1e-6 || thousandths.abs() > 1e12 {
            return Err(de::Error::custom(format!("{number} is no number with up to three decimals, as 3.5")));
        }
        Ok(Thousandths(thousandths as i64))
    }
}

#[cfg(test)]
mod tests {
    use serde::de::IntoDeserializer;
    use serde::de::value::{Error, F64Deserializer};

    use super::*;

    #[test]
    fn they_are_read_as_they_print() {
        let read = |number: f64| {
            let number: F64Deserializer<Error> = number.into_deserializer();
            Thousandths::deserialize(number)
        };
        for (number, thousandths) in [(3.5, 3_500), (4.0, 4_000), (0.125, 125), (0.3, 300), (-0.3, -300)] {
            assert_eq!(read(number), Ok(Thousandths(thousandths)));
            assert_eq!(Thousandths(thousandths).to_string(), number.to_string());
        }
        let error = read(3.1234).unwrap_err().to_string();
        assert_eq!(error, "3.1234 is no number with up to three decimals, as 3.5");
    }
}
