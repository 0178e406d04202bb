//! The sampling engine: continuous batching over pages.
//!
//! A step computes, in one forward pass, the newest token of every running sequence and as many prompt tokens as the
//! budget allows. Sequences join whenever there is a slot and a page, and leave the moment they finish; a group's prompt
//! is computed and stored once, and what prompts begin with alike is computed once for all of them ([`Prefixes`]). When
//! pages run out, the youngest sequence is interrupted and computed again later: to the same bits, because a token has
//! the same bits in any batch, alone or in a prompt. What a sequence draws depends on its own stream only; groups are
//! handed out in prompt order, each as soon as it and all before it are complete.

mod memory;
mod schedule;
mod sequence;
mod step;
#[cfg(test)]
mod tests;

use anyhow::{Context, Result, bail};
use r1_kernels::attention::PAGE;

use crate::cache::{Caches, Pages, Prefixes, pages_for};
use crate::network::Policy;
use crate::sample::Sampling;
use crate::tokenizer::Tokenizer;
pub use memory::kv_bytes;
use memory::with_remedy;
use schedule::Run;

/// One prompt and the completions wanted of it.
#[derive(Clone, Debug)]
pub struct Request {
    /// prompt tokens, at least one
    pub prompt: Vec<u32>,
    /// hash of the row's id: names its random streams
    pub key: u64,
    /// number of completions (G)
    pub samples: usize,
}

/// Why a completion ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// an end-of-sequence token, a stop token or a stop string
    Stop,
    /// the token limit
    Length,
}

/// One completion.
#[derive(Clone, Debug)]
pub struct Completion {
    /// drawn tokens, the end-of-sequence token included
    pub ids: Vec<u32>,
    /// log-probability of each (see [`Sampling::draw`])
    pub logprobs: Vec<f32>,
    /// why it ended
    pub finish: Finish,
}

/// What bounds a run.
#[derive(Clone, Debug)]
pub struct Limits {
    /// longest completion in tokens
    pub max_tokens: usize,
    /// no end before this many tokens
    pub min_tokens: usize,
    /// sequences decoded together
    pub max_sequences: usize,
    /// prompt tokens computed in one step
    pub prefill_tokens: usize,
    /// bytes for keys and values
    pub kv_bytes: usize,
    /// MLA: the cache keeps latents, and every step makes keys and values of them again
    pub latents: bool,
    /// the longest prompts first, instead of in order: a long one that begins last would run on alone
    pub longest_first: bool,
    /// texts that end a completion; they stay in it
    pub stop: Vec<String>,
    /// tokens that end a completion, besides the policy's end-of-sequence tokens
    pub stop_tokens: Vec<u32>,
    /// run seed
    pub seed: u64,
}

/// Counters of a run, readable while it goes on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// completions finished
    pub completions: usize,
    /// tokens drawn
    pub tokens: usize,
    /// prompt tokens computed
    pub prefilled: usize,
    /// prompt tokens that were there already
    pub reused: usize,
    /// tokens computed again after an interruption
    pub recomputed: usize,
    /// times that a sequence was interrupted for want of pages
    pub interrupted: usize,
    /// sequences running
    pub running: usize,
    /// pages in use
    pub pages: usize,
    /// most pages ever in use
    pub peak_pages: usize,
    /// pages there are
    pub total_pages: usize,
    /// bytes that one of them takes
    pub page_bytes: usize,
    /// forward passes
    pub steps: usize,
    /// those of them that a device replayed from a recording
    pub replayed: usize,
}

/// What is asked between two steps.
type Interlude<'a> = Box<dyn FnMut(Progress) -> Result<()> + Sync + 'a>;

/// Draws completions from a policy.
pub struct Engine<'a> {
    policy: &'a Policy,
    tokenizer: Option<&'a Tokenizer>,
    sampling: Sampling,
    limits: Limits,
    pages: Pages,
    prefixes: Prefixes,
    progress: Progress,
    between_steps: Option<Interlude<'a>>,
}

impl<'a> Engine<'a> {
    /// Plans the cache. `tokenizer` is needed for stop strings only.
    ///
    /// # Errors
    /// When a setting is out of range, or the memory for keys and values does not hold one sequence of the longest
    /// completion after a one-token prompt.
    pub fn plan(
        policy: &'a Policy,
        tokenizer: Option<&'a Tokenizer>,
        sampling: Sampling,
        limits: Limits,
    ) -> Result<Engine<'a>> {
        sampling.check()?;
        if limits.max_tokens == 0 || limits.max_sequences == 0 {
            bail!("max tokens and the number of sequences must be at least 1");
        }
        if !limits.stop.is_empty() && tokenizer.is_none() {
            bail!("stop strings need a tokenizer, and this policy has none");
        }
        let form = policy.page_form(limits.latents)?;
        // No more than all slots could ever hold.
        let longest = pages_for(policy.config.max_position_embeddings) + 1;
        let total_pages = (limits.kv_bytes / form.bytes()).min(limits.max_sequences.saturating_mul(longest));
        if total_pages < pages_for(limits.max_tokens.saturating_add(1)).saturating_add(1) {
            bail!(
                "{} bytes of KV memory hold {} positions, one sequence of {} tokens needs more; raise --kv-memory or \
                 lower --max-tokens",
                limits.kv_bytes,
                total_pages * PAGE,
                limits.max_tokens
            );
        }
        Ok(Engine {
            policy,
            tokenizer,
            sampling,
            limits,
            pages: with_remedy(Pages::with_capacity(total_pages, &form, policy.device()))?,
            prefixes: Prefixes::default(),
            progress: Progress { total_pages, page_bytes: form.bytes(), ..Progress::default() },
            between_steps: None,
        })
    }

    /// Asks `go_on` before every step of a run; its error ends the run.
    pub fn ask_between_steps(&mut self, go_on: impl FnMut(Progress) -> Result<()> + Sync + 'a) {
        self.between_steps = Some(Box::new(go_on));
    }

    /// Every step is put together anew: what a device's recordings of steps are compared with. The host has none.
    pub fn without_recordings(&mut self) {
        if let Caches::Device(caches) = self.pages.caches() {
            caches.without_recordings();
        }
    }

    /// Counters so far.
    pub fn progress(&self) -> Progress {
        Progress { replayed: self.pages.replayed(), ..self.progress }
    }

    /// Draws all requests' completions; `done(index, completions)` is called in request order.
    ///
    /// # Errors
    /// When a prompt does not fit the context or the cache, or when `done` fails.
    pub fn run(
        &mut self,
        requests: &[Request],
        mut done: impl FnMut(usize, Vec<Completion>) -> Result<()>,
    ) -> Result<()> {
        for (i, request) in requests.iter().enumerate() {
            self.check(request).with_context(|| format!("prompt {}", i + 1))?;
        }
        let mut run = Run::of(self, requests);
        let mut next_out = 0;
        loop {
            with_remedy(run.fill_slots())?;
            while let Some(group) = run.take_complete(next_out) {
                done(next_out, group)?;
                next_out += 1;
            }
            if next_out == requests.len() {
                return Ok(());
            }
            run.ask()?;
            with_remedy(run.step())?;
        }
    }

    /// Pages one sample needs beyond its prompt's full pages.
    fn own_pages(&self, prompt_len: usize) -> usize {
        pages_for(prompt_len % PAGE + self.limits.max_tokens)
    }

    /// Whether a request can be served.
    ///
    /// # Errors
    /// When its prompt is empty, holds an id beyond the vocabulary, or leaves no room for the longest completion in the
    /// context or the cache.
    pub fn check(&self, r: &Request) -> Result<()> {
        let context = self.policy.config.max_position_embeddings;
        if r.prompt.is_empty() {
            bail!("the prompt is empty: a completion needs at least one token to follow");
        }
        if let Some(id) = r.prompt.iter().find(|&&id| id as usize >= self.policy.config.vocab_size) {
            bail!(
                "the prompt holds token id {id}, the policy's vocabulary has {}: the tokenizer does not fit",
                self.policy.config.vocab_size
            );
        }
        if r.prompt.len().saturating_add(self.limits.max_tokens) > context {
            bail!(
                "the prompt has {} tokens and may grow by {} (--max-tokens): more than the policy's {context} positions",
                r.prompt.len(),
                self.limits.max_tokens
            );
        }
        let need = r.prompt.len() / PAGE + 1 + self.own_pages(r.prompt.len());
        if need > self.pages.total() {
            bail!(
                "the prompt and its longest completion need {need} pages of keys and values, --kv-memory holds {}",
                self.pages.total()
            );
        }
        Ok(())
    }
}
