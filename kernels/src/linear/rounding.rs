//! f32 rows brought to words: copied, or rounded to pairs of bf16. The machine's own conversion where the
//! bf16 product itself runs (the tests hold it to the scalar definition, bit for bit).

use super::reference::to_bf16;
use crate::{Isa, Precision, scratch};

/// Lends `f` a buffer of this thread for `words` words, aligned to cache lines, with any content.
pub fn buffer<R>(words: usize, f: impl FnOnce(&mut [u32]) -> R) -> R {
    scratch::with(words, |values| {
        // SAFETY: f32 and u32 have the same size and alignment, and every content is valid for both.
        f(unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), values.len()) })
    })
}

/// `values` as words: f32 as they are; bf16 in pairs of neighbours, an odd last one with a zero.
pub fn along(precision: Precision, values: &[f32], out: &mut [u32]) {
    match precision {
        Precision::F32 => copy(values, out),
        Precision::Bf16 => pair_up(values, out),
    }
}

/// The bits of `values` into the first words of `out`.
pub fn copy(values: &[f32], out: &mut [u32]) {
    for (word, v) in out[..values.len()].iter_mut().zip(values) {
        *word = v.to_bits();
    }
}

/// Pairs of neighbours in `values`, the even one in the low half; an odd last one with a zero.
fn pair_up(values: &[f32], out: &mut [u32]) {
    let mut at = 0;
    #[cfg(target_arch = "x86_64")]
    if crate::isa::active() == Isa::Avx512Bf16 {
        // SAFETY: the machine has the instructions.
        at = unsafe { x86::pair_up(values, out) };
    }
    let (pairs, rest) = values[2 * at..].as_chunks::<2>();
    for (word, &[a, b]) in out[at..].iter_mut().zip(pairs) {
        *word = u32::from(to_bf16(a)) | u32::from(to_bf16(b)) << 16;
    }
    if let [a] = rest {
        out[at + pairs.len()] = u32::from(to_bf16(*a));
    }
}

/// Pairs from two rows: `even` in the low halves, `odd` (zeros where absent) in the high ones.
pub fn interleave(even: &[f32], odd: Option<&[f32]>, out: &mut [u32]) {
    let Some(odd) = odd else {
        for (word, &a) in out.iter_mut().zip(even) {
            *word = u32::from(to_bf16(a));
        }
        return;
    };
    let mut at = 0;
    #[cfg(target_arch = "x86_64")]
    if crate::isa::active() == Isa::Avx512Bf16 {
        // SAFETY: the machine has the instructions.
        at = unsafe { x86::interleave(even, odd, out) };
    }
    for ((word, &a), &b) in out[at..].iter_mut().zip(&even[at..]).zip(&odd[at..]) {
        *word = u32::from(to_bf16(a)) | u32::from(to_bf16(b)) << 16;
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    /// The whole vectors of `pair_up`; returns the number of words written.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    pub fn pair_up(values: &[f32], out: &mut [u32]) -> usize {
        let (blocks, _) = values.as_chunks::<32>();
        for (block, out) in blocks.iter().zip(out[..blocks.len() * 16].as_chunks_mut::<16>().0) {
            // SAFETY: 32 values are read and 16 words written, both whole arrays.
            unsafe {
                let (low, high) = (_mm512_loadu_ps(block.as_ptr()), _mm512_loadu_ps(block[16..].as_ptr()));
                let pairs = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low));
                _mm512_storeu_si512(out.as_mut_ptr().cast(), pairs);
            }
        }
        blocks.len() * 16
    }

    /// The whole vectors of `interleave`; returns the number of words written.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    pub fn interleave(even: &[f32], odd: &[f32], out: &mut [u32]) -> usize {
        let blocks = even.as_chunks::<16>().0.iter().zip(odd.as_chunks::<16>().0);
        let mut words = 0;
        for ((even, odd), out) in blocks.zip(out.as_chunks_mut::<16>().0) {
            // SAFETY: 16 values of each row are read and 16 words written, all whole arrays.
            unsafe {
                let half = |v: &[f32; 16]| {
                    let half = _mm512_cvtneps_pbh(_mm512_loadu_ps(v.as_ptr()));
                    _mm512_cvtepu16_epi32(std::mem::transmute::<__m256bh, __m256i>(half))
                };
                let pairs = _mm512_or_si512(half(even), _mm512_slli_epi32::<16>(half(odd)));
                _mm512_storeu_si512(out.as_mut_ptr().cast(), pairs);
            }
            words += 16;
        }
        words
    }
}
