//! The inner loops: a tile of R query rows against one page of positions.
//!
//! Every output element takes its terms in an order that does not know R: scores run over d, outputs over positions,
//! gradients of keys and values over rows, all ascending, each by one fused multiply-add.

use super::PAGE;
use super::stored::Stored;
use crate::lanes::{Lanes, WIDTH, exp};

/// The page that R rows look at.
#[derive(Clone, Copy)]
pub(super) enum Pages<S, const R: usize> {
    /// all the same one: read once
    Shared(*const S),
    /// each its own: R rows together still keep more sums in flight than one
    Own([*const S; R]),
}

impl<S, const R: usize> Pages<S, R> {
    #[inline(always)]
    fn of(self, r: usize) -> *const S {
        match self {
            Pages::Shared(page) => page,
            Pages::Own(pages) => pages[r],
        }
    }

    #[inline(always)]
    fn first(self) -> *const S {
        self.of(0)
    }

    /// From value `n` of each page on.
    #[inline(always)]
    fn add(self, n: usize) -> Pages<S, R> {
        match self {
            Pages::Shared(page) => Pages::Shared(page.wrapping_add(n)),
            Pages::Own(pages) => Pages::Own(pages.map(|page| page.wrapping_add(n))),
        }
    }
}

/// Weights of R rows over a page.
pub(super) type Weights<const R: usize> = [[f32; PAGE]; R];

/// x_r · column_j for R rows and all positions j of their page: a page is `[n][PAGE]`, rows of x lie `stride` apart.
///
/// # Safety
/// `n` values must be readable at each row and `n · PAGE` at each page.
#[inline(always)]
pub(super) unsafe fn products<V: Lanes, S: Stored, const R: usize>(
    x: *const f32,
    stride: usize,
    pages: Pages<S, R>,
    n: usize,
) -> [[V; 2]; R] {
    let mut sums = [[V::splat(0.0); 2]; R];
    for d in 0..n {
        // SAFETY: the caller's promise; d < n.
        unsafe {
            let [mut a, mut b] = S::load::<V, 2>(pages.first().add(d * PAGE));
            for r in 0..R {
                if let Pages::Own(own) = pages {
                    [a, b] = S::load::<V, 2>(own[r].add(d * PAGE));
                }
                let x = V::splat(*x.add(r * stride + d));
                sums[r][0] = x.fma(a, sums[r][0]);
                sums[r][1] = x.fma(b, sums[r][1]);
            }
        }
    }
    sums
}

/// to_r = to_r · by_r + Σ_j weights_r,j · row_j, j ascending over the `seen_r` first positions; a page is
/// `[PAGE][width]` (padded as it is stored), `to` `[R][width]`, width a multiple of 16.
///
/// # Safety
/// Pages must be readable in their first `seen` rows, `to` readable and writable.
#[inline(always)]
pub(super) unsafe fn mix<V: Lanes, S: Stored, const R: usize>(
    weights: &Weights<R>,
    seen: &[usize; R],
    by: &[f32; R],
    pages: Pages<S, R>,
    width: usize,
    to: *mut f32,
) {
    let mut c = 0;
    while c + 2 * WIDTH <= width {
        // SAFETY: 32 columns are left.
        unsafe { mix_columns::<V, S, R, 2>(weights, seen, by, pages.add(c), width, to.add(c)) };
        c += 2 * WIDTH;
    }
    if c < width {
        // SAFETY: 16 columns are left.
        unsafe { mix_columns::<V, S, R, 1>(weights, seen, by, pages.add(c), width, to.add(c)) };
    }
}

/// # Safety
/// As [`mix`], for N vectors of columns.
#[inline(always)]
unsafe fn mix_columns<V: Lanes, S: Stored, const R: usize, const N: usize>(
    weights: &Weights<R>,
    seen: &[usize; R],
    by: &[f32; R],
    pages: Pages<S, R>,
    width: usize,
    to: *mut f32,
) {
    let stride = width.next_multiple_of(S::UNIT);
    // SAFETY: the caller's promise.
    unsafe {
        let mut sums = [[V::splat(0.0); N]; R];
        for r in 0..R {
            for n in 0..N {
                sums[r][n] = V::load(to.add(r * width + n * WIDTH)).mul(V::splat(by[r]));
            }
        }
        let all = seen.iter().fold(seen[0], |least, &n| n.min(least));
        for j in 0..all {
            let mut row = S::load::<V, N>(pages.first().add(j * stride));
            for r in 0..R {
                if let Pages::Own(own) = pages {
                    row = S::load::<V, N>(own[r].add(j * stride));
                }
                let w = V::splat(weights[r][j]);
                for n in 0..N {
                    sums[r][n] = w.fma(row[n], sums[r][n]);
                }
            }
        }
        for r in 0..R {
            for j in all..seen[r] {
                let row = S::load::<V, N>(pages.of(r).add(j * stride));
                let w = V::splat(weights[r][j]);
                for n in 0..N {
                    sums[r][n] = w.fma(row[n], sums[r][n]);
                }
            }
            for n in 0..N {
                sums[r][n].store(to.add(r * width + n * WIDTH));
            }
        }
    }
}

/// to_j += Σ_r weights_r,j · x_r over the rows r that see j, r ascending: the transpose of [`mix`]; x is `[R][width]`,
/// `to` `[PAGE][width]`.
///
/// # Safety
/// x must be readable, `to` readable and writable in its first `seen` rows.
#[inline(always)]
pub(super) unsafe fn spread<V: Lanes, const R: usize>(
    weights: &Weights<R>,
    seen: &[usize; R],
    x: *const f32,
    width: usize,
    to: *mut f32,
) {
    let mut c = 0;
    while c + 2 * WIDTH <= width {
        // SAFETY: 32 columns are left.
        unsafe { spread_columns::<V, R, 2>(weights, seen, x.add(c), width, to.add(c)) };
        c += 2 * WIDTH;
    }
    if c < width {
        // SAFETY: 16 columns are left.
        unsafe { spread_columns::<V, R, 1>(weights, seen, x.add(c), width, to.add(c)) };
    }
}

/// # Safety
/// As [`spread`], for N vectors of columns.
#[inline(always)]
unsafe fn spread_columns<V: Lanes, const R: usize, const N: usize>(
    weights: &Weights<R>,
    seen: &[usize; R],
    x: *const f32,
    width: usize,
    to: *mut f32,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut rows = [[V::splat(0.0); N]; R];
        for r in 0..R {
            for n in 0..N {
                rows[r][n] = V::load(x.add(r * width + n * WIDTH));
            }
        }
        for j in 0..seen[0] {
            let mut sums = [V::splat(0.0); N];
            for n in 0..N {
                sums[n] = V::load(to.add(j * width + n * WIDTH));
            }
            for r in 0..R {
                let w = V::splat(weights[r][j]);
                for n in 0..N {
                    sums[n] = w.fma(rows[r][n], sums[n]);
                }
            }
            for n in 0..N {
                sums[n].store(to.add(j * width + n * WIDTH));
            }
        }
        for r in 0..R {
            for j in seen[0]..seen[r] {
                let w = V::splat(weights[r][j]);
                for n in 0..N {
                    let at = to.add(j * width + n * WIDTH);
                    w.fma(rows[r][n], V::load(at)).store(at);
                }
            }
        }
    }
}

/// Where the softmax of some query rows stands: the pages so far are folded into it.
#[derive(Clone, Copy)]
pub(super) struct Fold {
    /// Scaled queries `[rows][dk]`.
    pub q: *const f32,
    /// Greatest score so far `[rows]`, −∞ at first.
    pub top: *mut f32,
    /// Σ e^(score − top) on lanes `[rows][16]`, 0 at first.
    pub sum: *mut f32,
    /// Σ e^(score − top)·v `[rows][dvp]`, 0 at first.
    pub out: *mut f32,
}

/// Folds one page (keys `[dk][PAGE]`, values `[PAGE][dvp]`, padded as they are stored) into the rows `from..from + R`; row r sees the first
/// `seen[r]` positions of the page, what lies beyond contributes exactly nothing.
///
/// # Safety
/// The pointers of `f` must be good for these rows, those of the page for `seen` positions (keys: all PAGE).
#[inline(always)]
pub(super) unsafe fn fold<V: Lanes, S: Stored, const R: usize>(
    f: Fold,
    from: usize,
    keys: Pages<S, R>,
    values: Pages<S, R>,
    dk: usize,
    dvp: usize,
    seen: &[usize; R],
) {
    let hidden = V::splat(f32::NEG_INFINITY);
    let zero = V::splat(0.0);
    // SAFETY: the caller's promise.
    unsafe {
        let mut scores = products::<V, S, R>(f.q.add(from * dk), dk, keys, dk);
        let mut tops = [f32::NEG_INFINITY; R];
        // R ≤ 16: the rescaling factors of all rows come out of one vector.
        let mut down = [0.0; WIDTH];
        for r in 0..R {
            if seen[r] < PAGE {
                scores[r][0] = scores[r][0].first(seen[r].min(WIDTH), hidden);
                scores[r][1] = scores[r][1].first(seen[r].saturating_sub(WIDTH), hidden);
            }
            let (old, page) = (*f.top.add(from + r), scores[r][0].max(scores[r][1]).greatest());
            tops[r] = if page > old { page } else { old };
            down[r] = old - tops[r];
        }
        let down = exp(V::load(down.as_ptr())).array();
        let mut by = [0.0; R];
        let mut weights = [[0.0; PAGE]; R];
        for r in 0..R {
            by[r] = down[r];
            let top = V::splat(tops[r]);
            let (mut a, mut b) = (exp(scores[r][0].sub(top)), exp(scores[r][1].sub(top)));
            if seen[r] < PAGE {
                a = a.first(seen[r].min(WIDTH), zero);
                b = b.first(seen[r].saturating_sub(WIDTH), zero);
            }
            let sum = f.sum.add((from + r) * WIDTH);
            V::load(sum).fma(V::splat(by[r]), a).add(b).store(sum);
            a.store(weights[r].as_mut_ptr());
            b.store(weights[r].as_mut_ptr().add(WIDTH));
            *f.top.add(from + r) = tops[r];
        }
        mix::<V, S, R>(&weights, seen, &by, values, dvp, f.out.add(from * dvp));
    }
}

/// Cuts `$rows` into tiles of 8, 4, 3, 2 and 1 rows, no larger than the level's TILE: `$f::<V, R>(first row, …)`.
macro_rules! by_tiles {
    ($V:ident, $rows:expr, |$from:ident, $R:ident| $body:expr) => {{
        let rows: std::ops::Range<usize> = $rows;
        let mut $from = rows.start;
        while $from < rows.end {
            let left = (rows.end - $from).min($V::TILE);
            $from += if $V::TILE >= 8 && left >= 8 {
                const $R: usize = 8;
                $body;
                $R
            } else if $V::TILE >= 4 && left >= 4 {
                const $R: usize = 4;
                $body;
                $R
            } else if $V::TILE >= 3 && left >= 3 {
                const $R: usize = 3;
                $body;
                $R
            } else if left >= 2 {
                const $R: usize = 2;
                $body;
                $R
            } else {
                const $R: usize = 1;
                $body;
                $R
            };
        }
    }};
}
pub(super) use by_tiles;
