//! Table look-up and its transpose.

use crate::real::Real;

/// y[t] = table[ids[t]].
pub(crate) fn forward<F: Real>(table: &[F], c: usize, ids: &[u32], y: &mut [F]) {
    for (t, &id) in ids.iter().enumerate() {
        y[t * c..][..c].copy_from_slice(&table[id as usize * c..][..c]);
    }
}

/// dtable[ids[t]] += dy[t], t ascending.
pub(crate) fn backward<F: Real>(dy: &[F], c: usize, ids: &[u32], dtable: &mut [F]) {
    for (t, &id) in ids.iter().enumerate() {
        for j in 0..c {
            dtable[id as usize * c + j] += dy[t * c + j];
        }
    }
}
