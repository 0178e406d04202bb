//! Order-free randomness: the draws of a row are a function of (seed, row, attempt, purpose) and of nothing else.
//!
//! The generator is SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014): the
//! n-th number is a mix of `state + n · γ`, so it is a counter with a good hash behind it. The starting state of every stream
//! is itself a hash of what the stream is for, and two streams share no state.

/// What a stream of draws is for. Each purpose has its own stream, so that one more draw for the wording
/// of a row never changes its problem, and noise never changes either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Family and language of the row.
    Choice = 1,
    /// The numbers of the problem.
    Problem = 2,
    /// Phrasing of the prompt and words of the reasoning.
    Wording = 3,
    /// What is spoilt in an imitation example.
    Noise = 4,
}

/// A stream of pseudo-random draws.
#[derive(Clone, Debug)]
pub struct Draw {
    state: u64,
}

/// The odd constant of SplitMix64: 2⁶⁴ / golden ratio.
const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// The output function of SplitMix64: a bijection of 64 bits in which every input bit reaches every output bit.
pub fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

impl Draw {
    /// The stream of one row for one purpose; `attempt` counts how often a problem had to be drawn again.
    pub fn new(seed: u64, row: u64, attempt: u64, purpose: Purpose) -> Draw {
        let key = [seed, row, attempt, purpose as u64]
            .into_iter()
            .fold(0, |key: u64, part| mix((key ^ mix(part.wrapping_add(GAMMA))).wrapping_add(GAMMA)));
        Draw { state: key }
    }

    /// A stream that starts at a given SplitMix64 state.
    #[cfg(test)]
    pub fn from_state(state: u64) -> Draw {
        Draw { state }
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GAMMA);
        mix(self.state)
    }

    /// Uniform in `0..n` without bias (multiply and reject); `n` is at least 1.
    pub fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0, "an empty range has no draw");
        // The low word below 2⁶⁴ mod n marks the incomplete last block, which would favour some results.
        let incomplete = n.wrapping_neg() % n;
        loop {
            let product = u128::from(self.bits()) * u128::from(n);
            if product as u64 >= incomplete {
                return (product >> 64) as u64;
            }
        }
    }

    /// Uniform in `low..=high`.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        assert!(low <= high, "an empty range has no draw");
        let width = (high as i128 - low as i128 + 1) as u128;
        match u64::try_from(width) {
            Ok(width) => (low as i128 + i128::from(self.below(width))) as i64,
            Err(_) => self.bits() as i64,
        }
    }

    /// Uniform in [0, 1), with 53 bits.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True with probability `p`. Always takes exactly one draw.
    pub fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    /// One of the items, each as likely as the other; the slice is not empty.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(items.len() as u64) as usize]
    }

    /// One of the items, in proportion to its weight; at least one weight is positive.
    pub fn weighted<T: Copy>(&mut self, items: &[(T, f64)]) -> T {
        let total: f64 = items.iter().map(|item| item.1).sum();
        let mut rest = self.unit() * total;
        let mut last = items[0].0;
        for &(item, weight) in items.iter().filter(|item| item.1 > 0.0) {
            if rest < weight {
                return item;
            }
            rest -= weight;
            last = item;
        }
        // Rounding of the sum can leave a crumb behind the last weight.
        last
    }

    /// Puts the items in a uniformly drawn order (Fisher–Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_published_splitmix64_sequence() {
        // The test vector that circulates with SplitMix64: state 1234567.
        let mut draw = Draw::from_state(1_234_567);
        let drawn: Vec<u64> = (0..5).map(|_| draw.bits()).collect();
        assert_eq!(
            drawn,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423,
                4_593_380_528_125_082_431,
                16_408_922_859_458_223_821
            ]
        );
    }

    #[test]
    fn streams_of_neighbours_do_not_resemble_each_other() {
        let mut seen = std::collections::HashSet::new();
        for seed in 0..20 {
            for row in 0..50 {
                for attempt in 0..3 {
                    for purpose in [Purpose::Choice, Purpose::Problem, Purpose::Wording, Purpose::Noise] {
                        assert!(seen.insert(Draw::new(seed, row, attempt, purpose).bits()));
                    }
                }
            }
        }
    }

    #[test]
    fn draws_are_uniform_within_their_range() {
        let mut draw = Draw::new(1, 2, 3, Purpose::Problem);
        let mut counts = [0u32; 6];
        for _ in 0..60_000 {
            counts[(draw.between(-2, 3) + 2) as usize] += 1;
        }
        // Six standard deviations of a binomial(60000, 1/6).
        assert!(counts.iter().all(|&count| (count as f64 - 10_000.0).abs() < 6.0 * 91.3), "{counts:?}");
        let hits = (0..40_000).filter(|_| draw.chance(0.3)).count() as f64;
        assert!((hits - 12_000.0).abs() < 6.0 * 91.7, "{hits}");
        let mut weighted = [0u32; 3];
        for _ in 0..40_000 {
            weighted[draw.weighted(&[(0usize, 1.0), (1, 0.0), (2, 3.0)])] += 1;
        }
        assert_eq!(weighted[1], 0);
        assert!((weighted[2] as f64 - 30_000.0).abs() < 6.0 * 86.6, "{weighted:?}");
    }

    #[test]
    fn every_order_is_as_likely() {
        let mut draw = Draw::new(5, 0, 0, Purpose::Problem);
        let mut counts = std::collections::HashMap::new();
        for _ in 0..24_000 {
            let mut order = [0, 1, 2, 3];
            draw.shuffle(&mut order);
            *counts.entry(order).or_insert(0u32) += 1;
        }
        assert_eq!(counts.len(), 24);
        assert!(counts.values().all(|&count| (count as f64 - 1000.0).abs() < 6.0 * 31.0), "{counts:?}");
    }
}
