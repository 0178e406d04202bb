//! Rows that are bf16 already, straight into a panel: nothing is widened, nothing rounded.

use super::panels::PANEL;

/// A bf16 value as files have it: two bytes, the low one first, anywhere in memory.
pub type Half = [u8; 2];

/// What the values that were packed are like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// a NaN or an infinity was among them; it was packed as it is
    pub not_finite: bool,
    /// a subnormal was among them; it was packed as a zero of its sign, as rounding does
    pub subnormal: bool,
}

impl Seen {
    /// What is true of either.
    pub fn or(self, other: Seen) -> Seen {
        Seen { not_finite: self.not_finite | other.not_finite, subnormal: self.subnormal | other.subnormal }
    }
}

/// Steps that are moved together: of a row one cache line.
const BLOCK: usize = 16;

/// Up to [`PANEL`] rows, each of the same length, into one panel.
pub fn transpose(rows: &[&[Half]], out: &mut [u32]) -> Seen {
    let mut seen = Seen::default();
    for (first, rows) in rows.chunks(BLOCK).enumerate() {
        let mut from = 0;
        #[cfg(target_arch = "x86_64")]
        if let Ok(rows) = <&[&[Half]; BLOCK]>::try_from(rows)
            && crate::isa::active() >= crate::Isa::Avx512
        {
            // SAFETY: the machine has the instructions.
            from = unsafe { x86::transpose(rows, first * BLOCK, out, &mut seen) };
        }
        for (column, row) in (first * BLOCK..).zip(rows) {
            let rest = &row[2 * from..];
            for (pair, out) in rest.chunks(2).zip(out[from * PANEL..].chunks_exact_mut(PANEL)) {
                let half = |i: usize| pair.get(i).map_or(0, |half| checked(*half, &mut seen));
                let [even, odd] = [0, 1].map(half);
                out[column] = u32::from(even) | u32::from(odd) << 16;
            }
        }
    }
    seen
}

fn checked(half: Half, seen: &mut Seen) -> u16 {
    let bits = u16::from_le_bytes(half);
    match (bits & 0x7f80, bits & 0x007f) {
        (0x7f80, _) => seen.not_finite = true,
        (0, 1..) => {
            seen.subnormal = true;
            return bits & 0x8000;
        }
        _ => {}
    }
    bits
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{BLOCK, Half, PANEL, Seen};

    /// The whole blocks of 16 rows, into the columns from `column` on; returns the number of steps written.
    #[target_feature(enable = "avx512f,avx512bw")]
    pub fn transpose(rows: &[&[Half]; BLOCK], column: usize, out: &mut [u32], seen: &mut Seen) -> usize {
        let depth = rows.iter().map(|row| row.len()).min().unwrap_or(0);
        let blocks = (depth / (2 * BLOCK)).min(out.len() / (BLOCK * PANEL));
        assert!(column + BLOCK <= PANEL);
        let exponent = _mm512_set1_epi16(0x7f80);
        let mantissa = _mm512_set1_epi16(0x007f);
        let sign = _mm512_set1_epi16(i16::MIN);
        let (mut not_finite, mut subnormal) = (0, 0);
        for block in 0..blocks {
            // A loop and no `map`: a closure with these instructions is not inlined into a function without them.
            let mut lines = [_mm512_setzero_si512(); BLOCK];
            for (place, row) in lines.iter_mut().zip(rows) {
                // SAFETY: a row has at least `blocks` times 32 halves.
                let line = unsafe { _mm512_loadu_si512(row.as_ptr().add(block * 2 * BLOCK).cast()) };
                let power = _mm512_and_si512(line, exponent);
                not_finite |= _mm512_cmpeq_epi16_mask(power, exponent);
                let tiny = _mm512_testn_epi16_mask(line, exponent) & _mm512_test_epi16_mask(line, mantissa);
                subnormal |= tiny;
                *place = _mm512_mask_blend_epi16(tiny, line, _mm512_and_si512(line, sign));
            }
            for (step, line) in (block * BLOCK..).zip(turned(lines)) {
                let place = &mut out[step * PANEL + column..][..BLOCK];
                // SAFETY: 16 words are written, which the slice has.
                unsafe { _mm512_storeu_si512(place.as_mut_ptr().cast(), line) };
            }
        }
        seen.not_finite |= not_finite != 0;
        seen.subnormal |= subnormal != 0;
        blocks * BLOCK
    }

    /// Rows to columns: word `j` of line `i` becomes word `i` of line `j`.
    #[target_feature(enable = "avx512f")]
    fn turned(r: [__m512i; 16]) -> [__m512i; 16] {
        // Within each quarter of a line: 4 rows by 4 words, turned by two rounds of unpacking.
        let mut quads = [[_mm512_setzero_si512(); 4]; 4];
        for (g, quad) in quads.iter_mut().enumerate() {
            let [a, b, c, d] = [r[4 * g], r[4 * g + 1], r[4 * g + 2], r[4 * g + 3]];
            let (ab, ab_high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
            let (cd, cd_high) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
            *quad = [
                _mm512_unpacklo_epi64(ab, cd),
                _mm512_unpackhi_epi64(ab, cd),
                _mm512_unpacklo_epi64(ab_high, cd_high),
                _mm512_unpackhi_epi64(ab_high, cd_high),
            ];
        }
        // Then the quarters: quarter q of quads[g][j] holds word 4q + j of rows 4g … 4g + 3.
        let mut out = [_mm512_setzero_si512(); 16];
        for j in 0..4 {
            let [a, b, c, d] = [quads[0][j], quads[1][j], quads[2][j], quads[3][j]];
            let (even, odd) = (_mm512_shuffle_i32x4::<0x88>(a, b), _mm512_shuffle_i32x4::<0xdd>(a, b));
            let (even_, odd_) = (_mm512_shuffle_i32x4::<0x88>(c, d), _mm512_shuffle_i32x4::<0xdd>(c, d));
            out[j] = _mm512_shuffle_i32x4::<0x88>(even, even_);
            out[4 + j] = _mm512_shuffle_i32x4::<0x88>(odd, odd_);
            out[8 + j] = _mm512_shuffle_i32x4::<0xdd>(even, even_);
            out[12 + j] = _mm512_shuffle_i32x4::<0xdd>(odd, odd_);
        }
        out
    }
}
