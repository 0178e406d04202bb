//! exp and ln against f64, and every level against the plain one, bit for bit.

use std::sync::Mutex;

use super::*;
use crate::Isa;

/// The level that [`each_level`] forces. All levels give the same bits, so tests beside it may see it change.
static FORCED: Mutex<Option<Isa>> = Mutex::new(None);
static TURN: Mutex<()> = Mutex::new(());

pub(crate) fn level() -> Isa {
    FORCED.lock().unwrap_or_else(|e| e.into_inner()).unwrap_or_else(crate::isa::active)
}

/// Runs `f` on every level that this machine has, the plain one first.
pub(crate) fn each_level(mut f: impl FnMut(Isa)) {
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    for level in [Isa::Portable, Isa::Avx2, Isa::Avx512] {
        if level <= crate::isa::active() {
            *FORCED.lock().unwrap_or_else(|e| e.into_inner()) = Some(level);
            f(level);
        }
    }
    *FORCED.lock().unwrap_or_else(|e| e.into_inner()) = None;
}

#[inline(always)]
fn exp_all<V: Lanes>(x: &mut [f32]) {
    for at in (0..x.len()).step_by(WIDTH) {
        let n = x.len() - at;
        // SAFETY: at most n values from `at` on are touched.
        unsafe {
            let from = x.as_mut_ptr().add(at);
            store_upto(exp(load_upto::<V>(from, n)), from, n);
        }
    }
}

#[inline(always)]
fn log1p_all<V: Lanes>(x: &mut [f32]) {
    for at in (0..x.len()).step_by(WIDTH) {
        let n = x.len() - at;
        // SAFETY: at most n values from `at` on are touched.
        unsafe {
            let from = x.as_mut_ptr().add(at);
            store_upto(log1p(load_upto::<V>(from, n)), from, n);
        }
    }
}

#[inline(always)]
fn every_operation<V: Lanes>(x: &[f32; 48], n: usize) -> Vec<f32> {
    // SAFETY: 48 values are three vectors.
    let (a, b, c) =
        unsafe { (V::load(x.as_ptr()), V::load(x.as_ptr().add(16)), V::load(x.as_ptr().add(32))) };
    // SAFETY: n is at most 16.
    let part: V = unsafe { V::load_first(x.as_ptr().add(3), n) };
    let mut stored = [7.0; 16];
    // SAFETY: n is at most 16.
    unsafe { a.store_first(stored.as_mut_ptr(), n) };
    let all = [
        a.add(b),
        a.sub(b),
        a.mul(b),
        a.div(b),
        a.fma(b, c),
        a.max(b),
        a.min(b),
        a.first(n, b),
        a.swap_pairs(),
        part,
        V::splat(x[n]),
    ];
    let mut out: Vec<f32> = all.into_iter().flat_map(|v| v.array()).collect();
    out.extend(stored);
    out.extend([a.sum(), a.greatest()]);
    let halves: [u16; 32] = std::array::from_fn(|i| half::bf16::from_f32(x[i]).to_bits());
    // SAFETY: 32 values.
    let [even, odd] = unsafe { V::load_halves(halves.as_ptr()) }.map(V::array);
    assert!((0..32).all(|i| [even, odd][i % 2][i / 2].to_bits() == u32::from(halves[i]) << 16));
    // 16 overlapping rows of 16 values, two apart.
    let mut columns = vec![0.0; 16 * 17];
    // SAFETY: 2 · 15 + 16 ≤ 48 values are read, 15 · 17 + 16 are written.
    unsafe { V::transpose(&std::array::from_fn(|j| x.as_ptr().add(2 * j)), columns.as_mut_ptr(), 17) };
    assert!((0..256).all(|i| columns[i / 16 * 17 + i % 16] == x[2 * (i % 16) + i / 16]));
    out.extend(columns);
    out
}

on_lanes! {
    fn exp_slice(x: &mut [f32]) = exp_all;
    fn log1p_slice(x: &mut [f32]) = log1p_all;
    fn operations(x: &[f32; 48], n: usize) -> Vec<f32> = every_operation;
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn exp_is_near_f64_and_the_same_on_every_level() {
    let mut x: Vec<f32> = (-1_060_000..=900_000).map(|i| i as f32 * 1e-4).collect();
    x.extend([0.0, -0.0, 88.72, 88.73, -87.33, -87.34, -103.9, -104.1, -1e30, 1e30, 1e-30, f32::INFINITY]);
    let mut y = x.clone();
    exp_slice(&mut y);
    let mut worst = 0.0f64;
    for (&x, &y) in x.iter().zip(&y) {
        let exact = f64::from(x).exp();
        if exact > f64::from(f32::MAX) {
            assert!(y == f32::INFINITY || exact < 3.4029e38, "e^{x} = {y}");
            continue;
        }
        let ulp = f64::from(f32::EPSILON) * (exact.max(1.2e-38)).log2().floor().exp2();
        worst = worst.max((f64::from(y) - exact).abs() / ulp);
    }
    println!("exp: at most {worst:.3} ulp from f64");
    assert!(worst < 1.5, "{worst} ulp");
    each_level(|level| {
        let mut z = x.clone();
        exp_slice(&mut z);
        assert_eq!(bits(&y), bits(&z), "{level}");
        let mut ends = [f32::NEG_INFINITY, f32::NAN, f32::INFINITY, 0.0];
        exp_slice(&mut ends);
        assert!(
            ends[0] == 0.0 && ends[1].is_nan() && ends[2] == f32::INFINITY && ends[3] == 1.0,
            "{level} {ends:?}"
        );
    });
}

#[test]
fn log1p_is_near_f64_and_the_same_on_every_level() {
    let mut x: Vec<f32> = (0..=1_000_000).map(|i| i as f32 * 1e-6).collect();
    x.extend((0..140).map(|i| (-f64::from(i)).exp2() as f32));
    let mut y = x.clone();
    log1p_slice(&mut y);
    for (&x, &y) in x.iter().zip(&y) {
        let exact = f64::from(x).ln_1p();
        assert!((f64::from(y) - exact).abs() <= 1.5 * f64::from(f32::EPSILON) * exact, "ln(1 + {x}) = {y}");
    }
    each_level(|level| {
        let mut z = x.clone();
        log1p_slice(&mut z);
        assert_eq!(bits(&y), bits(&z), "{level}");
    });
}

#[test]
fn exp_wide_is_f64s() {
    for i in 0..700_000 {
        let x = i as f32 * -1e-3 + 3.0;
        let exact = f64::from(x).exp();
        assert!((exp_wide(x) - exact).abs() <= 2e-13 * exact, "e^{x} = {}", exp_wide(x));
    }
    assert_eq!((exp_wide(0.0), exp_wide(-1e30)), (1.0, 0.0));
}

#[test]
fn ln_is_f64s_rounded() {
    let mut wrong = 0;
    for i in 1..400_000u32 {
        for x in [i as f32 * 1e-3, 1.0 + i as f32 * 1.2e-7, i as f32 * 1e30] {
            let exact = f64::from(x).ln() as f32;
            wrong += u32::from(ln(x) != exact);
            assert!((ln(x) - exact).abs() <= exact.abs() * f32::EPSILON, "ln {x}");
        }
    }
    assert!(wrong <= 2, "{wrong} of 1.2 million differ");
}

#[test]
fn operations_agree_on_every_level() {
    let x: [f32; 48] = std::array::from_fn(|i| ((i * 37 % 48) as f32 - 20.3) * 0.37);
    let mut plain = vec![];
    each_level(|level| {
        let all: Vec<u32> = (0..=15).flat_map(|n| bits(&operations(&x, n))).collect();
        if level == Isa::Portable {
            plain = all;
        } else {
            assert_eq!(all, plain, "{level}");
        }
    });
}
