//! DPPO: a token is dropped by how far its probability moved, not by its ratio: sg(min(r, cap)) A log π where the mask holds.
//!
//! Total variation (the token against all others): for A > 0 the token stays while π − π_old ≤ high, else while π − π_old ≥ −low.
//! Binary KL: it stays while KL(π_old ‖ π) of the two-outcome distribution is within the bound, or the move was against A.

use super::{Clip, Term};

/// Keeps 1 − p from being 0 (verl's constant).
const ROOM: f64 = 1e-8;

/// What distance the mask measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distance {
    /// |π − π_old|
    TotalVariation,
    /// KL of (π_old, 1 − π_old) from (π, 1 − π)
    Binary,
}

/// One token; `low` and `high` bound the distance, `cap` the held ratio.
pub fn dppo(
    advantage: f64,
    [logprob, old]: [f64; 2],
    distance: Distance,
    [low, high]: [f64; 2],
    cap: f64,
) -> Term {
    let (p, p_old) = (logprob.exp(), old.exp());
    let stays = match distance {
        Distance::TotalVariation if advantage > 0.0 => p - p_old <= high,
        Distance::TotalVariation => p - p_old >= -low,
        Distance::Binary => {
            let rest = (1.0 - p_old) * ((1.0 - p_old + ROOM) / (1.0 - p + ROOM)).ln();
            let divergence = p_old * (old - logprob) + rest;
            if advantage > 0.0 { divergence <= high || p <= p_old } else { divergence <= low || p >= p_old }
        }
    };
    if !stays {
        let clip = match () {
            () if advantage > 0.0 => Clip::High,
            () if advantage < 0.0 => Clip::Low,
            () => Clip::No,
        };
        return Term { clip, ..Term::default() };
    }
    let held = (logprob - old).exp().min(cap) * advantage;
    Term { value: held * logprob, by_logprob: held, ..Term::default() }
}
