//! What the ops' tests share: reproducible numbers, bit-for-bit and relative comparison, numeric derivatives.

/// `n` reproducible values in about ±`size`.
pub(crate) fn values(seed: u64, n: usize, size: f32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678_9abc_def1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    (0..n).map(|_| (next() + next() + next()) * size).collect()
}

/// The same numbers in f64.
pub(crate) fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

/// Fails unless the two are the same bits.
pub(crate) fn same(what: &str, a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len(), "{what}: lengths");
    for (i, (x, y)) in a.iter().zip(b).enumerate() {
        assert!(x.to_bits() == y.to_bits(), "{what}: at {i} {x:e} and {y:e}");
    }
}

/// Fails unless every value is within `tolerance` of the greatest magnitude of `exact`.
pub(crate) fn close(what: &str, x: &[f32], exact: &[f64], tolerance: f64) {
    assert_eq!(x.len(), exact.len(), "{what}: lengths");
    let size = exact.iter().fold(1e-30f64, |m, e| m.max(e.abs()));
    for (i, (&x, &e)) in x.iter().zip(exact).enumerate() {
        assert!(
            (f64::from(x) - e).abs() <= tolerance * size,
            "{what}: at {i} {x:e}, exactly {e:e} (size {size:e})"
        );
    }
}

/// d(loss)/d(x[i]) for every i by central differences.
pub(crate) fn slope(x: &[f64], loss: impl Fn(&[f64]) -> f64) -> Vec<f64> {
    let mut x = x.to_vec();
    (0..x.len())
        .map(|i| {
            let (at, h) = (x[i], 1e-5);
            x[i] = at + h;
            let up = loss(&x);
            x[i] = at - h;
            let down = loss(&x);
            x[i] = at;
            (up - down) / (2.0 * h)
        })
        .collect()
}

/// Σ a·b.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Runs `f` with one thread and with several; the numbers it returns must be the same bits.
pub(crate) fn any_threads(what: &str, f: impl Fn() -> Vec<f32>) -> Vec<f32> {
    crate::threads::set(1);
    let one = f();
    crate::threads::set(3);
    let three = f();
    same(what, &one, &three);
    one
}
