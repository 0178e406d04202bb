//! Times the linear layer and its gradients, and puts them beside what the machine's multipliers could do.
//!
//! ```text
//! cargo run --release -p r1-kernels --example gemm            all shapes, one thread and all threads
//! cargo run --release -p r1-kernels --example gemm -- 2 2048  two threads, M = 2048 only
//! ```
//! The peak is a loop of independent multiply-adds in registers, run by the same number of threads before each shape.
//! The best of several runs counts, for both, because other programs only ever make them slower; so a peak stands
//! until a better one is seen. Beside AMX's peak stands what its innermost loop reaches from a warm first-level cache
//! (2 by 2 tiles, four loads for four products): loading is part of every product, so that is the mark to reach.

use std::hint::black_box;
use std::time::Instant;

use r1_kernels::linear::{Weight, backward_input, backward_weight, forward};
use r1_kernels::{Isa, Precision, isa, supports, threads};

const SHAPES: [(usize, usize); 5] = [(576, 576), (1536, 576), (192, 192), (512, 192), (64, 64)];
const ROWS: [usize; 6] = [1, 8, 64, 256, 512, 2048];

fn main() {
    let level = isa().unwrap_or_else(|message| {
        eprintln!("gemm: {message}");
        std::process::exit(2)
    });
    let asked: Vec<usize> = std::env::args().skip(1).filter_map(|word| word.parse().ok()).collect();
    let all = threads::count();
    let thread_counts = if asked.is_empty() { vec![1, all] } else { vec![asked[0]] };
    println!("GFLOP/s (share of the peak) on {level}");
    for precision in [Precision::F32, Precision::Bf16] {
        if let Err(reason) = supports(precision) {
            println!("{precision:?}: {reason}");
            continue;
        }
        for &count in &thread_counts {
            threads::set(count);
            println!(
                "\n{:>6} {:>2} thr {:>5} {:>5} {:>5} {:>16} {:>16} {:>16}",
                format!("{precision:?}"),
                count,
                "M",
                "N",
                "K",
                "forward",
                "backward_input",
                "backward_weight"
            );
            if precision == Precision::Bf16 && level == Isa::Amx {
                let rate = rate(Way::Fed, level);
                println!("{:>13} 2 by 2 tiles fed from the first-level cache: {:.0}", "", rate / 1e9);
            }
            let mut peak = 0f64;
            for (n, k) in SHAPES {
                for m in ROWS.into_iter().filter(|m| asked.len() < 2 || asked[1..].contains(m)) {
                    peak = peak.max(rate(Way::Registers(precision), level));
                    shape(precision, peak, m, n, k);
                }
            }
        }
    }
}

fn shape(precision: Precision, peak: f64, m: usize, n: usize, k: usize) {
    let noise = |len: usize| (0..len).map(|i| (i * 7919 % 1013) as f32 / 506.5 - 1.0).collect::<Vec<_>>();
    let (x, w, dy) = (noise(m * k), noise(n * k), noise(m * n));
    let (mut y, mut dx, mut dw) = (vec![0.0; m * n], vec![0.0; m * k], vec![0.0; n * k]);
    let weight = Weight::pack(&w, n, k, precision, true);
    let flops = 2.0 * (m * n * k) as f64;
    let line = [
        best(flops, || forward(&x, &weight, None, &mut y)),
        best(flops, || backward_input(&dy, &weight, &mut dx, false)),
        best(flops, || backward_weight(&dy, &x, n, k, precision, &mut dw)),
    ]
    .map(|rate| format!("{:>8.1} ({:>3.0} %)", rate / 1e9, 100.0 * rate / peak));
    println!(
        "{:>13} {m:>5} {n:>5} {k:>5} {:>16} {:>16} {:>16}   peak {:.0}",
        "",
        line[0],
        line[1],
        line[2],
        peak / 1e9
    );
    black_box((y, dx, dw));
}

/// The best rate, in operations a second, of several runs of a few hundred microseconds each.
fn best(flops: f64, mut f: impl FnMut()) -> f64 {
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
enum Way {
    /// Independent multiply-adds in registers: 24 chains of vectors (6 of tiles), so that none waits for itself.
    Registers(Precision),
    /// AMX tiles, loaded.
    Fed,
}

fn rate(way: Way, level: Isa) -> f64 {
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
