//! Pages of keys and values in a device's memory.

use anyhow::Result;
use r1_kernels::Precision;
use r1_kernels::attention::{Shape, cuda::Cache};
use r1_kernels::cuda::Device;

use super::recorded::Steps;

/// One cache a layer, in the type that the policy computes in.
pub struct Caches {
    pub(super) layers: Layers,
    /// a page that no table names: for the rows that a recorded step lacks
    pub(super) spare: u32,
    pub(super) steps: Steps,
}

/// The layers' caches by what they hold.
pub(super) enum Layers {
    F32(Vec<Cache<f32>>),
    Bf16(Vec<Cache<u16>>),
}

impl Caches {
    pub(crate) fn new(
        device: &Device,
        pages: usize,
        layers: usize,
        shape: Shape,
        precision: Precision,
    ) -> Result<Caches> {
        let (spare, pages) = (pages as u32, pages + 1);
        let layers = match precision {
            Precision::F32 => Layers::F32(
                (0..layers).map(|_| Cache::with_pages(device, pages, shape)).collect::<Result<_, _>>()?,
            ),
            Precision::Bf16 => Layers::Bf16(
                (0..layers).map(|_| Cache::with_pages(device, pages, shape)).collect::<Result<_, _>>()?,
            ),
        };
        Ok(Caches { layers, spare, steps: Steps::default() })
    }

    /// Steps that were replayed.
    pub(crate) fn replayed(&self) -> usize {
        self.steps.replayed
    }

    /// From now on no step is recorded.
    pub(crate) fn without_recordings(&mut self) {
        self.steps.stop();
    }

    pub(crate) fn copy_page(&mut self, from: u32, to: u32, slots: usize) -> Result<()> {
        match &mut self.layers {
            Layers::F32(layers) => layers.iter_mut().try_for_each(|c| c.copy_page(from, to, slots))?,
            Layers::Bf16(layers) => layers.iter_mut().try_for_each(|c| c.copy_page(from, to, slots))?,
        }
        Ok(())
    }
}
