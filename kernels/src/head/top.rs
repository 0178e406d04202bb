//! The most probable tokens of each row, for a teacher whose student is trained elsewhere.

use std::cmp::Ordering;

use super::{by_chunks, check, cpu, log_sum_exp};
use crate::linear::Weight;
use crate::threads::SharedMut;

/// The `n` most probable tokens of every row, most probable first: `[T, n]` each.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Top {
    /// token ids
    pub ids: Vec<u32>,
    /// their log-probabilities (nats) under the tempered distribution: the bits that [`super::forward`] gives for them
    pub logprobs: Vec<f32>,
}

/// The order of a row's tokens, each with its log-probability.
pub(super) fn most_probable_first(a: &(f32, u32), b: &(f32, u32)) -> Ordering {
    b.0.total_cmp(&a.0).then(a.1.cmp(&b.1))
}

/// Finds them; of tokens with the same log-probability (as rounded to f32) the lower id goes first.
///
/// # Panics
/// When the sizes do not fit one another, or `n` is 0 or more than the vocabulary.
pub fn top(h: &[f32], w: &Weight, inv_temperature: &[f32], n: usize) -> Top {
    let (rows, v) = (inv_temperature.len(), w.n());
    check("head::top", h, w, &vec![0; rows], inv_temperature);
    assert!((1..=v).contains(&n), "head::top: {n} of a vocabulary of {v}");
    let mut out = Top { ids: vec![0; rows * n], logprobs: vec![0.0; rows * n] };
    let (ids, logprobs) = (SharedMut::new(&mut out.ids), SharedMut::new(&mut out.logprobs));
    by_chunks(
        h,
        w,
        rows,
        |row, z| {
            cpu::temper_in_place(z, inv_temperature[row]);
            let lse = log_sum_exp(z);
            let mut all: Vec<(f32, u32)> = z.iter().zip(0..).map(|(&z, id)| (z - lse, id)).collect();
            if n < v {
                all.select_nth_unstable_by(n, most_probable_first);
                all.truncate(n);
            }
            all.sort_unstable_by(most_probable_first);
            // SAFETY: every row is visited once.
            let (ids, logprobs) =
                unsafe { (ids.slice(row * n..(row + 1) * n), logprobs.slice(row * n..(row + 1) * n)) };
            for (i, (logprob, id)) in all.into_iter().enumerate() {
                (ids[i], logprobs[i]) = (id, logprob);
            }
        },
        |_, _| (),
    );
    out
}
