//! The paged cache of keys and values of one layer.

use super::{PAGE, Shape};
use crate::lanes::WIDTH;

/// Keys and values of one layer in pages of [`PAGE`] positions; a page may belong to several sequences.
///
/// Keys lie as `[page][kv_head][dk][PAGE]` (positions are the lanes of a score), values as
/// `[page][kv_head][PAGE][dv rounded up to 16]`; both f32.
#[derive(Clone, Debug)]
pub struct Cache {
    s: Shape,
    k: Vec<f32>,
    v: Vec<f32>,
}

impl Cache {
    /// `pages` empty pages.
    ///
    /// # Panics
    /// When the shape's numbers contradict one another.
    pub fn with_pages(pages: usize, s: Shape) -> Cache {
        s.check("attention::Cache");
        let values = PAGE * s.dv.next_multiple_of(WIDTH);
        Cache { s, k: vec![0.0; pages * s.kv_heads * s.dk * PAGE], v: vec![0.0; pages * s.kv_heads * values] }
    }

    /// How many pages there are.
    pub fn pages(&self) -> usize {
        self.k.len() / (self.s.kv_heads * self.s.dk * PAGE)
    }

    /// The sizes it was made for.
    pub fn shape(&self) -> Shape {
        self.s
    }

    /// Stores one position: k_row `[kv_heads · dk]`, v_row `[kv_heads · dv]`.
    ///
    /// # Panics
    /// When there is no such page or slot, or the rows have other sizes.
    pub fn write(&mut self, page: u32, slot: usize, k_row: &[f32], v_row: &[f32]) {
        let Shape { kv_heads, dk, dv, .. } = self.s;
        let (page, dvp) = (page as usize, dv.next_multiple_of(WIDTH));
        assert!(page < self.pages() && slot < PAGE, "attention::Cache::write: page {page}, slot {slot}");
        assert!(
            k_row.len() == kv_heads * dk && v_row.len() == kv_heads * dv,
            "attention::Cache::write: k row of {}, v row of {} for {:?}",
            k_row.len(),
            v_row.len(),
            self.s
        );
        for (i, &x) in k_row.iter().enumerate() {
            self.k[(page * kv_heads * dk + i) * PAGE + slot] = x;
        }
        for (h, row) in v_row.chunks_exact(dv).enumerate() {
            self.v[((page * kv_heads + h) * PAGE + slot) * dvp..][..dv].copy_from_slice(row);
        }
    }

    /// Copies the first `slots` positions of a page into another (when a shared, half-filled page is split).
    ///
    /// # Panics
    /// When a page does not exist or `slots` exceeds [`PAGE`].
    pub fn copy_page(&mut self, from: u32, to: u32, slots: usize) {
        let Shape { kv_heads, dk, dv, .. } = self.s;
        let (from, to, dvp) = (from as usize, to as usize, dv.next_multiple_of(WIDTH));
        assert!(
            from.max(to) < self.pages() && slots <= PAGE,
            "attention::Cache::copy_page: {slots} slots of page {from} to {to}, {} pages",
            self.pages()
        );
        for i in 0..kv_heads * dk {
            let at = (from * kv_heads * dk + i) * PAGE;
            self.k.copy_within(at..at + slots, (to * kv_heads * dk + i) * PAGE);
        }
        for h in 0..kv_heads {
            let at = (from * kv_heads + h) * PAGE * dvp;
            self.v.copy_within(at..at + slots * dvp, (to * kv_heads + h) * PAGE * dvp);
        }
    }

    /// Bytes that the pages take.
    pub fn bytes(&self) -> usize {
        size_of_val(&self.k[..]) + size_of_val(&self.v[..])
    }

    /// Keys `[dk][PAGE]` and values `[PAGE][dvp]` of one page and kv head.
    pub(super) fn page(&self, page: u32, kv_head: usize) -> (&[f32], &[f32]) {
        let at = page as usize * self.s.kv_heads + kv_head;
        let (keys, values) = (self.s.dk * PAGE, self.s.dv.next_multiple_of(WIDTH) * PAGE);
        (&self.k[at * keys..][..keys], &self.v[at * values..][..values])
    }
}
