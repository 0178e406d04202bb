//! Pages of keys and values in a device's memory.

use anyhow::Result;
use r1_kernels::Precision;
use r1_kernels::attention::{PAGE, Shape, cuda::Cache};
use r1_kernels::cuda::{Buffer, Device};

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

/// Where the rows of a step find and leave keys and values.
pub(super) struct Rows {
    /// page ids of each row's sequence, `[rows, width]`
    pub tables: Buffer<u32>,
    pub width: usize,
    /// positions that each row sees, its own included
    pub lens: Buffer<u32>,
    pub longest: usize,
    /// where each row's own key and value go
    pub places: Buffer<u32>,
}

impl Rows {
    pub fn of(device: &Device, tables: &[&[u32]], lens: &[usize]) -> Result<Rows> {
        let op = "page tables";
        let longest = lens.iter().copied().max().unwrap_or(0);
        let width = longest.div_ceil(PAGE);
        let mut all = vec![0u32; tables.len() * width];
        for (row, (table, &len)) in all.chunks_exact_mut(width.max(1)).zip(tables.iter().zip(lens)) {
            let used = &table[..len.div_ceil(PAGE)];
            row[..used.len()].copy_from_slice(used);
        }
        let place = |(table, &len): (&&[u32], &usize)| {
            table[(len - 1) / PAGE] * PAGE as u32 + ((len - 1) % PAGE) as u32
        };
        let places: Vec<u32> = tables.iter().zip(lens).map(place).collect();
        let lens: Vec<u32> = lens.iter().map(|&len| len as u32).collect();
        Ok(Rows {
            tables: Buffer::of(device, op, &all)?,
            width,
            lens: Buffer::of(device, op, &lens)?,
            longest,
            places: Buffer::of(device, op, &places)?,
        })
    }
}
