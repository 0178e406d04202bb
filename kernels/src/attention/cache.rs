//! The paged cache of keys and values of one layer.

use super::{PAGE, Shape};
use crate::lanes::WIDTH;
use crate::threads::{SharedMut, parallel};

/// Fewer key values than this are not worth a second thread.
const ALONE: usize = 8 * 1024;

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

    /// Stores a row of k `[rows, kv_heads · dk]` and v `[rows, kv_heads · dv]` at each (page, slot).
    ///
    /// # Panics
    /// When there is no such page or slot, or the sizes do not fit.
    pub fn write_rows(&mut self, places: &[(u32, u32)], k: &[f32], v: &[f32]) {
        let Shape { kv_heads, dk, dv, .. } = self.s;
        assert!(
            k.len() == places.len() * kv_heads * dk && v.len() == places.len() * kv_heads * dv,
            "attention::Cache::write_rows: k {} v {} values for {} rows of {:?}",
            k.len(),
            v.len(),
            places.len(),
            self.s
        );
        let pages = self.pages();
        assert!(
            places.iter().all(|&(page, slot)| (page as usize) < pages && (slot as usize) < PAGE),
            "attention::Cache::write_rows: a place beyond {pages} pages"
        );
        let dvp = dv.next_multiple_of(WIDTH);
        let (keys, values) = (SharedMut::new(&mut self.k), SharedMut::new(&mut self.v));
        let head = |h: usize| {
            for (row, &(page, slot)) in places.iter().enumerate() {
                let at = (page as usize * kv_heads + h) * PAGE;
                // SAFETY: a page's keys and values of one head belong to one task.
                let keys = unsafe { keys.slice(at * dk..(at + PAGE) * dk) };
                for (to, x) in
                    keys[slot as usize..].iter_mut().step_by(PAGE).zip(&k[(row * kv_heads + h) * dk..][..dk])
                {
                    *to = *x;
                }
                let to = (at + slot as usize) * dvp;
                // SAFETY: as above.
                let values = unsafe { values.slice(to..to + dv) };
                values.copy_from_slice(&v[(row * kv_heads + h) * dv..][..dv]);
            }
        };
        if k.len() < ALONE { (0..kv_heads).for_each(head) } else { parallel(kv_heads, head) }
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
