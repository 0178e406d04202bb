//! What an update did, as one line of metrics and one line for a person.

use r1_train::checkpoint::State;
use r1_train::update::Applied;
use serde_json::{Value, json};

use crate::agreement::Agreement;
use crate::loss::Sums;
use crate::rows::Sample;

/// The numbers of one update.
#[derive(Clone, Debug)]
pub struct Report {
    /// completion tokens of the batch
    pub tokens: u64,
    /// wall time of the update
    pub seconds: f64,
    rows: usize,
    reward: Option<(f64, f64)>,
    lengths: (usize, f64, usize),
    truncated: f64,
    zero_advantage: f64,
    sums: Sums,
    kl: bool,
    entropy: f64,
    difference: Option<f64>,
    applied: Applied,
}

/// Mean and standard deviation (of the sample; 0 for one value); `None` for none.
fn mean_and_deviation(values: &[f64]) -> Option<(f64, f64)> {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
    (!values.is_empty()).then(|| (mean, (squares / (n - 1.0).max(1.0)).sqrt()))
}

impl Report {
    /// Gathers the numbers of one update; `entropy` is the sum over tokens, `kl` whether there was a reference.
    pub fn of(
        samples: &[&Sample],
        sums: &Sums,
        agreement: Agreement,
        entropy: f64,
        kl: bool,
        applied: Applied,
    ) -> Report {
        let rows = samples.len();
        let lengths = || samples.iter().map(|s| s.completion.len());
        let tokens: usize = lengths().sum();
        let share = |n: usize| n as f64 / rows.max(1) as f64;
        let rewards: Vec<f64> = samples.iter().filter_map(|s| s.reward).collect();
        Report {
            tokens: tokens as u64,
            seconds: 0.0,
            rows,
            reward: mean_and_deviation(&rewards),
            lengths: (lengths().min().unwrap_or(0), share(tokens), lengths().max().unwrap_or(0)),
            truncated: share(samples.iter().filter(|s| s.truncated).count()),
            zero_advantage: share(samples.iter().filter(|s| s.advantage == 0.0).count()),
            sums: *sums,
            kl,
            entropy: entropy / tokens.max(1) as f64,
            difference: agreement.largest(),
            applied,
        }
    }

    /// Mean over the tokens that the loss saw.
    fn mean(&self, sum: f64) -> f64 {
        sum / self.sums.tokens.max(1) as f64
    }

    /// One line of metrics.
    pub fn line(&self, state: &State, lr: f64) -> Value {
        let s = &self.sums;
        let mut line = json!({
            "step": state.step,
            "round": state.round,
            "loss": s.loss,
            "entropy": self.entropy,
            "ratio_mean": if s.tokens == 0 { 1.0 } else { self.mean(s.ratio) },
            "ratio_max": if s.tokens == 0 { 1.0 } else { s.ratio_max },
            "clip_fraction": self.mean((s.clipped_low + s.clipped_high) as f64),
            "clip_fraction_low": self.mean(s.clipped_low as f64),
            "clip_fraction_high": self.mean(s.clipped_high as f64),
            "grad_norm": self.applied.grad_norm,
            "learning_rate": lr,
            "rows": self.rows,
            "zero_advantage_share": self.zero_advantage,
            "truncated_share": self.truncated,
            "completion_length_min": self.lengths.0,
            "completion_length": self.lengths.1,
            "completion_length_max": self.lengths.2,
            "tokens": self.tokens,
            "num_tokens": state.tokens,
            "tokens_per_second": self.tokens as f64 / self.seconds.max(1e-9),
        });
        if let Some((mean, deviation)) = self.reward {
            line["reward"] = mean.into();
            line["reward_std"] = deviation.into();
        }
        if self.kl {
            line["kl"] = self.mean(s.kl).into();
        }
        if let Some(difference) = self.difference {
            line["logprob_max_difference"] = difference.into();
        }
        if let Some(imbalance) = self.applied.expert_imbalance {
            line["expert_imbalance"] = imbalance.into();
        }
        line
    }

    /// One line for a person, with the answer to "why is my loss 0".
    pub fn words(&self, state: &State, lr: f64) -> String {
        let reward = match self.reward {
            Some((mean, deviation)) => format!("reward {mean:.3} ± {deviation:.3}, "),
            None => String::new(),
        };
        let kl = if self.kl { format!("kl {:.2e}, ", self.mean(self.sums.kl)) } else { String::new() };
        let on_policy = self.sums.ratio == self.sums.tokens as f64 && self.sums.ratio_max <= 1.0;
        let meaning = if self.zero_advantage == 1.0 {
            " (every advantage is 0: nothing to learn from these rows)"
        } else if on_policy && (state.step == 1 || self.sums.loss.abs() < 1e-3) {
            " (about 0 by construction: every ratio is 1 and advantages average out; watch reward and grad_norm)"
        } else {
            ""
        };
        format!(
            "step {}: {reward}loss {:.4}{meaning}, {kl}grad_norm {:.3}, entropy {:.3}, clipped {:.1}%, lr {lr:.1e}, \
             {} rows of {:.0} tokens in {:.1} s",
            state.step,
            // Rounded first, so that a tiny negative loss does not print as -0.0000.
            (self.sums.loss * 1e4).round() / 1e4 + 0.0,
            self.applied.grad_norm,
            self.entropy,
            100.0 * self.mean((self.sums.clipped_low + self.sums.clipped_high) as f64),
            self.rows,
            self.lengths.1,
            self.seconds
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deviations_are_of_the_sample() {
        assert_eq!(mean_and_deviation(&[]), None);
        assert_eq!(mean_and_deviation(&[2.0]), Some((2.0, 0.0)));
        assert_eq!(mean_and_deviation(&[1.0, 3.0]), Some((2.0, 2.0f64.sqrt())));
    }
}
