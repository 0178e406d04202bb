//! The paged cache of keys and values on a device.

use super::SOURCE;
use crate::attention::{PAGE, Shape};
use crate::cuda::{Arg, Buffer, Device, Error, Float, Grid, View};

/// Keys and values of one layer in pages of [`PAGE`] positions, `[page][slot][kv_head][values]`; a page may belong to several sequences.
pub struct Cache<T: Float> {
    pub(super) s: Shape,
    pages: usize,
    pub(super) k: Buffer<T>,
    pub(super) v: Buffer<T>,
}

impl<T: Float> Cache<T> {
    /// `pages` pages, with whatever is in them.
    ///
    /// # Errors
    /// Out of memory.
    pub fn with_pages(device: &Device, pages: usize, s: Shape) -> Result<Cache<T>, Error> {
        let rows = pages * PAGE * s.kv_heads;
        let op = "the cache of keys and values";
        Ok(Cache {
            s,
            pages,
            k: Buffer::uninit(device, op, rows * s.dk)?,
            v: Buffer::uninit(device, op, rows * s.dv)?,
        })
    }

    /// Bytes of one page.
    pub fn page_bytes(s: Shape) -> usize {
        PAGE * s.kv_heads * (s.dk + s.dv) * size_of::<T>()
    }

    /// How many pages there are.
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// The sizes it was made for.
    pub fn shape(&self) -> Shape {
        self.s
    }

    /// Stores a row of k `[rows, kv_heads · dk]` and v `[rows, kv_heads · dv]` at each place, page · [`PAGE`] + slot. The places are not
    /// checked.
    ///
    /// # Errors
    /// The device refused.
    ///
    /// # Panics
    /// When the sizes do not fit.
    pub fn write_rows(&mut self, places: View<u32>, k: View<T>, v: View<T>) -> Result<(), Error> {
        let (op, s) = ("attention::Cache::write_rows", self.s);
        let (wide_k, wide_v) = (s.kv_heads * s.dk, s.kv_heads * s.dv);
        assert!(
            k.len() == places.len() * wide_k && v.len() == places.len() * wide_v,
            "{op}: k {} v {} values for {} rows of {s:?}",
            k.len(),
            v.len(),
            places.len()
        );
        let kernel = format!("cache_put_{}", T::SUFFIX);
        for (from, to, width) in [(k, &self.k, wide_k), (v, &self.v, wide_v)] {
            let args = [from.into(), places.into(), Arg::from(to), width.into()];
            let threads = width.next_multiple_of(32).min(256) as u32;
            self.k.device().launch(op, &SOURCE, &kernel, Grid::of(places.len(), threads), &args)?;
        }
        Ok(())
    }

    /// Copies the first `slots` positions of a page into another.
    ///
    /// # Errors
    /// The device refused.
    ///
    /// # Panics
    /// When a page does not exist or `slots` exceeds [`PAGE`].
    pub fn copy_page(&mut self, from: u32, to: u32, slots: usize) -> Result<(), Error> {
        let op = "attention::Cache::copy_page";
        assert!(
            from.max(to) < self.pages as u32 && slots <= PAGE,
            "{op}: {slots} slots of page {from} to {to}"
        );
        if from == to || slots == 0 {
            return Ok(());
        }
        let s = self.s;
        for (buffer, width) in [(&self.k, s.kv_heads * s.dk), (&self.v, s.kv_heads * s.dv)] {
            let place = |page: u32| {
                let start = page as usize * PAGE * width;
                buffer.part(start..start + slots * width).address()
            };
            buffer.device().copy(op, place(from), place(to), slots * width * size_of::<T>())?;
        }
        Ok(())
    }

    /// Zeros a page.
    ///
    /// # Errors
    /// The device refused.
    ///
    /// # Panics
    /// When there is no such page.
    pub fn clear_page(&mut self, page: u32) -> Result<(), Error> {
        let (op, s, first) = ("attention::Cache::clear_page", self.s, page as usize * PAGE);
        for (buffer, width) in [(&mut self.k, s.kv_heads * s.dk), (&mut self.v, s.kv_heads * s.dv)] {
            buffer.part_mut(first * width..(first + PAGE) * width).clear(op)?;
        }
        Ok(())
    }

    /// Bytes that the pages take.
    pub fn bytes(&self) -> usize {
        (self.k.len() + self.v.len()) * size_of::<T>()
    }
}
