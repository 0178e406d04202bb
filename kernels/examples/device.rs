//! Times every op on a card beside its floors: the bytes it must move at the card's measured copy rate, or the products it must make at the
//! card's measured bf16 rate, whichever takes longer.
//!
//! `cargo run --release -p r1-kernels --features cuda --example device`: the shapes of a Qwen2 policy of 1.5 billion, 16,384 tokens in rows of
//! 2,048, and of its decoding 256 sequences. `-- --small` takes tiny shapes, to see that it runs where `R1_CUDA=emulated` is the card.

use std::error::Error;
use std::time::Instant;

use r1_kernels::attention::cuda::{Cache, Plan, Rows};
use r1_kernels::attention::{PAGE, Segment, Shape};
use r1_kernels::cuda::{Buffer, Device};
use r1_kernels::divergence::cuda::Teacher;
use r1_kernels::head::cuda::Rule;
use r1_kernels::{adamw, attention, divergence, embedding, head, linear, norm, rmsnorm, rope, swiglu};

type Done = Result<(), r1_kernels::cuda::Error>;

struct Bench {
    device: Device,
    /// Bytes a second of a copy, read and written.
    bytes: f64,
    /// Operations a second of a large product in bf16.
    operations: f64,
    turns: usize,
}

impl Bench {
    /// Seconds of one call, the median of five runs of some calls.
    fn seconds(&self, op: &mut dyn FnMut() -> Done) -> Result<f64, Box<dyn Error>> {
        op()?;
        self.device.synchronize()?;
        let mut runs = Vec::new();
        for _ in 0..5 {
            let start = Instant::now();
            for _ in 0..self.turns {
                op()?;
            }
            self.device.synchronize()?;
            runs.push(start.elapsed().as_secs_f64() / self.turns as f64);
        }
        runs.sort_by(f64::total_cmp);
        Ok(runs[2])
    }

    /// One line of the table.
    fn row(
        &self,
        name: &str,
        bytes: usize,
        operations: usize,
        mut op: impl FnMut() -> Done,
    ) -> Result<(), Box<dyn Error>> {
        let seconds = self.seconds(&mut op)?;
        let floor = (bytes as f64 / self.bytes).max(operations as f64 / self.operations);
        println!(
            "{name:<34} {:>10.1} µs {:>8.0} GB/s {:>7.1} TFLOP/s  floor {:>9.1} µs, {:>4.0} %",
            seconds * 1e6,
            bytes as f64 / seconds / 1e9,
            operations as f64 / seconds / 1e12,
            floor * 1e6,
            100.0 * floor / seconds
        );
        Ok(())
    }
}

fn floats(device: &Device, n: usize) -> Result<Buffer<f32>, r1_kernels::cuda::Error> {
    let values: Vec<f32> = (0..n).map(|i| ((i * 7919) % 1009) as f32 / 1009.0 - 0.5).collect();
    Buffer::of(device, "bench", &values)
}

fn halves(device: &Device, n: usize) -> Result<Buffer<u16>, r1_kernels::cuda::Error> {
    let mut half = Buffer::uninit(device, "bench", n)?;
    linear::cuda::convert(device, floats(device, n)?.all(), half.all_mut())?;
    Ok(half)
}

fn main() {
    if let Err(error) = run() {
        eprintln!("device: {error}");
        std::process::exit(1);
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let small = std::env::args().any(|a| a == "--small");
    let d = &Device::open(0)?;
    let mut bench =
        Bench { device: d.clone(), bytes: 1.0, operations: 1.0, turns: if small { 1 } else { 10 } };
    let big = if small { 1 << 12 } else { 1 << 28 };
    let (from, mut to) = (Buffer::<u16>::zeros(d, "bench", big)?, Buffer::<u16>::zeros(d, "bench", big)?);
    bench.bytes = 4.0 * big as f64 / bench.seconds(&mut || to.all_mut().copy_from("bench", from.all()))?;
    let n = if small { 16 } else { 8192 };
    let (x, w, mut y) = (halves(d, n * n)?, halves(d, n * n)?, Buffer::<u16>::zeros(d, "bench", n * n)?);
    let square =
        bench.seconds(&mut || linear::cuda::forward(d, x.all(), w.all(), n, n, None, y.all_mut()))?;
    bench.operations = 2.0 * (n * n * n) as f64 / square;
    let rates = (bench.bytes / 1e9, bench.operations / 1e12);
    println!("{}: copies at {:.0} GB/s, bf16 products of {n}³ at {:.0} TFLOP/s", d.name(), rates.0, rates.1);
    drop((from, to, x, w, y));
    training(&bench, small)?;
    decoding(&bench, small)
}

/// The ops of a training step.
fn training(b: &Bench, small: bool) -> Result<(), Box<dyn Error>> {
    let d = &b.device;
    let (t, row, c, f, v) = if small { (64, 32, 128, 256, 500) } else { (16_384, 2048, 1536, 8960, 151_936) };
    let s = Shape {
        heads: if small { 2 } else { 12 },
        kv_heads: if small { 1 } else { 2 },
        dk: 64,
        dv: 64,
        scale: 0.1,
    };
    let s = if small { s } else { Shape { dk: 128, dv: 128, ..s } };
    let (x, w, mut y, mut rstd) = (floats(d, t * c)?, floats(d, c)?, halves(d, t * c)?, floats(d, t)?);
    b.row("rmsnorm::forward f32 to bf16", t * c * 6, 0, || {
        rmsnorm::cuda::forward(d, x.all(), w.all(), 1e-6, y.all_mut(), rstd.all_mut())
    })?;
    let (dy, mut dx, mut dw) = (floats(d, t * c)?, floats(d, t * c)?, floats(d, c)?);
    b.row("rmsnorm::backward, dw", t * c * 24, 0, || {
        let dw = Some(dw.all_mut());
        rmsnorm::cuda::backward(d, dy.all(), x.all(), w.all(), rstd.all(), dx.all_mut(), dw, true)
    })?;
    let (gate_up, mut act, mut d_gate_up) = (halves(d, t * 2 * f)?, halves(d, t * f)?, halves(d, t * 2 * f)?);
    b.row("swiglu::forward", t * f * 6, 0, || swiglu::cuda::forward(d, gate_up.all(), f, act.all_mut()))?;
    b.row("swiglu::backward", t * f * 10, 0, || {
        swiglu::cuda::backward(d, act.all(), gate_up.all(), f, d_gate_up.all_mut())
    })?;
    let (up, mut grad) = (halves(d, 2 * f * c)?, floats(d, 2 * f * c)?);
    let product = 2 * t * 2 * f * c;
    // By cuBLASLt, then our own.
    for (whose, d) in [("", d.clone()), (", ours", d.clone().batch_invariant(true))] {
        b.row(&format!("linear::forward gate, up{whose}"), 0, product, || {
            linear::cuda::forward(&d, y.all(), up.all(), 2 * f, c, None, d_gate_up.all_mut())
        })?;
        b.row(&format!("linear::backward_input{whose}"), 0, product, || {
            linear::cuda::backward_input(&d, gate_up.all(), up.all(), 2 * f, c, dx.all_mut(), false)
        })?;
        b.row(&format!("linear::backward_weight{whose}"), 0, product, || {
            linear::cuda::backward_weight(&d, gate_up.all(), y.all(), 2 * f, c, grad.all_mut())
        })?;
    }
    drop((gate_up, act, d_gate_up, dy));

    let half = s.dk / 2;
    let inv_freq: Vec<f64> = (0..half).map(|i| 1e6f64.powf(-(i as f64) / half as f64)).collect();
    let table = rope::cuda::Table::of(d, &rope::Table::build(&inv_freq, row, 1.0))?;
    let positions: Vec<u32> = (0..t).map(|i| (i % row) as u32).collect();
    let positions = Buffer::of(d, "bench", &positions)?;
    let (nq, nk) = (t * s.heads * s.dk, t * s.kv_heads * s.dk);
    let (mut q, k, values, mut out) = (halves(d, nq)?, halves(d, nk)?, halves(d, nk)?, halves(d, nq)?);
    b.row("rope::apply q", nq * 4, 0, || {
        let pairing = rope::Pairing::Half;
        rope::cuda::apply(d, q.all_mut(), s.heads, s.dk, 0, positions.all(), &table, pairing, false)
    })?;
    let own = |start: usize| Segment {
        queries: start..start + row,
        path: (start..start + row).map(|r| r as u32).collect(),
    };
    let plan = Plan::of(d, &(0..t).step_by(row).map(own).collect::<Vec<_>>())?;
    let mut lse = floats(d, t * s.heads)?;
    let scores = t * row / 2 * s.heads * (s.dk + s.dv) * 2;
    b.row("attention::forward", 0, scores, || {
        attention::cuda::forward(d, q.all(), k.all(), values.all(), &plan, s, out.all_mut(), lse.all_mut())
    })?;
    let dout = halves(d, nq)?;
    let (mut dq, mut dk, mut dv) = (halves(d, nq)?, halves(d, nk)?, halves(d, nk)?);
    b.row("attention::backward (5 products)", 0, scores * 5 / 2, || {
        let (x, l) = ((q.all(), k.all(), values.all(), out.all()), lse.all());
        let (a, e, g) = (dq.all_mut(), dk.all_mut(), dv.all_mut());
        attention::cuda::backward(d, x.0, x.1, x.2, x.3, l, dout.all(), &plan, s, a, e, g)
    })?;

    let (head_w, targets, by) = (halves(d, v * c)?, vec![1u32; t], vec![1f32; t]);
    let (targets, by) = (Buffer::of(d, "bench", &targets)?, Buffer::of(d, "bench", &by)?);
    let (h, mut dh, mut dhead) = (halves(d, t * c)?, floats(d, t * c)?, floats(d, v * c)?);
    b.row("head::forward", 0, 2 * t * c * v, || {
        head::cuda::forward(d, h.all(), head_w.all(), c, targets.all(), by.all(), false).map(drop)
    })?;
    let found = head::cuda::forward(d, h.all(), head_w.all(), c, targets.all(), by.all(), false)?;
    b.row("head::backward (3 products)", 0, 6 * t * c * v, || {
        let (x, w, dw) = (h.all(), head_w.all(), Some(dhead.all_mut()));
        head::cuda::backward(d, x, w, c, targets.all(), by.all(), &found, by.all(), None, dh.all_mut(), dw)
    })?;
    b.row("head::top, 20", 0, 2 * t * c * v, || {
        head::cuda::top(d, h.all(), head_w.all(), c, by.all(), 20).map(drop)
    })?;
    b.row("divergence::backward (4 products)", 0, 8 * t * c * v, || {
        let (x, w, dw) = (h.all(), head_w.all(), Some(dhead.all_mut()));
        let teacher = Teacher::Live { h: x, w, c };
        divergence::cuda::backward(d, x, w, c, teacher, 0.5, by.all(), by.all(), dh.all_mut(), dw).map(drop)
    })?;
    let ids: Vec<u32> = (0..t).map(|i| (i * 31 % v) as u32).collect();
    b.row("embedding::backward", t * c * 12, 0, || {
        embedding::cuda::backward(d, dh.all(), c, &ids, dhead.all_mut())
    })?;

    let n = v * c;
    let (mut m, mut square, mut copy, g) = (floats(d, n)?, floats(d, n)?, halves(d, n)?, floats(d, n)?);
    let step = adamw::Step {
        lr: 1e-6,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.0,
        step: 10,
        grad_scale: 1.0,
    };
    square.all_mut().clear("bench")?;
    b.row("adamw::update, bf16 copy", n * 30, 0, || {
        let (w, m, v) = (dhead.all_mut(), m.all_mut(), square.all_mut());
        adamw::cuda::update(d, w, m, v, g.all(), Some(copy.all_mut()), &step)
    })?;
    b.row("norm::sums_of_squares", n * 4, 0, || norm::cuda::sums_of_squares(d, &[g.all()]).map(drop))
}

/// The ops of a decoding step: groups of 16 sequences on a shared prompt.
fn decoding(b: &Bench, small: bool) -> Result<(), Box<dyn Error>> {
    let d = &b.device;
    let (sequences, len, v, c) = if small { (4, 70, 500, 64) } else { (256, 1024, 151_936, 1536) };
    let s = Shape {
        heads: if small { 2 } else { 12 },
        kv_heads: if small { 1 } else { 2 },
        dk: 128,
        dv: 128,
        scale: 0.1,
    };
    let (pages, shared) = (len / PAGE + 1, len / PAGE / 2);
    let tables = |common: usize| -> Vec<Vec<u32>> {
        let page =
            |i: usize, p: usize| (if p < common { i / 16 * 16 * pages + p } else { i * pages + p }) as u32;
        (0..sequences).map(|i| (0..pages).map(|p| page(i, p)).collect()).collect()
    };
    let mut cache = Cache::<u16>::with_pages(d, sequences * pages, s)?;
    let places: Vec<u32> = (0..(sequences * pages * PAGE) as u32).collect();
    let values = halves(d, places.len() * s.kv_heads * s.dk)?;
    cache.write_rows(Buffer::of(d, "bench", &places)?.all(), values.all(), values.all())?;
    let (q, mut out) = (halves(d, sequences * s.heads * s.dk)?, halves(d, sequences * s.heads * s.dv)?);
    for (name, common) in
        [("attention::decode_rows, no page shared", 0), ("attention::decode, half shared", shared)]
    {
        let own = tables(common);
        let views: Vec<&[u32]> = own.iter().map(Vec::as_slice).collect();
        let rows = Rows::of(d, &views, &vec![len; sequences], s)?;
        let read = sequences * (len - common * PAGE) + sequences.div_ceil(16) * common * PAGE;
        b.row(name, read * s.kv_heads * (s.dk + s.dv) * 2, 0, || {
            attention::cuda::decode_rows(d, q.all(), &cache, &rows, out.all_mut())
        })?;
    }
    let (h, w, mut logits) = (halves(d, sequences * c)?, halves(d, v * c)?, floats(d, sequences * v)?);
    for (name, d) in [("", d.clone()), (", ours", d.clone().batch_invariant(true))] {
        let (bytes, operations) = (v * c * 2 + sequences * v * 4, 2 * sequences * v * c);
        b.row(&format!("linear::forward logits{name}"), bytes, operations, || {
            linear::cuda::forward(&d, h.all(), w.all(), v, c, None, logits.all_mut())
        })?;
    }
    let streams: Vec<u64> = (0..sequences as u64).collect();
    let (streams, positions) =
        (Buffer::of(d, "bench", &streams)?, Buffer::of(d, "bench", &vec![3u32; sequences])?);
    let (mut tokens, mut logprobs) = (Buffer::<u32>::zeros(d, "bench", sequences)?, floats(d, sequences)?);
    for (name, top_p) in [("head::draw", 1.0), ("head::draw, top-p 0.95", 0.95)] {
        let rule = Rule { temperature: 1.0, top_k: 0, top_p, min_p: 0.0 };
        b.row(name, sequences * v * 4, 0, || {
            let (t, l) = (tokens.all_mut(), logprobs.all_mut());
            head::cuda::draw(d, logits.all(), v, &rule, None, None, streams.all(), positions.all(), t, l)
        })?;
    }
    Ok(())
}
