//! Against the host's attention: forests, odd sizes, grouped heads, pages in any order.

use std::ops::Range;

use super::*;
use crate::attention;
use crate::attention::PAGE;
use crate::cuda::testing::{each_device, narrow, near, on, values, widen};

fn shape(heads: usize, kv_heads: usize, dk: usize, dv: usize) -> Shape {
    Shape { heads, kv_heads, dk, dv, scale: 1.0 / (dk as f32).sqrt() }
}

fn own(queries: Range<usize>, before: &[u32]) -> Segment {
    let path = before.iter().copied().chain(queries.clone().map(|r| r as u32)).collect();
    Segment { queries, path }
}

/// One row, plain sequences, a shared prompt with a branch inside it, rows that belong to nobody.
fn forests() -> Vec<(usize, Vec<Segment>)> {
    let prompt: Vec<u32> = (0..37).collect();
    let branch: Vec<u32> = (0..37).chain(37..41).collect();
    vec![
        (1, vec![own(0..1, &[])]),
        (75, vec![own(0..40, &[]), own(40..75, &[])]),
        (150, vec![own(0..150, &[])]),
        (
            60,
            vec![
                own(0..37, &[]),
                own(37..45, &prompt),
                own(45..46, &branch),
                own(46..50, &prompt[..20]),
                own(53..58, &prompt),
            ],
        ),
    ]
}

/// What decoding gives for rows that are padded to more rows and pages, without the padding.
fn in_room<T: Float>(
    device: &Device,
    q: &[T],
    cache: &Cache<T>,
    tables: &[&[u32]],
    lens: &[usize],
    s: Shape,
) -> Vec<T> {
    let most = lens.iter().max().unwrap().div_ceil(PAGE);
    let room = Room { rows: lens.len() + 3, pages: most + 5 };
    let words = on(device, &Rows::words(device, tables, lens, room, tables[0][0], s));
    let rows = Rows::within(device, words.all(), room, s).unwrap();
    let mut q = q.to_vec();
    q.resize(room.rows * s.heads * s.dk, T::default());
    let mut out = on(device, &vec![T::default(); room.rows * s.heads * s.dv]);
    decode_rows(device, on(device, &q).all(), cache, &rows, out.all_mut()).unwrap();
    let mut out = out.download("test").unwrap();
    out.truncate(lens.len() * s.heads * s.dv);
    out
}

#[test]
fn forward_and_backward_are_the_cpu_s() {
    each_device(|device| {
        for (rows, segments) in forests() {
            // The last three: on tensor cores in bf16.
            let plain = [shape(1, 1, 1, 1), shape(4, 2, 16, 16), shape(3, 3, 24, 16), shape(6, 2, 40, 72)];
            let tensor = [shape(3, 1, 64, 64), shape(2, 1, 128, 128), shape(1, 1, 192, 128)];
            for s in plain.into_iter().chain(tensor) {
                let [nq, nk, nv, no] =
                    [s.heads * s.dk, s.kv_heads * s.dk, s.kv_heads * s.dv, s.heads * s.dv].map(|n| n * rows);
                let round = |seed, n, size| widen(&narrow(&values(seed, n, size)));
                let (q, k, v) = (round(1, nq, 2.0), round(2, nk, 2.0), round(3, nv, 1.0));
                let dout = round(4, no, 1.0);
                let (mut out, mut lse) = (vec![0.0; no], vec![0.0; rows * s.heads]);
                attention::forward(&q, &k, &v, &segments, s, &mut out, &mut lse);
                let (mut dq, mut dk, mut dv) = (vec![9.0; nq], vec![9.0; nk], vec![9.0; nv]);
                attention::backward(&q, &k, &v, &out, &lse, &dout, &segments, s, &mut dq, &mut dk, &mut dv);
                let plan = Plan::of(device, &segments).unwrap();
                macro_rules! check {
                    ($to:expr, $from:expr, $forward:literal, $backward:literal) => {
                        let to = |x: &[f32]| on(device, &$to(x));
                        let (q, k, v, dout) = (to(&q), to(&k), to(&v), to(&dout));
                        assert_eq!(
                            path([q.all()], &plan, s).0,
                            size_of_val(&$to(&[0.0])[0]) == 2 && s.dk >= 64
                        );
                        let (mut o, mut l) = (to(&vec![0.0; no]), on(device, &vec![0f32; rows * s.heads]));
                        forward(device, q.all(), k.all(), v.all(), &plan, s, o.all_mut(), l.all_mut())
                            .unwrap();
                        near("out", &$from(&o.download("test").unwrap()), &out, $forward);
                        near("lse", &l.download("test").unwrap(), &lse, 2e-6);
                        let (mut gq, mut gk, mut gv) =
                            (to(&vec![9.0; nq]), to(&vec![9.0; nk]), to(&vec![9.0; nv]));
                        let (q, k, v, o, l, dout) = (q.all(), k.all(), v.all(), o.all(), l.all(), dout.all());
                        let (bq, bk, bv) = (gq.all_mut(), gk.all_mut(), gv.all_mut());
                        backward(device, q, k, v, o, l, dout, &plan, s, bq, bk, bv).unwrap();
                        near("dq", &$from(&gq.download("test").unwrap()), &dq, $backward);
                        near("dk", &$from(&gk.download("test").unwrap()), &dk, $backward);
                        near("dv", &$from(&gv.download("test").unwrap()), &dv, $backward);
                    };
                }
                check!(<[f32]>::to_vec, <[f32]>::to_vec, 2e-6, 5e-6);
                check!(narrow, widen, 4e-3, 2e-2);
            }
        }
    });
}

/// A random forest: each segment continues a prefix of some path before it, or begins anew; some rows between belong to nobody.
fn forest(seed: u64) -> (usize, Vec<Segment>) {
    let mut state = seed * 0x9e37_79b9 + 7;
    let mut below = |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    let (mut segments, mut row): (Vec<Segment>, usize) = (Vec::new(), 0);
    for i in 0..1 + below(6) {
        row += below(3) / 2;
        let before = if i == 0 || below(3) == 0 { Vec::new() } else { segments[below(i)].path.clone() };
        let kept = below(before.len() + 1);
        let segment = own(row..row + 1 + below(40), &before[..kept]);
        row = segment.queries.end;
        segments.push(segment);
    }
    (row + below(2), segments)
}

#[test]
fn random_forests_of_random_heads_are_the_cpu_s() {
    each_device(|device| {
        for seed in 0..12 {
            let (rows, segments) = forest(seed);
            let pick = |from: &[usize]| from[(seed as usize * 7 + rows) % from.len()];
            let (kv_heads, group) = (pick(&[1, 2, 3]), pick(&[1, 3, 2, 5]));
            let (dk, dv) = [(pick(&[1, 5, 33, 48]), pick(&[3, 16, 31])), (64, 64)][seed as usize % 2];
            let s = shape(kv_heads * group, kv_heads, dk, dv);
            let [nq, nk, nv, no] =
                [s.heads * dk, kv_heads * dk, kv_heads * dv, s.heads * dv].map(|n| n * rows);
            let round = |seed, n, size| narrow(&values(seed, n, size));
            let (q, k, v, dout) =
                (round(1, nq, 3.0), round(2, nk, 3.0), round(3, nv, 1.0), round(4, no, 1.0));
            let (mut out, mut lse) = (vec![0.0; no], vec![0.0; rows * s.heads]);
            let (wq, wk, wv, wd) = (widen(&q), widen(&k), widen(&v), widen(&dout));
            attention::forward(&wq, &wk, &wv, &segments, s, &mut out, &mut lse);
            let (mut dq, mut dk, mut dv) = (vec![9.0; nq], vec![9.0; nk], vec![9.0; nv]);
            attention::backward(&wq, &wk, &wv, &out, &lse, &wd, &segments, s, &mut dq, &mut dk, &mut dv);
            let plan = Plan::of(device, &segments).unwrap();
            let (q, k, v, dout) = (on(device, &q), on(device, &k), on(device, &v), on(device, &dout));
            let (mut o, mut l) = (on(device, &vec![0u16; no]), on(device, &vec![0f32; rows * s.heads]));
            forward(device, q.all(), k.all(), v.all(), &plan, s, o.all_mut(), l.all_mut()).unwrap();
            near("out", &widen(&o.download("test").unwrap()), &out, 8e-3);
            near("lse", &l.download("test").unwrap(), &lse, 2e-6);
            let [mut gq, mut gk, mut gv] = [nq, nk, nv].map(|n| on(device, &vec![0x7fffu16; n]));
            let (x, l, dout) = ((q.all(), k.all(), v.all(), o.all()), l.all(), dout.all());
            let (a, b, c) = (gq.all_mut(), gk.all_mut(), gv.all_mut());
            backward(device, x.0, x.1, x.2, x.3, l, dout, &plan, s, a, b, c).unwrap();
            near("dq", &widen(&gq.download("test").unwrap()), &dq, 2e-2);
            near("dk", &widen(&gk.download("test").unwrap()), &dk, 2e-2);
            near("dv", &widen(&gv.download("test").unwrap()), &dv, 2e-2);
        }
    });
}

#[test]
fn decoding_is_the_cpu_s_and_depends_on_no_neighbour() {
    each_device(|device| {
        for s in [shape(1, 1, 1, 1), shape(4, 2, 16, 24), shape(18, 1, 8, 8)] {
            // Three sequences; the first two share two pages. One is longer than a chunk.
            let (lens, pages) = ([70usize, 65, 300], 16);
            let tables: [Vec<u32>; 3] =
                [vec![3, 9, 1], vec![3, 9, 14], vec![0, 2, 4, 5, 6, 7, 8, 10, 11, 12]];
            let mut host = attention::Cache::with_pages(pages, s, crate::Precision::F32);
            let mut cache = Cache::<f32>::with_pages(device, pages, s).unwrap();
            let mut half = Cache::<u16>::with_pages(device, pages, s).unwrap();
            let all: Vec<(u32, u32)> = (0..pages as u32).flat_map(|p| (0..32).map(move |i| (p, i))).collect();
            let k = widen(&narrow(&values(1, all.len() * s.kv_heads * s.dk, 2.0)));
            let v = widen(&narrow(&values(2, all.len() * s.kv_heads * s.dv, 1.0)));
            host.write_rows(&all, &k, &v);
            let places: Vec<u32> = all.iter().map(|&(page, slot)| page * 32 + slot).collect();
            let places = on(device, &places);
            cache.write_rows(places.all(), on(device, &k).all(), on(device, &v).all()).unwrap();
            half.write_rows(places.all(), on(device, &narrow(&k)).all(), on(device, &narrow(&v)).all())
                .unwrap();
            host.copy_page(9, 15, 7);
            cache.copy_page(9, 15, 7).unwrap();
            let q = widen(&narrow(&values(3, 3 * s.heads * s.dk, 2.0)));
            let mut expected = vec![0.0; 3 * s.heads * s.dv];
            let views: Vec<&[u32]> = tables.iter().map(Vec::as_slice).collect();
            attention::decode(&q, &host, &views, &lens, s, &mut expected);
            let run = |part: Range<usize>| {
                let q = on(device, &q[part.start * s.heads * s.dk..part.end * s.heads * s.dk]);
                let rows = Rows::of(device, &views[part.clone()], &lens[part.clone()], s).unwrap();
                let mut out = on(device, &vec![9f32; part.len() * s.heads * s.dv]);
                decode_rows(device, q.all(), &cache, &rows, out.all_mut()).unwrap();
                out.download("test").unwrap()
            };
            let whole = run(0..3);
            near("decode", &whole, &expected, 2e-6);
            assert_eq!([run(0..1), run(1..2), run(2..3)].concat(), whole);
            let rows = Rows::of(device, &views, &lens, s).unwrap();
            let mut out = on(device, &vec![9u16; whole.len()]);
            decode_rows(device, on(device, &narrow(&q)).all(), &half, &rows, out.all_mut()).unwrap();
            assert_eq!(in_room(device, &q, &cache, &views, &lens, s), whole);
            near("decode in bf16", &widen(&out.download("test").unwrap()), &expected, 4e-3);
        }
    });
}

#[test]
fn decoding_on_tensor_cores_is_the_cpu_s_and_depends_on_no_neighbour() {
    each_device(|device| {
        for s in [shape(6, 2, 64, 64), shape(2, 2, 128, 128), shape(16, 1, 192, 128)] {
            // A prompt's three rows, a group of three on two shared pages, one of another sequence.
            let pages = 16;
            let shared: [Vec<u32>; 4] =
                [vec![3, 9, 1, 7, 8], vec![3, 9, 14], vec![3, 9, 2], vec![0, 2, 4, 5, 6, 7, 8, 10, 11, 12]];
            let rows = [(0, 1), (0, 2), (0, 130), (1, 70), (2, 65), (0, 129), (3, 300)];
            let tables: Vec<&[u32]> = rows.iter().map(|&(table, _)| shared[table].as_slice()).collect();
            let lens: Vec<usize> = rows.iter().map(|&(_, len)| len).collect();
            let mut host = attention::Cache::with_pages(pages, s, crate::Precision::F32);
            let mut cache = Cache::<u16>::with_pages(device, pages, s).unwrap();
            let all: Vec<(u32, u32)> = (0..pages as u32).flat_map(|p| (0..32).map(move |i| (p, i))).collect();
            let k = widen(&narrow(&values(1, all.len() * s.kv_heads * s.dk, 2.0)));
            let v = widen(&narrow(&values(2, all.len() * s.kv_heads * s.dv, 1.0)));
            host.write_rows(&all, &k, &v);
            let places: Vec<u32> = all.iter().map(|&(page, slot)| page * 32 + slot).collect();
            let (gk, gv) = (on(device, &narrow(&k)), on(device, &narrow(&v)));
            cache.write_rows(on(device, &places).all(), gk.all(), gv.all()).unwrap();
            let q = widen(&narrow(&values(3, rows.len() * s.heads * s.dk, 2.0)));
            let mut expected = vec![0.0; rows.len() * s.heads * s.dv];
            attention::decode(&q, &host, &tables, &lens, s, &mut expected);
            let run = |part: Range<usize>| {
                let q = on(device, &narrow(&q[part.start * s.heads * s.dk..part.end * s.heads * s.dk]));
                let rows = Rows::of(device, &tables[part.clone()], &lens[part.clone()], s).unwrap();
                let mut out = on(device, &vec![9u16; part.len() * s.heads * s.dv]);
                decode_rows(device, q.all(), &cache, &rows, out.all_mut()).unwrap();
                out.download("test").unwrap()
            };
            let whole = run(0..rows.len());
            near("decode", &widen(&whole), &expected, 6e-3);
            let alone: Vec<u16> = (0..rows.len()).flat_map(|row| run(row..row + 1)).collect();
            assert!(alone == whole);
            assert!(in_room(device, &narrow(&q), &cache, &tables, &lens, s) == whole);
        }
    });
}

/// Rows of a sequence of 300 in a packed batch, behind another one, and in pages.
fn in_pages_as_packed<T: Float>(device: &Device, s: Shape, to: impl Fn(&[f32]) -> Vec<T>) {
    let (before, len) = (29, 300);
    let fill = |seed, width: usize| to(&values(seed, (before + len) * width, 2.0));
    let (q, k, v) = (fill(1, s.heads * s.dk), fill(2, s.kv_heads * s.dk), fill(3, s.kv_heads * s.dv));
    let plan = Plan::of(device, &[own(0..before, &[]), own(before..before + len, &[])]).unwrap();
    let mut packed = on(device, &vec![T::default(); (before + len) * s.heads * s.dv]);
    let mut lse = on(device, &vec![0f32; (before + len) * s.heads]);
    let (dq, dk, dv) = (on(device, &q), on(device, &k), on(device, &v));
    forward(device, dq.all(), dk.all(), dv.all(), &plan, s, packed.all_mut(), lse.all_mut()).unwrap();
    let packed = packed.download("test").unwrap();

    let table = [3, 0, 9, 7, 1, 2, 11, 4, 10, 6];
    let mut cache = Cache::<T>::with_pages(device, 12, s).unwrap();
    let places: Vec<u32> = (0..len).map(|i| table[i / PAGE] * 32 + (i % PAGE) as u32).collect();
    let own = |width: usize| before * width..(before + len) * width;
    let (k, v) = (dk.part(own(s.kv_heads * s.dk)), dv.part(own(s.kv_heads * s.dv)));
    cache.write_rows(on(device, &places).all(), k, v).unwrap();
    // Twenty in a row, as of a prompt, and some alone.
    let lens: Vec<usize> = (120..140).chain([1, 300, 64, 65, 299, 257]).collect();
    let rows = Rows::of(device, &vec![&table[..]; lens.len()], &lens, s).unwrap();
    let row = |x: &[T], width: usize, len: &usize| x[(before + len - 1) * width..][..width].to_vec();
    let own: Vec<T> = lens.iter().flat_map(|len| row(&q, s.heads * s.dk, len)).collect();
    let mut out = on(device, &vec![T::default(); lens.len() * s.heads * s.dv]);
    decode_rows(device, on(device, &own).all(), &cache, &rows, out.all_mut()).unwrap();
    let want: Vec<T> = lens.iter().flat_map(|len| row(&packed, s.heads * s.dv, len)).collect();
    let bits = |x: &[T]| x.iter().map(|x| x.widen().to_bits()).collect::<Vec<u32>>();
    assert!(bits(&out.download("test").unwrap()) == bits(&want), "{s:?}");
}

#[test]
fn in_a_batch_invariant_device_pages_give_the_bits_of_a_packed_batch() {
    each_device(|device| {
        let device = &device.clone().batch_invariant(true);
        for s in [shape(3, 1, 64, 64), shape(2, 2, 128, 128), shape(40, 1, 192, 128), shape(4, 2, 16, 24)] {
            in_pages_as_packed(device, s, narrow);
        }
        in_pages_as_packed(device, shape(18, 1, 8, 8), |x| x.to_vec());
    });
}

/// Latents are stored, copied, read back and laid out as keys and values of all heads, by words or value by value.
#[test]
fn latents_become_the_keys_and_values_of_their_pages() {
    fn check<T: Float + PartialEq + std::fmt::Debug>(device: &Device, of: fn(&[f32]) -> Vec<T>) {
        for (heads, rank, nope, rope, dv) in [(1, 5, 3, 2, 1), (3, 6, 4, 4, 8), (5, 16, 40, 8, 36)] {
            let s = shape(heads, heads, nope + rope, dv);
            let pages = 6;
            let mut latents = LatentCache::<T>::with_pages(device, pages, rank, rope).unwrap();
            let mut cache = Cache::<T>::with_pages(device, pages, s).unwrap();
            assert_eq!(latents.bytes(), pages * PAGE * (rank + rope) * size_of::<T>());
            let places: Vec<u32> = [4, 1, 2].iter().flat_map(|p| (0..32).map(move |i| p * 32 + i)).collect();
            let (l, r) = (of(&values(1, 96 * rank, 1.0)), of(&values(2, 96 * rope, 1.0)));
            latents
                .write_rows(on(device, &places).all(), on(device, &l).all(), on(device, &r).all())
                .unwrap();
            latents.copy_page(4, 5, 7).unwrap();
            latents.clear_page(2).unwrap();
            let list = on(device, &[5u32, 1, 2, 2]);
            let mut read = on(device, &vec![T::default(); 128 * rank]);
            latents.read_pages(list.all(), read.all_mut()).unwrap();
            let read = read.download("test").unwrap();
            assert_eq!(read[..7 * rank], l[..7 * rank]);
            assert_eq!(read[32 * rank..64 * rank], l[32 * rank..64 * rank]);
            assert!(read[64 * rank..].iter().all(|x| *x == T::default()));
            let each = heads * (nope + dv);
            let expanded = of(&values(3, 128 * each, 1.0));
            latents.expand(list.all(), on(device, &expanded).all(), &mut cache).unwrap();
            let (k, v) = (cache.k.download("test").unwrap(), cache.v.download("test").unwrap());
            for (page, slots, from) in [(5, 7, 0), (1, 32, 32)] {
                for slot in 0..slots {
                    for h in 0..heads {
                        let from_head = &expanded[(from + slot) * each + h * (nope + dv)..][..nope + dv];
                        let at = ((page * 32) + slot) * heads + h;
                        let key = &k[at * (nope + rope)..][..nope + rope];
                        assert_eq!(key[..nope], from_head[..nope]);
                        assert_eq!(key[nope..], r[(from + slot) * rope..][..rope]);
                        assert_eq!(v[at * dv..][..dv], from_head[nope..]);
                    }
                }
            }
        }
    }
    each_device(|device| {
        check::<f32>(device, <[f32]>::to_vec);
        check::<u16>(device, narrow);
    });
}
