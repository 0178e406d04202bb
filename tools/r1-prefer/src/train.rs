//! The loop: one update after the other, checkpoints on the way, a whole reward model at the end.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use r1_kernels::Precision;
use r1_model::config::{Config, Head};
use r1_model::random::hash;
use r1_model::{LoadOptions, Policy, Tokenizer};
use r1_train::checkpoint::{self, Start, State, Status};
use r1_train::corpus::order;
use r1_train::flags::load_optimizer;
use r1_train::optimizer::AdamW;
use r1_train::refusal::Refused;
use r1_train::schedule::Schedule;
use r1_train::supervised::{Defaults, Flags};
use r1_train::update::{Trainer, Unit};
use serde_json::{Map, Value};

use crate::loss;
use crate::measure::{Judgement, Measured, measure};
use crate::patience::Patience;
use crate::preferences::{Judged, Known, Preferences};
use crate::report::Batch;

/// A run that is ready to begin or to go on.
pub struct Run<'a> {
    /// directory whose network it begins with
    pub policy: &'a Path,
    /// directory that is written
    pub out: &'a Path,
    pub flags: &'a Flags,
    pub defaults: Defaults,
    pub center: f64,
    pub patience: Option<u64>,
    pub precision: Precision,
    /// what the run is, at its beginning
    pub planned: State,
    /// where it begins
    pub start: Start,
    pub preferences: Preferences,
    pub held_out: Option<Preferences>,
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    pub steps: u64,
    pub loss: f64,
    pub held_out: Option<Measured>,
}

/// Loads a reward model to be trained on, or puts a fresh head on a policy's network.
fn load_scorer(dir: &Path, precision: Precision, seed: u64) -> Result<Policy> {
    let options = LoadOptions::trainable(Some(precision));
    let policy = Config::load(dir).and_then(|config| match &config.head {
        Head::Vocabulary => {
            let tokenizer = Tokenizer::load(dir)?;
            // Elsewhere batches are padded: with the end-of-sequence token where the tokenizer has no other, as TRL does.
            let pad = tokenizer.pad().or(tokenizer.eos()).map(|special| special.id);
            Policy::scorer_on(dir, &["score"], pad, seed, options)
        }
        Head::Score { labels } if labels.len() == 1 => Policy::load_scorer(dir, options),
        Head::Score { labels } => {
            anyhow::bail!("{}: scores {} labels, a reward model has one", dir.display(), labels.len())
        }
    });
    policy.map_err(|e| r1_cli::misuse(format!("{e:#}"), "name a whole policy directory (see r1-init)"))
}

/// Measures a reward model on rows that it was not trained on.
pub fn held_out(trainer: &Trainer, preferences: &Preferences) -> Result<Measured> {
    let units: Vec<Unit> = preferences.rows.iter().map(|row| preferences.unit(row)).collect();
    let mut leads = vec![0.0; units.len()];
    let scored = trainer.score_units(&units, &mut |i, scores| {
        leads[i] = match (preferences.rows[i].known, scores) {
            (Known::Pair { .. }, &[chosen, rejected]) => f64::from(chosen) - f64::from(rejected),
            (Known::Label(true), &[score]) => f64::from(score),
            (Known::Label(false), &[score]) => -f64::from(score),
            _ => unreachable!("a pair has two scores and a label one"),
        };
    });
    scored.map_err(|refused| {
        let line = refused.row.map_or(0, |row| preferences.rows[row].line);
        anyhow::anyhow!("held-out row in line {line}: {}", refused.fact)
    })?;
    let judgement = |(unit, lead): (&Unit, &f64)| {
        let longer_wins = match unit.sequences.as_slice() {
            [better, worse] => Some(match better.completion.len().cmp(&worse.completion.len()) {
                std::cmp::Ordering::Greater => 1.0,
                std::cmp::Ordering::Equal => 0.5,
                std::cmp::Ordering::Less => 0.0,
            }),
            _ => None,
        };
        Judgement { lead: *lead, prompt: hash(&format!("{:?}", unit.sequences[0].prompt)), longer_wins }
    };
    Ok(measure(&units.iter().zip(&leads).map(judgement).collect::<Vec<_>>()))
}

impl Run<'_> {
    /// Policy and optimizer as they stand where the run begins.
    fn load(&self) -> Result<(Trainer, State)> {
        if let Start::Resume(state) = &self.start {
            return self.load_from(state);
        }
        let policy = load_scorer(self.policy, self.precision, self.flags.seed.seed)?;
        let optimizer = AdamW::fresh(&policy, self.flags.optimization.hyper());
        Ok((self.trainer(policy, optimizer)?, self.planned.clone()))
    }

    /// … and as they stand in the output, which is in this state.
    fn load_from(&self, state: &State) -> Result<(Trainer, State)> {
        let policy = load_scorer(self.out, self.precision, 0)?;
        let optimizer = load_optimizer(&policy, self.out, self.flags.optimization.hyper())?;
        Ok((self.trainer(policy, optimizer)?, state.clone()))
    }

    fn trainer(&self, policy: Policy, optimizer: AdamW) -> Result<Trainer> {
        let micro_tokens = self.flags.compute.micro_tokens(&policy.config, self.precision)?;
        let limits = self.flags.optimization.limits(micro_tokens, self.flags.router_bias_rate);
        Trainer::new(policy, optimizer, limits)
    }

    /// Trains to the end, or to a signal.
    pub fn train(&self) -> Result<Outcome> {
        let flags = self.flags;
        let rows = &self.preferences.rows;
        let batch_size = flags.batch_size(self.defaults);
        let total = flags.total(rows.len(), batch_size);
        let per_epoch = rows.len().div_ceil(batch_size) as u64;
        let eval_every = flags.eval_every.unwrap_or(per_epoch);
        let schedule = Schedule {
            shape: flags.schedule,
            peak: flags.lr(self.defaults),
            warmup: flags.warmup,
            total,
            min_ratio: flags.min_lr_ratio,
        };
        let (mut trainer, mut state) = self.load()?;
        let mut metrics = flags.metrics.resume(&state.tool, state.step)?;
        metrics = metrics.and(flags.tensorboard.resume(&state.tool, state.step)?);
        let tool = state.tool.clone();
        r1_cli::signals::watch();
        let mut measured = None;
        let mut patience = self.patience.map(|limit| Patience::of(limit, &state));
        let evaluate = |trainer: &Trainer, step: u64, metrics: &mut r1_cli::Metrics| {
            let Some(preferences) = &self.held_out else { return Ok(None) };
            let now = held_out(trainer, preferences)?;
            r1_cli::note(&format!("after {step} steps: {}", now.text()));
            let mut line = Map::new();
            line.insert("tool".into(), tool.as_str().into());
            line.insert("step".into(), step.into());
            now.metrics(&mut line);
            metrics.write(&line)?;
            Ok::<_, anyhow::Error>(Some(now))
        };
        if state.step == 0 {
            evaluate(&trainer, 0, &mut metrics)?;
        }
        let mut progress = r1_cli::Progress::new("steps", Some(total));
        let (mut epoch, mut shown) = (u64::MAX, Vec::new());
        let mut last_loss = f64::NAN;
        while state.step < total {
            let began = Instant::now();
            let (now, within) = (state.step / per_epoch, (state.step % per_epoch) as usize);
            if now != epoch {
                (epoch, shown) = (now, order(flags.seed.seed, now, rows.len()));
            }
            let chosen = &shown[within * batch_size..rows.len().min((within + 1) * batch_size)];
            let chosen: Vec<&Judged> = chosen.iter().map(|&i| &rows[i as usize]).collect();
            let lr = schedule.rate(state.step);
            let (batch, mut line) = self.update(&mut trainer, &chosen, lr, state.step)?;
            last_loss = batch.loss();
            state.step += 1;
            state.cursor = state.step;
            let tokens = line["tokens"].as_u64().unwrap_or(0);
            state.tokens += tokens;
            line.insert("tool".into(), state.tool.as_str().into());
            line.insert("step".into(), state.step.into());
            line.insert("epoch".into(), (state.step as f64 / per_epoch as f64).into());
            line.insert("num_tokens".into(), state.tokens.into());
            let seconds = began.elapsed().as_secs_f64();
            line.insert("tokens_per_second".into(), (tokens as f64 / seconds.max(1e-9)).into());
            metrics.write(&line)?;
            progress.message(&format!("loss {last_loss:.4}"));
            progress.set(state.step);
            if state.step.is_multiple_of(eval_every) || state.step == total {
                measured = evaluate(&trainer, state.step, &mut metrics)?;
                if let (Some(patience), Some(now)) = (&mut patience, &measured) {
                    if patience.better(now.log_loss, &mut state) {
                        checkpoint::publish(self.out, self.policy, &trainer, &state, true)?;
                    }
                    if patience.is_over() {
                        break;
                    }
                }
            }
            if state.step == total {
                break;
            }
            let stop = r1_cli::signals::stop_requested();
            if patience.is_none()
                && (stop || (flags.checkpoint_every > 0 && state.step.is_multiple_of(flags.checkpoint_every)))
            {
                checkpoint::publish(self.out, self.policy, &trainer, &state, true)?;
            }
            if stop {
                return Err(r1_cli::stopped());
            }
        }
        if patience.is_some() {
            let steps = state.step;
            (trainer, state) = self.load_from(&State::load(self.out)?.unwrap_or(state))?;
            measured = self.held_out.as_ref().map(|rows| held_out(&trainer, rows)).transpose()?;
            r1_cli::note(&format!("of {steps} steps the reward model after {} was the best", state.step));
        }
        state.status = Status::Done;
        checkpoint::publish(self.out, self.policy, &trainer, &state, false)?;
        progress.finish();
        Ok(Outcome { steps: state.step, loss: last_loss, held_out: measured })
    }

    /// One update on the chosen rows; the line lacks what only the loop knows.
    fn update(
        &self,
        trainer: &mut Trainer,
        chosen: &[&Judged],
        lr: f64,
        step: u64,
    ) -> Result<(Batch, Map<String, Value>)> {
        let units: Vec<Unit> = chosen.iter().map(|row| self.preferences.unit(row)).collect();
        let mut batch = Batch::default();
        let applied = accumulate(trainer, &units, chosen, self.center, &mut batch)
            .and_then(|()| trainer.apply_scores(lr))
            .map_err(|refused| {
                let place =
                    refused.row.map_or(String::new(), |i| format!("line {} of the input: ", chosen[i].line));
                anyhow::anyhow!(
                    "step {} refused, weights unchanged: {place}{}; lower --lr, or leave the row out",
                    step + 1,
                    refused.fact
                )
            })?;
        let tokens: usize =
            units.iter().flat_map(|u| &u.sequences).map(|s| s.prompt.len() + s.completion.len()).sum();
        let mut line = batch.line();
        line.insert("grad_norm".into(), applied.grad_norm.into());
        line.insert("learning_rate".into(), lr.into());
        line.insert("tokens".into(), tokens.into());
        if let Some(imbalance) = applied.expert_imbalance {
            line.insert("expert_imbalance".into(), imbalance.into());
        }
        Ok((batch, line))
    }
}

/// Adds the gradient of the batch's loss: the mean over its rows.
fn accumulate(
    trainer: &mut Trainer,
    units: &[Unit],
    rows: &[&Judged],
    center: f64,
    batch: &mut Batch,
) -> Result<(), Refused> {
    let share = 1.0 / units.len() as f64;
    trainer.accumulate_scores(units, &mut |i, scores, d| {
        let loss = match (rows[i].known, scores) {
            (Known::Pair { margin }, &[chosen, rejected]) => {
                let (loss, dc, dr) = loss::pair(f64::from(chosen), f64::from(rejected), margin, center);
                (d[0], d[1]) = ((share * dc) as f32, (share * dr) as f32);
                loss
            }
            (Known::Label(label), &[score]) => {
                let (loss, ds) = loss::label(f64::from(score), label);
                d[0] = (share * ds) as f32;
                loss
            }
            _ => unreachable!("a pair has two scores and a label one"),
        };
        batch.add(rows[i], scores, share * loss);
    })
}

#[cfg(test)]
mod tests;
