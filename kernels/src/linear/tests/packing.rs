//! Packing from elsewhere, and back.

use super::super::{Half, Seen};
use super::*;

#[test]
fn packing_from_elsewhere_gives_the_same_weight() {
    for (n, k) in [(1, 1), (31, 7), (33, 40), (100, 65)] {
        let w: Vec<f32> = (0..n * k).map(|i| (i as f32 * 0.37).sin()).collect();
        for precision in [Precision::F32, Precision::Bf16] {
            if crate::supports(precision).is_err() {
                continue;
            }
            let whole = Weight::pack(&w, n, k, precision, false);
            let read = |from: usize, out: &mut [f32]| out.copy_from_slice(&w[from..from + out.len()]);
            let parts = Weight::pack_from(&Weight::room([(n, k, precision)]), n, k, precision, read);
            assert_eq!(whole.by_output.words(), parts.by_output.words(), "[{n}, {k}] {precision:?}");
            assert!(parts.by_input.is_none());
        }
    }
}

/// Rows of bf16 values are packed as if they were widened and rounded again: every bit pattern, tails of panels and steps.
#[test]
fn packing_halves_gives_the_same_weight() {
    if let Err(reason) = crate::supports(Precision::Bf16) {
        return eprintln!("bf16 is not tested: {reason}");
    }
    for (n, k) in [(1, 1), (16, 32), (31, 7), (33, 40), (100, 65), (64, 2048), (17, 97), (48, 33)] {
        let patterns: Vec<u16> = (0..n * k).map(|i| (i as u32 * 40_503 + 77) as u16).collect();
        let finite: Vec<u16> =
            patterns.iter().map(|p| if p & 0x7f80 == 0x7f80 { p ^ 0x4000 } else { *p }).collect();
        let plain: Vec<u16> = finite.iter().map(|p| if p & 0x7f80 == 0 { p | 0x3f80 } else { *p }).collect();
        // A room that is too small gives the weight a block of its own.
        let rooms = [Weight::room([(n, k, Precision::Bf16)]), Weight::room([(1, 1, Precision::Bf16)])];
        for (room, values) in rooms.iter().cycle().zip([&patterns, &finite, &plain]) {
            let bytes: Vec<Half> = values.iter().map(|p| p.to_le_bytes()).collect();
            let wide: Vec<f32> = values.iter().map(|p| from_bf16(*p)).collect();
            let (halves, seen) = Weight::pack_halves(room, n, k, |j| &bytes[j * k..(j + 1) * k]);
            let expected = Seen {
                not_finite: wide.iter().any(|x| !x.is_finite()),
                subnormal: wide.iter().any(|x| x.is_subnormal()),
            };
            assert_eq!(seen, expected, "[{n}, {k}]");
            let mut row = vec![f32::NAN; k];
            if !expected.not_finite {
                let whole = Weight::pack(&wide, n, k, Precision::Bf16, false);
                assert_eq!(whole.by_output.words(), halves.by_output.words(), "[{n}, {k}]");
                halves.row(n - 1, &mut row);
                let flushed = |x: &f32| if x.is_subnormal() { 0f32.copysign(*x) } else { *x };
                assert_eq!(bits(&row), bits(&wide[(n - 1) * k..].iter().map(flushed).collect::<Vec<_>>()));
            }
        }
    }
}

#[test]
fn rows_of_a_weight_come_back() {
    let (n, k) = (45, 37);
    let w = noise(n * k, 5);
    let weight = Weight::pack(&w, n, k, Precision::F32, false);
    let mut row = vec![f32::NAN; k];
    for j in 0..n {
        weight.row(j, &mut row);
        assert_eq!(bits(&row), bits(&w[j * k..(j + 1) * k]));
    }
}

/// Weights in one room do not touch each other, and the room may go before them.
#[test]
fn weights_share_a_room() {
    let shapes = [(33, 5), (1, 1), (64, 17)];
    let values: Vec<Vec<f32>> = shapes.iter().map(|(n, k)| noise(n * k, *n as u64)).collect();
    let room = Weight::room(shapes.map(|(n, k)| (n, k, Precision::F32)));
    let packed: Vec<Weight> = shapes
        .iter()
        .zip(&values)
        .map(|(&(n, k), w)| {
            let read = |from: usize, out: &mut [f32]| out.copy_from_slice(&w[from..from + out.len()]);
            Weight::pack_from(&room, n, k, Precision::F32, read)
        })
        .collect();
    drop(room);
    for ((&(n, k), w), packed) in shapes.iter().zip(&values).zip(&packed) {
        let alone = Weight::pack(w, n, k, Precision::F32, false);
        assert_eq!(packed.by_output.words(), alone.by_output.words(), "[{n}, {k}]");
        assert_eq!(packed.by_output.words().as_ptr().align_offset(64), 0);
    }
}
