//! Exact decimal numbers, as `xsd:decimal` writes them.

use std::fmt;
use std::str::FromStr;

/// How many digits after the point are kept exactly.
const SCALE: usize = 9;

/// A number in units of 10^-9, exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decimal(i128);

/// Not a decimal number with at most nine digits after the point.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a decimal number")]
pub struct NotDecimal;

impl Decimal {
    /// The number times a whole factor; nothing where it grows too large.
    #[must_use]
    pub fn times(self, factor: u64) -> Option<Self> {
        self.0.checked_mul(i128::from(factor)).map(Self)
    }

    /// The whole number it is, where it is one and not negative.
    #[must_use]
    pub fn whole(self) -> Option<u64> {
        let unit = 10_i128.pow(9);
        (self.0 % unit == 0).then(|| u64::try_from(self.0 / unit).ok()).flatten()
    }
}

impl From<u64> for Decimal {
    fn from(number: u64) -> Self {
        Self(i128::from(number) * 10_i128.pow(9))
    }
}

impl FromStr for Decimal {
    type Err = NotDecimal;

    fn from_str(text: &str) -> Result<Self, NotDecimal> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let fraction = fraction.trim_end_matches('0');
        let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let empty = whole.is_empty() && !digits.starts_with('.') || digits == ".";
        if empty
            || digits.is_empty()
            || !all_digits(whole)
            || !all_digits(fraction)
            || fraction.len() > SCALE
        {
            return Err(NotDecimal);
        }
        let number: i128 = format!("{whole}{fraction:0<SCALE$}").parse().map_err(|_| NotDecimal)?;
        Ok(Self(if negative { -number } else { number }))
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = 10_u128.pow(9);
        let (whole, fraction) = (self.0.unsigned_abs() / unit, self.0.unsigned_abs() % unit);
        let sign = if self.0 < 0 { "-" } else { "" };
        if fraction == 0 {
            return write!(formatter, "{sign}{whole}");
        }
        let fraction = format!("{fraction:09}");
        write!(formatter, "{sign}{whole}.{}", fraction.trim_end_matches('0'))
    }
}
