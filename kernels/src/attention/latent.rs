//! The paged cache of what MLA makes keys and values from: a row a position, for all heads.

use super::PAGE;
use super::stored::Stored;
use crate::Precision;

/// Rows of `width` values in pages of [`PAGE`] positions, one layer's, as `[page][PAGE][width]`: in f32, or in bf16, to which
/// what is written is rounded (nearest even, subnormals to zero). A page has the number of the [`Cache`](super::Cache)'s page that its
/// rows are expanded into.
#[derive(Clone, Debug)]
pub struct LatentCache {
    width: usize,
    pages: usize,
    kept: Kept,
}

#[derive(Clone, Debug)]
enum Kept {
    F32(Vec<f32>),
    Bf16(Vec<u16>),
}

impl LatentCache {
    /// `pages` empty pages of rows of `width` values.
    pub fn with_pages(pages: usize, width: usize, precision: Precision) -> LatentCache {
        let len = pages * PAGE * width;
        let kept = match precision {
            Precision::F32 => Kept::F32(vec![0.0; len]),
            Precision::Bf16 => Kept::Bf16(vec![0; len]),
        };
        LatentCache { width, pages, kept }
    }

    /// Bytes that the pages take.
    pub fn bytes(&self) -> usize {
        match &self.kept {
            Kept::F32(rows) => size_of_val(&rows[..]),
            Kept::Bf16(rows) => size_of_val(&rows[..]),
        }
    }

    /// Stores a row of `rows` `[places, width]` at each (page, slot).
    ///
    /// # Panics
    /// When there is no such page or slot, or the sizes do not fit.
    pub fn write_rows(&mut self, places: &[(u32, u32)], rows: &[f32]) {
        assert_eq!(
            rows.len(),
            places.len() * self.width,
            "attention::LatentCache::write_rows: rows and places"
        );
        for (&(page, slot), row) in places.iter().zip(rows.chunks_exact(self.width)) {
            let at = self.at(page, slot as usize);
            match &mut self.kept {
                Kept::F32(kept) => f32::narrow(row, &mut kept[at..at + row.len()]),
                Kept::Bf16(kept) => u16::narrow(row, &mut kept[at..at + row.len()]),
            }
        }
    }

    /// The row at (page, slot), to `row` `[width]`.
    ///
    /// # Panics
    /// When there is no such page or slot, or the size does not fit.
    pub fn read_row(&self, page: u32, slot: usize, row: &mut [f32]) {
        let at = self.at(page, slot);
        assert_eq!(row.len(), self.width, "attention::LatentCache::read_row: a row of another width");
        match &self.kept {
            Kept::F32(kept) => row.copy_from_slice(&kept[at..at + row.len()]),
            Kept::Bf16(kept) => {
                for (x, half) in row.iter_mut().zip(&kept[at..]) {
                    *x = f32::from_bits(u32::from(*half) << 16);
                }
            }
        }
    }

    /// Copies the first `slots` positions of a page into another.
    ///
    /// # Panics
    /// When a page does not exist or `slots` exceeds [`PAGE`].
    pub fn copy_page(&mut self, from: u32, to: u32, slots: usize) {
        assert!(slots <= PAGE, "attention::LatentCache::copy_page: {slots} slots");
        let (from, to, len) = (self.at(from, 0), self.at(to, 0), slots * self.width);
        match &mut self.kept {
            Kept::F32(kept) => kept.copy_within(from..from + len, to),
            Kept::Bf16(kept) => kept.copy_within(from..from + len, to),
        }
    }

    fn at(&self, page: u32, slot: usize) -> usize {
        assert!(
            (page as usize) < self.pages && slot < PAGE,
            "attention::LatentCache: place {page}, {slot} of {} pages",
            self.pages
        );
        (page as usize * PAGE + slot) * self.width
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_as_they_are_stored() {
        for precision in [Precision::F32, Precision::Bf16] {
            for width in [1, 5, 80] {
                let mut cache = LatentCache::with_pages(3, width, precision);
                let half =
                    |x: f32| if precision == Precision::Bf16 { half::bf16::from_f32(x).to_f32() } else { x };
                let value = |i: usize| (i as f32 * 0.37).sin();
                let places = [(2, 0), (2, 1), (0, PAGE as u32 - 1)];
                let rows: Vec<f32> = (0..3 * width).map(value).collect();
                cache.write_rows(&places, &rows);
                cache.copy_page(2, 1, 1);
                let read = |page, slot| {
                    let mut row = vec![f32::NAN; width];
                    cache.read_row(page, slot, &mut row);
                    row
                };
                for (&(page, slot), row) in places.iter().zip(rows.chunks(width)) {
                    let row: Vec<f32> = row.iter().map(|x| half(*x)).collect();
                    assert_eq!(read(page, slot as usize), row);
                }
                assert_eq!(read(1, 0), read(2, 0));
                assert_eq!(read(1, 1), vec![0.0; width], "one slot was copied");
                let size = if precision == Precision::Bf16 { 2 } else { 4 };
                assert_eq!(cache.bytes(), 3 * PAGE * width * size);
            }
        }
    }
}
