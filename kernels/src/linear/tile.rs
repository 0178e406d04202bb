//! The innermost loops: a few rows by a few vectors of columns, all sums in registers.

use super::lanes::Lanes;
use super::panels::PANEL;

/// What one call of a tile computes: `out[r, c] = start + Σ_s a[r, s] b[s, c] (+ bias[c])`, s ascending.
pub struct Tile {
    /// Words of the summed index.
    pub steps: usize,
    /// Word (r, s) of the left operand stands at `a + r · a_stride + s`; in a transposed tile, at
    /// `a + s · a_stride + r`.
    pub a: *const u32,
    pub a_stride: usize,
    /// Word (s, c) of the right operand stands at `b + s · PANEL + c` within a panel; panels are `b_panel` apart.
    pub b: *const u32,
    pub b_panel: usize,
    /// What will be wanted next: step s asks the caches for the lines at `ahead + s · ahead_stride` (any address).
    pub ahead: *const u32,
    pub ahead_stride: usize,
    /// Element (r, c) of the result stands at `out + r · out_row + c`.
    pub out: *mut f32,
    pub out_row: usize,
    /// Whether the sums start from what stands in `out`, else from 0.
    pub from_out: bool,
    /// Null, or one value a column to be added last.
    pub bias: *const f32,
    /// Columns that exist; the tile covers at least one of them in each of its vectors but perhaps the last ones.
    pub columns: usize,
}

/// One tile of R rows by C vectors.
///
/// # Safety
/// The pointers of `t` must be good for the tile's rows, steps and columns (`b` for whole vectors), nothing else may
/// touch the tile's part of `out`, and the machine must have the instructions of `L`.
#[inline(always)]
pub unsafe fn tile_body<L: Lanes, const R: usize, const C: usize, const TRANSPOSED: bool>(t: &Tile) {
    // SAFETY: all addresses are within what the caller vouches for.
    unsafe {
        let mut sums = [[L::zero(); C]; R];
        if t.from_out {
            for r in 0..R {
                for c in 0..C {
                    sums[r][c] = load::<L>(t.out.add(r * t.out_row + c * L::WIDTH), t.columns, c);
                }
            }
        }
        let (row_stride, step_stride) = if TRANSPOSED { (1, t.a_stride) } else { (t.a_stride, 1) };
        let mut rows = [t.a; R];
        for r in 1..R {
            rows[r] = t.a.add(r * row_stride);
        }
        for s in 0..t.steps {
            L::prefetch(t.ahead.wrapping_add(s * t.ahead_stride));
            let mut words = [L::words(t.b.add(s * PANEL)); C];
            for c in 1..C {
                let (panel, column) = (c * L::WIDTH / PANEL, c * L::WIDTH % PANEL);
                words[c] = L::words(t.b.add(panel * t.b_panel + s * PANEL + column));
            }
            for r in 0..R {
                let a = L::spread(rows[r].add(s * step_stride));
                for c in 0..C {
                    sums[r][c] = L::step(a, words[c], sums[r][c]);
                }
            }
        }
        if !t.bias.is_null() {
            for c in 0..C {
                let bias = load::<L>(t.bias.add(c * L::WIDTH), t.columns, c);
                for r in 0..R {
                    sums[r][c] = L::add(sums[r][c], bias);
                }
            }
        }
        for r in 0..R {
            for c in 0..C {
                let to = t.out.add(r * t.out_row + c * L::WIDTH);
                match t.columns.saturating_sub(c * L::WIDTH) {
                    left if left >= L::WIDTH => L::store(to, sums[r][c]),
                    left => L::store_part(to, sums[r][c], left),
                }
            }
        }
    }
}

/// Vector `c` of a row that has `columns` columns.
#[inline(always)]
unsafe fn load<L: Lanes>(from: *const f32, columns: usize, c: usize) -> L::Sum {
    // SAFETY: no more than the columns that exist are read.
    unsafe {
        match columns.saturating_sub(c * L::WIDTH) {
            left if left >= L::WIDTH => L::load(from),
            left => L::load_part(from, left),
        }
    }
}
