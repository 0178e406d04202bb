//! Fast against the reference in f64, backward against numeric derivatives, the same bits however rows are cut.

use super::*;
use crate::lanes::each_level;
use crate::testing::{any_threads, close, dot, same, slope, values, wide};

#[test]
fn forward_and_backward_are_the_reference_and_its_slope() {
    for (rows, f) in [(1, 1), (3, 5), (2, 16), (3, 37)] {
        let (x, dy) = (values(1, rows * 2 * f, 8.0), values(2, rows * f, 1.0));
        let (wx, wdy) = (wide(&x), wide(&dy));
        let loss = |x: &[f64]| {
            let mut y = vec![0.0; rows * f];
            reference::forward(x, f, &mut y);
            dot(&y, &wdy)
        };
        let (mut y, mut ey) = (vec![0.0; rows * f], vec![0.0; rows * f]);
        forward(&x, f, &mut y);
        reference::forward(&wx, f, &mut ey);
        close("y", &y, &ey, 5e-7);
        let (mut dx, mut edx) = (vec![9.0; x.len()], vec![0.0; x.len()]);
        backward(&dy, &x, f, &mut dx);
        reference::backward(&wdy, &wx, f, &mut edx);
        close("dx", &dx, &edx, 5e-7);
        close("dx and slope", &dx, &slope(&wx, loss), 1e-6);
    }
}

#[test]
fn great_gates_saturate_and_stay_finite() {
    let x = [-1e4, -200.0, -89.0, 0.0, 89.0, 1e4, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0];
    let (mut y, mut dx) = ([0.0; 6], [0.0; 12]);
    forward(&x, 6, &mut y);
    backward(&[1.0; 6], &x, 6, &mut dx);
    assert_eq!((y[0], y[1], y[3], y[4], y[5]), (0.0, 0.0, 0.0, 178.0, 2e4));
    assert!(dx.iter().all(|d| d.is_finite()), "{dx:?}");
    assert_eq!((dx[0], dx[3], dx[5], dx[11]), (0.0, 1.0, 2.0, 1e4));
}

#[test]
fn bits_depend_on_nothing_but_the_row() {
    let (rows, f) = (60, 517);
    let (x, dy) = (values(1, rows * 2 * f, 8.0), values(2, rows * f, 1.0));
    let run = |cuts: &[usize]| {
        let (mut y, mut dx) = (vec![0.0; rows * f], vec![0.0; x.len()]);
        for cut in cuts.windows(2) {
            let (a, b) = (cut[0] * f..cut[1] * f, cut[0] * 2 * f..cut[1] * 2 * f);
            forward(&x[b.clone()], f, &mut y[a.clone()]);
            backward(&dy[a], &x[b.clone()], f, &mut dx[b]);
        }
        [y, dx].concat()
    };
    let whole = any_threads("swiglu", || run(&[0, rows]));
    same("cut", &whole, &run(&[0, 1, 30, 31, rows]));
    each_level(|level| same(level.name(), &whole, &run(&[0, rows])));
}
