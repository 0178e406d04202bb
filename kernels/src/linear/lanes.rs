//! Vectors of f32 sums and of the words that are multiplied into them, one type an instruction set.

use super::tile::{Tile, tile_body};

/// A compiled tile, and the columns that it covers.
pub type Chosen = (unsafe fn(&Tile), usize);

/// One way to compute `sum += a · b` on several columns at once, where a word of `a` and of `b` is one f32 or a
/// pair of bf16.
///
/// # Safety
/// Every unsafe function asks for a machine with the instructions of the implementing type, and for pointers that
/// are good for [`Lanes::WIDTH`] words (for `count` words in the `_part` functions, for one word in `spread`).
pub trait Lanes: Copy + 'static {
    /// [`Lanes::WIDTH`] sums.
    type Sum: Copy;
    /// [`Lanes::WIDTH`] words.
    type Words: Copy;
    /// Columns in one vector.
    const WIDTH: usize;
    /// Rows of the largest tile.
    const ROWS: usize;

    unsafe fn zero() -> Self::Sum;
    unsafe fn load(from: *const f32) -> Self::Sum;
    unsafe fn store(to: *mut f32, sum: Self::Sum);
    /// The first `count` columns, fewer than WIDTH; the others are zeros.
    unsafe fn load_part(from: *const f32, count: usize) -> Self::Sum;
    unsafe fn store_part(to: *mut f32, sum: Self::Sum, count: usize);
    unsafe fn add(a: Self::Sum, b: Self::Sum) -> Self::Sum;
    unsafe fn words(from: *const u32) -> Self::Words;
    /// One word for all columns.
    unsafe fn spread(from: *const u32) -> Self::Words;
    unsafe fn step(a: Self::Words, b: Self::Words, sum: Self::Sum) -> Self::Sum;
    /// Asks the second-level cache for the line at `from`, which may be any address.
    #[inline(always)]
    unsafe fn prefetch(_from: *const u32) {}
    /// The best tile of `rows` rows (1 ..= ROWS) that covers at most `left` columns (a multiple of 16).
    fn tile(rows: usize, left: usize, transposed: bool) -> Chosen;
}

/// From run-time rows and columns to a compiled tile: `[rows…] (vectors a row, widest first);`.
macro_rules! choose {
    ($tile:ident, $rows:expr, $left:expr, $transposed:expr; $([$($r:literal)+] $vectors:tt;)+) => {
        match $rows {
            $($($r => choose!(@row $tile, $r, $left, $transposed, $vectors),)+)+
            _ => unreachable!("linear: a tile of {} rows", $rows),
        }
    };
    (@row $tile:ident, $r:literal, $left:expr, $transposed:expr, ($($c:literal)+)) => {
        $(if $c * Self::WIDTH <= $left {
            let tile = if $transposed { $tile::<$r, $c, true> as unsafe fn(&Tile) } else { $tile::<$r, $c, false> };
            (tile, $c * Self::WIDTH)
        } else)+ {
            unreachable!("linear: a tile of {} columns", $left)
        }
    };
}

/// f32 on any target: what `f32::mul_add` compiles to (on targets without fused multiply-add, a library call).
#[derive(Clone, Copy)]
pub struct Plain;

unsafe fn tile_plain<const R: usize, const C: usize, const TRANSPOSED: bool>(t: &Tile) {
    // SAFETY: the caller's promise for `t`; no instruction beyond the target's.
    unsafe { tile_body::<Plain, R, C, TRANSPOSED>(t) }
}

impl Lanes for Plain {
    type Sum = [f32; 8];
    type Words = [f32; 8];
    const WIDTH: usize = 8;
    const ROWS: usize = 4;

    #[inline(always)]
    unsafe fn zero() -> [f32; 8] {
        [0.0; 8]
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> [f32; 8] {
        // SAFETY: good for 8 words by the trait's contract.
        unsafe { from.cast::<[f32; 8]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, sum: [f32; 8]) {
        // SAFETY: as above.
        unsafe { to.cast::<[f32; 8]>().write_unaligned(sum) }
    }
    #[inline(always)]
    unsafe fn load_part(from: *const f32, count: usize) -> [f32; 8] {
        // SAFETY: only the first `count` words are read.
        std::array::from_fn(|i| if i < count { unsafe { *from.add(i) } } else { 0.0 })
    }
    #[inline(always)]
    unsafe fn store_part(to: *mut f32, sum: [f32; 8], count: usize) {
        for (i, v) in sum.into_iter().enumerate().take(count) {
            // SAFETY: only the first `count` words are written.
            unsafe { *to.add(i) = v }
        }
    }
    #[inline(always)]
    unsafe fn add(a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn words(from: *const u32) -> [f32; 8] {
        // SAFETY: good for 8 words.
        unsafe { from.cast::<[f32; 8]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn spread(from: *const u32) -> [f32; 8] {
        // SAFETY: good for one word.
        [unsafe { *from.cast::<f32>() }; 8]
    }
    #[inline(always)]
    unsafe fn step(a: [f32; 8], b: [f32; 8], sum: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|i| a[i].mul_add(b[i], sum[i]))
    }
    fn tile(rows: usize, left: usize, transposed: bool) -> Chosen {
        choose!(tile_plain, rows, left, transposed; [1 2] (4 2); [3 4] (2);)
    }
}

#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2, Avx512, Avx512Bf16};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Chosen, Lanes, Tile, tile_body};

    /// f32 with AVX2 and FMA.
    #[derive(Clone, Copy)]
    pub struct Avx2;
    /// f32 with AVX-512.
    #[derive(Clone, Copy)]
    pub struct Avx512;
    /// Pairs of bf16 with AVX-512 BF16.
    #[derive(Clone, Copy)]
    pub struct Avx512Bf16;

    #[target_feature(enable = "avx2,fma")]
    unsafe fn tile_avx2<const R: usize, const C: usize, const TRANSPOSED: bool>(t: &Tile) {
        // SAFETY: the caller's promise for `t`; the instructions are enabled here.
        unsafe { tile_body::<Avx2, R, C, TRANSPOSED>(t) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    unsafe fn tile_avx512<const R: usize, const C: usize, const TRANSPOSED: bool>(t: &Tile) {
        // SAFETY: as above.
        unsafe { tile_body::<Avx512, R, C, TRANSPOSED>(t) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
    unsafe fn tile_bf16<const R: usize, const C: usize, const TRANSPOSED: bool>(t: &Tile) {
        // SAFETY: as above.
        unsafe { tile_body::<Avx512Bf16, R, C, TRANSPOSED>(t) }
    }

    impl Lanes for Avx2 {
        type Sum = __m256;
        type Words = __m256;
        const WIDTH: usize = 8;
        const ROWS: usize = 6;

        #[inline(always)]
        unsafe fn zero() -> __m256 {
            // SAFETY: AVX by the trait's contract, here and below.
            unsafe { _mm256_setzero_ps() }
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> __m256 {
            // SAFETY: good for 8 words.
            unsafe { _mm256_loadu_ps(from) }
        }
        #[inline(always)]
        unsafe fn store(to: *mut f32, sum: __m256) {
            // SAFETY: good for 8 words.
            unsafe { _mm256_storeu_ps(to, sum) }
        }
        #[inline(always)]
        unsafe fn load_part(from: *const f32, count: usize) -> __m256 {
            let mut values = [0f32; 8];
            // SAFETY: `count` words are read into the 8 that stand here.
            unsafe {
                std::ptr::copy_nonoverlapping(from, values.as_mut_ptr(), count);
                _mm256_loadu_ps(values.as_ptr())
            }
        }
        #[inline(always)]
        unsafe fn store_part(to: *mut f32, sum: __m256, count: usize) {
            let mut values = [0f32; 8];
            // SAFETY: `count` of the 8 words are written.
            unsafe {
                _mm256_storeu_ps(values.as_mut_ptr(), sum);
                std::ptr::copy_nonoverlapping(values.as_ptr(), to, count);
            }
        }
        #[inline(always)]
        unsafe fn add(a: __m256, b: __m256) -> __m256 {
            // SAFETY: AVX.
            unsafe { _mm256_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn words(from: *const u32) -> __m256 {
            // SAFETY: good for 8 words.
            unsafe { _mm256_loadu_ps(from.cast()) }
        }
        #[inline(always)]
        unsafe fn spread(from: *const u32) -> __m256 {
            // SAFETY: good for one word.
            unsafe { _mm256_set1_ps(*from.cast::<f32>()) }
        }
        #[inline(always)]
        unsafe fn step(a: __m256, b: __m256, sum: __m256) -> __m256 {
            // SAFETY: FMA by the trait's contract.
            unsafe { _mm256_fmadd_ps(a, b, sum) }
        }
        fn tile(rows: usize, left: usize, transposed: bool) -> Chosen {
            choose!(tile_avx2, rows, left, transposed; [1] (8 4 2); [2 3] (4 2); [4 5 6] (2);)
        }
    }

    /// What the two AVX-512 types share: everything but the multiplication.
    macro_rules! sums_of_16 {
        () => {
            type Sum = __m512;
            const WIDTH: usize = 16;
            const ROWS: usize = 12;

            #[inline(always)]
            unsafe fn prefetch(from: *const u32) {
                // SAFETY: a prefetch never faults.
                unsafe { _mm_prefetch::<_MM_HINT_T1>(from.cast()) }
            }
            #[inline(always)]
            unsafe fn zero() -> __m512 {
                // SAFETY: AVX-512 F by the trait's contract, here and below.
                unsafe { _mm512_setzero_ps() }
            }
            #[inline(always)]
            unsafe fn load(from: *const f32) -> __m512 {
                // SAFETY: good for 16 words.
                unsafe { _mm512_loadu_ps(from) }
            }
            #[inline(always)]
            unsafe fn store(to: *mut f32, sum: __m512) {
                // SAFETY: good for 16 words.
                unsafe { _mm512_storeu_ps(to, sum) }
            }
            #[inline(always)]
            unsafe fn load_part(from: *const f32, count: usize) -> __m512 {
                // SAFETY: the mask keeps to the first `count` words.
                unsafe { _mm512_maskz_loadu_ps((1u16 << count) - 1, from) }
            }
            #[inline(always)]
            unsafe fn store_part(to: *mut f32, sum: __m512, count: usize) {
                // SAFETY: as above.
                unsafe { _mm512_mask_storeu_ps(to, (1u16 << count) - 1, sum) }
            }
            #[inline(always)]
            unsafe fn add(a: __m512, b: __m512) -> __m512 {
                // SAFETY: AVX-512 F.
                unsafe { _mm512_add_ps(a, b) }
            }
        };
    }

    impl Lanes for Avx512 {
        sums_of_16!();
        type Words = __m512;

        #[inline(always)]
        unsafe fn words(from: *const u32) -> __m512 {
            // SAFETY: good for 16 words.
            unsafe { _mm512_loadu_ps(from.cast()) }
        }
        #[inline(always)]
        unsafe fn spread(from: *const u32) -> __m512 {
            // SAFETY: good for one word.
            unsafe { _mm512_set1_ps(*from.cast::<f32>()) }
        }
        #[inline(always)]
        unsafe fn step(a: __m512, b: __m512, sum: __m512) -> __m512 {
            // SAFETY: AVX-512 F.
            unsafe { _mm512_fmadd_ps(a, b, sum) }
        }
        fn tile(rows: usize, left: usize, transposed: bool) -> Chosen {
            choose!(tile_avx512, rows, left, transposed;
                [1] (8 4 2 1); [2 3 4 5 6] (4 2 1); [7 8 9 10 11 12] (2 1);)
        }
    }

    impl Lanes for Avx512Bf16 {
        sums_of_16!();
        type Words = __m512i;

        #[inline(always)]
        unsafe fn words(from: *const u32) -> __m512i {
            // SAFETY: good for 16 words.
            unsafe { _mm512_loadu_si512(from.cast()) }
        }
        #[inline(always)]
        unsafe fn spread(from: *const u32) -> __m512i {
            // SAFETY: good for one word.
            unsafe { _mm512_set1_epi32(*from as i32) }
        }
        #[inline(always)]
        unsafe fn step(a: __m512i, b: __m512i, sum: __m512) -> __m512 {
            // SAFETY: AVX-512 BF16 by the trait's contract; both types are 64 bytes of any content.
            unsafe {
                _mm512_dpbf16_ps(
                    sum,
                    std::mem::transmute::<__m512i, __m512bh>(a),
                    std::mem::transmute::<__m512i, __m512bh>(b),
                )
            }
        }
        fn tile(rows: usize, left: usize, transposed: bool) -> Chosen {
            choose!(tile_bf16, rows, left, transposed;
                [1] (8 4 2 1); [2 3 4 5 6] (4 2 1); [7 8 9 10 11 12] (2 1);)
        }
    }
}
