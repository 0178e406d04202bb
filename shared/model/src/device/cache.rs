//! Pages of keys and values, or of latents, in a device's memory.

use anyhow::Result;
use r1_kernels::Precision;
use r1_kernels::attention::cuda::{Cache, LatentCache};
use r1_kernels::cuda::{Device, Float};

use super::recorded::Steps;
use crate::cache::PageForm;

/// All layers' pages, in the type that the policy computes in.
pub struct Caches {
    pub(super) layers: Layers,
    /// a page that no table names: for the rows that a recorded step lacks
    pub(super) spare: u32,
    pub(super) steps: Steps,
}

/// The layers' pages by the type of what they hold.
pub(super) enum Layers {
    F32(Kept<f32>),
    Bf16(Kept<u16>),
}

/// The layers' pages by what they hold.
pub(super) enum Kept<A: Float> {
    /// keys and values, one cache a layer
    Values(Vec<Cache<A>>),
    /// what MLA makes them from
    Latents(Latents<A>),
}

/// MLA's latents of all layers, and keys and values of the layer that is at work.
pub(super) struct Latents<A: Float> {
    pub layers: Vec<LatentCache<A>>,
    pub expanded: Cache<A>,
}

impl<A: Float> Kept<A> {
    /// `pages` pages and a spare one behind them.
    fn new(device: &Device, pages: usize, form: &PageForm) -> Result<Kept<A>> {
        let (spare, all) = (pages as u32, pages + 1);
        let values = || Ok(Cache::with_pages(device, all, form.shape)?);
        let Some((rank, rope)) = form.latent else {
            return Ok(Kept::Values((0..form.layers).map(|_| values()).collect::<Result<_>>()?));
        };
        // The rows that a recorded step lacks see the spare page, which is expanded only where the list of pages lacks some.
        let latents = || {
            let mut latents = LatentCache::with_pages(device, all, rank, rope)?;
            latents.clear_page(spare)?;
            Ok(latents)
        };
        let layers = (0..form.layers).map(|_| latents()).collect::<Result<_>>()?;
        let mut expanded = values()?;
        expanded.clear_page(spare)?;
        Ok(Kept::Latents(Latents { layers, expanded }))
    }

    fn copy_page(&mut self, from: u32, to: u32, slots: usize) -> Result<()> {
        match self {
            Kept::Values(layers) => layers.iter_mut().try_for_each(|c| c.copy_page(from, to, slots))?,
            Kept::Latents(l) => l.layers.iter_mut().try_for_each(|c| c.copy_page(from, to, slots))?,
        }
        Ok(())
    }
}

impl Caches {
    pub(crate) fn new(device: &Device, pages: usize, form: &PageForm) -> Result<Caches> {
        let layers = match form.precision {
            Precision::F32 => Layers::F32(Kept::new(device, pages, form)?),
            Precision::Bf16 => Layers::Bf16(Kept::new(device, pages, form)?),
        };
        Ok(Caches { layers, spare: pages as u32, steps: Steps::default() })
    }

    /// Whether it keeps latents.
    pub(super) fn of_latents(&self) -> bool {
        matches!(self.layers, Layers::F32(Kept::Latents(_)) | Layers::Bf16(Kept::Latents(_)))
    }

    /// Steps that were replayed.
    pub(crate) fn replayed(&self) -> usize {
        self.steps.replayed
    }

    /// From now on no step is recorded, and what was recorded is given up.
    pub(crate) fn without_recordings(&mut self) {
        self.steps.stop();
    }

    /// Recorded steps are given up, or, where there are none, the recording of them; whether there was anything to give up.
    pub(crate) fn give_up_recordings(&mut self) -> bool {
        self.steps.give_up()
    }

    pub(crate) fn copy_page(&mut self, from: u32, to: u32, slots: usize) -> Result<()> {
        match &mut self.layers {
            Layers::F32(kept) => kept.copy_page(from, to, slots),
            Layers::Bf16(kept) => kept.copy_page(from, to, slots),
        }
    }
}
