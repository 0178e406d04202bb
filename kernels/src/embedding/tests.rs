//! Fast against the reference, backward against numeric derivatives, the same bits with any number of threads.

use super::*;
use crate::testing::{any_threads, close, dot, same, slope, values, wide};

#[test]
fn rows_are_copied_and_their_gradients_added_in_order() {
    for (v, c, t) in [(1, 1, 1), (5, 3, 9), (30, 100, 700), (50, 1030, 80)] {
        let (table, dy) = (values(1, v * c, 1.0), values(2, t * c, 1.0));
        let ids: Vec<u32> = (0..t).map(|i| (i * i + 3 * i) as u32 % v as u32).collect();
        let (mut y, mut ey) = (vec![0.0; t * c], vec![0.0; t * c]);
        forward(&table, c, &ids, &mut y);
        reference::forward(&table, c, &ids, &mut ey);
        same("y", &y, &ey);
        let before = values(3, v * c, 1.0);
        let dtable = any_threads("embedding", || {
            let mut dtable = before.clone();
            let cut = t / 3;
            backward(&dy[..cut * c], c, &ids[..cut], &mut dtable);
            backward(&dy[cut * c..], c, &ids[cut..], &mut dtable);
            dtable
        });
        let mut expected = before.clone();
        reference::backward(&dy, c, &ids, &mut expected);
        same("dtable", &dtable, &expected);
    }
}

#[test]
fn backward_is_the_slope() {
    let (v, c, ids) = (4, 3, [2, 0, 2, 3, 2]);
    let (table, dy) = (values(1, v * c, 1.0), values(2, ids.len() * c, 1.0));
    let mut dtable = vec![0.0; v * c];
    backward(&dy, c, &ids, &mut dtable);
    let loss = |table: &[f64]| {
        let mut y = vec![0.0; ids.len() * c];
        reference::forward(table, c, &ids, &mut y);
        dot(&y, &wide(&dy))
    };
    close("dtable", &dtable, &slope(&wide(&table), loss), 1e-6);
}

#[test]
#[should_panic(expected = "id 4, table of 4 rows")]
fn an_id_beyond_the_table_is_refused() {
    forward(&[0.0; 8], 2, &[1, 4], &mut [0.0; 4]);
}
