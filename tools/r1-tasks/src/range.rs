//! What flags are made of: ranges `1-9` and weighted names `countdown=2`.

use std::fmt;
use std::str::FromStr;

/// A range of whole numbers, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The least.
    pub low: i64,
    /// The greatest.
    pub high: i64,
}

/// Numbers beyond this leave too little room below 2⁶³ to compute with.
const LIMIT: i64 = 1_000_000_000_000;

impl Range {
    /// A range known at compile time.
    pub const fn of(low: i64, high: i64) -> Range {
        Range { low, high }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.low, self.high)
    }
}

impl FromStr for Range {
    type Err = String;

    /// Reads `LOW-HIGH` or a single number; either may be negative (`-9-9`, `-9--1`).
    fn from_str(text: &str) -> Result<Range, String> {
        let number = |text: &str| {
            let number: i64 = text.parse().map_err(|_| format!("`{text}` is no whole number"))?;
            if number.abs() > LIMIT { Err(format!("{number} is beyond ±{LIMIT}")) } else { Ok(number) }
        };
        // A sign in the first place belongs to the number.
        let dash = text.char_indices().skip(1).find(|&(_, c)| c == '-');
        let (low, high) = match dash {
            Some((at, _)) => (number(&text[..at])?, number(&text[at + 1..])?),
            None => (number(text)?, number(text)?),
        };
        if low > high { Err(format!("{low} is above {high}")) } else { Ok(Range { low, high }) }
    }
}

/// A name with a weight: `NAME` (weight 1) or `NAME=WEIGHT`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Weighted<T> {
    /// What is weighted.
    pub item: T,
    /// Its weight, positive and finite.
    pub weight: f64,
}

impl<T: FromStr<Err = String>> FromStr for Weighted<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<Weighted<T>, String> {
        let (name, weight) = match text.split_once('=') {
            Some((name, weight)) => (name, weight.parse().map_err(|_| format!("`{weight}` is no weight"))?),
            None => (text, 1.0),
        };
        let item = name.parse()?;
        if !(f64::is_finite(weight) && weight > 0.0) {
            return Err(format!("the weight {weight} is not a positive number"));
        }
        Ok(Weighted { item, weight })
    }
}

/// Reads a share: a number from 0 to 1.
pub fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err(format!("{share} is not between 0 and 1")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_every_form() {
        assert_eq!("1-9".parse(), Ok(Range::of(1, 9)));
        assert_eq!("7".parse(), Ok(Range::of(7, 7)));
        assert_eq!("-9-9".parse(), Ok(Range::of(-9, 9)));
        assert_eq!("-9--1".parse(), Ok(Range::of(-9, -1)));
        assert_eq!("-3".parse(), Ok(Range::of(-3, -3)));
        for bad in ["", "-", "9-1", "1-", "a-b", "1..9", "1-2-3", "9999999999999", "é-1"] {
            assert!(bad.parse::<Range>().is_err(), "{bad}");
        }
    }

    #[test]
    fn shares_and_weights() {
        assert_eq!(share("0.25"), Ok(0.25));
        for bad in ["1.5", "-0.1", "NaN", "x"] {
            assert!(share(bad).is_err(), "{bad}");
        }
    }
}
