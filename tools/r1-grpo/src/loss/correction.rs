//! When rows were sampled by another engine than the one that trains, its log-probabilities differ a little from what the old policy
//! says here. With w = π_old / π_sampled, per token or as the product over a sequence, the surrogate is multiplied by w truncated
//! (tis) or by w where it lies within bounds and by 0 elsewhere (mis, also IcePop). w has no gradient.

/// What w is, and what happens to a w out of bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Correction {
    /// each token's own w, clamped to the bounds (TRL token_truncate, verl rollout_is=token)
    TisToken,
    /// each token's own w, 0 out of bounds (TRL token_mask, IcePop)
    MisToken,
    /// the product over the sequence, clamped to the bounds (TRL sequence_truncate)
    TisSequence,
    /// the product over the sequence, 0 out of bounds (TRL sequence_mask, its default)
    MisSequence,
}

impl Correction {
    /// Whether each token has its own w.
    pub fn by_token(self) -> bool {
        matches!(self, Correction::TisToken | Correction::MisToken)
    }

    /// The weights of a sequence's tokens.
    pub fn weights(self, old: &[f64], sampled: &[f64], [low, high]: [f64; 2]) -> Vec<f64> {
        let gap = |(old, sampled): (&f64, &f64)| old - sampled;
        let bounded = |log: f64| {
            let w = log.exp();
            match self {
                Correction::TisToken | Correction::TisSequence => w.clamp(low, high),
                Correction::MisToken | Correction::MisSequence if (low..=high).contains(&w) => w,
                Correction::MisToken | Correction::MisSequence => 0.0,
            }
        };
        if self.by_token() {
            return old.iter().zip(sampled).map(gap).map(bounded).collect();
        }
        vec![bounded(old.iter().zip(sampled).map(gap).sum()); old.len()]
    }
}

/// DeepSeek-V3.2's off-policy mask: a sequence with a negative advantage stays only while the policy has not moved away from what
/// was sampled, mean_t (log π_sampled − log π) ≤ δ.
pub fn stays(advantage: f64, logprobs: &[f64], sampled: &[f64], threshold: f64) -> bool {
    let gap: f64 = sampled.iter().zip(logprobs).map(|(s, l)| s - l).sum();
    advantage >= 0.0 || gap / logprobs.len().max(1) as f64 <= threshold
}
