//! One forward pass: a row for each running sequence, and rows of prompts within the budget.

use std::sync::Mutex;

use anyhow::Result;
use r1_kernels::threads;

use super::schedule::Run;
use super::sequence::Sequence;
use crate::network::Attend;
use crate::sample::{Before, Draw};

/// The rows of a step.
#[derive(Default)]
struct Rows<'t> {
    tokens: Vec<u32>,
    positions: Vec<u32>,
    tables: Vec<&'t [u32]>,
    lens: Vec<usize>,
    /// rows whose logits are wanted
    last: Vec<u32>,
}

impl<'t> Rows<'t> {
    /// Positions `from..to` of a sequence; logits are wanted when its last token is among them.
    fn push(&mut self, prompt: &[u32], ids: &[u32], table: &'t [u32], from: usize, to: usize) -> bool {
        for p in from..to {
            self.tokens.push(if p < prompt.len() { prompt[p] } else { ids[p - prompt.len()] });
            self.positions.push(p as u32);
            self.tables.push(table);
            self.lens.push(p + 1);
        }
        let complete = to == prompt.len() + ids.len();
        if complete {
            self.last.push(self.tokens.len() as u32 - 1);
        }
        complete
    }
}

impl Run<'_, '_> {
    /// Computes one step, draws a token of every sequence that is up to date, and keeps the prompts that are complete.
    pub fn step(&mut self) -> Result<()> {
        self.ensure_pages()?;
        let engine = &mut *self.engine;
        let mut budget = engine.limits.prefill_tokens.max(1);
        let mut rows = Rows::default();
        // (positions now cached, whether a token is drawn)
        let mut advanced = Vec::with_capacity(self.running.len());
        for s in &self.running {
            let prompt = &self.requests[s.request].prompt;
            let missing = prompt.len() + s.ids.len() - s.cached;
            // The newest token goes always, what is computed again within the budget.
            let count = if missing == 1 { 1 } else { missing.min(budget) };
            budget -= if missing == 1 { 0 } else { count };
            let to = s.cached + count;
            let complete = count > 0 && rows.push(prompt, &s.ids, &s.table, s.cached, to);
            advanced.push((to, complete));
        }
        let mut filled = Vec::with_capacity(self.groups.len());
        for g in &self.groups {
            let prompt = &self.requests[g.request].prompt;
            let count = (prompt.len() - g.cached).min(budget);
            budget -= count;
            engine.progress.prefilled += count;
            let to = g.cached + count;
            filled.push((to, count > 0 && rows.push(prompt, &[], &g.table, g.cached, to)));
        }
        // A device draws itself.
        let early = engine.early();
        let complete = self.running.iter().zip(&advanced).filter(|(_, (_, complete))| *complete);
        let draws = complete.filter(|_| engine.policy.device().is_some()).map(|(s, _)| {
            let banned = if s.ids.len() < engine.limits.min_tokens { &early[..] } else { &[] };
            let prompt = &self.requests[s.request].prompt;
            Draw { stream: s.stream, before: Before { prompt, drawn: &s.ids, banned } }
        });
        let draws: Vec<Draw> = draws.collect();
        let attend = Attend::Paged { caches: engine.pages.caches(), tables: &rows.tables, lens: &rows.lens };
        let (tokens, positions) = (&rows.tokens, &rows.positions);
        let (last, out) = (&rows.last, &mut self.logits);
        let sampling = &engine.sampling;
        let drawn = engine.policy.logits_or_draws(tokens, positions, attend, last, sampling, &draws, out)?;
        let mut drawn = drawn.map(Vec::into_iter);
        engine.progress.steps += 1;

        let (engine, requests) = (&*engine, self.requests);
        let mut logits = self.logits.chunks_exact(engine.policy.config.vocab_size);
        let mut count = 0;
        let mut draws: Vec<Mutex<(&mut Sequence, &[f32])>> = Vec::new();
        for (s, (cached, complete)) in self.running.iter_mut().zip(advanced) {
            s.cached = cached;
            if let Some(drawn) = &mut drawn {
                if complete && let Some((token, logprob)) = drawn.next() {
                    engine.take(s, token, logprob);
                    count += 1;
                }
            } else if complete && let Some(row) = logits.next() {
                draws.push(Mutex::new((s, row)));
            }
        }
        threads::parallel(draws.len(), |i| {
            let (s, row) = &mut *draws[i].lock().unwrap_or_else(|e| e.into_inner());
            engine.draw(&requests[s.request].prompt, s, row);
        });
        count += draws.len();
        self.engine.progress.tokens += count;
        for (g, (cached, complete)) in self.groups.iter_mut().zip(filled) {
            g.cached = cached;
            if complete && let Some(row) = logits.next() {
                g.logits = row.to_vec();
                let prompt = &self.requests[g.request].prompt;
                self.engine.prefixes.insert(prompt, &mut g.table, &mut self.engine.pages);
            }
        }
        Ok(())
    }
}
