//! Times causal attention over a packed batch, forward and backward.
//!
//! ```text
//! cargo run --release -p r1-kernels --example attention -- 9 3 64 2x1024 8x256    heads, kv heads, channels, sequences x tokens
//! ```
//! One line of JSON each: the best seconds of a second's runs. Scores, softmax and sums are f32 in both precisions, so there is one figure.
//! `scripts/bench/product.py` puts it beside PyTorch.

use std::time::Instant;

use r1_kernels::attention::{Segment, Shape, backward, forward};

fn best(mut f: impl FnMut()) -> f64 {
    let began = Instant::now();
    let mut best = f64::INFINITY;
    while began.elapsed().as_secs_f64() < 1.0 {
        let run = Instant::now();
        f();
        best = best.min(run.elapsed().as_secs_f64());
    }
    best
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |word: &str| word.parse::<usize>().ok().filter(|n| *n > 0);
    let sizes: Vec<usize> = words.iter().take(3).filter_map(|word| number(word)).collect();
    let batches: Vec<(usize, usize)> = words
        .iter()
        .skip(3)
        .filter_map(|word| word.split_once('x').and_then(|(b, t)| Some((number(b)?, number(t)?))))
        .collect();
    let [heads, kv_heads, d] = sizes[..] else {
        eprintln!("usage: attention HEADS KV_HEADS CHANNELS SEQUENCESxTOKENS …");
        std::process::exit(2)
    };
    let s = Shape { heads, kv_heads, dk: d, dv: d, scale: 1.0 / (d as f32).sqrt() };
    for (count, length) in batches {
        let rows = count * length;
        let noise = |len: usize, seed: usize| {
            (0..len).map(|i| ((i + seed) * 7919 % 1013) as f32 / 506.5 - 1.0).collect::<Vec<_>>()
        };
        let (q, k, v) =
            (noise(rows * heads * d, 1), noise(rows * kv_heads * d, 2), noise(rows * kv_heads * d, 3));
        let dout = noise(rows * heads * d, 4);
        let segments: Vec<Segment> = (0..count)
            .map(|b| {
                let range = b * length..(b + 1) * length;
                Segment { path: range.clone().map(|row| row as u32).collect(), queries: range }
            })
            .collect();
        let (mut out, mut lse) = (vec![0.0; q.len()], vec![0.0; rows * heads]);
        let (mut dq, mut dk, mut dv) = (vec![0.0; q.len()], vec![0.0; k.len()], vec![0.0; v.len()]);
        let f = best(|| forward(&q, &k, &v, &segments, s, &mut out, &mut lse));
        let b = best(|| {
            backward(&q, &k, &v, &out, &lse, &dout, &segments, s, &mut dq, &mut dk, &mut dv);
        });
        println!("{{\"batch\":\"{count}x{length}\",\"forward\":{f:.6},\"backward\":{b:.6}}}");
    }
}
