//! Embedding: `y[t] = table[ids[t]]`, table `[V, C]`, y `[T, C]`.
//!
//! Backward adds the rows of dy into their table rows with t ascending, one addition a term.

mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

/// y[t] = table[ids[t]].
///
/// # Panics
/// When the sizes do not fit one another or an id lies beyond the table.
pub fn forward(table: &[f32], c: usize, ids: &[u32], y: &mut [f32]) {
    check("embedding::forward", table.len(), c, ids, y.len());
    cpu::forward(table, c, ids, y);
}

/// dtable[ids[t]] += dy[t].
///
/// # Panics
/// When the sizes do not fit one another or an id lies beyond the table.
pub fn backward(dy: &[f32], c: usize, ids: &[u32], dtable: &mut [f32]) {
    check("embedding::backward", dtable.len(), c, ids, dy.len());
    cpu::backward(dy, c, ids, dtable);
}

fn check(op: &str, table: usize, c: usize, ids: &[u32], y: usize) {
    assert!(c > 0 && y == ids.len() * c, "{op}: {y} values for {} ids of {c}", ids.len());
    let rows = table / c;
    if let Some(id) = ids.iter().find(|&&id| id as usize >= rows) {
        panic!("{op}: id {id}, table of {rows} rows");
    }
}
