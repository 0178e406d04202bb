//! A classifier's passes on a device: scores of whole sequences, in f32 whatever the network computes in.

use anyhow::Result;
use r1_kernels::cuda::Buffer;
use r1_kernels::{Precision, linear};

use super::attention::There;
use super::passes::{Kept, Tape, by_precision, forget, within};
use super::tensors::{Gradients, Network};
use crate::batch::Packed;
use crate::network::{self, Recompute};

impl Network {
    /// A classifier's scores of rows that the final norm gave, in f32: [rows, labels].
    fn score(&self, normed: &Buffer<f32>) -> Result<Vec<f32>> {
        let (labels, c) = self.size(self.head());
        assert!(!self.config.labels().is_empty(), "score: this policy continues text and scores none");
        let mut out = Buffer::uninit(&self.device, "score", normed.len() / c * labels)?;
        let w = self.vector(self.head());
        linear::cuda::forward(&self.device, normed.all(), w, labels, c, None, out.all_mut())?;
        Ok(out.download("score")?)
    }

    /// The final norm in f32, for a classifier's head.
    fn last_norm_exact(&self, gathered: &Buffer<f32>) -> Result<Buffer<f32>> {
        let eps = self.config.rms_norm_eps;
        Ok(self.normed(gathered.all(), self.index.final_norm, eps)?.0)
    }

    pub(crate) fn scores(&self, batch: &Packed) -> Result<Vec<f32>> {
        let plan = self.plan(batch)?;
        let there = &mut There::Packed(&plan);
        let x = by_precision!(self, A => self.hidden::<A>(&batch.tokens, &batch.positions, there))?;
        self.score(&self.last_norm_exact(&self.gather(&x, &batch.target_rows)?)?)
    }

    pub(crate) fn forward_scores(
        &self,
        batch: &Packed,
        recompute: Recompute,
    ) -> Result<(Vec<f32>, network::Tape)> {
        by_precision!(self, A => {
            let tape = self.tape::<A>(batch, recompute)?;
            let scores = self.score(&self.last_norm_exact(&tape.gathered)?)?;
            Ok((scores, forget(tape)))
        })
    }

    pub(crate) fn backward_scores(
        &self,
        batch: &Packed,
        tape: Tape,
        dscores: &[f32],
        grads: &mut Gradients,
    ) -> Result<()> {
        let (d, (labels, c)) = (&self.device, self.size(self.head()));
        let dscores = Buffer::of(d, "gradients of the loss", dscores)?;
        within!(tape, tape => {
            let normed = self.last_norm_exact(&tape.gathered)?;
            let mut dnormed: Buffer<f32> = Buffer::uninit(d, "score", normed.len())?;
            let w = self.vector(self.head());
            linear::cuda::backward_input(d, dscores.all(), w, labels, c, dnormed.all_mut(), false)?;
            if let Some(dw) = grads.of(self.head()) {
                linear::cuda::backward_weight(d, dscores.all(), normed.all(), labels, c, dw)?;
            }
            self.backward_from(batch, tape, &dnormed, grads)
        })
    }
}
