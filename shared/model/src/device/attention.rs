//! The attention block on a device (the host's: `crate::network`): what every kind of it shares, and grouped-query attention. What it
//! computes in is `A`; latent attention is in `latent.rs`.

use anyhow::Result;
use r1_kernels::attention::{self, Shape};
use r1_kernels::cuda::{Buffer, Error, View};
use r1_kernels::rope::{self, cuda::Rotation};

use super::cache::{Caches, Kept, Layers};
use super::latent::{Latent, Seen};
use super::tensors::{Compute, Gradients, Network};
use crate::parameters::AttentionIndex;

/// How the rows of a pass see each other, on the device.
pub(super) enum There<'a> {
    /// a packed batch on its own
    Packed(&'a attention::cuda::Plan),
    /// rows whose keys and values lie in pages; `seen` are the pages that they see, where the pages hold latents
    Paged { caches: &'a mut Caches, rows: &'a attention::cuda::Rows, seen: Option<Seen<'a>> },
}

/// What the backward pass of an attention block needs.
pub(super) struct AttentionTape<A: Compute> {
    q: Buffer<A>,
    k: Buffer<A>,
    v: Buffer<A>,
    out: Buffer<A>,
    lse: Buffer<f32>,
    extra: Extra<A>,
}

/// What only one kind of attention keeps.
pub(super) enum Extra<A: Compute> {
    None,
    Norms(Norms<A>),
    Latent(Latent<A>),
}

/// Qwen3: q and k before their per-head norm, and the norms' reciprocal deviations.
pub(super) struct Norms<A: Compute> {
    q: Buffer<A>,
    k: Buffer<A>,
    q_rstd: Buffer<f32>,
    k_rstd: Buffer<f32>,
}

/// q, k and v of a batch's rows, rotated, and what else is kept.
pub(super) type Inputs<A> = (Buffer<A>, (Buffer<A>, Buffer<A>), Extra<A>);

/// The layers' pages in the type that the policy computes in.
pub(super) trait Cached: Compute {
    fn kept(caches: &mut Caches) -> &mut Kept<Self>;
}

impl Cached for f32 {
    fn kept(caches: &mut Caches) -> &mut Kept<f32> {
        let Layers::F32(kept) = &mut caches.layers else { unreachable!("a cache for a policy in f32") };
        kept
    }
}

impl Cached for u16 {
    fn kept(caches: &mut Caches) -> &mut Kept<u16> {
        let Layers::Bf16(kept) = &mut caches.layers else { unreachable!("a cache for a policy in bf16") };
        kept
    }
}

impl Network {
    pub(super) fn shape(&self) -> Shape {
        let c = &self.config;
        Shape { heads: c.heads, kv_heads: c.kv_heads(), dk: c.dk(), dv: c.dv(), scale: c.attention_scale }
    }

    /// Rotates q or k (or their gradients, with `inverse`) of this config's layout.
    pub(super) fn rotate<A: Compute>(
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

    /// `x += o_proj(attention(h))`, h [T, C] already normed.
    pub(super) fn attention_forward<A: Cached>(
        &self,
        layer: usize,
        h: View<'_, A>,
        positions: &Buffer<u32>,
        there: &mut There<'_>,
        x: &mut Buffer<f32>,
    ) -> Result<AttentionTape<A>> {
        let (index, d, s) = (&self.index.layers[layer].attention, &self.device, self.shape());
        // What pages have taken is not kept beside them.
        let none =
            || Ok::<_, Error>((Buffer::uninit(d, "the keys", 0)?, Buffer::uninit(d, "the values", 0)?));
        let (q, (k, v), extra) = match index {
            AttentionIndex::Gqa { .. } => match there {
                There::Packed(_) => self.gqa_inputs(index, h, positions)?,
                There::Paged { caches, rows, .. } => {
                    let Kept::Values(layers) = A::kept(caches) else {
                        unreachable!("grouped queries have no latents")
                    };
                    let q = self.gqa_to_pages(index, h, positions, &mut layers[layer], rows)?;
                    (q, none()?, Extra::None)
                }
            },
            AttentionIndex::Mla { .. } => {
                let (q, made, latent) = self.latent_inputs(index, h, positions)?;
                let kv = match there {
                    There::Packed(_) => self.expand(index, &made)?,
                    There::Paged { caches, rows, seen } => {
                        match (A::kept(caches), seen) {
                            (Kept::Latents(kept), Some(seen)) => {
                                self.expand_seen(layer, &made, kept, rows.places(), *seen)?;
                            }
                            (Kept::Values(layers), None) => {
                                let (k, v) = self.expand(index, &made)?;
                                layers[layer].write_rows(rows.places(), k.all(), v.all())?;
                            }
                            _ => unreachable!("latents are listed where they are kept"),
                        }
                        none()?
                    }
                };
                (q, kv, Extra::Latent(latent))
            }
        };
        let rows = positions.len();
        let mut out = Buffer::uninit(d, "attention::forward", rows * s.heads * s.dv)?;
        let mut lse = Buffer::uninit(d, "attention::forward", rows * s.heads)?;
        match there {
            There::Packed(plan) => {
                let (out, lse) = (out.all_mut(), lse.all_mut());
                attention::cuda::forward(d, q.all(), k.all(), v.all(), plan, s, out, lse)?;
            }
            There::Paged { caches, rows, .. } => {
                let cache = match A::kept(caches) {
                    Kept::Values(layers) => &layers[layer],
                    Kept::Latents(kept) => &kept.expanded,
                };
                attention::cuda::decode_rows(d, q.all(), cache, rows, out.all_mut())?;
            }
        }
        self.project_add(out.all(), output(index), x.all_mut())?;
        Ok(AttentionTape { q, k, v, out, lse, extra })
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
        let (index, d, s) = (&self.index.layers[layer].attention, &self.device, self.shape());
        self.learn(dy, tape.out.all(), output(index), None, grads)?;
        let dout = self.back(dy, output(index))?;
        let mut dq: Buffer<A> = Buffer::uninit(d, "attention::backward", tape.q.len())?;
        let mut dk: Buffer<A> = Buffer::uninit(d, "attention::backward", tape.k.len())?;
        let mut dv: Buffer<A> = Buffer::uninit(d, "attention::backward", tape.v.len())?;
        let (q, k, v, out) = (tape.q.all(), tape.k.all(), tape.v.all(), tape.out.all());
        let (lse, dout) = (tape.lse.all(), dout.all());
        let (to_q, to_k, to_v) = (dq.all_mut(), dk.all_mut(), dv.all_mut());
        attention::cuda::backward(d, q, k, v, out, lse, dout, plan, s, to_q, to_k, to_v)?;
        self.rotate(&mut dq, s.heads, positions, true)?;
        match &tape.extra {
            Extra::Latent(latent) => {
                self.latent_backward(index, latent, h, positions, &dq, &dk, &dv, dh, grads)
            }
            extra => {
                self.rotate(&mut dk, s.kv_heads, positions, true)?;
                self.gqa_backward(index, extra, h, dq, dk, dv, dh, grads)
            }
        }
    }

    fn gqa_inputs<A: Compute>(
        &self,
        index: &AttentionIndex,
        h: View<'_, A>,
        positions: &Buffer<u32>,
    ) -> Result<Inputs<A>> {
        let AttentionIndex::Gqa { q, k, v, bias, norms, .. } = index else { unreachable!() };
        let b = |i: usize| bias.map(|b| b[i]);
        let (mut query, mut key) = (self.project(h, *q, b(0))?, self.project(h, *k, b(1))?);
        let value = self.project(h, *v, b(2))?;
        let mut extra = Extra::None;
        if let Some([q_norm, k_norm]) = norms {
            let eps = self.config.rms_norm_eps;
            let (qn, q_rstd) = self.normed(query.all(), *q_norm, eps)?;
            let (kn, k_rstd) = self.normed(key.all(), *k_norm, eps)?;
            extra = Extra::Norms(Norms { q: query, k: key, q_rstd, k_rstd });
            (query, key) = (qn, kn);
        }
        self.rotate(&mut query, self.config.heads, positions, false)?;
        self.rotate(&mut key, self.config.kv_heads(), positions, false)?;
        Ok((query, (key, value), extra))
    }

    /// As [`Network::gqa_inputs`], with keys and values to the rows' places in pages: the same bits by fewer launches.
    fn gqa_to_pages<A: Compute>(
        &self,
        index: &AttentionIndex,
        h: View<'_, A>,
        positions: &Buffer<u32>,
        cache: &mut attention::cuda::Cache<A>,
        rows: &attention::cuda::Rows,
    ) -> Result<Buffer<A>> {
        let AttentionIndex::Gqa { q, k, v, bias, norms, .. } = index else { unreachable!() };
        let b = |i: usize| bias.map(|b| b[i]);
        let ((mut query, q_bias), (key, k_bias)) = match norms {
            None => (self.project_unbiased(h, *q, b(0))?, self.project_unbiased(h, *k, b(1))?),
            Some([q_norm, k_norm]) => {
                let (query, key): (Buffer<A>, Buffer<A>) =
                    (self.project(h, *q, b(0))?, self.project(h, *k, b(1))?);
                let eps = self.config.rms_norm_eps;
                let (query, _) = self.normed(query.all(), *q_norm, eps)?;
                let (key, _) = self.normed(key.all(), *k_norm, eps)?;
                ((query, None), (key, None))
            }
        };
        let (value, v_bias) = self.project_unbiased(h, *v, b(2))?;
        let (rope, dk) = (&self.config.rope, self.config.dk());
        let rotation = Rotation {
            positions: positions.all(),
            table: self.rope(),
            pairing: rope.pairing,
            offset: dk - rope.dim,
        };
        let biases = [q_bias, k_bias, v_bias];
        cache.write_products(rows.places(), query.all_mut(), key.all(), value.all(), biases, &rotation)?;
        Ok(query)
    }

    fn gqa_backward<A: Compute>(
        &self,
        index: &AttentionIndex,
        extra: &Extra<A>,
        h: View<'_, A>,
        mut dq: Buffer<A>,
        mut dk: Buffer<A>,
        dv: Buffer<A>,
        dh: &mut Buffer<f32>,
        grads: &mut Gradients,
    ) -> Result<()> {
        let AttentionIndex::Gqa { q, k, v, bias, norms, .. } = index else { unreachable!() };
        if let (Some([q_norm, k_norm]), Extra::Norms(n)) = (norms, extra) {
            dq = self.norm_backward(&dq, &n.q, &n.q_rstd, *q_norm, grads)?;
            dk = self.norm_backward(&dk, &n.k, &n.k_rstd, *k_norm, grads)?;
        }
        let b = |i: usize| bias.map(|b| b[i]);
        for (n, (dy, i, bias)) in [(&dq, *q, b(0)), (&dk, *k, b(1)), (&dv, *v, b(2))].into_iter().enumerate()
        {
            self.back_into(dy.all(), i, dh, n > 0)?;
            self.learn(dy.all(), h, i, bias, grads)?;
        }
        Ok(())
    }
}

/// The matrix that the heads' outputs go through.
fn output(index: &AttentionIndex) -> usize {
    match index {
        AttentionIndex::Gqa { o, .. } | AttentionIndex::Mla { o, .. } => *o,
    }
}
