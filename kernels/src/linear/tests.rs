use super::reference::{self, Order, dot_pair, from_bf16, to_bf16};
use super::*;
use crate::isa::detect;

mod packing;

/// Values in (-1, 1), some of them exact zeros.
fn noise(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 40
    };
    (0..n).map(|_| if next() % 16 == 0 { 0.0 } else { next() as f32 / (1u64 << 23) as f32 - 1.0 }).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// Every instruction set and precision that this machine has; AMX is emulated where it is not there.
fn ways() -> Vec<(Isa, Precision)> {
    let best = detect().0;
    let levels = [Isa::Portable, Isa::Avx2, Isa::Avx512, Isa::Avx512Bf16];
    let mut ways: Vec<_> =
        levels.into_iter().filter(|&level| level <= best).map(|level| (level, Precision::F32)).collect();
    if best >= Isa::Avx512Bf16 {
        ways.push((Isa::Avx512Bf16, Precision::Bf16));
    } else {
        eprintln!("AVX512-BF16 is not tested: this machine has {best} at most");
    }
    #[cfg(target_arch = "x86_64")]
    if super::amx::emulation::ready() {
        ways.push((Isa::Amx, Precision::Bf16));
    }
    ways
}

/// As [`Weight::pack`], for ways that the process itself may not take.
fn pack(w: &[f32], n: usize, k: usize, precision: Precision, trainable: bool) -> Weight {
    let mut weight = Weight::zeros(n, k, precision, trainable);
    weight.repack(w);
    weight
}

/// One row, one column, tile and panel edges and one beyond, odd lengths, a stride of 2 KiB, more than one slab, pass
/// and strip.
const SHAPES: [(usize, usize, usize); 19] = [
    (1, 1, 1),
    (1, 192, 64),
    (1, 33, 577),
    (2, 16, 3),
    (3, 129, 7),
    (5, 48, 192),
    (6, 97, 31),
    (7, 200, 5),
    (12, 32, 16),
    (13, 31, 513),
    (17, 64, 1025),
    (25, 80, 512),
    (64, 17, 100),
    (97, 70, 45),
    (131, 160, 33),
    (300, 24, 19),
    (2060, 8, 5),
    (35, 33, 1100),
    (3, 2100, 100),
];

#[test]
fn forward_has_the_bits_of_the_reference() {
    for (isa, precision) in ways() {
        for (m, n, k) in SHAPES {
            let (x, w, bias) = (noise(m * k, 1), noise(n * k, 2), noise(n, 3));
            let weight = pack(&w, n, k, precision, false);
            for bias in [None, Some(&bias[..])] {
                let mut y = vec![f32::NAN; m * n];
                forward_with(isa, &x, &weight, bias, &mut y);
                let expected = reference::forward(Order::of(isa, precision), &x, &w, n, k, bias);
                assert_eq!(
                    bits(&y),
                    bits(&expected),
                    "{isa} {precision:?} [{m}, {n}, {k}] {}",
                    bias.is_some()
                );
            }
            let mut y = noise(m * n, 4);
            let mut expected = y.clone();
            forward_add_with(isa, &x, &weight, &mut y);
            reference::forward_add(Order::of(isa, precision), &x, &w, n, k, &mut expected);
            assert_eq!(bits(&y), bits(&expected), "{isa} {precision:?} [{m}, {n}, {k}] added");
        }
    }
}

#[test]
fn backward_input_has_the_bits_of_the_reference() {
    for (isa, precision) in ways() {
        for (m, n, k) in SHAPES {
            let (dy, w, old) = (noise(m * n, 1), noise(n * k, 2), noise(m * k, 3));
            let weight = pack(&w, n, k, precision, true);
            for accumulate in [false, true] {
                let mut dx = if accumulate { old.clone() } else { vec![f32::NAN; m * k] };
                backward_input_with(isa, &dy, &weight, &mut dx, accumulate);
                let mut expected = if accumulate { old.clone() } else { vec![0.0; m * k] };
                reference::backward_input(Order::of(isa, precision), &dy, &w, n, k, &mut expected);
                assert_eq!(bits(&dx), bits(&expected), "{isa} {precision:?} [{m}, {n}, {k}] {accumulate}");
            }
        }
    }
}

#[test]
fn backward_weight_has_the_bits_of_the_reference() {
    for (isa, precision) in ways() {
        for (m, n, k) in SHAPES {
            let (dy, x) = (noise(m * n, 1), noise(m * k, 2));
            let mut dw = noise(n * k, 3);
            let mut expected = dw.clone();
            backward_weight_with(isa, &dy, &x, n, k, precision, &mut dw);
            reference::backward_weight(Order::of(isa, precision), &dy, &x, n, k, &mut expected);
            assert_eq!(bits(&dw), bits(&expected), "{isa} {precision:?} [{m}, {n}, {k}]");
        }
    }
}

#[test]
fn a_row_has_the_same_bits_whatever_rides_along() {
    for (isa, precision) in ways() {
        let (m, n, k) = (61, 200, 300);
        let (x, w, bias) = (noise(m * k, 1), noise(n * k, 2), noise(n, 3));
        let weight = pack(&w, n, k, precision, true);
        let (mut y, mut dx) = (vec![0.0; m * n], vec![0.0; m * k]);
        forward_with(isa, &x, &weight, Some(&bias), &mut y);
        backward_input_with(isa, &y, &weight, &mut dx, false);
        for cuts in [vec![0, 1, 2, 8, 20, 61], vec![0, 33, 61], (0..=61).collect()] {
            for (from, to) in cuts.iter().zip(&cuts[1..]) {
                let mut part = vec![0.0; (to - from) * n];
                forward_with(isa, &x[from * k..to * k], &weight, Some(&bias), &mut part);
                assert_eq!(bits(&part), bits(&y[from * n..to * n]), "{isa} {precision:?} {from}..{to}");
                let mut part = vec![0.0; (to - from) * k];
                backward_input_with(isa, &y[from * n..to * n], &weight, &mut part, false);
                assert_eq!(bits(&part), bits(&dx[from * k..to * k]), "{isa} {precision:?} {from}..{to}");
            }
        }
    }
}

#[test]
fn cutting_a_batch_leaves_the_weight_gradient() {
    for (isa, precision) in ways() {
        let (m, n, k) = (600, 50, 70);
        let (dy, x, old) = (noise(m * n, 1), noise(m * k, 2), noise(n * k, 3));
        let mut whole = old.clone();
        backward_weight_with(isa, &dy, &x, n, k, precision, &mut whole);
        for cut in [1, 2, 13, 96, 256, 301, 599] {
            let grain = Order::of(isa, precision).grain();
            let cut = cut / grain * grain;
            let mut parts = old.clone();
            backward_weight_with(isa, &dy[..cut * n], &x[..cut * k], n, k, precision, &mut parts);
            backward_weight_with(isa, &dy[cut * n..], &x[cut * k..], n, k, precision, &mut parts);
            assert_eq!(bits(&whole), bits(&parts), "{isa} {precision:?} cut at {cut}");
        }
    }
}

#[test]
fn any_thread_count_gives_the_same_bits() {
    let (m, n, k) = (150, 192, 192);
    let (x, w) = (noise(m * k, 1), noise(n * k, 2));
    for (isa, precision) in ways() {
        let weight = pack(&w, n, k, precision, true);
        let mut expected: Option<[Vec<u32>; 4]> = None;
        for threads in [1, 2, 5] {
            crate::threads::set(threads);
            let (mut y, mut dx, mut dw, mut db) =
                (vec![0.0; m * n], vec![0.0; m * k], vec![0.0; n * k], vec![0.0; n]);
            forward_with(isa, &x, &weight, None, &mut y);
            backward_input_with(isa, &y, &weight, &mut dx, false);
            backward_weight_with(isa, &y, &x, n, k, precision, &mut dw);
            backward_bias(&y, &mut db);
            let found = [bits(&y), bits(&dx), bits(&dw), bits(&db)];
            assert!(
                *expected.get_or_insert_with(|| found.clone()) == found,
                "{isa} {precision:?} {threads} threads"
            );
        }
        crate::threads::set(2);
    }
}

/// A product of f32 values must agree with f64 within the rounding of its own length.
#[test]
fn the_reference_itself_agrees_with_f64() {
    let (m, n, k) = (4, 9, 300);
    let (x, w) = (noise(m * k, 1), noise(n * k, 2));
    let [y, y16, blocks] = [Order::Terms, Order::Pairs, Order::Blocks]
        .map(|order| reference::forward(order, &x, &w, n, k, None));
    for i in 0..m {
        for j in 0..n {
            let exact: f64 = (0..k).map(|l| f64::from(x[i * k + l]) * f64::from(w[j * k + l])).sum();
            assert!((f64::from(y[i * n + j]) - exact).abs() < 2e-5);
            assert!((f64::from(y16[i * n + j]) - exact).abs() < 0.1, "{} {exact}", y16[i * n + j]);
            assert!((f64::from(blocks[i * n + j] - y16[i * n + j])).abs() < 2e-5, "{}", blocks[i * n + j]);
        }
    }
}

/// The gradients of L = Σ g·y are linear in each operand, so central differences of L in f64 are exact but for rounding.
#[test]
fn gradients_agree_with_central_differences() {
    let (m, n, k) = (5, 6, 7);
    let (x, w, bias, g) = (noise(m * k, 1), noise(n * k, 2), noise(n, 3), noise(m * n, 4));
    let weight = Weight::pack(&w, n, k, Precision::F32, true);
    let (mut dx, mut dw, mut db) = (vec![0.0; m * k], vec![0.0; n * k], vec![0.0; n]);
    backward_input(&g, &weight, &mut dx, false);
    backward_weight(&g, &x, n, k, Precision::F32, &mut dw);
    backward_bias(&g, &mut db);
    let double = |v: &[f32]| v.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
    let loss = |x: &[f64], w: &[f64], bias: &[f64]| -> f64 {
        let y = |i: usize, j: usize| (0..k).map(|l| x[i * k + l] * w[j * k + l]).sum::<f64>() + bias[j];
        (0..m * n).map(|at| f64::from(g[at]) * y(at / n, at % n)).sum()
    };
    let operands = [double(&x), double(&w), double(&bias)];
    for (which, gradient) in [&dx, &dw, &db].into_iter().enumerate() {
        for i in 0..gradient.len() {
            let at = |step: f64| {
                let mut moved = operands.clone();
                moved[which][i] += step;
                loss(&moved[0], &moved[1], &moved[2])
            };
            let numeric = (at(1e-3) - at(-1e-3)) / 2e-3;
            assert!((f64::from(gradient[i]) - numeric).abs() < 1e-5, "operand {which}, {i}");
        }
    }
}

#[test]
fn the_bias_gradient_is_the_column_sum_in_order() {
    for (m, n) in [(1, 1), (3, 65), (700, 200)] {
        let dy = noise(m * n, 1);
        let mut db = noise(n, 2);
        let mut expected = db.clone();
        backward_bias(&dy, &mut db);
        reference::backward_bias(&dy, &mut expected);
        assert_eq!(bits(&db), bits(&expected));
    }
}

#[test]
fn repacking_gives_the_weight_of_the_new_values() {
    // What is forced on this run (`R1_ISA`) may lack a precision that the machine has.
    for (_, precision) in ways().into_iter().filter(|(_, precision)| crate::supports(*precision).is_ok()) {
        let (n, k) = (45, 37);
        let (first, second, x) = (noise(n * k, 1), noise(n * k, 2), noise(3 * k, 3));
        let mut weight = Weight::pack(&first, n, k, precision, true);
        let bytes = weight.bytes();
        weight.repack(&second);
        assert_eq!((weight.n(), weight.k(), weight.precision(), weight.bytes()), (n, k, precision, bytes));
        let fresh = Weight::pack(&second, n, k, precision, true);
        let product = |weight: &Weight| {
            let (mut y, mut dx) = (vec![0.0; 3 * n], vec![0.0; 3 * k]);
            forward(&x, weight, None, &mut y);
            backward_input(&y, weight, &mut dx, false);
            [bits(&y), bits(&dx)]
        };
        assert_eq!(product(&weight), product(&fresh));
    }
}

#[test]
fn no_rows_are_no_work() {
    let weight = Weight::pack(&noise(20, 1), 4, 5, Precision::F32, true);
    forward(&[], &weight, Some(&[1.0; 4]), &mut []);
    backward_input(&[], &weight, &mut [], true);
    let mut dw = noise(20, 2);
    backward_weight(&[], &[], 4, 5, Precision::F32, &mut dw);
    assert_eq!(bits(&dw), bits(&noise(20, 2)));
}

#[test]
fn bf16_rounds_as_half_does_but_for_subnormals() {
    let mut state = 9u64;
    for i in 0..2_000_000u64 {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let v = f32::from_bits((state >> 32) as u32 ^ (i as u32 & 3) << 15);
        let expected = if v.is_subnormal() { 0f32.copysign(v) } else { v };
        assert_eq!(to_bf16(v), half::bf16::from_f32(expected).to_bits(), "{v:e}");
    }
    assert_eq!(to_bf16(f32::MAX), 0x7f80);
    assert_eq!(to_bf16(f32::NEG_INFINITY), 0xff80);
}

/// The scalar definition against the machine's own instructions, over all exponents, zeros, infinities and NaN.
#[test]
#[cfg(target_arch = "x86_64")]
fn the_instruction_does_what_the_reference_says() {
    use std::arch::x86_64::*;

    #[target_feature(enable = "avx512f,avx512bf16")]
    fn dot(a: [u16; 2], b: [u16; 2], sum: f32) -> f32 {
        let pair = |v: [u16; 2]| _mm512_set1_epi32((u32::from(v[0]) | u32::from(v[1]) << 16) as i32);
        // SAFETY: both types are 64 bytes of any content.
        let (a, b) = unsafe {
            (
                std::mem::transmute::<__m512i, __m512bh>(pair(a)),
                std::mem::transmute::<__m512i, __m512bh>(pair(b)),
            )
        };
        _mm512_cvtss_f32(_mm512_dpbf16_ps(_mm512_set1_ps(sum), a, b))
    }
    #[target_feature(enable = "avx512f,avx512bf16")]
    fn round(v: f32) -> u16 {
        let v = _mm512_cvtne2ps_pbh(_mm512_set1_ps(v), _mm512_set1_ps(v));
        // SAFETY: both types are 64 bytes of any content.
        let words: [u16; 32] = unsafe { std::mem::transmute(v) };
        words[0]
    }

    if detect().0 < Isa::Avx512Bf16 {
        return eprintln!("skipped: this machine has no AVX512-BF16");
    }
    let mut state = 77u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    };
    for i in 0..3_000_000 {
        let (r, s) = (next(), next());
        let mut words = [r as u16, (r >> 16) as u16, (r >> 32) as u16, (r >> 48) as u16];
        let mut sum = s as u32;
        // One third anywhere, one third of like size, one third around the smallest normal number.
        if i % 3 > 0 {
            let (low, span) = if i % 3 == 1 { (120, 15) } else { (60, 7) };
            words = words.map(|w| w & 0x807f | ((w >> 7 & span) + low) << 7);
            let exponent = if i % 3 == 1 { 110 + (s >> 40) as u32 % 32 } else { (s >> 40) as u32 % 8 };
            sum = sum & 0x807f_ffff | exponent << 23;
        }
        let [a0, a1, b0, b1] = words;
        let sum = f32::from_bits(sum);
        // SAFETY: checked above.
        let (found, rounded) = unsafe { (dot([a0, a1], [b0, b1], sum), round(sum)) };
        let expected = dot_pair([a0, a1], [b0, b1], sum);
        assert!(
            found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan(),
            "{:e} + {:e}·{:e} + {:e}·{:e}: {found:e}, not {expected:e}",
            sum,
            from_bf16(a1),
            from_bf16(b1),
            from_bf16(a0),
            from_bf16(b0)
        );
        assert_eq!(rounded, to_bf16(sum), "{sum:e}");
    }
}

#[test]
#[should_panic(expected = "linear: forward: x has 7 values, K is 3")]
fn a_broken_row_is_refused() {
    forward(&[0.0; 7], &Weight::pack(&[0.0; 6], 2, 3, Precision::F32, false), None, &mut [0.0; 4]);
}

#[test]
#[should_panic(expected = "not trainable")]
fn the_input_gradient_needs_a_trainable_weight() {
    backward_input(&[0.0; 2], &Weight::pack(&[0.0; 6], 2, 3, Precision::F32, false), &mut [0.0; 3], false);
}
