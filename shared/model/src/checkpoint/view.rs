//! One tensor of a mapped file, read in parts.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, anyhow};
use r1_kernels::threads::{self, SharedMut};
use safetensors::Dtype;

use super::{BLOCK, decode};

/// Values that are worth a task of their own.
const GRAIN: usize = 1 << 16;

/// A tensor whose bytes stay in the file until they are read.
pub struct View<'a> {
    name: &'a str,
    shape: &'a [usize],
    dtype: Dtype,
    file: &'a Path,
    bytes: &'a [u8],
    /// one factor for each 128x128 block of an FP8 matrix
    scales: Option<Vec<f32>>,
}

impl<'a> View<'a> {
    pub(super) fn of(
        name: &'a str,
        shape: &'a [usize],
        dtype: Dtype,
        file: &'a Path,
        bytes: &'a [u8],
        scales: Option<Vec<f32>>,
    ) -> View<'a> {
        View { name, shape, dtype, file, bytes, scales }
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether every value is a bf16 value in the file.
    pub fn is_bf16(&self) -> bool {
        self.dtype == Dtype::BF16
    }

    /// The values of a tensor that [is bf16](View::is_bf16), as they lie in the file; of another type nothing.
    pub fn halves(&self) -> &'a [[u8; 2]] {
        if self.is_bf16() { self.bytes.as_chunks().0 } else { &[] }
    }

    /// The tensor's bytes, where they are its values as they are: bf16 or f32.
    pub fn plain(&self) -> Option<&'a [u8]> {
        let plain = self.scales.is_none() && [Dtype::BF16, Dtype::F32].contains(&self.dtype);
        plain.then_some(self.bytes)
    }

    /// Fills `out` with the values from flat index `from` on.
    ///
    /// # Panics
    /// When the tensor has not that many.
    pub fn read(&self, from: usize, out: &mut [f32]) {
        decode::decode(self.dtype, self.bytes, from, out);
        let (Some(scales), Some(&columns)) = (&self.scales, self.shape.last()) else { return };
        let across = columns.div_ceil(BLOCK);
        for (i, x) in out.iter_mut().enumerate() {
            let (row, column) = ((from + i) / columns, (from + i) % columns);
            *x *= scales[row / BLOCK * across + column / BLOCK];
        }
    }

    /// Reads the whole tensor, on all threads.
    ///
    /// # Errors
    /// A value that is not finite.
    pub fn read_all(&self, out: &mut [f32]) -> Result<()> {
        let bad = FirstBad::default();
        let length = out.len();
        let parts = SharedMut::new(out);
        threads::parallel(length.div_ceil(GRAIN), |task| {
            let range = task * GRAIN..length.min((task + 1) * GRAIN);
            // SAFETY: the tasks' ranges are disjoint.
            let part = unsafe { parts.slice(range.clone()) };
            self.read(range.start, part);
            bad.look(range.start, part);
        });
        bad.index().map_or(Ok(()), |i| Err(self.not_finite(i)))
    }

    /// Takes the tensor's pages out of this process's memory (they stay in the system's cache): what was packed or copied
    /// is not there twice. Reading again brings them back.
    pub fn let_go(&self) {
        #[cfg(unix)]
        {
            const PAGE: usize = 4096;
            let start = self.bytes.as_ptr().addr().next_multiple_of(PAGE);
            let end = (self.bytes.as_ptr().addr() + self.bytes.len()) / PAGE * PAGE;
            if start < end {
                // SAFETY: the whole pages lie inside the mapped file, which is shared and never written through this map:
                // dropping them only unmaps what the next access maps again.
                unsafe { libc::madvise(start as *mut libc::c_void, end - start, libc::MADV_DONTNEED) };
            }
        }
    }

    /// The error that names the value at flat index `i`.
    pub fn not_finite(&self, i: usize) -> anyhow::Error {
        let mut value = [0.0];
        self.read(i, &mut value);
        let place = coordinates(i, self.shape);
        anyhow!("{}: tensor {} holds {} at {place:?}", self.file.display(), self.name, value[0])
    }
}

/// The first of the values that several threads look at which is not finite.
pub struct FirstBad(AtomicUsize);

impl Default for FirstBad {
    fn default() -> FirstBad {
        FirstBad(AtomicUsize::new(usize::MAX))
    }
}

impl FirstBad {
    /// Looks at the values from flat index `from` on.
    pub fn look(&self, from: usize, values: &[f32]) {
        // The exponent bits are all ones in NaN and the infinities only; an OR over lanes needs no branch.
        const EXPONENT: u32 = 0x7f80_0000;
        let any = values.iter().fold(false, |any, x| any | (x.to_bits() & EXPONENT == EXPONENT));
        if any {
            let place = values.iter().position(|x| !x.is_finite()).unwrap_or(0);
            self.0.fetch_min(from + place, Ordering::Relaxed);
        }
    }

    /// Its flat index.
    pub fn index(&self) -> Option<usize> {
        Some(self.0.load(Ordering::Relaxed)).filter(|i| *i != usize::MAX)
    }
}

/// Position of flat index `i` in a tensor of this shape.
fn coordinates(mut i: usize, shape: &[usize]) -> Vec<usize> {
    let mut place: Vec<usize> = shape
        .iter()
        .rev()
        .map(|n| {
            let c = i % n;
            i /= n;
            c
        })
        .collect();
    place.reverse();
    place
}
