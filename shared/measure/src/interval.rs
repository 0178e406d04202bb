//! 95 % intervals.

/// Standard normal quantile of 0.975.
const Z: f64 = 1.959_963_984_540_054;

/// Wilson's interval of a share `p` of `n` independent tries (Wilson 1927). With several samples a prompt the tries are not
/// independent and it is too narrow: then the bootstrap is the one to quote.
pub fn wilson(p: f64, n: usize) -> [f64; 2] {
    let n = n as f64;
    let z2 = Z * Z;
    let centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n);
    let half = Z / (1.0 + z2 / n) * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    [(centre - half).max(0.0), (centre + half).min(1.0)]
}

/// Percentile bootstrap (Efron 1979) of a mean over prompts, 95 %: whole prompts are drawn with replacement, so samples of one
/// prompt stay together. Each prompt brings a sum and how many values are in it: the mean of a draw is the sum of its sums over
/// the sum of its counts. Deterministic in `seed`; the same seed draws the same prompts for every measure. NaN where there are
/// no values.
pub fn bootstrap(prompts: &[(f64, f64)], resamples: u32, seed: u64) -> [f64; 2] {
    let count = prompts.len() as u64;
    let mut state = seed;
    let mut means: Vec<f64> = (0..resamples)
        .filter_map(|_| {
            let (mut sum, mut values) = (0.0, 0.0);
            for _ in 0..count {
                let (s, n) = prompts[below(&mut state, count) as usize];
                sum += s;
                values += n;
            }
            // A draw of nothing but prompts without a value has no mean.
            (values > 0.0).then(|| sum / values)
        })
        .collect();
    if means.is_empty() {
        return [f64::NAN; 2];
    }
    means.sort_by(f64::total_cmp);
    [quantile(&means, 0.025), quantile(&means, 0.975)]
}

/// Linear interpolation between the two nearest of sorted values.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = share * (sorted.len() - 1) as f64;
    let (low, high) = (at.floor() as usize, at.ceil() as usize);
    sorted[low] + (sorted[high] - sorted[low]) * (at - low as f64)
}

/// A number below `count` from the high bits of a product (Lemire's method without its rejection step: the bias is below
/// count / 2^64).
fn below(state: &mut u64, count: u64) -> u64 {
    ((u128::from(next(state)) * u128::from(count)) >> 64) as u64
}

/// splitmix64 (Steele, Lea and Flood 2014).
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wilson_gives_the_published_values() {
        // Newcombe 1998, table I, method 3: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
        for (hits, tries, low, high) in [
            (81, 263, 0.2553, 0.3662),
            (15, 148, 0.0624, 0.1605),
            (0, 20, 0.0, 0.1611),
            (1, 29, 0.0061, 0.1718),
        ] {
            let [l, h] = wilson(f64::from(hits) / tries as f64, tries);
            assert!((l - low).abs() < 5e-5 && (h - high).abs() < 5e-5, "{hits} of {tries}: {l} {h}");
        }
    }

    #[test]
    fn splitmix_gives_the_published_values() {
        // First outputs of the authors' C program for seed 1234567.
        let mut state = 1_234_567;
        assert_eq!(next(&mut state), 6_457_827_717_110_365_317);
        assert_eq!(next(&mut state), 3_203_168_211_198_807_973);
    }

    #[test]
    fn the_bootstrap_agrees_with_the_normal_interval_where_that_holds() {
        // 400 prompts, half of them 1: the standard error is 0.025.
        let values: Vec<(f64, f64)> = (0..400).map(|i| (f64::from(i % 2), 1.0)).collect();
        let [low, high] = bootstrap(&values, 5000, 7);
        assert!(
            (low - (0.5 - Z * 0.025)).abs() < 0.004 && (high - (0.5 + Z * 0.025)).abs() < 0.004,
            "{low} {high}"
        );
        assert_eq!(bootstrap(&values, 5000, 7), [low, high]);
        assert_ne!(bootstrap(&values, 5000, 8), [low, high]);
        assert_eq!(bootstrap(&[(0.25, 1.0); 9], 200, 1), [0.25, 0.25]);
        // Four samples of one prompt are drawn together: they count as its mean does.
        let fourfold: Vec<(f64, f64)> = values.iter().map(|(s, n)| (4.0 * s, 4.0 * n)).collect();
        assert_eq!(bootstrap(&fourfold, 5000, 7), [low, high]);
        assert!(bootstrap(&[(0.0, 0.0); 3], 200, 1)[0].is_nan());
    }
}
