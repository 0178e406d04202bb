//! The linear layer: `y[M,N] = x[M,K] · W[N,K]ᵀ (+ bias[N])`, and its three gradients.
//!
//! ```text
//! forward           y[m,n]  = Σ_k x[m,k] W[n,k]  (+ bias[n])
//! forward_add       y[m,n] += Σ_k x[m,k] W[n,k]
//! backward_input    dx[m,k] = Σ_n dy[m,n] W[n,k]        or dx[m,k] += …
//! backward_weight   dW[n,k] += Σ_m dy[m,n] x[m,k]
//! backward_bias     db[n]   += Σ_m dy[m,n]
//! ```
//!
//! Order of summation, the same for any number of rows, any cut of the batch, any thread count:
//! - f32: one accumulator an output, one fused multiply-add a term, the summed index ascending. It starts from
//!   0, or from the old value where the op accumulates. The bias is added last. Blocking over the summed index
//!   stores and reloads the f32 accumulator, which changes nothing. Every version has the bits of the reference.
//! - bf16: operands are rounded to bf16 (nearest even, subnormals to zero); the summed index goes in pairs
//!   (2i, 2i+1), as the `VDPBF16PS` instruction defines them: fused multiply-add of the odd term, then of the
//!   even term, each rounded to nearest even with subnormals taken as and flushed to zero. An odd length is
//!   padded with a zero. In `backward_weight` the pairs are rows, so a batch may be cut at even rows.
//! - bf16 on AMX: operands are rounded as above; the summed index goes in blocks of 32 values, as the `TDPBF16PS`
//!   instruction defines them: from 0, the block's even terms and its odd terms are two chains of fused multiply-adds,
//!   ascending; the two are added, and their sum to the accumulator; each rounded to nearest even with subnormals
//!   taken as and flushed to zero. A last block is padded with zeros. In `backward_weight` the blocks are rows, so a
//!   batch may be cut at multiples of 32 rows.
//! - `backward_bias`: plain additions, rows ascending, from the old value.

#[cfg(target_arch = "x86_64")]
mod amx;
mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
mod gradient;
mod halves;
mod lanes;
mod panels;
mod reference;
mod room;
mod rounding;
#[cfg(test)]
mod tests;
mod tile;
mod way;

#[cfg(target_arch = "x86_64")]
pub(crate) use amx::amx;
#[cfg(all(test, target_arch = "x86_64"))]
pub(crate) use amx::emulation::ready as emulated_amx;

use crate::threads::{SharedMut, parallel};
use crate::{Isa, Precision};
pub use halves::{Half, Seen};
use panels::Panels;
pub(crate) use reference::to_bf16;
pub use room::Room;

/// A weight matrix `W[N, K]`, packed for the products that use it. The plain matrix is not kept.
pub struct Weight {
    n: usize,
    k: usize,
    precision: Precision,
    /// Columns n, summed over k: for [`forward`].
    by_output: Panels,
    /// Columns k, summed over n: for [`backward_input`].
    by_input: Option<Panels>,
}

impl Weight {
    /// Packs `w` (`[n, k]` row-major). A `trainable` weight is packed a second time, for [`backward_input`].
    ///
    /// # Panics
    /// When the shape is empty or does not fit `w`, or when [`crate::supports`] refuses `precision`.
    pub fn pack(w: &[f32], n: usize, k: usize, precision: Precision, trainable: bool) -> Weight {
        assert!(n > 0 && k > 0, "linear: empty weight [{n}, {k}]");
        if let Err(message) = crate::supports(precision) {
            panic!("linear: {message}");
        }
        let mut weight = Weight::zeros(n, k, precision, trainable);
        weight.repack(w);
        weight
    }

    fn zeros(n: usize, k: usize, precision: Precision, trainable: bool) -> Weight {
        let by_output = Panels::empty(n, k, precision);
        let by_input = trainable.then(|| Panels::empty(k, n, precision));
        Weight { n, k, precision, by_output, by_input }
    }

    /// One block of memory for the [`Weight::pack_from`] and [`Weight::pack_halves`] of weights of these shapes `(n, k)`.
    pub fn room(shapes: impl IntoIterator<Item = (usize, usize, Precision)>) -> Room {
        Room::of(shapes.into_iter().map(|(n, k, precision)| panels::words(n, k, precision)).sum())
    }

    /// As [`Weight::pack`] of a weight that is not trained, for values that come from elsewhere: `read(i, out)` fills
    /// `out` with the values from flat index `i` on. It is called from several threads, for a few rows at a time, so the
    /// plain matrix is never in memory.
    ///
    /// # Panics
    /// When the shape is empty, or when [`crate::supports`] refuses `precision`.
    pub fn pack_from(
        room: &Room,
        n: usize,
        k: usize,
        precision: Precision,
        read: impl Fn(usize, &mut [f32]) + Sync,
    ) -> Weight {
        assert!(n > 0 && k > 0, "linear: empty weight [{n}, {k}]");
        if let Err(message) = crate::supports(precision) {
            panic!("linear: {message}");
        }
        let mut by_output = Panels::within(room, n, k, precision);
        by_output.fill_transposed_from(read, precision);
        Weight { n, k, precision, by_output, by_input: None }
    }

    /// As [`Weight::pack_from`] in bf16, for rows that are bf16 already, wherever they lie: `row(j)` is row `j`, of `k`
    /// values. Says what the values are like besides.
    ///
    /// # Panics
    /// When the shape is empty, a row is too short, or [`crate::supports`] refuses bf16.
    pub fn pack_halves<'w>(
        room: &Room,
        n: usize,
        k: usize,
        row: impl Fn(usize) -> &'w [Half] + Sync,
    ) -> (Weight, Seen) {
        let precision = Precision::Bf16;
        assert!(n > 0 && k > 0, "linear: empty weight [{n}, {k}]");
        if let Err(message) = crate::supports(precision) {
            panic!("linear: {message}");
        }
        let mut by_output = Panels::within(room, n, k, precision);
        let seen = by_output.fill_transposed_halves(row);
        (Weight { n, k, precision, by_output, by_input: None }, seen)
    }

    /// Row `j` as it is computed with: [K], values that were rounded to bf16 as such.
    ///
    /// # Panics
    /// When there is no such row, or `out` is not `k` long.
    pub fn row(&self, j: usize, out: &mut [f32]) {
        assert!(j < self.n && out.len() == self.k, "linear: row {j} of [{}, {}]", self.n, self.k);
        self.by_output.column(j, self.precision, out);
    }

    /// Packs other values of the same shape into the memory that is there: after an optimizer step.
    ///
    /// # Panics
    /// When `w` is not `n · k` long.
    pub fn repack(&mut self, w: &[f32]) {
        assert!(
            w.len() == self.n * self.k,
            "linear: weight [{}, {}] from {} values",
            self.n,
            self.k,
            w.len()
        );
        self.by_output.fill_transposed(w, self.precision);
        if let Some(panels) = &mut self.by_input {
            panels.fill(w, self.precision);
        }
    }

    /// Outputs.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Inputs.
    pub fn k(&self) -> usize {
        self.k
    }

    /// The compute type that it was packed for.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Bytes of packed memory.
    pub fn bytes(&self) -> usize {
        self.by_output.bytes() + self.by_input.as_ref().map_or(0, Panels::bytes)
    }
}

/// `y = x · Wᵀ (+ bias)`: `x` is `[M, K]`, `y` is `[M, N]` and overwritten.
///
/// # Panics
/// When the lengths do not fit.
pub fn forward(x: &[f32], w: &Weight, bias: Option<&[f32]>, y: &mut [f32]) {
    forward_with(crate::isa::active(), x, w, bias, y);
}

fn forward_with(isa: Isa, x: &[f32], w: &Weight, bias: Option<&[f32]>, y: &mut [f32]) {
    let rows = rows("forward", "x", x.len(), "K", w.k);
    assert!(y.len() == rows * w.n, "linear: forward of {rows} rows to N = {}, y has {}", w.n, y.len());
    if let Some(bias) = bias {
        assert!(bias.len() == w.n, "linear: forward to N = {} with a bias of {}", w.n, bias.len());
    }
    cpu::rows_by_panels(isa, w.precision, x, &w.by_output, bias, false, y);
}

/// `y += x · Wᵀ` (the sum starts from the old value): `x` is `[M, K]`, `y` is `[M, N]`.
///
/// # Panics
/// When the lengths do not fit.
pub fn forward_add(x: &[f32], w: &Weight, y: &mut [f32]) {
    forward_add_with(crate::isa::active(), x, w, y);
}

fn forward_add_with(isa: Isa, x: &[f32], w: &Weight, y: &mut [f32]) {
    let rows = rows("forward_add", "x", x.len(), "K", w.k);
    assert!(y.len() == rows * w.n, "linear: forward_add of {rows} rows to N = {}, y has {}", w.n, y.len());
    cpu::rows_by_panels(isa, w.precision, x, &w.by_output, None, true, y);
}

/// `dx = dy · W`, or `dx += dy · W` when `accumulate` (the sum then starts from the old value): `dy` is `[M, N]`,
/// `dx` is `[M, K]`.
///
/// # Panics
/// When the lengths do not fit or the weight was not packed as trainable.
pub fn backward_input(dy: &[f32], w: &Weight, dx: &mut [f32], accumulate: bool) {
    backward_input_with(crate::isa::active(), dy, w, dx, accumulate);
}

fn backward_input_with(isa: Isa, dy: &[f32], w: &Weight, dx: &mut [f32], accumulate: bool) {
    let rows = rows("backward_input", "dy", dy.len(), "N", w.n);
    assert!(
        dx.len() == rows * w.k,
        "linear: backward_input of {rows} rows to K = {}, dx has {}",
        w.k,
        dx.len()
    );
    let Some(panels) = &w.by_input else {
        panic!("linear: backward_input of a weight [{}, {}] that is not trainable", w.n, w.k)
    };
    cpu::rows_by_panels(isa, w.precision, dy, panels, None, accumulate, dx);
}

/// `dW += dyᵀ · x`: `dy` is `[M, N]`, `x` is `[M, K]`, `dw` is `[N, K]`. Rows are summed in order, so in f32 a batch
/// may be cut anywhere, in bf16 after any even number of rows, and on AMX after any multiple of 32, without changing
/// a bit.
///
/// # Panics
/// When the lengths do not fit, or when [`crate::supports`] refuses `precision`.
pub fn backward_weight(dy: &[f32], x: &[f32], n: usize, k: usize, precision: Precision, dw: &mut [f32]) {
    backward_weight_with(crate::isa::active(), dy, x, n, k, precision, dw);
}

fn backward_weight_with(
    isa: Isa,
    dy: &[f32],
    x: &[f32],
    n: usize,
    k: usize,
    precision: Precision,
    dw: &mut [f32],
) {
    assert!(
        n > 0 && k > 0 && dw.len() == n * k,
        "linear: backward_weight to [{n}, {k}], dw has {}",
        dw.len()
    );
    let rows = rows("backward_weight", "dy", dy.len(), "N", n);
    assert!(x.len() == rows * k, "linear: backward_weight of {rows} rows with K = {k}, x has {}", x.len());
    gradient::transposed_by_rows(isa, precision, dy, x, n, k, dw);
}

/// `db += Σ_m dy[m, :]`, rows in order; N is the length of `db`.
///
/// # Panics
/// When `dy` is not a whole number of rows.
pub fn backward_bias(dy: &[f32], db: &mut [f32]) {
    let n = db.len();
    let _ = rows("backward_bias", "dy", dy.len(), "N", n);
    const RUN: usize = 64;
    let parts = SharedMut::new(db);
    let columns = |task: usize| {
        let range = task * RUN..n.min((task + 1) * RUN);
        // SAFETY: the tasks' ranges are disjoint.
        let mine = unsafe { parts.slice(range.clone()) };
        for row in dy.chunks_exact(n) {
            for (sum, v) in mine.iter_mut().zip(&row[range.clone()]) {
                *sum += v;
            }
        }
    };
    let tasks = n.div_ceil(RUN);
    if dy.len() < 64 * 1024 { (0..tasks).for_each(columns) } else { parallel(tasks, columns) }
}

fn rows(op: &str, what: &str, len: usize, axis: &str, width: usize) -> usize {
    assert!(
        width > 0 && len.is_multiple_of(width),
        "linear: {op}: {what} has {len} values, {axis} is {width}"
    );
    len / width
}
