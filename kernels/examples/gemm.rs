//! Times the linear layer and its gradients, and puts them beside what the machine's multipliers could do.
//!
//! ```text
//! cargo run --release -p r1-kernels --example gemm            all shapes, one thread and all threads
//! cargo run --release -p r1-kernels --example gemm -- 2 2048  two threads, M = 2048 only
//! ```
//! The peak is a loop of independent multiply-adds in registers, run by the same number of threads before each shape.
//! The best of several runs counts, for both, because other programs only ever make them slower; so a peak stands
//! until a better one is seen.

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
            let mut peak = 0f64;
            for (n, k) in SHAPES {
                for m in ROWS.into_iter().filter(|m| asked.len() < 2 || asked[1..].contains(m)) {
                    peak = peak.max(multiply_adds(precision, level));
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

/// Multiply-adds in registers: 24 chains of vectors, so that no chain waits for its own last result.
fn multiply_adds(precision: Precision, level: Isa) -> f64 {
    const STEPS: usize = 20_000;
    let tasks = threads::count();
    let per_task = match (precision, level) {
        (Precision::Bf16, _) => 24 * 16 * 4,
        (_, Isa::Avx512 | Isa::Avx512Bf16) => 24 * 16 * 2,
        (_, Isa::Avx2) => 12 * 8 * 2,
        (_, Isa::Portable) => 16 * 2,
    };
    best((tasks * STEPS * per_task) as f64, || {
        threads::parallel(tasks, |_| chains(precision, level, STEPS));
    })
}

fn chains(precision: Precision, level: Isa, steps: usize) {
    match (precision, level) {
        // SAFETY: `level` is what the machine reports.
        #[cfg(target_arch = "x86_64")]
        (Precision::Bf16, _) => unsafe { x86::bf16(steps) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        (_, Isa::Avx512 | Isa::Avx512Bf16) => unsafe { x86::avx512(steps) },
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
}
