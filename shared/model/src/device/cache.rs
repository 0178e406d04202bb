//! Pages of keys and values in a device's memory.

use anyhow::Result;
use r1_kernels::Precision;
use r1_kernels::attention::{Shape, cuda::Cache};
use r1_kernels::cuda::Device;

/// One cache a layer, in the type that the policy computes in.
pub struct Caches {
    pub(super) layers: Layers,
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
        let layers = match precision {
            Precision::F32 => Layers::F32(
                (0..layers).map(|_| Cache::with_pages(device, pages, shape)).collect::<Result<_, _>>()?,
            ),
            Precision::Bf16 => Layers::Bf16(
                (0..layers).map(|_| Cache::with_pages(device, pages, shape)).collect::<Result<_, _>>()?,
            ),
        };
        Ok(Caches { layers })
    }

    pub(crate) fn copy_page(&mut self, from: u32, to: u32, slots: usize) -> Result<()> {
        match &mut self.layers {
            Layers::F32(layers) => layers.iter_mut().try_for_each(|c| c.copy_page(from, to, slots))?,
            Layers::Bf16(layers) => layers.iter_mut().try_for_each(|c| c.copy_page(from, to, slots))?,
        }
        Ok(())
    }
}
