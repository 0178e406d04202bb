//! VESPO: every token of a sequence is weighed by φ(W) = e^λ W^k e^(−λ W), W the ratio of the whole sequence; φ(1) = 1 and φ is held.
//!
//! W is clamped as TRL does: each token's log-ratio to ±20, their sum to [ln 1e-8, 20].

use super::Term;

/// ln 1e-8.
const LEAST: f64 = -18.420680743952367;
const MOST: f64 = 20.0;

/// k and λ for advantages from 0 on, and for negative ones.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Shape {
    /// the power of W
    pub k: f64,
    /// the rate of decay
    pub lambda: f64,
}

/// φ(W) of a sequence from its tokens' log-ratios; `correction` are the weights of the off-policy correction, which are part of W here.
pub fn phi(advantage: f64, log_ratios: &[f64], correction: Option<&[f64]>, shapes: [Shape; 2]) -> f64 {
    let Shape { k, lambda } = if advantage >= 0.0 { shapes[0] } else { shapes[1] };
    let lambda = lambda.max(1e-4);
    let mut log_w: f64 = log_ratios.iter().map(|gap| gap.clamp(-MOST, MOST)).sum();
    if let Some(weights) = correction {
        log_w += weights.iter().map(|w| w.ln().clamp(LEAST, MOST)).sum::<f64>();
    }
    let log_w = log_w.clamp(LEAST, MOST);
    (lambda + k * log_w - lambda * log_w.exp()).exp()
}

/// One token of a sequence with this φ.
pub fn vespo(advantage: f64, logprob: f64, phi: f64) -> Term {
    let held = phi * advantage;
    Term { value: held * logprob, by_logprob: held, ..Term::default() }
}
