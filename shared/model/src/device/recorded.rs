//! Decode steps by recordings: one token of every running sequence, queued by one call in place of some hundred.
//!
//! A recording is made for a number of rows and of pages, the next power of two of what a step needs (above 64 rows the next
//! multiple of 64); the rows that a step lacks write to a page that is nobody's. A step of new sizes runs once without one, so
//! that what is met once costs no memory, and is recorded the second time. The recording ends in logits, by which tokens are drawn
//! in one more call. What goes up is one block of words (another of
//! penalties, where these have outgrown it), what comes down a token and a log-probability a row.
//!
//! Recordings work in the same memory, one after another, as much as the largest needs: they share a pool, and a buffer for logits. Where a
//! larger step comes, those before it are made anew. Where a step finds no memory left beside them they are given up; where none are left to
//! give up, nothing is recorded any more. The step is made again each time.

use std::collections::HashMap;

use anyhow::Result;
use r1_kernels::Precision;
use r1_kernels::attention::PAGE;
use r1_kernels::attention::cuda::{Room, Rows};
use r1_kernels::cuda::{Buffer, Pool, Recording, View, ViewMut};

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
    /// where they work
    pool: Option<Pool>,
    /// `[rows of the largest, V]`
    logits: Option<Buffer<f32>>,
    /// the device had no room for them, or nobody wants them
    off: bool,
    /// steps that were replayed
    pub replayed: usize,
}

impl Steps {
    /// No step is recorded any more.
    pub fn stop(&mut self) {
        *self = Steps { off: true, replayed: self.replayed, ..Steps::default() };
    }

    /// Gives up all recordings and their memory; where there are none, no step is recorded any more. Whether that changed anything.
    pub fn give_up(&mut self) -> bool {
        let before = self.off;
        if self.by_size.values().any(Option::is_some) {
            self.forget()
        } else {
            self.stop()
        }
        !before
    }

    /// As if no step had been recorded so far.
    fn forget(&mut self) {
        self.by_size.values_mut().for_each(|step| *step = None);
        (self.pool, self.logits) = (None, None);
    }
}

/// A recorded step.
struct Step {
    /// `[keys of the streams (two words a row) | token ids | positions | places in the streams | what `Rows` needs | pages of latents]`, and
    /// room for what stands before the draws, which is not recorded
    inputs: Buffer<u32>,
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
        let n = step.draws.len();
        let Some(logits) = &caches.steps.logits else { unreachable!("a recorded step leaves logits") };
        let logits = logits.part(0..n * self.config.vocab_size);
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
        let need = size.room.rows * self.config.vocab_size;
        if caches.steps.logits.as_ref().is_none_or(|logits| logits.len() < need) {
            caches.steps.forget();
            caches.steps.logits = Some(Buffer::uninit(d, op, need)?);
        }
        let pool = caches.steps.pool.get_or_insert_with(|| Pool::of(d)).clone();
        let Some(mut logits) = caches.steps.logits.take() else { unreachable!("made above") };
        let to = logits.part_mut(0..need);
        let recording = d.record(op, &pool, || self.decode::<A>(caches, recorded, size, to));
        caches.steps.logits = Some(logits);
        Ok(Step { inputs, recording: recording? })
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
        let rows = Rows::within(d, inputs.part(5 * n..end), room, self.shape())?;
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
