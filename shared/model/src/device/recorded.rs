//! Decode steps by recordings: one token of every running sequence, queued by one call in place of some hundred.
//!
//! A recording is made for a number of rows and of pages, the next power of two of what a step needs (above 64 rows the next
//! multiple of 64); the rows that a step lacks write to a page that is nobody's. A step of new sizes runs once without one, so
//! that what is met once costs no memory, and is recorded the second time. The recording ends in logits, by which tokens are drawn
//! in one more call. What goes up is one block of words (another of
//! penalties, where these have outgrown it), what comes down a token and a log-probability a row.
//!
//! A recording holds memory. Where a step finds none left, be it for a new recording or beside those that there are, all are given up for
//! good, and the step is made again without.

use std::collections::HashMap;

use anyhow::Result;
use r1_kernels::Precision;
use r1_kernels::attention::PAGE;
use r1_kernels::attention::cuda::{Room, Rows};
use r1_kernels::cuda::{Buffer, Recording, View, ViewMut};

use super::attention::{Cached, There};
use super::cache::Caches;
use super::draws::{keys, standing};
use super::latent::seen;
use super::passes::by_precision;
use super::tensors::Network;
use crate::sample::{Draw, Sampling};

/// What a recording was made with, besides the caches that keep it.
#[derive(Clone, Copy, PartialEq)]
struct Made {
    network: u64,
    adapted: bool,
}

/// What a recording has room for.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Size {
    room: Room,
    /// pages of latents that are expanded
    seen: usize,
}

/// The recordings of a cache.
#[derive(Default)]
pub(super) struct Steps {
    made: Option<Made>,
    /// nothing for a size that was met once
    by_size: HashMap<Size, Option<Step>>,
    /// the device had no room for them, or nobody wants them
    off: bool,
    /// steps that were replayed
    pub replayed: usize,
}

impl Steps {
    /// No step is recorded any more; whether any might have been.
    pub fn stop(&mut self) -> bool {
        let before = std::mem::take(self);
        *self = Steps { off: true, replayed: before.replayed, ..Steps::default() };
        !before.off
    }
}

/// A recorded step.
struct Step {
    /// `[keys of the streams (two words a row) | token ids | positions | places in the streams | what `Rows` needs | pages of latents]`, and
    /// room for what stands before the draws, which is not recorded
    inputs: Buffer<u32>,
    /// [rows, V]
    logits: Buffer<f32>,
    recording: Recording,
}

/// The rows of a step, one a sequence.
pub(super) struct Decode<'a> {
    pub tokens: &'a [u32],
    pub positions: &'a [u32],
    pub tables: &'a [&'a [u32]],
    pub lens: &'a [usize],
    pub draws: &'a [Draw<'a>],
}

impl Decode<'_> {
    fn room(&self) -> Room {
        let rows = match self.tokens.len() {
            few @ ..=64 => few.next_power_of_two(),
            many => many.next_multiple_of(64),
        };
        let pages = self.lens.iter().max().map_or(1, |most| most.div_ceil(PAGE));
        Room { rows, pages: pages.next_power_of_two().max(2) }
    }

    /// What goes up.
    fn words(&self, room: Room, network: &Network, spare: u32, seen: &[u32]) -> Vec<u32> {
        let mut words: Vec<u32> = keys(self.draws).collect();
        let places: Vec<u32> = self.draws.iter().map(Draw::place).collect();
        words.resize(2 * room.rows, 0);
        for (i, part) in [self.tokens, self.positions, &places].into_iter().enumerate() {
            words.extend_from_slice(part);
            words.resize((3 + i) * room.rows, 0);
        }
        words.extend(Rows::words(&network.device, self.tables, self.lens, room, spare, network.shape()));
        words.extend_from_slice(seen);
        words
    }
}

impl Network {
    /// A token of every row and its log-probability, by a recording; `None` where there is none yet.
    pub(super) fn decoded(
        &self,
        caches: &mut Caches,
        step: &Decode,
        sampling: &Sampling,
    ) -> Result<Option<Vec<(u32, f32)>>> {
        if caches.steps.off {
            return Ok(None);
        }
        let made = Made { network: self.name, adapted: self.is_adapted() };
        if caches.steps.made != Some(made) {
            caches.steps = Steps { made: Some(made), replayed: caches.steps.replayed, ..Steps::default() };
        }
        let (room, spare) = (step.room(), caches.spare);
        let latents = caches.of_latents();
        let seen = if latents { seen(&self.config, step.tables, step.lens, spare) } else { Vec::new() };
        let mut words = step.words(room, self, spare, &seen);
        let standing = standing(sampling, step.draws);
        let size = Size { room, seen: seen.len() };
        let mut found = match caches.steps.by_size.insert(size, None) {
            None => return Ok(None),
            Some(Some(found)) => found,
            Some(None) => {
                // What stands before grows with every token.
                let room = words.len() + 2 * standing.len();
                by_precision!(self, A => self.record::<A>(caches, &words, room, size))?
            }
        };
        let (op, recorded) = ("a decode step", words.len());
        let beside = if recorded + standing.len() > found.inputs.len() {
            Some(self.upload("penalties", &standing)?)
        } else {
            words.extend(standing);
            None
        };
        found.inputs.part_mut(0..words.len()).upload(op, &words)?;
        found.recording.replay(op)?;
        let (n, logits) = (step.draws.len(), found.logits.part(0..step.draws.len() * self.config.vocab_size));
        let part = |at: usize, len: usize| found.inputs.part(at..at + len);
        let standing = match &beside {
            Some(standing) => standing.all(),
            None => part(recorded, words.len() - recorded),
        };
        let (keys, places) = (part(0, 2 * n).cast(), part(4 * room.rows, n));
        let drawn = self.draw(logits, sampling, keys, places, None, standing)?;
        caches.steps.by_size.insert(size, Some(found));
        caches.steps.replayed += 1;
        Ok(Some(drawn))
    }

    fn record<A: Cached>(&self, caches: &mut Caches, words: &[u32], room: usize, size: Size) -> Result<Step> {
        let (d, op) = (&self.device, "a decode step");
        let mut inputs = Buffer::uninit(d, op, room)?;
        inputs.part_mut(0..words.len()).upload(op, words)?;
        let recorded = inputs.part(0..words.len());
        let mut logits = Buffer::uninit(d, op, size.room.rows * self.config.vocab_size)?;
        let recording = d.record(op, || self.decode::<A>(caches, recorded, size, logits.all_mut()))?;
        Ok(Step { inputs, logits, recording })
    }

    /// The step as it is recorded.
    fn decode<A: Cached>(
        &self,
        caches: &mut Caches,
        inputs: View<'_, u32>,
        Size { room, seen }: Size,
        logits: ViewMut<'_, f32>,
    ) -> Result<()> {
        let (d, n, op) = (&self.device, room.rows, "a decode step");
        let part = |i: usize| inputs.part(i * n..(i + 1) * n);
        let end = inputs.len() - seen;
        let rows = Rows::within(d, inputs.part(5 * n..end), room)?;
        let seen = self.seen(inputs.part(end..inputs.len()));
        let mut positions = Buffer::uninit(d, op, n)?;
        positions.all_mut().copy_from(op, part(3))?;
        let mut x = self.embed_there(part(2))?;
        for layer in 0..self.config.layers {
            let mut there = There::Paged { caches, rows: &rows, seen };
            self.layer_through::<A>(layer, &mut x, &positions, &mut there)?;
        }
        let (normed, _) = self.normed::<f32, A>(x.all(), self.index.final_norm, self.config.rms_norm_eps)?;
        self.head_logits::<A>(&normed, logits)
    }
}
