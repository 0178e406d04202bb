//! Decoding on a device: the paged cache, and queries against it.

use std::ops::Range;

use super::{QUERIES, SOURCE, TENSOR, TENSOR_SIZES, THREADS, TILE, fits, tensor_forward_bytes};
use crate::attention::{PAGE, Shape};
use crate::cuda::{Arg, Buffer, Device, Error, Float, Grid, View, ViewMut};

/// Positions of one chunk of decoding.
const CHUNK: usize = 8 * PAGE;

/// Positions of one chunk on tensor cores, and pairs of a row and a head that a block takes: as in tensor.cu.
const TENSOR_CHUNK: usize = 4 * PAGE;
const PAIRS: usize = 16;

/// Values that the chunks of a launch may leave for [`gather`]: 256 MiB. A step's rows are cut into as many launches as that takes, so that
/// some thousand rows of prompts beside one long sequence need no memory for as many long sequences.
#[cfg(not(test))]
const MOST_PARTS: usize = 1 << 26;
#[cfg(test)]
const MOST_PARTS: usize = 1 << 13;

/// Keys and values of one layer in pages of [`PAGE`] positions, `[page][slot][kv_head][values]`; a page may belong to several sequences.
pub struct Cache<T: Float> {
    pub(super) s: Shape,
    pages: usize,
    pub(super) k: Buffer<T>,
    pub(super) v: Buffer<T>,
}

impl<T: Float> Cache<T> {
    /// `pages` pages, with whatever is in them.
    ///
    /// # Errors
    /// Out of memory.
    pub fn with_pages(device: &Device, pages: usize, s: Shape) -> Result<Cache<T>, Error> {
        let rows = pages * PAGE * s.kv_heads;
        let op = "the cache of keys and values";
        Ok(Cache {
            s,
            pages,
            k: Buffer::uninit(device, op, rows * s.dk)?,
            v: Buffer::uninit(device, op, rows * s.dv)?,
        })
    }

    /// Bytes of one page.
    pub fn page_bytes(s: Shape) -> usize {
        PAGE * s.kv_heads * (s.dk + s.dv) * size_of::<T>()
    }

    /// How many pages there are.
    pub fn pages(&self) -> usize {
        self.pages
    }

    /// The sizes it was made for.
    pub fn shape(&self) -> Shape {
        self.s
    }

    /// Stores a row of k `[rows, kv_heads · dk]` and v `[rows, kv_heads · dv]` at each place, page · [`PAGE`] + slot. The places are not
    /// checked.
    ///
    /// # Errors
    /// The device refused.
    ///
    /// # Panics
    /// When the sizes do not fit.
    pub fn write_rows(&mut self, places: View<u32>, k: View<T>, v: View<T>) -> Result<(), Error> {
        let (op, s) = ("attention::Cache::write_rows", self.s);
        let (wide_k, wide_v) = (s.kv_heads * s.dk, s.kv_heads * s.dv);
        assert!(
            k.len() == places.len() * wide_k && v.len() == places.len() * wide_v,
            "{op}: k {} v {} values for {} rows of {s:?}",
            k.len(),
            v.len(),
            places.len()
        );
        let kernel = format!("cache_put_{}", T::SUFFIX);
        for (from, to, width) in [(k, &self.k, wide_k), (v, &self.v, wide_v)] {
            let args = [from.into(), places.into(), Arg::from(to), width.into()];
            let threads = width.next_multiple_of(32).min(256) as u32;
            self.k.device().launch(op, &SOURCE, &kernel, Grid::of(places.len(), threads), &args)?;
        }
        Ok(())
    }

    /// Copies the first `slots` positions of a page into another.
    ///
    /// # Errors
    /// The device refused.
    ///
    /// # Panics
    /// When a page does not exist or `slots` exceeds [`PAGE`].
    pub fn copy_page(&mut self, from: u32, to: u32, slots: usize) -> Result<(), Error> {
        let op = "attention::Cache::copy_page";
        assert!(
            from.max(to) < self.pages as u32 && slots <= PAGE,
            "{op}: {slots} slots of page {from} to {to}"
        );
        if from == to || slots == 0 {
            return Ok(());
        }
        let s = self.s;
        for (buffer, width) in [(&self.k, s.kv_heads * s.dk), (&self.v, s.kv_heads * s.dv)] {
            let place = |page: u32| {
                let start = page as usize * PAGE * width;
                buffer.part(start..start + slots * width).address()
            };
            buffer.device().copy(op, place(from), place(to), slots * width * size_of::<T>())?;
        }
        Ok(())
    }

    /// Zeros a page.
    ///
    /// # Errors
    /// The device refused.
    ///
    /// # Panics
    /// When there is no such page.
    pub fn clear_page(&mut self, page: u32) -> Result<(), Error> {
        let (op, s, first) = ("attention::Cache::clear_page", self.s, page as usize * PAGE);
        for (buffer, width) in [(&mut self.k, s.kv_heads * s.dk), (&mut self.v, s.kv_heads * s.dv)] {
            buffer.part_mut(first * width..(first + PAGE) * width).clear(op)?;
        }
        Ok(())
    }

    /// Bytes that the pages take.
    pub fn bytes(&self) -> usize {
        (self.k.len() + self.v.len()) * size_of::<T>()
    }
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
    // In a batch-invariant device all positions are one chunk, as in packed attention.
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

/// Rows that a step may have, and pages that each may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Room {
    /// most rows
    pub rows: usize,
    /// most pages of a row
    pub pages: usize,
}

impl Room {
    /// Chunks that a row may have on tensor cores.
    fn chunks(self, whole: bool) -> usize {
        if whole { 1 } else { (self.pages * PAGE).div_ceil(TENSOR_CHUNK) }
    }

    /// The launches of a step that this bounds, each with room for the most items that it may have.
    fn runs(self, s: Shape, whole: bool) -> Vec<Run> {
        let (chunks, longest) = (self.chunks(whole), self.pages * PAGE);
        let most = (MOST_PARTS / (chunks * row_parts(s)).max(1)).max(1);
        let run = |start: usize| {
            let rows = start..self.rows.min(start + most);
            Run { items: rows.start * chunks..rows.end * chunks, rows, longest }
        };
        (0..self.rows).step_by(most).map(run).collect()
    }
}

/// Values that a chunk of a row leaves.
fn row_parts(s: Shape) -> usize {
    s.heads * (s.dv + 2)
}

/// Rows of a step that one launch takes.
#[derive(Clone, Debug, PartialEq)]
struct Run {
    rows: Range<usize>,
    items: Range<usize>,
    /// Most positions that one of them sees.
    longest: usize,
}

/// The launches of rows that are known: as many neighbours as their chunks' room allows, and their items.
fn runs(tables: &[&[u32]], lens: &[usize], s: Shape, whole: bool) -> (Vec<Run>, Vec<i32>) {
    let (mut runs, mut all, mut start) = (Vec::new(), Vec::new(), 0);
    while start < lens.len() {
        let (mut end, mut longest) = (start, 0);
        while end < lens.len() {
            let most = lens[end].max(longest);
            let chunks = if whole { 1 } else { most.div_ceil(TENSOR_CHUNK) };
            if end > start && (end + 1 - start) * chunks * row_parts(s) > MOST_PARTS {
                break;
            }
            (end, longest) = (end + 1, most);
        }
        let first = all.len() / 4;
        all.extend(items(&tables[start..end], &lens[start..end], s, whole));
        runs.push(Run { rows: start..end, items: first..all.len() / 4, longest });
        start = end;
    }
    (runs, all)
}

/// Where the rows of a step find their keys and values: for all layers.
pub struct Rows {
    /// Page ids of each row's sequence, `[rows, width]`.
    tables: Buffer<u32>,
    width: usize,
    /// Positions that each row sees, its own included.
    lens: Buffer<u32>,
    /// Where each row's own key and value go: its last position.
    places: Buffer<u32>,
    /// Four numbers an item: first row of its run, rows, chunk, the row whose table serves.
    items: Buffer<i32>,
    runs: Vec<Run>,
    /// Whether an item has all positions, as packed attention walks over them: in a batch-invariant device.
    whole: bool,
}

impl Rows {
    /// `tables[b]` lists the pages of row b's sequence, `lens[b]` is the number of positions it sees. Neighbours with pages in common share
    /// the reading of them.
    ///
    /// # Errors
    /// Out of memory.
    ///
    /// # Panics
    /// When a table is too short, or a length is 0.
    pub fn of(device: &Device, tables: &[&[u32]], lens: &[usize], s: Shape) -> Result<Rows, Error> {
        let op = "attention::Rows";
        let longest = lens.iter().copied().max().unwrap_or(0);
        let width = longest.div_ceil(PAGE);
        let mut all = vec![0u32; tables.len() * width];
        let mut places = Vec::with_capacity(lens.len());
        for (b, (table, &len)) in tables.iter().zip(lens).enumerate() {
            places.push(place(op, table, len));
            let used = len.div_ceil(PAGE);
            all[b * width..][..used].copy_from_slice(&table[..used]);
        }
        let whole = device.is_batch_invariant();
        let (runs, items) = runs(tables, lens, s, whole);
        let lens: Vec<u32> = lens.iter().map(|&len| len as u32).collect();
        Ok(Rows {
            tables: Buffer::of(device, op, &all)?,
            width,
            lens: Buffer::of(device, op, &lens)?,
            places: Buffer::of(device, op, &places)?,
            items: Buffer::of(device, op, &items)?,
            runs,
            whole,
        })
    }

    /// What [`Rows::within`] reads of these rows on this device, whose number and pages `room` bounds; the rows that it has besides see one
    /// position of the page `spare`.
    ///
    /// # Panics
    /// When there is no room, a table is too short, or a length is 0.
    pub fn words(
        device: &Device,
        tables: &[&[u32]],
        lens: &[usize],
        room: Room,
        spare: u32,
        s: Shape,
    ) -> Vec<u32> {
        let (op, whole) = ("attention::Rows", device.is_batch_invariant());
        assert!(lens.len() <= room.rows && tables.len() == lens.len(), "{op}: {} rows, {room:?}", lens.len());
        let besides = room.rows - lens.len();
        let spare = [spare];
        let tables: Vec<&[u32]> =
            tables.iter().copied().chain(std::iter::repeat_n(&spare[..], besides)).collect();
        let lens: Vec<usize> = lens.iter().copied().chain(std::iter::repeat_n(1, besides)).collect();
        let mut words: Vec<u32> = lens.iter().map(|&len| len as u32).collect();
        words.extend(tables.iter().zip(&lens).map(|(table, &len)| place(op, table, len)));
        for (table, len) in tables.iter().zip(&lens) {
            let used = len.div_ceil(PAGE);
            assert!(used <= room.pages, "{op}: {used} pages, {room:?}");
            words.extend_from_slice(&table[..used]);
            words.resize(words.len() + room.pages - used, 0);
        }
        for run in room.runs(s, whole) {
            let end = words.len() + 4 * run.items.len();
            let items = items(&tables[run.rows.clone()], &lens[run.rows], s, whole);
            words.extend(items.into_iter().map(|x| x as u32));
            words.resize(end, 0);
        }
        words
    }

    /// Rows that are known when the work runs, not when it is recorded: `words` will then be what [`Rows::words`] gave.
    ///
    /// # Errors
    /// Out of memory.
    ///
    /// # Panics
    /// When there are too few words.
    pub fn within(device: &Device, words: View<u32>, room: Room, s: Shape) -> Result<Rows, Error> {
        let (op, Room { rows, pages }, whole) = ("attention::Rows", room, device.is_batch_invariant());
        let mut at = 0;
        let mut next = |len: usize| {
            let mut part = Buffer::uninit(device, op, len)?;
            part.all_mut().copy_from(op, words.part(at..at + len))?;
            at += len;
            Ok(part)
        };
        let (lens, places, tables) = (next(rows)?, next(rows)?, next(rows * pages)?);
        let mut items = Buffer::uninit(device, op, 4 * rows * room.chunks(whole))?;
        items.all_mut().copy_from(op, words.part(at..words.len()).cast())?;
        Ok(Rows { tables, width: pages, lens, places, items, runs: room.runs(s, whole), whole })
    }

    /// Where each row's own key and value go, for [`Cache::write_rows`].
    pub fn places(&self) -> View<'_, u32> {
        self.places.all()
    }
}

/// What a launch knows of its rows.
struct Part<'a> {
    tables: View<'a, u32>,
    width: usize,
    lens: View<'a, u32>,
    longest: usize,
    items: View<'a, i32>,
    whole: bool,
}

/// The place of a row's last position.
fn place(op: &str, table: &[u32], len: usize) -> u32 {
    let used = len.div_ceil(PAGE);
    assert!(len > 0 && used <= table.len(), "{op}: a row sees {len} positions on {} pages", table.len());
    table[used - 1] * PAGE as u32 + ((len - 1) % PAGE) as u32
}

/// Pairs of a row and a head that a block takes.
fn pairs(whole: bool) -> usize {
    if whole { TENSOR } else { PAIRS }
}

/// Chunk by chunk, or all positions at once, runs of neighbours whose pages there are the same as far as each sees: no more than share a
/// block's reading of them.
fn items(tables: &[&[u32]], lens: &[usize], s: Shape, whole: bool) -> Vec<i32> {
    let most = (pairs(whole) / (s.heads / s.kv_heads)).max(1);
    let longest = lens.iter().copied().max().unwrap_or(0);
    let mut items = Vec::new();
    let chunk_pages = if whole { longest.div_ceil(PAGE).max(1) } else { TENSOR_CHUNK / PAGE };
    for chunk in 0..longest.div_ceil(chunk_pages * PAGE) {
        let first_page = chunk * chunk_pages;
        let pages = |row: usize| {
            let end = lens[row].div_ceil(PAGE).min(first_page + chunk_pages);
            tables[row].get(first_page..end).unwrap_or(&[])
        };
        // The item that may still grow: its first row, its rows, the row that sees most.
        let mut open: Option<(usize, usize, usize)> = None;
        for row in 0..lens.len() {
            let mine = pages(row);
            open = match open {
                _ if mine.is_empty() => {
                    items.extend(open.map(|o| item(o, chunk)).into_iter().flatten());
                    None
                }
                Some((first, count, best)) if count < most => {
                    let theirs = pages(best);
                    let same = mine.iter().zip(theirs).all(|(a, b)| a == b);
                    let best_now = if lens[row] > lens[best] { row } else { best };
                    if same {
                        Some((first, count + 1, best_now))
                    } else {
                        items.extend(item((first, count, best), chunk));
                        Some((row, 1, row))
                    }
                }
                _ => {
                    items.extend(open.map(|o| item(o, chunk)).into_iter().flatten());
                    Some((row, 1, row))
                }
            };
        }
        items.extend(open.map(|o| item(o, chunk)).into_iter().flatten());
    }
    items
}

fn item((first, count, best): (usize, usize, usize), chunk: usize) -> [i32; 4] {
    [first as i32, count as i32, chunk as i32, best as i32]
}

/// Queries against the cache: q `[B, heads·dk]`, out `[B, heads·dv]`, row b seeing what `rows` says, its own key and value (already written)
/// included. On tensor cores where they serve, pages that neighbours have in common being read once for up to 16 pairs of row and head.
/// No row's bits depend on another row; in a batch-invariant device they are those of the same row in [`super::forward`].
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
    if rows.whole {
        let args = [
            q.into(),
            Arg::from(&cache.k),
            Arg::from(&cache.v),
            rows.tables.into(),
            rows.width.into(),
            rows.lens.into(),
            rows.items.into(),
            Arg::from(&out),
            s.heads.into(),
            s.kv_heads.into(),
            s.scale.into(),
        ];
        let kernel = format!("tensor_decode_whole_{}_{}", s.dk, s.dv);
        return device.launch(op, &SOURCE, &kernel, grid(tensor_forward_bytes(s)), &args);
    }
    let chunks = rows.longest.div_ceil(TENSOR_CHUNK);
    let part: Buffer<f32> = Buffer::uninit(device, op, count * s.heads * chunks * (s.dv + 2))?;
    let args = [
        q.into(),
        Arg::from(&cache.k),
        Arg::from(&cache.v),
        rows.tables.into(),
        rows.width.into(),
        rows.lens.into(),
        rows.items.into(),
        Arg::from(&part),
        s.heads.into(),
        s.kv_heads.into(),
        s.scale.into(),
        chunks.into(),
    ];
    // What the warps leave at the end, in the room of keys and values, is never more than they take.
    let shared = 2 * (PAIRS * (s.dk + 8) + TENSOR_CHUNK * (s.dk + 8 + s.dv + 8));
    device.launch(op, &SOURCE, &format!("tensor_decode_{}_{}", s.dk, s.dv), grid(shared), &args)?;
    gather(device, op, &part, rows.lens, out, s, chunks, TENSOR_CHUNK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_share_the_pages_that_they_have_in_common() {
        let (a, b, c) = ([1, 2, 3, 4, 5], [1, 2, 3, 4, 6], [1, 2, 9]);
        let tables: [&[u32]; 4] = [&a, &b, &c, &a];
        let shape = |heads| Shape { heads, kv_heads: 1, dk: 64, dv: 64, scale: 1.0 };
        let (three, eight, lens) = (shape(3), shape(8), [160, 140, 96, 33]);
        let parts = [0, 2, 0, 0, 2, 2, 0, 2, 0, 1, 1, 0, 1, 1, 1, 1];
        assert_eq!(items(&tables, &lens, three, false), parts);
        // Of whole tables, those that agree as far as both see.
        assert_eq!(items(&tables, &lens, three, true), [0, 1, 0, 0, 1, 1, 0, 1, 2, 2, 0, 2]);
        // A prompt's rows, each seeing one position more; two fill a block.
        let prompt: [&[u32]; 3] = [&a, &a, &a];
        let lens = [127, 128, 129];
        assert_eq!(items(&prompt, &lens, eight, false), [0, 2, 0, 1, 2, 1, 0, 2, 2, 1, 1, 2]);
        assert_eq!(items(&prompt, &lens, eight, true), [0, 3, 0, 2]);
    }

    #[test]
    fn a_launch_leaves_no_more_than_there_is_room_for() {
        let s = Shape { heads: 4, kv_heads: 1, dk: 64, dv: 62, scale: 1.0 };
        // 32 chunks of rows a launch.
        let (table, short) = ([7u32; 64], vec![9; 50]);
        let lens = [&[1500, 1400], &short[..]].concat();
        let tables: Vec<&[u32]> = lens.iter().map(|_| &table[..]).collect();
        let (cut, items) = runs(&tables, &lens, s, false);
        let rows: Vec<Range<usize>> = cut.iter().map(|run| run.rows.clone()).collect();
        assert_eq!(rows, [0..2, 2..34, 34..52]);
        assert_eq!(cut.iter().map(|run| run.longest).collect::<Vec<_>>(), [1500, 9, 9]);
        assert_eq!((cut[0].items.start, cut[2].items.end), (0, items.len() / 4));
        assert_eq!(items[4 * cut[1].items.start..][..4], [0, 4, 0, 0], "items count a launch's own rows");
        assert_eq!(runs(&tables, &lens, s, true).0.len(), 2);
        // A row alone that is longer than that.
        assert_eq!(runs(&[&[7; 200]], &[6000], s, false).0.len(), 1);
        let room = Room { rows: 20, pages: 16 };
        let rows: Vec<Range<usize>> = room.runs(s, false).into_iter().map(|run| run.rows).collect();
        assert_eq!(rows, [0..8, 8..16, 16..20]);
        assert_eq!(room.runs(s, false)[1].items, 32..64);
    }
}
