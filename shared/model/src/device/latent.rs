//! Multi-head latent attention on a device: what it makes of a row is one key and value per head, as on the host. Where the cache keeps
//! latents, a layer makes keys and values of all that its rows see before it attends.

use anyhow::Result;
use r1_kernels::attention::PAGE;
use r1_kernels::cuda::{Buffer, View};
use r1_kernels::linear::cuda::{Columns, columns, fold};
use r1_kernels::rope;

use super::cache::Latents;
use super::tensors::{Compute, Gradients, Network};
use crate::config::{Attention, Config};
use crate::network::LOW_RANK_EPS;
use crate::parameters::{AttentionIndex, QueryIndex};

/// What the backward pass needs: the low-rank query and the latent, both before their norms.
pub(super) struct Latent<A: Compute> {
    query: Option<Buffer<A>>,
    latent: Buffer<A>,
}

/// What MLA's keys and values are made from.
pub(super) struct LatentRows<A: Compute> {
    /// latents after their norm, [T, rank]
    normed: Buffer<A>,
    /// keys that all heads share, rotated, [T, rope]
    shared: Buffer<A>,
}

/// Most values that latents are expanded to at once, over all heads.
const VALUES: usize = 1 << 25;

/// The pages that some row of a step sees, each once, and perhaps the spare page again and again behind them.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    pub pages: View<'a, u32>,
    /// how many of them are expanded together: the list is a multiple of it
    pub together: usize,
}

/// Pages that are expanded together where `pages` are seen.
pub(super) fn together(c: &Config, pages: usize) -> usize {
    let most = (VALUES / (PAGE * expanded_width(c))).max(1);
    pages.div_ceil(pages.div_ceil(most).max(1)).max(1)
}

/// Values that a latent is expanded to.
fn expanded_width(c: &Config) -> usize {
    c.heads * (c.dk() - c.rope.dim + c.dv())
}

/// What [`Seen`] lists: `pages` is how many pages there are besides the spare one, which follows them. At most a quarter more than are seen, so
/// that lengths repeat, and a multiple of [`together`].
pub(super) fn seen(c: &Config, tables: &[&[u32]], lens: &[usize], spare: u32) -> Vec<u32> {
    let mut marked = vec![false; spare as usize];
    for (table, len) in tables.iter().zip(lens) {
        table[..len.div_ceil(PAGE)].iter().for_each(|&page| marked[page as usize] = true);
    }
    let mut pages: Vec<u32> = (0..spare).filter(|&page| marked[page as usize]).collect();
    let step = (pages.len().next_power_of_two() / 4).max(1);
    let room = pages.len().next_multiple_of(step);
    pages.resize(room.next_multiple_of(together(c, room)), spare);
    pages
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

    /// Queries, and what keys and values are made from.
    pub(super) fn latent_inputs<A: Compute>(
        &self,
        index: &AttentionIndex,
        h: View<'_, A>,
        positions: &Buffer<u32>,
    ) -> Result<(Buffer<A>, LatentRows<A>, Latent<A>)> {
        let AttentionIndex::Mla { query, kv_a, kv_norm, .. } = index else { unreachable!() };
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
        Ok((q, LatentRows { normed, shared }, Latent { query: low_rank, latent }))
    }

    /// Keys and values of all heads: [T, heads · dk], [T, heads · dv].
    pub(super) fn expand<A: Compute>(
        &self,
        index: &AttentionIndex,
        made: &LatentRows<A>,
    ) -> Result<(Buffer<A>, Buffer<A>)> {
        let AttentionIndex::Mla { kv_b, .. } = index else { unreachable!() };
        let (d, heads, p) = (&self.device, self.config.heads, self.parts());
        let (rows, shared) = (made.normed.len() / p.rank, made.shared.all());
        let expanded: Buffer<A> = self.project(made.normed.all(), *kv_b, None)?;
        let mut k = Buffer::uninit(d, "the keys", rows * heads * p.key.stride)?;
        let mut v = Buffer::uninit(d, "the values", rows * heads * p.value.stride)?;
        columns(d, expanded.all(), p.key_of_expanded, 1, k.all_mut(), p.key)?;
        columns(d, shared, whole(p.rope), heads, k.all_mut(), p.rope_of_key)?;
        columns(d, expanded.all(), p.value_of_expanded, 1, v.all_mut(), p.value)?;
        Ok((k, v))
    }

    /// The pages of a list that [`seen`] made; `None` where it is empty, as no latents are kept.
    pub(super) fn seen<'a>(&self, pages: View<'a, u32>) -> Option<Seen<'a>> {
        let together = together(&self.config, pages.len());
        (!pages.is_empty()).then_some(Seen { pages, together })
    }

    /// Writes the rows' latents to a layer's pages, and makes the keys and values of all that the rows see. What is kept are operands of the
    /// product that expands them: the keys and values are those of [`Network::expand`] on the rows themselves, as far as a row of a product
    /// does not depend on the others.
    pub(super) fn expand_seen<A: Compute>(
        &self,
        layer: usize,
        made: &LatentRows<A>,
        kept: &mut Latents<A>,
        places: View<'_, u32>,
        seen: Seen<'_>,
    ) -> Result<()> {
        let AttentionIndex::Mla { kv_b, .. } = &self.index.layers[layer].attention else { unreachable!() };
        let latents = &mut kept.layers[layer];
        latents.write_rows(places, made.normed.all(), made.shared.all())?;
        for start in (0..seen.pages.len()).step_by(seen.together) {
            let pages = seen.pages.part(start..start + seen.together);
            let rows = seen.together * PAGE;
            let mut normed = Buffer::uninit(&self.device, "the latents", rows * self.parts().rank)?;
            latents.read_pages(pages, normed.all_mut())?;
            let expanded: Buffer<A> = self.project(normed.all(), *kv_b, None)?;
            latents.expand(pages, expanded.all(), &mut kept.expanded)?;
        }
        Ok(())
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
