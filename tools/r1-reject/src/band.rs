//! A closed range on the command line: `0.1..0.9`, `..2000`, `10..`.

use std::fmt;
use std::str::FromStr;

/// From `low` to `high`, both included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Band {
    low: f64,
    high: f64,
}

impl Band {
    /// Whether the value lies in the band.
    pub fn holds(&self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }
}

impl FromStr for Band {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (low, high) = text.split_once("..").ok_or("a band is written LOW..HIGH")?;
        let bound = |text: &str, open: f64| match text.trim() {
            "" => Ok(open),
            text => match text.parse::<f64>() {
                Ok(value) if value.is_finite() => Ok(value),
                _ => Err(format!("`{text}` is no number")),
            },
        };
        let band = Self { low: bound(low, f64::NEG_INFINITY)?, high: bound(high, f64::INFINITY)? };
        if band.low > band.high {
            return Err("the band is empty: its low end is above its high end".to_string());
        }
        Ok(band)
    }
}

impl fmt::Display for Band {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = |bound: f64| if bound.is_finite() { bound.to_string() } else { String::new() };
        write!(f, "{}..{}", end(self.low), end(self.high))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands() {
        let band: Band = "0.1..0.9".parse().unwrap();
        assert!(band.holds(0.1) && band.holds(0.9) && !band.holds(0.09) && !band.holds(1.0));
        assert!("10..".parse::<Band>().unwrap().holds(1e9) && "..10".parse::<Band>().unwrap().holds(-1e9));
        assert_eq!("10..".parse::<Band>().unwrap().to_string(), "10..");
        for bad in ["5", "2..1", "a..b", "0..nan", "0..inf"] {
            assert!(bad.parse::<Band>().is_err(), "{bad}");
        }
    }
}
