//! The linear layer on a device: products with sums in f32, operands both f32 or both bf16, weights `[N, K]` as they are.
//!
//! Products are cuBLASLt's. Which order their sums have is its choice by shape, so a row's bits may depend on the rows that ride along.
//! On a [batch-invariant](Device::batch_invariant) device they are our own, in one order (`cuda/tiles.rs`), and so are grouped ones on any.

use crate::cuda::{Arg, Buffer, Device, Error, Float, Grid, Operand, Product, Source, View, ViewMut};

mod low_rank;
mod tiles;

pub use low_rank::LowRank;
pub(crate) use tiles::product;
pub use tiles::{Groups, addresses, grouped_backward_input, grouped_backward_weight, grouped_forward};

pub(crate) const SOURCE: Source =
    Source { name: "linear", text: concat!(include_str!("cuda.cu"), include_str!("tiles.cu")) };

/// Rows that one partial sum of db covers.
const RUN: usize = 64;

fn operand<T: Float>(view: View<T>, stride: usize, transposed: bool) -> Operand {
    Operand { at: view.address(), half: T::HALF, stride, transposed }
}

/// `y = x · Wᵀ (+ bias)`: x `[M, K]`, w `[N, K]`, y `[M, N]`.
///
/// # Errors
/// The device refused.
///
/// # Panics
/// When the lengths do not fit.
pub fn forward<X: Float, Y: Float>(
    device: &Device,
    x: View<X>,
    w: View<X>,
    n: usize,
    k: usize,
    bias: Option<View<f32>>,
    mut y: ViewMut<Y>,
) -> Result<(), Error> {
    let op = "linear::forward";
    times_transposed(device, op, x, w, n, k, y.again(), false)?;
    let Some(bias) = bias else { return Ok(()) };
    assert_eq!(bias.len(), n, "{op}: bias");
    let args = [Arg::from(&y), bias.into(), Arg::U64(y.len() as u64), n.into()];
    device.launch(op, &SOURCE, &format!("add_bias_{}", Y::SUFFIX), Grid::each(y.len()), &args)
}

/// `y += x · Wᵀ`.
///
/// # Errors
/// The device refused.
///
/// # Panics
/// When the lengths do not fit.
pub fn forward_add<X: Float>(
    device: &Device,
    x: View<X>,
    w: View<X>,
    n: usize,
    k: usize,
    y: ViewMut<f32>,
) -> Result<(), Error> {
    times_transposed(device, "linear::forward_add", x, w, n, k, y, true)
}

fn times_transposed<X: Float, Y: Float>(
    device: &Device,
    op: &'static str,
    x: View<X>,
    w: View<X>,
    n: usize,
    k: usize,
    y: ViewMut<Y>,
    add: bool,
) -> Result<(), Error> {
    let m = rows(op, x.len(), k);
    fits(op, w.len() == n * k && y.len() == m * n, [m, n, k], [x.len(), w.len(), y.len()]);
    let (a, b, c) = (operand(x, k, false), operand(w, k, true), operand(y.view(), n, false));
    device.product(op, &Product { m, n, k, a, b, c, add })
}

/// `dx = dy · W`, or `dx += dy · W` when `accumulate`: dy `[M, N]`, w `[N, K]`, dx `[M, K]`.
///
/// # Errors
/// The device refused.
///
/// # Panics
/// When the lengths do not fit.
pub fn backward_input<D: Float, Y: Float>(
    device: &Device,
    dy: View<D>,
    w: View<D>,
    n: usize,
    k: usize,
    dx: ViewMut<Y>,
    accumulate: bool,
) -> Result<(), Error> {
    let op = "linear::backward_input";
    let m = rows(op, dy.len(), n);
    fits(op, w.len() == n * k && dx.len() == m * k, [m, n, k], [dy.len(), w.len(), dx.len()]);
    let (a, b, c) = (operand(dy, n, false), operand(w, k, false), operand(dx.view(), k, false));
    device.product(op, &Product { m, n: k, k: n, a, b, c, add: accumulate })
}

/// `dW += dyᵀ · x`: dy `[M, N]`, x `[M, K]`, dw `[N, K]`.
///
/// # Errors
/// The device refused.
///
/// # Panics
/// When the lengths do not fit.
pub fn backward_weight<D: Float>(
    device: &Device,
    dy: View<D>,
    x: View<D>,
    n: usize,
    k: usize,
    dw: ViewMut<f32>,
) -> Result<(), Error> {
    let op = "linear::backward_weight";
    let m = rows(op, dy.len(), n);
    fits(op, x.len() == m * k && dw.len() == n * k, [m, n, k], [dy.len(), x.len(), dw.len()]);
    if m == 0 {
        return Ok(());
    }
    let (a, b, c) = (operand(dy, n, true), operand(x, k, false), operand(dw.view(), k, false));
    device.product(op, &Product { m: n, n: k, k: m, a, b, c, add: true })
}

/// `db += Σ_m dy[m, :]`: runs of 64 rows, then the runs in order.
///
/// # Errors
/// The device refused.
///
/// # Panics
/// When `dy` is not a whole number of rows.
pub fn backward_bias<D: Float>(device: &Device, dy: View<D>, db: ViewMut<f32>) -> Result<(), Error> {
    let (op, n) = ("linear::backward_bias", db.len());
    let m = rows(op, dy.len(), n);
    let runs = m.div_ceil(RUN);
    let part: Buffer<f32> = Buffer::uninit(device, op, runs * n)?;
    let args = [dy.into(), Arg::from(&part), m.into(), n.into(), RUN.into()];
    let grid = Grid::plane(n.div_ceil(128), runs, 128);
    device.launch(op, &SOURCE, &format!("bias_part_{}", D::SUFFIX), grid, &args)?;
    let args = [Arg::from(&part), Arg::from(&db), runs.into(), n.into()];
    device.launch(op, &SOURCE, "bias_sum", Grid::each(n), &args)
}

/// `to = from`, in the other type.
///
/// # Errors
/// The device refused.
///
/// # Panics
/// When the lengths differ.
pub fn convert<X: Float, Y: Float>(device: &Device, from: View<X>, to: ViewMut<Y>) -> Result<(), Error> {
    let op = "linear::convert";
    assert_eq!(from.len(), to.len(), "{op}: lengths");
    let (n, wide) = (from.len(), from.wide(4) && to.view().wide(4));
    let args = [from.into(), Arg::from(&to), Arg::U64(n as u64), wide.into()];
    let kernel = format!("convert_{}_{}", X::SUFFIX, Y::SUFFIX);
    device.launch(op, &SOURCE, &kernel, Grid::each(n.div_ceil(4)), &args)
}

/// `x += y`.
///
/// # Errors
/// The device refused.
///
/// # Panics
/// When the lengths differ.
pub fn add<Y: Float>(device: &Device, x: ViewMut<f32>, y: View<Y>) -> Result<(), Error> {
    let op = "linear::add";
    assert_eq!(x.len(), y.len(), "{op}: lengths");
    let (n, wide) = (y.len(), y.wide(4) && x.view().wide(4));
    let args = [Arg::from(&x), y.into(), Arg::U64(n as u64), wide.into()];
    device.launch(op, &SOURCE, &format!("add_{}", Y::SUFFIX), Grid::each(n.div_ceil(4)), &args)
}

/// Columns of a matrix whose rows have `stride` values: `width` of them, from `at` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Columns {
    /// Values of a row.
    pub stride: usize,
    /// The first column.
    pub at: usize,
    /// How many columns.
    pub width: usize,
}

impl Columns {
    fn rows(&self, op: &str, len: usize) -> usize {
        assert!(self.width > 0 && self.at + self.width <= self.stride, "{op}: {self:?}");
        rows(op, len, self.stride)
    }
}

/// Copies columns: row r of `to` has in its columns `into` what row r / `times` of `from` has in its columns `out_of`.
///
/// # Errors
/// The device refused.
///
/// # Panics
/// When the sizes do not fit one another.
pub fn columns<T: Float>(
    device: &Device,
    from: View<T>,
    out_of: Columns,
    times: usize,
    to: ViewMut<T>,
    into: Columns,
) -> Result<(), Error> {
    let op = "linear::columns";
    let (rows, given) = (into.rows(op, to.len()), out_of.rows(op, from.len()));
    assert!(
        rows == given * times && into.width == out_of.width,
        "{op}: {rows} rows of {into:?} from {given} of {out_of:?}, each {times} times"
    );
    let args = [
        from.into(),
        Arg::from(&to),
        Arg::U64((rows * into.width) as u64),
        into.width.into(),
        times.into(),
        out_of.stride.into(),
        out_of.at.into(),
        into.stride.into(),
        into.at.into(),
    ];
    device.launch(op, &SOURCE, &format!("columns_{}", T::SUFFIX), Grid::each(rows * into.width), &args)
}

/// The backward of [`columns`] with `times` above 1: row r of `to` is the sum of rows r · `times` … of `from` in these columns.
///
/// # Errors
/// The device refused.
///
/// # Panics
/// When the sizes do not fit one another.
pub fn fold<T: Float>(
    device: &Device,
    from: View<T>,
    out_of: Columns,
    times: usize,
    to: ViewMut<T>,
) -> Result<(), Error> {
    let op = "linear::fold";
    let given = out_of.rows(op, from.len());
    assert!(
        to.len() * times == given * out_of.width,
        "{op}: {} values from {given} rows of {out_of:?}, {times} each",
        to.len()
    );
    let args = [
        from.into(),
        Arg::from(&to),
        Arg::U64(to.len() as u64),
        out_of.width.into(),
        times.into(),
        out_of.stride.into(),
        out_of.at.into(),
    ];
    device.launch(op, &SOURCE, &format!("fold_{}", T::SUFFIX), Grid::each(to.len()), &args)
}

fn rows(op: &str, len: usize, width: usize) -> usize {
    assert!(width > 0 && len.is_multiple_of(width), "{op}: {len} values in rows of {width}");
    len / width
}

fn fits(op: &str, fit: bool, sizes: [usize; 3], lens: [usize; 3]) {
    assert!(fit, "{op}: operands and result of {lens:?} values for [M, N, K] = {sizes:?}");
}

#[cfg(test)]
mod tests {
    use crate::Precision;
    use crate::cuda::testing::{each_device, narrow, near, on, values, widen};
    use crate::linear::{self, Weight};

    const SHAPES: [(usize, usize, usize); 4] = [(1, 1, 1), (3, 5, 7), (17, 33, 64), (70, 8, 130)];

    #[test]
    fn products_are_the_cpu_s() {
        each_device(|device| {
            for (m, n, k) in SHAPES {
                let (x, w, b) = (values(1, m * k, 1.0), values(2, n * k, 1.0), values(3, n, 1.0));
                let (x, w) = (widen(&narrow(&x)), widen(&narrow(&w)));
                let dy = widen(&narrow(&values(4, m * n, 1.0)));
                let weight = Weight::pack(&w, n, k, Precision::F32, true);
                let mut y = vec![0.0; m * n];
                linear::forward(&x, &weight, Some(&b), &mut y);
                let mut dx = values(5, m * k, 1.0);
                let mut dw = values(6, n * k, 1.0);
                let mut db = values(7, n, 1.0);
                let (before, b0) = ((on(device, &dx), on(device, &dw), on(device, &db)), db.clone());
                linear::backward_input(&dy, &weight, &mut dx, true);
                linear::backward_weight(&dy, &x, n, k, Precision::F32, &mut dw);
                linear::backward_bias(&dy, &mut db);
                let (mut gx, mut gw, mut gb) = before;
                let bias = on(device, &b);
                macro_rules! check {
                    ($x:expr, $w:expr, $dy:expr, $add:literal) => {
                        let (x, w, dy) = ($x, $w, $dy);
                        let mut out = on(device, &vec![9f32; m * n]);
                        super::forward(device, x.all(), w.all(), n, k, Some(bias.all()), out.all_mut())
                            .unwrap();
                        near("y", &out.download("test").unwrap(), &y, 1e-6);
                        let mut half = on(device, &vec![9u16; m * n]);
                        super::forward(device, x.all(), w.all(), n, k, Some(bias.all()), half.all_mut())
                            .unwrap();
                        near("y in bf16", &widen(&half.download("test").unwrap()), &y, 8e-3);
                        super::backward_input(device, dy.all(), w.all(), n, k, gx.all_mut(), $add).unwrap();
                        let mut sums = on(device, &b0);
                        super::backward_bias(device, dy.all(), sums.all_mut()).unwrap();
                        near("db alone", &sums.download("test").unwrap(), &db, 1e-6);
                        if $add {
                            super::backward_weight(device, dy.all(), x.all(), n, k, gw.all_mut()).unwrap();
                            super::backward_bias(device, dy.all(), gb.all_mut()).unwrap();
                            near("dx", &gx.download("test").unwrap(), &dx, 1e-6);
                            near("dw", &gw.download("test").unwrap(), &dw, 1e-6);
                            near("db", &gb.download("test").unwrap(), &db, 1e-6);
                        }
                    };
                }
                check!(on(device, &x), on(device, &w), on(device, &dy), true);
                check!(on(device, &narrow(&x)), on(device, &narrow(&w)), on(device, &narrow(&dy)), false);
                let mut alone = vec![0.0; m * k];
                linear::backward_input(&dy, &weight, &mut alone, false);
                near("dx from bf16", &gx.download("test").unwrap(), &alone, 1e-6);
            }
        });
    }

    #[test]
    fn columns_are_copied_and_folded() {
        use super::Columns;
        each_device(|device| {
            for (rows, times, stride, at, width) in [(1, 1, 1, 0, 1), (5, 3, 7, 2, 4), (70, 8, 33, 1, 32)] {
                let (from, before) = (values(1, rows * stride, 1.0), values(2, rows * times * 40, 1.0));
                let (out_of, into) = (Columns { stride, at, width }, Columns { stride: 40, at: 3, width });
                let mut want = before.clone();
                for (row, to) in want.chunks_exact_mut(40).enumerate() {
                    let own = &from[row / times * stride + at..][..width];
                    to[3..3 + width].copy_from_slice(own);
                }
                let mut to = on(device, &before);
                super::columns(device, on(device, &from).all(), out_of, times, to.all_mut(), into).unwrap();
                assert_eq!(to.download("test").unwrap(), want);
                let mut half = on(device, &narrow(&before));
                let from = on(device, &narrow(&from));
                super::columns(device, from.all(), out_of, times, half.all_mut(), into).unwrap();
                assert_eq!(half.download("test").unwrap(), narrow(&want));

                let mut sums = vec![0f32; rows * width];
                for (i, row) in want.chunks_exact(40).enumerate() {
                    let sum = &mut sums[i / times * width..][..width];
                    sum.iter_mut().zip(&row[3..]).for_each(|(sum, x)| *sum += x);
                }
                let mut folded = on(device, &vec![9f32; rows * width]);
                super::fold(device, to.all(), into, times, folded.all_mut()).unwrap();
                assert_eq!(folded.download("test").unwrap(), sums);
                let mut folded = on(device, &vec![9u16; rows * width]);
                super::fold(device, half.all(), into, times, folded.all_mut()).unwrap();
                near("fold in bf16", &widen(&folded.download("test").unwrap()), &sums, 1e-2);
            }
        });
    }

    #[test]
    fn conversion_and_sum() {
        each_device(|device| {
            for n in [1, 4, 6, 1023] {
                let x = values(1, n, 1.0);
                let (from, mut half, mut back) = (on(device, &x), on(device, &vec![0u16; n]), on(device, &x));
                super::convert(device, from.all(), half.all_mut()).unwrap();
                assert_eq!(half.download("test").unwrap(), narrow(&x));
                super::convert(device, half.all(), back.all_mut()).unwrap();
                assert_eq!(back.download("test").unwrap(), widen(&narrow(&x)));
                let (mut same, mut half_again) = (on(device, &vec![7f32; n]), on(device, &vec![7u16; n]));
                super::convert(device, from.all(), same.all_mut()).unwrap();
                super::convert(device, half.all(), half_again.all_mut()).unwrap();
                assert_eq!(same.download("test").unwrap(), x);
                assert_eq!(half_again.download("test").unwrap(), narrow(&x));
                super::add(device, back.all_mut(), half.all()).unwrap();
                super::add(device, back.all_mut(), from.all()).unwrap();
                let sum: Vec<f32> = widen(&narrow(&x)).iter().zip(&x).map(|(h, x)| h + h + x).collect();
                assert_eq!(back.download("test").unwrap(), sum);
            }
        });
    }
}
