//! Multi-head latent attention on a device: what it makes of a row is one key and value per head, as on the host.

use anyhow::Result;
use r1_kernels::cuda::{Buffer, View};
use r1_kernels::linear::cuda::{Columns, columns, fold};
use r1_kernels::rope;

use super::attention::{Extra, Inputs};
use super::tensors::{Compute, Gradients, Network};
use crate::config::Attention;
use crate::network::LOW_RANK_EPS;
use crate::parameters::{AttentionIndex, QueryIndex};

/// What the backward pass needs: the low-rank query and the latent, both before their norms.
pub(super) struct Latent<A: Compute> {
    query: Option<Buffer<A>>,
    latent: Buffer<A>,
}

/// The columns that an MLA block's matrices are made of.
struct Parts {
    /// values of a row of the latent, and of the rotary key that all heads share
    rank: usize,
    rope: usize,
    /// both, as one product gives them
    latent_of_both: Columns,
    rope_of_both: Columns,
    /// a head of what the latent is expanded to: the key but for its rotary part, and the value
    key_of_expanded: Columns,
    value_of_expanded: Columns,
    /// a head's key
    key: Columns,
    rope_of_key: Columns,
    /// a head's value
    value: Columns,
}

/// All columns of a matrix.
fn whole(width: usize) -> Columns {
    Columns { stride: width, at: 0, width }
}

impl Network {
    fn parts(&self) -> Parts {
        let Attention::Mla { kv_lora_rank: rank, qk_nope_head_dim: nope, qk_rope_head_dim: rope, .. } =
            self.config.attention
        else {
            unreachable!("only MLA has a latent")
        };
        let dv = self.config.dv();
        let of = |stride, at, width| Columns { stride, at, width };
        Parts {
            rank,
            rope,
            latent_of_both: of(rank + rope, 0, rank),
            rope_of_both: of(rank + rope, rank, rope),
            key_of_expanded: of(nope + dv, 0, nope),
            value_of_expanded: of(nope + dv, nope, dv),
            key: of(nope + rope, 0, nope),
            rope_of_key: of(nope + rope, nope, rope),
            value: whole(dv),
        }
    }

    /// Rotates the key that all heads share.
    fn rotate_shared<A: Compute>(
        &self,
        x: &mut Buffer<A>,
        width: usize,
        positions: &Buffer<u32>,
        inverse: bool,
    ) -> Result<()> {
        let (pairing, table) = (self.config.rope.pairing, self.rope());
        let (d, x) = (&self.device, x.all_mut());
        Ok(rope::cuda::apply(d, x, 1, width, 0, positions.all(), table, pairing, inverse)?)
    }

    pub(super) fn latent_inputs<A: Compute>(
        &self,
        index: &AttentionIndex,
        h: View<'_, A>,
        positions: &Buffer<u32>,
    ) -> Result<Inputs<A>> {
        let AttentionIndex::Mla { query, kv_a, kv_norm, kv_b, .. } = index else { unreachable!() };
        let (d, rows, heads, p) = (&self.device, positions.len(), self.config.heads, self.parts());
        let (mut q, low_rank) = match query {
            QueryIndex::Full(w) => (self.project(h, *w, None)?, None),
            QueryIndex::LowRank { a, norm, b } => {
                let qa: Buffer<A> = self.project(h, *a, None)?;
                let (qn, _) = self.normed::<A, A>(qa.all(), *norm, LOW_RANK_EPS)?;
                (self.project(qn.all(), *b, None)?, Some(qa))
            }
        };
        self.rotate(&mut q, heads, positions, false)?;
        let both: Buffer<A> = self.project(h, *kv_a, None)?;
        let mut latent = Buffer::uninit(d, "the latent", rows * p.rank)?;
        let mut shared = Buffer::uninit(d, "the shared key", rows * p.rope)?;
        columns(d, both.all(), p.latent_of_both, 1, latent.all_mut(), whole(p.rank))?;
        columns(d, both.all(), p.rope_of_both, 1, shared.all_mut(), whole(p.rope))?;
        self.rotate_shared(&mut shared, p.rope, positions, false)?;
        let (normed, _) = self.normed::<A, A>(latent.all(), *kv_norm, LOW_RANK_EPS)?;
        let expanded: Buffer<A> = self.project(normed.all(), *kv_b, None)?;
        let mut k = Buffer::uninit(d, "the keys", rows * heads * p.key.stride)?;
        let mut v = Buffer::uninit(d, "the values", rows * heads * p.value.stride)?;
        columns(d, expanded.all(), p.key_of_expanded, 1, k.all_mut(), p.key)?;
        columns(d, shared.all(), whole(p.rope), heads, k.all_mut(), p.rope_of_key)?;
        columns(d, expanded.all(), p.value_of_expanded, 1, v.all_mut(), p.value)?;
        Ok((q, k, v, Extra::Latent(Latent { query: low_rank, latent })))
    }

    pub(super) fn latent_backward<A: Compute>(
        &self,
        index: &AttentionIndex,
        tape: &Latent<A>,
        h: View<'_, A>,
        positions: &Buffer<u32>,
        dq: &Buffer<A>,
        dk: &Buffer<A>,
        dv: &Buffer<A>,
        dh: &mut Buffer<f32>,
        grads: &mut Gradients,
    ) -> Result<()> {
        let AttentionIndex::Mla { query, kv_a, kv_norm, kv_b, .. } = index else { unreachable!() };
        let (d, rows, heads, p) = (&self.device, positions.len(), self.config.heads, self.parts());
        match (query, &tape.query) {
            (QueryIndex::LowRank { a, norm, b }, Some(qa)) => {
                let (qn, rstd) = self.normed::<A, A>(qa.all(), *norm, LOW_RANK_EPS)?;
                self.learn(dq.all(), qn.all(), *b, None, grads)?;
                let dqn = self.back(dq.all(), *b)?;
                let dqa = self.norm_backward(&dqn, qa, &rstd, *norm, grads)?;
                self.learn(dqa.all(), h, *a, None, grads)?;
                self.back_into(dqa.all(), *a, dh, false)?;
            }
            (QueryIndex::Full(w), _) => {
                self.learn(dq.all(), h, *w, None, grads)?;
                self.back_into(dq.all(), *w, dh, false)?;
            }
            (QueryIndex::LowRank { .. }, None) => unreachable!("a low-rank query leaves a tape"),
        }
        let wide = p.key_of_expanded.stride;
        let mut dexpanded: Buffer<A> = Buffer::uninit(d, "the keys and values", rows * heads * wide)?;
        columns(d, dk.all(), p.key, 1, dexpanded.all_mut(), p.key_of_expanded)?;
        columns(d, dv.all(), p.value, 1, dexpanded.all_mut(), p.value_of_expanded)?;
        let mut dshared: Buffer<A> = Buffer::uninit(d, "the shared key", rows * p.rope)?;
        fold(d, dk.all(), p.rope_of_key, heads, dshared.all_mut())?;
        self.rotate_shared(&mut dshared, p.rope, positions, true)?;
        let (normed, rstd) = self.normed::<A, A>(tape.latent.all(), *kv_norm, LOW_RANK_EPS)?;
        self.learn(dexpanded.all(), normed.all(), *kv_b, None, grads)?;
        let dnormed = self.back(dexpanded.all(), *kv_b)?;
        let dlatent = self.norm_backward(&dnormed, &tape.latent, &rstd, *kv_norm, grads)?;
        let mut dboth: Buffer<A> = Buffer::uninit(d, "the latent", rows * (p.rank + p.rope))?;
        columns(d, dlatent.all(), whole(p.rank), 1, dboth.all_mut(), p.latent_of_both)?;
        columns(d, dshared.all(), whole(p.rope), 1, dboth.all_mut(), p.rope_of_both)?;
        self.learn(dboth.all(), h, *kv_a, None, grads)?;
        self.back_into(dboth.all(), *kv_a, dh, true)
    }
}
