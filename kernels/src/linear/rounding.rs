//! f32 rows brought to words: copied, or rounded to pairs of bf16. The machine's own conversion where the
//! bf16 product itself runs (the tests hold it to the scalar definition, bit for bit).

use std::ops::Range;

use super::panels::PANEL;
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
    if crate::isa::active() >= Isa::Avx512Bf16 {
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

/// One panel's words of the columns `columns` (at most [`PANEL`]) of some rows of `width` values: in f32 a step a row,
/// in bf16 a step two rows, the even one in the low half. Zeros past the last column; in bf16 also past the last row,
/// to the end of `out`, which then has at most 16 steps.
pub fn pack_rows(precision: Precision, values: &[f32], width: usize, columns: Range<usize>, out: &mut [u32]) {
    let count = columns.len();
    if precision == Precision::F32 {
        for (row, words) in values.chunks_exact(width).zip(out.as_chunks_mut::<PANEL>().0) {
            match <&[f32; PANEL]>::try_from(&row[columns.clone()]) {
                Ok(values) => *words = values.map(f32::to_bits),
                Err(_) => {
                    copy(&row[columns.clone()], words);
                    words[count..].fill(0);
                }
            }
        }
        return;
    }
    #[cfg(target_arch = "x86_64")]
    if crate::isa::active() >= Isa::Avx512Bf16 {
        // SAFETY: the machine has the instructions.
        return unsafe { x86::pack_rows(values, width, columns, out) };
    }
    for (step, words) in out.as_chunks_mut::<PANEL>().0.iter_mut().enumerate() {
        *words =
            std::array::from_fn(|c| if c < count { pair(values, width, step, columns.start + c) } else { 0 });
    }
}

/// The word of rows 2 · step and 2 · step + 1 in one column; a row past the end is zeros.
fn pair(values: &[f32], width: usize, step: usize, column: usize) -> u32 {
    let half = |row: usize| values.get(row * width + column).map_or(0, |&v| u32::from(to_bf16(v)));
    half(2 * step) | half(2 * step + 1) << 16
}

/// As [`pack_rows`] in bf16 of at most 32 rows, a column's 16 steps side by side: word (column, step) at
/// `column · 16 + step`.
#[cfg(target_arch = "x86_64")]
pub fn pack_columns(values: &[f32], width: usize, columns: Range<usize>, out: &mut [u32]) {
    if crate::isa::active() >= Isa::Avx512Bf16 {
        // SAFETY: the machine has the instructions.
        return unsafe { x86::pack_columns(values, width, columns, out) };
    }
    for (c, words) in out.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let column = columns.start + c;
        *words =
            std::array::from_fn(
                |step| if column < columns.end { pair(values, width, step, column) } else { 0 },
            );
    }
}

/// Rows of `depth` values as panels of 32 rows for AMX: `[panel][16 steps][row][step]`, zeros past the last value.
/// `out` is `frame` words a row long; rows past the last one are left as they are.
#[cfg(target_arch = "x86_64")]
pub fn blocks_along(values: &[f32], depth: usize, frame: usize, out: &mut [u32]) {
    for (rows, out) in values.chunks(PANEL * depth).zip(out.chunks_mut(PANEL * frame)) {
        for (r, row) in rows.chunks_exact(depth).enumerate() {
            let mut done = 0;
            if crate::isa::active() >= Isa::Avx512Bf16 {
                // SAFETY: the machine has the instructions.
                done = unsafe { x86::blocks_along(row, &mut out[r * 16..]) };
            }
            for (block, values) in row.chunks(32).enumerate().skip(done) {
                let words = &mut out[block * PANEL * 16 + r * 16..][..16];
                words[values.len().div_ceil(2)..].fill(0);
                pair_up(values, words);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::ops::Range;

    use super::super::panels::PANEL;

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

    /// The whole blocks of one row of `blocks_along`; `out` begins at the row's place in the first block. Returns the
    /// number of blocks written.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    pub fn blocks_along(row: &[f32], out: &mut [u32]) -> usize {
        let (blocks, _) = row.as_chunks::<32>();
        for (block, out) in blocks.iter().zip(out.chunks_mut(PANEL * 16)) {
            let out = &mut out[..16];
            // SAFETY: 32 values are read and 16 words written.
            unsafe {
                let (low, high) = (_mm512_loadu_ps(block.as_ptr()), _mm512_loadu_ps(block[16..].as_ptr()));
                let pairs = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low));
                _mm512_storeu_si512(out.as_mut_ptr().cast(), pairs);
            }
        }
        blocks.len()
    }

    /// 16 words of rows 2 · step and 2 · step + 1, the columns `columns` (at most 16) of rows of `width` values.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    fn pairs(values: &[f32], width: usize, step: usize, columns: Range<usize>) -> __m512i {
        let mask = (1u32 << columns.len()).wrapping_sub(1) as u16;
        let row = |row: usize| match values.get(row * width..(row + 1) * width) {
            // SAFETY: the mask keeps to the columns, which are inside the row.
            Some(row) => unsafe { _mm512_maskz_loadu_ps(mask, row[columns.clone()].as_ptr()) },
            None => _mm512_setzero_ps(),
        };
        // Both rows' halves in one conversion, then one value of each in turn.
        let halves = _mm512_cvtne2ps_pbh(row(2 * step + 1), row(2 * step));
        // SAFETY: both types are 64 bytes of any content.
        let halves = unsafe { std::mem::transmute::<__m512bh, __m512i>(halves) };
        let order: [u16; 32] = std::array::from_fn(|i| (i / 2 + i % 2 * 16) as u16);
        // SAFETY: 64 bytes.
        let order = unsafe { _mm512_loadu_si512(order.as_ptr().cast()) };
        _mm512_permutexvar_epi16(order, halves)
    }

    /// `pack_rows` in bf16.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    pub fn pack_rows(values: &[f32], width: usize, columns: Range<usize>, out: &mut [u32]) {
        let middle = columns.end.min(columns.start + 16);
        for (step, words) in out.as_chunks_mut::<PANEL>().0.iter_mut().enumerate() {
            for (words, columns) in
                words.as_chunks_mut::<16>().0.iter_mut().zip([columns.start..middle, middle..columns.end])
            {
                // SAFETY: 16 words are written.
                unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), pairs(values, width, step, columns)) }
            }
        }
    }

    /// `pack_columns`: 16 steps by 16 columns turned at a time.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    pub fn pack_columns(values: &[f32], width: usize, columns: Range<usize>, out: &mut [u32]) {
        let middle = columns.end.min(columns.start + 16);
        let halves = [columns.start..middle, middle..columns.end];
        for (columns, out) in halves.into_iter().zip(out.as_chunks_mut::<256>().0) {
            let steps: [__m512i; 16] =
                std::array::from_fn(|step| pairs(values, width, step, columns.clone()));
            for (words, turned) in out.as_chunks_mut::<16>().0.iter_mut().zip(transpose(steps)) {
                // SAFETY: 16 words are written.
                unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), turned) }
            }
        }
    }

    /// 16 by 16 words turned: `result[i][j] = rows[j][i]`.
    #[target_feature(enable = "avx512f")]
    fn transpose(rows: [__m512i; 16]) -> [__m512i; 16] {
        let mut a = rows;
        // Words within 64 bits, 64 bits within 128, then whole quarters.
        for i in (0..16).step_by(2) {
            let (x, y) = (rows[i], rows[i + 1]);
            (a[i], a[i + 1]) = (_mm512_unpacklo_epi32(x, y), _mm512_unpackhi_epi32(x, y));
        }
        let mut b = a;
        for i in (0..16).step_by(4) {
            for j in 0..2 {
                let (x, y) = (a[i + j], a[i + j + 2]);
                (b[i + 2 * j], b[i + 2 * j + 1]) = (_mm512_unpacklo_epi64(x, y), _mm512_unpackhi_epi64(x, y));
            }
        }
        // b[4g + c] holds, for rows 4g ..= 4g + 3, column 4q + c in its quarter q.
        let mut c = b;
        for i in 0..4 {
            let (x, y, z, w) = (b[i], b[i + 4], b[i + 8], b[i + 12]);
            let (low, high) = (_mm512_shuffle_i32x4::<0x44>(x, y), _mm512_shuffle_i32x4::<0xee>(x, y));
            let (low2, high2) = (_mm512_shuffle_i32x4::<0x44>(z, w), _mm512_shuffle_i32x4::<0xee>(z, w));
            c[i] = _mm512_shuffle_i32x4::<0x88>(low, low2);
            c[i + 4] = _mm512_shuffle_i32x4::<0xdd>(low, low2);
            c[i + 8] = _mm512_shuffle_i32x4::<0x88>(high, high2);
            c[i + 12] = _mm512_shuffle_i32x4::<0xdd>(high, high2);
        }
        c
    }
}
