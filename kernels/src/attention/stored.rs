//! What the cache stores a value as: f32, or bf16 for half of the memory and half of the reading.
//!
//! A row of the cache is cut into lines of 32 values. f32 lie in order; bf16 lie so that the even places hold the first
//! sixteen of a line and the odd ones the others: a line is one vector of pairs, widened by a shift and a mask.

use super::PAGE;
use crate::lanes::{Lanes, WIDTH};
use crate::linear::to_bf16;
use crate::threads::{SharedMut, parallel};

/// Values of a line.
const LINE: usize = 2 * WIDTH;
const _: () = assert!(PAGE == LINE, "the positions of a page are one line");

/// f32 or bf16.
pub(super) trait Stored: Copy + Default + Send + Sync {
    /// Rows of values are padded to a multiple of this.
    const UNIT: usize;
    /// The values side by side, rounded where they have to be.
    fn narrow(from: &[f32], to: &mut [Self]);
    /// Where value `i` of a line lies.
    fn place(i: usize) -> usize;
    /// Stores a row, its last line perhaps short.
    fn put(row: &[f32], to: &mut [Self]) {
        let mut line = [Self::default(); LINE];
        for (row, to) in row.chunks(LINE).zip(to.chunks_mut(LINE)) {
            Self::narrow(row, &mut line[..row.len()]);
            for (i, x) in line[..row.len()].iter().enumerate() {
                to[Self::place(i)] = *x;
            }
        }
    }
    /// Stores a column, one value in each line from `to[0]` on.
    fn put_column(column: &[f32], to: &mut [Self]) {
        let mut part = [Self::default(); 2 * LINE];
        for (column, to) in column.chunks(part.len()).zip(to.chunks_mut(part.len() * LINE)) {
            Self::narrow(column, &mut part[..column.len()]);
            for (x, to) in part[..column.len()].iter().zip(to.iter_mut().step_by(LINE)) {
                *to = *x;
            }
        }
    }
    /// The first N · 16 values of a line, N ≤ 2.
    ///
    /// # Safety
    /// N · 16 values must be readable at `line` (bf16: all 32).
    unsafe fn load<V: Lanes, const N: usize>(line: *const Self) -> [V; N];
}

impl Stored for f32 {
    const UNIT: usize = WIDTH;
    fn narrow(from: &[f32], to: &mut [f32]) {
        to.copy_from_slice(from);
    }
    #[inline(always)]
    fn place(i: usize) -> usize {
        i
    }
    #[inline(always)]
    unsafe fn load<V: Lanes, const N: usize>(line: *const f32) -> [V; N] {
        // SAFETY: the caller's promise.
        std::array::from_fn(|n| unsafe { V::load(line.add(n * WIDTH)) })
    }
}

/// The bits of a bf16 (a type whose zeros the allocator knows, so that pages that are never used are never touched).
impl Stored for u16 {
    const UNIT: usize = LINE;
    fn narrow(from: &[f32], to: &mut [u16]) {
        narrow_part(from, to);
    }
    #[inline(always)]
    fn place(i: usize) -> usize {
        i % WIDTH * 2 + i / WIDTH
    }
    #[inline(always)]
    unsafe fn load<V: Lanes, const N: usize>(line: *const u16) -> [V; N] {
        // SAFETY: the caller's promise.
        let halves = unsafe { V::load_halves(line) };
        std::array::from_fn(|n| halves[n])
    }
}

dispatch! {
    /// Each value to the nearest bf16.
    fn narrow_part(from: &[f32], to: &mut [u16]) = narrow_part_body;
    /// Each value to the nearest bf16 and back.
    fn round_part(x: &mut [f32]) = round_part_body;
}

#[inline(always)]
fn narrow_part_body(from: &[f32], to: &mut [u16]) {
    for (to, x) in to.iter_mut().zip(from) {
        *to = to_bf16(*x);
    }
}

#[inline(always)]
fn round_part_body(x: &mut [f32]) {
    for x in x {
        *x = f32::from_bits(u32::from(to_bf16(*x)) << 16);
    }
}

/// Rounds keys or values as a cache in bf16 stores them (nearest, ties to even, subnormals to zero): attention over what
/// this leaves has the bits of attention over the cache. Its backward passes gradients through unchanged.
pub fn round_to_bf16(x: &mut [f32]) {
    const PART: usize = 16 * 1024;
    let (len, parts) = (x.len(), x.len().div_ceil(PART));
    let x = SharedMut::new(x);
    // SAFETY: the parts are disjoint.
    parallel(parts, |i| round_part(unsafe { x.slice(i * PART..len.min((i + 1) * PART)) }));
}
