//! Train and test: which side a problem is on is a property of the problem.
//!
//! The side is a hash of the problem's canonical form, in which wording, language, seed and row number have no part. Two
//! runs with whatever seeds and flags therefore never share a problem across the two sides, provided that `--test-share`
//! is the same; with a larger share the test side only grows.

use crate::draw::mix;

/// The side of the split that a problem is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// To train on.
    Train,
    /// Held out.
    Test,
}

impl Side {
    /// The word written in the `split` column.
    pub fn name(self) -> &'static str {
        match self {
            Side::Train => "train",
            Side::Test => "test",
        }
    }
}

/// A stable 64-bit fingerprint of a canonical problem: FNV-1a over the bytes, then SplitMix64's finalizer
/// (FNV alone leaves the high bits of short texts poorly mixed).
pub fn fingerprint(canonical: &str) -> u64 {
    let fnv = canonical.bytes().fold(0xCBF2_9CE4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    });
    mix(fnv)
}

/// The side of a canonical problem: test where its fingerprint, read as a fraction of 2⁶⁴, is below `test_share`.
pub fn side(canonical: &str, test_share: f64) -> Side {
    let place = (fingerprint(canonical) >> 11) as f64 / (1u64 << 53) as f64;
    if place < test_share { Side::Test } else { Side::Train }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_kept_and_nested() {
        let problems: Vec<String> =
            (1..100).flat_map(|a| (1..100).map(move |b| format!("{a} + {b}"))).collect();
        let mut larger = 0;
        for problem in &problems {
            if side(problem, 0.1) == Side::Test {
                assert_eq!(side(problem, 0.3), Side::Test, "a larger share keeps what was held out");
            }
            larger += usize::from(side(problem, 0.3) == Side::Test);
            assert_eq!(side(problem, 0.0), Side::Train);
            assert_eq!(side(problem, 1.0), Side::Test);
        }
        let share = larger as f64 / problems.len() as f64;
        assert!((share - 0.3).abs() < 0.03, "{share}");
    }

    #[test]
    fn the_hash_never_changes() {
        // FNV-1a of "a" is published as 0xaf63dc4c8601ec8c; held-out sets of old runs depend on this staying so.
        assert_eq!(fingerprint("a"), mix(0xAF63_DC4C_8601_EC8C));
        assert_eq!(side("2 + 3 * 4", 0.1), side("2 + 3 * 4", 0.1));
    }
}
