//! Tokens drawn on a device: what comes down of a row is a token and its log-probability.

use anyhow::Result;
use r1_kernels::cuda::{Buffer, View};
use r1_kernels::{Precision, head};

use super::passes::by_precision;
use super::recorded::Decode;
use super::tensors::Network;
use crate::cache::Caches;
use crate::network::Attend;
use crate::sample::{Draw, Sampling};

impl Network {
    /// Draws a token of each of the first rows, and gives the logits of the others.
    pub(crate) fn draws(
        &self,
        tokens: &[u32],
        positions: &[u32],
        mut attend: Attend,
        rows: &[u32],
        sampling: &Sampling,
        draws: &[Draw],
        out: &mut Vec<f32>,
    ) -> Result<Vec<(u32, f32)>> {
        if let Attend::Paged { caches: Caches::Device(caches), tables, lens } = &mut attend
            && draws.len() == tokens.len()
        {
            let step = Decode { tokens, positions, tables, lens, draws };
            if let Some(drawn) = self.decoded(caches, &step, sampling)? {
                out.clear();
                return Ok(drawn);
            }
        }
        let logits = by_precision!(self, A => self.logits_there::<A>(tokens, positions, attend, rows))?;
        let (d, v, op) = (&self.device, self.config.vocab_size, "drawn tokens");
        let keys: Vec<u64> = draws.iter().map(|draw| draw.stream.key()).collect();
        let places: Vec<u32> = draws.iter().map(Draw::place).collect();
        let (keys, places) = (Buffer::of(d, op, &keys)?, Buffer::of(d, op, &places)?);
        let (own, rest) = (logits.part(0..draws.len() * v), logits.part(draws.len() * v..logits.len()));
        let drawn = self.draw(own, sampling, draws, keys.all(), places.all())?;
        *out = rest.download("logits")?;
        Ok(drawn)
    }

    /// A token of each row of logits and its log-probability, by the keys of the streams and the places in them.
    pub(super) fn draw(
        &self,
        logits: View<'_, f32>,
        sampling: &Sampling,
        draws: &[Draw],
        keys: View<'_, u64>,
        places: View<'_, u32>,
    ) -> Result<Vec<(u32, f32)>> {
        let (d, v, op) = (&self.device, self.config.vocab_size, "drawn tokens");
        let Sampling { temperature, top_k, top_p, min_p, .. } = *sampling;
        let rule = head::cuda::Rule { temperature, top_k, top_p, min_p };
        let marks = self.marks(sampling, draws)?;
        let mut drawn = Buffer::<u32>::uninit(d, op, 2 * draws.len())?;
        let (tokens, logprobs) = drawn.all_mut().split(draws.len());
        head::cuda::draw(d, logits, v, &rule, marks.as_ref(), keys, places, tokens, logprobs.cast())?;
        let drawn = drawn.download(op)?;
        let (tokens, logprobs) = drawn.split_at(draws.len());
        Ok(tokens.iter().zip(logprobs).map(|(&token, &bits)| (token, f32::from_bits(bits))).collect())
    }

    /// What stands before these draws, on the device; `None` where it changes nothing.
    fn marks(&self, sampling: &Sampling, draws: &[Draw]) -> Result<Option<head::cuda::Marks>> {
        let rows: Vec<_> = draws.iter().map(|draw| sampling.marks(draw.before)).collect();
        if rows.iter().all(|row| row.is_empty()) {
            return Ok(None);
        }
        let mut starts = vec![0];
        for row in &rows {
            starts.push(starts.last().unwrap_or(&0) + row.len() as u32);
        }
        let (ids, marks): (Vec<u32>, Vec<u32>) = rows.into_iter().flatten().unzip();
        Ok(Some(head::cuda::Marks {
            starts: self.upload("penalties", &starts)?,
            ids: self.upload("penalties", &ids)?,
            marks: self.upload("penalties", &marks)?,
            repetition: sampling.repetition_penalty,
            presence: sampling.presence_penalty,
            frequency: sampling.frequency_penalty,
        }))
    }
}
