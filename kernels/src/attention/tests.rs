//! Every path against the reference and against each other: packed, cut, shared, decoded, one thread and several.

use super::*;
use crate::Precision;
use crate::lanes::each_level;
use crate::testing::{any_threads, close, dot, same, slope, values, wide};

const GQA: Shape = Shape { heads: 6, kv_heads: 2, dk: 8, dv: 8, scale: 0.35 };
const MLA: Shape = Shape { heads: 2, kv_heads: 2, dk: 24, dv: 17, scale: 0.2 };
const WIDE: Shape = Shape { heads: 14, kv_heads: 2, dk: 64, dv: 64, scale: 0.125 };
const ODD: Shape = Shape { heads: 3, kv_heads: 1, dk: 1, dv: 3, scale: 1.5 };

/// Rows of q, k, v and dout for `rows` tokens.
struct Batch {
    s: Shape,
    rows: usize,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    dout: Vec<f32>,
}

fn batch(rows: usize, s: Shape) -> Batch {
    Batch {
        s,
        rows,
        q: values(1, rows * s.heads * s.dk, 2.0),
        k: values(2, rows * s.kv_heads * s.dk, 2.0),
        v: values(3, rows * s.kv_heads * s.dv, 1.0),
        dout: values(4, rows * s.heads * s.dv, 1.0),
    }
}

fn segment(queries: Range<usize>, path: impl IntoIterator<Item = usize>) -> Segment {
    Segment { queries, path: path.into_iter().map(|row| row as u32).collect() }
}

/// One sequence of `n` tokens from row `start` on.
fn sequence(start: usize, n: usize) -> Segment {
    segment(start..start + n, start..start + n)
}

/// A prompt of `prompt` rows, and after it samples of these lengths which share it.
fn tree(prompt: usize, samples: &[usize]) -> Vec<Segment> {
    let mut segments = vec![sequence(0, prompt)];
    let mut start = prompt;
    for &n in samples {
        segments.push(segment(start..start + n, (0..prompt).chain(start..start + n)));
        start += n;
    }
    segments
}

fn run(b: &Batch, segments: &[Segment]) -> (Vec<f32>, Vec<f32>) {
    let (mut out, mut lse) = (vec![0.0; b.rows * b.s.heads * b.s.dv], vec![0.0; b.rows * b.s.heads]);
    forward(&b.q, &b.k, &b.v, segments, b.s, &mut out, &mut lse);
    (out, lse)
}

fn run_back(b: &Batch, segments: &[Segment], out: &[f32], lse: &[f32]) -> [Vec<f32>; 3] {
    let (mut dq, mut dk, mut dv) = (vec![9.0; b.q.len()], vec![9.0; b.k.len()], vec![9.0; b.v.len()]);
    backward(&b.q, &b.k, &b.v, out, lse, &b.dout, segments, b.s, &mut dq, &mut dk, &mut dv);
    [dq, dk, dv]
}

fn cases() -> Vec<(Shape, usize, Vec<Segment>)> {
    let mut cases = vec![];
    for s in [GQA, MLA, ODD] {
        cases.push((s, 1, vec![sequence(0, 1)]));
        cases.push((s, 33, vec![sequence(0, 33)]));
        cases.push((s, 130, vec![sequence(0, 7), sequence(7, 64), sequence(71, 59)]));
        cases.push((s, 100, tree(37, &[1, 30, 32])));
    }
    cases.push((WIDE, 150, tree(70, &[40, 40])));
    cases
}

#[test]
fn forward_and_backward_are_the_reference_in_f64() {
    for (s, rows, segments) in cases() {
        let b = batch(rows, s);
        let (out, lse) = run(&b, &segments);
        let (q, k, v) = (wide(&b.q), wide(&b.k), wide(&b.v));
        let (mut eout, mut else_) = (vec![0.0; out.len()], vec![0.0; lse.len()]);
        let sizes = reference::Sizes::of(s);
        reference::forward(&q, &k, &v, &segments, sizes, &mut eout, &mut else_);
        close("out", &out, &eout, 2e-6);
        close("lse", &lse, &else_, 2e-6);
        let (mut dq, mut dk, mut dv) = (vec![0.0; q.len()], vec![0.0; k.len()], vec![0.0; v.len()]);
        let dout = wide(&b.dout);
        reference::backward(&q, &k, &v, &eout, &else_, &dout, &segments, sizes, &mut dq, &mut dk, &mut dv);
        let [fq, fk, fv] = run_back(&b, &segments, &out, &lse);
        // One visible position has p = 1 exactly and no slope at all: nothing to be relative to.
        if rows > 1 {
            close("dq", &fq, &dq, 5e-6);
            close("dk", &fk, &dk, 5e-6);
        }
        close("dv", &fv, &dv, 5e-6);
    }
}

#[test]
fn backward_is_the_slope() {
    let s = Shape { heads: 4, kv_heads: 2, dk: 3, dv: 2, scale: 0.7 };
    let (b, segments) = (batch(12, s), tree(5, &[3, 4]));
    let (out, lse) = run(&b, &segments);
    let [dq, dk, dv] = run_back(&b, &segments, &out, &lse);
    let loss = |q: &[f64], k: &[f64], v: &[f64]| {
        let (mut out, mut lse) = (vec![0.0; out.len()], vec![0.0; lse.len()]);
        reference::forward(q, k, v, &segments, reference::Sizes::of(s), &mut out, &mut lse);
        dot(&out, &wide(&b.dout))
    };
    let (q, k, v) = (wide(&b.q), wide(&b.k), wide(&b.v));
    close("dq", &dq, &slope(&q, |q| loss(q, &k, &v)), 1e-5);
    close("dk", &dk, &slope(&k, |k| loss(&q, k, &v)), 1e-5);
    close("dv", &dv, &slope(&v, |v| loss(&q, &k, v)), 1e-5);
}

#[test]
fn bits_do_not_depend_on_threads_or_instructions() {
    for (s, rows, segments) in cases() {
        let b = batch(rows, s);
        let all = || {
            let (out, lse) = run(&b, &segments);
            let [dq, dk, dv] = run_back(&b, &segments, &out, &lse);
            [out, lse, dq, dk, dv].concat()
        };
        let whole = any_threads("attention", all);
        each_level(|level| same(level.name(), &whole, &all()));
    }
}

#[test]
fn bits_do_not_depend_on_how_a_sequence_is_cut() {
    for s in [GQA, MLA, WIDE, ODD] {
        // 200 queries of 7 heads are several blocks.
        let b = batch(200, s);
        let (out, lse) = run(&b, &[sequence(0, 200)]);
        for cuts in [vec![0, 1, 200], vec![0, 31, 32, 33, 70, 150, 200], vec![0, 100, 101, 102, 103, 200]] {
            let segments: Vec<Segment> = cuts.windows(2).map(|c| segment(c[0]..c[1], 0..c[1])).collect();
            let (cut_out, cut_lse) = run(&b, &segments);
            same("out, one call", &out, &cut_out);
            same("lse, one call", &lse, &cut_lse);
            // The order of dk's terms is the same, too: tokens ascending.
            let [a, b] = [&[sequence(0, 200)][..], &segments]
                .map(|segments| run_back(&b, segments, &out, &lse).concat());
            same("backward", &a, &b);
        }
    }
}

#[test]
fn a_shared_prompt_is_as_good_as_a_copy() {
    for s in [GQA, MLA, WIDE] {
        let (prompt, samples) = (45, [20, 1, 33]);
        let shared = batch(prompt + 54, s);
        let (out, lse) = run(&shared, &tree(prompt, &samples));
        let (wq, wk, wv) = (s.heads * s.dk, s.kv_heads * s.dk, s.kv_heads * s.dv);
        let mut start = prompt;
        for n in samples {
            let rows = (0..prompt).chain(start..start + n);
            let copy = |x: &[f32], w: usize| {
                rows.clone().flat_map(|r| x[r * w..][..w].to_vec()).collect::<Vec<f32>>()
            };
            let alone = Batch {
                s,
                rows: prompt + n,
                q: copy(&shared.q, wq),
                k: copy(&shared.k, wk),
                v: copy(&shared.v, wv),
                dout: vec![],
            };
            let (alone_out, alone_lse) = run(&alone, &[sequence(0, prompt + n)]);
            let own = |x: &[f32], w: usize| x[start * w..(start + n) * w].to_vec();
            same("out", &own(&out, s.heads * s.dv), &alone_out[prompt * s.heads * s.dv..]);
            same("lse", &own(&lse, s.heads), &alone_lse[prompt * s.heads..]);
            start += n;
        }
    }
}

/// A batch as a cache in this precision holds it, for every shape.
fn stored(rows: usize) -> impl Iterator<Item = (Precision, Batch)> {
    let all = [Precision::F32, Precision::Bf16].into_iter();
    all.flat_map(|p| [GQA, MLA, WIDE, ODD].map(|s| (p, s))).map(move |(p, s)| {
        let mut b = batch(rows, s);
        if p == Precision::Bf16 {
            round_to_bf16(&mut b.k);
            round_to_bf16(&mut b.v);
        }
        (p, b)
    })
}

#[test]
fn rounding_is_to_the_nearest_and_what_the_cache_does() {
    let mut x = values(7, 100_000, 3.0);
    x[..6].copy_from_slice(&[-0.0, 1e-40, f32::INFINITY, 1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0, f32::MAX]);
    let exact = x.clone();
    let rounded = any_threads("round_to_bf16", || {
        let mut x = exact.clone();
        round_to_bf16(&mut x);
        x
    });
    assert_eq!(rounded[..5], [-0.0, 0.0, f32::INFINITY, 1.0, 1.0 + 4.0 / 256.0]);
    assert!(rounded[0].is_sign_negative() && rounded[5] == f32::INFINITY);
    for (x, y) in exact[6..].iter().zip(&rounded[6..]) {
        assert!(y.to_bits() & 0xffff == 0 && (x - y).abs() <= x.abs() / 256.0, "{x} to {y}");
        assert_eq!(*y, half::bf16::from_f32(*x).to_f32());
    }
    // Rows that are not rounded yet are rounded by the cache itself.
    for (precision, b) in stored(PAGE + 5) {
        let s = b.s;
        let raw = batch(b.rows, s);
        let decoded = |b: &Batch| {
            let mut cache = Cache::with_pages(2, s, precision);
            let places: Vec<(u32, u32)> =
                (0..b.rows).map(|p| ((p / PAGE) as u32, (p % PAGE) as u32)).collect();
            cache.write_rows(&places, &b.k, &b.v);
            let mut out = vec![0.0; b.rows * s.heads * s.dv];
            let lens: Vec<usize> = (1..=b.rows).collect();
            decode(&b.q, &cache, &vec![&[0, 1][..]; b.rows], &lens, s, &mut out);
            out
        };
        same("decode", &decoded(&b), &decoded(&raw));
    }
}

#[test]
fn half_the_memory_in_bf16() {
    let bytes = |s, precision| Cache::with_pages(3, s, precision).bytes();
    let s = Shape { heads: 9, kv_heads: 3, dk: 64, dv: 64, scale: 1.0 };
    assert_eq!(bytes(s, Precision::F32), 3 * 3 * PAGE * 128 * 4);
    assert_eq!(bytes(s, Precision::Bf16), 3 * 3 * PAGE * 128 * 2);
    // Values are padded to 16 in f32, to 32 in bf16.
    assert_eq!(bytes(MLA, Precision::Bf16), 3 * 2 * PAGE * (24 + 32) * 2);
}

#[test]
fn decode_has_the_bits_of_forward() {
    let (prompt, samples) = (45, [40, 60]);
    for (precision, b) in stored(prompt + 100) {
        let s = b.s;
        let (out, _) = run(&b, &tree(prompt, &samples));
        let (wq, wk, wv, wo) = (s.heads * s.dk, s.kv_heads * s.dk, s.kv_heads * s.dv, s.heads * s.dv);
        let mut cache = Cache::with_pages(9, s, precision);
        let row = |r: usize| (&b.k[r * wk..][..wk], &b.v[r * wv..][..wv]);
        // Leftovers in pages must not matter.
        let all: Vec<(u32, u32)> =
            (0..9).flat_map(|page| (0..PAGE as u32).map(move |slot| (page, slot))).collect();
        cache.write_rows(&all, &vec![f32::NAN; all.len() * wk], &vec![f32::INFINITY; all.len() * wv]);
        // Both samples share page 7; the half-filled second page 3 belongs to the first, a copy of it to the second.
        let places: Vec<(u32, u32)> = (0..prompt).map(|p| ([7, 3][p / PAGE], (p % PAGE) as u32)).collect();
        cache.write_rows(&places, &b.k[..prompt * wk], &b.v[..prompt * wv]);
        cache.copy_page(3, 5, prompt - PAGE);
        let tables: [&[u32]; 2] = [&[7, 3, 0], &[7, 5, 2, 8]];
        for i in 0..60 {
            // The first sample ends earlier.
            let alive: Vec<usize> = (0..2).filter(|&sample| i < samples[sample]).collect();
            let rows: Vec<usize> = alive.iter().map(|&sample| prompt + sample * samples[0] + i).collect();
            for (&sample, &r) in alive.iter().zip(&rows) {
                let place = (tables[sample][(prompt + i) / PAGE], ((prompt + i) % PAGE) as u32);
                cache.write_rows(&[place], row(r).0, row(r).1);
            }
            let q: Vec<f32> = rows.iter().flat_map(|r| b.q[r * wq..][..wq].to_vec()).collect();
            let now: Vec<&[u32]> = alive.iter().map(|&sample| tables[sample]).collect();
            let decoded = any_threads("decode", || {
                let mut out = vec![0.0; alive.len() * wo];
                decode(&q, &cache, &now, &vec![prompt + i + 1; alive.len()], s, &mut out);
                out
            });
            for (&r, decoded) in rows.iter().zip(decoded.chunks(wo)) {
                same("decode", &out[r * wo..][..wo], decoded);
            }
        }
    }
}

/// Whole sequences through the cache at once: the rows of two prompts that share a page, and of samples of one of them.
#[test]
fn many_rows_of_a_sequence_decode_together() {
    let (prompt, samples) = (70, [33, 1, 90]);
    for (precision, b) in stored(prompt + 124) {
        let s = b.s;
        let segments = tree(prompt, &samples);
        let (out, _) = run(&b, &segments);
        let mut cache = Cache::with_pages(16, s, precision);
        let (wk, wv) = (s.kv_heads * s.dk, s.kv_heads * s.dv);
        // Full pages of the prompt are shared, its third page is copied for each sample.
        let mut tables: Vec<Vec<u32>> = vec![vec![0, 1, 2]];
        let mut next = 3;
        for n in samples {
            let own = (prompt + n).div_ceil(PAGE) as u32 - 2;
            tables.push([0, 1].into_iter().chain(next..next + own).collect());
            next += own;
        }
        let (mut places, mut of, mut lens) = (vec![], vec![], vec![]);
        for (i, segment) in segments.iter().enumerate() {
            let first = segment.path.len() - segment.queries.len();
            for p in first..segment.path.len() {
                places.push((tables[i][p / PAGE], (p % PAGE) as u32));
                of.push(tables[i].as_slice());
                lens.push(p + 1);
            }
        }
        cache.write_rows(&places, &b.k, &b.v);
        for table in &tables[1..] {
            for p in 2 * PAGE..prompt {
                let (k, v) = (&b.k[p * wk..][..wk], &b.v[p * wv..][..wv]);
                cache.write_rows(&[(table[2], (p % PAGE) as u32)], k, v);
            }
        }
        let decode = || {
            let mut out = vec![0.0; b.rows * s.heads * s.dv];
            decode(&b.q, &cache, &of, &lens, s, &mut out);
            out
        };
        same("decode", &out, &any_threads("decode", decode));
        each_level(|level| same(level.name(), &out, &decode()));
    }
}

/// Sequences that share nothing, of many lengths: a row each, several of them side by side.
#[test]
fn strangers_decode_together() {
    // So many that a task has four of them and more.
    let lengths = [40, 1, 64, 33, 97, 32, 5, 70, 31, 96, 2, 65, 64].repeat(5);
    let total: usize = lengths.iter().sum();
    for (precision, b) in stored(total) {
        let s = b.s;
        let starts: Vec<usize> = (0..lengths.len()).map(|i| lengths[..i].iter().sum()).collect();
        let segments: Vec<Segment> = starts.iter().zip(&lengths).map(|(&at, &n)| sequence(at, n)).collect();
        let (out, _) = run(&b, &segments);
        let mut cache = Cache::with_pages(4 * lengths.len(), s, precision);
        let tables: Vec<Vec<u32>> = (0..lengths.len() as u32).map(|i| (4 * i..4 * i + 4).collect()).collect();
        let places = lengths.iter().zip(&tables);
        let places: Vec<(u32, u32)> =
            places.flat_map(|(&n, t)| (0..n).map(|p| (t[p / PAGE], (p % PAGE) as u32))).collect();
        cache.write_rows(&places, &b.k, &b.v);
        let (wq, wo) = (s.heads * s.dk, s.heads * s.dv);
        let last: Vec<usize> = starts.iter().zip(&lengths).map(|(at, n)| at + n - 1).collect();
        let pick =
            |x: &[f32], w: usize| last.iter().flat_map(|r| x[r * w..][..w].to_vec()).collect::<Vec<f32>>();
        let (q, want) = (pick(&b.q, wq), pick(&out, wo));
        let tables: Vec<&[u32]> = tables.iter().map(Vec::as_slice).collect();
        let decoded = || {
            let mut out = vec![0.0; want.len()];
            decode(&q, &cache, &tables, &lengths, s, &mut out);
            out
        };
        same("decode", &want, &any_threads("decode", decoded));
        each_level(|level| same(level.name(), &want, &decoded()));
    }
}

#[test]
fn great_scores_neither_overflow_nor_leak() {
    let s = Shape { heads: 1, kv_heads: 1, dk: 1, dv: 1, scale: 1.0 };
    let n = 70;
    let k: Vec<f32> = (0..n).map(|j| j as f32 * 10.0 - 300.0).collect();
    let v: Vec<f32> = (0..n).map(|j| j as f32).collect();
    let (mut out, mut lse) = (vec![0.0; n], vec![0.0; n]);
    forward(&vec![1.0; n], &k, &v, &[sequence(0, n)], s, &mut out, &mut lse);
    for j in 0..n {
        assert!((out[j] - j as f32).abs() <= 1e-4 * (1.0 + j as f32), "{j}: {}", out[j]);
        assert!((lse[j] - k[j]).abs() < 1e-3, "{j}: {}", lse[j]);
    }
}

#[test]
#[should_panic(expected = "segment 1 has rows 2..5 of 6")]
fn overlapping_segments_are_refused() {
    let b = batch(6, ODD);
    run(&b, &[sequence(0, 3), sequence(2, 3)]);
}
