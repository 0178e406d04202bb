//! Rotary position embedding (Su et al. 2021, arXiv 2104.09864, equation 34): pair i turns by position · inv_freq[i].

use super::Pairing;
use crate::real::Real;

/// Turns one vector of `2 · cos.len()` values by the angles given as cosines and sines; `inverse` turns back.
pub(crate) fn rotate<F: Real>(x: &mut [F], cos: &[F], sin: &[F], pairing: Pairing, inverse: bool) {
    let half = cos.len();
    for i in 0..half {
        let (a, b) = match pairing {
            Pairing::Half => (i, i + half),
            Pairing::Interleaved => (2 * i, 2 * i + 1),
        };
        let s = if inverse { -sin[i] } else { sin[i] };
        (x[a], x[b]) = (x[a] * cos[i] - x[b] * s, x[b] * cos[i] + x[a] * s);
    }
}
