//! Decoding on a device: queries against the paged cache.

use super::rows::{PAIRS, TENSOR_CHUNK, pairs};
use super::{Cache, QUERIES, Rows, SOURCE, TENSOR_SIZES, THREADS, TILE, fits, tensor_forward_bytes};
use crate::attention::{PAGE, Shape};
use crate::cuda::{Arg, Buffer, Device, Error, Float, Grid, View, ViewMut};

/// Positions of one chunk in plain tiles.
const CHUNK: usize = 8 * PAGE;

/// What a launch knows of its rows.
struct Part<'a> {
    tables: View<'a, u32>,
    width: usize,
    lens: View<'a, u32>,
    longest: usize,
    items: View<'a, i32>,
    whole: bool,
}

/// Queries against the cache: q `[B, heads·dk]`, out `[B, heads·dv]`, row b seeing what `rows` says, its own key and value (already written)
/// included. On tensor cores where they serve, pages that neighbours have in common being read once for up to 16 pairs of row and head.
/// No row's bits depend on another row, but for whether most rows are prompts'; in a batch-invariant device, and for those, they are the
/// bits of the same row in [`super::forward`].
///
/// # Errors
/// The device refused.
///
/// # Panics
/// When the sizes do not fit one another.
pub fn decode_rows<T: Float>(
    device: &Device,
    q: View<T>,
    cache: &Cache<T>,
    rows: &Rows,
    mut out: ViewMut<T>,
) -> Result<(), Error> {
    let (op, s) = ("attention::decode", cache.s);
    let count = rows.lens.len();
    assert!(
        q.len() == count * s.heads * s.dk && out.len() == count * s.heads * s.dv,
        "{op}: q {}, out {} values for {count} rows of {s:?}",
        q.len(),
        out.len()
    );
    for run in &rows.runs {
        let own = |width: usize| run.rows.start * width..run.rows.end * width;
        let part = Part {
            tables: rows.tables.part(own(rows.width)),
            width: rows.width,
            lens: rows.lens.part(own(1)),
            longest: run.longest,
            items: rows.items.part(4 * run.items.start..4 * run.items.end),
            whole: rows.whole,
        };
        decode_run(device, q.part(own(s.heads * s.dk)), cache, &part, out.part_mut(own(s.heads * s.dv)))?;
    }
    Ok(())
}

fn decode_run<T: Float>(
    device: &Device,
    q: View<T>,
    cache: &Cache<T>,
    rows: &Part,
    out: ViewMut<T>,
) -> Result<(), Error> {
    let (op, s, count) = ("attention::decode", cache.s, rows.lens.len());
    let aligned = q.address().is_multiple_of(16);
    if !(T::HALF
        && aligned
        && TENSOR_SIZES.contains(&(s.dk, s.dv))
        && s.heads / s.kv_heads <= pairs(rows.whole))
    {
        return plain(device, q, cache, rows, out);
    }
    let grid = |shared| Grid::plane(rows.items.len() / 4, s.kv_heads, THREADS).shared(shared);
    let args = |to: Arg| {
        vec![
            q.into(),
            Arg::from(&cache.k),
            Arg::from(&cache.v),
            rows.tables.into(),
            rows.width.into(),
            rows.lens.into(),
            rows.items.into(),
            to,
            s.heads.into(),
            s.kv_heads.into(),
            s.scale.into(),
        ]
    };
    if rows.whole {
        let kernel = format!("tensor_decode_whole_{}_{}", s.dk, s.dv);
        return device.launch(op, &SOURCE, &kernel, grid(tensor_forward_bytes(s)), &args(Arg::from(&out)));
    }
    let chunks = rows.longest.div_ceil(TENSOR_CHUNK);
    let part: Buffer<f32> = Buffer::uninit(device, op, count * s.heads * chunks * (s.dv + 2))?;
    let mut args = args(Arg::from(&part));
    args.push(chunks.into());
    // What the warps leave at the end, in the room of keys and values, is never more than they take.
    let shared = 2 * (PAIRS * (s.dk + 8) + TENSOR_CHUNK * (s.dk + 8 + s.dv + 8));
    device.launch(op, &SOURCE, &format!("tensor_decode_{}_{}", s.dk, s.dv), grid(shared), &args)?;
    gather(device, op, &part, rows.lens, out, s, chunks, TENSOR_CHUNK)
}

/// The plain tiles, for all heads that tensor cores do not serve.
fn plain<T: Float>(
    device: &Device,
    q: View<T>,
    cache: &Cache<T>,
    rows: &Part,
    out: ViewMut<T>,
) -> Result<(), Error> {
    let (op, s, count, lens) = ("attention::decode", cache.s, rows.lens.len(), rows.lens);
    fits(op, s);
    // All positions are one chunk where they are in packed attention.
    let chunk = if rows.whole { rows.longest.max(1) } else { CHUNK };
    let chunks = rows.longest.div_ceil(chunk);
    let part: Buffer<f32> = Buffer::uninit(device, op, count * s.heads * chunks * (s.dv + 2))?;
    let args = [
        q.into(),
        Arg::from(&cache.k),
        Arg::from(&cache.v),
        rows.tables.into(),
        rows.width.into(),
        lens.into(),
        Arg::from(&part),
        s.heads.into(),
        s.kv_heads.into(),
        s.dk.into(),
        s.dv.into(),
        s.scale.into(),
        chunk.into(),
    ];
    let shared = 4 * (QUERIES * s.dk + TILE * (s.dk + 1) + TILE * (s.dv + 1));
    let mut grid = Grid::plane(count * s.kv_heads, chunks, THREADS).shared(shared);
    grid.blocks[2] = (s.heads / s.kv_heads).div_ceil(QUERIES) as u32;
    device.launch(op, &SOURCE, &format!("attention_decode_{}", T::SUFFIX), grid, &args)?;
    gather(device, op, &part, lens, out, s, chunks, chunk)
}

/// The chunks' results into one.
fn gather<T: Float>(
    device: &Device,
    op: &'static str,
    part: &Buffer<f32>,
    lens: View<u32>,
    out: ViewMut<T>,
    s: Shape,
    chunks: usize,
    chunk: usize,
) -> Result<(), Error> {
    let rows = lens.len() * s.heads;
    let args = [
        Arg::from(part),
        lens.into(),
        Arg::from(&out),
        rows.into(),
        s.heads.into(),
        s.dv.into(),
        chunks.into(),
        chunk.into(),
    ];
    device.launch(op, &SOURCE, &format!("attention_gather_{}", T::SUFFIX), Grid::each(rows * 32), &args)
}
