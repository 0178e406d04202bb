//! A batch in groups, as reinforcement has them.

use crate::policies::ids;
use r1_train::update::Row;

/// Prompts in groups of three, and completions of many lengths.
pub fn sequences() -> Vec<(Vec<u32>, Vec<u32>)> {
    let header = ids("header", 6);
    (0..12)
        .map(|i| {
            let prompt = [header.clone(), ids(&format!("prompt {}", i / 3), 3)].concat();
            (prompt, ids(&format!("completion {i}"), 1 + (i * 5) % 11))
        })
        .collect()
}

/// As rows of an update.
pub fn rows(sequences: &[(Vec<u32>, Vec<u32>)]) -> Vec<Row<'_>> {
    let row = |(prompt, completion)| Row { prompt, completion, inv_temperature: 1.0, gradient: true };
    sequences.iter().map(|(p, c)| row((&p[..], &c[..]))).collect()
}
