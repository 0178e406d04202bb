//! What the machine's multipliers and its memory can do, measured: the marks that ops are held to.

use std::hint::black_box;
use std::time::Instant;

use r1_kernels::{Isa, Precision, threads};

/// The best rate, in operations a second, of several runs of a few hundred microseconds each.
pub fn best(flops: f64, mut f: impl FnMut()) -> f64 {
    let once = Instant::now();
    f();
    let repeats = (3e-4 / once.elapsed().as_secs_f64().max(1e-7)).ceil() as usize;
    let mut best = f64::INFINITY;
    let began = Instant::now();
    while began.elapsed().as_secs_f64() < 0.05 {
        let run = Instant::now();
        for _ in 0..repeats {
            f();
        }
        best = best.min(run.elapsed().as_secs_f64() / repeats as f64);
    }
    flops / best
}

/// A loop to measure.
#[derive(Clone, Copy)]
pub enum Way {
    /// Independent multiply-adds in registers: 24 chains of vectors (6 of tiles), so that none waits for itself.
    Registers(Precision),
    /// AMX tiles, loaded.
    #[allow(dead_code)]
    Fed,
}

/// Bytes a second that all threads read and write together where each value is read, changed and written elsewhere, from arrays that
/// no cache holds.
#[allow(dead_code)]
pub fn memory() -> f64 {
    const LEN: usize = 32 << 20;
    const PART: usize = 64 << 10;
    let (from, mut to) = (vec![1f32; LEN], vec![0f32; LEN]);
    let to = threads::SharedMut::new(&mut to);
    best((2 * LEN * size_of::<f32>()) as f64, || {
        threads::parallel(LEN / PART, |part| {
            let range = part * PART..(part + 1) * PART;
            // SAFETY: the parts are disjoint.
            let to = unsafe { to.slice(range.clone()) };
            to.iter_mut().zip(&from[range]).for_each(|(to, x)| *to = 2.0 * x);
        });
    })
}

/// Operations a second of all threads.
pub fn rate(way: Way, level: Isa) -> f64 {
    const STEPS: usize = 20_000;
    let tasks = threads::count();
    // Operations of one step.
    let per_step = match (way, level) {
        (Way::Fed, _) => 4 * 16 * 16 * 32 * 2,
        (Way::Registers(Precision::Bf16), Isa::Amx) => 6 * 16 * 16 * 32 * 2,
        (Way::Registers(Precision::Bf16), _) => 24 * 16 * 4,
        (_, Isa::Avx512 | Isa::Avx512Bf16 | Isa::Amx) => 24 * 16 * 2,
        (_, Isa::Avx2) => 12 * 8 * 2,
        (_, Isa::Portable) => 16 * 2,
    };
    best((tasks * STEPS * per_step) as f64, || {
        threads::parallel(tasks, |_| chains(way, level, STEPS));
    })
}

fn chains(way: Way, level: Isa, steps: usize) {
    match (way, level) {
        // SAFETY: `level` is what the machine reports.
        #[cfg(target_arch = "x86_64")]
        (Way::Fed, _) => unsafe { x86::amx_fed(steps) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        (Way::Registers(Precision::Bf16), Isa::Amx) => unsafe { x86::amx(steps) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        (Way::Registers(Precision::Bf16), _) => unsafe { x86::bf16(steps) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        (_, Isa::Avx512 | Isa::Avx512Bf16 | Isa::Amx) => unsafe { x86::avx512(steps) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        (_, Isa::Avx2) => unsafe { x86::avx2(steps) },
        _ => {
            let mut sums = [1f32; 16];
            for _ in 0..steps {
                sums.iter_mut().for_each(|sum| *sum = sum.mul_add(0.999, 0.001));
            }
            black_box(sums);
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::asm;
    use std::arch::x86_64::*;
    use std::hint::black_box;

    #[target_feature(enable = "avx512f")]
    pub fn avx512(steps: usize) {
        let (a, b) = (_mm512_set1_ps(black_box(0.999)), _mm512_set1_ps(black_box(0.001)));
        let mut sums = [a; 24];
        for _ in 0..steps {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(a, b, *sum);
            }
        }
        black_box(sums);
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    pub fn bf16(steps: usize) {
        let b = _mm512_cvtne2ps_pbh(_mm512_set1_ps(black_box(0.999)), _mm512_set1_ps(black_box(0.001)));
        let mut sums = [_mm512_setzero_ps(); 24];
        for _ in 0..steps {
            for sum in &mut sums {
                *sum = _mm512_dpbf16_ps(*sum, b, b);
            }
        }
        black_box(sums);
    }

    #[target_feature(enable = "avx2,fma")]
    pub fn avx2(steps: usize) {
        let (a, b) = (_mm256_set1_ps(black_box(0.999)), _mm256_set1_ps(black_box(0.001)));
        let mut sums = [a; 12];
        for _ in 0..steps {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(a, b, *sum);
            }
        }
        black_box(sums);
    }

    /// Eight tiles of 16 rows of 64 bytes.
    #[repr(C, align(64))]
    struct Config([u8; 64]);

    impl Config {
        fn whole() -> Config {
            let mut bytes = [0; 64];
            bytes[0] = 1;
            for tile in 0..8 {
                (bytes[16 + 2 * tile], bytes[48 + tile]) = (64, 16);
            }
            Config(bytes)
        }
    }

    /// # Safety
    /// The machine must have AMX and the process its kernel's permission.
    pub unsafe fn amx(steps: usize) {
        let config = Config::whole();
        // SAFETY: the caller's promise; the tiles hold zeros after the configuration.
        unsafe {
            asm!(
                "ldtilecfg [{config}]",
                "2:",
                "tdpbf16ps tmm0, tmm6, tmm7",
                "tdpbf16ps tmm1, tmm6, tmm7",
                "tdpbf16ps tmm2, tmm6, tmm7",
                "tdpbf16ps tmm3, tmm6, tmm7",
                "tdpbf16ps tmm4, tmm6, tmm7",
                "tdpbf16ps tmm5, tmm6, tmm7",
                "dec {steps}",
                "jnz 2b",
                "tilerelease",
                config = in(reg) &raw const config,
                steps = inout(reg) steps => _,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack)
            );
        }
    }

    /// Rounds of 4 KiB, from 24 KiB.
    ///
    /// # Safety
    /// As for [`amx`].
    pub unsafe fn amx_fed(steps: usize) {
        #[repr(align(64))]
        struct Operands([u8; 24 * 1024]);
        let operands = black_box(Operands([0; 24 * 1024]));
        let config = Config::whole();
        // SAFETY: the caller's promise; the loads stay inside the operands.
        unsafe {
            asm!(
                "ldtilecfg [{config}]",
                "2:",
                "tileloadd tmm4, [{at} + {line}]",
                "tileloadd tmm6, [{at} + 2*{line} + 2048]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm7, [{at} + 2*{line} + 2112]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tileloadd tmm5, [{at} + {line} + 1024]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "add {at}, 4096",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "cmp {at}, {end}",
                "cmovae {at}, {begin}",
                "dec {steps}",
                "jnz 2b",
                "tilerelease",
                config = in(reg) &raw const config,
                at = inout(reg) operands.0.as_ptr() => _,
                begin = in(reg) operands.0.as_ptr(),
                end = in(reg) operands.0.as_ptr_range().end,
                line = in(reg) 64usize,
                steps = inout(reg) steps => _,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack)
            );
        }
    }
}
