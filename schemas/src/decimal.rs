//! Text to numbers, exactly: amounts are decimals and never pass through a float.

use std::fmt;

/// The most digits of a decimal: products of two fit an `i128`.
const DIGITS_MAX: usize = 19;

/// A decimal number: `mantissa · 10^-scale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decimal {
    mantissa: i128,
    scale: i32,
}

impl Decimal {
    /// Reads `12`, `-3.50`, `+.5`, `1e-7`; no separators of thousands, no currency signs.
    pub fn parse(text: &str) -> Result<Decimal, String> {
        Decimal::read(text).ok_or_else(|| {
            format!("{text:?} is no number of at most {DIGITS_MAX} digits, as -12.50 (no separators of thousands)")
        })
    }

    fn read(text: &str) -> Option<Decimal> {
        let text = text.trim();
        let (number, exponent) = match text.split_once(['e', 'E']) {
            Some((number, exponent)) => (number, exponent.parse::<i32>().ok().filter(|e| e.abs() <= 64)?),
            None => (text, 0),
        };
        let (negative, number) = match number.as_bytes().first()? {
            b'-' => (true, &number[1..]),
            b'+' => (false, &number[1..]),
            _ => (false, number),
        };
        let (whole, part) = number.split_once('.').unwrap_or((number, ""));
        if whole.len() + part.len() == 0 || !whole.bytes().chain(part.bytes()).all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        // Zeros that say nothing do not count: 0.500000000000000000000 is a number like any other.
        let (whole, part) = (whole.trim_start_matches('0'), part.trim_end_matches('0'));
        if whole.len() + part.len() > DIGITS_MAX {
            return None;
        }
        let digits = whole.bytes().chain(part.bytes());
        let mantissa = digits.fold(0i128, |value, digit| value * 10 + i128::from(digit - b'0'));
        Some(Decimal { mantissa: if negative { -mantissa } else { mantissa }, scale: part.len() as i32 - exponent })
    }

    /// The product; none where it has too many digits.
    pub fn times(self, other: Decimal) -> Option<Decimal> {
        let mantissa = self.mantissa.checked_mul(other.mantissa)?;
        Some(Decimal { mantissa, scale: self.scale + other.scale })
    }

    /// This times 10^`digits` where that is a whole `i64`.
    pub fn scaled(self, digits: i32) -> Result<i64, String> {
        self.shifted(digits, true).ok_or_else(|| {
            let places = if digits > 0 { format!("with at most {digits} decimals") } else { "whole".to_owned() };
            format!("{self} is no number {places} and within 64 bits")
        })
    }

    /// This times 10^`digits`, rounded down.
    pub fn scaled_down(self, digits: i32) -> Option<i64> {
        self.shifted(digits, false)
    }

    fn shifted(self, digits: i32, exact: bool) -> Option<i64> {
        if self.mantissa == 0 {
            return Some(0);
        }
        let shift = digits - self.scale;
        let power = 10i128.checked_pow(shift.unsigned_abs());
        let value = if shift >= 0 {
            self.mantissa.checked_mul(power?)?
        } else {
            // A power beyond i128 is greater than every mantissa.
            let power = power.unwrap_or(i128::MAX);
            if exact && self.mantissa % power != 0 {
                return None;
            }
            self.mantissa.div_euclid(power)
        };
        i64::try_from(value).ok()
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scale {
            0 => write!(f, "{}", self.mantissa),
            scale => write!(f, "{}e{}", self.mantissa, -scale),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact_or_refused() {
        let micros = |text: &str| Decimal::parse(text).and_then(|decimal| decimal.scaled(6));
        assert_eq!(micros("2.55"), Ok(2_550_000));
        assert_eq!(micros("-0.000001"), Ok(-1));
        assert_eq!(micros("+.5"), Ok(500_000));
        assert_eq!(micros("1e-6"), Ok(1));
        assert_eq!(micros("3E2"), Ok(300_000_000));
        assert_eq!(micros("0.50000000000000000000000"), Ok(500_000));
        assert_eq!(micros("9223372036854.775807"), Ok(i64::MAX));
        for text in ["", "-", ".", "1,000", "1.0000001", "9223372036854.775808", "0x10", "1e", "1e999", "£5", "1-"] {
            assert!(micros(text).is_err(), "{text:?} is {:?}", micros(text));
        }
        assert_eq!(
            micros("1.0000001").unwrap_err(),
            "10000001e-7 is no number with at most 6 decimals and within 64 bits"
        );
    }

    #[test]
    fn products_are_exact() {
        let product =
            |a: &str, b: &str| Decimal::parse(a).unwrap().times(Decimal::parse(b).unwrap()).unwrap().scaled(6);
        assert_eq!(product("2.55", "-12"), Ok(-30_600_000));
        assert_eq!(product("0.001", "0.001"), Ok(1));
        assert!(product("0.0001", "0.001").is_err());
    }
}
