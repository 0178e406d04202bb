//! Which groups are worth a gradient: those whose rewards differ, and whose prompt is neither too easy nor too hard.

use crate::estimator::differ;
use r1_records::Reward;
use std::str::FromStr;

/// A closed range: `0.1..0.9`, `..0.9`, `0.1..`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Band(f64, f64);

impl FromStr for Band {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (low, high) = text.split_once("..").ok_or("a band is written LOW..HIGH")?;
        let bound = |text: &str, open: f64| match text.trim() {
            "" => Ok(open),
            text => match text.parse::<f64>() {
                Ok(value) if (0.0..=1.0).contains(&value) => Ok(value),
                _ => Err(format!("`{text}` is no share from 0 to 1")),
            },
        };
        let (low, high) = (bound(low, 0.0)?, bound(high, 1.0)?);
        if low > high {
            return Err("the band is empty: its low end is above its high end".to_string());
        }
        Ok(Band(low, high))
    }
}

/// The flags.
#[derive(clap::Args, Clone, Debug)]
pub struct Filter {
    /// Leave out groups whose rewards are all equal: they teach nothing
    #[arg(long)]
    pub drop_zero_std: bool,
    /// Leave out groups whose share of correct completions (`reward.accuracy` 1) is outside the band (DAPO: 0.01..0.99)
    #[arg(long, value_name = "LOW..HIGH")]
    pub pass_rate: Option<Band>,
    /// End with exit code 3 when fewer than N groups are kept that have rewards that differ
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub need: u64,
    /// Refuse a group that has not exactly N rows
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub size: Option<u64>,
    /// Accept groups in which sample numbers are missing (rows that were filtered out)
    #[arg(long)]
    pub partial: bool,
}

/// What the filter says of a group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// whether the judged rewards differ
    pub has_spread: bool,
    /// share of correct completions among those with an accuracy
    pub pass_rate: Option<f64>,
    /// whether the group stays
    pub keeps: bool,
}

impl Filter {
    /// Judges one group by its rewards. A group in which no accuracy is known has no pass rate and is outside any band.
    pub fn judge(&self, rewards: &[Reward]) -> Verdict {
        let totals: Vec<f64> = rewards.iter().filter_map(|reward| reward.total).collect();
        let known: Vec<f64> = rewards.iter().filter_map(|reward| reward.part("accuracy")).collect();
        let correct = known.iter().filter(|accuracy| **accuracy == 1.0).count();
        let pass_rate = (!known.is_empty()).then(|| correct as f64 / known.len() as f64);
        let has_spread = differ(&totals);
        let inside = match (self.pass_rate, pass_rate) {
            (Some(Band(low, high)), Some(rate)) => (low..=high).contains(&rate),
            (Some(_), None) => false,
            (None, _) => true,
        };
        Verdict { has_spread, pass_rate, keeps: inside && (has_spread || !self.drop_zero_std) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bands() {
        assert_eq!("0.1..0.9".parse(), Ok(Band(0.1, 0.9)));
        assert_eq!(("..0.5".parse(), "0.5..".parse()), (Ok(Band(0.0, 0.5)), Ok(Band(0.5, 1.0))));
        for bad in ["5", "0.9..0.1", "a..b", "0..2", "-1..1", "0..nan"] {
            assert!(bad.parse::<Band>().is_err(), "{bad}");
        }
    }
}
