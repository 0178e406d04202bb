//! Tokens drawn on a device: what comes down of a row is a token and its log-probability.

use anyhow::Result;
use r1_kernels::cuda::{Buffer, View};
use r1_kernels::{Precision, head};

use super::is_out_of_memory;
use super::passes::by_precision;
use super::recorded::Decode;
use super::tensors::Network;
use crate::cache::Caches;
use crate::network::Attend;
use crate::sample::{Draw, Sampling};

/// Keys of the draws' streams, two words each.
pub(super) fn keys(draws: &[Draw]) -> impl Iterator<Item = u32> {
    draws.iter().flat_map(|draw| {
        let key = draw.stream.key();
        [key as u32, (key >> 32) as u32]
    })
}

/// What stands before these draws, for the device: `[where each draw's tokens start, and the end | tokens | marks]`; nothing where it
/// changes nothing.
pub(super) fn standing(sampling: &Sampling, draws: &[Draw]) -> Vec<u32> {
    let rows: Vec<_> = draws.iter().map(|draw| sampling.marks(draw.before)).collect();
    if rows.iter().all(|row| row.is_empty()) {
        return Vec::new();
    }
    let mut end = 0;
    let ends = rows.iter().map(|row| (end += row.len() as u32, end).1);
    let mut words: Vec<u32> = std::iter::once(0).chain(ends).collect();
    words.extend(rows.iter().flatten().map(|mark| mark.0));
    words.extend(rows.iter().flatten().map(|mark| mark.1));
    words
}

impl Network {
    /// Makes the draws from the logits of the chosen rows.
    pub(crate) fn draws(
        &self,
        tokens: &[u32],
        positions: &[u32],
        mut attend: Attend,
        rows: &[u32],
        sampling: &Sampling,
        draws: &[Draw],
    ) -> Result<Vec<(u32, f32)>> {
        loop {
            match self.drawn(tokens, positions, attend.again(), rows, sampling, draws) {
                // Whatever the step has done, it does again.
                Err(e) if is_out_of_memory(&e) && attend.give_up_recordings() => {}
                done => return done,
            }
        }
    }

    fn drawn(
        &self,
        tokens: &[u32],
        positions: &[u32],
        mut attend: Attend,
        rows: &[u32],
        sampling: &Sampling,
        draws: &[Draw],
    ) -> Result<Vec<(u32, f32)>> {
        let one_each = draws.len() == tokens.len() && draws.iter().enumerate().all(|(i, draw)| draw.row == i);
        if let Attend::Paged { caches: Caches::Device(caches), tables, lens } = &mut attend
            && one_each
        {
            let step = Decode { tokens, positions, tables, lens, draws };
            if let Some(drawn) = self.decoded(caches, &step, sampling)? {
                return Ok(drawn);
            }
        }
        let logits = by_precision!(self, A => self.logits_there::<A>(tokens, positions, attend, rows))?;
        let n = draws.len();
        let mut words: Vec<u32> = keys(draws).collect();
        words.extend(draws.iter().map(Draw::place));
        words.extend(draws.iter().map(|draw| draw.row as u32));
        words.extend(standing(sampling, draws));
        let words = self.upload("drawn tokens", &words)?;
        let part = |from: usize, to: usize| words.part(from * n..to * n);
        let (keys, places, standing) = (part(0, 2).cast(), part(2, 3), words.part(4 * n..words.len()));
        self.draw(logits.all(), sampling, keys, places, Some(part(3, 4)), standing)
    }

    /// A token of each draw and its log-probability, by the keys of the streams, the places in them, where draws are not one for
    /// each row in order the rows of logits, and what [`standing`] gave.
    pub(super) fn draw(
        &self,
        logits: View<'_, f32>,
        sampling: &Sampling,
        keys: View<'_, u64>,
        places: View<'_, u32>,
        rows: Option<View<'_, u32>>,
        standing: View<'_, u32>,
    ) -> Result<Vec<(u32, f32)>> {
        let (d, v, n, op) = (&self.device, self.config.vocab_size, keys.len(), "drawn tokens");
        let Sampling { temperature, top_k, top_p, min_p, .. } = *sampling;
        let rule = head::cuda::Rule { temperature, top_k, top_p, min_p };
        let marks = (!standing.is_empty()).then(|| {
            let ids = n + 1..n + 1 + (standing.len() - n - 1) / 2;
            head::cuda::Marks {
                starts: standing.part(0..n + 1),
                ids: standing.part(ids.clone()),
                marks: standing.part(ids.end..standing.len()),
                repetition: sampling.repetition_penalty,
                presence: sampling.presence_penalty,
                frequency: sampling.frequency_penalty,
            }
        });
        let mut drawn = Buffer::<u32>::uninit(d, op, 2 * n)?;
        let (tokens, logprobs) = drawn.all_mut().split(n);
        head::cuda::draw(d, logits, v, &rule, marks.as_ref(), rows, keys, places, tokens, logprobs.cast())?;
        let drawn = drawn.download(op)?;
        let (tokens, logprobs) = drawn.split_at(n);
        Ok(tokens.iter().zip(logprobs).map(|(&token, &bits)| (token, f32::from_bits(bits))).collect())
    }
}
