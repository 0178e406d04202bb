//! One decoder layer on a device. The residual stream is f32 whatever the layer computes in.

use anyhow::Result;
use r1_kernels::attention;
use r1_kernels::cuda::Buffer;
use r1_kernels::rmsnorm;

use super::attention::{AttentionTape, Cached, There};
use super::feed_forward::FeedForwardTape;
use super::tensors::{Gradients, Network};

/// What the backward pass of a layer needs besides the layer's input.
pub(super) struct LayerTape<A: Cached> {
    attention: AttentionTape<A>,
    middle: Buffer<f32>,
    pub(super) feed_forward: FeedForwardTape<A>,
}

impl Network {
    fn copy(&self, x: &Buffer<f32>) -> Result<Buffer<f32>> {
        let mut y = Buffer::uninit(&self.device, "the residual stream", x.len())?;
        y.all_mut().copy_from("the residual stream", x.all())?;
        Ok(y)
    }

    /// x [T, C] → the residual stream after the layer, and what the backward pass needs.
    pub(super) fn layer_forward<A: Cached>(
        &self,
        layer: usize,
        x: &Buffer<f32>,
        positions: &Buffer<u32>,
        there: &mut There<'_>,
    ) -> Result<(Buffer<f32>, LayerTape<A>)> {
        let mut middle = self.copy(x)?;
        let attention = self.attend::<A>(layer, &mut middle, positions, there)?;
        let mut out = self.copy(&middle)?;
        let feed_forward = self.feed::<A>(layer, &mut out)?;
        Ok((out, LayerTape { attention, middle, feed_forward }))
    }

    /// As [`Network::layer_forward`], in place, keeping nothing.
    pub(super) fn layer_through<A: Cached>(
        &self,
        layer: usize,
        x: &mut Buffer<f32>,
        positions: &Buffer<u32>,
        there: &mut There<'_>,
    ) -> Result<()> {
        self.attend::<A>(layer, x, positions, there)?;
        self.feed::<A>(layer, x)?;
        Ok(())
    }

    fn attend<A: Cached>(
        &self,
        layer: usize,
        x: &mut Buffer<f32>,
        positions: &Buffer<u32>,
        there: &mut There<'_>,
    ) -> Result<AttentionTape<A>> {
        let norm = self.index.layers[layer].input_norm;
        let (h, _) = self.normed::<f32, A>(x.all(), norm, self.config.rms_norm_eps)?;
        self.attention_forward(layer, h.all(), positions, there, x)
    }

    fn feed<A: Cached>(&self, layer: usize, x: &mut Buffer<f32>) -> Result<FeedForwardTape<A>> {
        let norm = self.index.layers[layer].post_norm;
        let (h, _) = self.normed::<f32, A>(x.all(), norm, self.config.rms_norm_eps)?;
        self.feed_forward(layer, h.all(), x)
    }

    /// `dx` comes in as the gradient of the layer's output and leaves as that of its input.
    pub(super) fn layer_backward<A: Cached>(
        &self,
        layer: usize,
        tape: &LayerTape<A>,
        x: &Buffer<f32>,
        positions: &Buffer<u32>,
        plan: &attention::cuda::Plan,
        dx: &mut Buffer<f32>,
        grads: &mut Gradients,
    ) -> Result<()> {
        let (input, post) = (self.index.layers[layer].input_norm, self.index.layers[layer].post_norm);
        let (d, eps) = (&self.device, self.config.rms_norm_eps);
        let mut dh: Buffer<f32> = Buffer::uninit(d, "the backward pass", dx.len())?;

        let (h, rstd) = self.normed::<f32, A>(tape.middle.all(), post, eps)?;
        let dy = A::round(d, dx)?;
        let (middle, feed_forward) = (&tape.middle, &tape.feed_forward);
        self.feed_forward_backward(layer, feed_forward, middle, h.all(), dx, dy.all(), &mut dh, grads)?;
        drop((h, dy));
        let (middle, w, dw) = (middle.all(), self.vector(post), grads.of(post));
        rmsnorm::cuda::backward(d, dh.all(), middle, w, rstd.all(), dx.all_mut(), dw, true)?;

        let (h, rstd) = self.normed::<f32, A>(x.all(), input, eps)?;
        let dy = A::round(d, dx)?;
        let attention = &tape.attention;
        self.attention_backward(layer, attention, h.all(), positions, plan, dy.all(), &mut dh, grads)?;
        drop((h, dy));
        let (w, dw) = (self.vector(input), grads.of(input));
        rmsnorm::cuda::backward(d, dh.all(), x.all(), w, rstd.all(), dx.all_mut(), dw, true)?;
        Ok(())
    }
}
