//! Text to numbers, exactly: amounts are decimals and never pass through a float.
//!
//! A [`Decimal`] holds what was written. It is rounded once, at the end, half to even ([`Decimal::to_micros`]), and
//! whoever rounds is told whether anything was lost. How people write amounts elsewhere (`1.234,50 €`) is said by a
//! [`Notation`]: nothing is guessed, as `1,234` means one thing in London and another in Berlin.

use std::fmt;

/// The most digits of a decimal that count, zeros at both ends aside: any such number fits an `i128`.
pub const DIGITS_MAX: usize = 38;
/// The largest exponent that is read: beyond it, no amount is meant.
const EXPONENT_MAX: i32 = 64;
/// The same below zero: what floats leave behind is next to nothing, and is rounded so.
const EXPONENT_TINY_MAX: i32 = 1_000;
/// How far from a whole micro an amount in micros may be: what floats leave behind, but no amount in units.
const NOISE_DIGITS: i32 = 3;

/// A decimal number: `mantissa · 10^-scale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decimal {
    mantissa: i128,
    scale: i32,
}

impl Decimal {
    /// Reads `12`, `-3.50`, `+.5`, `1e-7`, `1.5E+3`; no separators of thousands, no currency signs.
    pub fn parse(text: &str) -> Result<Decimal, String> {
        let text = text.trim();
        Decimal::read(text.as_bytes()).ok_or_else(|| format!("{text:?} {}", why_none(text)))
    }

    fn read(text: &[u8]) -> Option<Decimal> {
        let (negative, text) = match text.first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let (mut mantissa, mut digits, mut scale) = (0u128, 0, 0);
        // Zeros are counted only when another digit follows: 0.50000000000000000000000000000000000000000 is a half.
        let (mut zeros, mut any, mut point, mut exponent) = (0, false, false, 0);
        for (index, byte) in text.iter().enumerate() {
            match byte {
                b'0' => {
                    any = true;
                    zeros += 1;
                    scale += i32::from(point);
                }
                b'1'..=b'9' => {
                    any = true;
                    let before = if digits == 0 { 0 } else { zeros };
                    digits += before + 1;
                    if digits > DIGITS_MAX {
                        return None;
                    }
                    mantissa = mantissa * 10u128.pow(before as u32 + 1) + u128::from(byte - b'0');
                    zeros = 0;
                    scale += i32::from(point);
                }
                b'.' if !point => point = true,
                b'e' | b'E' if any => {
                    let text = std::str::from_utf8(&text[index + 1..]).ok()?;
                    let range = -EXPONENT_TINY_MAX..=EXPONENT_MAX;
                    exponent = text.parse::<i32>().ok().filter(|exponent| range.contains(exponent))?;
                    break;
                }
                _ => return None,
            }
        }
        let mantissa = i128::try_from(mantissa).ok().filter(|_| any)?;
        let mantissa = if negative { -mantissa } else { mantissa };
        // The zeros at the end are not in the mantissa.
        let scale = if mantissa == 0 { 0 } else { scale - i32::try_from(zeros).ok()? - exponent };
        Some(Decimal { mantissa, scale })
    }

    /// The product; none where it has too many digits.
    pub fn times(self, other: Decimal) -> Option<Decimal> {
        let mantissa = self.mantissa.checked_mul(other.mantissa)?;
        Some(Decimal { mantissa, scale: self.scale + other.scale })
    }

    /// This times 10^`digits` where that is a whole `i64`.
    pub fn scaled(self, digits: i32) -> Result<i64, String> {
        match self.rounded(digits) {
            Some((value, false)) => Ok(value),
            _ => {
                let places = if digits > 0 { format!("with at most {digits} decimals") } else { "whole".to_owned() };
                Err(format!("{self} is no number {places} and within 64 bits"))
            }
        }
    }

    /// This many units in micros, rounded half to even, and whether that changed it.
    pub fn to_micros(&self) -> Result<(i64, bool), String> {
        self.rounded(6).ok_or_else(|| format!("{self} is beyond 64 bits of micros"))
    }

    /// This many micros as a whole number, and whether that changed it: only what floats leave behind is rounded away, as
    /// a fraction of a micro is most likely an amount in units.
    pub fn whole_micros(&self) -> Result<(i64, bool), String> {
        let (value, rounded) = self.rounded(0).ok_or_else(|| format!("{self} is beyond 64 bits of micros"))?;
        let near = |value: i64| value.checked_mul(10i64.pow(NOISE_DIGITS as u32));
        if rounded && self.rounded(NOISE_DIGITS).map(|(fine, _)| fine) != near(value) {
            return Err(format!("{self} is no whole number of micros: is the column in units (`unit: units`)?"));
        }
        Ok((value, rounded))
    }

    /// This times 10^`digits`, rounded down.
    pub fn scaled_down(self, digits: i32) -> Option<i64> {
        let (quotient, _, _) = self.divided(digits)?;
        i64::try_from(quotient).ok()
    }

    /// This times 10^`digits`, rounded half to even, and whether that changed it.
    fn rounded(self, digits: i32) -> Option<(i64, bool)> {
        let (quotient, remainder, power) = self.divided(digits)?;
        // Without doubling, which could overflow.
        let up = match remainder.cmp(&(power - remainder)) {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Equal => quotient % 2 != 0,
            std::cmp::Ordering::Greater => true,
        };
        Some((i64::try_from(quotient + i128::from(up)).ok()?, remainder != 0))
    }

    /// Quotient (rounded down), remainder and divisor of this times 10^`digits`.
    fn divided(self, digits: i32) -> Option<(i128, i128, i128)> {
        let shift = digits - self.scale;
        let power = 10i128.checked_pow(shift.unsigned_abs());
        if shift >= 0 || self.mantissa == 0 {
            let power = if self.mantissa == 0 { 1 } else { power? };
            return Some((self.mantissa.checked_mul(power)?, 0, 1));
        }
        match power {
            Some(power) => Some((self.mantissa.div_euclid(power), self.mantissa.rem_euclid(power), power)),
            // A power beyond i128 is more than twice every mantissa: what is left is next to nothing, above or below zero.
            None if self.mantissa > 0 => Some((0, 1, 4)),
            None => Some((-1, 3, 4)),
        }
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.mantissa.unsigned_abs().to_string();
        if self.mantissa < 0 {
            f.write_str("-")?;
        }
        match usize::try_from(self.scale) {
            Ok(0) => f.write_str(&digits),
            Ok(scale) if scale < digits.len() => {
                let (whole, part) = digits.split_at(digits.len() - scale);
                write!(f, "{whole}.{part}")
            }
            Ok(scale) if scale <= DIGITS_MAX => write!(f, "0.{digits:0>scale$}"),
            _ => write!(f, "{digits}e{}", -i64::from(self.scale)),
        }
    }
}

/// Why a text is no number, and what to do about it.
fn why_none(text: &str) -> &'static str {
    let any = |signs: &[char]| text.contains(signs);
    let bare = text.trim_start_matches(['-', '+']).to_ascii_lowercase();
    let digits = text.bytes().any(|byte| byte.is_ascii_digit());
    match bare.as_str() {
        "" if text.is_empty() => return "is empty, where a number is needed",
        "nan" => return "is no number: leave the cell empty where there is none",
        "inf" | "infinity" => return "is no finite number",
        _ => {}
    }
    if !digits {
        "is no number"
    } else if bare.starts_with(|first: char| first.is_ascii_digit() || first == '.')
        && bare.matches('e').count() == 1
        && bare.bytes().all(|byte| byte.is_ascii_digit() || b".e+-".contains(&byte))
    {
        "has an exponent that cannot be read, or is beyond 64"
    } else if text.starts_with('(') && text.ends_with(')') {
        "is in parentheses: whether that is a negative amount must be said in the file, with a minus in front"
    } else if text.ends_with(['-', '\u{2212}']) {
        "has its minus at the end: it must stand in front"
    } else if any(&[',']) {
        "has a comma, which may be the decimal sign or separate thousands: the mapping must say which, as \
         { decimal: \",\" } or { thousands: \",\" }"
    } else if any(&['\'', '\u{2019}', ' ', '\u{a0}', '\u{202f}', '\u{2009}'])
        && text.bytes().next().is_some_and(|byte| byte.is_ascii_digit())
        && text.bytes().last().is_some_and(|byte| byte.is_ascii_digit())
    {
        if any(&['\'', '\u{2019}']) {
            "has a sign between its digits: if it separates thousands, the mapping must say so, as { thousands: \"'\" }"
        } else {
            "has a sign between its digits: if it separates thousands, the mapping must say so, as { thousands: \" \" }"
        }
    } else if any(&['%']) {
        "is a percentage, not an amount"
    } else if text.chars().any(|sign| sign.is_alphabetic() || is_currency(sign)) && !bare.starts_with("0x") {
        "has a currency or another text beside the number: the mapping can name it, as { strip: [EUR, \"€\"] }"
    } else if text.matches('.').count() > 1 {
        "has several points: if they separate thousands, the mapping must say so, as { decimal: \",\", thousands: \".\" }"
    } else {
        "is no number of at most 38 digits, as -12.50"
    }
}

fn is_currency(sign: char) -> bool {
    matches!(sign, '$' | '¢'..='¥' | '\u{20a0}'..='\u{20cf}' | '฿' | '৳' | '﷼')
}

/// How amounts are written in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notation {
    /// The decimal sign.
    decimal: char,
    /// What separates thousands, in all its spellings; nothing may where this is empty.
    thousands: &'static [char],
    /// Texts beside the number that mean nothing more (a currency).
    strip: Vec<String>,
}

impl Default for Notation {
    fn default() -> Notation {
        Notation { decimal: '.', thousands: &[], strip: Vec::new() }
    }
}

/// What may separate thousands: signs that mean the same stand together.
const THOUSANDS: [&[char]; 5] =
    [&['.'], &[','], &[' ', '\u{a0}', '\u{202f}', '\u{2009}'], &['\'', '\u{2019}', '\u{2bc}'], &['_']];

impl Notation {
    /// A notation with these signs, or why there is none.
    pub fn new(decimal: Option<&str>, thousands: Option<&str>, strip: Vec<String>) -> Result<Notation, String> {
        let decimal = match decimal {
            None | Some(".") => '.',
            Some(",") => ',',
            Some(other) => return Err(format!("the decimal sign {other:?} is none: write \".\" or \",\"")),
        };
        let thousands = match thousands {
            None => &[][..],
            Some(text) => THOUSANDS
                .into_iter()
                .find(|signs| signs.iter().any(|sign| text == sign.encode_utf8(&mut [0; 4])))
                .ok_or_else(|| {
                    format!("{text:?} cannot separate thousands: write one of \".\", \",\", \" \", \"'\", \"_\"")
                })?,
        };
        if thousands.contains(&decimal) {
            return Err(format!("{decimal:?} cannot be the decimal sign and separate thousands"));
        }
        let blank = strip.iter().any(|text| text.trim().is_empty() || text.bytes().any(|byte| byte.is_ascii_digit()));
        if blank {
            return Err("a text to strip is blank or has a digit: write a currency, as EUR or \"€\"".to_owned());
        }
        Ok(Notation { decimal, thousands, strip })
    }

    /// Reads a number that is written so.
    pub fn parse(&self, text: &str) -> Result<Decimal, String> {
        let text = text.trim();
        if let Some(decimal) = Decimal::read(text.as_bytes()).filter(|_| self.decimal == '.') {
            return Ok(decimal);
        }
        let plain = self.plain(text).map_err(|reason| format!("{text:?} {reason}"))?;
        Decimal::read(plain.as_bytes()).ok_or_else(|| format!("{text:?} {}", why_none(text)))
    }

    /// The number as [`Decimal::parse`] reads it.
    fn plain(&self, text: &str) -> Result<String, &'static str> {
        let mut plain = String::with_capacity(text.len());
        let mut rest = text;
        // A minus may stand before or after a currency in front, but once.
        for _ in 0..2 {
            let signed = rest.strip_prefix(['-', '\u{2212}']);
            if let Some(after) = signed.filter(|_| plain.is_empty()) {
                plain.push('-');
                rest = after.trim_start();
            }
            let strip = |text: &'_ String| rest.strip_prefix(text.as_str());
            if let Some(after) = self.strip.iter().find_map(strip) {
                rest = after.trim_start();
            }
        }
        if let Some(before) = self.strip.iter().find_map(|text| rest.strip_suffix(text.as_str())) {
            rest = before.trim_end();
        }
        let (whole, part) = match rest.split_once(self.decimal) {
            Some((whole, part)) => (whole, Some(part)),
            None => match rest.find(['e', 'E']) {
                Some(exponent) => (&rest[..exponent], None),
                None => (rest, None),
            },
        };
        self.groups(whole, &mut plain)?;
        match part {
            Some(part) if part.contains(['.', ',']) || part.contains(self.thousands) => {
                return Err(
                    "has a sign after its decimal sign: decimal sign and thousands are not as the mapping says",
                );
            }
            Some(part) => {
                plain.push('.');
                plain.push_str(part);
            }
            None => plain.push_str(&rest[whole.len()..]),
        }
        Ok(plain)
    }

    /// Appends the digits of the whole part, whose groups must be of three digits (or of two before the last, as in
    /// India): a sign elsewhere is none of thousands.
    fn groups(&self, whole: &str, plain: &mut String) -> Result<(), &'static str> {
        if !whole.contains(self.thousands) {
            if self.decimal == ',' && whole.contains('.') {
                return Err("has a point, but the mapping says that the decimal sign is a comma: \
                            say thousands: \".\" if it separates thousands");
            }
            plain.push_str(whole);
            return Ok(());
        }
        let groups: Vec<&str> = whole.split(self.thousands).collect();
        let length = |wanted: usize| groups[1..groups.len() - 1].iter().all(|group| group.len() == wanted);
        let last = groups[groups.len() - 1];
        if !matches!(groups[0].len(), 1..=3) || last.len() != 3 || !(length(3) || length(2)) {
            return Err("has signs that separate no thousands: groups must be of three digits");
        }
        groups.iter().for_each(|group| plain.push_str(group));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(text: &str) -> Result<(i64, bool), String> {
        Decimal::parse(text).and_then(|decimal| decimal.to_micros())
    }

    #[test]
    fn the_reason_names_what_is_wrong() {
        for (text, reason) in [("1e", "exponent"), ("1e400", "exponent"), ("1'000.5", "{ thousands: \"'\" }")] {
            let error = Decimal::parse(text).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
        for text in ["1e-400", "2.2e-310", "-1e-99"] {
            assert_eq!(micros(text), Ok((0, true)), "{text}");
        }
    }

    #[test]
    fn decimals_are_exact_or_refused() {
        let micros = |text: &str| Decimal::parse(text).and_then(|decimal| decimal.scaled(6));
        assert_eq!(micros("2.55"), Ok(2_550_000));
        assert_eq!(micros("-0.000001"), Ok(-1));
        assert_eq!(micros("+.5"), Ok(500_000));
        assert_eq!(micros("5."), Ok(5_000_000));
        assert_eq!(micros("1e-6"), Ok(1));
        assert_eq!(micros("3E2"), Ok(300_000_000));
        assert_eq!(micros("1.5E+3"), Ok(1_500_000_000));
        assert_eq!(micros("0e50"), Ok(0));
        assert_eq!(micros(&format!("0.5{}", "0".repeat(60))), Ok(500_000));
        assert_eq!(micros(&format!("{}12", "0".repeat(60))), Ok(12_000_000));
        assert_eq!(micros("9223372036854.775807"), Ok(i64::MAX));
        for text in ["", "-", ".", "1,000", "1.0000001", "9223372036854.775808", "0x10", "1e", "1e999", "£5", "1-"] {
            assert!(micros(text).is_err(), "{text:?} is {:?}", micros(text));
        }
        assert_eq!(
            micros("1.0000001").unwrap_err(),
            "1.0000001 is no number with at most 6 decimals and within 64 bits"
        );
    }

    #[test]
    fn more_than_six_decimals_are_rounded_half_to_even_and_it_is_said() {
        assert_eq!(micros("12.50"), Ok((12_500_000, false)));
        assert_eq!(micros("59.970000000000006"), Ok((59_970_000, true)));
        assert_eq!(micros("0.30000000000000004"), Ok((300_000, true)));
        assert_eq!(micros("1e-7"), Ok((0, true)));
        assert_eq!(micros("-1e-7"), Ok((0, true)));
        assert_eq!(micros("1e-64"), Ok((0, true)));
        assert_eq!(micros("-1e-64"), Ok((0, true)));
        for (text, expected) in [("0.0000005", 0), ("0.0000015", 2), ("0.0000025", 2), ("0.00000250000001", 3)] {
            assert_eq!(micros(text), Ok((expected, true)), "{text}");
            assert_eq!(micros(&format!("-{text}")), Ok((-expected, true)), "-{text}");
        }
        assert_eq!(micros("9223372036854.7758074"), Ok((i64::MAX, true)));
        assert!(micros("9223372036854.7758075").is_err());
        assert_eq!(micros("1.2345678901234567890123456789012345678"), Ok((1_234_568, true)));
        assert!(micros("1.23456789012345678901234567890123456789").is_err());
    }

    #[test]
    fn micros_are_whole_but_for_what_floats_leave_behind() {
        let micros = |text: &str| Decimal::parse(text).unwrap().whole_micros();
        assert_eq!(micros("1500000.0"), Ok((1_500_000, false)));
        assert_eq!(micros("1500000.0000000002"), Ok((1_500_000, true)));
        assert_eq!(micros("-1499999.9999999998"), Ok((-1_500_000, true)));
        assert_eq!(
            micros("12.5").unwrap_err(),
            "12.5 is no whole number of micros: is the column in units (`unit: units`)?"
        );
        assert!(micros("9223372036854775808").is_err());
    }

    #[test]
    fn products_are_exact_and_rounded_once() {
        let product = |a: &str, b: &str| Decimal::parse(a).unwrap().times(Decimal::parse(b).unwrap()).unwrap();
        assert_eq!(product("2.55", "-12").to_micros(), Ok((-30_600_000, false)));
        assert_eq!(product("0.001", "0.001").to_micros(), Ok((1, false)));
        // Rounding the factor first would give 0.
        assert_eq!(product("0.0000004", "100").to_micros(), Ok((40, false)));
        assert_eq!(product("0.0001", "0.001").to_micros(), Ok((0, true)));
        assert_eq!(product("19.990000000000002", "3").to_micros(), Ok((59_970_000, true)));
        let large = Decimal::parse(&"9".repeat(30)).unwrap();
        assert_eq!(large.times(large), None);
    }

    #[test]
    fn numbers_show_as_they_would_be_written() {
        for (text, shown) in
            [("12.50", "12.5"), ("-0.001", "-0.001"), ("1500", "15e2"), ("1e-50", "1e-50"), ("0.0", "0")]
        {
            assert_eq!(Decimal::parse(text).unwrap().to_string(), shown);
        }
    }

    #[test]
    fn a_notation_reads_what_it_says_and_nothing_else() {
        let read = |decimal: &str, thousands: &str, text: &str| {
            let thousands = Some(thousands).filter(|sign| !sign.is_empty());
            let notation = Notation::new(Some(decimal), thousands, vec!["€".into(), "EUR".into(), "$".into()]).unwrap();
            notation.parse(text).and_then(|decimal| decimal.scaled(6)).ok()
        };
        for (decimal, thousands, text, expected) in [
            (",", "", "12,50", 12_500_000),
            (",", "", "-12,50", -12_500_000),
            (",", "", "\u{2212}12,50", -12_500_000),
            (",", "", "12", 12_000_000),
            (",", "", "1,5e3", 1_500_000_000),
            (",", ".", "1.234,50", 1_234_500_000),
            (",", ".", "1.234", 1_234_000_000),
            (",", ".", "1.234.567", 1_234_567_000_000),
            (",", " ", "1\u{202f}234,50", 1_234_500_000),
            (",", " ", "1\u{a0}234", 1_234_000_000),
            (".", ",", "1,234.50", 1_234_500_000),
            (".", ",", "12,34,567.5", 1_234_567_500_000),
            (".", ",", "12.50", 12_500_000),
            (".", "'", "1’234.50", 1_234_500_000),
            (".", "\u{2019}", "1'234.50", 1_234_500_000),
            (",", "", "€ 12,50", 12_500_000),
            (",", "", "-€12,50", -12_500_000),
            (",", "", "€ -12,50", -12_500_000),
            (",", "", "12,50 €", 12_500_000),
            (".", "", "12.50 EUR", 12_500_000),
            (".", "", "$12.50", 12_500_000),
            (".", ",", "1e3", 1_000_000_000),
        ] {
            assert_eq!(read(decimal, thousands, text), Some(expected), "{decimal} {thousands} {text}");
        }
        for (decimal, thousands, text) in [
            (",", "", "12.50"),
            (",", "", "1.234"),
            (",", "", "1,234,5"),
            (",", ".", "12.50"),
            (",", ".", "1234.567,5.0"),
            (".", ",", "12,50"),
            (".", ",", "1,2345"),
            (".", ",", ",123"),
            (".", ",", "1.5,000"),
            (".", "", "1 234"),
            (".", "", "12.50 GBP"),
            (".", "", "--5"),
            (".", "", "-$-5"),
            (".", "", "$"),
            (",", "", ""),
        ] {
            assert_eq!(read(decimal, thousands, text), None, "{decimal} {thousands} {text}");
        }
        for (decimal, thousands, strip) in [
            (";", None, vec![]),
            (".", Some("."), vec![]),
            (",", Some("x"), vec![]),
            (".", None, vec![" ".to_owned()]),
            (".", None, vec!["1".to_owned()]),
        ] {
            assert!(Notation::new(Some(decimal), thousands, strip).is_err());
        }
    }

    #[test]
    fn what_is_refused_says_why_and_what_to_do() {
        for (text, part) in [
            ("12,50", "{ decimal: \",\" }"),
            ("1,234", "{ thousands: \",\" }"),
            ("1 234.5", "{ thousands: \" \" }"),
            ("1’234", "{ thousands: \"'\" }"),
            ("NaN", "no number: leave"),
            ("-Infinity", "no finite"),
            ("inf", "no finite"),
            ("", "empty"),
            ("free", "is no number"),
            ("(12.50)", "parentheses"),
            ("12.50-", "minus at the end"),
            ("€ 12.50", "{ strip: [EUR, \"€\"] }"),
            ("12.50 USD", "{ strip: [EUR, \"€\"] }"),
            ("1.234.567", "several points"),
            ("5%", "percentage"),
            ("0x10", "at most 38 digits"),
        ] {
            let error = Decimal::parse(text).unwrap_err();
            assert!(error.starts_with(&format!("{text:?} ")) && error.contains(part), "{text}: {error}");
        }
    }
}
