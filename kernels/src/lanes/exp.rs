//! e^x on lanes and ln of one number, ours, so that no platform's libm has a say in the bits.

use super::Lanes;

/// e^x in f32, within 1.5 ulp over the whole range, subnormal results included.
///
/// n = round(x / ln 2), r = x − n·ln 2 in two fused steps, e^r = 1 + (r + r²·q(r)) with q of degree 4 (minimax on
/// |r| ≤ ln 2 / 2, relative error 3e-9), result · 2^n. e^−∞ = 0, e^NaN = NaN, above 88.72 +∞.
#[inline(always)]
pub(crate) fn exp<V: Lanes>(x: V) -> V {
    // The bounds come first, so that NaN passes through min and max.
    let x = V::splat(89.0).min(V::splat(-104.0).max(x));
    // Adding 1.5 · 2^23 rounds to an integer (nearest, ties to even).
    let big = V::splat(12_582_912.0);
    let n = x.fma(V::splat(std::f32::consts::LOG2_E), big).sub(big);
    let r = n.fma(V::splat(-0.693_145_75), x);
    let r = n.fma(V::splat(-1.428_606_8e-6), r);
    let q = V::splat(0.001_381_438_2);
    let q = q.fma(r, V::splat(0.008_368_835));
    let q = q.fma(r, V::splat(0.041_668_4));
    let q = q.fma(r, V::splat(0.166_665_2));
    let q = q.fma(r, V::splat(0.499_999_94));
    V::splat(1.0).add(r.mul(r).fma(q, r)).scale(n)
}

/// e^x of one number in f64 (relative error below 2e-13), the same everywhere: for masses whose rest counts. 0 below −700.
///
/// x = n·ln 2 + r, |r| ≤ 0.35; e^r by its series to r¹³.
pub(crate) fn exp_wide(x: f32) -> f64 {
    let x = f64::from(x);
    if x < -700.0 {
        return 0.0;
    }
    let n = (x * std::f64::consts::LOG2_E).round_ties_even();
    let r = x - n * std::f64::consts::LN_2;
    let mut sum = 1.0;
    for i in (1..=13).rev() {
        sum = sum * r / f64::from(i) + 1.0;
    }
    sum * f64::from_bits(((n as i64 + 1023) as u64) << 52)
}

/// ln(1 + u) for 0 ≤ u ≤ 1, within 1.5 ulp.
///
/// ln(1 + u) = 2·artanh(s), s = u/(2 + u) ≤ 1/3, by its series to s¹⁷ (the rest is below 3e-10 of it).
#[inline(always)]
pub(crate) fn log1p<V: Lanes>(u: V) -> V {
    let s = u.div(V::splat(2.0).add(u));
    let square = s.mul(s);
    let mut sum = V::splat(2.0 / 17.0);
    for odd in [15.0, 13.0, 11.0, 9.0, 7.0, 5.0, 3.0] {
        sum = sum.fma(square, V::splat(2.0 / odd));
    }
    sum.mul(square).fma(s, s.add(s))
}

/// ln x for a normal x > 0, computed in f64 (error below 1e-15) and rounded: correct in all but about one case in
/// 10⁷, and the same everywhere.
///
/// x = m · 2^k with m in [√½, √2); ln m = 2·artanh(s), s = (m − 1)/(m + 1), |s| ≤ 0.172, by its series.
pub(crate) fn ln(x: f32) -> f32 {
    if !(f32::MIN_POSITIVE..=f32::MAX).contains(&x) {
        return x.ln(); // −∞, +∞ or NaN; no op asks for a subnormal.
    }
    let bits = x.to_bits();
    let mut k = (bits >> 23) as i32 - 127;
    let mut m = f64::from(f32::from_bits((bits & 0x007f_ffff) | 0x3f80_0000));
    if m > std::f64::consts::SQRT_2 {
        m *= 0.5;
        k += 1;
    }
    let s = (m - 1.0) / (m + 1.0);
    let square = s * s;
    let mut sum = 0.0;
    for odd in (1..=21).rev().step_by(2) {
        sum = sum * square + 1.0 / f64::from(odd);
    }
    (2.0 * s * sum + f64::from(k) * std::f64::consts::LN_2) as f32
}
