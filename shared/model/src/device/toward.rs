//! The backward pass of a loss that a teacher's distributions have a part in, on a device: see `crate::network::toward`.

use anyhow::{Result, bail};
use r1_kernels::cuda::{Buffer, Float};
use r1_kernels::divergence::cuda as divergence;
use r1_kernels::{Precision, head};

use super::attention::Cached;
use super::passes::{Kept, Tape, TapeOf, by_precision, within};
use super::tensors::{Compute, Gradients, Network};
use crate::batch::Packed;
use crate::network::toward::{Teacher, Toward};

impl Network {
    pub(crate) fn backward_toward(
        &self,
        batch: &Packed,
        inv_temperature: &[f32],
        tape: Tape,
        dlogprob: &[f32],
        toward: &Toward,
        grads: &mut Gradients,
    ) -> Result<Vec<f32>> {
        within!(tape, tape => {
            let d = &self.device;
            let mut dnormed: Buffer<f32> = Buffer::zeros(d, "head::backward", tape.normed.len())?;
            if dlogprob.iter().any(|x| *x != 0.0) {
                self.slopes(&tape, batch, inv_temperature, dlogprob, &mut dnormed, grads)?;
            }
            let found = match &toward.teacher {
                Teacher::Live(teacher) => {
                    let Some(teacher) = teacher.there() else { bail!("the teacher is not on the student's device") };
                    by_precision!(teacher, B => {
                        let h = teacher.before_head::<B>(batch)?;
                        let (w, c) = (B::operand(teacher, teacher.head()), teacher.config.hidden_size);
                        let teacher = divergence::Teacher::Live { h: h.all(), w, c };
                        self.pulled(&tape, teacher, toward, &mut dnormed, grads)?
                    })
                }
                &Teacher::Listed { ids, logprobs, starts } => {
                    let teacher: divergence::Teacher<f32> = divergence::Teacher::Listed { ids, logprobs, starts };
                    self.pulled(&tape, teacher, toward, &mut dnormed, grads)?
                }
                Teacher::Uniform => {
                    let teacher: divergence::Teacher<f32> = divergence::Teacher::Uniform;
                    self.pulled(&tape, teacher, toward, &mut dnormed, grads)?
                }
            };
            self.backward_from(batch, tape, &dnormed, grads)?;
            Ok(found.download("divergences")?)
        })
    }

    /// What the log-probabilities add to `dnormed`, which is overwritten, and to the head.
    fn slopes<A: Cached>(
        &self,
        tape: &TapeOf<A>,
        batch: &Packed,
        inv_temperature: &[f32],
        dlogprob: &[f32],
        dnormed: &mut Buffer<f32>,
        grads: &mut Gradients,
    ) -> Result<()> {
        let (d, c) = (&self.device, self.config.hidden_size);
        let Some(found) = &tape.found else { bail!("a tape of scores has no log-probabilities") };
        let targets = self.upload("targets", &batch.target_tokens)?;
        let t = Buffer::of(d, "temperatures", inv_temperature)?;
        let dlogprob = Buffer::of(d, "gradients of the loss", dlogprob)?;
        let (h, w, dw) = (tape.normed.all(), self.operand_of(tape), grads.of(self.head()));
        let (targets, t, dlogprob, to) = (targets.all(), t.all(), dlogprob.all(), dnormed.all_mut());
        Ok(head::cuda::backward(d, h, w, c, targets, t, found, dlogprob, None, to, dw)?)
    }

    /// What the teacher adds to either; the divergences.
    fn pulled<A: Cached, B: Float>(
        &self,
        tape: &TapeOf<A>,
        teacher: divergence::Teacher<B>,
        toward: &Toward,
        dnormed: &mut Buffer<f32>,
        grads: &mut Gradients,
    ) -> Result<Buffer<f32>> {
        let (d, c, beta) = (&self.device, self.config.hidden_size, toward.beta);
        let up = |values: &[f32]| Buffer::of(d, "the teacher's part", values);
        let (t, weights) = (up(toward.inv_temperature)?, up(toward.weights)?);
        let (h, w, dw) = (tape.normed.all(), self.operand_of(tape), grads.of(self.head()));
        let (t, weights, to) = (t.all(), weights.all(), dnormed.all_mut());
        Ok(divergence::backward(d, h, w, c, teacher, beta, t, weights, to, dw)?)
    }
}
