//! Our own products on a device (`tiles.cu`): in one order whatever the number of rows, and grouped, each run of rows with a matrix of
//! its own. bf16 operands meet on tensor cores with sums in f32, f32 operands in plain f32.

use super::{SOURCE, fits, operand, rows};
use crate::cuda::{Arg, Buffer, Device, Error, Float, Grid, Operand, Product, View, ViewMut};

/// Rows of a tile, as in tiles.cu: of many rows, of few, of f32 operands. A large one has as many columns, the others [`NARROW`].
const LARGE: usize = 128;
const SMALL: usize = 32;
const NARROW: usize = 64;

/// What tiles.cu is told of the operands.
const WIDE: usize = 1;
const PAIRS: usize = 2;
const ADD: usize = 4;

/// Bytes of shared memory: four steps of 32 of both operands, rows 16 bytes longer than their values.
const LARGE_SHARED: usize = 4 * 2 * LARGE * 40 * 2;
const SMALL_SHARED: usize = 4 * (SMALL + NARROW) * 40 * 2;

/// Runs of rows, each for a matrix of its own.
#[derive(Clone, Copy)]
pub struct Groups<'a> {
    /// On the device: the first row of each group and the end, `[G + 1]`; then the number of tiles of 32 rows before each group and in
    /// all, `[G + 1]`; then of tiles of 128 rows.
    pub starts: View<'a, u32>,
    /// How many groups.
    pub count: usize,
}

/// The addresses of matrices, for products that are grouped. They mean what they mean as long as the buffers are there.
///
/// # Errors
/// The device refused.
pub fn addresses<'a, T: Float>(
    device: &Device,
    matrices: impl Iterator<Item = View<'a, T>>,
) -> Result<Buffer<u64>, Error> {
    Buffer::of(device, "linear::addresses", &matrices.map(|m| m.address()).collect::<Vec<_>>())
}

/// A table of addresses instead of one matrix, as arguments: the addresses, the groups' starts, how many.
struct Table {
    addresses: Arg,
    starts: Arg,
    count: usize,
}

impl Table {
    fn of(op: &str, groups: Groups, addresses: View<u64>) -> Table {
        let (count, starts) = (groups.count, groups.starts.len());
        assert!(
            count > 0 && count <= 65_535 && starts == 3 * (count + 1) && addresses.len() == count,
            "{op}: {starts} starts and {} addresses for {count} groups",
            addresses.len()
        );
        Table { addresses: addresses.into(), starts: groups.starts.into(), count }
    }
}

/// Where the table's matrices are, for the operand that they stand for.
fn somewhere(half: bool, stride: usize, transposed: bool) -> Operand {
    Operand { at: 0, half, stride, transposed }
}

/// `y_g = x_g · W_gᵀ` for the rows of every group: x `[M, K]`, W `[N, K]` each, y `[M, N]`; `weights` are the addresses of values of
/// x's type.
///
/// # Errors
/// The device refused.
///
/// # Panics
/// When the lengths do not fit.
pub fn grouped_forward<X: Float, Y: Float>(
    device: &Device,
    x: View<X>,
    weights: View<u64>,
    n: usize,
    k: usize,
    groups: Groups,
    y: ViewMut<Y>,
) -> Result<(), Error> {
    let op = "linear::grouped_forward";
    let m = rows(op, x.len(), k);
    fits(op, y.len() == m * n, [m, n, k], [x.len(), n * k, y.len()]);
    let (a, b, c) = (operand(x, k, false), somewhere(X::HALF, k, true), operand(y.view(), n, false));
    over_rows(device, op, &Product { m, n, k, a, b, c, add: false }, Some(Table::of(op, groups, weights)))
}

/// `dx_g = dy_g · W_g`: dy `[M, N]`, W `[N, K]` each, dx `[M, K]`.
///
/// # Errors
/// The device refused.
///
/// # Panics
/// When the lengths do not fit.
pub fn grouped_backward_input<D: Float, Y: Float>(
    device: &Device,
    dy: View<D>,
    weights: View<u64>,
    n: usize,
    k: usize,
    groups: Groups,
    dx: ViewMut<Y>,
) -> Result<(), Error> {
    let op = "linear::grouped_backward_input";
    let m = rows(op, dy.len(), n);
    fits(op, dx.len() == m * k, [m, n, k], [dy.len(), n * k, dx.len()]);
    let (a, b, c) = (operand(dy, n, false), somewhere(D::HALF, k, false), operand(dx.view(), k, false));
    let p = Product { m, n: k, k: n, a, b, c, add: false };
    over_rows(device, op, &p, Some(Table::of(op, groups, weights)))
}

/// `dW_g += dy_gᵀ · x_g`: dy `[M, N]`, x `[M, K]`, dW `[N, K]` f32 each, at the addresses `gradients`.
///
/// # Errors
/// The device refused.
///
/// # Panics
/// When the lengths do not fit.
pub fn grouped_backward_weight<D: Float>(
    device: &Device,
    dy: View<D>,
    x: View<D>,
    n: usize,
    k: usize,
    groups: Groups,
    gradients: View<u64>,
) -> Result<(), Error> {
    let op = "linear::grouped_backward_weight";
    let m = rows(op, dy.len(), n);
    fits(op, x.len() == m * k, [m, n, k], [dy.len(), x.len(), n * k]);
    let (a, b, c) = (operand(dy, n, true), operand(x, k, false), somewhere(false, k, false));
    let p = Product { m: n, n: k, k: m, a, b, c, add: true };
    over_weight(device, op, &p, Some(Table::of(op, groups, gradients)))
}

/// Any product that a linear layer has, in the one order.
pub(crate) fn product(device: &Device, op: &'static str, p: &Product) -> Result<(), Error> {
    match (p.a.transposed, p.b.transposed) {
        (false, _) => over_rows(device, op, p, None),
        (true, false) if !p.c.half => over_weight(device, op, p, None),
        _ => unreachable!("{op}: no layer has this product: {p:?}"),
    }
}

fn at(o: &Operand) -> Arg {
    Arg::At(o.at, if o.half { "bf16" } else { "float" })
}

/// `flags` of tiles.cu: `across` are the values of each operand that lie side by side.
fn flags(p: &Product, across: [usize; 2]) -> usize {
    let eights = |n: usize| n.is_multiple_of(8);
    let wide = [&p.a, &p.b].iter().all(|o| eights(o.stride) && o.at.is_multiple_of(16));
    let pairs = p.c.stride.is_multiple_of(2) && p.c.at.is_multiple_of(if p.c.half { 4 } else { 8 });
    usize::from(wide && across.into_iter().all(eights)) * WIDE
        + usize::from(pairs) * PAIRS
        + usize::from(p.add) * ADD
}

/// Products whose rows are a batch's: forward and input gradient.
fn over_rows(device: &Device, op: &'static str, p: &Product, table: Option<Table>) -> Result<(), Error> {
    let (m, n) = (p.m, p.n);
    if p.is_empty() {
        return Ok(());
    }
    let (name, across) = if p.b.transposed { ("forward", p.k) } else { ("input", n) };
    let (addresses, starts, groups) = match table {
        Some(t) => (t.addresses, t.starts, t.count),
        None => (Arg::none::<u64>(), Arg::none::<u32>(), 0),
    };
    let (full, half) = (Operand { at: if p.c.half { 0 } else { p.c.at }, half: false, ..p.c }, p.c);
    let half = Operand { at: if p.c.half { p.c.at } else { 0 }, half: true, ..half };
    let mut args = vec![at(&p.a), at(&p.b), addresses, at(&full), at(&half), starts, groups.into()];
    let sizes = [m, n, p.k, p.a.stride, p.b.stride, p.c.stride, flags(p, [p.k, across])];
    // Of each group's tiles one at most is not full, and a group without rows has none.
    let tall = |size: usize| m.div_ceil(size) + groups.saturating_sub(1).min(m);
    if !p.a.half {
        let tall = if groups > 0 { tall(SMALL) } else { m.div_ceil(NARROW) };
        args.extend(sizes.map(Arg::from));
        let grid = Grid::of(tall * n.div_ceil(NARROW), 256);
        return device.launch(op, &SOURCE, &format!("tiles_{name}_f32"), grid, &args);
    }
    // Large tiles read less; small ones where large ones were mostly empty or too few for the card. The bits are the same.
    let most = m / groups.max(1) >= LARGE / 2 && tall(LARGE) * n.div_ceil(LARGE) >= device.processors();
    let (kernel, tall, grid) = if most {
        ("large", tall(LARGE), Grid::of(tall(LARGE) * n.div_ceil(LARGE), 256).shared(LARGE_SHARED))
    } else {
        ("small", tall(SMALL), Grid::of(tall(SMALL) * n.div_ceil(NARROW), 128).shared(SMALL_SHARED))
    };
    args.push(tall.into());
    args.extend(sizes.map(Arg::from));
    device.launch(op, &SOURCE, &format!("tiles_{name}_{kernel}"), grid, &args)
}

/// Products over a batch's rows: weight gradients.
fn over_weight(device: &Device, op: &'static str, p: &Product, table: Option<Table>) -> Result<(), Error> {
    if p.is_empty() || p.k == 0 {
        assert!(p.add, "{op}: nothing to add and nothing there");
        return Ok(());
    }
    let (addresses, starts, groups) = match table {
        Some(t) => (t.addresses, t.starts, t.count),
        None => (Arg::none::<u64>(), Arg::none::<u32>(), 1),
    };
    let (side, kernel) = if p.a.half { (LARGE, "tiles_weight") } else { (NARROW, "tiles_weight_f32") };
    let grid = Grid::plane(p.m.div_ceil(side) * p.n.div_ceil(side), groups, 256);
    let grid = if p.a.half { grid.shared(LARGE_SHARED) } else { grid };
    let mut args = vec![at(&p.a), at(&p.b), at(&p.c), addresses, starts];
    let sizes = [p.k, p.m, p.n, p.a.stride, p.b.stride, p.c.stride, flags(p, [p.m, p.n])];
    args.extend(sizes.map(Arg::from));
    device.launch(op, &SOURCE, kernel, grid, &args)
}

#[cfg(test)]
mod tests;
