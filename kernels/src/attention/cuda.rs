//! Attention on a device, over the same segments as on the host.
//!
//! Heads of up to 256 values. A row's result depends on nothing but what it sees, in the forward pass, in decoding and in dq; dk and dv
//! take their terms by (segment, head, token) ascending.

use super::{Segment, Shape};
use crate::cuda::{Arg, Buffer, Device, Error, Float, Grid, Source, View, ViewMut};

mod cache;
mod decode;
mod inputs;
mod latent;
mod plan;
mod rows;

pub use cache::Cache;
pub use decode::decode_rows;
pub use latent::LatentCache;
pub use plan::Plan;
pub use rows::{Room, Rows};

pub(crate) const SOURCE: Source = Source {
    name: "attention",
    text: concat!(
        include_str!("cuda.cu"),
        include_str!("inputs.cu"),
        include_str!("tensor.cu"),
        include_str!("tensor_decode.cu")
    ),
};

/// Values that a head may have here.
pub const WIDEST: usize = 256;

/// Query rows of a tile, positions of a tile, threads of a tile: as in cuda.cu.
const QUERIES: usize = 16;
const TILE: usize = 32;
const THREADS: u32 = 128;

/// Query rows, and key rows, of a block on tensor cores, and queries of a tile there: as in tensor.cu.
const TENSOR: usize = 64;
const TENSOR_TILE: usize = 32;

/// Sizes (dk, dv) of heads that tensor cores serve.
const TENSOR_SIZES: [(usize, usize); 3] = [(64, 64), (128, 128), (192, 128)];

/// out and lse for all query rows of all segments: as [`super::forward`].
///
/// # Errors
/// The device refused.
///
/// # Panics
/// When the sizes do not fit one another or a segment names rows that do not exist.
pub fn forward<T: Float>(
    device: &Device,
    q: View<T>,
    k: View<T>,
    v: View<T>,
    plan: &Plan,
    s: Shape,
    out: ViewMut<T>,
    lse: ViewMut<f32>,
) -> Result<(), Error> {
    let op = "attention::forward";
    check(op, q, k, v, plan, s, out.view(), lse.view());
    let (half, cut) = path([q, k, v, out.view()], plan, s);
    let mut args = vec![
        q.into(),
        k.into(),
        v.into(),
        Arg::from(&plan.segments),
        Arg::from(&cut.tiles),
        Arg::from(&plan.paths),
        Arg::from(&out),
        Arg::from(&lse),
    ];
    args.extend(sizes(s, half));
    let (kernel, shared) = if half {
        (format!("tensor_forward_{}_{}", s.dk, s.dv), tensor_forward_bytes(s))
    } else {
        let values = QUERIES * s.dk + TILE * (s.dk + 1) + TILE * (s.dv + 1);
        (format!("attention_forward_{}", T::SUFFIX), 4 * values)
    };
    let grid = Grid::plane(cut.tile_count(), s.heads, THREADS).shared(shared);
    device.launch(op, &SOURCE, &kernel, grid, &args)
}

/// dq, dk, dv (overwritten) from dout; `out` and `lse` are what forward gave.
///
/// # Errors
/// The device refused.
///
/// # Panics
/// When the sizes do not fit one another or a segment names rows that do not exist.
pub fn backward<T: Float>(
    device: &Device,
    q: View<T>,
    k: View<T>,
    v: View<T>,
    out: View<T>,
    lse: View<f32>,
    dout: View<T>,
    plan: &Plan,
    s: Shape,
    mut dq: ViewMut<T>,
    mut dk: ViewMut<T>,
    mut dv: ViewMut<T>,
) -> Result<(), Error> {
    let op = "attention::backward";
    check(op, q, k, v, plan, s, out, lse);
    assert!(
        dout.len() == out.len() && dq.len() == q.len() && dk.len() == k.len() && dv.len() == v.len(),
        "{op}: dout {} dq {} dk {} dv {} values",
        dout.len(),
        dq.len(),
        dk.len(),
        dv.len()
    );
    if plan.queries < lse.len() / s.heads {
        dq.clear(op)?;
    }
    if plan.keys < k.len() / (s.kv_heads * s.dk) {
        dk.clear(op)?;
        dv.clear(op)?;
    }
    let dots: Buffer<f32> = Buffer::uninit(device, op, lse.len())?;
    let args = [out.into(), dout.into(), Arg::from(&dots), lse.len().into(), s.dv.into()];
    let kernel = format!("attention_dots_{}", T::SUFFIX);
    device.launch(op, &SOURCE, &kernel, Grid::each(lse.len() * 32), &args)?;
    let (half, cut) = path([q, k, v, dout, dq.view(), dk.view(), dv.view()], plan, s);
    let inputs =
        [q.into(), k.into(), v.into(), lse.into(), Arg::from(&dots), dout.into(), Arg::from(&plan.segments)];
    let of_q = [Arg::from(&cut.tiles), Arg::from(&plan.paths), Arg::from(&dq)];
    let of_kv = [Arg::from(&cut.runs), Arg::from(&cut.visits), Arg::from(&dk), Arg::from(&dv)];
    let (end, shared_q, shared_kv, threads) = if half {
        let (wide_k, wide_v) = (s.dk + 8, s.dv + 8);
        let of_q = 3 * TENSOR * (wide_k + wide_v);
        let of_kv = (TENSOR + 2 * TENSOR_TILE) * (wide_k + wide_v);
        (format!("{}_{}", s.dk, s.dv), 2 * of_q, 2 * of_kv + 4 * 4 * TENSOR_TILE, THREADS)
    } else {
        let of_q = QUERIES * (s.dk + s.dv) + TILE * (s.dk + s.dv + 2);
        let of_kv = TILE * (2 * s.dk + 2 * s.dv + 2);
        (T::SUFFIX.to_string(), 4 * of_q, 4 * of_kv, 256)
    };
    let name = if half { "tensor" } else { "attention" };
    let grid = Grid::plane(cut.tile_count(), s.heads, THREADS).shared(shared_q);
    let args = [&inputs[..], &of_q, &sizes(s, half)].concat();
    device.launch(op, &SOURCE, &format!("{name}_backward_q_{end}"), grid, &args)?;
    let grid = Grid::plane(cut.run_count(), s.kv_heads, threads).shared(shared_kv);
    let args = [&inputs[..], &of_kv, &sizes(s, half)].concat();
    device.launch(op, &SOURCE, &format!("{name}_backward_kv_{end}"), grid, &args)
}

/// Shared memory of a block that walks over positions on tensor cores: its queries, and two tiles of keys and values.
fn tensor_forward_bytes(s: Shape) -> usize {
    2 * ((TENSOR + 2 * TENSOR) * (s.dk + 8) + 2 * TENSOR * (s.dv + 8))
}

/// Whether tensor cores serve these heads, and the plan's cut for them or for the plain kernels.
fn path<'p, T: Float, const N: usize>(
    views: [View<T>; N],
    plan: &'p Plan,
    s: Shape,
) -> (bool, &'p plan::Cut) {
    let aligned = views.iter().all(|v| v.address().is_multiple_of(16));
    let half = T::HALF && aligned && TENSOR_SIZES.contains(&(s.dk, s.dv));
    (half, if half { &plan.tensor } else { &plan.plain })
}

/// The last arguments of a kernel; those on tensor cores know dk and dv.
fn sizes(s: Shape, half: bool) -> Vec<Arg> {
    let mut args = vec![s.heads.into(), s.kv_heads.into()];
    if !half {
        args.extend([Arg::from(s.dk), Arg::from(s.dv)]);
    }
    args.push(s.scale.into());
    args
}

fn fits(op: &str, s: Shape) {
    s.check(op);
    assert!(
        s.dk <= WIDEST && s.dv <= WIDEST,
        "{op}: heads of {} and {} values, {WIDEST} at most on a device",
        s.dk,
        s.dv
    );
}

fn check<T: Float>(
    op: &str,
    q: View<T>,
    k: View<T>,
    v: View<T>,
    plan: &Plan,
    s: Shape,
    out: View<T>,
    lse: View<f32>,
) {
    fits(op, s);
    let (rows, stored) = (lse.len() / s.heads, k.len() / (s.kv_heads * s.dk));
    assert!(
        lse.len() == rows * s.heads
            && q.len() == rows * s.heads * s.dk
            && out.len() == rows * s.heads * s.dv
            && k.len() == stored * s.kv_heads * s.dk
            && v.len() == stored * s.kv_heads * s.dv,
        "{op}: q {} k {} v {} out {} lse {} values for {s:?}",
        q.len(),
        k.len(),
        v.len(),
        out.len(),
        lse.len()
    );
    assert!(
        plan.last_query <= rows && plan.keys <= stored,
        "{op}: segments of {} query and {} key rows, there are {rows} and {stored}",
        plan.last_query,
        plan.keys
    );
}

#[cfg(test)]
mod tests;
