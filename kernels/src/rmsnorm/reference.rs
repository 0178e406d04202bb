//! RMSNorm as written in Zhang & Sennrich 2019 (arXiv 1910.07467), equation 4, with ε under the root.

use crate::real::Real;

/// y = x · rstd · w row by row, rstd = 1/√(mean(x²) + ε); rows have `w.len()` values.
pub(crate) fn forward<F: Real>(x: &[F], w: &[F], eps: F, y: &mut [F], rstd: &mut [F]) {
    let c = w.len();
    for row in 0..rstd.len() {
        let x = &x[row * c..][..c];
        let mut sum = F::ZERO;
        for &v in x {
            sum += v * v;
        }
        let r = F::ONE / (sum / F::of(c as f64) + eps).sqrt();
        rstd[row] = r;
        for j in 0..c {
            y[row * c + j] = x[j] * r * w[j];
        }
    }
}

/// dx = rstd·w·dy − x·rstd³/C·Σ(dy·w·x), dw += Σ_rows dy·x·rstd.
pub(crate) fn backward<F: Real>(dy: &[F], x: &[F], w: &[F], rstd: &[F], dx: &mut [F], dw: &mut [F]) {
    let c = w.len();
    for row in 0..rstd.len() {
        let at = row * c;
        let r = rstd[row];
        let mut dot = F::ZERO;
        for j in 0..c {
            dot += dy[at + j] * w[j] * x[at + j];
        }
        for j in 0..c {
            dx[at + j] = r * w[j] * dy[at + j] - x[at + j] * (r * r * r * dot / F::of(c as f64));
            dw[j] += dy[at + j] * x[at + j] * r;
        }
    }
}
