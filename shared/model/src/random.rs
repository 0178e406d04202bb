//! Order-free randomness: a number is a pure function of who asks for it.
//!
//! The stream of a token depends on (run seed, row id, sample, position) and on nothing else: not on the batch, its
//! order, the thread count, or a restart (DESIGN: order-free randomness). The mixing function is the finalizer of
//! SplitMix64 (Steele, Lea and Flood, 2014), chained over the key's words.

/// SplitMix64's output function: a bijection of 64-bit words with full avalanche.
#[inline]
pub fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A stable 64-bit hash of a string: FNV-1a, then [`mix`].
pub fn hash(text: &str) -> u64 {
    let fnv =
        text.bytes().fold(0xCBF2_9CE4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01B3));
    mix(fnv)
}

/// A random stream named by a key; [`Stream::at`] gives its numbers in any order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream(u64);

impl Stream {
    /// The stream of one completion: run seed, row id (see [`hash`]) and sample number.
    pub fn of(seed: u64, id: u64, sample: u64) -> Stream {
        Stream(mix(mix(mix(seed) ^ id) ^ sample))
    }

    /// What names the stream: with it, [`Stream::bits`] can be computed elsewhere.
    pub fn key(self) -> u64 {
        self.0
    }

    /// The 64 bits at `position`.
    #[inline]
    pub fn bits(self, position: u64) -> u64 {
        mix(self.0 ^ mix(position))
    }

    /// A uniform number in [0, 1) with 53 bits.
    #[inline]
    pub fn at(self, position: u64) -> f64 {
        (self.bits(position) >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// A standard normal number (Box–Muller over two uniforms of `position`).
    pub fn normal(self, position: u64) -> f64 {
        let (u, v) = (1.0 - self.at(2 * position), self.at(2 * position + 1));
        (-2.0 * u.ln()).sqrt() * (2.0 * std::f64::consts::PI * v).cos()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uniform_numbers_are_uniform_and_streams_differ() {
        let (a, b) = (Stream::of(7, hash("a"), 0), Stream::of(7, hash("a"), 1));
        let n = 100_000u64;
        let mean: f64 = (0..n).map(|i| a.at(i)).sum::<f64>() / n as f64;
        let product: f64 = (0..n).map(|i| (a.at(i) - 0.5) * (b.at(i) - 0.5)).sum::<f64>() / n as f64;
        assert!((mean - 0.5).abs() < 0.005, "{mean}");
        assert!(product.abs() < 0.002, "{product}");
    }

    #[test]
    fn normal_numbers_have_unit_variance() {
        let s = Stream::of(1, 2, 3);
        let n = 100_000u64;
        let (sum, squares) = (0..n).fold((0.0, 0.0), |(a, b), i| {
            let x = s.normal(i);
            (a + x, b + x * x)
        });
        assert!((sum / n as f64).abs() < 0.015 && (squares / n as f64 - 1.0).abs() < 0.02);
    }
}
