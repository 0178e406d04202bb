//! Sixteen lanes in two 256-bit registers.
// SAFETY of every block here: the trait's rule, that this type is only used where AVX2 and FMA are compiled in and
// present.
#![allow(clippy::undocumented_unsafe_blocks)]

use std::arch::x86_64::*;

use super::{Lanes, WIDTH};

#[derive(Clone, Copy)]
pub(crate) struct Avx2(__m256, __m256);

/// All bits set in lanes `from + i < n`.
#[inline(always)]
fn mask(from: i32, n: usize) -> __m256i {
    unsafe {
        let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        _mm256_cmpgt_epi32(_mm256_set1_epi32(n.min(WIDTH) as i32 - from), lane)
    }
}

/// x · 2^n: two factors, each a normal power of two; the first product is exact, the second rounds once.
#[inline(always)]
fn scale(x: __m256, n: __m256) -> __m256 {
    unsafe {
        let n = _mm256_cvtps_epi32(n);
        let half = _mm256_srai_epi32::<1>(n);
        let power =
            |n| _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(n, _mm256_set1_epi32(127))));
        _mm256_mul_ps(_mm256_mul_ps(x, power(half)), power(_mm256_sub_epi32(n, half)))
    }
}

/// Sum of eight lanes: lane i + lane i + 4, then + 2, + 1.
#[inline(always)]
pub(super) fn sum_8(x: __m256) -> f32 {
    unsafe {
        let x = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
        let x = _mm_add_ps(x, _mm_movehl_ps(x, x));
        _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)))
    }
}

/// The greatest of eight lanes.
#[inline(always)]
pub(super) fn greatest_8(x: __m256) -> f32 {
    unsafe {
        let x = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps::<1>(x));
        let x = _mm_max_ps(x, _mm_movehl_ps(x, x));
        _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)))
    }
}

impl Lanes for Avx2 {
    const TILE: usize = 3;

    #[inline(always)]
    fn splat(x: f32) -> Avx2 {
        unsafe { Avx2(_mm256_set1_ps(x), _mm256_set1_ps(x)) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Avx2 {
        unsafe { Avx2(_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))) }
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, n: usize) -> Avx2 {
        // A masked load reads nothing where the mask is off; wrapping_add, as the second half may lie outside.
        unsafe {
            Avx2(_mm256_maskload_ps(from, mask(0, n)), _mm256_maskload_ps(from.wrapping_add(8), mask(8, n)))
        }
    }
    #[inline(always)]
    unsafe fn load_halves(from: *const u16) -> [Avx2; 2] {
        unsafe {
            let pairs = [_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(16).cast())];
            let odd = |x| _mm256_castsi256_ps(_mm256_and_si256(x, _mm256_set1_epi32(!0xffff)));
            let even = |x| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(x));
            [Avx2(even(pairs[0]), even(pairs[1])), Avx2(odd(pairs[0]), odd(pairs[1]))]
        }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe {
            _mm256_storeu_ps(to, self.0);
            _mm256_storeu_ps(to.add(8), self.1);
        }
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, n: usize) {
        unsafe {
            _mm256_maskstore_ps(to, mask(0, n), self.0);
            _mm256_maskstore_ps(to.wrapping_add(8), mask(8, n), self.1);
        }
    }
    #[inline(always)]
    fn add(self, b: Avx2) -> Avx2 {
        unsafe { Avx2(_mm256_add_ps(self.0, b.0), _mm256_add_ps(self.1, b.1)) }
    }
    #[inline(always)]
    fn sub(self, b: Avx2) -> Avx2 {
        unsafe { Avx2(_mm256_sub_ps(self.0, b.0), _mm256_sub_ps(self.1, b.1)) }
    }
    #[inline(always)]
    fn mul(self, b: Avx2) -> Avx2 {
        unsafe { Avx2(_mm256_mul_ps(self.0, b.0), _mm256_mul_ps(self.1, b.1)) }
    }
    #[inline(always)]
    fn div(self, b: Avx2) -> Avx2 {
        unsafe { Avx2(_mm256_div_ps(self.0, b.0), _mm256_div_ps(self.1, b.1)) }
    }
    #[inline(always)]
    fn fma(self, b: Avx2, c: Avx2) -> Avx2 {
        unsafe { Avx2(_mm256_fmadd_ps(self.0, b.0, c.0), _mm256_fmadd_ps(self.1, b.1, c.1)) }
    }
    #[inline(always)]
    fn max(self, b: Avx2) -> Avx2 {
        unsafe { Avx2(_mm256_max_ps(self.0, b.0), _mm256_max_ps(self.1, b.1)) }
    }
    #[inline(always)]
    fn min(self, b: Avx2) -> Avx2 {
        unsafe { Avx2(_mm256_min_ps(self.0, b.0), _mm256_min_ps(self.1, b.1)) }
    }
    #[inline(always)]
    fn first(self, n: usize, other: Avx2) -> Avx2 {
        unsafe {
            Avx2(
                _mm256_blendv_ps(other.0, self.0, _mm256_castsi256_ps(mask(0, n))),
                _mm256_blendv_ps(other.1, self.1, _mm256_castsi256_ps(mask(8, n))),
            )
        }
    }
    #[inline(always)]
    fn scale(self, n: Avx2) -> Avx2 {
        Avx2(scale(self.0, n.0), scale(self.1, n.1))
    }
    #[inline(always)]
    fn swap_pairs(self) -> Avx2 {
        unsafe {
            Avx2(_mm256_permute_ps::<0b10_11_00_01>(self.0), _mm256_permute_ps::<0b10_11_00_01>(self.1))
        }
    }
    #[inline(always)]
    fn array(self) -> [f32; WIDTH] {
        let mut a = [0.0; WIDTH];
        unsafe { self.store(a.as_mut_ptr()) }
        a
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        unsafe { sum_8(_mm256_add_ps(self.0, self.1)) }
    }
    #[inline(always)]
    fn greatest(self) -> f32 {
        unsafe { greatest_8(_mm256_max_ps(self.0, self.1)) }
    }
    #[inline(always)]
    unsafe fn transpose(rows: &[*const f32; WIDTH], to: *mut f32, stride: usize) {
        for j in [0, 8] {
            for d in [0, 8] {
                let part = std::array::from_fn(|i| rows[j + i].wrapping_add(d));
                unsafe { transpose_8(&part, to.add(d * stride + j), stride) };
            }
        }
    }
}

/// An 8 × 8 corner of the transposition.
#[inline(always)]
unsafe fn transpose_8(rows: &[*const f32; 8], to: *mut f32, stride: usize) {
    unsafe {
        let mut a = [_mm256_setzero_ps(); 8];
        for j in 0..8 {
            a[j] = _mm256_loadu_ps(rows[j]);
        }
        // b[4i + d] holds, in half x, value 4x + d of the rows 4i … 4i + 3.
        let mut b = [_mm256_setzero_ps(); 8];
        for i in 0..2 {
            let (lo0, hi0) =
                (_mm256_unpacklo_ps(a[4 * i], a[4 * i + 1]), _mm256_unpackhi_ps(a[4 * i], a[4 * i + 1]));
            let (lo1, hi1) = (
                _mm256_unpacklo_ps(a[4 * i + 2], a[4 * i + 3]),
                _mm256_unpackhi_ps(a[4 * i + 2], a[4 * i + 3]),
            );
            b[4 * i] = _mm256_shuffle_ps::<0b01_00_01_00>(lo0, lo1);
            b[4 * i + 1] = _mm256_shuffle_ps::<0b11_10_11_10>(lo0, lo1);
            b[4 * i + 2] = _mm256_shuffle_ps::<0b01_00_01_00>(hi0, hi1);
            b[4 * i + 3] = _mm256_shuffle_ps::<0b11_10_11_10>(hi0, hi1);
        }
        for d in 0..4 {
            _mm256_storeu_ps(to.add(d * stride), _mm256_permute2f128_ps::<0x20>(b[d], b[4 + d]));
            _mm256_storeu_ps(to.add((4 + d) * stride), _mm256_permute2f128_ps::<0x31>(b[d], b[4 + d]));
        }
    }
}
