//! The advantage of a completion within its group.
//!
//! `A_i = (r_i - baseline_i) / (std + eps)` over the judged rewards `r` of one group. DeepSeekMath and the R1 paper do not say
//! whether the standard deviation is the population's or the sample's, nor which eps; the default here is the formula as
//! printed (population, no eps), and the presets are what others run:
//!
//! | preset | baseline | std | eps | group of one |
//! |---|---|---|---|---|
//! | r1 | mean | ddof 0 | 0 | 0 |
//! | trl | mean | ddof 1 | 1e-4 | 0 |
//! | verl | mean | ddof 1 | 1e-6 | r / (1 + 1e-6): verl takes mean 0 and std 1 |
//! | openrlhf | mean | ddof 1 | 1e-9 | 0 |
//! | dr-grpo | mean | none | – | 0 |
//! | rloo | mean of the others | none | – | 0 |
//!
//! A group without spread gives exactly 0 under every preset. Rounding must not turn equal rewards into ±1 (0.1 + 1.0 and 1.1
//! differ in the last bit), so rewards that differ by less than 1e-9 of the greatest magnitude count as equal.

use clap::ValueEnum;

/// Rewards that differ by less than this share of the greatest magnitude count as equal.
const EQUAL: f64 = 1e-9;

/// Whose convention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Preset {
    /// The formula as printed: population standard deviation, no eps
    R1,
    /// TRL: sample standard deviation, eps 1e-4
    Trl,
    /// verl: sample standard deviation, eps 1e-6; a group of one keeps its reward
    Verl,
    /// OpenRLHF: sample standard deviation, eps 1e-9
    Openrlhf,
    /// Dr. GRPO: the mean alone, no standard deviation
    DrGrpo,
    /// REINFORCE leave-one-out: the mean of the others, no standard deviation
    Rloo,
}

/// What to divide by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Spread {
    /// sqrt(sum of squares / n)
    Ddof0,
    /// sqrt(sum of squares / (n - 1))
    Ddof1,
    /// Nothing
    None,
}

/// What is subtracted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Baseline {
    /// The mean of the group.
    Mean,
    /// The mean of the other rewards of the group.
    Others,
}

/// A settled formula.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimator {
    baseline: Baseline,
    spread: Spread,
    eps: f64,
    /// Whether a group of one has mean 0 and standard deviation 1, instead of advantage 0.
    single_keeps_reward: bool,
}

/// What a group's rewards gave.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimate {
    /// One for each reward, in their order; 0 for an absent reward.
    pub advantages: Vec<f64>,
    /// Whether the judged rewards differ.
    pub has_spread: bool,
}

impl Estimator {
    /// The preset's formula, with what the user changed in it.
    pub fn new(preset: Preset, spread: Option<Spread>, eps: Option<f64>) -> Self {
        let (baseline, preset_spread, preset_eps) = match preset {
            Preset::R1 => (Baseline::Mean, Spread::Ddof0, 0.0),
            Preset::Trl => (Baseline::Mean, Spread::Ddof1, 1e-4),
            Preset::Verl => (Baseline::Mean, Spread::Ddof1, 1e-6),
            Preset::Openrlhf => (Baseline::Mean, Spread::Ddof1, 1e-9),
            Preset::DrGrpo => (Baseline::Mean, Spread::None, 0.0),
            Preset::Rloo => (Baseline::Others, Spread::None, 0.0),
        };
        Self {
            baseline,
            spread: spread.unwrap_or(preset_spread),
            eps: eps.unwrap_or(preset_eps),
            single_keeps_reward: preset == Preset::Verl,
        }
    }

    /// Whether eps has an effect.
    pub fn divides(&self) -> bool {
        self.spread != Spread::None
    }

    /// Advantages of one group. An absent reward counts for nothing: it is in no statistic, and its advantage is 0.
    pub fn estimate(&self, rewards: &[Option<f64>]) -> Estimate {
        let judged: Vec<f64> = rewards.iter().flatten().copied().collect();
        if let ([only], true) = (judged.as_slice(), self.single_keeps_reward) {
            let alone = if self.divides() { only / (1.0 + self.eps) } else { *only };
            return Estimate {
                advantages: rewards.iter().map(|r| r.map_or(0.0, |_| alone)).collect(),
                has_spread: false,
            };
        }
        if !differ(&judged) {
            return Estimate { advantages: vec![0.0; rewards.len()], has_spread: false };
        }
        let count = judged.len() as f64;
        let mean = mean(&judged);
        let divisor = match self.spread {
            Spread::None => 1.0,
            Spread::Ddof0 => (squares(&judged, mean) / count).sqrt() + self.eps,
            Spread::Ddof1 => (squares(&judged, mean) / (count - 1.0)).sqrt() + self.eps,
        };
        let gain = match self.baseline {
            Baseline::Mean => 1.0,
            // r - mean of the others = n / (n - 1) · (r - mean of all)
            Baseline::Others => count / (count - 1.0),
        };
        let advantage = |reward: &Option<f64>| reward.map_or(0.0, |r| gain * (r - mean) / divisor);
        Estimate { advantages: rewards.iter().map(advantage).collect(), has_spread: true }
    }
}

/// Whether the rewards differ by more than rounding.
pub fn differ(rewards: &[f64]) -> bool {
    let greatest = rewards.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let least = rewards.iter().copied().fold(f64::INFINITY, f64::min);
    rewards.len() > 1 && greatest - least > EQUAL * greatest.abs().max(least.abs())
}

/// The arithmetic mean; 0 of nothing.
pub fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

/// The sum of squared distances from the mean.
pub fn squares(values: &[f64], mean: f64) -> f64 {
    values.iter().map(|value| (value - mean) * (value - mean)).sum()
}

/// A finite number that is not negative.
pub fn parse_eps(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(eps) if eps.is_finite() && eps >= 0.0 => Ok(eps),
        _ => Err("a number from 0 on is needed".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn estimate(preset: Preset, rewards: &[f64]) -> Vec<f64> {
        let rewards: Vec<Option<f64>> = rewards.iter().copied().map(Some).collect();
        Estimator::new(preset, None, None).estimate(&rewards).advantages
    }

    fn close(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (f, e) in found.iter().zip(expected) {
            assert!((f - e).abs() < 1e-9, "{found:?} is not {expected:?}");
        }
    }

    /// The four completions of the walkthrough. Sum of squares about 0.575: 2·0.475² + 0.525² + 0.425² = 0.9075.
    const WALKTHROUGH: [f64; 4] = [0.1, 1.1, 1.0, 0.1];

    #[test]
    fn the_walkthrough_under_every_preset() {
        let deviations = [-0.475, 0.525, 0.425, -0.475];
        let over = |divisor: f64| deviations.map(|d| d / divisor);
        close(&estimate(Preset::R1, &WALKTHROUGH), &over((0.9075f64 / 4.0).sqrt()));
        close(&estimate(Preset::Trl, &WALKTHROUGH), &over((0.9075f64 / 3.0).sqrt() + 1e-4));
        close(&estimate(Preset::Verl, &WALKTHROUGH), &over((0.9075f64 / 3.0).sqrt() + 1e-6));
        close(&estimate(Preset::Openrlhf, &WALKTHROUGH), &over((0.9075f64 / 3.0).sqrt() + 1e-9));
        close(&estimate(Preset::DrGrpo, &WALKTHROUGH), &deviations);
        // Means of the others by hand: 2.2/3, 1.2/3, 1.3/3, 2.2/3.
        close(
            &estimate(Preset::Rloo, &WALKTHROUGH),
            &[0.1 - 2.2 / 3.0, 1.1 - 0.4, 1.0 - 1.3 / 3.0, 0.1 - 2.2 / 3.0],
        );
    }

    #[test]
    fn equal_rewards_give_exactly_zero() {
        for preset in Preset::value_variants() {
            for rewards in
                [&[0.1, 0.1, 0.1][..], &[1.1, 0.1 + 1.0], &[0.3, 0.1 + 0.2, 0.3], &[0.0, 0.0], &[-2.5; 7]]
            {
                assert!(estimate(*preset, rewards).iter().all(|a| *a == 0.0), "{preset:?} {rewards:?}");
            }
        }
        let nearly: f64 = [0.1, 0.2].iter().sum();
        assert_ne!(nearly, 0.3, "the case above is one where rounding matters");
        assert!(differ(&[0.0, 1e-12]), "small rewards differ as well as great ones");
    }

    #[test]
    fn a_group_of_one() {
        for preset in Preset::value_variants() {
            let expected = if *preset == Preset::Verl { 0.7 / (1.0 + 1e-6) } else { 0.0 };
            close(&estimate(*preset, &[0.7]), &[expected]);
        }
    }

    #[test]
    fn absent_rewards_are_in_no_statistic() {
        let estimator = Estimator::new(Preset::R1, None, None);
        let estimate = estimator.estimate(&[Some(1.0), None, Some(0.0)]);
        assert_eq!(estimate, Estimate { advantages: vec![1.0, 0.0, -1.0], has_spread: true });
        assert_eq!(
            estimator.estimate(&[None, None]),
            Estimate { advantages: vec![0.0, 0.0], has_spread: false }
        );
        assert_eq!(
            estimator.estimate(&[None, Some(3.0)]),
            Estimate { advantages: vec![0.0, 0.0], has_spread: false }
        );
    }

    #[test]
    fn flags_change_the_preset() {
        let rewards = [Some(0.0), Some(2.0)];
        let with = |std, eps| Estimator::new(Preset::R1, std, eps).estimate(&rewards).advantages;
        assert_eq!(with(None, Some(1.0)), [-0.5, 0.5]);
        assert_eq!(with(Some(Spread::None), None), [-1.0, 1.0]);
        close(&with(Some(Spread::Ddof1), None), &[-0.5f64.sqrt(), 0.5f64.sqrt()]);
        assert!(
            parse_eps("-1").is_err()
                && parse_eps("nan").is_err()
                && parse_eps("inf").is_err()
                && parse_eps("0").is_ok()
        );
    }
}
