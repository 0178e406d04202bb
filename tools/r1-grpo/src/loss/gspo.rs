//! GSPO-token: the sequence's ratio s clipped, its gradient through each token alone: s_t = sg(s) π / sg(π).
//!
//! GSPO itself is the clipped surrogate of the sequence's ratio, with the gradient through the mean. With one advantage a
//! sequence and equal weights both have the same value and gradient (GSPO eq. 14 and after); they differ where tokens are weighed
//! one by one.

use super::{Term, clip};

/// One token of a sequence with the mean log-ratio `log_ratio`.
pub fn gspo_token(advantage: f64, log_ratio: f64, bounds: [f64; 2]) -> Term {
    let term = clip::clipped(advantage, log_ratio, bounds, None);
    Term { by_logprob: term.by_ratio, by_ratio: 0.0, ..term }
}
