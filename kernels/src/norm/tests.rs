use super::*;

fn noise(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..n)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

#[test]
fn fast_and_reference_have_the_same_bits_at_any_length() {
    for n in [0, 1, 15, 16, 17, 4095, 4096, 4097, 70_001, 300_000] {
        let g = noise(n, n as u64 + 1);
        assert_eq!(sum_of_squares(&g).to_bits(), reference::sum_of_squares(&g).to_bits(), "{n} values");
    }
}

#[test]
fn known_sums() {
    // 1² + … + n² = n(n+1)(2n+1)/6, exact in f64 here.
    let n = 100_000u64;
    let ramp: Vec<f32> = (1..=n).map(|i| i as f32).collect();
    assert_eq!(sum_of_squares(&ramp), (n * (n + 1) * (2 * n + 1) / 6) as f64);
    assert_eq!(sum_of_squares(&[3.0, -4.0]), 25.0);
    assert_eq!(sum_of_squares(&[]), 0.0);
    // In f32 this would overflow.
    assert!((sum_of_squares(&[1e30, 1e30]) / 2e60 - 1.0).abs() < 1e-6);
    assert!(sum_of_squares(&[1.0, f32::NAN]).is_nan());
}

#[test]
fn the_first_non_finite_value_is_found() {
    let mut g = noise(300_000, 5);
    assert_eq!(first_non_finite(&g), None);
    assert_eq!(first_non_finite(&[]), None);
    for (at, v) in [(299_999, f32::NAN), (131_072, f32::INFINITY), (70_007, f32::NEG_INFINITY), (3, f32::NAN)]
    {
        g[at] = v;
        assert_eq!(first_non_finite(&g), Some(at));
    }
    assert_eq!(first_non_finite(&[f32::MAX, f32::MIN_POSITIVE / 2.0, -0.0]), None);
}
