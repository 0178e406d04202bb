//! Rewards that look at how long a completion is. Lengths are in whatever the caller counts: tokens where it has
//! ids (as TRL does), characters where it has not (as open-r1 does).

/// The bounds of the cosine length reward.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cosine {
    /// Length from which the far value holds.
    pub max_len: usize,
    /// A wrong answer of length 0 (the lowest reward: a short wrong answer has not tried).
    pub min_wrong: f64,
    /// A wrong answer of the greatest length.
    pub max_wrong: f64,
    /// A correct answer of the greatest length.
    pub min_correct: f64,
    /// A correct answer of length 0.
    pub max_correct: f64,
}

impl Cosine {
    /// The values TRL and open-r1 use, for a given greatest length.
    pub fn with_max_len(max_len: usize) -> Self {
        Cosine { max_len, min_wrong: -1.0, max_wrong: -0.5, min_correct: 0.5, max_correct: 1.0 }
    }

    /// `far + (near − far) · (1 + cos(π · len / max_len)) / 2`: `near` at length 0, `far` from `max_len` on.
    ///
    /// Longer than `max_len` stays at the far value (TRL); open-r1 lets the cosine come back up.
    pub fn reward(&self, len: usize, correct: bool) -> f64 {
        let (near, far) =
            if correct { (self.max_correct, self.min_correct) } else { (self.min_wrong, self.max_wrong) };
        let progress = if self.max_len == 0 { 1.0 } else { (len as f64 / self.max_len as f64).min(1.0) };
        far + 0.5 * (near - far) * (1.0 + (progress * std::f64::consts::PI).cos())
    }
}

/// DAPO's soft overlong punishment (equation 13): 0 up to `max_len − cache`, then a straight line to −1 at `max_len`,
/// and −1 beyond.
pub fn soft_overlong(len: usize, max_len: usize, cache: usize) -> f64 {
    let free = max_len.saturating_sub(cache);
    if len <= free {
        0.0
    } else if len <= max_len {
        (free as f64 - len as f64) / (max_len - free) as f64
    } else {
        -1.0
    }
}

/// Kimi k1.5's length reward within a group whose lengths run from `least` to `greatest`: with
/// `λ = 1/2 − (len − least)/(greatest − least)`, a right answer has λ and a wrong one `min(0, λ)`; 0 where all have one length.
pub fn in_group(len: usize, least: usize, greatest: usize, right: bool) -> f64 {
    if greatest <= least {
        return 0.0;
    }
    let lambda = 0.5 - (len as f64 - least as f64) / (greatest - least) as f64;
    if right { lambda } else { lambda.min(0.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_a_group_short_is_good() {
        // The paper's λ at both ends and in the middle.
        assert_eq!([100, 150, 200].map(|len| in_group(len, 100, 200, true)), [0.5, 0.0, -0.5]);
        assert_eq!([100, 150, 200].map(|len| in_group(len, 100, 200, false)), [0.0, 0.0, -0.5]);
        assert_eq!(in_group(7, 7, 7, true), 0.0);
    }

    #[test]
    fn cosine_runs_between_its_bounds() {
        let c = Cosine::with_max_len(1000);
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        close(c.reward(0, true), 1.0);
        close(c.reward(500, true), 0.75);
        close(c.reward(1000, true), 0.5);
        close(c.reward(2000, true), 0.5);
        close(c.reward(0, false), -1.0);
        close(c.reward(500, false), -0.75);
        close(c.reward(1000, false), -0.5);
        // A third of the way: 0.5 + 0.25 * (1 + cos 60°) = 0.875.
        close(Cosine::with_max_len(3).reward(1, true), 0.875);
        close(Cosine::with_max_len(0).reward(0, true), 0.5);
    }

    #[test]
    fn soft_overlong_is_dapos() {
        assert_eq!(soft_overlong(80, 100, 20), 0.0);
        assert_eq!(soft_overlong(90, 100, 20), -0.5);
        assert_eq!(soft_overlong(100, 100, 20), -1.0);
        assert_eq!(soft_overlong(101, 100, 20), -1.0);
        assert_eq!(soft_overlong(5, 5, 0), 0.0);
        assert_eq!(soft_overlong(6, 5, 0), -1.0);
    }
}
