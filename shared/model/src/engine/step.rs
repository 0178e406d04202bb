//! One forward pass: a row for each running sequence, and rows of prompts within the budget.

use anyhow::Result;

use super::schedule::Run;
use super::sequence::Sequence;
use crate::network::Attend;
use crate::random::Stream;
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
        // One draw of each sequence that is up to date, and the first ones of all samples of a prompt that is complete.
        let (early, requests, limits) = (engine.early(), self.requests, &engine.limits);
        let draw = |row: usize, stream: Stream, prompt, drawn| {
            let drawn: &[u32] = drawn;
            let banned = if drawn.len() < limits.min_tokens { &early[..] } else { &[] };
            Draw { row, stream, before: Before { prompt, drawn, banned } }
        };
        let mut draws: Vec<Draw> = Vec::with_capacity(rows.last.len());
        for (s, _) in self.running.iter().zip(&advanced).filter(|(_, (_, complete))| *complete) {
            draws.push(draw(draws.len(), s.stream, &requests[s.request].prompt[..], &s.ids));
        }
        let complete = self.groups.iter().zip(&filled).filter(|(_, (_, complete))| *complete);
        for (row, (g, _)) in (draws.len()..).zip(complete) {
            let r = &requests[g.request];
            let streams = (g.started..r.samples).map(|sample| Sequence::stream(r, sample, limits.seed));
            draws.extend(streams.map(|stream| draw(row, stream, &r.prompt[..], &[])));
        }
        let attend = Attend::Paged { caches: engine.pages.caches(), tables: &rows.tables, lens: &rows.lens };
        let (tokens, positions, sampling) = (&rows.tokens, &rows.positions, &engine.sampling);
        let drawn =
            engine.policy.draws(tokens, positions, attend, &rows.last, sampling, &draws, &mut self.room)?;
        let mut drawn = drawn.into_iter();
        engine.progress.steps += 1;

        for (s, (cached, complete)) in self.running.iter_mut().zip(advanced) {
            s.cached = cached;
            if complete && let Some((token, logprob)) = drawn.next() {
                engine.take(s, token, logprob);
                engine.progress.tokens += 1;
            }
        }
        for (g, (cached, complete)) in self.groups.iter_mut().zip(filled) {
            g.cached = cached;
            if complete {
                let r = &requests[g.request];
                g.first = Some(drawn.by_ref().take(r.samples - g.started).collect());
                engine.prefixes.insert(&r.prompt, &mut g.table, &mut engine.pages);
            }
        }
        Ok(())
    }
}
