//! Copies by rows, sums by columns.

use crate::threads::{self, SharedMut};

/// Values that are worth a task of their own.
const GRAIN: usize = 1 << 15;

/// Rows are shared out in blocks.
pub(super) fn forward(table: &[f32], c: usize, ids: &[u32], y: &mut [f32]) {
    let step = (GRAIN / c).max(1);
    let y = SharedMut::new(y);
    threads::parallel(ids.len().div_ceil(step), |task| {
        let rows = task * step..ids.len().min((task + 1) * step);
        // SAFETY: tasks have disjoint rows.
        let y = unsafe { y.slice(rows.start * c..rows.end * c) };
        for (y, &id) in y.chunks_exact_mut(c).zip(&ids[rows]) {
            y.copy_from_slice(&table[id as usize * c..][..c]);
        }
    });
}

/// Columns are shared out, so that rows of one id are added in order by one task. Plain additions: every target gives
/// the same bits.
pub(super) fn backward(dy: &[f32], c: usize, ids: &[u32], dtable: &mut [f32]) {
    let tasks = (dy.len() / GRAIN).clamp(1, 2 * threads::count());
    let width = c.div_ceil(tasks).next_multiple_of(16);
    let dtable = SharedMut::new(dtable);
    threads::parallel(c.div_ceil(width), |task| {
        let (from, to) = (task * width, c.min((task + 1) * width));
        for (t, &id) in ids.iter().enumerate() {
            let id = id as usize;
            // SAFETY: tasks have disjoint columns, and this is the task's only part at the moment.
            let row = unsafe { dtable.slice(id * c + from..id * c + to) };
            for (a, &d) in row.iter_mut().zip(&dy[t * c + from..t * c + to]) {
                *a += d;
            }
        }
    });
}
