//! NEFTune (Jain et al., 2023): uniform noise on the embedded tokens while training, so that what is imitated is not learned by heart.
//!
//! Each value gets a number from (−1, 1) times α / √(L C), L the tokens of its sequence and C the width. The numbers are a function of
//! the seed, the update, and the value's place in the batch as it is cut: the same run has the same noise.

use r1_model::Packed;
use r1_model::random::{Stream, hash};

/// The noise of one update.
#[derive(Clone, Copy, Debug)]
pub struct Noise {
    alpha: f64,
    stream: Stream,
    /// values that earlier micro-batches of the update took
    taken: u64,
}

impl Noise {
    /// The noise of an update; `alpha` is the paper's (5 to 15).
    pub fn of(alpha: f64, seed: u64, update: u64) -> Noise {
        Noise { alpha, stream: Stream::of(seed, hash("neftune"), update), taken: 0 }
    }

    /// Puts noise on a micro-batch of a network of this width. Tokens that several sequences share count the longest one's length.
    pub fn put(&mut self, packed: &mut Packed, width: usize) {
        let mut lengths = vec![1usize; packed.rows()];
        for segment in &packed.segments {
            for &row in &segment.path {
                lengths[row as usize] = lengths[row as usize].max(segment.path.len());
            }
        }
        packed.noise.clear();
        packed.noise.reserve(packed.rows() * width);
        for length in lengths {
            let scale = self.alpha / ((length * width) as f64).sqrt();
            for _ in 0..width {
                packed.noise.push((scale * (2.0 * self.stream.at(self.taken) - 1.0)) as f32);
                self.taken += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use r1_model::batch::Sequence;

    #[test]
    fn noise_is_bounded_by_the_length_and_is_the_updates_own() {
        let sequences = [
            Sequence { prompt: &[1, 2, 3], completion: &[4, 5] },
            Sequence { prompt: &[9; 8], completion: &[7; 9] },
        ];
        let width = 100;
        let of = |seed, update| {
            let mut packed = Packed::pack(&sequences);
            Noise::of(5.0, seed, update).put(&mut packed, width);
            packed.noise
        };
        let noise = of(1, 2);
        assert_eq!(noise.len(), (4 + 16) * width);
        for (part, length) in [(&noise[..400], 4.0f32), (&noise[400..], 16.0)] {
            let bound = 5.0 / (length * 100.0).sqrt();
            let largest = part.iter().fold(0.0f32, |most, x| most.max(x.abs()));
            assert!(largest <= bound && largest > 0.95 * bound, "{largest} {bound}");
            let mean = part.iter().sum::<f32>() / part.len() as f32;
            assert!(mean.abs() < 0.15 * bound, "{mean}");
        }
        assert!(noise == of(1, 2) && noise != of(1, 3) && noise != of(2, 2));
    }
}
