//! The sampling engine: continuous batching over pages, a group's prompt computed and stored once.
//!
//! Sequences join when there is room (a slot and enough pages for the longest completion allowed, so that a running
//! sequence never has to stop) and leave the moment they finish. What a sequence draws depends on its own stream only;
//! groups are handed out in prompt order, each as soon as it and all before it are complete.

use std::collections::VecDeque;
use std::sync::Mutex;

use anyhow::{Context, Result, bail};
use r1_kernels::attention::PAGE;
use r1_kernels::threads;

use crate::batch::Packed;
use crate::cache::{Pages, pages_for};
use crate::network::{Attend, Policy};
use crate::random::Stream;
use crate::sample::{Sampling, Scratch};
use crate::tokenizer::Tokenizer;

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
    /// an end-of-sequence token or a stop string
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
    /// no end-of-sequence token before this many tokens
    pub min_tokens: usize,
    /// sequences decoded together
    pub max_sequences: usize,
    /// prompt tokens computed together
    pub prefill_tokens: usize,
    /// bytes for keys and values
    pub kv_bytes: usize,
    /// texts that end a completion; they stay in it
    pub stop: Vec<String>,
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
    /// most pages ever held at once
    pub peak_pages: usize,
    /// decode steps
    pub steps: usize,
}

/// A group whose prompt is in the cache.
struct Group {
    index: usize,
    samples: usize,
    admitted: usize,
    prompt_len: usize,
    key: u64,
    /// full pages, shared by all samples
    shared: Vec<u32>,
    /// the prompt's last, partly filled page, copied for each sample
    tail: Option<u32>,
    logits: Vec<f32>,
}

/// A running sequence.
struct Sequence {
    group: usize,
    sample: usize,
    stream: Stream,
    /// prompt length plus tokens whose keys are cached
    position: usize,
    table: Vec<u32>,
    ids: Vec<u32>,
    logprobs: Vec<f32>,
    finish: Option<Finish>,
    scratch: Scratch,
}

/// Draws completions from a policy.
pub struct Engine<'a> {
    policy: &'a Policy,
    tokenizer: Option<&'a Tokenizer>,
    sampling: Sampling,
    limits: Limits,
    pages: Pages,
    total_pages: usize,
    progress: Progress,
    between_steps: Option<Box<dyn Fn() -> Result<()> + Sync + 'a>>,
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
        let (layers, shape) = (policy.config.layers, policy.shape());
        let bytes = Pages::page_bytes(layers, shape);
        // No more than all slots could ever hold.
        let longest = pages_for(policy.config.max_position_embeddings) + 1;
        let total_pages = (limits.kv_bytes / bytes).min(limits.max_sequences.saturating_mul(longest));
        if total_pages < pages_for(limits.max_tokens.saturating_add(1)).saturating_add(1) {
            bail!(
                "{} bytes of KV memory hold {} positions, one sequence of {} tokens needs more; raise --kv-memory or \
                 lower --max-tokens",
                limits.kv_bytes,
                total_pages * PAGE,
                limits.max_tokens
            );
        }
        let pages = Pages::with_capacity(total_pages, layers, shape);
        let progress = Progress::default();
        Ok(Engine { policy, tokenizer, sampling, limits, pages, total_pages, progress, between_steps: None })
    }

    /// Asks `go_on` before every decode step of a run; its error ends the run.
    pub fn ask_between_steps(&mut self, go_on: impl Fn() -> Result<()> + Sync + 'a) {
        self.between_steps = Some(Box::new(go_on));
    }

    /// Counters so far.
    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// Draws all requests' completions; `done(index, completions)` is called in request order.
    ///
    /// # Errors
    /// When a prompt does not fit the context or the cache, or when `done` fails.
    pub fn run(
        &mut self,
        requests: &[Request],
        mut done: impl FnMut(usize, Vec<Completion>, Progress) -> Result<()>,
    ) -> Result<()> {
        for (i, request) in requests.iter().enumerate() {
            self.check(request).with_context(|| format!("prompt {}", i + 1))?;
        }
        let mut waiting: VecDeque<usize> = (0..requests.len()).collect();
        let mut groups: VecDeque<Group> = VecDeque::new();
        let mut running: Vec<Sequence> = Vec::new();
        let mut results: Vec<Vec<Option<Completion>>> =
            requests.iter().map(|r| (0..r.samples).map(|_| None).collect()).collect();
        let mut logits = Vec::new();
        let mut next_out = 0;
        loop {
            self.admit(requests, &mut waiting, &mut groups, &mut running)?;
            self.retire(&mut running, &mut results);
            while next_out < requests.len() && results[next_out].iter().all(Option::is_some) {
                let group = std::mem::take(&mut results[next_out]).into_iter().flatten().collect();
                done(next_out, group, self.progress)?;
                next_out += 1;
            }
            if running.is_empty() {
                if waiting.is_empty() && groups.is_empty() {
                    return Ok(());
                }
                continue;
            }
            if let Some(go_on) = &self.between_steps {
                go_on()?;
            }
            self.step(&mut running, &mut logits)?;
            self.retire(&mut running, &mut results);
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
        if need > self.total_pages {
            bail!(
                "the prompt and its longest completion need {need} pages of keys and values, --kv-memory holds {}",
                self.total_pages
            );
        }
        Ok(())
    }

    /// Fills free slots, computing prompts as needed.
    fn admit(
        &mut self,
        requests: &[Request],
        waiting: &mut VecDeque<usize>,
        groups: &mut VecDeque<Group>,
        running: &mut Vec<Sequence>,
    ) -> Result<()> {
        loop {
            // Samples of groups whose prompt is already computed.
            while let Some(group) = groups.front_mut() {
                while group.admitted < group.samples
                    && running.len() < self.limits.max_sequences
                    && self.pages.available() >= self.own_pages(group.prompt_len) + self.promised(running)
                {
                    let sequence = self.start(group)?;
                    running.push(sequence);
                }
                if group.admitted < group.samples {
                    return Ok(());
                }
                if let Some(group) = groups.pop_front() {
                    group.shared.into_iter().chain(group.tail).for_each(|p| self.pages.give_back(p));
                }
            }
            if waiting.is_empty() || running.len() >= self.limits.max_sequences {
                return Ok(());
            }
            // As many prompts as the token budget, the free slots and the free pages allow.
            let mut wave = Vec::new();
            let (mut tokens, mut slots) = (0, running.len());
            let mut pages = self.promised(running);
            while let Some(&i) = waiting.front() {
                let r = &requests[i];
                let need = pages_for(r.prompt.len()) + self.own_pages(r.prompt.len());
                if (!wave.is_empty() && tokens + r.prompt.len() > self.limits.prefill_tokens)
                    || slots >= self.limits.max_sequences
                    || pages + need > self.pages.available()
                {
                    break;
                }
                tokens += r.prompt.len();
                slots += r.samples;
                pages += pages_for(r.prompt.len()) + r.samples * self.own_pages(r.prompt.len());
                wave.push(i);
                waiting.pop_front();
            }
            if wave.is_empty() {
                return Ok(());
            }
            self.prefill(requests, &wave, groups)?;
        }
    }

    /// Pages that running sequences may still ask for.
    fn promised(&self, running: &[Sequence]) -> usize {
        running
            .iter()
            .map(|s| {
                let drawn = s.ids.len();
                let prompt = s.position + 1 - drawn;
                pages_for(prompt + self.limits.max_tokens) - s.table.len()
            })
            .sum()
    }

    /// Computes prompts in one packed pass and keeps their pages and last logits.
    fn prefill(&mut self, requests: &[Request], wave: &[usize], groups: &mut VecDeque<Group>) -> Result<()> {
        let prompts: Vec<&[u32]> = wave.iter().map(|&i| requests[i].prompt.as_slice()).collect();
        let (batch, segments) = Packed::prompts(&prompts);
        let mut writes = Vec::new();
        let mut rows = Vec::new();
        let mut fresh = Vec::new();
        // Full pages of the common header are the same for every prompt of the wave: written once, shared.
        let header_pages =
            batch.segments[0].queries.len() / PAGE * usize::from(batch.segments.len() > segments.len());
        let mut header: Vec<u32> = Vec::new();
        for (&i, &segment) in wave.iter().zip(&segments) {
            let path = &batch.segments[segment].path;
            let mut pages = Vec::new();
            for (p, chunk) in path.chunks(PAGE).enumerate() {
                if p < header_pages && p < header.len() {
                    self.pages.share(header[p]);
                    pages.push(header[p]);
                    continue;
                }
                let Some(page) = self.pages.take() else {
                    bail!("the page plan was exceeded while prefilling")
                };
                writes.extend(chunk.iter().enumerate().map(|(slot, &row)| (row, page, slot as u32)));
                if p < header_pages {
                    header.push(page);
                }
                pages.push(page);
            }
            let tail = if path.len() % PAGE == 0 { None } else { pages.pop() };
            rows.push(path[path.len() - 1]);
            let r = &requests[i];
            fresh.push(Group {
                index: i,
                samples: r.samples,
                admitted: 0,
                prompt_len: path.len(),
                key: r.key,
                shared: pages,
                tail,
                logits: Vec::new(),
            });
        }
        let attend =
            Attend::Prefill { segments: &batch.segments, caches: self.pages.caches(), writes: &writes };
        let mut logits = Vec::new();
        self.policy.logits(&batch.tokens, &batch.positions, attend, &rows, &mut logits);
        for (group, row) in fresh.iter_mut().zip(logits.chunks_exact(self.policy.config.vocab_size)) {
            group.logits = row.to_vec();
        }
        self.progress.prefilled += batch.rows();
        groups.extend(fresh);
        self.note_pages();
        Ok(())
    }

    /// Begins a group's next sample: shares the full pages, copies the tail, draws the first token.
    fn start(&mut self, group: &mut Group) -> Result<Sequence> {
        let sample = group.admitted;
        group.admitted += 1;
        let mut table = group.shared.clone();
        table.iter().for_each(|&p| self.pages.share(p));
        if let Some(tail) = group.tail {
            let Some(page) = self.pages.take() else { bail!("the page plan was exceeded while admitting") };
            self.pages.copy(tail, page, group.prompt_len % PAGE);
            table.push(page);
        }
        let mut sequence = Sequence {
            group: group.index,
            sample,
            stream: Stream::of(self.limits.seed, group.key, sample as u64),
            position: group.prompt_len - 1,
            table,
            ids: Vec::new(),
            logprobs: Vec::new(),
            finish: None,
            scratch: Scratch::default(),
        };
        self.draw(&mut sequence, &group.logits);
        self.progress.tokens += 1;
        self.note_pages();
        Ok(sequence)
    }

    /// Draws the next token of one sequence and decides whether it ends.
    fn draw(&self, s: &mut Sequence, logits: &[f32]) {
        let eos = &self.policy.config.eos_token_ids;
        let drawn = s.ids.len();
        let banned: &[u32] = if drawn < self.limits.min_tokens { eos } else { &[] };
        let (token, logprob) = self.sampling.draw(logits, s.stream.at(drawn as u64), banned, &mut s.scratch);
        s.ids.push(token);
        s.logprobs.push(logprob);
        s.position += 1;
        if eos.contains(&token) || self.hits_stop(&s.ids) {
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

    /// One decode step of every running sequence.
    fn step(&mut self, running: &mut [Sequence], logits: &mut Vec<f32>) -> Result<()> {
        for s in running.iter_mut() {
            if s.position / PAGE == s.table.len() {
                let Some(page) = self.pages.take() else {
                    bail!("the page plan was exceeded while decoding")
                };
                s.table.push(page);
            }
        }
        self.note_pages();
        let tokens: Vec<u32> = running.iter().map(|s| s.ids[s.ids.len() - 1]).collect();
        let positions: Vec<u32> = running.iter().map(|s| s.position as u32).collect();
        let lens: Vec<usize> = running.iter().map(|s| s.position + 1).collect();
        let tables: Vec<&[u32]> = running.iter().map(|s| s.table.as_slice()).collect();
        let rows: Vec<u32> = (0..running.len() as u32).collect();
        let attend = Attend::Decode { caches: self.pages.caches(), tables: &tables, lens: &lens };
        self.policy.logits(&tokens, &positions, attend, &rows, logits);
        let v = self.policy.config.vocab_size;
        let slots: Vec<Mutex<&mut Sequence>> = running.iter_mut().map(Mutex::new).collect();
        threads::parallel(slots.len(), |b| {
            let mut s = slots[b].lock().unwrap_or_else(|e| e.into_inner());
            self.draw(&mut s, &logits[b * v..(b + 1) * v]);
        });
        self.progress.tokens += tokens.len();
        self.progress.steps += 1;
        Ok(())
    }

    /// Takes finished sequences out and frees their pages.
    fn retire(&mut self, running: &mut Vec<Sequence>, results: &mut [Vec<Option<Completion>>]) {
        let mut i = 0;
        while i < running.len() {
            let Some(finish) = running[i].finish else {
                i += 1;
                continue;
            };
            let s = running.swap_remove(i);
            s.table.iter().for_each(|&p| self.pages.give_back(p));
            results[s.group][s.sample] = Some(Completion { ids: s.ids, logprobs: s.logprobs, finish });
            self.progress.completions += 1;
        }
    }

    fn note_pages(&mut self) {
        let held = self.total_pages - self.pages.available();
        self.progress.peak_pages = self.progress.peak_pages.max(held);
    }
}
