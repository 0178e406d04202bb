//! The attention block: grouped-query attention (Llama, Qwen2, Qwen3) and multi-head latent attention (DeepSeek-V3).
//!
//! Both end in the same kernel: MLA expands its latent into one key and value per head (the form it trains in), so that
//! sampling and training share every bit, also where the cache keeps the latents and every step expands them again. Where the policy computes in bf16, keys (after rope) and values are rounded to
//! bf16 in every pass, as the cache holds them; gradients pass through that rounding unchanged (straight through), as they
//! pass through the rounding of the products' operands.

use r1_kernels::attention::{self, Segment, Shape};
use r1_kernels::{Precision, linear, rmsnorm, rope};

use super::buffer::Buffer;
use super::{Gradients, Policy};
use crate::cache::Caches;
use crate::parameters::AttentionIndex;

/// How the rows of a forward pass see each other.
pub enum Attend<'a> {
    /// a packed batch on its own (training, scoring)
    Packed(&'a [Segment]),
    /// rows of sequences whose keys and values lie in pages: one new token of each, or many
    Paged {
        /// one cache per layer, where the policy computes; the rows' own keys and values are written first
        caches: &'a mut Caches,
        /// page ids of each row's sequence
        tables: &'a [&'a [u32]],
        /// positions that each row sees, its own included
        lens: &'a [usize],
    },
}

#[cfg(feature = "cuda")]
impl Attend<'_> {
    /// The same, for a shorter time.
    pub(crate) fn again(&mut self) -> Attend<'_> {
        match self {
            Attend::Packed(segments) => Attend::Packed(segments),
            Attend::Paged { caches, tables, lens } => Attend::Paged { caches, tables, lens },
        }
    }

    /// A device's cache gives up its recordings; whether it had any to give up.
    pub(crate) fn give_up_recordings(&mut self) -> bool {
        match self {
            Attend::Paged { caches: Caches::Device(caches), .. } => caches.give_up_recordings(),
            _ => false,
        }
    }
}

/// What the backward pass of an attention block needs.
pub(super) struct AttentionTape {
    q: Buffer,
    k: Buffer,
    v: Buffer,
    out: Buffer,
    lse: Buffer,
    extra: Extra,
}

/// What only one kind of attention keeps.
pub(super) enum Extra {
    None,
    /// Qwen3: q and k before their per-head norm, and the norms' reciprocal deviations
    Norms {
        q: Buffer,
        k: Buffer,
        q_rstd: Buffer,
        k_rstd: Buffer,
    },
    /// MLA: the low-rank query and the latent, both before their norms
    Latent {
        query: Option<Buffer>,
        latent: Buffer,
    },
}

/// Page and slot of each row's own position.
pub(super) fn places(tables: &[&[u32]], lens: &[usize]) -> Vec<(u32, u32)> {
    let place = |(table, len): (&&[u32], &usize)| {
        (table[(len - 1) / attention::PAGE], ((len - 1) % attention::PAGE) as u32)
    };
    tables.iter().zip(lens).map(place).collect()
}

impl Policy {
    pub(crate) fn shape(&self) -> Shape {
        let c = &self.config;
        Shape { heads: c.heads, kv_heads: c.kv_heads(), dk: c.dk(), dv: c.dv(), scale: c.attention_scale }
    }

    /// `x · Wᵀ` for parameter `i` into a new buffer, with its adapter where it has one.
    pub(super) fn project(&self, x: &[f32], i: usize, bias: Option<usize>) -> Buffer {
        let w = self.weight(i);
        let mut y = Buffer::new(x.len() / w.k() * w.n());
        linear::forward(x, w, bias.map(|b| self.vector(b)), &mut y);
        if let Some(pair) = self.adapted(i) {
            pair.forward_add(x, &mut y);
        }
        y
    }

    /// Gradient of `project`: `dx (+)= dy · W`, `dW += dyᵀ x`, bias likewise; in a frozen network the adapter's instead.
    pub(super) fn project_backward(
        &self,
        dy: &[f32],
        x: &[f32],
        i: usize,
        bias: Option<usize>,
        dx: &mut [f32],
        accumulate: bool,
        grads: &mut Gradients,
    ) {
        let w = self.weight(i);
        linear::backward_input(dy, w, dx, accumulate);
        if let Some(dw) = grads.of(i) {
            linear::backward_weight(dy, x, w.n(), w.k(), w.precision(), dw);
        }
        if let Some(db) = bias.and_then(|b| grads.of(b)) {
            linear::backward_bias(dy, db);
        }
        if let Some(pair) = self.adapted(i) {
            pair.backward_add(dy, x, dx, grads);
        }
    }

    /// RMSNorm of rows of `w`'s length into new buffers: (y, rstd).
    pub(super) fn normed(&self, x: &[f32], i: usize, eps: f32) -> (Buffer, Buffer) {
        let w = self.vector(i);
        let (mut y, mut rstd) = (Buffer::new(x.len()), Buffer::new(x.len() / w.len()));
        rmsnorm::forward(x, w, eps, &mut y, &mut rstd);
        (y, rstd)
    }

    /// Rotates q (or dq, with `inverse`) of this config's layout.
    pub(super) fn rotate(&self, x: &mut [f32], heads: usize, positions: &[u32], inverse: bool) {
        let c = &self.config;
        let offset = c.dk() - c.rope.dim;
        rope::apply(x, heads, c.dk(), offset, positions, &self.rope, c.rope.pairing, inverse);
    }

    /// The block without its residual: `o_proj(attention(h))`, h [T, C] already normed.
    pub(super) fn attention_forward(
        &self,
        layer: usize,
        h: &[f32],
        positions: &[u32],
        attend: &mut Attend,
    ) -> (Buffer, AttentionTape) {
        let index = &self.index.layers[layer].attention;
        let s = self.shape();
        let rows = positions.len();
        let mut out = Buffer::new(rows * s.heads * s.dv);
        let mut lse = Buffer::new(rows * s.heads);
        let o = match index {
            AttentionIndex::Gqa { o, .. } | AttentionIndex::Mla { o, .. } => *o,
        };
        let (q, mut k, mut v, extra) = match index {
            AttentionIndex::Gqa { .. } => self.gqa_inputs(index, h, positions),
            AttentionIndex::Mla { .. } => {
                let (q, latents, extra) = self.mla_inputs(index, h, positions);
                if let Attend::Paged { caches: Caches::Latent(caches), tables, lens } = attend {
                    self.attend_to_latents(index, layer, &q, &latents, caches, tables, lens, &mut out);
                    let (k, v) = (Buffer::new(0), Buffer::new(0));
                    return (self.project(&out, o, None), AttentionTape { q, k, v, out, lse, extra });
                }
                let (k, v) = self.expand(index, &latents);
                (q, k, v, extra)
            }
        };
        // As the cache stores them, so that training sees what sampling saw.
        if self.precision == Precision::Bf16 {
            attention::round_to_bf16(&mut k);
            attention::round_to_bf16(&mut v);
        }
        match attend {
            Attend::Packed(segments) => attention::forward(&q, &k, &v, segments, s, &mut out, &mut lse),
            Attend::Paged { caches, tables, lens } => {
                let Caches::Host(caches) = &mut **caches else {
                    unreachable!("a policy on the host has its cache there")
                };
                let places = places(tables, lens);
                caches[layer].write_rows(&places, &k, &v);
                attention::decode(&q, &caches[layer], tables, lens, s, &mut out);
            }
        }
        (self.project(&out, o, None), AttentionTape { q, k, v, out, lse, extra })
    }

    fn gqa_inputs(
        &self,
        index: &AttentionIndex,
        h: &[f32],
        positions: &[u32],
    ) -> (Buffer, Buffer, Buffer, Extra) {
        let AttentionIndex::Gqa { q, k, v, bias, norms, .. } = index else { unreachable!() };
        let b = |i: usize| bias.map(|b| b[i]);
        let (mut query, mut key) = (self.project(h, *q, b(0)), self.project(h, *k, b(1)));
        let value = self.project(h, *v, b(2));
        let mut extra = Extra::None;
        if let Some([q_norm, k_norm]) = norms {
            let (qn, q_rstd) = self.normed(&query, *q_norm, self.config.rms_norm_eps);
            let (kn, k_rstd) = self.normed(&key, *k_norm, self.config.rms_norm_eps);
            extra = Extra::Norms { q: query, k: key, q_rstd, k_rstd };
            (query, key) = (qn, kn);
        }
        self.rotate(&mut query, self.config.heads, positions, false);
        self.rotate(&mut key, self.config.kv_heads(), positions, false);
        (query, key, value, extra)
    }

    /// Backward of [`Policy::attention_forward`]: `dy` [T, C] in, `dh` [T, C] out (overwritten), gradients added.
    pub(super) fn attention_backward(
        &self,
        layer: usize,
        tape: &AttentionTape,
        h: &[f32],
        positions: &[u32],
        segments: &[Segment],
        dy: &[f32],
        dh: &mut [f32],
        grads: &mut Gradients,
    ) {
        let index = &self.index.layers[layer].attention;
        let o = match index {
            AttentionIndex::Gqa { o, .. } | AttentionIndex::Mla { o, .. } => *o,
        };
        let mut dout = Buffer::new(tape.out.len());
        self.project_backward(dy, &tape.out, o, None, &mut dout, false, grads);
        let (mut dq, mut dk, mut dv) =
            (Buffer::new(tape.q.len()), Buffer::new(tape.k.len()), Buffer::new(tape.v.len()));
        attention::backward(
            &tape.q,
            &tape.k,
            &tape.v,
            &tape.out,
            &tape.lse,
            &dout,
            segments,
            self.shape(),
            &mut dq,
            &mut dk,
            &mut dv,
        );
        self.rotate(&mut dq, self.config.heads, positions, true);
        match index {
            AttentionIndex::Gqa { .. } => {
                self.rotate(&mut dk, self.config.kv_heads(), positions, true);
                self.gqa_backward(index, &tape.extra, h, dq, dk, dv, dh, grads);
            }
            AttentionIndex::Mla { .. } => {
                self.mla_backward(index, &tape.extra, h, positions, dq, dk, dv, dh, grads)
            }
        }
    }

    fn gqa_backward(
        &self,
        index: &AttentionIndex,
        extra: &Extra,
        h: &[f32],
        mut dq: Buffer,
        mut dk: Buffer,
        dv: Buffer,
        dh: &mut [f32],
        grads: &mut Gradients,
    ) {
        let AttentionIndex::Gqa { q, k, v, bias, norms, .. } = index else { unreachable!() };
        if let (Some([q_norm, k_norm]), Extra::Norms { q: q0, k: k0, q_rstd, k_rstd }) = (norms, extra) {
            for (d, x, rstd, norm) in [(&mut dq, q0, q_rstd, *q_norm), (&mut dk, k0, k_rstd, *k_norm)] {
                let mut dx = Buffer::new(d.len());
                rmsnorm::backward(d, x, self.vector(norm), rstd, &mut dx, grads.of(norm), false);
                *d = dx;
            }
        }
        let b = |i: usize| bias.map(|b| b[i]);
        self.project_backward(&dq, h, *q, b(0), dh, false, grads);
        self.project_backward(&dk, h, *k, b(1), dh, true, grads);
        self.project_backward(&dv, h, *v, b(2), dh, true, grads);
    }
}
