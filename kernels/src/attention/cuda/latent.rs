//! The paged cache of what MLA makes keys and values from, on a device, and the way from there to keys and values.

use super::{Cache, SOURCE};
use crate::attention::{PAGE, Shape};
use crate::cuda::{Arg, Device, Error, Float, Grid, View, ViewMut};

/// Latents of one layer, and the rotary keys that all heads share, a row of each a position, in pages of [`PAGE`]. A page has the number of
/// the [`Cache`]'s page that its rows are expanded into.
pub struct LatentCache<T: Float> {
    /// as the keys and values of one head
    rows: Cache<T>,
}

impl<T: Float> LatentCache<T> {
    /// `pages` pages of latents of `rank` values and rotary keys of `rope`, with whatever is in them.
    ///
    /// # Errors
    /// Out of memory.
    pub fn with_pages(
        device: &Device,
        pages: usize,
        rank: usize,
        rope: usize,
    ) -> Result<LatentCache<T>, Error> {
        let s = Shape { heads: 1, kv_heads: 1, dk: rank, dv: rope, scale: 1.0 };
        Ok(LatentCache { rows: Cache::with_pages(device, pages, s)? })
    }

    /// Stores a row of `latents` `[rows, rank]` and of `shared` `[rows, rope]` at each place, page · [`PAGE`] + slot. The places are not
    /// checked.
    ///
    /// # Errors
    /// The device refused.
    ///
    /// # Panics
    /// When the sizes do not fit.
    pub fn write_rows(&mut self, places: View<u32>, latents: View<T>, shared: View<T>) -> Result<(), Error> {
        self.rows.write_rows(places, latents, shared)
    }

    /// Copies the first `slots` positions of a page into another.
    ///
    /// # Errors
    /// The device refused.
    ///
    /// # Panics
    /// When a page does not exist or `slots` exceeds [`PAGE`].
    pub fn copy_page(&mut self, from: u32, to: u32, slots: usize) -> Result<(), Error> {
        self.rows.copy_page(from, to, slots)
    }

    /// Zeros a page.
    ///
    /// # Errors
    /// The device refused.
    ///
    /// # Panics
    /// When there is no such page.
    pub fn clear_page(&mut self, page: u32) -> Result<(), Error> {
        self.rows.clear_page(page)
    }

    /// Bytes that the pages take.
    pub fn bytes(&self) -> usize {
        self.rows.bytes()
    }

    /// The latents of `pages`, page after page, to `to` `[pages · PAGE, rank]`. The pages are not checked.
    ///
    /// # Errors
    /// The device refused.
    ///
    /// # Panics
    /// When the sizes do not fit.
    pub fn read_pages(&self, pages: View<u32>, to: ViewMut<T>) -> Result<(), Error> {
        let (op, page) = ("attention::LatentCache::read_pages", PAGE * self.rows.s.dk);
        assert_eq!(to.len(), pages.len() * page, "{op}: latents of {} pages", pages.len());
        let words = (page * size_of::<T>() / size_of::<u64>()).into();
        let from = self.rows.k.all().cast::<u64>();
        let args = [from.into(), pages.into(), Arg::from(&to.cast::<u64>()), words];
        self.rows.k.device().launch(op, &SOURCE, "cache_pages", Grid::of(pages.len(), 256), &args)
    }

    /// What the latents of `pages` were expanded to, `[pages · PAGE, heads · (dk − rope + dv)]`, with their rotary keys to the keys and
    /// values of the same pages of `to`. The pages are not checked.
    ///
    /// # Errors
    /// The device refused.
    ///
    /// # Panics
    /// When the sizes do not fit.
    pub fn expand(&self, pages: View<u32>, expanded: View<T>, to: &mut Cache<T>) -> Result<(), Error> {
        let (op, rope, s) = ("attention::LatentCache::expand", self.rows.s.dv, to.s);
        assert!(
            s.kv_heads == s.heads && rope <= s.dk && to.pages() == self.rows.pages(),
            "{op}: rotary keys of {rope} for {s:?}, {} pages for {}",
            self.rows.pages(),
            to.pages()
        );
        let (nope, rows) = (s.dk - rope, pages.len() * PAGE);
        assert_eq!(expanded.len(), rows * s.heads * (nope + s.dv), "{op}: {rows} rows for {s:?}");
        let values = size_of::<u64>() / size_of::<T>();
        let whole = [nope, rope, s.dv].iter().all(|n| n.is_multiple_of(values));
        let shared = self.rows.v.all();
        let (kernel, four, by) = if whole && expanded.address().is_multiple_of(8) {
            let four = [expanded.cast(), shared.cast(), to.k.all().cast(), to.v.all().cast()];
            ("cache_expand_words".to_string(), four.map(|x: View<u64>| Arg::from(x)), values)
        } else {
            let four = [expanded, shared, to.k.all(), to.v.all()];
            (format!("cache_expand_{}", T::SUFFIX), four.map(Arg::from), 1)
        };
        let [expanded, shared, k, v] = four;
        let sizes = [s.heads, nope / by, rope / by, s.dv / by].map(Arg::from);
        let args = [&[expanded, shared, pages.into(), k, v][..], &sizes].concat();
        self.rows.k.device().launch(op, &SOURCE, &kernel, Grid::of(rows, 128), &args)
    }
}
