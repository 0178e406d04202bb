//! Whether AMX is to be used: the processor has it, the system keeps its registers, the kernel permits it, and a
//! product on tiles has the bits of the definition.

use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};

use super::super::panels::PANEL;
use super::super::reference::{dot_block, to_bf16};
use super::super::way::Area;
use super::multiply;

/// Whether products may run on tiles, asking the kernel for its permission.
///
/// # Errors
/// What is missing, in a few words.
pub fn amx() -> Result<(), String> {
    reported()?;
    permitted()?;
    // SAFETY: the processor reports AMX and the kernel permits it.
    unsafe { agrees() }
}

/// CPUID and XCR0. (Not the leaves 0x1D and 0x1E, which describe tiles: hypervisors leave them empty.)
fn reported() -> Result<(), String> {
    const OSXSAVE: u32 = 1 << 27;
    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;
    /// The state components of the tiles' configuration and of the tiles themselves.
    const TILES: u64 = 1 << 17 | 1 << 18;
    #[target_feature(enable = "xsave")]
    fn enabled() -> u64 {
        // SAFETY: register 0 is there wherever OSXSAVE is set.
        unsafe { _xgetbv(0) }
    }
    if __cpuid(0).eax < 7 || __cpuid_count(7, 0).edx & (AMX_BF16 | AMX_TILE) != AMX_BF16 | AMX_TILE {
        return Err("no AMX in this processor".into());
    }
    // SAFETY: OSXSAVE says that the instruction is there.
    if __cpuid(1).ecx & OSXSAVE == 0 || unsafe { enabled() } & TILES != TILES {
        return Err("AMX is in this processor, but the system does not keep its registers".into());
    }
    Ok(())
}

/// Linux gives a process the tiles' 8 KiB of state only when asked.
#[cfg(target_os = "linux")]
fn permitted() -> Result<(), String> {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    // SAFETY: the call takes two numbers and touches no memory of ours.
    match unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) } {
        0 => Ok(()),
        _ => {
            let why = std::io::Error::last_os_error();
            Err(format!("AMX is in this processor, but the kernel does not permit it: {why}"))
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn permitted() -> Result<(), String> {
    Err("AMX is used under Linux only".into())
}

/// Multiplies a few odd shapes on tiles and compares every bit with the definition.
///
/// # Safety
/// The tiles must be usable.
///
/// # Errors
/// When one element differs: then this machine's product is not the documented one, and must not be taken for it.
pub unsafe fn agrees() -> Result<(), String> {
    // Heights that need each of the three loops and both kinds of rest; several blocks; edges of columns.
    for (rows, columns, blocks) in [(1, 1, 1), (7, 77, 2), (16, 20, 1), (29, 33, 3), (45, 64, 2)] {
        let (row_panels, panels) = (usize::div_ceil(rows, PANEL), usize::div_ceil(columns, PANEL));
        let words = blocks * 16 * PANEL;
        let a = Words::noise(row_panels * words, 1);
        let b = Words::noise(panels * words, 2);
        let start: Vec<f32> = (0..rows * columns).map(|i| f32::from_bits(noise(i, 3, true))).collect();
        let mut out = start.clone();
        // SAFETY: the caller's promise; the operands are whole panels, and `out` is rows by columns.
        unsafe {
            multiply(&Area {
                rows,
                columns,
                steps: blocks * 16,
                a: a.words().as_ptr(),
                a_stride: words,
                b: b.words().as_ptr(),
                b_panel: words,
                out: out.as_mut_ptr(),
                out_row: columns,
                from_out: true,
                bias: std::ptr::null(),
            });
        }
        for (i, (found, start)) in out.iter().zip(start).enumerate() {
            let (r, c) = (i / columns, i % columns);
            let expected = (0..blocks).fold(start, |sum, block| {
                let word = |words: &Words, at: usize| {
                    let word = words.words()[at];
                    [word as u16, (word >> 16) as u16]
                };
                let left = |s| word(&a, r / PANEL * words + (block * PANEL + r % PANEL) * 16 + s);
                let right = |s| word(&b, c / PANEL * words + (block * 16 + s) * PANEL + c % PANEL);
                dot_block(&std::array::from_fn(left), &std::array::from_fn(right), sum)
            });
            if found.to_bits() != expected.to_bits() {
                return Err(format!(
                    "AMX is in this processor, but a product of its tiles is {found:e} where {expected:e} is documented"
                ));
            }
        }
    }
    Ok(())
}

/// Words of bf16 pairs.
struct Words(Vec<[u32; 16]>);

impl Words {
    fn noise(count: usize, seed: u32) -> Words {
        let half = |i| u32::from(to_bf16(f32::from_bits(noise(i, seed, false))));
        let word = |i| half(2 * i) | half(2 * i + 1) << 16;
        Words((0..count / 16).map(|line| std::array::from_fn(|i| word(16 * line + i))).collect())
    }

    fn words(&self) -> &[u32] {
        self.0.as_flattened()
    }
}

/// The bits of the f32 number i of a row of numbers of either sign: most between 2⁻⁴ and 2⁴, one in eight a zero, and
/// one in eight so small that products of two such are subnormal (a sum among them may be subnormal itself).
fn noise(i: usize, seed: u32, sum: bool) -> u32 {
    let mut state = (i as u32 ^ seed << 20).wrapping_mul(0x9e37_79b9) | 1;
    for _ in 0..3 {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
    }
    let exponent = match state >> 8 & 7 {
        0 => return state & 0x8000_0000,
        1 if sum => state >> 16 & 1,
        1 => 62 + (state >> 16 & 3),
        _ => 123 + (state >> 16 & 7),
    };
    state & 0x8000_0000 | exponent << 23 | (state.wrapping_mul(0x85eb_ca6b) >> 9)
}
