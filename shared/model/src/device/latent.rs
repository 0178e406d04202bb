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
    pages.div_ceil(pages.div_ceil(most(c)).max(1)).max(1)
}

/// The most of them.
fn most(c: &Config) -> usize {
    (VALUES / (PAGE * expanded_width(c))).max(1)
}

/// Bytes (of f32) that latents of `positions` positions at most, and what they are expanded to, hold at once.
pub fn expanded_bytes(c: &Config, positions: usize) -> usize {
    let Attention::Mla { kv_lora_rank: rank, .. } = c.attention else { return 0 };
    let rows = PAGE * positions.div_ceil(PAGE).min(most(c));
    rows * (rank + expanded_width(c)) * size_of::<f32>()
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
    let step = (pages.len().next_power_of_two() / 8).max(1);
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use r1_kernels::attention::cuda::{Rows, decode_rows};
    use r1_kernels::cuda::Device;

    use super::*;
    use crate::device::cache::{Caches, Kept, Layers};
    use crate::{LoadOptions, Policy, Precision};

    fn policy(device: Option<&Device>) -> Policy {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/checkpoints/deepseek-v3");
        let options = LoadOptions::frozen(Some(Precision::F32)).on(device.cloned());
        Policy::load(&dir, options).expect("a checkpoint of the tests")
    }

    #[test]
    fn each_page_is_listed_once_and_little_besides() {
        let mut config = policy(None).config;
        let (a, b): (Vec<u32>, Vec<u32>) = ((0..10).collect(), vec![0, 1, 12]);
        let tables: [&[u32]; 3] = [&a, &b, &a];
        assert_eq!(seen(&config, &tables, &[33, 65, 1], 20), [0, 1, 12]);
        assert_eq!(seen(&config, &tables, &[130, 65, 1], 20), [0, 1, 2, 3, 4, 12]);
        assert_eq!(seen(&config, &tables, &[320, 65, 1], 20), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 20]);
        assert_eq!(together(&config, 12), 12);
        // As DeepSeek-V3: 128 heads of 128 and 128 values, of which 32 pages are as many as fit.
        config.heads = 128;
        let Attention::Mla { qk_nope_head_dim, v_head_dim, .. } = &mut config.attention else { panic!() };
        (*qk_nope_head_dim, *v_head_dim) = (128, 128);
        let all: Vec<u32> = (0..1000).collect();
        for pages in [1, 31, 32, 33, 64, 65, 100, 1000] {
            let list = seen(&config, &[&all], &[pages * PAGE], 1000);
            let at_once = together(&config, list.len());
            assert!(
                at_once <= 32 && list.len().is_multiple_of(at_once),
                "{pages}: {at_once} of {}",
                list.len()
            );
            assert!(list.len() * 4 <= pages * 5, "{pages}: {}", list.len());
            assert!(list[..pages] == all[..pages] && list[pages..].iter().all(|&page| page == 1000));
        }
        let page = PAGE * (config.heads * 256 + 18) * 4;
        assert_eq!([1, 900, usize::MAX].map(|n| expanded_bytes(&config, n)), [page, 29 * page, 32 * page]);
    }

    #[test]
    fn how_many_pages_are_expanded_together_changes_no_bit() {
        let device = match Device::emulated(5) {
            Ok(device) => device,
            Err(error) => return eprintln!("skipped: {error}"),
        };
        let policy = policy(Some(&device));
        let network = policy.there().expect("it is on the device");
        let (s, form) = (network.shape(), policy.page_form(true).expect("it has latents"));
        let (table, len) = ([3u32, 0, 5, 1], 120);
        let lens: Vec<usize> = (1..=len).collect();
        let tables = vec![&table[..]; len];
        let values = |n: usize, by: f32| -> Buffer<f32> {
            let values: Vec<f32> = (0..n).map(|i| (i as f32 * by).sin()).collect();
            Buffer::of(&device, "test", &values).unwrap()
        };
        let p = network.parts();
        let made = LatentRows { normed: values(len * p.rank, 0.37), shared: values(len * p.rope, 0.71) };
        let q = values(len * s.heads * s.dk, 0.13);
        let out = |together: usize| {
            let mut caches = Caches::new(&device, 6, &form).unwrap();
            let Layers::F32(Kept::Latents(kept)) = &mut caches.layers else { panic!() };
            let rows = Rows::of(&device, &tables, &lens, s).unwrap();
            let list = Buffer::of(&device, "test", &[0u32, 1, 3, 5, 6, 6]).unwrap();
            let seen = Seen { pages: list.all(), together };
            network.expand_seen(1, &made, kept, rows.places(), seen).unwrap();
            let mut out = Buffer::<f32>::uninit(&device, "test", len * s.heads * s.dv).unwrap();
            decode_rows(&device, q.all(), &kept.expanded, &rows, out.all_mut()).unwrap();
            out.download("test").unwrap()
        };
        let want = out(6);
        assert!(want.iter().all(|x| x.is_finite()));
        assert!(out(1) == want && out(3) == want);
    }
}
