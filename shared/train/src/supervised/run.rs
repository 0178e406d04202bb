//! The loop itself: one update after the other, checkpoints on the way, a whole policy at the end.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use r1_kernels::Precision;
use serde_json::{Value, json};

use super::{Defaults, Flags, Loss, Objective};
use crate::checkpoint::{self, Start, State, Status};
use crate::corpus::{Corpus, order};
use crate::flags::{load_optimizer, load_policy};
use crate::lora::{self, Plan};
use crate::neftune::Noise;
use crate::optimizer::{self, AdamW};
use crate::refusal;
use crate::schedule::Schedule;
use crate::update::{Row, Trainer};

/// A run that is ready to begin or to go on.
pub struct Run<'a> {
    /// directory of the policy that is trained
    pub policy: &'a Path,
    /// directory that is written
    pub out: &'a Path,
    /// the flags
    pub flags: &'a Flags,
    /// the adapter that is trained, where it is not the policy itself
    pub plan: Option<Plan>,
    /// the tool's own settings
    pub defaults: Defaults,
    /// the settled compute type
    pub precision: Precision,
    /// what the run is, at its beginning
    pub planned: State,
    /// where it begins
    pub start: Start,
    /// what is learned
    pub corpus: Corpus,
    /// by which loss
    pub objective: &'a dyn Objective,
    /// what the held-out loss is of
    pub held_out: Option<Corpus>,
    /// most tokens that are computed at once
    pub micro_tokens: usize,
}

/// What a run came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// updates in all
    pub steps: u64,
    /// loss of the last update
    pub loss: f64,
    /// held-out loss at the end
    pub held_out_loss: Option<f64>,
}

/// Mean negative log-likelihood of a corpus' completion tokens.
///
/// # Errors
/// When a log-probability is not finite, naming the line.
pub fn mean_loss(trainer: &Trainer, corpus: &Corpus) -> Result<f64> {
    let rows: Vec<Row> = (0..corpus.len()).map(|i| corpus.row(i)).collect();
    let mut sums = vec![0.0; rows.len()];
    let scored = trainer.score(&rows, false, &mut |i, scored| {
        sums[i] = scored.logprobs.iter().map(|&x| -f64::from(x)).sum();
    });
    scored.map_err(|refused| {
        let line = refused.row.map_or(0, |row| corpus.line(row));
        anyhow::anyhow!("held-out example in line {line}: {}", refused.fact)
    })?;
    Ok(sums.iter().sum::<f64>() / (corpus.completion_tokens().max(1)) as f64)
}

impl Run<'_> {
    /// Loads policy and optimizer as they stand where the run begins.
    fn load(&self) -> Result<(Trainer, State)> {
        let flags = self.flags;
        let hyper = flags.optimization.hyper();
        let (policy, optimizer, state) = match &self.start {
            Start::Resume(state) => {
                let policy = match &self.plan {
                    Some(plan) => plan.load(self.policy, Some(self.out), self.precision)?,
                    None => load_policy(self.out, self.precision)?,
                };
                let optimizer = load_optimizer(&policy, self.out, hyper)?;
                (policy, optimizer, state.clone())
            }
            _ => {
                let policy = match &self.plan {
                    Some(plan) => plan.load(self.policy, None, self.precision)?,
                    None => load_policy(self.policy, self.precision)?,
                };
                let moments = lora::trained(self.policy, self.plan.as_ref())
                    .filter(|dir| flags.keep_optimizer && dir.join(optimizer::FILE).exists());
                let optimizer = match moments {
                    Some(dir) => load_optimizer(&policy, dir, hyper)?,
                    None => AdamW::fresh(&policy, hyper),
                };
                (policy, optimizer, self.planned.clone())
            }
        };
        let router_bias_rate = if self.plan.is_some() { 0.0 } else { flags.router_bias_rate };
        let limits = flags.optimization.limits(self.micro_tokens, router_bias_rate);
        Ok((Trainer::new(policy, optimizer, limits)?, state))
    }

    /// Trains to the end, or to a signal.
    ///
    /// # Errors
    /// Exit 1: a file cannot be written, or an update was refused because something is not finite. Exit 130 or 143 after a signal,
    /// with everything saved.
    pub fn train(&self) -> Result<Outcome> {
        r1_cli::signals::watch();
        let (flags, corpus) = (self.flags, &self.corpus);
        let batch_size = flags.batch_size(self.defaults);
        let per_epoch = corpus.len().div_ceil(batch_size) as u64;
        let total = flags.total(corpus.len(), batch_size);
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
        let eval_every = flags.eval_every.unwrap_or(per_epoch);
        let mut held_out_loss = None;
        if let (Some(held_out), 0) = (&self.held_out, state.step) {
            let loss = mean_loss(&trainer, held_out)?;
            r1_cli::note(&format!("held-out loss {loss:.4} before training"));
            metrics.write(&json!({"tool": state.tool, "step": 0, "eval_loss": loss}))?;
        }
        let mut progress = r1_cli::Progress::new("steps", Some(total));
        let (mut epoch, mut shown) = (u64::MAX, Vec::new());
        let mut last_loss = f64::NAN;
        while state.step < total {
            let began = Instant::now();
            let (now, within) = (state.step / per_epoch, (state.step % per_epoch) as usize);
            if now != epoch {
                (epoch, shown) = (now, order(flags.seed.seed, now, corpus.len()));
            }
            let chosen = &shown[within * batch_size..corpus.len().min((within + 1) * batch_size)];
            let lr = schedule.rate(state.step);
            let done = self.update(&mut trainer, chosen, lr, state.step)?;
            last_loss = done.loss.total;
            state.step += 1;
            state.cursor = state.step;
            state.tokens += done.tokens;
            let seconds = began.elapsed().as_secs_f64();
            metrics.write(&done.line(&state, lr, per_epoch, seconds))?;
            progress.message(&format!("loss {:.4}", done.loss.total));
            progress.set(state.step);
            if let Some(held_out) = &self.held_out
                && (state.step.is_multiple_of(eval_every) || state.step == total)
            {
                let loss = mean_loss(&trainer, held_out)?;
                held_out_loss = Some(loss);
                r1_cli::note(&format!("held-out loss {loss:.4} after {} steps", state.step));
                metrics.write(&json!({"tool": state.tool, "step": state.step, "eval_loss": loss}))?;
            }
            if state.step == total {
                break;
            }
            let stop = r1_cli::signals::stop_requested();
            if stop || (flags.checkpoint_every > 0 && state.step.is_multiple_of(flags.checkpoint_every)) {
                checkpoint::publish(self.out, self.policy, &trainer, &state, true)?;
            }
            if stop {
                return Err(r1_cli::stopped());
            }
        }
        state.status = Status::Done;
        // Where the next run starts its optimizer afresh, moments of a finished one would only be dead weight.
        checkpoint::publish(self.out, self.policy, &trainer, &state, flags.keep_optimizer)?;
        progress.finish();
        Ok(Outcome { steps: total, loss: last_loss, held_out_loss })
    }

    /// One update on the chosen examples.
    fn update(&self, trainer: &mut Trainer, chosen: &[u32], lr: f64, step: u64) -> Result<Done> {
        let rows: Vec<Row> = chosen.iter().map(|&i| self.corpus.row(i as usize)).collect();
        let tokens: usize = rows.iter().map(|r| r.completion.len()).sum();
        trainer.noise = self.flags.neftune.map(|alpha| Noise::of(alpha, self.flags.seed.seed, step));
        let applied = self
            .objective
            .accumulate(trainer, &rows, chosen)
            .and_then(|loss| Ok((loss, trainer.apply(&rows, lr)?)));
        match applied {
            Ok((loss, applied)) => Ok(Done {
                loss,
                tokens: tokens as u64,
                grad_norm: applied.grad_norm,
                expert_imbalance: applied.expert_imbalance,
            }),
            Err(refused) => {
                let line = |row: usize| self.corpus.line(chosen[row] as usize);
                Err(refusal::report(self.out, step + 1, &rows, line, &refused))
            }
        }
    }
}

/// What one update came to.
struct Done {
    loss: Loss,
    tokens: u64,
    grad_norm: f64,
    expert_imbalance: Option<f64>,
}

impl Done {
    /// One line of metrics, under TRL's names where it has them.
    fn line(&self, state: &State, lr: f64, per_epoch: u64, seconds: f64) -> Value {
        let mut line = json!({
            "tool": state.tool,
            "step": state.step,
            "epoch": state.step as f64 / per_epoch as f64,
            "loss": self.loss.total,
            "grad_norm": self.grad_norm,
            "learning_rate": lr,
            "tokens": self.tokens,
            "num_tokens": state.tokens,
            "tokens_per_second": self.tokens as f64 / seconds.max(1e-9),
        });
        for (name, value) in &self.loss.parts {
            line[*name] = (*value).into();
        }
        if let Some(imbalance) = self.expert_imbalance {
            line["expert_imbalance"] = imbalance.into();
        }
        if let Some(device) = r1_model::device::chosen() {
            line["memory/device_peak_bytes"] = device.peak().into();
        }
        if let Some(bytes) = r1_cli::memory::peak() {
            line["memory/peak_bytes"] = bytes.into();
        }
        line
    }
}
