//! The feed-forward block on a device: one SwiGLU layer.

use anyhow::Result;
use r1_kernels::cuda::{Buffer, View};
use r1_kernels::swiglu;

use super::tensors::{Compute, Gradients, Network};
use crate::parameters::{FeedForwardIndex, MlpIndex};

/// What the backward pass needs: gates and ups. What they make is computed again.
pub(super) struct MlpTape<A: Compute> {
    gate_up: Buffer<A>,
}

impl Network {
    fn mlp(&self, layer: usize) -> MlpIndex {
        match &self.index.layers[layer].feed_forward {
            FeedForwardIndex::Dense(mlp) => *mlp,
            FeedForwardIndex::Moe { .. } => unreachable!("refused when the network was begun"),
        }
    }

    fn activation<A: Compute>(&self, gate_up: &Buffer<A>, f: usize) -> Result<Buffer<A>> {
        let mut y = Buffer::uninit(&self.device, "swiglu::forward", gate_up.len() / 2)?;
        swiglu::cuda::forward(&self.device, gate_up.all(), f, y.all_mut())?;
        Ok(y)
    }

    /// `x += mlp(h)`, h [T, C] already normed.
    pub(super) fn feed_forward<A: Compute>(
        &self,
        layer: usize,
        h: View<'_, A>,
        x: &mut Buffer<f32>,
    ) -> Result<MlpTape<A>> {
        let MlpIndex { gate_up, down } = self.mlp(layer);
        let f = self.size(down).1;
        let gates = self.project(h, gate_up, None)?;
        let act = self.activation(&gates, f)?;
        self.project_add(act.all(), down, x.all_mut())?;
        Ok(MlpTape { gate_up: gates })
    }

    /// Backward of [`Network::feed_forward`]: `dy` [T, C] in, the gradient of h [T, C] out (overwritten).
    pub(super) fn feed_forward_backward<A: Compute>(
        &self,
        layer: usize,
        tape: &MlpTape<A>,
        h: View<'_, A>,
        dy: View<'_, A>,
        dh: &mut Buffer<f32>,
        grads: &mut Gradients,
    ) -> Result<()> {
        let MlpIndex { gate_up, down } = self.mlp(layer);
        let f = self.size(down).1;
        let act = self.activation(&tape.gate_up, f)?;
        self.learn(dy, act.all(), down, None, grads)?;
        drop(act);
        let dact = self.back(dy, down)?;
        let mut dgates: Buffer<A> = Buffer::uninit(&self.device, "swiglu::backward", tape.gate_up.len())?;
        swiglu::cuda::backward(&self.device, dact.all(), tape.gate_up.all(), f, dgates.all_mut())?;
        self.back_into(dgates.all(), gate_up, dh, false)?;
        self.learn(dgates.all(), h, gate_up, None, grads)
    }
}
