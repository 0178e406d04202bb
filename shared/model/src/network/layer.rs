//! One decoder layer, forward and backward: pre-norm attention, then pre-norm feed-forward, each with its residual.

use r1_kernels::attention::Segment;
use r1_kernels::rmsnorm;

use super::attention::{Attend, AttentionTape};
use super::buffer::Buffer;
use super::feed_forward::FeedForwardTape;
use super::{Gradients, Policy};

/// What the backward pass of a layer needs besides the layer's input. What a norm or an activation makes of it is computed
/// again: that costs a hundredth of the step and would be a third of the memory.
pub(super) struct LayerTape {
    attention: AttentionTape,
    middle: Buffer,
    pub(super) feed_forward: FeedForwardTape,
}

/// `x += y`.
pub(super) fn add(x: &mut [f32], y: &[f32]) {
    for (a, b) in x.iter_mut().zip(y) {
        *a += b;
    }
}

impl Policy {
    /// x [T, C] → the residual stream after the layer.
    pub(super) fn layer_forward(
        &self,
        layer: usize,
        x: &[f32],
        positions: &[u32],
        attend: &mut Attend,
    ) -> (Buffer, LayerTape) {
        let index = &self.index.layers[layer];
        let eps = self.config.rms_norm_eps;
        let (h1, _) = self.normed(x, index.input_norm, eps);
        let (branch, attention) = self.attention_forward(layer, &h1, positions, attend);
        drop(h1);
        let mut middle = Buffer::of(x);
        let (mut h2, mut rstd2) = (Buffer::new(x.len()), Buffer::new(positions.len()));
        let w = self.vector(index.post_norm);
        rmsnorm::add_forward(&mut middle, &branch, w, eps, &mut h2, &mut rstd2);
        let (mut out, feed_forward) = self.feed_forward(layer, &h2);
        // a + b and b + a have the same bits
        add(&mut out, &middle);
        (out, LayerTape { attention, middle, feed_forward })
    }

    /// `dx` comes in as the gradient of the layer's output and leaves as that of its input.
    pub(super) fn layer_backward(
        &self,
        layer: usize,
        tape: &LayerTape,
        x: &[f32],
        positions: &[u32],
        segments: &[Segment],
        dx: &mut [f32],
        grads: &mut Gradients,
    ) {
        let (input, post) = (self.index.layers[layer].input_norm, self.index.layers[layer].post_norm);
        let eps = self.config.rms_norm_eps;
        let mut dh = Buffer::new(dx.len());
        let (h2, rstd2) = self.normed(&tape.middle, post, eps);
        self.feed_forward_backward(layer, &tape.feed_forward, &h2, dx, &mut dh, grads);
        drop(h2);
        rmsnorm::backward(&dh, &tape.middle, self.vector(post), &rstd2, dx, grads.of(post), true);
        let (h1, rstd1) = self.normed(x, input, eps);
        self.attention_backward(layer, &tape.attention, &h1, positions, segments, dx, &mut dh, grads);
        rmsnorm::backward(&dh, x, self.vector(input), &rstd1, dx, grads.of(input), true);
    }
}
