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
    /// The value, rounded where it has to be.
    fn of(x: f32) -> Self;
    /// Where value `i` of a line lies.
    fn place(i: usize) -> usize;
    /// Stores a row, its last line perhaps short.
    #[inline(always)]
    fn put(row: &[f32], to: &mut [Self]) {
        for (row, to) in row.chunks(LINE).zip(to.chunks_mut(LINE)) {
            match <&[f32; LINE]>::try_from(row) {
                Ok(row) => (0..LINE).for_each(|i| to[Self::place(i)] = Self::of(row[i])),
                Err(_) => row.iter().enumerate().for_each(|(i, x)| to[Self::place(i)] = Self::of(*x)),
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
    #[inline(always)]
    fn of(x: f32) -> f32 {
        x
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
    #[inline(always)]
    fn of(x: f32) -> u16 {
        to_bf16(x)
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
    /// Each value to the nearest bf16 and back.
    fn round_part(x: &mut [f32]) = round_part_body;
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
