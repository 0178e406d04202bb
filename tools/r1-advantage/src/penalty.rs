//! The KL divergence as part of the reward: r − β Σ_t k_t, before any group statistic (TRL's RLOO, verl's `use_kl_in_reward`).
//!
//! With l the log-probability when the token was sampled, l_ref the reference's and d = l − l_ref:
//! k1 = d, k2 = d² / 2, k3 = exp(−d) + d − 1, abs = |d|.

use crate::convention::not_negative;
use clap::ValueEnum;
use r1_records::{RecordError, Row};

/// Which estimator of the divergence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// l − l_ref: unbiased, may be negative
    K1,
    /// (l − l_ref)² / 2: never negative
    K2,
    /// exp(l_ref − l) − (l_ref − l) − 1: unbiased and never negative
    K3,
    /// |l − l_ref|
    Abs,
}

/// The flags.
#[derive(clap::Args, Clone, Debug)]
pub struct Penalty {
    /// β: subtract β times the divergence from the rows' `reference` from each reward (TRL's RLOO: 0.05); in the loss: r1-grpo
    #[arg(long, default_value_t = 0.0, value_name = "X", value_parser = not_negative)]
    pub kl_beta: f64,
    /// Which estimator of the divergence [default: k1]
    #[arg(long, value_enum, requires = "kl_beta")]
    kl_kind: Option<Kind>,
}

impl Kind {
    /// The estimate at one token.
    pub fn of(self, difference: f64) -> f64 {
        match self {
            Kind::K1 => difference,
            Kind::K2 => 0.5 * difference * difference,
            Kind::K3 => (-difference).exp_m1() + difference,
            Kind::Abs => difference.abs(),
        }
    }
}

impl Penalty {
    /// Whether a penalty was asked for.
    pub fn is_on(&self) -> bool {
        self.kl_beta > 0.0
    }

    /// The divergence of a row, summed over its tokens.
    ///
    /// # Errors
    /// The row lacks the log-probabilities of either policy, or they are not of one length, or the sum is not finite.
    pub fn divergence(&self, row: &Row) -> Result<f64, RecordError> {
        let rollout = row.rollout()?;
        let old = rollout.logprobs.ok_or_else(|| {
            row.error_in("rollout", "no `rollout.logprobs`, which --kl-beta needs", "sample with r1-rollout")
        })?;
        let reference = row.reference()?.ok_or_else(|| {
            let remedy = "score the rows with r1-rollout --score reference";
            row.error("no `reference.logprobs`, which --kl-beta needs", remedy)
        })?;
        if old.len() != reference.logprobs.len() {
            let fact = format!("{} logprobs for {} completion ids", reference.logprobs.len(), old.len());
            return Err(row.error_in("reference", fact, "score the rows again"));
        }
        let kind = self.kl_kind.unwrap_or(Kind::K1);
        let difference = |(l, r): (&f32, &f32)| kind.of(f64::from(*l) - f64::from(*r));
        let sum: f64 = old.iter().zip(&reference.logprobs).map(difference).sum();
        if sum.is_finite() {
            return Ok(sum);
        }
        Err(row.error_in("reference", "the divergence from the reference is not finite", "use --kl-kind k1"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimators_are_those_of_the_goldens() {
        let text = include_str!("../../../tests/golden/losses/kl.json");
        let golden: serde_json::Value = serde_json::from_str(text).unwrap();
        let list = |key: &serde_json::Value| -> Vec<f64> {
            key.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
        };
        let (own, reference) = (list(&golden["logprobs"]), list(&golden["reference_logprobs"]));
        for (kind, name) in [(Kind::K1, "k1"), (Kind::K2, "k2"), (Kind::K3, "k3"), (Kind::Abs, "abs")] {
            let expected = list(&golden[name]["value"]);
            assert!(expected.len() > 3);
            for ((l, r), e) in own.iter().zip(&reference).zip(expected) {
                assert!((kind.of(l - r) - e).abs() < 1e-12, "{name}");
            }
        }
    }
}
