//! Pages of keys and values, handed out and taken back.
//!
//! A page holds [`PAGE`] positions of one sequence in every layer. Pages are counted references: the samples of a group
//! share the full pages of their prompt, and each owns the pages it writes.

use r1_kernels::attention::{Cache, PAGE, Shape};

/// All layers' pages and who holds them.
pub struct Pages {
    caches: Vec<Cache>,
    free: Vec<u32>,
    references: Vec<u32>,
}

impl Pages {
    /// `pages` pages in each of `layers` layers.
    pub fn with_capacity(pages: usize, layers: usize, shape: Shape) -> Pages {
        Pages {
            caches: (0..layers).map(|_| Cache::with_pages(pages, shape)).collect(),
            free: (0..pages as u32).rev().collect(),
            references: vec![0; pages],
        }
    }

    /// Bytes that one page takes over all layers.
    pub fn page_bytes(layers: usize, s: Shape) -> usize {
        layers * s.kv_heads * (s.dk + s.dv) * PAGE * size_of::<f32>()
    }

    /// Pages that nobody holds.
    pub fn available(&self) -> usize {
        self.free.len()
    }

    /// The layers' caches, for a forward pass.
    pub fn caches(&mut self) -> &mut [Cache] {
        &mut self.caches
    }

    /// A page with one reference; `None` when all are held.
    pub fn take(&mut self) -> Option<u32> {
        let page = self.free.pop()?;
        self.references[page as usize] = 1;
        Some(page)
    }

    /// One more holder of `page`.
    pub fn share(&mut self, page: u32) {
        self.references[page as usize] += 1;
    }

    /// One holder less; the last one frees the page.
    pub fn give_back(&mut self, page: u32) {
        let count = &mut self.references[page as usize];
        assert!(*count > 0, "page {page} was given back twice");
        *count -= 1;
        if *count == 0 {
            self.free.push(page);
        }
    }

    /// Copies the first `slots` positions of a page, in every layer.
    pub fn copy(&mut self, from: u32, to: u32, slots: usize) {
        for cache in &mut self.caches {
            cache.copy_page(from, to, slots);
        }
    }
}

/// Pages that `positions` positions need.
pub fn pages_for(positions: usize) -> usize {
    positions.div_ceil(PAGE)
}
