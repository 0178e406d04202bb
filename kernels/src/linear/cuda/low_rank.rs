//! The low-rank term of an adapted layer (LoRA): `y[:, rows_j] += s · (x A_jᵀ) B_jᵀ` for each adapted projection j of a matrix W.
//!
//! The scale is applied between the products, to `x Aᵀ` and to `dy B`, before they are rounded to operands: so A and B are operands as the
//! optimizer leaves them.

use std::ops::Range;

use super::{SOURCE, backward_input, backward_weight, forward, operand, rows};
use crate::cuda::{Arg, Buffer, Device, Error, Float, Grid, Product, View, ViewMut};

/// What stands beside a matrix W `[n, k]`; R = rank · projections.
pub struct LowRank<'a, T: Float> {
    /// A, `[R, k]`: the projections' one above the other
    pub a: View<'a, T>,
    /// B_j `[rows of j, rank]`, one after the other
    pub b: View<'a, T>,
    /// rows of W
    pub n: usize,
    /// columns of W
    pub k: usize,
    /// of each projection
    pub rank: usize,
    /// the rows of W that each adapted projection has
    pub rows: &'a [Range<usize>],
    /// s
    pub scale: f32,
}

impl<T: Float> LowRank<'_, T> {
    fn width(&self) -> usize {
        self.rank * self.rows.len()
    }

    /// Each projection: its rows of W, its columns of `x Aᵀ`, its values in B.
    fn each(&self) -> impl Iterator<Item = (Range<usize>, usize, Range<usize>)> {
        let mut start = 0;
        self.rows.iter().enumerate().map(move |(j, rows)| {
            let values = start..start + rows.len() * self.rank;
            start = values.end;
            (rows.clone(), j * self.rank, values)
        })
    }

    /// Times the scale, rounded.
    fn scaled(&self, device: &Device, op: &'static str, x: &Buffer<f32>) -> Result<Buffer<T>, Error> {
        let y = Buffer::uninit(device, op, x.len())?;
        let args = [Arg::from(x), Arg::from(&y), Arg::U64(x.len() as u64), self.scale.into()];
        device.launch(op, &SOURCE, &format!("scaled_{}", T::SUFFIX), Grid::each(x.len()), &args)?;
        Ok(y)
    }

    /// `s · x Aᵀ`: [M, R].
    fn narrow(&self, device: &Device, x: View<T>) -> Result<Buffer<T>, Error> {
        let op = "low_rank::forward";
        let mut u = Buffer::uninit(device, op, rows(op, x.len(), self.k) * self.width())?;
        forward(device, x, self.a, self.width(), self.k, None, u.all_mut())?;
        self.scaled(device, op, &u)
    }

    /// `s · dy B`: [M, R].
    fn narrow_back(&self, device: &Device, dy: View<T>) -> Result<Buffer<T>, Error> {
        let op = "low_rank::backward";
        let m = rows(op, dy.len(), self.n);
        let v: Buffer<f32> = Buffer::uninit(device, op, m * self.width())?;
        for (rows, column, values) in self.each() {
            let a = operand(dy.part(rows.start.min(dy.len())..dy.len()), self.n, false);
            let b = operand(self.b.part(values), self.rank, false);
            let c = operand(v.part(column.min(v.len())..v.len()), self.width(), false);
            device.product(op, &Product { m, n: self.rank, k: rows.len(), a, b, c, add: false })?;
        }
        self.scaled(device, op, &v)
    }

    /// Adds the term to y `[M, n]`.
    ///
    /// # Errors
    /// The device refused.
    ///
    /// # Panics
    /// When the lengths do not fit.
    pub fn forward_add(&self, device: &Device, x: View<T>, y: ViewMut<f32>) -> Result<(), Error> {
        let op = "low_rank::forward";
        let (m, u) = (rows(op, x.len(), self.k), self.narrow(device, x)?);
        assert_eq!(y.len(), m * self.n, "{op}: y");
        for (rows, column, values) in self.each() {
            let a = operand(u.part(column.min(u.len())..u.len()), self.width(), false);
            let b = operand(self.b.part(values), self.rank, true);
            let c = operand(y.view().part(rows.start.min(y.len())..y.len()), self.n, false);
            device.product(op, &Product { m, n: rows.len(), k: self.rank, a, b, c, add: true })?;
        }
        Ok(())
    }

    /// `dx += s · (dy B) A`.
    ///
    /// # Errors
    /// The device refused.
    ///
    /// # Panics
    /// When the lengths do not fit.
    pub fn backward_input_add(&self, device: &Device, dy: View<T>, dx: ViewMut<f32>) -> Result<(), Error> {
        let v = self.narrow_back(device, dy)?;
        backward_input(device, v.all(), self.a, self.width(), self.k, dx, true)
    }

    /// `dA += s · (dy B)ᵀ x`, `dB_j += dy[:, rows_j]ᵀ · (s · x A_jᵀ)`, both shaped like A and B.
    ///
    /// # Errors
    /// The device refused.
    ///
    /// # Panics
    /// When the lengths do not fit.
    pub fn backward_weights(
        &self,
        device: &Device,
        dy: View<T>,
        x: View<T>,
        da: ViewMut<f32>,
        db: ViewMut<f32>,
    ) -> Result<(), Error> {
        let (op, m) = ("low_rank::backward", rows("low_rank::backward", x.len(), self.k));
        assert!(dy.len() == m * self.n && db.len() == self.b.len(), "{op}: dy or dB");
        if m == 0 {
            return Ok(());
        }
        let v = self.narrow_back(device, dy)?;
        backward_weight(device, v.all(), x, self.width(), self.k, da)?;
        let u = self.narrow(device, x)?;
        for (rows, column, values) in self.each() {
            let a = operand(dy.part(rows.start..dy.len()), self.n, true);
            let b = operand(u.part(column..u.len()), self.width(), false);
            let c = operand(db.view().part(values), self.rank, false);
            device.product(op, &Product { m: rows.len(), n: self.rank, k: m, a, b, c, add: true })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cuda::testing::{each_device, narrow, near, on, values, widen};

    /// Both passes in plain loops: y, dx, dA, dB, each added to what is there.
    fn plain(p: &LowRank<f32>, [a, b, x, dy]: [&[f32]; 4], [y, dx, da, db]: [&mut [f32]; 4]) {
        for t in 0..x.len() / p.k {
            let (x, dy) = (&x[t * p.k..][..p.k], &dy[t * p.n..][..p.n]);
            for (rows, column, own) in p.each() {
                for r in 0..p.rank {
                    let a_row = (column + r) * p.k;
                    let u: f32 = (0..p.k).map(|j| x[j] * a[a_row + j]).sum::<f32>() * p.scale;
                    let v: f32 = rows
                        .clone()
                        .enumerate()
                        .map(|(i, n)| dy[n] * b[own.start + i * p.rank + r])
                        .sum::<f32>()
                        * p.scale;
                    for (i, n) in rows.clone().enumerate() {
                        y[t * p.n + n] += u * b[own.start + i * p.rank + r];
                        db[own.start + i * p.rank + r] += dy[n] * u;
                    }
                    for j in 0..p.k {
                        dx[t * p.k + j] += v * a[a_row + j];
                        da[a_row + j] += v * x[j];
                    }
                }
            }
        }
    }

    #[test]
    fn both_passes_are_the_definition() {
        each_device(|device| {
            for (m, n, k, rank, adapted) in [
                (1, 1, 1, 1, vec![(0, 1)]),
                (5, 6, 3, 2, vec![(0, 6)]),
                (7, 12, 10, 3, vec![(0, 6), (6, 12)]),
                (4, 9, 5, 2, vec![(3, 7)]),
            ] {
                let adapted: Vec<Range<usize>> = adapted.into_iter().map(|(a, b)| a..b).collect();
                let (width, held) =
                    (rank * adapted.len(), adapted.iter().map(ExactSizeIterator::len).sum::<usize>());
                let round = |seed, n| widen(&narrow(&values(seed, n, 1.0)));
                let (a, b) = (round(1, width * k), round(2, held * rank));
                let (x, dy) = (round(3, m * k), round(4, m * n));
                let start = |seed, n| values(seed, n, 1.0);
                let mut wanted = [start(5, m * n), start(6, m * k), start(7, a.len()), start(8, b.len())];
                let nowhere = on(device, &[0f32; 0]);
                let of = |a, b| LowRank { a, b, n, k, rank, rows: &adapted, scale: 0.75 };
                let [y, dx, da, db] = &mut wanted;
                plain(&of(nowhere.all(), nowhere.all()), [&a, &b, &x, &dy], [y, dx, da, db]);
                macro_rules! check {
                    ($to:expr, $tolerance:literal) => {
                        let ([a, b, x, dy], rows) =
                            ([&a, &b, &x, &dy].map(|v| on(device, &$to(v))), &adapted[..]);
                        let pair = LowRank { a: a.all(), b: b.all(), n, k, rank, rows, scale: 0.75 };
                        let mut found = [(5, m * n), (6, m * k), (7, a.len()), (8, b.len())]
                            .map(|(seed, n)| on(device, &start(seed, n)));
                        let [y, dx, da, db] = &mut found;
                        pair.forward_add(device, x.all(), y.all_mut()).unwrap();
                        pair.backward_input_add(device, dy.all(), dx.all_mut()).unwrap();
                        pair.backward_weights(device, dy.all(), x.all(), da.all_mut(), db.all_mut()).unwrap();
                        for (what, (found, wanted)) in
                            ["y", "dx", "dA", "dB"].iter().zip(found.iter().zip(&wanted))
                        {
                            near(what, &found.download("test").unwrap(), wanted, $tolerance);
                        }
                    };
                }
                check!(<[f32]>::to_vec, 2e-6);
                check!(narrow, 1e-2);
            }
        });
    }
}
