//! What the lanes of a warp do together, by the layouts of NVIDIA's PTX ISA: shuffles (9.7.9), votes (9.7.13), matrices (9.7.14).

use super::code::{Instruction, Registers, Shuffle, Together, WARP};
use super::scene::Scene;
use super::warp::lanes;

/// The lanes that an exchange is among, as those at it say.
pub(super) fn members(
    registers: &Registers,
    what: Together,
    instruction: &Instruction,
    here: u32,
) -> Result<u32, String> {
    let operand = match what {
        Together::Shuffle(_) => 5,
        Together::Ballot => 2,
        Together::Wait => 0,
        // `.aligned`: all that have not ended.
        Together::Product | Together::Matrices { .. } => return Ok(u32::MAX),
    };
    let row = &registers.word[usize::from(instruction.operands[operand])];
    let members = lanes(here).map(|lane| row[lane]).next().unwrap_or_default();
    if lanes(here).any(|lane| row[lane] != members || members >> lane & 1 == 0) {
        return Err("lanes name different members of an exchange, or not themselves".into());
    }
    Ok(members)
}

/// Does it; `here` are the lanes that came.
pub(super) fn run(
    registers: &mut Registers,
    scene: &mut Scene,
    what: Together,
    instruction: &Instruction,
    here: u32,
) -> Result<(), String> {
    let at = |i: usize| usize::from(instruction.operands[i]);
    match what {
        Together::Wait => {}
        Together::Ballot => {
            let votes =
                lanes(here).fold(0, |bits, lane| bits | u32::from(registers.pred[at(1)][lane]) << lane);
            lanes(here).for_each(|lane| registers.word[at(0)][lane] = votes);
        }
        Together::Shuffle(how) => {
            let [a, b, c] = [2, 3, 4].map(|i| registers.word[at(i)]);
            for lane in lanes(here) {
                let (from, inside) = source(how, lane as u32, b[lane] & 31, c[lane]);
                // A lane that is not there has nothing to give.
                registers.word[at(0)][lane] = if here >> from & 1 == 1 { a[from as usize] } else { u32::MAX };
                registers.pred[at(1)][lane] = inside;
            }
        }
        Together::Product => {
            whole(here)?;
            let row = |i: usize| registers.word[at(i)];
            let d = product(&[4, 5, 6, 7].map(row), &[8, 9].map(row), &[10, 11, 12, 13].map(row));
            d.into_iter().enumerate().for_each(|(i, row)| registers.word[at(i)] = row);
        }
        Together::Matrices { transposed } => {
            whole(here)?;
            let rows = registers.word[at(4)];
            let mut matrices = [[0u16; 8]; WARP];
            for lane in 0..WARP {
                matrices[lane] =
                    scene.row(rows[lane], lane).map_err(|fact| format!("lane {lane}: {fact}"))?;
            }
            for matrix in 0..4 {
                for lane in 0..WARP {
                    let two: [u32; 2] = std::array::from_fn(|i| {
                        let (row, column) = (lane / 4, lane % 4 * 2 + i);
                        let (row, column) = if transposed { (column, row) } else { (row, column) };
                        u32::from(matrices[matrix * 8 + row][column])
                    });
                    registers.word[at(matrix)][lane] = two[0] | two[1] << 16;
                }
            }
        }
    }
    Ok(())
}

fn whole(here: u32) -> Result<(), String> {
    if here == u32::MAX { Ok(()) } else { Err("lanes of the warp have ended".into()) }
}

/// Which lane is read, and whether it is in range.
fn source(how: Shuffle, lane: u32, b: u32, c: u32) -> (u32, bool) {
    let (clamp, segment) = (c & 31, c >> 8 & 31);
    let most = (lane & segment) | (clamp & !segment);
    let (from, inside) = match how {
        Shuffle::Up => (lane.wrapping_sub(b), lane as i32 - b as i32 >= most as i32),
        Shuffle::Butterfly => (lane ^ b, lane ^ b <= most),
        Shuffle::Index => {
            let from = (lane & segment) | (b & !segment);
            (from, from <= most)
        }
    };
    (if inside { from } else { lane }, inside)
}

/// D = A·B + C of 16×16 and 16×8. A lane is of group lane/4, at t = lane%4 in it, and holds:
/// a: 8 values in pairs, i of them at row group (i of 0, 1, 4, 5) or group + 8, column 2t + i%2, + 8 from i = 4 on;
/// b: 4 values, i at row 2t + i%2, + 8 from i = 2 on, column group;
/// c, d: 4 values, i at row group (i < 2) or group + 8, column 2t + i%2.
/// The order of a card's sum is not said: here it is one chain over k ascending, of fused multiply-adds.
fn product(a: &[[u32; WARP]; 4], b: &[[u32; WARP]; 2], c: &[[u32; WARP]; 4]) -> [[u32; WARP]; 4] {
    let half =
        |word: u32, high: usize| f32::from_bits(if high == 1 { word & 0xffff_0000 } else { word << 16 });
    let (mut left, mut right) = ([[0f32; 16]; 16], [[0f32; 16]; 8]);
    for lane in 0..WARP {
        let (group, t) = (lane / 4, lane % 4);
        for i in 0..8 {
            let row = if matches!(i, 0 | 1 | 4 | 5) { group } else { group + 8 };
            let column = 2 * t + i % 2 + if i >= 4 { 8 } else { 0 };
            left[row][column] = half(a[i / 2][lane], i % 2);
        }
        for i in 0..4 {
            let row = 2 * t + i % 2 + if i >= 2 { 8 } else { 0 };
            right[group][row] = half(b[i / 2][lane], i % 2);
        }
    }
    let mut d = [[0; WARP]; 4];
    for lane in 0..WARP {
        for i in 0..4 {
            let (row, column) = (lane / 4 + if i < 2 { 0 } else { 8 }, lane % 4 * 2 + i % 2);
            let pairs = left[row].iter().zip(&right[column]);
            let sum = pairs.fold(f32::from_bits(c[i][lane]), |sum, (x, y)| x.mul_add(*y, sum));
            d[i][lane] = if sum.is_nan() { 0x7fff_ffff } else { sum.to_bits() };
        }
    }
    d
}
