//! The clipped surrogate (PPO; GRPO: DeepSeekMath eq. 3), with INTELLECT-2's upper bound δ, and the dual clip (Ye et al., 2020).
//!
//! grpo, bnpo, dapo, dr_grpo, luspo and gspo are this surrogate; they differ in what the ratio is and in how tokens are weighed.

use super::{Clip, Term};

/// min( min(r, δ) A, clip(r, low, high) A ) with r = exp(log-ratio).
pub fn clipped(advantage: f64, log_ratio: f64, [low, high]: [f64; 2], delta: Option<f64>) -> Term {
    let ratio = log_ratio.exp();
    let limit = delta.unwrap_or(f64::INFINITY);
    let free = ratio.min(limit) * advantage;
    let bounded = ratio.clamp(low, high) * advantage;
    // The smaller of the two counts; where both are equal the ratio is inside the clip and has its gradient.
    let moves = if free <= bounded { ratio < limit } else { (low..=high).contains(&ratio) };
    let clip = match () {
        () if ratio < low && advantage < 0.0 => Clip::Low,
        () if ratio > high && advantage > 0.0 => Clip::High,
        () => Clip::No,
    };
    let by_ratio = if moves { ratio * advantage } else { 0.0 };
    Term { value: free.min(bounded), by_ratio, clip, ..Term::default() }
}

/// The clipped surrogate, which for a negative advantage never falls below c A (c > 1).
pub fn dual(advantage: f64, log_ratio: f64, bounds: [f64; 2], c: f64) -> Term {
    let term = clipped(advantage, log_ratio, bounds, None);
    if advantage < 0.0 && term.value < c * advantage {
        return Term { value: c * advantage, by_ratio: 0.0, ..term };
    }
    term
}
