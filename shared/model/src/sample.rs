//! Drawing one token from one row of logits.
//!
//! Order: penalties on the logits (repetition, then presence and frequency), temperature, forbidden tokens, top-k, top-p,
//! min-p; ties go to the lower token id. The draw is by inversion over the kept tokens (renormalized).
//!
//! What is recorded is the log-probability of the drawn token in the *whole* tempered distribution of the policy, which
//! is the one that training differentiates: neither penalties nor forbidden tokens nor a truncation enter it. At
//! temperature 0 the draw is the arg-max and the recorded log-probability is taken at temperature 1.

#[cfg(feature = "cuda")]
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, bail};
use r1_kernels::{head, threads};

use crate::random::Stream;

/// How tokens are drawn.
#[derive(Clone, Debug)]
pub struct Sampling {
    /// 0 is greedy
    pub temperature: f32,
    /// keep the k most probable tokens; 0 keeps all
    pub top_k: usize,
    /// keep the smallest set of most probable tokens whose mass reaches this; 1 keeps all
    pub top_p: f32,
    /// drop tokens less probable than this share of the most probable one; 0 keeps all
    pub min_p: f32,
    /// logits of tokens in the prompt or the completion are divided by this where positive, multiplied where negative
    /// (Keskar et al. 2019, arXiv 1909.05858); 1 changes nothing
    pub repetition_penalty: f32,
    /// taken from the logits of tokens in the completion
    pub presence_penalty: f32,
    /// taken from a token's logit for each time that it stands in the completion
    pub frequency_penalty: f32,
    /// token sequences that a completion must not contain
    pub forbidden: Vec<Vec<u32>>,
}

impl Default for Sampling {
    /// The policy's own distribution.
    fn default() -> Sampling {
        Sampling {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            forbidden: Vec::new(),
        }
    }
}

/// What stands before the token that is drawn.
#[derive(Clone, Copy, Debug, Default)]
pub struct Before<'a> {
    /// given tokens
    pub prompt: &'a [u32],
    /// tokens drawn so far
    pub drawn: &'a [u32],
    /// tokens that must not come here
    pub banned: &'a [u32],
}

/// A draw to be made: from which logits, with whose random numbers, and after what.
#[derive(Clone, Copy)]
pub struct Draw<'a> {
    /// place of the logits among those of the step: several draws may share them
    pub row: usize,
    /// of the sequence; the number's position is that of the token
    pub stream: Stream,
    /// what stands before
    pub before: Before<'a>,
}

impl Draw<'_> {
    /// The position of its number in the stream.
    pub(crate) fn place(&self) -> u32 {
        self.before.drawn.len() as u32
    }
}

impl Sampling {
    /// Checks every range.
    ///
    /// # Errors
    /// Names the setting that is out of range.
    pub fn check(&self) -> Result<()> {
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            bail!("temperature {} is not a finite number ≥ 0", self.temperature);
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            bail!("top-p {} is not in (0, 1]", self.top_p);
        }
        if !(0.0..=1.0).contains(&self.min_p) {
            bail!("min-p {} is not in [0, 1]", self.min_p);
        }
        if !(self.repetition_penalty.is_finite() && self.repetition_penalty > 0.0) {
            bail!("repetition penalty {} is not a finite number > 0", self.repetition_penalty);
        }
        for (name, value) in [("presence", self.presence_penalty), ("frequency", self.frequency_penalty)] {
            if !value.is_finite() {
                bail!("{name} penalty {value} is not a finite number");
            }
        }
        if self.forbidden.iter().any(Vec::is_empty) {
            bail!("a forbidden word has no tokens");
        }
        Ok(())
    }

    /// Factor on the logits whose log-probability is recorded.
    pub fn inv_temperature(&self) -> f32 {
        if self.temperature == 0.0 { 1.0 } else { 1.0 / self.temperature }
    }

    /// Makes all draws from rows of `v` logits, side by side: tokens with their recorded log-probabilities in nats.
    pub fn draw_all(&self, v: usize, draws: &[Draw], room: &mut Room) -> Vec<(u32, f32)> {
        let Room { logits, scratch } = room;
        scratch.resize_with(scratch.len().max(draws.len()), Scratch::default);
        let places: Vec<_> =
            scratch.iter_mut().take(draws.len()).map(|s| Mutex::new((s, (0, 0.0)))).collect();
        threads::parallel(draws.len(), |i| {
            let (scratch, drawn) = &mut *places[i].lock().unwrap_or_else(PoisonError::into_inner);
            let (draw, u) = (&draws[i], draws[i].stream.at(u64::from(draws[i].place())));
            *drawn = self.draw(&logits[draw.row * v..][..v], u, draw.before, scratch);
        });
        places.into_iter().map(|place| place.into_inner().unwrap_or_else(PoisonError::into_inner).1).collect()
    }

    /// Draws a token with the uniform number `u` in [0, 1). Returns the token and its recorded log-probability in nats.
    pub fn draw(&self, logits: &[f32], u: f64, before: Before, scratch: &mut Scratch) -> (u32, f32) {
        let inv = self.inv_temperature();
        let mut banned = std::mem::take(&mut scratch.banned);
        banned.clear();
        banned.extend_from_slice(before.banned);
        banned.extend(self.forbidden.iter().filter_map(|word| ends_word(word, before.drawn)));
        let mut penalized = std::mem::take(&mut scratch.penalized);
        let kept = if self.has_penalties() {
            self.penalize(logits, before, &mut penalized, &mut scratch.seen);
            &penalized
        } else {
            logits
        };
        let token = if self.temperature == 0.0 {
            arg_max(kept, &banned)
        } else {
            self.draw_tempered(kept, u, &banned, inv, scratch)
        };
        (scratch.banned, scratch.penalized) = (banned, penalized);
        (token, head::row_logprob(logits, token, inv, &mut scratch.row))
    }

    /// What the tokens before a draw do to its logits, for a device: each token that counts once, ascending, with how often it was
    /// drawn, whether it stands anywhere before, and whether it must not come.
    #[cfg(feature = "cuda")]
    pub(crate) fn marks(&self, before: Before) -> BTreeMap<u32, u32> {
        use head::cuda::{BANNED, SEEN};
        let mut marks = BTreeMap::new();
        if self.has_penalties() {
            before.prompt.iter().for_each(|&id| *marks.entry(id).or_default() |= SEEN);
            before.drawn.iter().for_each(|&id| {
                let mark: &mut u32 = marks.entry(id).or_default();
                *mark = (*mark + 1) | SEEN;
            });
        }
        let words = self.forbidden.iter().filter_map(|word| ends_word(word, before.drawn));
        for id in before.banned.iter().copied().chain(words) {
            *marks.entry(id).or_default() |= BANNED;
        }
        marks
    }

    fn has_penalties(&self) -> bool {
        self.repetition_penalty != 1.0 || self.presence_penalty != 0.0 || self.frequency_penalty != 0.0
    }

    /// The logits with all penalties, into `to`.
    fn penalize(&self, logits: &[f32], before: Before, to: &mut Vec<f32>, seen: &mut Vec<bool>) {
        to.clear();
        to.extend_from_slice(logits);
        seen.resize(logits.len(), false);
        let all = || before.prompt.iter().chain(before.drawn).map(|&id| id as usize);
        if self.repetition_penalty != 1.0 {
            for id in all() {
                if !std::mem::replace(&mut seen[id], true) {
                    let by = self.repetition_penalty;
                    to[id] = if to[id] > 0.0 { to[id] / by } else { to[id] * by };
                }
            }
            all().for_each(|id| seen[id] = false);
        }
        let drawn = || before.drawn.iter().map(|&id| id as usize);
        for id in drawn() {
            if !std::mem::replace(&mut seen[id], true) {
                to[id] -= self.presence_penalty;
            }
            to[id] -= self.frequency_penalty;
        }
        drawn().for_each(|id| seen[id] = false);
    }

    fn draw_tempered(&self, logits: &[f32], u: f64, banned: &[u32], inv: f32, scratch: &mut Scratch) -> u32 {
        head::row_weights(logits, inv, &mut scratch.row);
        for &id in banned {
            if let Some(weight) = scratch.row.get_mut(id as usize) {
                *weight = 0.0;
            }
        }
        if self.top_k == 0 && self.top_p >= 1.0 && self.min_p <= 0.0 {
            return invert(scratch.row.iter().enumerate().map(|(i, &w)| (i as u32, f64::from(w))), u);
        }
        let kept = &mut scratch.kept;
        kept.clear();
        let mut total = 0.0;
        let mut rare = 0.0;
        if self.top_k == 0 && self.top_p < 1.0 {
            total = scratch.row.iter().map(|&w| f64::from(w)).sum();
            // All that are rarer hold less than half of what top-p leaves out: none of them is needed to reach it.
            rare = 0.5 * (1.0 - f64::from(self.top_p)) * total / scratch.row.len() as f64;
        }
        let weights = scratch.row.iter().enumerate().map(|(i, &w)| (i as u32, f64::from(w)));
        kept.extend(weights.filter(|w| w.1 > 0.0 && w.1 >= rare));
        if self.top_k > 0 && self.top_k < kept.len() {
            kept.select_nth_unstable_by(self.top_k - 1, more_probable);
            kept.truncate(self.top_k);
            kept.sort_unstable_by_key(|t| t.0);
        }
        if self.top_p < 1.0 {
            if self.top_k > 0 {
                total = kept.iter().map(|t| t.1).sum();
            }
            keep_mass(kept, f64::from(self.top_p) * total);
            kept.sort_unstable_by_key(|t| t.0);
        }
        if self.min_p > 0.0 {
            let most = kept.iter().fold(0f64, |m, t| m.max(t.1));
            kept.retain(|t| t.1 >= f64::from(self.min_p) * most);
        }
        invert(kept.iter().copied(), u)
    }
}

/// Order of probability, ties to the lower id.
fn more_probable(a: &(u32, f64), b: &(u32, f64)) -> std::cmp::Ordering {
    b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))
}

/// Keeps the most probable tokens, one at least, until together they reach `enough`. Sorts no more of them than it needs.
fn keep_mass(tokens: &mut Vec<(u32, f64)>, enough: f64) {
    let (mut mass, mut count, mut sorted) = (0.0, 0, 0);
    while sorted < tokens.len() && mass < enough {
        let rest = &mut tokens[sorted..];
        let part = rest.len().min(64.max(3 * sorted));
        if part < rest.len() {
            rest.select_nth_unstable_by(part - 1, more_probable);
        }
        rest[..part].sort_unstable_by(more_probable);
        for token in &rest[..part] {
            if mass < enough {
                mass += token.1;
                count += 1;
            }
        }
        sorted += part;
    }
    tokens.truncate(count.max(1));
}

/// The token in whose share of the total mass `u` falls; tokens stand in rising order of id.
fn invert(masses: impl Iterator<Item = (u32, f64)> + Clone, u: f64) -> u32 {
    let total: f64 = masses.clone().map(|t| t.1).sum();
    let mut left = u * total;
    let mut last = 0;
    for (token, mass) in masses {
        if mass > 0.0 {
            if left < mass {
                return token;
            }
            last = token;
        }
        left -= mass;
    }
    // Rounding left a crumb: the last token with any mass.
    last
}

/// A step's logits and what the draws from them need on the host, reused from step to step.
#[derive(Default)]
pub struct Room {
    /// `[rows, V]`
    pub logits: Vec<f32>,
    scratch: Vec<Scratch>,
}

/// Memory reused from draw to draw.
#[derive(Default)]
pub struct Scratch {
    row: Vec<f32>,
    kept: Vec<(u32, f64)>,
    penalized: Vec<f32>,
    seen: Vec<bool>,
    banned: Vec<u32>,
}

/// The token that would complete `word` after these tokens.
fn ends_word(word: &[u32], drawn: &[u32]) -> Option<u32> {
    let (last, first) = word.split_last()?;
    drawn.ends_with(first).then_some(*last)
}

/// Most probable token that is not banned; ties to the lower id.
fn arg_max(logits: &[f32], banned: &[u32]) -> u32 {
    let mut best: Option<(u32, f32)> = None;
    for (i, &l) in logits.iter().enumerate() {
        if best.is_none_or(|b| l > b.1) && !banned.contains(&(i as u32)) {
            best = Some((i as u32, l));
        }
    }
    best.map_or(0, |b| b.0)
}

#[cfg(test)]
mod tests;
