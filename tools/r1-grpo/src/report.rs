//! What an update did, as one line of metrics and one line for a person.
//!
//! Metrics carry TRL's names where TRL has the number.

use r1_train::checkpoint::State;
use r1_train::update::Applied;
use serde_json::{Value, json};

use crate::agreement::Agreement;
use crate::loss::Sums;
use crate::loss::options::{Kind, Objective};
use crate::rows::Sample;

/// The numbers of one update.
#[derive(Clone, Debug)]
pub struct Report {
    /// completion tokens of the batch
    pub tokens: u64,
    /// wall time of the update
    pub seconds: f64,
    pub(crate) rows: usize,
    pub(crate) reward: Option<(f64, f64)>,
    parts: Vec<(String, (f64, f64))>,
    lengths: Vec<usize>,
    terminated: Vec<usize>,
    pub(crate) zero_std: f64,
    pub(crate) zero_advantage: f64,
    pub(crate) sums: Sums,
    pub(crate) kl: bool,
    kind: Kind,
    corrects: bool,
    pub(crate) entropy: f64,
    /// weight of the entropy bonus, and the mean entropy it acted on
    pub(crate) bonus: Option<(f64, f64)>,
    pub(crate) difference: Option<f64>,
    pub(crate) applied: Applied,
    /// updates between the policy that sampled the rows and the one that is updated
    pub lag: u64,
    /// share of rows that name another policy than the one that began the round
    pub foreign: f64,
}

/// Mean and standard deviation (of the sample; 0 for one value); `None` for none.
fn mean_and_deviation(values: &[f64]) -> Option<(f64, f64)> {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|x| (x - mean).powi(2)).sum();
    (!values.is_empty()).then(|| (mean, (squares / (n - 1.0).max(1.0)).sqrt()))
}

/// Share of groups whose known rewards are all equal.
fn zero_std(samples: &[&Sample]) -> f64 {
    let mut groups: Vec<(usize, Vec<f64>)> = Vec::new();
    for sample in samples {
        match groups.iter_mut().find(|(group, _)| *group == sample.group) {
            Some((_, rewards)) => rewards.extend(sample.reward),
            None => groups.push((sample.group, sample.reward.into_iter().collect())),
        }
    }
    let flat = |rewards: &[f64]| {
        let first = rewards.first().copied().unwrap_or(0.0);
        rewards.iter().all(|r| (r - first).abs() <= 1e-9 * r.abs().max(first.abs()))
    };
    groups.iter().filter(|(_, rewards)| flat(rewards)).count() as f64 / groups.len().max(1) as f64
}

/// Mean, smallest and largest.
fn spread(lengths: &[usize]) -> Option<(f64, usize, usize)> {
    let (min, max) = (lengths.iter().min()?, lengths.iter().max()?);
    Some((lengths.iter().sum::<usize>() as f64 / lengths.len() as f64, *min, *max))
}

impl Report {
    /// Gathers the numbers of one update; `entropy` is the sum over all tokens.
    pub fn of(
        objective: &Objective,
        samples: &[&Sample],
        sums: &Sums,
        agreement: Agreement,
        entropy: f64,
        bonus: Option<(f64, f64)>,
        applied: Applied,
    ) -> Report {
        let rows = samples.len();
        let lengths: Vec<usize> = samples.iter().map(|s| s.completion.len()).collect();
        let tokens: usize = lengths.iter().sum();
        let rewards: Vec<f64> = samples.iter().filter_map(|s| s.reward).collect();
        let mut parts: Vec<(String, Vec<f64>)> = Vec::new();
        for (name, value) in samples.iter().flat_map(|s| &s.parts) {
            match parts.iter_mut().find(|(known, _)| known == name) {
                Some((_, values)) => values.push(*value),
                None => parts.push((name.clone(), vec![*value])),
            }
        }
        let zero = samples.iter().filter(|s| s.advantage == 0.0).count();
        Report {
            tokens: tokens as u64,
            seconds: 0.0,
            rows,
            reward: mean_and_deviation(&rewards),
            parts: parts.into_iter().filter_map(|(n, v)| Some((n, mean_and_deviation(&v)?))).collect(),
            terminated: samples.iter().filter(|s| !s.truncated).map(|s| s.completion.len()).collect(),
            lengths,
            zero_std: zero_std(samples),
            zero_advantage: zero as f64 / rows.max(1) as f64,
            sums: *sums,
            kl: objective.kl_beta > 0.0,
            kind: objective.kind,
            corrects: objective.correction.is_some(),
            entropy: entropy / tokens.max(1) as f64,
            bonus,
            difference: agreement.largest(),
            applied,
            lag: 0,
            foreign: 0.0,
        }
    }

    /// Mean over the tokens that the loss saw.
    pub(crate) fn mean(&self, sum: f64) -> f64 {
        sum / self.sums.tokens.max(1) as f64
    }

    /// Share of the ratios that are clipped: below, above.
    pub(crate) fn clipped(&self) -> [f64; 2] {
        let ratios = self.sums.ratios.max(1) as f64;
        [self.sums.clipped_low as f64 / ratios, self.sums.clipped_high as f64 / ratios]
    }

    /// Share of rows that ended at the token limit.
    pub(crate) fn truncated(&self) -> f64 {
        1.0 - self.terminated.len() as f64 / self.rows.max(1) as f64
    }

    /// What the bonus adds to the loss.
    fn bonus_loss(&self) -> f64 {
        self.bonus.map_or(0.0, |(weight, entropy)| -weight * entropy)
    }

    /// The loss, the entropy bonus included.
    pub(crate) fn loss(&self) -> f64 {
        self.sums.loss + self.bonus_loss()
    }

    /// Whether every ratio is exactly 1.
    pub(crate) fn is_on_policy(&self) -> bool {
        self.sums.ratios == 0 || self.sums.ratio_range == [1.0, 1.0]
    }

    /// Whether the surrogate's value is A log π with something held before it.
    pub(crate) fn holds(&self) -> bool {
        matches!(self.kind, Kind::Reinforce | Kind::Cispo | Kind::Vespo | Kind::Dppo | Kind::DppoKl)
    }

    /// One line of metrics.
    pub fn line(&self, state: &State, lr: f64) -> Value {
        let s = &self.sums;
        let [low, high] = self.clipped();
        let [smallest, largest] = if s.ratios == 0 { [1.0; 2] } else { s.ratio_range };
        let mut line = json!({
            "tool": state.tool,
            "step": state.step,
            "round": state.round,
            "loss": self.loss(),
            "grad_norm": self.applied.grad_norm,
            "learning_rate": lr,
            "entropy": self.entropy,
            "ratio/mean": if s.ratios == 0 { 1.0 } else { s.ratio / s.ratios as f64 },
            "ratio/min": smallest,
            "ratio/max": largest,
            "clip_ratio/low_mean": low,
            "clip_ratio/high_mean": high,
            "clip_ratio/region_mean": low + high,
            "rows": self.rows,
            "frac_reward_zero_std": self.zero_std,
            "frac_advantage_zero": self.zero_advantage,
            "frac_tokens_moving": self.mean(s.moving as f64),
            "policy_lag": self.lag,
            "frac_rows_other_policy": self.foreign,
            "completions/clipped_ratio": self.truncated(),
            "tokens": self.tokens,
            "num_tokens": state.tokens,
            "step_time": self.seconds,
            "tokens_per_second": self.tokens as f64 / self.seconds.max(1e-9),
        });
        for (lengths, kind) in [(&self.lengths, "length"), (&self.terminated, "terminated_length")] {
            if let Some((mean, min, max)) = spread(lengths) {
                line[format!("completions/mean_{kind}")] = mean.into();
                line[format!("completions/min_{kind}")] = min.into();
                line[format!("completions/max_{kind}")] = max.into();
            }
        }
        if let Some((mean, deviation)) = self.reward {
            line["reward"] = mean.into();
            line["reward_std"] = deviation.into();
        }
        for (name, (mean, deviation)) in &self.parts {
            line[format!("rewards/{name}/mean")] = (*mean).into();
            line[format!("rewards/{name}/std")] = (*deviation).into();
        }
        if self.kl {
            line["kl"] = self.mean(s.kl).into();
        }
        if let Some((weight, entropy)) = self.bonus {
            line["policy_loss"] = s.loss.into();
            line["entropy_coef"] = weight.into();
            line["entropy_trained"] = entropy.into();
        }
        if self.kind == Kind::Vespo && s.rows > 0 {
            line["vespo/phi_seq_mean"] = (s.phi / s.rows as f64).into();
        }
        if self.corrects && s.tokens > 0 {
            line["sampling/importance_sampling_ratio/mean"] = self.mean(s.correction).into();
            line["sampling/importance_sampling_ratio/min"] = s.correction_range[0].into();
            line["sampling/importance_sampling_ratio/max"] = s.correction_range[1].into();
            line["sampling/sampling_logp_difference/mean"] = self.mean(s.sampler_gap[0]).into();
            line["sampling/sampling_logp_difference/max"] = s.sampler_gap[1].into();
        }
        if s.off_policy > 0 {
            line["rows_off_policy"] = s.off_policy.into();
        }
        if s.low_entropy > 0 {
            line["tokens_low_entropy"] = s.low_entropy.into();
        }
        if let Some(difference) = self.difference {
            line["logprob_max_difference"] = difference.into();
        }
        if let Some(imbalance) = self.applied.expert_imbalance {
            line["expert_imbalance"] = imbalance.into();
        }
        if let Some(device) = r1_model::device::chosen() {
            line["memory/device_peak_bytes"] = device.peak().into();
        }
        if let Some(bytes) = r1_cli::memory::peak() {
            line["memory/peak_bytes"] = bytes.into();
        }
        line
    }

    /// One line for a person, with the shortest answer to "why is my loss 0".
    pub fn words(&self, state: &State, lr: f64) -> String {
        let reward = match self.reward {
            Some((mean, deviation)) => format!("reward {mean:.3} ± {deviation:.3}, "),
            None => String::new(),
        };
        let kl = if self.kl { format!("kl {:.2e}, ", self.mean(self.sums.kl)) } else { String::new() };
        let meaning = if self.zero_advantage == 1.0 {
            " (every advantage is 0: nothing to learn from these rows)"
        } else if self.is_on_policy() && !self.holds() && self.sums.loss.abs() < 1e-3 {
            " (about 0 by construction: every ratio is 1 and advantages average out; watch reward and grad_norm)"
        } else {
            ""
        };
        let [low, high] = self.clipped();
        format!(
            "step {}: {reward}loss {:.4}{meaning}, {kl}grad_norm {:.3}, entropy {:.3}, clipped {:.1}%, lr {lr:.1e}, \
             {} rows of {:.0} tokens in {:.1} s",
            state.step,
            // Rounded first, so that a tiny negative loss does not print as -0.0000.
            (self.loss() * 1e4).round() / 1e4 + 0.0,
            self.applied.grad_norm,
            self.entropy,
            100.0 * (low + high),
            self.rows,
            spread(&self.lengths).map_or(0.0, |(mean, _, _)| mean),
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
        assert_eq!((spread(&[]), spread(&[1, 5])), (None, Some((3.0, 1, 5))));
    }
}
