//! `--explain`: what an update's numbers mean, in words; first of all why a loss is 0, or a gradient.

use crate::report::Report;

/// Above this share of clipped ratios most of the batch no longer teaches.
const MUCH_CLIPPED: f64 = 0.3;
/// Below this entropy (nats) samples of one prompt are nearly all the same.
const LITTLE_ENTROPY: f64 = 0.05;
/// Above this difference (nats) two engines do not compute the same policy.
const ANOTHER_ENGINE: f64 = 0.1;

impl Report {
    /// One line for every number that a reader could take for an error, or should take for one.
    pub fn explain(&self, lr: f64) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        let [low, high] = self.clipped();
        let percent = |share: f64| format!("{:.0}%", 100.0 * share);
        if self.sums.tokens == 0 {
            lines.push(
                "no token has a loss: every completion is empty or masked (--mask-truncated); sample longer ones"
                    .into(),
            );
        } else if self.zero_advantage == 1.0 {
            lines.push(
                "every advantage is 0: all rewards of each group are equal, so there is nothing to prefer; sample \
                 easier or harder tasks, or more completions of each (r1-advantage --drop-zero-std --need N)"
                    .into(),
            );
        } else if self.holds() {
            lines.push(format!(
                "loss {:.1e}: this loss holds its ratio, its value (A log π) means nothing by itself and does not measure \
                 progress; its gradient does the work: look at grad_norm and reward",
                self.loss()
            ));
        } else if self.is_on_policy() {
            lines.push(format!(
                "loss {:.1e} on-policy: every ratio is 1, so the loss is minus the weighted mean of the advantages, which \
                 average to 0 in each group (weights by length leave a little); it does not measure progress: look at \
                 grad_norm and reward",
                self.loss()
            ));
        }
        if self.applied.grad_norm == 0.0 && self.zero_advantage < 1.0 && self.sums.tokens > 0 {
            lines.push(if self.sums.off_policy == self.sums.rows {
                "grad_norm 0: every row was left out by --off-policy-threshold".into()
            } else if low + high > 0.0 {
                format!(
                    "grad_norm 0: {} of the ratios are clipped and the rest have no advantage; the rows are too old, or the \
                     clip is too narrow",
                    percent(low + high)
                )
            } else {
                "grad_norm 0: the tokens with an advantage were left out (--correction, --top-entropy) or cancel out".into()
            });
        } else if low + high > MUCH_CLIPPED {
            lines.push(format!(
                "{} of the ratios are clipped ({} below, {} above): these tokens no longer teach; fewer --epochs, a lower \
                 --lr, or a wider clip",
                percent(low + high),
                percent(low),
                percent(high)
            ));
        }
        if self.zero_std > 0.5 && self.zero_advantage < 1.0 {
            lines.push(format!(
                "{} of the groups have equal rewards and teach nothing: choose tasks that are solved sometimes \
                 (r1-advantage --pass-rate 0.01..0.99)",
                percent(self.zero_std)
            ));
        }
        if lr == 0.0 {
            lines.push(
                "learning rate 0: the first update of a warm-up moves only the moments, not the weights"
                    .into(),
            );
        }
        if self.kl && self.sums.kl == 0.0 && self.sums.tokens > 0 {
            lines
                .push("kl 0: the policy is still the reference; it rises as soon as the policy moves".into());
        }
        if self.truncated() > 0.5 {
            lines.push(format!(
                "{} of the completions ended at the token limit and are judged unfinished: raise r1-rollout --max-tokens",
                percent(self.truncated())
            ));
        }
        if self.entropy < LITTLE_ENTROPY && self.tokens > 0 {
            lines.push(format!(
                "entropy {:.3} nats: the policy says nearly the same every time, so groups differ little; a higher \
                 temperature, --entropy-weight or a wider --clip-high keep it open",
                self.entropy
            ));
        }
        if let Some(difference) = self.difference.filter(|d| *d > ANOTHER_ENGINE) {
            lines.push(format!(
                "recorded log-probabilities differ from the recomputed ones by up to {difference:.2} nats: the rows are of another \
                 policy, --dtype or engine (--old recompute --correction mis-sequence accounts for it)"
            ));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agreement::Agreement;
    use crate::loss::Sums;
    use crate::loss::options::Flags;
    use crate::rows::Sample;
    use clap::Parser;
    use r1_train::update::Applied;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        flags: Flags,
    }

    fn sample(advantage: f64, reward: f64, truncated: bool) -> Sample {
        Sample {
            line: 1,
            group: 0,
            prompt: vec![1],
            completion: vec![1, 2],
            sampled: vec![-1.0; 2],
            reference: None,
            advantage,
            reward: Some(reward),
            parts: Vec::new(),
            inv_temperature: 1.0,
            truncated,
            policy: None,
        }
    }

    fn said(samples: &[Sample], sums: Sums, grad_norm: f64, entropy: f64, lr: f64) -> String {
        of(&[], samples, sums, grad_norm, entropy, lr)
    }

    fn of(flags: &[&str], samples: &[Sample], sums: Sums, grad_norm: f64, entropy: f64, lr: f64) -> String {
        let line = Line::parse_from([&["test"][..], flags].concat());
        let objective = line.flags.settle(false).unwrap();
        let samples: Vec<&Sample> = samples.iter().collect();
        let applied = Applied { grad_norm, expert_imbalance: None };
        let all = entropy * 2.0 * samples.len() as f64;
        Report::of(&objective, &samples, &sums, Agreement::default(), all, None, applied)
            .explain(lr)
            .join("\n")
    }

    #[test]
    fn each_reason_for_a_zero_has_its_own_words() {
        let spread = [sample(1.0, 1.0, false), sample(-1.0, 0.0, false)];
        let equal = [sample(0.0, 1.0, false), sample(0.0, 1.0, true), sample(0.0, 1.0, true)];
        let on_policy = Sums {
            rows: 2,
            tokens: 4,
            ratios: 4,
            ratio: 4.0,
            ratio_range: [1.0, 1.0],
            moving: 4,
            ..Sums::default()
        };
        assert!(said(&spread, on_policy, 0.7, 1.0, 1e-6).contains("average to 0 in each group"));
        assert_eq!(said(&spread, on_policy, 0.7, 1.0, 1e-6).lines().count(), 1);
        let held = of(&["--loss", "reinforce"], &spread, on_policy, 0.7, 1.0, 1e-6);
        assert!(held.contains("holds its ratio") && !held.contains("average to 0"), "{held}");
        let text = said(&equal, on_policy, 0.0, 1.0, 1e-6);
        assert!(
            text.contains("every advantage is 0") && text.contains("67% of the completions ended"),
            "{text}"
        );
        assert!(said(&spread, on_policy, 0.7, 0.01, 0.0).contains("entropy 0.010"));
        assert!(said(&spread, on_policy, 0.7, 1.0, 0.0).contains("learning rate 0"));
        let clipped =
            Sums { ratio_range: [0.1, 3.0], clipped_low: 1, clipped_high: 3, moving: 0, ..on_policy };
        assert!(
            said(&spread, clipped, 0.0, 1.0, 1e-6).contains("grad_norm 0: 100% of the ratios are clipped")
        );
        let half = Sums { clipped_low: 1, clipped_high: 1, ..clipped };
        let text = said(&spread, half, 0.5, 1.0, 1e-6);
        assert!(text.contains("50% of the ratios are clipped (25% below, 25% above)"), "{text}");
        let dropped = Sums { off_policy: 2, clipped_low: 0, clipped_high: 0, ..clipped };
        assert!(said(&spread, dropped, 0.0, 1.0, 1e-6).contains("--off-policy-threshold"));
        assert!(said(&spread, Sums::default(), 0.0, 1.0, 1e-6).contains("no token has a loss"));
    }
}
