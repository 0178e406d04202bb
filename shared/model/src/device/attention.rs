//! The attention block on a device (the host's: `crate::network`). Grouped-query attention; what it computes in is `A`.

use anyhow::Result;
use r1_kernels::attention::{self, Shape};
use r1_kernels::cuda::{Buffer, View, ViewMut};
use r1_kernels::{linear, rmsnorm, rope};

use super::cache::{Caches, Layers, Rows};
use super::tensors::{Compute, Gradients, Network};
use crate::parameters::AttentionIndex;

/// How the rows of a pass see each other, on the device.
pub(super) enum There<'a> {
    /// a packed batch on its own
    Packed(&'a attention::cuda::Plan),
    /// rows whose keys and values lie in pages
    Paged { caches: &'a mut Caches, rows: &'a Rows },
}

/// What the backward pass of an attention block needs.
pub(super) struct AttentionTape<A: Compute> {
    q: Buffer<A>,
    k: Buffer<A>,
    v: Buffer<A>,
    out: Buffer<A>,
    lse: Buffer<f32>,
    norms: Option<Norms<A>>,
}

/// Qwen3: q and k before their per-head norm, and the norms' reciprocal deviations.
struct Norms<A: Compute> {
    q: Buffer<A>,
    k: Buffer<A>,
    q_rstd: Buffer<f32>,
    k_rstd: Buffer<f32>,
}

/// Where a block's parameters stand.
struct Gqa {
    q: usize,
    k: usize,
    v: usize,
    bias: Option<[usize; 3]>,
    norms: Option<[usize; 2]>,
    o: usize,
}

/// The layer's cache in the type that the policy computes in.
pub(super) trait Cached: Compute {
    fn cache(caches: &mut Caches, layer: usize) -> &mut attention::cuda::Cache<Self>;
}

impl Cached for f32 {
    fn cache(caches: &mut Caches, layer: usize) -> &mut attention::cuda::Cache<f32> {
        let Layers::F32(layers) = &mut caches.layers else { unreachable!("a cache for a policy in f32") };
        &mut layers[layer]
    }
}

impl Cached for u16 {
    fn cache(caches: &mut Caches, layer: usize) -> &mut attention::cuda::Cache<u16> {
        let Layers::Bf16(layers) = &mut caches.layers else { unreachable!("a cache for a policy in bf16") };
        &mut layers[layer]
    }
}

impl Network {
    pub(super) fn shape(&self) -> Shape {
        let c = &self.config;
        Shape { heads: c.heads, kv_heads: c.kv_heads(), dk: c.dk(), dv: c.dv(), scale: c.attention_scale }
    }

    /// `x · Wᵀ` for parameter `i`.
    pub(super) fn project<A: Compute>(
        &self,
        x: View<'_, A>,
        i: usize,
        bias: Option<usize>,
    ) -> Result<Buffer<A>> {
        let (n, k) = self.size(i);
        let mut y = Buffer::uninit(&self.device, "linear::forward", x.len() / k * n)?;
        let bias = bias.map(|b| self.vector(b));
        linear::cuda::forward(&self.device, x, A::operand(self, i), n, k, bias, y.all_mut())?;
        Ok(y)
    }

    /// `y += x · Wᵀ` for parameter `i`.
    pub(super) fn project_add<A: Compute>(
        &self,
        x: View<'_, A>,
        i: usize,
        y: ViewMut<'_, f32>,
    ) -> Result<()> {
        let (n, k) = self.size(i);
        Ok(linear::cuda::forward_add(&self.device, x, A::operand(self, i), n, k, y)?)
    }

    /// `dx = dy · W`, in the type that the next operation takes.
    pub(super) fn back<A: Compute>(&self, dy: View<'_, A>, i: usize) -> Result<Buffer<A>> {
        let (n, k) = self.size(i);
        let mut dx = Buffer::uninit(&self.device, "linear::backward_input", dy.len() / n * k)?;
        linear::cuda::backward_input(&self.device, dy, A::operand(self, i), n, k, dx.all_mut(), false)?;
        Ok(dx)
    }

    /// `dx (+)= dy · W` in f32.
    pub(super) fn back_into<A: Compute>(
        &self,
        dy: View<'_, A>,
        i: usize,
        dx: &mut Buffer<f32>,
        accumulate: bool,
    ) -> Result<()> {
        let (n, k) = self.size(i);
        Ok(linear::cuda::backward_input(
            &self.device,
            dy,
            A::operand(self, i),
            n,
            k,
            dx.all_mut(),
            accumulate,
        )?)
    }

    /// `dW += dyᵀ x`, and the bias likewise.
    pub(super) fn learn<A: Compute>(
        &self,
        dy: View<'_, A>,
        x: View<'_, A>,
        i: usize,
        bias: Option<usize>,
        grads: &mut Gradients,
    ) -> Result<()> {
        let (n, k) = self.size(i);
        linear::cuda::backward_weight(&self.device, dy, x, n, k, grads.values[i].all_mut())?;
        if let Some(b) = bias {
            linear::cuda::backward_bias(&self.device, dy, grads.values[b].all_mut())?;
        }
        Ok(())
    }

    /// RMSNorm of rows of `w`'s length: (y, rstd).
    pub(super) fn normed<X: Compute, A: Compute>(
        &self,
        x: View<'_, X>,
        i: usize,
        eps: f32,
    ) -> Result<(Buffer<A>, Buffer<f32>)> {
        let w = self.vector(i);
        let mut y = Buffer::uninit(&self.device, "rmsnorm::forward", x.len())?;
        let mut rstd = Buffer::uninit(&self.device, "rmsnorm::forward", x.len() / w.len())?;
        rmsnorm::cuda::forward(&self.device, x, w, eps, y.all_mut(), rstd.all_mut())?;
        Ok((y, rstd))
    }

    fn rotate<A: Compute>(
        &self,
        x: &mut Buffer<A>,
        heads: usize,
        positions: &Buffer<u32>,
        inverse: bool,
    ) -> Result<()> {
        let c = &self.config;
        let (stride, offset, pairing) = (c.dk(), c.dk() - c.rope.dim, c.rope.pairing);
        let (positions, table) = (positions.all(), self.rope());
        Ok(rope::cuda::apply(
            &self.device,
            x.all_mut(),
            heads,
            stride,
            offset,
            positions,
            table,
            pairing,
            inverse,
        )?)
    }

    fn gqa(&self, layer: usize) -> Gqa {
        match &self.index.layers[layer].attention {
            AttentionIndex::Gqa { q, k, v, bias, norms, o } => {
                Gqa { q: *q, k: *k, v: *v, bias: *bias, norms: *norms, o: *o }
            }
            AttentionIndex::Mla { .. } => unreachable!("refused when the network was begun"),
        }
    }

    /// `x += o_proj(attention(h))`, h [T, C] already normed.
    pub(super) fn attention_forward<A: Cached>(
        &self,
        layer: usize,
        h: View<'_, A>,
        positions: &Buffer<u32>,
        there: &mut There<'_>,
        x: &mut Buffer<f32>,
    ) -> Result<AttentionTape<A>> {
        let (index, d, s) = (self.gqa(layer), &self.device, self.shape());
        let b = |i: usize| index.bias.map(|b| b[i]);
        let (mut q, mut k) = (self.project(h, index.q, b(0))?, self.project(h, index.k, b(1))?);
        let v = self.project(h, index.v, b(2))?;
        let mut norms = None;
        if let Some([q_norm, k_norm]) = index.norms {
            let (qn, q_rstd) = self.normed(q.all(), q_norm, self.config.rms_norm_eps)?;
            let (kn, k_rstd) = self.normed(k.all(), k_norm, self.config.rms_norm_eps)?;
            norms = Some(Norms { q, k, q_rstd, k_rstd });
            (q, k) = (qn, kn);
        }
        self.rotate(&mut q, s.heads, positions, false)?;
        self.rotate(&mut k, s.kv_heads, positions, false)?;
        let rows = positions.len();
        let mut out = Buffer::uninit(d, "attention::forward", rows * s.heads * s.dv)?;
        let mut lse = Buffer::uninit(d, "attention::forward", rows * s.heads)?;
        match there {
            There::Packed(plan) => {
                let (out, lse) = (out.all_mut(), lse.all_mut());
                attention::cuda::forward(d, q.all(), k.all(), v.all(), plan, s, out, lse)?;
            }
            There::Paged { caches, rows } => {
                let cache = A::cache(caches, layer);
                cache.write_rows(rows.places.all(), k.all(), v.all())?;
                let (tables, lens) = (rows.tables.all(), rows.lens.all());
                let (width, longest, out) = (rows.width, rows.longest, out.all_mut());
                attention::cuda::decode(d, q.all(), cache, tables, width, lens, longest, out)?;
            }
        }
        self.project_add(out.all(), index.o, x.all_mut())?;
        Ok(AttentionTape { q, k, v, out, lse, norms })
    }

    /// Backward of [`Network::attention_forward`]: `dy` [T, C] in, the gradient of h [T, C] out (overwritten), gradients
    /// of the parameters added.
    pub(super) fn attention_backward<A: Cached>(
        &self,
        layer: usize,
        tape: &AttentionTape<A>,
        h: View<'_, A>,
        positions: &Buffer<u32>,
        plan: &attention::cuda::Plan,
        dy: View<'_, A>,
        dh: &mut Buffer<f32>,
        grads: &mut Gradients,
    ) -> Result<()> {
        let (index, d, s) = (self.gqa(layer), &self.device, self.shape());
        self.learn(dy, tape.out.all(), index.o, None, grads)?;
        let dout = self.back(dy, index.o)?;
        let mut dq: Buffer<A> = Buffer::uninit(d, "attention::backward", tape.q.len())?;
        let mut dk: Buffer<A> = Buffer::uninit(d, "attention::backward", tape.k.len())?;
        let mut dv: Buffer<A> = Buffer::uninit(d, "attention::backward", tape.v.len())?;
        let (q, k, v, out) = (tape.q.all(), tape.k.all(), tape.v.all(), tape.out.all());
        let (lse, dout) = (tape.lse.all(), dout.all());
        let (to_q, to_k, to_v) = (dq.all_mut(), dk.all_mut(), dv.all_mut());
        attention::cuda::backward(d, q, k, v, out, lse, dout, plan, s, to_q, to_k, to_v)?;
        self.rotate(&mut dq, s.heads, positions, true)?;
        self.rotate(&mut dk, s.kv_heads, positions, true)?;
        if let (Some([q_norm, k_norm]), Some(n)) = (index.norms, &tape.norms) {
            dq = self.norm_backward(&dq, &n.q, &n.q_rstd, q_norm, grads)?;
            dk = self.norm_backward(&dk, &n.k, &n.k_rstd, k_norm, grads)?;
        }
        let b = |i: usize| index.bias.map(|b| b[i]);
        let all = [(&dq, index.q, b(0)), (&dk, index.k, b(1)), (&dv, index.v, b(2))];
        for (n, (dy, i, bias)) in all.into_iter().enumerate() {
            self.back_into(dy.all(), i, dh, n > 0)?;
            self.learn(dy.all(), h, i, bias, grads)?;
        }
        Ok(())
    }

    /// Backward of a norm per head, rounded to what products take.
    fn norm_backward<A: Compute>(
        &self,
        dy: &Buffer<A>,
        x: &Buffer<A>,
        rstd: &Buffer<f32>,
        i: usize,
        grads: &mut Gradients,
    ) -> Result<Buffer<A>> {
        let d = &self.device;
        let mut dx: Buffer<f32> = Buffer::uninit(d, "rmsnorm::backward", x.len())?;
        let dw = Some(grads.values[i].all_mut());
        rmsnorm::cuda::backward(d, dy.all(), x.all(), self.vector(i), rstd.all(), dx.all_mut(), dw, false)?;
        A::rounded(d, dx)
    }
}
