//! Where the rows of a step find their keys and values, and how their work is cut into launches and blocks.

use std::ops::Range;

use super::TENSOR;
use crate::attention::{PAGE, Shape};
use crate::cuda::{Buffer, Device, Error, View};

/// Positions of one chunk on tensor cores, and pairs of a row and a head that a block takes: as in tensor_decode.cu.
pub(super) const TENSOR_CHUNK: usize = 4 * PAGE;
pub(super) const PAIRS: usize = 16;

/// Values that the chunks of a launch may leave to be gathered: 256 MiB. A step's rows are cut into as many launches as that takes, so that
/// some thousand rows of prompts beside one long sequence need no memory for as many long sequences.
#[cfg(not(test))]
const MOST_PARTS: usize = 1 << 26;
#[cfg(test)]
const MOST_PARTS: usize = 1 << 13;

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
pub(super) struct Run {
    pub rows: Range<usize>,
    pub items: Range<usize>,
    /// Most positions that one of them sees.
    pub longest: usize,
}

/// Whether most rows follow their neighbour, as a prompt's do: a block that takes all positions then reads them for 64 pairs of a row and
/// a head at once, not for 16.
fn mostly_prompts(tables: &[&[u32]], lens: &[usize]) -> bool {
    let follows = |i: &usize| lens[*i] == lens[i - 1] + 1 && tables[*i] == tables[i - 1];
    2 * (1..lens.len()).filter(follows).count() > lens.len()
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
    pub(super) tables: Buffer<u32>,
    pub(super) width: usize,
    /// Positions that each row sees, its own included.
    pub(super) lens: Buffer<u32>,
    /// Where each row's own key and value go: its last position.
    places: Buffer<u32>,
    /// Four numbers an item: first row of its run, rows, chunk, the row whose table serves.
    pub(super) items: Buffer<i32>,
    pub(super) runs: Vec<Run>,
    /// Whether an item has all positions, as packed attention walks over them: in a batch-invariant device, and for prompts.
    pub(super) whole: bool,
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
        let whole = device.is_batch_invariant() || mostly_prompts(tables, lens);
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

/// The place of a row's last position.
fn place(op: &str, table: &[u32], len: usize) -> u32 {
    let used = len.div_ceil(PAGE);
    assert!(len > 0 && used <= table.len(), "{op}: a row sees {len} positions on {} pages", table.len());
    table[used - 1] * PAGE as u32 + ((len - 1) % PAGE) as u32
}

/// Pairs of a row and a head that a block takes.
pub(super) fn pairs(whole: bool) -> usize {
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
