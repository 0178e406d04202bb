//! CISPO (MiniMax-M1): the ratio is clipped and held, and no token loses its gradient: sg(clip(r, low, cap)) A log π.

use super::{Clip, Term};

/// One token. TRL and ScaleRL have no lower bound (`low` 0); verl has one.
pub fn cispo(advantage: f64, logprob: f64, log_ratio: f64, low: f64, cap: f64) -> Term {
    let ratio = log_ratio.exp();
    let held = ratio.clamp(low.min(cap), cap) * advantage;
    let clip = if ratio > cap && advantage > 0.0 { Clip::High } else { Clip::No };
    Term { value: held * logprob, by_logprob: held, clip, ..Term::default() }
}
