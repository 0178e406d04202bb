//! Fast against the reference, the transpose, and the angles of a known model.

use super::*;
use crate::lanes::each_level;
use crate::testing::{any_threads, close, dot, same, values, wide};

fn table(dim: usize, positions: usize) -> Table {
    let inv_freq: Vec<f64> = (0..dim / 2).map(|i| 10_000f64.powf(-2.0 * i as f64 / dim as f64)).collect();
    Table::build(&inv_freq, positions, 1.0)
}

fn expected(
    x: &[f32],
    heads: usize,
    stride: usize,
    offset: usize,
    at: &[u32],
    t: &Table,
    p: Pairing,
    inverse: bool,
) -> Vec<f64> {
    let mut x = wide(x);
    let (cos, sin) = (wide(&t.cos), wide(&t.sin));
    for (row, &position) in at.iter().enumerate() {
        let angle = position as usize * t.half..(position as usize + 1) * t.half;
        for h in 0..heads {
            let slot = &mut x[(row * heads + h) * stride + offset..][..t.dim()];
            reference::rotate(slot, &cos[angle.clone()], &sin[angle.clone()], p, inverse);
        }
    }
    x
}

#[test]
fn rotation_is_the_reference_and_inverse_its_transpose() {
    for (rows, heads, stride, offset, dim) in
        [(1, 1, 2, 0, 2), (3, 2, 7, 1, 6), (5, 3, 64, 0, 64), (40, 4, 192, 128, 64), (9, 1, 100, 2, 98)]
    {
        let t = table(dim, 50);
        let at: Vec<u32> = (0..rows as u32).map(|r| (r * 7) % 50).collect();
        for pairing in [Pairing::Half, Pairing::Interleaved] {
            let x = values(1, rows * heads * stride, 1.0);
            let mut y = x.clone();
            apply(&mut y, heads, stride, offset, &at, &t, pairing, false);
            close("forward", &y, &expected(&x, heads, stride, offset, &at, &t, pairing, false), 2e-7);
            let dy = values(2, x.len(), 1.0);
            let mut dx = dy.clone();
            apply(&mut dx, heads, stride, offset, &at, &t, pairing, true);
            close("backward", &dx, &expected(&dy, heads, stride, offset, &at, &t, pairing, true), 2e-7);
            // ⟨R x, dy⟩ = ⟨x, Rᵀ dy⟩: backward is the transpose of forward.
            let (a, b) = (dot(&wide(&y), &wide(&dy)), dot(&wide(&x), &wide(&dx)));
            assert!((a - b).abs() < 1e-5 * (1.0 + a.abs()), "{a} {b}");
            let whole = any_threads("rope", || {
                let mut y = x.clone();
                apply(&mut y, heads, stride, offset, &at, &t, pairing, false);
                y
            });
            let mut rowwise = x.clone();
            for (r, x) in rowwise.chunks_exact_mut(heads * stride).enumerate() {
                apply(x, heads, stride, offset, &at[r..r + 1], &t, pairing, false);
            }
            same("row by row", &whole, &rowwise);
            each_level(|level| {
                let mut y = x.clone();
                apply(&mut y, heads, stride, offset, &at, &t, pairing, false);
                same(level.name(), &whole, &y);
            });
        }
    }
}

#[test]
fn the_two_pairings_turn_the_same_pairs() {
    let (t, dim) = (table(8, 10), 8);
    let x = values(3, dim, 1.0);
    let split: Vec<f32> = (0..dim).map(|i| x[2 * (i % 4) + i / 4]).collect();
    let (mut a, mut b) = (x.clone(), split);
    apply(&mut a, 1, dim, 0, &[9], &t, Pairing::Interleaved, false);
    apply(&mut b, 1, dim, 0, &[9], &t, Pairing::Half, false);
    let merged: Vec<f32> = (0..dim).map(|i| b[i / 2 + 4 * (i % 2)]).collect();
    same("pairings", &a, &merged);
}

#[test]
fn a_table_holds_cosines_of_position_times_frequency() {
    let t = Table::build(&[1.0, 0.01], 70_000, 2.0);
    assert_eq!((t.dim(), t.positions()), (4, 70_000));
    // cos(69999 mod 2π) and sin(699.99) computed with 50 digits, times the factor.
    assert!((f64::from(t.cos[2 * 69_999]) - 2.0 * (69_999f64).cos()).abs() < 2e-7);
    assert!((f64::from(t.sin[2 * 69_999 + 1]) - 2.0 * (699.99f64).sin()).abs() < 2e-7);
}

#[test]
#[should_panic(expected = "position 50, table of 50")]
fn a_position_beyond_the_table_is_refused() {
    apply(&mut [0.0; 2], 1, 2, 0, &[50], &table(2, 50), Pairing::Half, false);
}
