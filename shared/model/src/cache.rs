//! Pages of keys and values, handed out and taken back; prefixes that stay for whoever asks for them again.
//!
//! A page holds [`PAGE`] positions of one sequence in every layer. Pages are counted references: the samples of a group
//! share the full pages of their prompt, and each owns the pages it writes. A page that [`Prefixes`] keeps and nobody
//! uses is idle: it is as good as free, and remembers its tokens until the room is needed.

mod prefixes;

use anyhow::Result;
use r1_kernels::Precision;
use r1_kernels::attention::{Cache, LatentCache, PAGE, Shape};

use crate::device::{self, Device};

pub use prefixes::{Found, Prefixes};

/// What all layers' pages lie in: one [`Cache`] a layer, on the host or on a device.
pub enum Caches {
    /// the CPU's
    Host(Vec<Cache>),
    /// the CPU's, of what MLA makes keys and values from
    Latent(Latents),
    /// a device's
    Device(device::Caches),
}

/// MLA's latents of all layers, and keys and values of the layer that is at work.
pub struct Latents {
    /// `[latent, normed | rotary key]` of each position, one cache a layer
    pub layers: Vec<LatentCache>,
    /// what a layer expands before it attends
    pub expanded: Cache,
}

/// What a page holds of a policy.
#[derive(Clone, Copy, Debug)]
pub struct PageForm {
    /// layers
    pub layers: usize,
    /// sizes of keys and values
    pub shape: Shape,
    /// what they are stored as
    pub precision: Precision,
    /// where latents are kept in place of keys and values: values of a latent, and of the rotary key that all heads share
    pub latent: Option<(usize, usize)>,
    /// whether it lies on a device, which pads no row
    pub on_device: bool,
}

impl PageForm {
    /// Bytes that one page takes over all layers.
    pub fn bytes(&self) -> usize {
        let PageForm { layers, shape: s, precision, latent, on_device } = *self;
        let expanded = if on_device {
            let size = if precision == Precision::Bf16 { size_of::<u16>() } else { size_of::<f32>() };
            PAGE * s.kv_heads * (s.dk + s.dv) * size
        } else {
            Cache::with_pages(1, s, precision).bytes()
        };
        match latent {
            Some((rank, rope)) => {
                LatentCache::with_pages(1, rank + rope, precision).bytes() * layers + expanded
            }
            None => expanded * layers,
        }
    }

    /// The caches of `pages` pages.
    fn caches(&self, pages: usize, device: Option<&Device>) -> Result<Caches> {
        let PageForm { layers, shape, precision, latent, .. } = *self;
        Ok(match (device, latent) {
            (Some(device), _) => Caches::Device(device::Caches::new(device, pages, self)?),
            (None, Some((rank, rope))) => Caches::Latent(Latents {
                layers: (0..layers).map(|_| LatentCache::with_pages(pages, rank + rope, precision)).collect(),
                expanded: Cache::with_pages(pages, shape, precision),
            }),
            (None, None) => {
                Caches::Host((0..layers).map(|_| Cache::with_pages(pages, shape, precision)).collect())
            }
        })
    }
}

/// All layers' pages and who holds them.
pub struct Pages {
    caches: Caches,
    free: Vec<u32>,
    references: Vec<u32>,
    /// whether a prefix is one of the holders
    kept: Vec<bool>,
    /// pages that only a prefix holds
    idle: usize,
}

impl Pages {
    /// `pages` pages, on `device` where one is given.
    ///
    /// # Errors
    /// The device has no room for them.
    pub fn with_capacity(pages: usize, form: &PageForm, device: Option<&Device>) -> Result<Pages> {
        Ok(Pages {
            caches: form.caches(pages, device)?,
            free: (0..pages as u32).rev().collect(),
            references: vec![0; pages],
            kept: vec![false; pages],
            idle: 0,
        })
    }

    /// Pages that nobody uses: free or idle.
    pub fn available(&self) -> usize {
        self.free.len() + self.idle
    }

    /// Pages in use.
    pub fn held(&self) -> usize {
        self.references.len() - self.available()
    }

    /// All pages.
    pub fn total(&self) -> usize {
        self.references.len()
    }

    /// The layers' caches, for a forward pass.
    pub fn caches(&mut self) -> &mut Caches {
        &mut self.caches
    }

    /// Steps that a device replayed (see `crate::device`).
    pub fn replayed(&self) -> usize {
        if let Caches::Device(caches) = &self.caches { caches.replayed() } else { 0 }
    }

    /// A free page with one reference; `None` when none is free (some may be idle: see [`Prefixes::take`]).
    fn take(&mut self) -> Option<u32> {
        let page = self.free.pop()?;
        self.references[page as usize] = 1;
        Some(page)
    }

    /// One more user of `page`.
    pub fn share(&mut self, page: u32) {
        let p = page as usize;
        self.idle -= usize::from(self.kept[p] && self.references[p] == 1);
        self.references[p] += 1;
    }

    /// One user less; a page without users is free, or idle where a prefix keeps it.
    pub fn give_back(&mut self, page: u32) {
        let p = page as usize;
        assert!(self.references[p] > u32::from(self.kept[p]), "page {page} was given back twice");
        self.references[p] -= 1;
        if self.references[p] == 0 {
            self.free.push(page);
        } else if self.kept[p] && self.references[p] == 1 {
            self.idle += 1;
        }
    }

    /// A prefix keeps a page that is in use.
    fn keep(&mut self, page: u32) {
        let p = page as usize;
        assert!(!self.kept[p] && self.references[p] > 0, "page {page} cannot be kept");
        self.kept[p] = true;
        self.references[p] += 1;
    }

    /// Whether a prefix alone holds a page.
    fn is_idle(&self, page: u32) -> bool {
        self.kept[page as usize] && self.references[page as usize] == 1
    }

    /// An idle page becomes free.
    fn forget(&mut self, page: u32) {
        assert!(self.is_idle(page), "page {page} is in use");
        self.kept[page as usize] = false;
        self.references[page as usize] = 0;
        self.idle -= 1;
        self.free.push(page);
    }

    /// Copies the first `slots` positions of a page, in every layer.
    ///
    /// # Errors
    /// The device refused.
    pub fn copy(&mut self, from: u32, to: u32, slots: usize) -> Result<()> {
        match &mut self.caches {
            Caches::Host(caches) => caches.iter_mut().for_each(|cache| cache.copy_page(from, to, slots)),
            Caches::Latent(caches) => {
                caches.layers.iter_mut().for_each(|cache| cache.copy_page(from, to, slots));
            }
            Caches::Device(caches) => caches.copy_page(from, to, slots)?,
        }
        Ok(())
    }
}

/// Pages that `positions` positions need.
pub fn pages_for(positions: usize) -> usize {
    positions.div_ceil(PAGE)
}
