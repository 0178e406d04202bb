//! One update: the chosen rows' log-probabilities, the loss's gradient by them, and the optimizer's step.

use anyhow::Result;
use r1_train::checkpoint::State;
use r1_train::refusal;
use r1_train::update::{Row, Trainer};
use serde_json::json;

use crate::Args;
use crate::agreement::Agreement;
use crate::loss::options::{Kind, Objective};
use crate::loss::{Sequence, Sums, aggregate, covariance, entropy};
use crate::report::Report;
use crate::rows::{self, Rows, Sample};

/// The entropy controller's place in `train.json`'s memory.
const CONTROLLER: &str = "entropy";

/// What an update is made of.
pub struct Update<'a> {
    /// the command line
    pub args: &'a Args,
    /// the loss
    pub objective: &'a Objective,
    /// all rows of the round
    pub rows: &'a Rows,
    /// the old policy's log-probabilities of each row, where they were recomputed
    pub old: Option<&'a [Vec<f32>]>,
    /// which rows this update takes
    pub chosen: &'a [usize],
}

/// What the loss must know of the whole batch before the first gradient, row by row; empty where it need not.
#[derive(Default)]
struct Ahead {
    kept: Vec<Vec<bool>>,
    chosen: Vec<Vec<bool>>,
}

/// As f64.
pub fn wide(list: &[f32]) -> Vec<f64> {
    list.iter().map(|x| f64::from(*x)).collect()
}

impl Update<'_> {
    /// The old policy's log-probabilities of the i-th row of the batch.
    fn old(&self, i: usize) -> &[f32] {
        let row = self.chosen[i];
        self.old.map_or(&self.rows.samples[row].sampled, |old| &old[row])
    }

    fn masked(&self, sample: &Sample) -> bool {
        self.args.round.mask_truncated && sample.truncated
    }

    /// Takes the update; `state` is that before it, but for the memory of the entropy controller, which moves on.
    ///
    /// # Errors
    /// Exit 1: something is not finite, or a recorded log-probability is not this policy's; the policy is as it was.
    pub fn take(&self, trainer: &mut Trainer, state: &mut State, lr: f64) -> Result<Report> {
        let samples: Vec<&Sample> = self.chosen.iter().map(|&i| &self.rows.samples[i]).collect();
        let memory = state.memory.get(CONTROLLER).and_then(|m| serde_json::from_value(m.clone()).ok());
        let bonus = self.objective.bonus.map_or(0.0, |bonus| bonus.weight(memory));
        let moves = |s: &Sample| !self.masked(s) && (self.objective.moves(s.advantage) || bonus > 0.0);
        let batch: Vec<Row> = samples.iter().map(|s| s.row(moves(s))).collect();
        let lengths: Vec<usize> =
            samples.iter().map(|s| if self.masked(s) { 0 } else { s.completion.len() }).collect();
        let groups: Vec<usize> = samples.iter().map(|s| s.group).collect();
        let weights =
            aggregate::weights(self.objective.aggregate, &lengths, &groups, self.objective.generation_limit);
        let refuse = |r| refusal::report(&self.args.output, state.step + 1, &batch, |i| samples[i].line, &r);
        let ahead = self.look_ahead(trainer, &batch, &samples, state).map_err(refuse)?;
        let kept = |i: usize| ahead.kept.get(i).map(Vec::as_slice);
        let acting: usize = (0..samples.len())
            .map(|i| kept(i).map_or(lengths[i], |kept| kept.iter().filter(|k| **k).count()))
            .sum();
        let slope = -bonus / acting.max(1) as f64;

        let mut sums = Sums::default();
        let mut agreement = Agreement::default();
        let (mut entropies, mut trained) = (0.0, 0.0);
        let accumulated = trainer.accumulate_with_entropy(&batch, true, &mut |i, scored, d, dentropy| {
            let s = samples[i];
            if state.cursor == 0 {
                agreement.add(s, scored.logprobs);
            }
            entropies += scored.entropy.iter().map(|&h| f64::from(h)).sum::<f64>();
            if self.masked(s) {
                return;
            }
            let (now, old, sampled) = (wide(scored.logprobs), wide(self.old(i)), wide(&s.sampled));
            let reference = s.reference.as_deref().map(wide);
            let sequence = Sequence {
                advantage: s.advantage,
                logprobs: &now,
                old: &old,
                sampled: &sampled,
                reference: reference.as_deref(),
                kept: kept(i),
                chosen: ahead.chosen.get(i).map(Vec::as_slice),
            };
            let mut own = vec![0.0; now.len()];
            self.objective.row(&sequence, weights[i], &mut own, &mut sums);
            d.iter_mut().zip(&own).for_each(|(d, own)| *d = *own as f32);
            for (t, h) in scored.entropy.iter().enumerate() {
                if kept(i).is_none_or(|kept| kept[t]) {
                    trained += f64::from(*h);
                    dentropy[t] = slope as f32;
                }
            }
        });
        accumulated.map_err(refuse)?;
        if let (Some(limit), 0) = (self.args.round.check_logprobs, state.cursor) {
            agreement.check(limit)?;
        }
        let applied = trainer.apply(&batch, lr).map_err(refuse)?;
        let mean = trained / acting.max(1) as f64;
        if let Some(after) = self.objective.bonus.and_then(|bonus| bonus.after(memory, mean)) {
            state.memory.insert(CONTROLLER.into(), json!(after));
        }
        let bonus = self.objective.bonus.is_some().then_some((bonus, mean));
        let mut report = Report::of(self.objective, &samples, &sums, agreement, entropies, bonus, applied);
        report.lag = state.cursor;
        report.foreign = rows::of_other_policies(&samples, state) as f64 / samples.len().max(1) as f64;
        Ok(report)
    }

    /// Scores the batch once more, without gradients, where the loss chooses tokens by looking at all of them.
    fn look_ahead(
        &self,
        trainer: &Trainer,
        batch: &[Row],
        samples: &[&Sample],
        state: &State,
    ) -> Result<Ahead, r1_train::refusal::Refused> {
        let objective = self.objective;
        if !objective.looks_ahead() {
            return Ok(Ahead::default());
        }
        let mut logprobs: Vec<Vec<f64>> = vec![Vec::new(); batch.len()];
        let mut entropies: Vec<Vec<f32>> = vec![Vec::new(); batch.len()];
        trainer.score(batch, true, &mut |i, scored| {
            if !self.masked(samples[i]) {
                logprobs[i] = wide(scored.logprobs);
                entropies[i] = scored.entropy.to_vec();
            }
        })?;
        let mut ahead = Ahead::default();
        if let Some(share) = objective.top_entropy {
            let lists: Vec<&[f32]> = entropies.iter().map(Vec::as_slice).collect();
            ahead.kept = entropy::highest(&lists, share);
        }
        let old: Vec<Vec<f64>> = (0..batch.len())
            .map(|i| if self.masked(samples[i]) { Vec::new() } else { wide(self.old(i)) })
            .collect();
        let rows: Vec<covariance::Row> = (0..batch.len())
            .map(|i| covariance::Row {
                advantage: samples[i].advantage,
                logprobs: &logprobs[i],
                old: &old[i],
            })
            .collect();
        let bounds = [1.0 - objective.clip_low, 1.0 + objective.clip_high];
        ahead.chosen = match objective.kind {
            Kind::ClipCov => {
                let (share, band) = (objective.cov_share, objective.cov_band);
                covariance::left_out(&rows, share, band, bounds, self.args.seed.seed, state.step)
            }
            Kind::KlCov => covariance::held_back(&rows, objective.cov_share),
            _ => Vec::new(),
        };
        Ok(ahead)
    }
}
