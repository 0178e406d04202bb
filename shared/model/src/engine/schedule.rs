//! Who is in the batch: who joins, who waits, and who has to leave when pages run out.
//!
//! Age is the order in which prompts wait at first, then of samples. Running sequences are older than interrupted ones, these older than the samples
//! of open groups, these older than waiting requests; whoever is oldest never yields, so a run always gets on.

use std::collections::VecDeque;

use anyhow::{Result, bail};
use r1_kernels::attention::PAGE;

use super::sequence::{Group, Sequence};
use super::{Completion, Engine, Request};
use crate::batch::common_prefix;
use crate::cache::pages_for;
use crate::sample::Room;

/// Sharing fewer tokens than this with a prompt that is still being computed is not worth the wait.
const WORTH_WAITING: usize = 8;

/// One call of [`Engine::run`].
pub(super) struct Run<'e, 'p> {
    pub engine: &'e mut Engine<'p>,
    pub requests: &'e [Request],
    /// (request, samples begun), oldest first
    waiting: VecDeque<(usize, usize)>,
    pub groups: VecDeque<Group>,
    pub running: Vec<Sequence>,
    interrupted: VecDeque<Sequence>,
    results: Vec<Vec<Option<Completion>>>,
    pub room: Room,
}

impl<'e, 'p> Run<'e, 'p> {
    pub fn of(engine: &'e mut Engine<'p>, requests: &'e [Request]) -> Run<'e, 'p> {
        let mut order: Vec<usize> = (0..requests.len()).collect();
        if engine.limits.longest_first {
            order.sort_by_key(|&i| std::cmp::Reverse(requests[i].prompt.len()));
        }
        Run {
            engine,
            requests,
            waiting: order.into_iter().map(|i| (i, 0)).collect(),
            groups: VecDeque::new(),
            running: Vec::new(),
            interrupted: VecDeque::new(),
            results: requests.iter().map(|r| (0..r.samples).map(|_| None).collect()).collect(),
            room: Room::default(),
        }
    }

    /// The completions of a request when all are there.
    pub fn take_complete(&mut self, request: usize) -> Option<Vec<Completion>> {
        let group = self.results.get_mut(request)?;
        if !group.iter().all(Option::is_some) {
            return None;
        }
        Some(std::mem::take(group).into_iter().flatten().collect())
    }

    /// Asks whether to go on.
    pub fn ask(&mut self) -> Result<()> {
        let mut progress = self.engine.progress;
        progress.running = self.running.len();
        progress.pages = self.engine.pages.held();
        self.engine.between_steps.as_mut().map_or(Ok(()), |go_on| go_on(progress))
    }

    /// Takes finished sequences out; then interrupted sequences come back, samples of computed prompts begin, and prompts
    /// join, as far as slots, pages and the token budget go.
    pub fn fill_slots(&mut self) -> Result<()> {
        loop {
            self.retire();
            while !self.interrupted.is_empty() && self.running.len() < self.engine.limits.max_sequences {
                if !self.resume()? {
                    return Ok(());
                }
            }
            let begun = self.start_samples()?;
            while self.interrupted.is_empty() && self.open_next()? {}
            if !begun {
                return Ok(());
            }
            // A first token may be a completion's last: its slot is free again.
        }
    }

    /// Pages that stay unclaimed for the next tokens of those that run.
    fn spare(&self) -> usize {
        if self.running.is_empty() && self.groups.is_empty() { 0 } else { 1 + self.running.len() / 4 }
    }

    /// A page of one's own.
    fn take_page(&mut self) -> Option<u32> {
        self.engine.prefixes.take(&mut self.engine.pages)
    }

    fn give_back(&mut self, table: &mut Vec<u32>) {
        table.drain(..).for_each(|page| self.engine.pages.give_back(page));
    }

    /// Pages for all of `tokens`, with what is known of them in place: (table, tokens that need not be computed). `None`
    /// when that leaves fewer than `spare` pages. At least the last token is left to compute, for its logits.
    fn seat(&mut self, tokens: &[u32], spare: usize) -> Result<Option<(Vec<u32>, usize)>> {
        let found = self.engine.prefixes.find(&tokens[..tokens.len() - 1]);
        let mut table = found.pages.clone();
        // Nobody may take what was found while room is made for the rest.
        let held = table.iter().copied().chain(found.partial.map(|(page, _)| page));
        let mut held: Vec<u32> = held.collect();
        held.iter().for_each(|&page| self.engine.pages.share(page));
        let need = pages_for(tokens.len()) - table.len();
        let mut found_tokens = found.tokens();
        if self.engine.pages.available() < need + spare
            && let Some(page) = held.pop_if(|_| found.partial.is_some())
        {
            // The copy may cost the page that decides.
            self.engine.pages.give_back(page);
            found_tokens = table.len() * PAGE;
        }
        if self.engine.pages.available() < need + spare {
            self.give_back(&mut held);
            return Ok(None);
        }
        for _ in 0..need {
            let Some(page) = self.take_page() else { bail!("the page plan was exceeded") };
            table.push(page);
        }
        if let Some((page, slots)) = found.partial
            && found_tokens > found.pages.len() * PAGE
        {
            self.engine.pages.copy(page, table[found.pages.len()], slots)?;
            self.engine.pages.give_back(page);
        }
        Ok(Some((table, found_tokens)))
    }

    /// Brings the oldest interrupted sequence back; false when there is no room.
    fn resume(&mut self) -> Result<bool> {
        let Some(mut s) = self.interrupted.pop_front() else { return Ok(false) };
        let tokens = [self.requests[s.request].prompt.as_slice(), &s.ids].concat();
        loop {
            let spare = self.spare();
            if let Some((table, cached)) = self.seat(&tokens, spare)? {
                self.engine.progress.recomputed += tokens.len() - 1 - cached;
                (s.table, s.cached) = (table, cached);
                self.running.push(s);
                return Ok(true);
            }
            if self.running.is_empty() && !self.groups.is_empty() {
                self.interrupt_youngest()?;
                continue;
            }
            if self.running.is_empty() {
                bail!("the page plan was exceeded");
            }
            self.interrupted.push_front(s);
            return Ok(false);
        }
    }

    /// Begins samples of computed prompts, oldest first, with the first tokens that were drawn for them; whether any began.
    fn start_samples(&mut self) -> Result<bool> {
        let requests = self.requests;
        let mut begun = false;
        'groups: while let Some(group) = self.groups.front() {
            let (request, r) = (group.request, &requests[group.request]);
            let tail = r.prompt.len() % PAGE;
            if group.first.is_none() || !self.interrupted.is_empty() {
                break;
            }
            while self.groups[0].started < r.samples {
                if self.running.len() >= self.engine.limits.max_sequences {
                    break 'groups;
                }
                // Its copy of the tail, or the page of its first own token.
                while self.engine.pages.available() < 1 + self.spare_to_start() {
                    if !self.running.is_empty() || self.groups.len() == 1 {
                        break 'groups;
                    }
                    self.interrupt_youngest()?;
                }
                let mut table = self.groups[0].table.clone();
                let last = if tail > 0 { table.pop() } else { None };
                table.iter().for_each(|&page| self.engine.pages.share(page));
                if let Some(last) = last {
                    let Some(page) = self.take_page() else { bail!("the page plan was exceeded") };
                    self.engine.pages.copy(last, page, tail)?;
                    table.push(page);
                }
                let group = &mut self.groups[0];
                let mut s = Sequence::of(r, request, group.started, self.engine.limits.seed, table);
                group.started += 1;
                let Some((token, logprob)) = group.first.as_mut().and_then(VecDeque::pop_front) else {
                    unreachable!("a first token was drawn for every sample")
                };
                self.engine.take(&mut s, token, logprob);
                self.engine.progress.tokens += 1;
                self.running.push(s);
                begun = true;
            }
            if let Some(mut group) = self.groups.pop_front() {
                self.give_back(&mut group.table);
            }
        }
        self.note_pages();
        Ok(begun)
    }

    /// As [`Run::spare`], where the group that asks is no reason to be careful.
    fn spare_to_start(&self) -> usize {
        if self.running.is_empty() { 0 } else { self.spare() }
    }

    /// Gives the oldest waiting prompt its pages; false when it has to wait.
    fn open_next(&mut self) -> Result<bool> {
        let Some(&(request, started)) = self.waiting.front() else { return Ok(false) };
        let (requests, limits) = (self.requests, &self.engine.limits);
        let claimed: usize = self.groups.iter().map(|g| requests[g.request].samples - g.started).sum();
        let filling = || self.groups.iter().filter(|g| g.first.is_none());
        let prompt = |g: &Group| requests[g.request].prompt.as_slice();
        let rows: usize = filling().map(|g| prompt(g).len() - g.cached).sum();
        if self.running.len() + claimed >= limits.max_sequences || rows > 0 && rows >= limits.prefill_tokens {
            return Ok(false);
        }
        let tokens = requests[request].prompt.as_slice();
        // What it shares with a prompt that is being computed will be known after this step.
        let soon = filling().map(|g| common_prefix(prompt(g), tokens)).max().unwrap_or(0);
        if soon >= WORTH_WAITING {
            let known = self.engine.prefixes.find(&tokens[..tokens.len() - 1]).tokens();
            if soon.min(tokens.len() - 1) >= known + WORTH_WAITING {
                return Ok(false);
            }
        }
        let spare = self.spare();
        let spare = if spare == 0 { 0 } else { spare + 1 };
        let Some((table, cached)) = self.seat(tokens, spare)? else { return Ok(false) };
        self.waiting.pop_front();
        self.engine.progress.reused += cached;
        self.groups.push_back(Group { request, started, table, cached, first: None });
        Ok(true)
    }

    /// Every running sequence gets the page that its next token needs; the youngest give theirs where there is none.
    pub fn ensure_pages(&mut self) -> Result<()> {
        let mut i = 0;
        while i < self.running.len() {
            if self.running[i].cached == self.running[i].table.len() * PAGE {
                match self.take_page() {
                    Some(page) => self.running[i].table.push(page),
                    None => {
                        self.interrupt_youngest()?;
                        continue;
                    }
                }
            }
            i += 1;
        }
        self.note_pages();
        Ok(())
    }

    /// The youngest prompt or sequence gives its pages back and waits.
    fn interrupt_youngest(&mut self) -> Result<()> {
        if let Some(mut group) = self.groups.pop_back() {
            self.give_back(&mut group.table);
            self.waiting.push_front((group.request, group.started));
            return Ok(());
        }
        match self.running.pop() {
            Some(mut s) if !self.running.is_empty() => {
                self.give_back(&mut s.table);
                s.cached = 0;
                self.engine.progress.interrupted += 1;
                self.interrupted.push_front(s);
                Ok(())
            }
            _ => bail!("the page plan was exceeded"),
        }
    }

    /// Takes finished sequences out and frees their pages.
    fn retire(&mut self) {
        let engine = &mut *self.engine;
        let results = &mut self.results;
        self.running.retain_mut(|s| {
            let Some(finish) = s.finish else { return true };
            s.table.drain(..).for_each(|page| engine.pages.give_back(page));
            let (ids, logprobs) = (std::mem::take(&mut s.ids), std::mem::take(&mut s.logprobs));
            results[s.request][s.sample] = Some(Completion { ids, logprobs, finish });
            engine.progress.completions += 1;
            false
        });
    }

    fn note_pages(&mut self) {
        let held = self.engine.pages.held();
        self.engine.progress.peak_pages = self.engine.progress.peak_pages.max(held);
    }
}
