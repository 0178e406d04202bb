//! A loss that a teacher's distributions have a part in: every target's distribution is pulled toward what the teacher says in its place.

use anyhow::{Result, bail};
use r1_kernels::linear::Weight;
use r1_kernels::{Precision, divergence, head};

use super::passes::Tape;
use super::{Gradients, Policy};
use crate::batch::Packed;

/// Where the teacher's distributions come from.
#[derive(Clone, Copy)]
pub enum Teacher<'a> {
    /// a policy with the student's tokenizer, on the same device
    Live(&'a Policy),
    /// lists of its most probable tokens: see `r1_kernels::divergence`
    Listed {
        /// token ids, none twice in a place
        ids: &'a [u32],
        /// their log-probabilities (nats)
        logprobs: &'a [f32],
        /// targets + 1 bounds
        starts: &'a [usize],
    },
    /// every token of the vocabulary is as probable as every other
    Uniform,
}

/// The teacher's part in a loss: Σ weight · divergence over the targets.
#[derive(Clone, Copy)]
pub struct Toward<'a> {
    /// who teaches
    pub teacher: Teacher<'a>,
    /// 0 forward KL, 1 reverse KL, between them Jensen-Shannon (see `r1_kernels::divergence`)
    pub beta: f32,
    /// 1 / temperature of both distributions, in each target's place
    pub inv_temperature: &'a [f32],
    /// d(loss)/d(divergence) of each target
    pub weights: &'a [f32],
}

impl Policy {
    /// As [`Policy::backward`] without entropy, of a loss that the teacher has a part in too. Gives the divergence (nats) in each target's place.
    ///
    /// # Errors
    /// A device's; the teacher computes elsewhere than the student.
    pub fn backward_toward(
        &self,
        batch: &Packed,
        inv_temperature: &[f32],
        output: &head::Output,
        tape: Tape,
        dlogprob: &[f32],
        toward: &Toward,
        grads: &mut Gradients,
    ) -> Result<Vec<f32>> {
        if let Some(network) = &self.device {
            let (tape, grads) = (tape.of_device(), grads.on_device());
            return network.backward_toward(batch, inv_temperature, tape, dlogprob, toward, grads);
        }
        let mut pulled = |teacher: divergence::Teacher, tape: Tape| {
            self.backward_through(batch, tape, grads, |h, w, dh, mut dw| {
                if dlogprob.iter().any(|x| *x != 0.0) {
                    let (targets, t) = (&batch.target_tokens, inv_temperature);
                    head::backward(h, w, targets, t, output, dlogprob, None, dh, dw.as_deref_mut());
                }
                let &Toward { beta, inv_temperature, weights, .. } = toward;
                divergence::backward(h, w, teacher, beta, inv_temperature, weights, dh, dw)
            })
        };
        Ok(match toward.teacher {
            Teacher::Live(teacher) if teacher.device.is_some() => {
                bail!("the teacher is not where the student is")
            }
            Teacher::Live(teacher) => {
                teacher.with_head(batch, |h, w| pulled(divergence::Teacher::Live { h, w }, tape))
            }
            Teacher::Listed { ids, logprobs, starts } => {
                pulled(divergence::Teacher::Listed { ids, logprobs, starts }, tape)
            }
            Teacher::Uniform => {
                // A network of one channel whose logits are all 0.
                let (h, v) = (vec![0.0; toward.weights.len()], self.config.vocab_size);
                let w = Weight::pack(&vec![0.0; v], v, 1, Precision::F32, false);
                pulled(divergence::Teacher::Live { h: &h, w: &w }, tape)
            }
        })
    }
}
