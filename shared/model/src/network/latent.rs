//! Multi-head latent attention (DeepSeek-V2 and -V3): queries, the latent that keys and values are expanded from, and the way back.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use r1_kernels::{attention, rmsnorm, rope};

use super::attention::{Extra, places};
use super::buffer::Buffer;
use super::{Gradients, Policy};
use crate::cache::{Latents, PageForm};
use crate::config::Attention;
use crate::parameters::{AttentionIndex, QueryIndex};

/// MLA's low-rank norms use this epsilon whatever the config says (transformers' constructor default).
pub(crate) const LOW_RANK_EPS: f32 = 1e-6;

/// Sizes of an MLA head.
#[derive(Clone, Copy)]
struct Latent {
    rank: usize,
    nope: usize,
    rope: usize,
    v: usize,
}

/// What MLA's keys and values are made from.
pub(super) struct LatentRows {
    /// latents after their norm, [T, rank]
    normed: Buffer,
    /// keys that all heads share, rotated, [T, rope]
    k_rope: Buffer,
}

/// Every position that some row sees, each once: (page, slot), page after page.
fn seen(tables: &[&[u32]], lens: &[usize]) -> Vec<(u32, u32)> {
    let mut slots: BTreeMap<u32, usize> = BTreeMap::new();
    for (table, &len) in tables.iter().zip(lens) {
        for (i, &page) in table[..len.div_ceil(attention::PAGE)].iter().enumerate() {
            let most = slots.entry(page).or_default();
            *most = (len - i * attention::PAGE).min(attention::PAGE).max(*most);
        }
    }
    slots.iter().flat_map(|(&page, &count)| (0..count as u32).map(move |slot| (page, slot))).collect()
}

impl Policy {
    /// What a page of this policy holds: keys and values, or (`latent`) what MLA makes them from.
    ///
    /// # Errors
    /// The policy has no latents.
    pub(crate) fn page_form(&self, latent: bool) -> Result<PageForm> {
        let widths = match self.config.attention {
            Attention::Mla { kv_lora_rank, qk_rope_head_dim, .. } => Some((kv_lora_rank, qk_rope_head_dim)),
            Attention::Gqa { .. } => None,
        };
        if latent && widths.is_none() {
            bail!("this policy's attention has no latents to cache; leave --kv-cache out");
        }
        let (layers, shape, precision) = (self.config.layers, self.shape(), self.precision);
        let on_device = self.device().is_some();
        Ok(PageForm { layers, shape, precision, latent: widths.filter(|_| latent), on_device })
    }

    fn latent(&self) -> Latent {
        match self.config.attention {
            Attention::Mla { kv_lora_rank, qk_nope_head_dim, qk_rope_head_dim, v_head_dim, .. } => {
                Latent { rank: kv_lora_rank, nope: qk_nope_head_dim, rope: qk_rope_head_dim, v: v_head_dim }
            }
            Attention::Gqa { .. } => unreachable!("only MLA has a latent"),
        }
    }

    /// MLA's queries and what its keys and values are made from.
    pub(super) fn mla_inputs(
        &self,
        index: &AttentionIndex,
        h: &[f32],
        positions: &[u32],
    ) -> (Buffer, LatentRows, Extra) {
        let AttentionIndex::Mla { query, kv_a, kv_norm, .. } = index else { unreachable!() };
        let (rows, heads, m) = (positions.len(), self.config.heads, self.latent());
        let (mut q, low_rank) = match query {
            QueryIndex::Full(w) => (self.project(h, *w, None), None),
            QueryIndex::LowRank { a, norm, b } => {
                let qa = self.project(h, *a, None);
                let (qn, _) = self.normed(&qa, *norm, LOW_RANK_EPS);
                (self.project(&qn, *b, None), Some(qa))
            }
        };
        self.rotate(&mut q, heads, positions, false);
        // [latent | shared rotary key] of each row, taken apart because a norm wants whole rows
        let both = self.project(h, *kv_a, None);
        let (mut latent, mut k_rope) = (Buffer::new(rows * m.rank), Buffer::new(rows * m.rope));
        for (t, row) in both.chunks_exact(m.rank + m.rope).enumerate() {
            latent[t * m.rank..(t + 1) * m.rank].copy_from_slice(&row[..m.rank]);
            k_rope[t * m.rope..(t + 1) * m.rope].copy_from_slice(&row[m.rank..]);
        }
        rope::apply(&mut k_rope, 1, m.rope, 0, positions, &self.rope, self.config.rope.pairing, false);
        let (normed, _) = self.normed(&latent, *kv_norm, LOW_RANK_EPS);
        (q, LatentRows { normed, k_rope }, Extra::Latent { query: low_rank, latent })
    }

    /// Keys and values of all heads: [T, heads · dk], [T, heads · dv].
    pub(super) fn expand(&self, index: &AttentionIndex, rows: &LatentRows) -> (Buffer, Buffer) {
        let AttentionIndex::Mla { kv_b, .. } = index else { unreachable!() };
        let (heads, m) = (self.config.heads, self.latent());
        let (count, dk) = (rows.normed.len() / m.rank, m.nope + m.rope);
        let expanded = self.project(&rows.normed, *kv_b, None);
        let (mut k, mut v) = (Buffer::new(count * heads * dk), Buffer::new(count * heads * m.v));
        for (i, head) in expanded.chunks_exact(m.nope + m.v).enumerate() {
            let t = i / heads;
            k[i * dk..i * dk + m.nope].copy_from_slice(&head[..m.nope]);
            k[i * dk + m.nope..(i + 1) * dk].copy_from_slice(&rows.k_rope[t * m.rope..(t + 1) * m.rope]);
            v[i * m.v..(i + 1) * m.v].copy_from_slice(&head[m.nope..]);
        }
        (k, v)
    }

    /// Writes the rows' latents, expands all that the rows see, page by page, and attends to that. What is stored are operands of
    /// the product that expands them, rounded as it rounds them: the keys and values are those of [`Policy::expand`] on the rows
    /// themselves, bit for bit.
    pub(super) fn attend_to_latents(
        &self,
        index: &AttentionIndex,
        layer: usize,
        q: &[f32],
        rows: &LatentRows,
        caches: &mut Latents,
        tables: &[&[u32]],
        lens: &[usize],
        out: &mut [f32],
    ) {
        /// Positions that are expanded together.
        const TOGETHER: usize = 64 * attention::PAGE;
        let m = self.latent();
        let both: Vec<f32> = (rows.normed.chunks_exact(m.rank).zip(rows.k_rope.chunks_exact(m.rope)))
            .flat_map(|(latent, rope)| latent.iter().chain(rope).copied())
            .collect();
        let latents = &mut caches.layers[layer];
        latents.write_rows(&places(tables, lens), &both);
        let seen = seen(tables, lens);
        let mut row = vec![0.0; m.rank + m.rope];
        for places in seen.chunks(TOGETHER) {
            let mut rows = LatentRows {
                normed: Buffer::new(places.len() * m.rank),
                k_rope: Buffer::new(places.len() * m.rope),
            };
            for (i, &(page, slot)) in places.iter().enumerate() {
                latents.read_row(page, slot as usize, &mut row);
                rows.normed[i * m.rank..(i + 1) * m.rank].copy_from_slice(&row[..m.rank]);
                rows.k_rope[i * m.rope..(i + 1) * m.rope].copy_from_slice(&row[m.rank..]);
            }
            let (k, v) = self.expand(index, &rows);
            caches.expanded.write_rows(places, &k, &v);
        }
        attention::decode(q, &caches.expanded, tables, lens, self.shape(), out);
    }

    pub(super) fn mla_backward(
        &self,
        index: &AttentionIndex,
        extra: &Extra,
        h: &[f32],
        positions: &[u32],
        dq: Buffer,
        dk: Buffer,
        dv: Buffer,
        dh: &mut [f32],
        grads: &mut Gradients,
    ) {
        let AttentionIndex::Mla { query, kv_a, kv_norm, kv_b, .. } = index else { unreachable!() };
        let Extra::Latent { query: low_rank, latent } = extra else { unreachable!() };
        let (rows, heads, m) = (positions.len(), self.config.heads, self.latent());
        let dk_size = m.nope + m.rope;
        match (query, low_rank) {
            (QueryIndex::LowRank { a, norm, b }, Some(qa)) => {
                let (qn, q_rstd) = self.normed(qa, *norm, LOW_RANK_EPS);
                let mut dqn = Buffer::new(qn.len());
                self.project_backward(&dq, &qn, *b, None, &mut dqn, false, grads);
                let mut dqa = Buffer::new(qa.len());
                rmsnorm::backward(&dqn, qa, self.vector(*norm), &q_rstd, &mut dqa, grads.of(*norm), false);
                self.project_backward(&dqa, h, *a, None, dh, false, grads);
            }
            (QueryIndex::Full(w), _) => self.project_backward(&dq, h, *w, None, dh, false, grads),
            (QueryIndex::LowRank { .. }, None) => unreachable!("a low-rank query leaves a tape"),
        }
        // k = [expanded latent | shared rotary key]: the shared part sums over heads, in head order
        let mut dexpanded = Buffer::new(rows * heads * (m.nope + m.v));
        let mut dk_rope = Buffer::zeros(rows * m.rope);
        for (i, out) in dexpanded.chunks_exact_mut(m.nope + m.v).enumerate() {
            let t = i / heads;
            out[..m.nope].copy_from_slice(&dk[i * dk_size..i * dk_size + m.nope]);
            out[m.nope..].copy_from_slice(&dv[i * m.v..(i + 1) * m.v]);
            let shared = &mut dk_rope[t * m.rope..(t + 1) * m.rope];
            for (sum, d) in shared.iter_mut().zip(&dk[i * dk_size + m.nope..(i + 1) * dk_size]) {
                *sum += d;
            }
        }
        rope::apply(&mut dk_rope, 1, m.rope, 0, positions, &self.rope, self.config.rope.pairing, true);
        let (normed, rstd) = self.normed(latent, *kv_norm, LOW_RANK_EPS);
        let mut dnormed = Buffer::new(normed.len());
        self.project_backward(&dexpanded, &normed, *kv_b, None, &mut dnormed, false, grads);
        let mut dlatent = Buffer::new(latent.len());
        rmsnorm::backward(
            &dnormed,
            latent,
            self.vector(*kv_norm),
            &rstd,
            &mut dlatent,
            grads.of(*kv_norm),
            false,
        );
        let mut dboth = Buffer::new(rows * (m.rank + m.rope));
        for (t, row) in dboth.chunks_exact_mut(m.rank + m.rope).enumerate() {
            row[..m.rank].copy_from_slice(&dlatent[t * m.rank..(t + 1) * m.rank]);
            row[m.rank..].copy_from_slice(&dk_rope[t * m.rope..(t + 1) * m.rope]);
        }
        self.project_backward(&dboth, h, *kv_a, None, dh, true, grads);
    }
}
