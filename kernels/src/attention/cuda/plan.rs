//! What the kernels want to know of a batch's segments, worked out once on the host.

use super::{QUERIES, Segment, TENSOR, TILE};
use crate::cuda::{Buffer, Device, Error};

const OP: &str = "attention::Plan";

/// A batch's segments on a device: for all layers, forward and backward.
pub struct Plan {
    /// Four numbers a segment: first query row, query rows, where its path begins, positions.
    pub(super) segments: Buffer<i32>,
    /// All paths.
    pub(super) paths: Buffer<u32>,
    /// Cut for the plain kernels.
    pub(super) plain: Cut,
    /// Cut for tensor cores.
    pub(super) tensor: Cut,
    /// Query rows of all segments.
    pub(super) queries: usize,
    /// Query rows there must be.
    pub(super) last_query: usize,
    /// Key rows there must be.
    pub(super) keys: usize,
}

/// The segments in pieces of at most so many queries and key rows.
pub(super) struct Cut {
    /// Two numbers a tile: its segment and its first query. Tiles with the most positions come first: they take the longest.
    pub tiles: Buffer<i32>,
    /// Four numbers a run of key rows: its first row, its rows, its first visit, its visits.
    pub runs: Buffer<i32>,
    /// Two numbers a visit of a run: the segment, and the position of the run's first row in it.
    pub visits: Buffer<i32>,
}

impl Plan {
    /// The plan of these segments.
    ///
    /// # Errors
    /// Out of memory.
    ///
    /// # Panics
    /// When segments overlap, or one has more queries than positions.
    pub fn of(device: &Device, segments: &[Segment]) -> Result<Plan, Error> {
        let (mut numbers, mut paths, mut end) = (Vec::new(), Vec::new(), 0);
        for (i, segment) in segments.iter().enumerate() {
            let (count, positions) = (segment.queries.len(), segment.path.len());
            assert!(
                segment.queries.start >= end && count <= positions,
                "{OP}: segment {i} overlaps or lacks positions"
            );
            end = segment.queries.end;
            numbers.extend([
                segment.queries.start as i32,
                count as i32,
                paths.len() as i32,
                positions as i32,
            ]);
            paths.extend(&segment.path);
        }
        Ok(Plan {
            segments: Buffer::of(device, OP, &numbers)?,
            paths: Buffer::of(device, OP, &paths)?,
            plain: Cut::of(device, segments, QUERIES, TILE)?,
            tensor: Cut::of(device, segments, TENSOR, TENSOR)?,
            queries: segments.iter().map(|s| s.queries.len()).sum(),
            last_query: end,
            keys: segments.iter().flat_map(|s| &s.path).max().map_or(0, |&row| row as usize + 1),
        })
    }
}

impl Cut {
    fn of(device: &Device, segments: &[Segment], queries: usize, keys: usize) -> Result<Cut, Error> {
        let mut tiles = Vec::new();
        for (i, segment) in segments.iter().enumerate() {
            let before = segment.path.len() - segment.queries.len();
            let firsts = (0..segment.queries.len()).step_by(queries);
            tiles.extend(firsts.map(|first| (before + first, i as i32, first as i32)));
        }
        tiles.sort_by_key(|&(positions, segment, first)| (std::cmp::Reverse(positions), segment, first));
        let tiles: Vec<i32> = tiles.into_iter().flat_map(|(_, segment, first)| [segment, first]).collect();
        let (runs, visits) = runs(segments, keys);
        Ok(Cut {
            tiles: Buffer::of(device, OP, &tiles)?,
            runs: Buffer::of(device, OP, &runs)?,
            visits: Buffer::of(device, OP, &visits)?,
        })
    }

    pub fn tile_count(&self) -> usize {
        self.tiles.len() / 2
    }

    pub fn run_count(&self) -> usize {
        self.runs.len() / 4
    }
}

/// Cuts the key rows into runs of at most `most` such that every segment which sees a run sees it side by side; with the visits of each.
fn runs(segments: &[Segment], most: usize) -> (Vec<i32>, Vec<i32>) {
    let keys = segments.iter().flat_map(|s| &s.path).max().map_or(0, |&row| row as usize + 1);
    let mut seen: Vec<Vec<(i32, i32)>> = vec![Vec::new(); keys];
    for (i, segment) in segments.iter().enumerate().filter(|(_, s)| !s.queries.is_empty()) {
        for (position, &row) in segment.path.iter().enumerate() {
            seen[row as usize].push((i as i32, position as i32));
        }
    }
    let follows = |row: usize| {
        let (a, b) = (&seen[row - 1], &seen[row]);
        a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.0 == b.0 && a.1 + 1 == b.1)
    };
    let (mut runs, mut visits, mut row) = (Vec::new(), Vec::new(), 0);
    while row < keys {
        let mut count = 1;
        while count < most && row + count < keys && follows(row + count) {
            count += 1;
        }
        runs.extend([row as i32, count as i32, visits.len() as i32 / 2, seen[row].len() as i32]);
        visits.extend(seen[row].iter().flat_map(|&(segment, position)| [segment, position]));
        row += count;
    }
    (runs, visits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_cut_where_paths_part() {
        let own = |queries: std::ops::Range<usize>, before: &[u32]| {
            let path = before.iter().copied().chain(queries.clone().map(|r| r as u32)).collect();
            Segment { queries, path }
        };
        let prompt: Vec<u32> = (0..5).collect();
        let segments = [own(0..5, &[]), own(5..8, &prompt), own(8..9, &prompt[..3])];
        let (runs, visits) = runs(&segments, 32);
        assert_eq!(runs, [0, 3, 0, 3, 3, 2, 3, 2, 5, 3, 5, 1, 8, 1, 6, 1]);
        assert_eq!(visits, [0, 0, 1, 0, 2, 0, 0, 3, 1, 3, 1, 5, 2, 3]);
        let long = [own(0..70, &[])];
        let (runs, _) = super::runs(&long, 32);
        assert_eq!(runs, [0, 32, 0, 1, 32, 32, 1, 1, 64, 6, 2, 1]);
    }
}
