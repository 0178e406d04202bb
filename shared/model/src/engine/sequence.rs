//! What is in the engine: prompts whose samples are being started, and sequences.

use std::collections::VecDeque;

use super::{Engine, Finish, Request};
use crate::random::Stream;

/// A prompt that holds pages.
pub(super) struct Group {
    pub request: usize,
    /// samples begun
    pub started: usize,
    pub table: Vec<u32>,
    /// positions whose keys and values are in the pages
    pub cached: usize,
    /// first tokens of the samples that wait, with their log-probabilities; nothing while the prompt is being computed
    pub first: Option<VecDeque<(u32, f32)>>,
}

/// A completion in the making.
pub(super) struct Sequence {
    pub request: usize,
    pub sample: usize,
    pub stream: Stream,
    /// its pages; empty while it is interrupted
    pub table: Vec<u32>,
    /// positions whose keys and values are in the pages
    pub cached: usize,
    pub ids: Vec<u32>,
    pub logprobs: Vec<f32>,
    pub finish: Option<Finish>,
}

impl Sequence {
    /// Sample `sample` of a request, nothing drawn yet.
    pub fn of(r: &Request, request: usize, sample: usize, seed: u64, table: Vec<u32>) -> Sequence {
        Sequence {
            request,
            sample,
            stream: Sequence::stream(r, sample, seed),
            table,
            cached: r.prompt.len(),
            ids: Vec::new(),
            logprobs: Vec::new(),
            finish: None,
        }
    }

    /// The random numbers of a sample.
    pub fn stream(r: &Request, sample: usize, seed: u64) -> Stream {
        Stream::of(seed, r.key, sample as u64)
    }
}

impl Engine<'_> {
    /// Tokens that may not come before `min_tokens` have.
    pub(super) fn early(&self) -> Vec<u32> {
        self.policy.config.eos_token_ids.iter().chain(&self.limits.stop_tokens).copied().collect()
    }

    /// Appends a token that was drawn, and decides whether the sequence ends.
    pub(super) fn take(&self, s: &mut Sequence, token: u32, logprob: f32) {
        s.ids.push(token);
        s.logprobs.push(logprob);
        let (eos, stop) = (&self.policy.config.eos_token_ids, &self.limits.stop_tokens);
        if eos.contains(&token) || stop.contains(&token) || self.hits_stop(&s.ids) {
            s.finish = Some(Finish::Stop);
        } else if s.ids.len() >= self.limits.max_tokens {
            s.finish = Some(Finish::Length);
        }
    }

    /// Whether the last token completes a stop string.
    fn hits_stop(&self, ids: &[u32]) -> bool {
        let (Some(tokenizer), Some(longest)) =
            (self.tokenizer, self.limits.stop.iter().map(String::len).max())
        else {
            return false;
        };
        // A token is at least one byte of text or nothing at all (specials): a tail this long holds any stop string
        // that the last token completes, unless it is laced with empty tokens.
        let tail = &ids[ids.len().saturating_sub(longest + 8)..];
        let Ok(text) = tokenizer.decode(tail, false) else { return false };
        self.limits.stop.iter().any(|s| text.contains(s.as_str()))
    }
}
