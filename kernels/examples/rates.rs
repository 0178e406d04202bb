//! Times every op that is no plain matrix product (`gemm` does those), and puts it beside what the machine can do.
//!
//! ```text
//! cargo run --release -p r1-kernels --example rates
//! ```
//! Ops that a value passes through once are held to memory: bytes that they read and write, each array counted once, beside a loop
//! that reads, changes and writes, over arrays that no cache holds. Attention and the head are held to multiply-adds in registers. The marks
//! are measured first, in the same run; the best of several runs counts everywhere. Sizes are SmolLM2-135M's (the head's vocabulary of 49,152, 9
//! heads of 64, 3 of keys) and 16,384 rows; experts: 8, two a token.

mod peak;

use peak::{Way, best, memory, rate};
use r1_kernels::attention::{self, Cache, PAGE, Segment, Shape};
use r1_kernels::linear::Weight;
use r1_kernels::moe::{self, Router, Scoring};
use r1_kernels::rope::{Pairing, Table};
use r1_kernels::{Precision, adamw, embedding, head, isa, norm, rmsnorm, rope, supports, swiglu, threads};

const ROWS: usize = 16_384;
const C: usize = 576;
const F: usize = 1536;
const VALUES: usize = 32 << 20;

fn noise(len: usize, seed: usize) -> Vec<f32> {
    (0..len).map(|i| ((i + seed) * 7919 % 1013) as f32 / 506.5 - 1.0).collect()
}

fn line(op: &str, unit: &str, rate: f64, mark: f64) {
    println!("{op:<34} {:>8.1} {unit:<8} {:>3.0} %", rate / 1e9, 100.0 * rate / mark);
}

fn main() {
    let level = isa().unwrap_or_else(|message| {
        eprintln!("rates: {message}");
        std::process::exit(2)
    });
    let mark = memory();
    println!("{level}, {} threads; memory, read and written: {:.1} GB/s", threads::count(), mark / 1e9);
    let bytes = |op: &str, values: usize, f: &mut dyn FnMut()| {
        let rate = best((values * size_of::<f32>()) as f64, f);
        line(op, "GB/s", rate, mark);
    };
    rows(&bytes);
    experts(&bytes);
    weights(&bytes);
    for precision in [Precision::F32, Precision::Bf16] {
        if let Err(reason) = supports(precision) {
            println!("{precision:?}: {reason}");
            continue;
        }
        let mark = rate(Way::Registers(precision), level);
        println!("{precision:?} multiply-adds in registers: {:.0} GFLOP/s", mark / 1e9);
        if precision == Precision::F32 {
            attend(mark);
        }
        heads(precision, mark);
    }
}

/// What a bound op is told: its name, the values that it reads and writes, itself.
type Bytes<'a> = &'a dyn Fn(&str, usize, &mut dyn FnMut());

fn rows(bytes: Bytes) {
    let n = ROWS * C;
    let (x, dy, w) = (noise(n, 1), noise(n, 2), noise(C, 3));
    let (mut y, mut dx, mut rstd, mut dw) = (vec![0.0; n], vec![0.0; n], vec![0.0; ROWS], vec![0.0; C]);
    bytes("rmsnorm::forward", 2 * n, &mut || rmsnorm::forward(&x, &w, 1e-5, &mut y, &mut rstd));
    bytes("rmsnorm::add_forward", 4 * n, &mut || {
        rmsnorm::add_forward(&mut dx, &dy, &w, 1e-5, &mut y, &mut rstd);
    });
    bytes("rmsnorm::backward", 3 * n, &mut || {
        rmsnorm::backward(&dy, &x, &w, &rstd, &mut dx, Some(&mut dw), false);
    });
    let table = Table::build(&(0..32).map(|i| 1e4f64.powf(-i as f64 / 32.0)).collect::<Vec<_>>(), 256, 1.0);
    let positions: Vec<u32> = (0..ROWS as u32).map(|i| i % 256).collect();
    bytes("rope::apply", 2 * n, &mut || {
        rope::apply(&mut y, 9, 64, 0, &positions, &table, Pairing::Half, false)
    });
    bytes("attention::round_to_bf16", 2 * n, &mut || attention::round_to_bf16(&mut y));
    let (gate_up, dact) = (noise(ROWS * 2 * F, 4), noise(ROWS * F, 5));
    let (mut act, mut dgate_up) = (vec![0.0; ROWS * F], vec![0.0; ROWS * 2 * F]);
    bytes("swiglu::forward", 3 * ROWS * F, &mut || swiglu::forward(&gate_up, F, &mut act));
    bytes("swiglu::backward", 5 * ROWS * F, &mut || swiglu::backward(&dact, &gate_up, F, &mut dgate_up));
    let ids: Vec<u32> = (0..ROWS as u32).map(|i| i * 7919 % 49_152).collect();
    let mut embeddings = noise(49_152 * C, 6);
    bytes("embedding::forward", 2 * n, &mut || embedding::forward(&embeddings, C, &ids, &mut y));
    bytes("embedding::backward", 3 * n, &mut || embedding::backward(&dy, C, &ids, &mut embeddings));
}

fn experts(bytes: Bytes) {
    let (r, n) = (
        Router {
            experts: 8,
            top_k: 2,
            groups: 1,
            top_groups: 1,
            scoring: Scoring::Sigmoid,
            normalize: true,
            scale: 1.0,
        },
        ROWS * C,
    );
    let routing = moe::route(&noise(ROWS * r.experts, 1), None, &r);
    let plan = moe::plan(&routing, r.experts);
    let x = noise(n, 2);
    let (mut y, mut out) = (vec![0.0; 2 * n], vec![0.0; n]);
    let (mut dy, mut dweights) = (vec![0.0; 2 * n], vec![0.0; 2 * ROWS]);
    bytes("moe::gather", 4 * n, &mut || moe::gather(&x, C, r.top_k, &plan.order, &mut y));
    bytes("moe::combine", 4 * n, &mut || moe::combine(&y, C, &routing, &plan, r.top_k, &mut out));
    bytes("moe::combine_backward", 6 * n, &mut || {
        moe::combine_backward(&x, &y, C, &routing, &plan, r.top_k, &mut dy, &mut dweights);
    });
    bytes("moe::scatter_add", 4 * n, &mut || moe::scatter_add(&dy, C, r.top_k, &plan, &mut out));
}

fn weights(bytes: Bytes) {
    let (mut w, g) = (noise(VALUES, 1), noise(VALUES, 2));
    let (mut m, mut v) = (vec![0.0; VALUES], vec![0.0; VALUES]);
    let s = adamw::Step {
        lr: 1e-4,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.01,
        step: 1,
        grad_scale: 1.0,
    };
    bytes("adamw::update", 7 * VALUES, &mut || adamw::update(&mut w, &g, &mut m, &mut v, &s));
    bytes("norm::sum_of_squares", VALUES, &mut || {
        std::hint::black_box(norm::sum_of_squares(&g));
    });
    bytes("norm::first_non_finite", VALUES, &mut || {
        std::hint::black_box(norm::first_non_finite(&g));
    });
}

fn attend(mark: f64) {
    let s = Shape { heads: 9, kv_heads: 3, dk: 64, dv: 64, scale: 0.125 };
    let (count, length) = (4, 1024);
    let rows = count * length;
    let (q, k, v) = (noise(rows * 576, 1), noise(rows * 192, 2), noise(rows * 192, 3));
    let segment = |b: usize| {
        let range = b * length..(b + 1) * length;
        Segment { path: range.clone().map(|row| row as u32).collect(), queries: range }
    };
    let segments: Vec<Segment> = (0..count).map(segment).collect();
    let (mut out, mut lse) = (vec![0.0; q.len()], vec![0.0; rows * s.heads]);
    let (mut dq, mut dk, mut dv) = (vec![0.0; q.len()], vec![0.0; k.len()], vec![0.0; v.len()]);
    // Pairs of a query and a position that it sees, two products of 64 in forward, five in backward.
    let pairs = (count * length * (length + 1) / 2 * s.heads) as f64;
    let forward = best(pairs * 2.0 * 128.0, || {
        attention::forward(&q, &k, &v, &segments, s, &mut out, &mut lse);
    });
    line("attention::forward, 4 x 1,024", "GFLOP/s", forward, mark);
    let backward = best(pairs * 5.0 * 128.0, || {
        attention::backward(&q, &k, &v, &out, &lse, &q, &segments, s, &mut dq, &mut dk, &mut dv);
    });
    line("attention::backward, 4 x 1,024", "GFLOP/s", backward, mark);
    for (who, precision) in [("f32", Precision::F32), ("bf16", Precision::Bf16)] {
        let mut cache = Cache::with_pages(rows / PAGE, s, precision);
        let places: Vec<(u32, u32)> = (0..rows).map(|p| ((p / PAGE) as u32, (p % PAGE) as u32)).collect();
        cache.write_rows(&places, &k, &v);
        // Sixteen samples of each of four sequences read its pages together.
        let pages: Vec<Vec<u32>> =
            (0..count).map(|b| (0..32).map(|p| (b * 32 + p) as u32).collect()).collect();
        let tables: Vec<&[u32]> = (0..64).map(|row| pages[row / 16].as_slice()).collect();
        let mut out = vec![0.0; 64 * 576];
        let flops = (64 * length * s.heads) as f64 * 2.0 * 128.0;
        let rate = best(flops, || {
            attention::decode(&q[..64 * 576], &cache, &tables, &[length; 64], s, &mut out);
        });
        line(&format!("attention::decode, 64 x 1,024, {who}"), "GFLOP/s", rate, mark);
    }
}

fn heads(precision: Precision, mark: f64) {
    let (rows, v) = (2048, 49_152);
    let w = Weight::pack(&noise(v * C, 1), v, C, precision, true);
    let h = noise(rows * C, 2);
    let targets: Vec<u32> = (0..rows as u32).map(|i| i * 7919 % v as u32).collect();
    let (t, d) = (vec![1.0; rows], vec![1e-3; rows]);
    let (mut dh, mut dw) = (vec![0.0; rows * C], vec![0.0; v * C]);
    let product = 2.0 * (rows * v * C) as f64;
    let out = head::forward(&h, &w, &targets, &t, true);
    let forward = best(product, || {
        std::hint::black_box(head::forward(&h, &w, &targets, &t, true));
    });
    line("head::forward with entropy", "GFLOP/s", forward, mark);
    // The scores again, and two gradients.
    let backward = best(3.0 * product, || {
        head::backward(&h, &w, &targets, &t, &out, &d, None, &mut dh, Some(&mut dw));
    });
    line("head::backward", "GFLOP/s", backward, mark);
}
