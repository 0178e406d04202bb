//! The feed-forward block on a device: one SwiGLU layer, or a mixture of SwiGLU experts behind a router.

use anyhow::Result;
use r1_kernels::cuda::{Buffer, View};
use r1_kernels::swiglu;

use super::experts::MoeTape;
use super::tensors::{Compute, Gradients, Network};
use crate::parameters::{FeedForwardIndex, MlpIndex};

/// What the backward pass of one SwiGLU layer needs: gates and ups. What they make is computed again.
pub(super) struct MlpTape<A: Compute> {
    gate_up: Buffer<A>,
}

/// What the backward pass of a feed-forward block needs.
pub(super) enum FeedForwardTape<A: Compute> {
    Dense(MlpTape<A>),
    Moe(Box<MoeTape<A>>),
}

impl<A: Compute> FeedForwardTape<A> {
    /// Where each expert's rows begin, and the end, where there are experts.
    pub fn starts(&self) -> Option<View<'_, u32>> {
        match self {
            FeedForwardTape::Dense(_) => None,
            FeedForwardTape::Moe(tape) => Some(tape.starts()),
        }
    }
}

impl Network {
    /// What SwiGLU makes of gates and ups.
    pub(super) fn activation<A: Compute>(&self, gate_up: View<'_, A>, f: usize) -> Result<Buffer<A>> {
        let mut y = Buffer::uninit(&self.device, "swiglu::forward", gate_up.len() / 2)?;
        swiglu::cuda::forward(&self.device, gate_up, f, y.all_mut())?;
        Ok(y)
    }

    /// Its backward.
    pub(super) fn activation_backward<A: Compute>(
        &self,
        dact: &Buffer<A>,
        gate_up: View<'_, A>,
        f: usize,
    ) -> Result<Buffer<A>> {
        let mut d = Buffer::uninit(&self.device, "swiglu::backward", gate_up.len())?;
        swiglu::cuda::backward(&self.device, dact.all(), gate_up, f, d.all_mut())?;
        Ok(d)
    }

    /// `x += mlp(h)`.
    pub(super) fn mlp_forward<A: Compute>(
        &self,
        index: MlpIndex,
        h: View<'_, A>,
        x: &mut Buffer<f32>,
    ) -> Result<MlpTape<A>> {
        let gate_up = self.project(h, index.gate_up, None)?;
        let act = self.activation(gate_up.all(), self.size(index.down).1)?;
        self.project_add(act.all(), index.down, x.all_mut())?;
        Ok(MlpTape { gate_up })
    }

    /// Backward of [`Network::mlp_forward`]: `dy` in, the gradient of h out (overwritten).
    pub(super) fn mlp_backward<A: Compute>(
        &self,
        index: MlpIndex,
        tape: &MlpTape<A>,
        h: View<'_, A>,
        dy: View<'_, A>,
        dh: &mut Buffer<f32>,
        grads: &mut Gradients,
    ) -> Result<()> {
        let (f, gates) = (self.size(index.down).1, tape.gate_up.all());
        let act = self.activation(gates, f)?;
        self.learn(dy, act.all(), index.down, None, grads)?;
        drop(act);
        let dgates = self.activation_backward(&self.back(dy, index.down)?, gates, f)?;
        self.back_into(dgates.all(), index.gate_up, dh, false)?;
        self.learn(dgates.all(), h, index.gate_up, None, grads)
    }

    /// `x += feed_forward(h)`, h [T, C] the norm of x in what the policy computes in.
    pub(super) fn feed_forward<A: Compute>(
        &self,
        layer: usize,
        h: View<'_, A>,
        x: &mut Buffer<f32>,
    ) -> Result<FeedForwardTape<A>> {
        match &self.index.layers[layer].feed_forward {
            FeedForwardIndex::Dense(mlp) => Ok(FeedForwardTape::Dense(self.mlp_forward(*mlp, h, x)?)),
            FeedForwardIndex::Moe { .. } => {
                Ok(FeedForwardTape::Moe(Box::new(self.experts_forward(layer, h, x)?)))
            }
        }
    }

    /// Backward of [`Network::feed_forward`]: `dx` [T, C] and the same rounded (`dy`) in, the gradient of h [T, C] out
    /// (overwritten). `middle` is what x was.
    pub(super) fn feed_forward_backward<A: Compute>(
        &self,
        layer: usize,
        tape: &FeedForwardTape<A>,
        middle: &Buffer<f32>,
        h: View<'_, A>,
        dx: &Buffer<f32>,
        dy: View<'_, A>,
        dh: &mut Buffer<f32>,
        grads: &mut Gradients,
    ) -> Result<()> {
        match (&self.index.layers[layer].feed_forward, tape) {
            (FeedForwardIndex::Dense(mlp), FeedForwardTape::Dense(tape)) => {
                self.mlp_backward(*mlp, tape, h, dy, dh, grads)
            }
            (FeedForwardIndex::Moe { .. }, FeedForwardTape::Moe(tape)) => {
                self.experts_backward(layer, tape, middle, h, dx, dy, dh, grads)
            }
            _ => unreachable!("a tape of another layer"),
        }
    }
}
