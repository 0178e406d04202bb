//! SAPO: a soft gate instead of a clip: A σ(τ (r − 1)) 4 / τ, with its own τ for positive and for other advantages.
//!
//! At r = 1 its slope is that of r A, and it falls off smoothly on both sides.

use super::Term;

/// One token; `temperatures` for advantages above 0, and for all others.
pub fn sapo(advantage: f64, log_ratio: f64, temperatures: [f64; 2]) -> Term {
    let tau = if advantage > 0.0 { temperatures[0] } else { temperatures[1] };
    let ratio = log_ratio.exp();
    let gate = 1.0 / (1.0 + (-tau * (ratio - 1.0)).exp());
    // d/d(log r) σ(τ (r − 1)) 4 / τ = 4 σ (1 − σ) r. Where r overflows, 1 − σ is 0 long before.
    let slope = if gate >= 1.0 { 0.0 } else { 4.0 * gate * (1.0 - gate) * ratio };
    Term { value: advantage * gate * 4.0 / tau, by_ratio: advantage * slope, ..Term::default() }
}
