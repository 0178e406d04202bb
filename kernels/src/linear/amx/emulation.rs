//! AMX on machines without it, for tests: the six instructions are taken where they trap, and done in software.
//!
//! The processor raises SIGILL at an instruction that it lacks. The handler reads the instruction's bytes, does what
//! Intel's manual (Software Developer's Manual, volume 2, and its chapter on tile programming) says, on tiles of
//! the thread's own, and lets the thread go on behind it. What the manual forbids ends the process with a message,
//! and so does any other instruction. So the tests run the very code that runs on tiles, byte for byte.

use std::arch::asm;
use std::cell::UnsafeCell;
use std::sync::OnceLock;

use crate::Isa;

/// One instruction with its operands' values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Instruction {
    Configure {
        from: usize,
    },
    Release,
    Zero {
        tile: usize,
    },
    Load {
        tile: usize,
        from: usize,
        stride: usize,
    },
    Store {
        tile: usize,
        to: usize,
        stride: usize,
    },
    /// `c += a · b`: TDPBF16PS c, a, b.
    Dot {
        c: usize,
        a: usize,
        b: usize,
    },
}
use Instruction::*;

/// Reads the instruction at `code`; `register` gives general registers by their number. Also returns its length.
pub fn decode(code: impl Fn(usize) -> u8, register: impl Fn(usize) -> usize) -> Option<(Instruction, usize)> {
    // C4 | R̄ X̄ B̄ map | W v̄v̄v̄v̄ L pp | opcode | ModRM | …: map 2 is 0F38, pp is none, 66, F3 or F2.
    let (first, second, opcode, modrm) = (code(1), code(2), code(3), code(4));
    if code(0) != 0xc4 || first & 31 != 2 || second & 0x84 != 0 {
        return None;
    }
    let [r, x, b] = [7, 6, 5].map(|bit| usize::from(!first >> bit & 1) << 3);
    let (v, prefix) = (usize::from(!second >> 3 & 15), second & 3);
    let (mode, reg, rm) = (modrm >> 6, usize::from(modrm >> 3 & 7) + r, usize::from(modrm & 7));
    // A memory operand: base, index · scale, length of the instruction.
    let memory = || {
        let signed = |at: usize, width: u8| match width {
            0 => 0,
            1 => code(at) as i8 as isize as usize,
            _ => i32::from_le_bytes(std::array::from_fn(|i| code(at + i))) as isize as usize,
        };
        let (base, index, at) = if rm == 4 {
            let sib = code(5);
            let (scale, index, base) = (sib >> 6, usize::from(sib >> 3 & 7) + x, usize::from(sib & 7));
            if mode == 0 && base == 5 {
                return None;
            }
            let index = if index == 4 { 0 } else { register(index) << scale };
            (register(base + b), index, 6)
        } else {
            if mode == 0 && rm == 5 {
                return None;
            }
            (register(rm + b), 0, 5)
        };
        let (width, bytes) = [(0, 0), (1, 1), (4, 4)][usize::from(mode)];
        Some((base.wrapping_add(signed(at, width)), index, at + bytes))
    };
    let alone = v == 0;
    match (opcode, prefix, mode) {
        (0x49, 0, 3) if alone && modrm == 0xc0 => Some((Release, 5)),
        (0x49, 3, 3) if alone && rm == 0 && reg < 8 => Some((Zero { tile: reg }, 5)),
        (0x49, 0, 0..3) if alone && reg == 0 => {
            memory().map(|(base, index, length)| (Configure { from: base.wrapping_add(index) }, length))
        }
        (0x4b, 3, 0..3) if alone && rm == 4 && reg < 8 => {
            memory().map(|(from, stride, length)| (Load { tile: reg, from, stride }, length))
        }
        (0x4b, 2, 0..3) if alone && rm == 4 && reg < 8 => {
            memory().map(|(to, stride, length)| (Store { tile: reg, to, stride }, length))
        }
        (0x5c, 2, 3) if reg < 8 && rm + b < 8 && v < 8 => Some((Dot { c: reg, a: rm, b: v }, 5)),
        _ => None,
    }
}

/// What a thread's tile registers hold.
pub struct Tiles {
    configured: bool,
    rows: [usize; 8],
    bytes: [usize; 8],
    values: [[[u8; 64]; 16]; 8],
    /// Not Intel's: the two chains are one, as a machine with another order of summation might have it.
    pub astray: bool,
}

impl Tiles {
    pub const FRESH: Tiles =
        Tiles { configured: false, rows: [0; 8], bytes: [0; 8], values: [[[0; 64]; 16]; 8], astray: false };

    /// Does one instruction.
    ///
    /// # Safety
    /// Its memory operand must be good for what the configuration makes of it.
    ///
    /// # Errors
    /// What the manual answers with an invalid-opcode or general-protection exception.
    pub unsafe fn execute(&mut self, instruction: Instruction) -> Result<(), &'static str> {
        match instruction {
            // SAFETY: the caller's promise.
            Configure { from } => return self.configure(unsafe { *(from as *const [u8; 64]) }),
            Release => {
                (self.configured, self.rows, self.bytes) = (false, [0; 8], [0; 8]);
                self.values = [[[0; 64]; 16]; 8];
                return Ok(());
            }
            _ if !self.configured => return Err("the tiles are not configured"),
            Zero { tile } => {
                self.shape(tile)?;
                self.values[tile] = [[0; 64]; 16];
            }
            Load { tile, from, stride } => {
                let (rows, bytes) = self.shape(tile)?;
                self.values[tile] = [[0; 64]; 16];
                for r in 0..rows {
                    let row = from.wrapping_add(r.wrapping_mul(stride)) as *const u8;
                    // SAFETY: the caller's promise.
                    unsafe { row.copy_to_nonoverlapping(self.values[tile][r].as_mut_ptr(), bytes) }
                }
            }
            Store { tile, to, stride } => {
                let (rows, bytes) = self.shape(tile)?;
                for r in 0..rows {
                    let row = to.wrapping_add(r.wrapping_mul(stride)) as *mut u8;
                    // SAFETY: the caller's promise.
                    unsafe { row.copy_from_nonoverlapping(self.values[tile][r].as_ptr(), bytes) }
                }
            }
            Dot { c, a, b } => return self.dot(c, a, b),
        }
        Ok(())
    }

    fn configure(&mut self, memory: [u8; 64]) -> Result<(), &'static str> {
        let astray = self.astray;
        *self = Tiles { astray, ..Tiles::FRESH };
        match memory[0] {
            0 => return Ok(()),
            1 => (),
            _ => return Err("no such palette"),
        }
        if memory[1] != 0 {
            return Err("a start row is for interrupted loads only");
        }
        if memory[2..16].iter().chain(&memory[32..48]).chain(&memory[56..]).any(|&byte| byte != 0) {
            return Err("a reserved byte of the configuration, or a ninth tile");
        }
        for tile in 0..8 {
            let bytes = usize::from(u16::from_le_bytes([memory[16 + 2 * tile], memory[17 + 2 * tile]]));
            let rows = usize::from(memory[48 + tile]);
            if rows > 16 || bytes > 64 || (rows == 0) != (bytes == 0) {
                return Err("a tile of a size that the palette lacks");
            }
            (self.rows[tile], self.bytes[tile]) = (rows, bytes);
        }
        self.configured = true;
        Ok(())
    }

    /// Rows, and bytes of a row.
    fn shape(&self, tile: usize) -> Result<(usize, usize), &'static str> {
        if self.rows[tile] == 0 || self.bytes[tile] == 0 {
            return Err("a tile without a shape");
        }
        Ok((self.rows[tile], self.bytes[tile]))
    }

    /// `c.row[m].fp32[n] += Σ_k …`, in the manual's order, in its rounding: DAZ = FTZ = 1, nearest even.
    fn dot(&mut self, c: usize, a: usize, b: usize) -> Result<(), &'static str> {
        if c == a || a == b || c == b {
            return Err("one tile named twice");
        }
        let ((c_rows, c_bytes), (a_rows, a_bytes), (b_rows, b_bytes)) =
            (self.shape(c)?, self.shape(a)?, self.shape(b)?);
        if c_bytes % 4 != 0 || a_bytes % 4 != 0 || b_bytes % 4 != 0 {
            return Err("rows of a tile that are not whole words");
        }
        if c_rows != a_rows || a_bytes / 4 != b_rows || c_bytes != b_bytes {
            return Err("tiles that do not fit");
        }
        // make_fp32: a bf16 value is the upper half of an f32.
        let half = |row: &[u8; 64], i: usize| {
            f32::from_bits(u32::from(u16::from_le_bytes([row[2 * i], row[2 * i + 1]])) << 16)
        };
        let old = mode(0x9fc0);
        let mut sums = self.values[c];
        for m in 0..c_rows {
            let mut temp = [0f32; 32];
            for k in 0..a_bytes / 4 {
                for n in 0..c_bytes / 4 {
                    for i in 0..2 {
                        let chain = if self.astray { 2 * n } else { 2 * n + i };
                        let (x, y) =
                            (half(&self.values[a][m], 2 * k + i), half(&self.values[b][k], 2 * n + i));
                        temp[chain] = fused(temp[chain], x, y);
                    }
                }
            }
            for n in 0..c_bytes / 4 {
                let word = &mut sums[m][4 * n..4 * n + 4];
                let start = f32::from_le_bytes([word[0], word[1], word[2], word[3]]);
                word.copy_from_slice(&added(start, added(temp[2 * n], temp[2 * n + 1])).to_le_bytes());
            }
        }
        mode(old);
        self.values[c] = sums;
        Ok(())
    }
}

/// Sets how SSE and AVX arithmetic rounds (MXCSR), for the assembly of [`fused`] and [`added`]; returns what was set.
fn mode(wanted: u32) -> u32 {
    let mut old = 0u32;
    // SAFETY: both words stand in memory; what runs between two calls is the assembly below, which is not reordered.
    unsafe { asm!("stmxcsr [{}]", "ldmxcsr [{}]", in(reg) &raw mut old, in(reg) &raw const wanted) }
    old
}

fn fused(mut sum: f32, a: f32, b: f32) -> f32 {
    // SAFETY: `ready` has asked for FMA.
    unsafe { asm!("vfmadd231ss {}, {}, {}", inout(xmm_reg) sum, in(xmm_reg) a, in(xmm_reg) b) }
    sum
}

fn added(mut a: f32, b: f32) -> f32 {
    // SAFETY: every x86-64 has it.
    unsafe { asm!("addss {}, {}", inout(xmm_reg) a, in(xmm_reg) b) }
    a
}

thread_local! {
    static TILES: UnsafeCell<Tiles> = const { UnsafeCell::new(Tiles::FRESH) };
}

/// Makes this thread's emulated products go astray, or right again.
pub fn astray(wrong: bool) {
    // SAFETY: only this thread's handler uses it beside us, and not now.
    TILES.with(|tiles| unsafe { (*tiles.get()).astray = wrong });
}

/// Whether tile instructions can be run: by the machine, or from now on by the handler.
pub fn ready() -> bool {
    static READY: OnceLock<bool> = OnceLock::new();
    *READY.get_or_init(|| {
        if native() {
            return true;
        }
        if !std::arch::is_x86_feature_detected!("fma") {
            eprintln!("AMX is not tested: this machine has no fused multiply-add to emulate it with");
            return false;
        }
        // SAFETY: an all-zero action is valid; the handler keeps to what a handler may do.
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_NODEFER;
            assert_eq!(libc::sigaction(libc::SIGILL, &raw const action, std::ptr::null_mut()), 0);
        }
        true
    })
}

/// Whether the machine has AMX itself.
pub fn native() -> bool {
    static NATIVE: OnceLock<bool> = OnceLock::new();
    *NATIVE.get_or_init(|| crate::isa::detect().0 == Isa::Amx)
}

extern "C" fn handler(_: libc::c_int, _: *mut libc::siginfo_t, context: *mut libc::c_void) {
    const ORDER: [libc::c_int; 16] = [
        libc::REG_RAX,
        libc::REG_RCX,
        libc::REG_RDX,
        libc::REG_RBX,
        libc::REG_RSP,
        libc::REG_RBP,
        libc::REG_RSI,
        libc::REG_RDI,
        libc::REG_R8,
        libc::REG_R9,
        libc::REG_R10,
        libc::REG_R11,
        libc::REG_R12,
        libc::REG_R13,
        libc::REG_R14,
        libc::REG_R15,
    ];
    // SAFETY: the kernel hands us the interrupted thread's context; its tiles are this thread's own; addresses are
    // those that the instruction would have used.
    unsafe {
        let registers = &mut (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs;
        let code = registers[libc::REG_RIP as usize] as *const u8;
        let decoded = decode(|i| *code.add(i), |number| registers[ORDER[number] as usize] as usize);
        let Some((instruction, length)) = decoded else { fail("an instruction that is none of ours") };
        if let Err(why) = TILES.with(|tiles| (*tiles.get()).execute(instruction)) {
            fail(why);
        }
        registers[libc::REG_RIP as usize] += length as i64;
    }
}

/// Says why on the error stream itself (the test harness would keep it to itself) and ends the process.
fn fail(why: &str) -> ! {
    let line = format!("emulated AMX: illegal instruction: {why}\n");
    // SAFETY: the bytes are there.
    unsafe {
        libc::write(2, line.as_ptr().cast(), line.len());
        libc::abort()
    }
}
