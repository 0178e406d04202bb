//! The paged cache of keys and values of one layer.

use super::stored::Stored;
use super::{PAGE, Shape};
use crate::Precision;
use crate::threads::{SharedMut, parallel};

/// Fewer key values than this are not worth a second thread.
const ALONE: usize = 8 * 1024;

/// Keys and values of one layer in pages of [`PAGE`] positions; a page may belong to several sequences.
///
/// Keys lie as `[page][kv_head][dk][PAGE]` (positions are the lanes of a score), values as `[page][kv_head][PAGE][dv]` with dv
/// rounded up: in f32, or in bf16, to which what is written is rounded (nearest even, subnormals to zero).
#[derive(Clone, Debug)]
pub struct Cache {
    s: Shape,
    pages: usize,
    pub(super) kept: Kept,
}

/// Keys and values by what they are stored as.
#[derive(Clone, Debug)]
pub(super) enum Kept {
    F32(Rows<f32>),
    Bf16(Rows<u16>),
}

/// All pages' keys and values.
#[derive(Clone, Debug)]
pub(super) struct Rows<S> {
    s: Shape,
    k: Vec<S>,
    v: Vec<S>,
}

/// The rows, whatever they are stored as.
macro_rules! kept {
    ($kept:expr, $rows:ident => $body:expr) => {
        match $kept {
            Kept::F32($rows) => $body,
            Kept::Bf16($rows) => $body,
        }
    };
}

impl Cache {
    /// `pages` empty pages.
    ///
    /// # Panics
    /// When the shape's numbers contradict one another.
    pub fn with_pages(pages: usize, s: Shape, precision: Precision) -> Cache {
        s.check("attention::Cache");
        let kept = match precision {
            Precision::F32 => Kept::F32(Rows::with_pages(pages, s)),
            Precision::Bf16 => Kept::Bf16(Rows::with_pages(pages, s)),
        };
        Cache { s, pages, kept }
    }

    /// How many pages there are.
    pub fn pages(&self) -> usize {
        self.pages
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
        assert!(
            places.iter().all(|&(page, slot)| (page as usize) < self.pages && (slot as usize) < PAGE),
            "attention::Cache::write_rows: a place beyond {} pages",
            self.pages
        );
        kept!(&mut self.kept, rows => rows.write(places, k, v));
    }

    /// Copies the first `slots` positions of a page into another (when a shared, half-filled page is split).
    ///
    /// # Panics
    /// When a page does not exist or `slots` exceeds [`PAGE`].
    pub fn copy_page(&mut self, from: u32, to: u32, slots: usize) {
        assert!(
            from.max(to) < self.pages as u32 && slots <= PAGE,
            "attention::Cache::copy_page: {slots} slots of page {from} to {to}, {} pages",
            self.pages
        );
        kept!(&mut self.kept, rows => rows.copy(from as usize, to as usize, slots));
    }

    /// Bytes that the pages take.
    pub fn bytes(&self) -> usize {
        kept!(&self.kept, rows => size_of_val(&rows.k[..]) + size_of_val(&rows.v[..]))
    }
}

impl<S: Stored> Rows<S> {
    fn with_pages(pages: usize, s: Shape) -> Rows<S> {
        let mut rows = Rows { s, k: Vec::new(), v: Vec::new() };
        let (keys, values) = rows.of_page();
        rows.k = vec![S::default(); pages * s.kv_heads * keys];
        rows.v = vec![S::default(); pages * s.kv_heads * values];
        rows
    }

    /// Stored values of a position's value row.
    pub(super) fn width(&self) -> usize {
        self.s.dv.next_multiple_of(S::UNIT)
    }

    /// Stored values of the keys and of the values of one page and head.
    fn of_page(&self) -> (usize, usize) {
        (self.s.dk * PAGE, self.width() * PAGE)
    }

    fn write(&mut self, places: &[(u32, u32)], k: &[f32], v: &[f32]) {
        let Shape { kv_heads, dk, dv, .. } = self.s;
        let ((page_keys, page_values), width) = (self.of_page(), self.width());
        let (keys, values) = (SharedMut::new(&mut self.k), SharedMut::new(&mut self.v));
        let head = |h: usize| {
            for (row, &(page, slot)) in places.iter().enumerate() {
                let at = page as usize * kv_heads + h;
                // SAFETY: a page's keys and values of one head belong to one task.
                let keys = unsafe { keys.slice(at * page_keys..(at + 1) * page_keys) };
                let from = &k[(row * kv_heads + h) * dk..][..dk];
                S::put_column(from, &mut keys[S::place(slot as usize)..]);
                let to = at * page_values + slot as usize * width;
                // SAFETY: as above.
                S::put(&v[(row * kv_heads + h) * dv..][..dv], unsafe { values.slice(to..to + width) });
            }
        };
        if k.len() < ALONE { (0..kv_heads).for_each(head) } else { parallel(kv_heads, head) }
    }

    fn copy(&mut self, from: usize, to: usize, slots: usize) {
        let ((page_keys, page_values), width) = (self.of_page(), self.width());
        // The positions of a page's keys lie side by side: those behind `slots` come along and mean nothing.
        let keys = self.s.kv_heads * page_keys;
        self.k.copy_within(from * keys..(from + 1) * keys, to * keys);
        for h in 0..self.s.kv_heads {
            let at = (from * self.s.kv_heads + h) * page_values;
            self.v.copy_within(at..at + slots * width, (to * self.s.kv_heads + h) * page_values);
        }
    }

    /// Keys `[dk][PAGE]` and values `[PAGE][width]` of one page and kv head.
    pub(super) fn page(&self, page: u32, kv_head: usize) -> (&[S], &[S]) {
        let at = page as usize * self.s.kv_heads + kv_head;
        let (keys, values) = self.of_page();
        (&self.k[at * keys..][..keys], &self.v[at * values..][..values])
    }
}
