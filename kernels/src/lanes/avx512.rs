//! Sixteen lanes in one 512-bit register.
// SAFETY of every block here: the trait's rule, that this type is only used where AVX-512 is compiled in and present.
#![allow(clippy::undocumented_unsafe_blocks)]

use std::arch::x86_64::*;

use super::{Lanes, WIDTH, avx2};

#[derive(Clone, Copy)]
pub(crate) struct Avx512(__m512);

#[inline(always)]
fn mask(n: usize) -> __mmask16 {
    ((1u32 << n.min(WIDTH)) - 1) as __mmask16
}

impl Lanes for Avx512 {
    const TILE: usize = 8;

    #[inline(always)]
    fn splat(x: f32) -> Avx512 {
        unsafe { Avx512(_mm512_set1_ps(x)) }
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Avx512 {
        unsafe { Avx512(_mm512_loadu_ps(from)) }
    }
    #[inline(always)]
    unsafe fn load_first(from: *const f32, n: usize) -> Avx512 {
        unsafe { Avx512(_mm512_maskz_loadu_ps(mask(n), from)) }
    }
    #[inline(always)]
    unsafe fn load_halves(from: *const u16) -> [Avx512; 2] {
        unsafe {
            let pairs = _mm512_loadu_si512(from.cast());
            let odd = _mm512_and_si512(pairs, _mm512_set1_epi32(!0xffff));
            [_mm512_slli_epi32::<16>(pairs), odd].map(|half| Avx512(_mm512_castsi512_ps(half)))
        }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { _mm512_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, n: usize) {
        unsafe { _mm512_mask_storeu_ps(to, mask(n), self.0) }
    }
    #[inline(always)]
    fn add(self, b: Avx512) -> Avx512 {
        unsafe { Avx512(_mm512_add_ps(self.0, b.0)) }
    }
    #[inline(always)]
    fn sub(self, b: Avx512) -> Avx512 {
        unsafe { Avx512(_mm512_sub_ps(self.0, b.0)) }
    }
    #[inline(always)]
    fn mul(self, b: Avx512) -> Avx512 {
        unsafe { Avx512(_mm512_mul_ps(self.0, b.0)) }
    }
    #[inline(always)]
    fn div(self, b: Avx512) -> Avx512 {
        unsafe { Avx512(_mm512_div_ps(self.0, b.0)) }
    }
    #[inline(always)]
    fn fma(self, b: Avx512, c: Avx512) -> Avx512 {
        unsafe { Avx512(_mm512_fmadd_ps(self.0, b.0, c.0)) }
    }
    #[inline(always)]
    fn max(self, b: Avx512) -> Avx512 {
        unsafe { Avx512(_mm512_max_ps(self.0, b.0)) }
    }
    #[inline(always)]
    fn min(self, b: Avx512) -> Avx512 {
        unsafe { Avx512(_mm512_min_ps(self.0, b.0)) }
    }
    #[inline(always)]
    fn first(self, n: usize, other: Avx512) -> Avx512 {
        unsafe { Avx512(_mm512_mask_blend_ps(mask(n), other.0, self.0)) }
    }
    #[inline(always)]
    fn scale(self, n: Avx512) -> Avx512 {
        unsafe { Avx512(_mm512_scalef_ps(self.0, n.0)) }
    }
    #[inline(always)]
    fn swap_pairs(self) -> Avx512 {
        unsafe { Avx512(_mm512_permute_ps::<0b10_11_00_01>(self.0)) }
    }
    #[inline(always)]
    fn array(self) -> [f32; WIDTH] {
        let mut a = [0.0; WIDTH];
        unsafe { _mm512_storeu_ps(a.as_mut_ptr(), self.0) }
        a
    }
    #[inline(always)]
    fn sum(self) -> f32 {
        unsafe {
            let high = _mm512_extractf32x8_ps::<1>(self.0);
            avx2::sum_8(_mm256_add_ps(_mm512_castps512_ps256(self.0), high))
        }
    }
    #[inline(always)]
    fn greatest(self) -> f32 {
        unsafe {
            let high = _mm512_extractf32x8_ps::<1>(self.0);
            avx2::greatest_8(_mm256_max_ps(_mm512_castps512_ps256(self.0), high))
        }
    }
    #[inline(always)]
    unsafe fn transpose(rows: &[*const f32; WIDTH], to: *mut f32, stride: usize) {
        unsafe {
            let mut a = [_mm512_setzero_ps(); WIDTH];
            for j in 0..WIDTH {
                a[j] = _mm512_loadu_ps(rows[j]);
            }
            // Pairs, then fours inside each 128-bit quarter: b[4i + d] holds, in quarter x, value 4x + d of the rows
            // 4i … 4i + 3.
            let mut b = [_mm512_setzero_ps(); WIDTH];
            for i in 0..4 {
                let (lo0, hi0) =
                    (_mm512_unpacklo_ps(a[4 * i], a[4 * i + 1]), _mm512_unpackhi_ps(a[4 * i], a[4 * i + 1]));
                let (lo1, hi1) = (
                    _mm512_unpacklo_ps(a[4 * i + 2], a[4 * i + 3]),
                    _mm512_unpackhi_ps(a[4 * i + 2], a[4 * i + 3]),
                );
                b[4 * i] = _mm512_shuffle_ps::<0b01_00_01_00>(lo0, lo1);
                b[4 * i + 1] = _mm512_shuffle_ps::<0b11_10_11_10>(lo0, lo1);
                b[4 * i + 2] = _mm512_shuffle_ps::<0b01_00_01_00>(hi0, hi1);
                b[4 * i + 3] = _mm512_shuffle_ps::<0b11_10_11_10>(hi0, hi1);
            }
            // The quarters of four vectors, transposed.
            for d in 0..4 {
                let even0 = _mm512_shuffle_f32x4::<0b10_00_10_00>(b[d], b[4 + d]);
                let odd0 = _mm512_shuffle_f32x4::<0b11_01_11_01>(b[d], b[4 + d]);
                let even1 = _mm512_shuffle_f32x4::<0b10_00_10_00>(b[8 + d], b[12 + d]);
                let odd1 = _mm512_shuffle_f32x4::<0b11_01_11_01>(b[8 + d], b[12 + d]);
                _mm512_storeu_ps(to.add(d * stride), _mm512_shuffle_f32x4::<0b10_00_10_00>(even0, even1));
                _mm512_storeu_ps(to.add((4 + d) * stride), _mm512_shuffle_f32x4::<0b10_00_10_00>(odd0, odd1));
                _mm512_storeu_ps(
                    to.add((8 + d) * stride),
                    _mm512_shuffle_f32x4::<0b11_01_11_01>(even0, even1),
                );
                _mm512_storeu_ps(
                    to.add((12 + d) * stride),
                    _mm512_shuffle_f32x4::<0b11_01_11_01>(odd0, odd1),
                );
            }
        }
    }
}
