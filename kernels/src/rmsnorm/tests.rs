//! Fast against the reference, backward against numeric derivatives, the same bits however the rows are cut.

use super::*;
use crate::lanes::each_level;
use crate::testing::{any_threads, close, dot, same, slope, values, wide};

const SHAPES: [(usize, usize); 6] = [(1, 1), (3, 7), (5, 16), (2, 33), (40, 100), (200, 1030)];

#[test]
fn forward_is_near_the_reference_in_f64() {
    for (rows, c) in SHAPES {
        let (x, w) = (values(1, rows * c, 3.0), values(2, c, 1.0));
        let (mut y, mut rstd) = (vec![0.0; rows * c], vec![0.0; rows]);
        forward(&x, &w, 1e-6, &mut y, &mut rstd);
        let (mut ey, mut er) = (vec![0.0; rows * c], vec![0.0; rows]);
        reference::forward(&wide(&x), &wide(&w), 1e-6, &mut ey, &mut er);
        close("y", &y, &ey, 1e-6);
        close("rstd", &rstd, &er, 1e-6);

        let branch = values(3, rows * c, 1.0);
        let mut sum = x.clone();
        add_forward(&mut sum, &branch, &w, 1e-6, &mut y, &mut rstd);
        let expected: Vec<f32> = x.iter().zip(&branch).map(|(a, b)| a + b).collect();
        same("x + branch", &sum, &expected);
        let (mut y2, mut rstd2) = (vec![0.0; rows * c], vec![0.0; rows]);
        forward(&expected, &w, 1e-6, &mut y2, &mut rstd2);
        same("y after add", &y, &y2);
        same("rstd after add", &rstd, &rstd2);
    }
}

#[test]
fn backward_is_the_slope() {
    for (rows, c) in [(1, 2), (3, 7), (2, 33)] {
        let (x, w, dy) = (values(1, rows * c, 3.0), values(2, c, 1.0), values(3, rows * c, 1.0));
        let (wx, ww, wdy) = (wide(&x), wide(&w), wide(&dy));
        let loss = |x: &[f64], w: &[f64]| {
            let (mut y, mut rstd) = (vec![0.0; rows * c], vec![0.0; rows]);
            reference::forward(x, w, 1e-3, &mut y, &mut rstd);
            dot(&y, &wdy)
        };
        let (mut y, mut rstd) = (vec![0.0; rows * c], vec![0.0; rows]);
        forward(&x, &w, 1e-3, &mut y, &mut rstd);
        let (mut dx, mut dw) = (vec![9.0; rows * c], vec![0.0; c]);
        backward(&dy, &x, &w, &rstd, &mut dx, Some(&mut dw), false);
        close("dx", &dx, &slope(&wx, |x| loss(x, &ww)), 3e-5);
        close("dw", &dw, &slope(&ww, |w| loss(&wx, w)), 1e-5);
        let before = values(4, rows * c, 1.0);
        let mut added = before.clone();
        backward(&dy, &x, &w, &rstd, &mut added, Some(&mut dw), true);
        let expected: Vec<f32> = before.iter().zip(&dx).map(|(a, b)| a + b).collect();
        same("dx added", &added, &expected);
    }
}

#[test]
fn backward_is_near_the_reference_in_f64() {
    for (rows, c) in SHAPES {
        let (x, w, dy) = (values(1, rows * c, 3.0), values(2, c, 1.0), values(3, rows * c, 1.0));
        let (mut y, mut rstd) = (vec![0.0; rows * c], vec![0.0; rows]);
        forward(&x, &w, 1e-3, &mut y, &mut rstd);
        let (mut dx, mut dw) = (vec![0.0; rows * c], values(5, c, 1.0));
        let (mut edx, mut edw) = (vec![0.0; rows * c], wide(&dw));
        reference::backward(&wide(&dy), &wide(&x), &wide(&w), &wide(&rstd), &mut edx, &mut edw);
        backward(&dy, &x, &w, &rstd, &mut dx, Some(&mut dw), false);
        close("dx", &dx, &edx, 1e-5);
        close("dw", &dw, &edw, 1e-5);
        let mut alone = vec![9.0; rows * c];
        backward(&dy, &x, &w, &rstd, &mut alone, None, false);
        same("dx without dw", &alone, &dx);
    }
}

#[test]
fn bits_depend_on_nothing_but_the_row() {
    let (rows, c) = (200, 1030);
    assert!(rows * c > NEAR, "the rows fill more than one part");
    let (x, w, dy) = (values(1, rows * c, 3.0), values(2, c, 1.0), values(3, rows * c, 1.0));
    let run = |cuts: &[usize]| {
        let (mut y, mut rstd) = (vec![0.0; rows * c], vec![0.0; rows]);
        let (mut dx, mut dw) = (vec![0.0; rows * c], vec![0.0; c]);
        for cut in cuts.windows(2) {
            let (r, at) = (cut[0]..cut[1], cut[0] * c..cut[1] * c);
            forward(&x[at.clone()], &w, 1e-6, &mut y[at.clone()], &mut rstd[r.clone()]);
            backward(&dy[at.clone()], &x[at.clone()], &w, &rstd[r], &mut dx[at], Some(&mut dw), false);
        }
        [y, rstd, dx, dw].concat()
    };
    let whole = any_threads("rmsnorm", || run(&[0, rows]));
    same("cut", &whole, &run(&[0, 1, 17, 18, rows]));
    each_level(|level| same(level.name(), &whole, &run(&[0, rows])));
}
