//! The instructions: tile shapes, and the innermost loops, each one block of assembly from sums to sums (the compiler
//! knows no tile registers on the stable toolchain, so nothing may be left in them between two blocks but their shape).
//!
//! Registers: tmm0 … tmm3 sums, the others operands. In a panel of rows two tiles follow each other, 1024 bytes apart,
//! rows 64 bytes apart; in a panel of columns they stand side by side, rows (steps) 128 bytes apart. 16 steps further
//! is 2048 bytes in both.

use std::arch::asm;

/// Where the sums of one loop stand: f32 at `at`, rows `stride` bytes apart.
#[derive(Clone, Copy)]
pub struct Sums {
    pub at: *mut f32,
    pub stride: usize,
    /// Whether they go on from what stands there, else from 0.
    pub kept: bool,
}

/// What `LDTILECFG` reads: palette 1 is eight tiles of at most 16 rows of 64 bytes. (The leaves of CPUID that say so
/// are zeros under some hypervisors; the palette is part of the architecture.)
#[repr(C, align(64))]
struct Config {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes: [u16; 16],
    rows: [u8; 16],
}

/// Gives tile t the first `rows[t]` rows, and clears all tiles.
///
/// # Safety
/// The machine must have AMX and the process its kernel's permission.
pub unsafe fn shape(rows: [usize; 8]) {
    let mut config = Config { palette: 1, start_row: 0, reserved: [0; 14], bytes: [0; 16], rows: [0; 16] };
    for (t, rows) in rows.into_iter().enumerate() {
        (config.rows[t], config.bytes[t]) = (rows as u8, 64);
    }
    // SAFETY: the caller's promise. The block reads memory, so the configuration stands there before it.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const config, options(nostack, readonly, preserves_flags)) }
}

/// Gives the tiles back: a thread that holds none is cheaper to switch.
///
/// # Safety
/// As for [`shape`].
pub unsafe fn release() {
    // SAFETY: the caller's promise.
    unsafe { asm!("tilerelease", options(nostack, preserves_flags)) }
}

/// One block of assembly on all tiles, of at least one round.
macro_rules! on_tiles {
    ($($code:literal)+; $($operands:tt)+) => {
        asm!(
            $($code,)+
            $($operands)+
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack)
        )
    };
}

/// Lines to have in the caches soon, at any address: while a loop multiplies, it asks for them bit by bit.
#[derive(Clone, Copy)]
pub struct Soon {
    /// Columns: every 16 steps four lines, `gap` bytes apart, for the second-level cache.
    pub columns: *const u32,
    pub gap: usize,
    /// Sums: every 16 steps two rows, to be written.
    pub sums: *const f32,
}

/// 2 tiles of rows (the second one perhaps lower) by one panel, `blocks` times 16 steps, at least one.
///
/// # Safety
/// The pointers must be good for what the tiles' shape makes of them; sums are 16 rows and the second tile's, by 32.
pub unsafe fn two_by_two(a: *const u32, b: *const u32, blocks: usize, soon: Soon, sums: Sums) {
    // SAFETY: the caller's promise; a prefetch never faults.
    unsafe {
        on_tiles!(
            "test {kept:e}, {kept:e}"
            "jz 2f"
            "tileloadd tmm0, [{c} + {row}]"
            "tileloadd tmm1, [{c} + {row} + 64]"
            "tileloadd tmm2, [{d} + {row}]"
            "tileloadd tmm3, [{d} + {row} + 64]"
            "jmp 3f"
            "2:"
            "tilezero tmm0"
            "tilezero tmm1"
            "tilezero tmm2"
            "tilezero tmm3"
            "3:"
            "tileloadd tmm4, [{a} + {line}]"
            "tileloadd tmm6, [{b} + 2*{line}]"
            "tdpbf16ps tmm0, tmm4, tmm6"
            "prefetcht1 [{columns}]"
            "prefetcht1 [{columns} + {gap}]"
            "lea {columns}, [{columns} + 2*{gap}]"
            "prefetchw [{sums}]"
            "prefetchw [{sums} + 64]"
            "tileloadd tmm7, [{b} + 2*{line} + 64]"
            "tdpbf16ps tmm1, tmm4, tmm7"
            "add {sums}, {row}"
            "prefetcht1 [{columns}]"
            "prefetcht1 [{columns} + {gap}]"
            "lea {columns}, [{columns} + 2*{gap}]"
            "prefetchw [{sums}]"
            "prefetchw [{sums} + 64]"
            "tileloadd tmm5, [{a} + {line} + 1024]"
            "tdpbf16ps tmm2, tmm5, tmm6"
            "add {sums}, {row}"
            "add {a}, 2048"
            "add {b}, 2048"
            "tdpbf16ps tmm3, tmm5, tmm7"
            "dec {blocks}"
            "jnz 3b"
            "tilestored [{c} + {row}], tmm0"
            "tilestored [{c} + {row} + 64], tmm1"
            "tilestored [{d} + {row}], tmm2"
            "tilestored [{d} + {row} + 64], tmm3";
            a = inout(reg) a => _,
            b = inout(reg) b => _,
            blocks = inout(reg) blocks => _,
            columns = inout(reg) soon.columns => _,
            gap = in(reg) soon.gap,
            sums = inout(reg) soon.sums => _,
            line = in(reg) 64usize,
            c = in(reg) sums.at,
            d = in(reg) sums.at.wrapping_byte_add(16 * sums.stride),
            row = in(reg) sums.stride,
            kept = in(reg) u32::from(sums.kept),
        );
    }
}

/// One tile of rows by the two panels at `b` and `next`, as [`two_by_two`].
///
/// # Safety
/// As for [`two_by_two`]; sums are the tile's rows by 64.
pub unsafe fn four_columns(a: *const u32, b: *const u32, next: *const u32, blocks: usize, sums: Sums) {
    // SAFETY: the caller's promise.
    unsafe {
        on_tiles!(
            "test {kept:e}, {kept:e}"
            "jz 2f"
            "tileloadd tmm0, [{c} + {row}]"
            "tileloadd tmm1, [{c} + {row} + 64]"
            "tileloadd tmm2, [{c} + {row} + 128]"
            "tileloadd tmm3, [{c} + {row} + 192]"
            "jmp 3f"
            "2:"
            "tilezero tmm0"
            "tilezero tmm1"
            "tilezero tmm2"
            "tilezero tmm3"
            "3:"
            "tileloadd tmm4, [{a} + {line}]"
            "tileloadd tmm5, [{b} + 2*{line}]"
            "tdpbf16ps tmm0, tmm4, tmm5"
            "tileloadd tmm6, [{b} + 2*{line} + 64]"
            "tdpbf16ps tmm1, tmm4, tmm6"
            "tileloadd tmm7, [{next} + 2*{line}]"
            "tdpbf16ps tmm2, tmm4, tmm7"
            "tileloadd tmm5, [{next} + 2*{line} + 64]"
            "tdpbf16ps tmm3, tmm4, tmm5"
            "add {a}, 2048"
            "add {b}, 2048"
            "add {next}, 2048"
            "dec {blocks}"
            "jnz 3b"
            "tilestored [{c} + {row}], tmm0"
            "tilestored [{c} + {row} + 64], tmm1"
            "tilestored [{c} + {row} + 128], tmm2"
            "tilestored [{c} + {row} + 192], tmm3";
            a = inout(reg) a => _,
            b = inout(reg) b => _,
            next = inout(reg) next => _,
            blocks = inout(reg) blocks => _,
            line = in(reg) 64usize,
            c = in(reg) sums.at,
            row = in(reg) sums.stride,
            kept = in(reg) u32::from(sums.kept),
        );
    }
}

/// One tile of rows by one panel, as [`two_by_two`].
///
/// # Safety
/// As for [`two_by_two`]; sums are the tile's rows by 32.
pub unsafe fn two_columns(a: *const u32, b: *const u32, blocks: usize, sums: Sums) {
    // SAFETY: the caller's promise.
    unsafe {
        on_tiles!(
            "test {kept:e}, {kept:e}"
            "jz 2f"
            "tileloadd tmm0, [{c} + {row}]"
            "tileloadd tmm1, [{c} + {row} + 64]"
            "jmp 3f"
            "2:"
            "tilezero tmm0"
            "tilezero tmm1"
            "3:"
            "tileloadd tmm4, [{a} + {line}]"
            "tileloadd tmm5, [{b} + 2*{line}]"
            "tdpbf16ps tmm0, tmm4, tmm5"
            "tileloadd tmm6, [{b} + 2*{line} + 64]"
            "tdpbf16ps tmm1, tmm4, tmm6"
            "add {a}, 2048"
            "add {b}, 2048"
            "dec {blocks}"
            "jnz 3b"
            "tilestored [{c} + {row}], tmm0"
            "tilestored [{c} + {row} + 64], tmm1";
            a = inout(reg) a => _,
            b = inout(reg) b => _,
            blocks = inout(reg) blocks => _,
            line = in(reg) 64usize,
            c = in(reg) sums.at,
            row = in(reg) sums.stride,
            kept = in(reg) u32::from(sums.kept),
        );
    }
}
