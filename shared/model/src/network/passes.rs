//! Whole passes over a packed batch: hidden states, log-probabilities, gradients.

use anyhow::Result;
use r1_kernels::linear::Weight;
use r1_kernels::{embedding, head, linear, rmsnorm};

use super::attention::Attend;
use super::buffer::Buffer;
use super::layer::LayerTape;
use super::{Gradients, Policy};
use crate::batch::Packed;
use crate::device;
use crate::sample::{Draw, Room, Sampling};

/// What the forward pass keeps for the backward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recompute {
    /// every layer's activations: fastest
    None,
    /// only the layers' inputs; activations are computed again, one layer at a time
    Layers,
}

/// What [`Policy::forward`] leaves for [`Policy::backward`].
pub struct Tape {
    kept: Kept,
    /// tokens per expert of each layer with experts: (layer, counts)
    pub expert_load: Vec<(usize, Vec<u32>)>,
}

/// By where the policy computes.
enum Kept {
    Host(HostTape),
    Device(Box<device::Tape>),
}

/// What the host's forward pass keeps.
struct HostTape {
    /// the input of each layer, then the last layer's output
    stream: Vec<Buffer>,
    layers: Vec<Option<LayerTape>>,
    gathered: Buffer,
    normed: Buffer,
    rstd: Buffer,
}

impl Tape {
    #[cfg_attr(not(feature = "cuda"), allow(dead_code))]
    pub(crate) fn on_device(kept: device::Tape, expert_load: Vec<(usize, Vec<u32>)>) -> Tape {
        Tape { kept: Kept::Device(Box::new(kept)), expert_load }
    }

    pub(super) fn of_device(self) -> device::Tape {
        let Kept::Device(tape) = self.kept else { unreachable!("a tape of a policy on the host") };
        *tape
    }

    fn of_host(self) -> HostTape {
        let Kept::Host(tape) = self.kept else { unreachable!("a tape of a policy on a device") };
        tape
    }

    /// What the head is applied to.
    pub(super) fn normed(&self) -> &[f32] {
        let Kept::Host(tape) = &self.kept else { unreachable!("a tape of a policy on a device") };
        &tape.normed
    }
}

impl Policy {
    /// Embeds tokens: [T, C].
    fn embed(&self, tokens: &[u32]) -> Buffer {
        let c = self.config.hidden_size;
        let mut x = Buffer::new(tokens.len() * c);
        if let Some(table) = &self.table {
            for (row, &id) in x.chunks_exact_mut(c).zip(tokens) {
                let halves = &table[id as usize * c..(id as usize + 1) * c];
                row.iter_mut().zip(halves).for_each(|(x, half)| *x = half.to_f32());
            }
            return x;
        }
        let values = self.vector(self.index.embedding);
        if values.is_empty() {
            let packed = self.weight(self.index.embedding);
            x.chunks_exact_mut(c).zip(tokens).for_each(|(row, &id)| packed.row(id as usize, row));
            return x;
        }
        embedding::forward(values, c, tokens, &mut x);
        x
    }

    /// Rows of `x` [T, C] in the order of `rows`.
    fn gather(&self, x: &[f32], rows: &[u32]) -> Buffer {
        let c = self.config.hidden_size;
        let mut out = Buffer::new(rows.len() * c);
        for (to, &r) in out.chunks_exact_mut(c).zip(rows) {
            to.copy_from_slice(&x[r as usize * c..(r as usize + 1) * c]);
        }
        out
    }

    /// The residual stream after the last layer, before the final norm: [T, C].
    fn hidden(&self, tokens: &[u32], positions: &[u32], attend: &mut Attend) -> Buffer {
        let mut x = self.embed(tokens);
        for layer in 0..self.config.layers {
            x = self.layer_forward(layer, &x, positions, attend).0;
        }
        x
    }

    /// Logits (before any temperature) of the chosen rows: [rows.len(), V] into `out`, which is resized.
    /// Used by sampling, with any [`Attend`]; the bits are those of a packed forward pass.
    ///
    /// # Errors
    /// A device's, as in all passes.
    pub fn logits(
        &self,
        tokens: &[u32],
        positions: &[u32],
        mut attend: Attend,
        rows: &[u32],
        out: &mut Vec<f32>,
    ) -> Result<()> {
        if let Some(network) = &self.device {
            return network.logits(tokens, positions, attend, rows, out);
        }
        let x = self.hidden(tokens, positions, &mut attend);
        let gathered = self.gather(&x, rows);
        let (normed, _) = self.normed(&gathered, self.index.final_norm, self.config.rms_norm_eps);
        out.resize(rows.len() * self.config.vocab_size, 0.0);
        linear::forward(&normed, self.weight(self.head()), None, out);
        Ok(())
    }

    /// A token and its log-probability for each of `draws`, from the logits of the chosen rows; a device draws itself.
    ///
    /// # Errors
    /// A device's.
    pub fn draws(
        &self,
        tokens: &[u32],
        positions: &[u32],
        attend: Attend,
        rows: &[u32],
        sampling: &Sampling,
        draws: &[Draw],
        room: &mut Room,
    ) -> Result<Vec<(u32, f32)>> {
        if let Some(network) = &self.device {
            return network.draws(tokens, positions, attend, rows, sampling, draws);
        }
        self.logits(tokens, positions, attend, rows, &mut room.logits)?;
        Ok(sampling.draw_all(self.config.vocab_size, draws, room))
    }

    /// What the head is applied to at the rows that predict the batch's targets: [targets, C].
    pub(super) fn before_head(&self, batch: &Packed) -> Buffer {
        let mut attend = Attend::Packed(&batch.segments);
        let x = self.hidden(&batch.tokens, &batch.positions, &mut attend);
        let gathered = self.gather(&x, &batch.target_rows);
        self.normed(&gathered, self.index.final_norm, self.config.rms_norm_eps).0
    }

    /// Log-probability (nats, at temperature `1/inv_temperature[i]`) of each target, and entropy where asked.
    ///
    /// # Errors
    /// A device's.
    pub fn logprobs(&self, batch: &Packed, inv_temperature: &[f32], entropy: bool) -> Result<head::Output> {
        if let Some(network) = &self.device {
            return network.logprobs(batch, inv_temperature, entropy);
        }
        let normed = self.before_head(batch);
        let w = self.weight(self.head());
        Ok(head::forward(&normed, w, &batch.target_tokens, inv_temperature, entropy))
    }

    /// As [`Policy::logprobs`] without entropy, and the `top` most probable tokens in the place of each target.
    ///
    /// # Errors
    /// A device's.
    pub fn logprobs_with_top(
        &self,
        batch: &Packed,
        inv_temperature: &[f32],
        top: usize,
    ) -> Result<(head::Output, head::Top)> {
        if let Some(network) = &self.device {
            return network.logprobs_with_top(batch, inv_temperature, top);
        }
        let (normed, w) = (self.before_head(batch), self.weight(self.head()));
        let output = head::forward(&normed, w, &batch.target_tokens, inv_temperature, false);
        Ok((output, head::top(&normed, w, inv_temperature, top)))
    }

    /// Calls `with` on what the head is applied to at the rows that predict the batch's targets, [targets, C], and the head:
    /// a teacher's whole distributions, for `r1_kernels::divergence`.
    ///
    /// # Panics
    /// When the policy is on a device.
    pub fn with_head<R>(&self, batch: &Packed, with: impl FnOnce(&[f32], &Weight) -> R) -> R {
        with(&self.before_head(batch), self.weight(self.head()))
    }

    /// As [`Policy::logprobs`], keeping what the backward pass needs.
    ///
    /// # Errors
    /// A device's.
    pub fn forward(
        &self,
        batch: &Packed,
        inv_temperature: &[f32],
        entropy: bool,
        recompute: Recompute,
    ) -> Result<(head::Output, Tape)> {
        if let Some(network) = &self.device {
            return network.forward(batch, inv_temperature, entropy, recompute);
        }
        let tape = self.tape(batch, recompute);
        let w = self.weight(self.head());
        let output = head::forward(tape.normed(), w, &batch.target_tokens, inv_temperature, entropy);
        Ok((output, tape))
    }

    /// The forward pass up to the final norm at the target rows, with what the backward pass needs.
    pub(super) fn tape(&self, batch: &Packed, recompute: Recompute) -> Tape {
        let mut attend = Attend::Packed(&batch.segments);
        let mut embedded = self.embed(&batch.tokens);
        embedded.iter_mut().zip(&batch.noise).for_each(|(x, noise)| *x += noise);
        let mut stream = vec![embedded];
        let mut layers = Vec::with_capacity(self.config.layers);
        let mut expert_load = Vec::new();
        for layer in 0..self.config.layers {
            let (out, tape) = self.layer_forward(layer, &stream[layer], &batch.positions, &mut attend);
            expert_load.extend(tape.feed_forward.load().map(|load| (layer, load)));
            stream.push(out);
            layers.push((recompute == Recompute::None).then_some(tape));
        }
        let gathered = self.gather(&stream[self.config.layers], &batch.target_rows);
        let (normed, rstd) = self.normed(&gathered, self.index.final_norm, self.config.rms_norm_eps);
        Tape { kept: Kept::Host(HostTape { stream, layers, gathered, normed, rstd }), expert_load }
    }

    /// Adds to `grads` the gradient of a loss given by d(loss)/d(logprob) and d(loss)/d(entropy) of each target.
    ///
    /// # Errors
    /// A device's.
    pub fn backward(
        &self,
        batch: &Packed,
        inv_temperature: &[f32],
        output: &head::Output,
        tape: Tape,
        dlogprob: &[f32],
        dentropy: Option<&[f32]>,
        grads: &mut Gradients,
    ) -> Result<()> {
        if let Some(network) = &self.device {
            let tape = tape.of_device();
            return network.backward(batch, inv_temperature, tape, dlogprob, dentropy, grads.on_device());
        }
        self.backward_through(batch, tape, grads, |normed, w, dnormed, dw| {
            let (targets, t) = (&batch.target_tokens, inv_temperature);
            head::backward(normed, w, targets, t, output, dlogprob, dentropy, dnormed, dw);
        });
        Ok(())
    }

    /// Adds to `grads` the gradient of any loss on the head: `head` is given the rows that it is applied to [targets, C] and the
    /// head, and adds the loss's gradients to zeros [targets, C] and to the head's gradient [V, C], which a frozen network
    /// does not want.
    ///
    /// # Panics
    /// When the policy is on a device.
    pub(super) fn backward_through<R>(
        &self,
        batch: &Packed,
        tape: Tape,
        grads: &mut Gradients,
        head: impl FnOnce(&[f32], &Weight, &mut [f32], Option<&mut [f32]>) -> R,
    ) -> R {
        let HostTape { mut stream, mut layers, gathered, normed, rstd } = tape.of_host();
        let c = self.config.hidden_size;
        let head_index = self.head();
        let mut dnormed = Buffer::zeros(normed.len());
        let w = self.weight(head_index);
        let result = head(&normed, w, &mut dnormed, grads.of(head_index));
        let norm = self.index.final_norm;
        let mut dgathered = Buffer::new(gathered.len());
        let dw = grads.of(norm);
        rmsnorm::backward(&dnormed, &gathered, self.vector(norm), &rstd, &mut dgathered, dw, false);
        let mut dx = Buffer::zeros(batch.rows() * c);
        for (d, &r) in dgathered.chunks_exact(c).zip(&batch.target_rows) {
            super::layer::add(&mut dx[r as usize * c..(r as usize + 1) * c], d);
        }
        stream.pop();
        for layer in (0..self.config.layers).rev() {
            let Some(x) = stream.pop() else { unreachable!("one input per layer") };
            let tape = layers[layer].take().unwrap_or_else(|| {
                self.layer_forward(layer, &x, &batch.positions, &mut Attend::Packed(&batch.segments)).1
            });
            self.layer_backward(layer, &tape, &x, &batch.positions, &batch.segments, &mut dx, grads);
        }
        if let Some(dw) = grads.of(self.index.embedding) {
            embedding::backward(&dx, c, &batch.tokens, dw);
        }
        result
    }
}
