//! One update: the gradient of a batch, summed over its micro-batches, clipped by its global norm, and one AdamW step.
//!
//! The loss is the caller's: it gets each row's log-probabilities and gives back d(loss)/d(logprob), already divided by the
//! whole batch's normalizer. How the batch is cut changes only the order in which f32 gradients are added; one cut gives the
//! same bits on every machine and thread count.

mod pull;
mod scored;

use anyhow::Result as Fallible;
use r1_kernels::norm;
use r1_model::Policy;
use r1_model::batch::{Packed, Sequence};
use r1_model::network::{Gradients, Recompute};

use crate::memory::{Budget, Place};
use crate::microbatch::{MicroBatch, plan};
use crate::neftune::Noise;
use crate::optimizer::{AdamW, clip_factor, global_norm};
use crate::refusal::Refused;
use crate::router::Load;

pub use scored::{Unit, UnitLoss};

/// One sequence of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// given tokens, at least one
    pub prompt: &'a [u32],
    /// predicted tokens
    pub completion: &'a [u32],
    /// 1 / temperature of the distribution that the log-probabilities are of
    pub inv_temperature: f32,
    /// whether the loss can have a gradient in this row; a row without one is only scored
    pub gradient: bool,
}

/// What the policy says of one row.
#[derive(Clone, Copy, Debug)]
pub struct Scored<'a> {
    /// log-probability (nats) of each completion token
    pub logprobs: &'a [f32],
    /// entropy (nats) at each completion token; empty unless asked for
    pub entropy: &'a [f32],
}

/// A loss that is called row by row: the row's index and what the policy says of it come in; d(loss)/d(logprob) and
/// d(loss)/d(entropy) of each of its tokens go out.
pub type RowLoss<'a> = dyn FnMut(usize, Scored, &mut [f32], &mut [f32]) + 'a;

pub use pull::{Listed, Pull, Teacher};

/// What stays the same over all updates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// most tokens of a micro-batch; on the host a trainer takes fewer where their activations would need more than 448 MiB
    pub micro_tokens: usize,
    /// largest norm of the gradient; 0 leaves it as it is
    pub clip_norm: f64,
    /// γ of the router's bias update; 0 freezes the biases
    pub router_bias_rate: f64,
}

/// What one update did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Applied {
    /// global norm of the gradient, before clipping
    pub grad_norm: f64,
    /// busiest expert over the mean, where there are experts
    pub expert_imbalance: Option<f64>,
}

/// Why a step was not taken.
enum Unfit {
    /// The gradient of this parameter is not finite.
    Gradient(usize),
    /// The device failed.
    Device(anyhow::Error),
}

impl From<anyhow::Error> for Unfit {
    fn from(error: anyhow::Error) -> Unfit {
        Unfit::Device(error)
    }
}

/// A policy in training.
pub struct Trainer {
    /// the policy as of the last update
    pub policy: Policy,
    /// its optimizer
    pub optimizer: AdamW,
    /// noise on the embedded tokens of the next update, where it has any
    pub noise: Option<Noise>,
    limits: Limits,
    pub(crate) budget: Budget,
    gradients: Gradients,
    load: Load,
    /// d(loss)/d(logprob) of the batch, row after row: tells which token spoiled a gradient
    dlogprobs: Vec<f32>,
    scratch: Vec<f32>,
}

impl Trainer {
    /// Brings policy and optimizer together; the policy must have been loaded to be trained.
    ///
    /// # Errors
    /// The device that the policy computes on has no room for gradients.
    pub fn new(policy: Policy, optimizer: AdamW, mut limits: Limits) -> Fallible<Trainer> {
        let budget = Budget::of(&policy.config, policy.precision(), Place::of(policy.device())?);
        limits.micro_tokens = budget.micro_tokens(limits.micro_tokens);
        let gradients = Gradients::zeros(&policy)?;
        let (load, dlogprobs, scratch) = (Load::default(), Vec::new(), Vec::new());
        Ok(Trainer { policy, optimizer, noise: None, limits, budget, gradients, load, dlogprobs, scratch })
    }

    /// What stays the same over all updates.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Adds the gradient of the whole batch. `loss` is called once for every row with a completion, in an order that depends on
    /// the rows alone; it fills d(loss)/d(logprob), which comes in as zeros, and must leave it so in a row without gradient.
    ///
    /// # Errors
    /// A log-probability or a d(loss)/d(logprob) that is not finite: nothing of the batch may be applied then.
    ///
    /// # Panics
    /// When a prompt is empty or a token lies beyond the vocabulary: rows are checked where they are read.
    pub fn accumulate(
        &mut self,
        rows: &[Row],
        entropy: bool,
        loss: &mut dyn FnMut(usize, Scored, &mut [f32]),
    ) -> Result<(), Refused> {
        self.accumulate_with_entropy(rows, entropy, &mut |i, scored, d, _| loss(i, scored, d))
    }

    /// [`Trainer::accumulate`] for a loss that also moves with the entropy at each token: its last list is d(loss)/d(entropy),
    /// which comes in as zeros; it is empty unless `entropy` was asked for.
    ///
    /// # Errors
    /// Those of [`Trainer::accumulate`].
    ///
    /// # Panics
    /// Where [`Trainer::accumulate`] does.
    pub fn accumulate_with_entropy(
        &mut self,
        rows: &[Row],
        entropy: bool,
        loss: &mut RowLoss,
    ) -> Result<(), Refused> {
        self.accumulate_all(rows, entropy, loss, None)
    }

    fn accumulate_all(
        &mut self,
        rows: &[Row],
        entropy: bool,
        loss: &mut RowLoss,
        mut pull: Option<&mut Pull>,
    ) -> Result<(), Refused> {
        let offsets = offsets(rows);
        self.dlogprobs.clear();
        self.dlogprobs.resize(offsets[rows.len()], 0.0);
        for gradient in [true, false] {
            let chosen: Vec<usize> = (0..rows.len())
                .filter(|&i| rows[i].gradient == gradient && !rows[i].completion.is_empty())
                .collect();
            for micro in plan(rows, &chosen, self.limits.micro_tokens) {
                self.micro_batch(rows, &micro, gradient, entropy, &offsets, loss, pull.as_deref_mut())?;
            }
        }
        Ok(())
    }

    fn micro_batch(
        &mut self,
        rows: &[Row],
        micro: &MicroBatch,
        gradient: bool,
        entropy: bool,
        offsets: &[usize],
        loss: &mut RowLoss,
        pull: Option<&mut Pull>,
    ) -> Result<(), Refused> {
        let (mut packed, inv_temperature) = pack(rows, &micro.rows);
        if let Some(noise) = &mut self.noise {
            noise.put(&mut packed, self.policy.config.hidden_size);
        }
        let counts_load = self.limits.router_bias_rate != 0.0;
        let (output, mut tape) = if gradient || counts_load {
            let recompute = self.budget.recompute(packed.rows());
            let (output, tape) = self
                .policy
                .forward(&packed, &inv_temperature, entropy, recompute)
                .map_err(Refused::failed)?;
            self.load.add(&tape.expert_load);
            (output, Some(tape))
        } else {
            let output = self.policy.logprobs(&packed, &inv_temperature, entropy);
            (output.map_err(Refused::failed)?, None)
        };
        let pulled = gradient && pull.is_some();
        let mut d = std::mem::take(&mut self.scratch);
        d.clear();
        d.resize(output.logprobs.len(), 0.0);
        let mut dentropy = vec![0.0f32; if entropy { output.logprobs.len() } else { 0 }];
        let mut start = 0;
        let mut refused = None;
        for &i in &micro.rows {
            let range = start..start + rows[i].completion.len();
            start = range.end;
            let logprobs = &output.logprobs[range.clone()];
            if let Some(token) = norm::first_non_finite(logprobs) {
                let fact = format!("its log-probability is {}", logprobs[token]);
                refused = Some(Refused::not_finite(Some(i), Some(token), fact));
                break;
            }
            let own = if entropy { &output.entropy[range.clone()] } else { &[][..] };
            let own_dentropy = if entropy { &mut dentropy[range.clone()] } else { &mut [][..] };
            loss(i, Scored { logprobs, entropy: own }, &mut d[range.clone()], own_dentropy);
            if let Some(token) = norm::first_non_finite(&d[range.clone()]) {
                let fact = format!("d(loss)/d(logprob) is {}", d[range.start + token]);
                refused = Some(Refused::not_finite(Some(i), Some(token), fact));
                break;
            }
            self.dlogprobs[offsets[i]..offsets[i + 1]].copy_from_slice(&d[range]);
        }
        // A micro-batch without any gradient (all advantages 0) needs no backward pass: it would add zeros.
        let moves = |list: &[f32]| list.iter().any(|x| *x != 0.0);
        if let (None, Some(pull), Some(tape)) = (&refused, pull, tape.take_if(|_| pulled)) {
            let scored = (&packed, &inv_temperature[..], &output, &d[..]);
            refused = self.pull_back(rows, &micro.rows, scored, tape, pull);
        } else if refused.is_none() && (moves(&d) || moves(&dentropy)) {
            assert!(gradient, "update: a row that was said to have no gradient has one");
            if let Some(tape) = tape {
                let Trainer { policy, gradients, .. } = self;
                let dentropy = moves(&dentropy).then_some(&dentropy[..]);
                let t = &inv_temperature;
                refused = policy
                    .backward(&packed, t, &output, tape, &d, dentropy, gradients)
                    .map_err(Refused::failed)
                    .err();
            }
        }
        self.scratch = d;
        refused.map_or(Ok(()), Err)
    }

    /// Clips what was accumulated, steps, and starts the next batch. `rows` is the batch, to say which one spoiled it.
    ///
    /// # Errors
    /// A gradient that is not finite: the policy is as it was before.
    pub fn apply(&mut self, rows: &[Row], lr: f64) -> Result<Applied, Refused> {
        self.step(lr).map_err(|unfit| match unfit {
            Unfit::Gradient(parameter) => self.trace(rows, parameter).unwrap_or_else(Refused::failed),
            Unfit::Device(error) => Refused::failed(error),
        })
    }

    /// Clips, steps and clears; or changes nothing and says why.
    fn step(&mut self, lr: f64) -> Result<Applied, Unfit> {
        let hyper = *self.optimizer.hyper();
        for (i, parameter) in self.policy.parameters().iter().enumerate() {
            if hyper.freezes(parameter) {
                self.gradients.clear_one(i)?;
            }
        }
        let (grad_norm, spoiled) = global_norm(&self.policy, &self.gradients)?;
        if let Some(parameter) = spoiled {
            return Err(Unfit::Gradient(parameter));
        }
        let expert_imbalance = self.load.imbalance();
        self.load.update_biases(&mut self.policy, self.limits.router_bias_rate)?;
        self.optimizer.step(
            &mut self.policy,
            &self.gradients,
            lr,
            clip_factor(grad_norm, self.limits.clip_norm),
        )?;
        self.gradients.clear()?;
        self.load.clear();
        Ok(Applied { grad_norm, expert_imbalance })
    }

    /// Finds the first row, and in it the first token, whose own gradient is not finite.
    fn trace(&mut self, rows: &[Row], parameter: usize) -> Fallible<Refused> {
        let tensor = self.policy.parameters()[parameter].pieces[0].name.clone();
        let offsets = offsets(rows);
        let d = std::mem::take(&mut self.dlogprobs);
        let mut fact = format!("the gradient of {tensor} is not finite");
        for (i, row) in rows.iter().enumerate() {
            let own = &d[offsets[i]..offsets[i + 1]];
            if own.iter().all(|x| *x == 0.0) || self.alone_is_finite(row, own)? {
                continue;
            }
            let single = |t: usize| {
                let mut one = vec![0.0; own.len()];
                one[t] = own[t];
                one
            };
            let mut token = None;
            for t in (0..own.len()).filter(|&t| own[t] != 0.0) {
                if !self.alone_is_finite(row, &single(t))? {
                    token = Some(t);
                    break;
                }
            }
            return Ok(Refused::not_finite(Some(i), token, fact));
        }
        fact.push_str(", though that of every row alone is");
        Ok(Refused::not_finite(None, None, fact))
    }

    /// Whether the gradient of one row, with these d(loss)/d(logprob), is finite. Uses up the accumulated gradients.
    fn alone_is_finite(&mut self, row: &Row, d: &[f32]) -> Fallible<bool> {
        self.gradients.clear()?;
        let (packed, inv_temperature) = pack(std::slice::from_ref(row), &[0]);
        let (output, tape) = self.policy.forward(&packed, &inv_temperature, false, Recompute::Layers)?;
        self.policy.backward(&packed, &inv_temperature, &output, tape, d, None, &mut self.gradients)?;
        Ok(global_norm(&self.policy, &self.gradients)?.1.is_none())
    }

    /// Log-probabilities of every row with a completion, without any gradient.
    ///
    /// # Errors
    /// A log-probability that is not finite.
    pub fn score(
        &self,
        rows: &[Row],
        entropy: bool,
        seen: &mut dyn FnMut(usize, Scored),
    ) -> Result<(), Refused> {
        score(&self.policy, rows, self.limits.micro_tokens, entropy, seen)
    }

    /// The gradients accumulated so far, in the order of the policy's parameters.
    pub fn gradients(&self) -> &Gradients {
        &self.gradients
    }
}

/// Log-probabilities of every row with a completion under any policy, also one that was not loaded to be trained.
///
/// # Errors
/// A log-probability that is not finite.
pub fn score(
    policy: &Policy,
    rows: &[Row],
    micro_tokens: usize,
    entropy: bool,
    seen: &mut dyn FnMut(usize, Scored),
) -> Result<(), Refused> {
    let chosen: Vec<usize> = (0..rows.len()).filter(|&i| !rows[i].completion.is_empty()).collect();
    for micro in plan(rows, &chosen, micro_tokens) {
        let (packed, inv_temperature) = pack(rows, &micro.rows);
        let output = policy.logprobs(&packed, &inv_temperature, entropy).map_err(Refused::failed)?;
        let mut start = 0;
        for &i in &micro.rows {
            let range = start..start + rows[i].completion.len();
            start = range.end;
            let logprobs = &output.logprobs[range.clone()];
            if let Some(token) = norm::first_non_finite(logprobs) {
                let fact = format!("its log-probability is {}", logprobs[token]);
                return Err(Refused::not_finite(Some(i), Some(token), fact));
            }
            let own = if entropy { &output.entropy[range] } else { &[][..] };
            seen(i, Scored { logprobs, entropy: own });
        }
    }
    Ok(())
}

/// First target of each row in a flat list of all completions' tokens, and their number at the end.
fn offsets(rows: &[Row]) -> Vec<usize> {
    let mut offsets = vec![0];
    let mut end = 0;
    for row in rows {
        end += row.completion.len();
        offsets.push(end);
    }
    offsets
}

/// Packs the chosen rows; inverse temperatures one a target.
pub(crate) fn pack(rows: &[Row], chosen: &[usize]) -> (Packed, Vec<f32>) {
    let sequences: Vec<Sequence> =
        chosen.iter().map(|&i| Sequence { prompt: rows[i].prompt, completion: rows[i].completion }).collect();
    let inv_temperature = chosen
        .iter()
        .flat_map(|&i| std::iter::repeat_n(rows[i].inv_temperature, rows[i].completion.len()))
        .collect();
    (Packed::pack(&sequences), inv_temperature)
}
