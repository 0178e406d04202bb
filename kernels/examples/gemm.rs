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

mod peak;

use std::hint::black_box;

use peak::{Way, best, rate};
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
