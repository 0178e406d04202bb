//! The emulation held to the manual's words and (where there is one) to the machine; the check that decides.

use super::super::reference::{dot_block, to_bf16};
use super::check::agrees;
use super::emulation::{Instruction, Tiles, astray, decode, native, ready};
use super::tiles::{Sums, release, shape, two_columns};
use Instruction::*;

/// Encodings as GNU as 2.40 writes them.
#[test]
fn instructions_are_read_as_the_assembler_writes_them() {
    let register = |number: usize| 0x1000 * (number + 1);
    let read = |code: &[u8]| decode(|i| code.get(i).copied().unwrap_or(0x90), register);
    let [rax, rcx, rbx, r9, r12] = [0, 1, 3, 9, 12].map(register);
    for (code, instruction) in [
        // ldtilecfg [rax]; ldtilecfg [r12 + 0x40]
        (&[0xc4, 0xe2, 0x78, 0x49, 0x00][..], Configure { from: rax }),
        (&[0xc4, 0xc2, 0x78, 0x49, 0x44, 0x24, 0x40], Configure { from: r12 + 0x40 }),
        // tilerelease; tilezero tmm3
        (&[0xc4, 0xe2, 0x78, 0x49, 0xc0], Release),
        (&[0xc4, 0xe2, 0x7b, 0x49, 0xd8], Zero { tile: 3 }),
        // tileloadd tmm4, [rax + rcx]; tileloadd tmm7, [r9 + 2*r12 + 64]; tileloadd tmm5, [rbx + rcx + 1024]
        (&[0xc4, 0xe2, 0x7b, 0x4b, 0x24, 0x08], Load { tile: 4, from: rax, stride: rcx }),
        (&[0xc4, 0x82, 0x7b, 0x4b, 0x7c, 0x61, 0x40], Load { tile: 7, from: r9 + 64, stride: 2 * r12 }),
        (&[0xc4, 0xe2, 0x7b, 0x4b, 0xac, 0x0b, 0, 4, 0, 0], Load { tile: 5, from: rbx + 1024, stride: rcx }),
        // tilestored [rbx + rcx - 64], tmm1
        (&[0xc4, 0xe2, 0x7a, 0x4b, 0x4c, 0x0b, 0xc0], Store { tile: 1, to: rbx - 64, stride: rcx }),
        // tdpbf16ps tmm2, tmm5, tmm7
        (&[0xc4, 0xe2, 0x42, 0x5c, 0xd5], Dot { c: 2, a: 5, b: 7 }),
    ] {
        assert_eq!(read(code), Some((instruction, code.len())), "{code:x?}");
    }
    // tdpbssd tmm2, tmm5, tmm7 (another opcode), ud2, and a tileloadd without an index byte.
    for code in [&[0xc4, 0xe2, 0x43, 0x5e, 0xd5][..], &[0x0f, 0x0b], &[0xc4, 0xe2, 0x7b, 0x4b, 0x20]] {
        assert_eq!(read(code), None, "{code:x?}");
    }
}

/// A configuration with the given rows and bytes of a row, eight tiles.
fn config(shapes: [(u8, u16); 8]) -> [u8; 64] {
    let mut memory = [0u8; 64];
    memory[0] = 1;
    for (tile, (rows, bytes)) in shapes.into_iter().enumerate() {
        memory[48 + tile] = rows;
        memory[16 + 2 * tile..18 + 2 * tile].copy_from_slice(&bytes.to_le_bytes());
    }
    memory
}

#[test]
fn what_the_manual_forbids_is_refused() {
    let mut tiles = Tiles::FRESH;
    // SAFETY: configurations are 64 bytes that stand here; nothing else below touches memory.
    let mut run = |instruction| unsafe { tiles.execute(instruction) };
    let configure = |memory: &[u8; 64]| Configure { from: memory.as_ptr() as usize };
    for instruction in [Zero { tile: 0 }, Dot { c: 0, a: 1, b: 2 }] {
        assert_eq!(run(instruction), Err("the tiles are not configured"));
    }
    let good = config([(16, 64); 8]);
    for (at, value) in [(0, 2), (1, 1), (5, 1), (40, 1), (60, 1), (48, 17), (16, 65), (48, 0)] {
        let mut bad = good;
        bad[at] = value;
        assert!(run(configure(&bad)).is_err(), "byte {at} = {value}");
        assert!(run(Zero { tile: 1 }).is_err());
    }
    assert_eq!(run(configure(&good)), Ok(()));
    for (c, a, b) in [(0, 0, 1), (0, 1, 1), (1, 0, 1)] {
        assert_eq!(run(Dot { c, a, b }), Err("one tile named twice"));
    }
    assert_eq!(run(Dot { c: 0, a: 1, b: 2 }), Ok(()));
    let odd = config([(5, 64), (5, 32), (8, 64), (4, 64), (8, 60), (5, 62), (8, 62), (0, 0)]);
    assert_eq!(run(configure(&odd)), Ok(()));
    assert_eq!(run(Dot { c: 0, a: 1, b: 2 }), Ok(()));
    for (c, a, b) in [(3, 1, 2), (0, 1, 3), (0, 1, 4)] {
        assert_eq!(run(Dot { c, a, b }), Err("tiles that do not fit"));
    }
    assert_eq!(run(Dot { c: 5, a: 1, b: 6 }), Err("rows of a tile that are not whole words"));
    assert_eq!(run(Zero { tile: 7 }), Err("a tile without a shape"));
    assert_eq!(run(Release), Ok(()));
    assert_eq!(run(Zero { tile: 0 }), Err("the tiles are not configured"));
}

/// Numbers that tell orders of summation apart, each checked by hand.
#[test]
fn an_element_is_two_chains_then_their_sum() {
    let one = |values: &[(usize, f32)]| {
        let mut block = [[0u16; 2]; 16];
        for &(i, v) in values {
            block[i / 2][i % 2] = to_bf16(v);
        }
        block
    };
    let big = 2f32.powi(24);
    let ones = [[to_bf16(1.0); 2]; 16];
    for (values, start, expected) in [
        // The even chain loses its 1 beside 2²⁴; the odd one keeps its own until the chains meet: 2²⁴ + 2.
        (&[(0, big), (2, 1.0), (1, 1.0), (3, 1.0)][..], 0.0, big + 2.0),
        // As one chain in order, 1 would be lost twice more: even terms come to 0 + 1 here.
        (&[(0, big), (2, -big), (4, 1.0)], 0.0, 1.0),
        (&[(0, 1.0), (2, big), (4, -big)], 0.0, 0.0),
        // The start is added last: 1 + 1 = 2 reaches 2²⁴, where 1 and 1 would not.
        (&[(0, 1.0), (1, 1.0)], big, big + 2.0),
        (&[(0, 1.0), (2, 1.0)], big, big + 2.0),
    ] {
        assert_eq!(dot_block(&one(values), &ones, start), expected, "{values:?}");
    }
    let small = 2f32.powi(-70);
    assert_eq!(dot_block(&one(&[(0, small)]), &[[to_bf16(small); 2]; 16], 0.0).to_bits(), 0);
    assert_eq!(dot_block(&one(&[]), &ones, f32::from_bits(1)).to_bits(), 0);
}

/// The emulation, written from the manual, beside the scalar definition, on numbers of every size, and both beside the
/// machine where it has tiles.
#[test]
fn emulation_definition_and_machine_agree() {
    if !ready() {
        return;
    }
    let mut state = 99u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    };
    for round in 0..600 {
        let rows = 1 + round % 16;
        // A third near 1, a third so small that products underflow, a third from everywhere but infinity.
        let (low, span) = [(120, 15), (60, 7), (1, 253)][round % 3];
        let mut half = || {
            let r = next();
            (r as u16 & 0x807f) | (((r >> 32) % span + low) as u16 % 255) << 7
        };
        let a: Vec<u32> = (0..512).map(|_| u32::from(half()) | u32::from(half()) << 16).collect();
        let b: Vec<u32> = (0..512).map(|_| u32::from(half()) | u32::from(half()) << 16).collect();
        let start: Vec<f32> = (0..rows * 32).map(|_| f32::from_bits(u32::from(half()) << 16)).collect();
        let mut out = start.clone();
        // SAFETY: a tile of rows, a panel of columns, `rows` by 32 sums.
        unsafe {
            shape([rows, rows, rows, rows, rows, 16, 16, 16]);
            two_columns(a.as_ptr(), b.as_ptr(), 1, Sums { at: out.as_mut_ptr(), stride: 128, kept: true });
            release();
        }
        let mut emulated = start.clone();
        let memory = config([rows, rows, rows, rows, rows, 16, 16, 16].map(|rows| (rows as u8, 64)));
        let mut tiles = Tiles::FRESH;
        let sums = emulated.as_mut_ptr() as usize;
        for instruction in [
            Configure { from: memory.as_ptr() as usize },
            Load { tile: 0, from: sums + 64, stride: 128 },
            Load { tile: 4, from: a.as_ptr() as usize, stride: 64 },
            Load { tile: 6, from: b.as_ptr() as usize + 64, stride: 128 },
            Dot { c: 0, a: 4, b: 6 },
            Store { tile: 0, to: sums + 64, stride: 128 },
        ] {
            // SAFETY: the same addresses as above.
            assert_eq!(unsafe { tiles.execute(instruction) }, Ok(()));
        }
        for i in 0..rows * 32 {
            let (r, c) = (i / 32, i % 32);
            let word = |words: &[u32], at: usize| [words[at] as u16, (words[at] >> 16) as u16];
            let left = std::array::from_fn(|s| word(&a, r * 16 + s));
            let right = std::array::from_fn(|s| word(&b, s * 32 + c));
            let expected = dot_block(&left, &right, start[i]);
            let same =
                |found: f32| found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan();
            assert!(same(out[i]), "round {round}, {r}, {c}: {:e}, not {expected:e}", out[i]);
            if c >= 16 {
                assert!(
                    same(emulated[i]),
                    "round {round}, {r}, {c}: emulated {:e}, not {expected:e}",
                    emulated[i]
                );
            }
        }
    }
}

#[test]
fn a_machine_with_another_order_of_summation_is_refused() {
    if !ready() {
        return;
    }
    // SAFETY: the tiles are there, or emulated.
    assert_eq!(unsafe { agrees() }, Ok(()));
    if !native() {
        astray(true);
        // SAFETY: as above.
        let refused = unsafe { agrees() }.unwrap_err();
        astray(false);
        assert!(refused.contains("documented"), "{refused}");
    }
}
