//! GMPO: the geometric mean of the tokens' ratios, each clipped in log space on the side where the clip is the worse: exp(mean c_t) A.

use super::{Clip, Term};

/// A token's log-ratio after the one-sided clip to [−low, high], whether it still moves, and on which side it was clipped.
pub fn one_sided(advantage: f64, gap: f64, low: f64, high: f64) -> (f64, bool, Clip) {
    if advantage > 0.0 && gap > high {
        (high, false, Clip::High)
    } else if advantage <= 0.0 && gap < -low {
        (-low, false, if advantage < 0.0 { Clip::Low } else { Clip::No })
    } else {
        (gap, true, Clip::No)
    }
}

/// Any token of a sequence whose clipped log-ratios have this mean.
pub fn gmpo(advantage: f64, mean: f64, clip: Clip) -> Term {
    let value = mean.exp() * advantage;
    Term { value, by_ratio: value, clip, ..Term::default() }
}
