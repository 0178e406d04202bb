//! SwiGLU (Shazeer 2020, arXiv 2002.05202, equation 6, β = 1): silu(gate) · up, silu(g) = g / (1 + e^−g).

use crate::real::Real;

/// y[t, j] = silu(gate[t, j]) · up[t, j]; gate and up are the two halves of a row of `gate_up`.
pub(crate) fn forward<F: Real>(gate_up: &[F], f: usize, y: &mut [F]) {
    for (row, y) in gate_up.chunks_exact(2 * f).zip(y.chunks_exact_mut(f)) {
        for j in 0..f {
            y[j] = row[j] / (F::ONE + (-row[j]).exp()) * row[f + j];
        }
    }
}

/// With s = sigmoid(g): d gate = dy · up · s · (1 + g·(1 − s)), d up = dy · g · s.
pub(crate) fn backward<F: Real>(dy: &[F], gate_up: &[F], f: usize, dgate_up: &mut [F]) {
    for ((dy, row), out) in
        dy.chunks_exact(f).zip(gate_up.chunks_exact(2 * f)).zip(dgate_up.chunks_exact_mut(2 * f))
    {
        for j in 0..f {
            let (g, up) = (row[j], row[f + j]);
            let s = F::ONE / (F::ONE + (-g).exp());
            out[j] = dy[j] * up * s * (F::ONE + g * (F::ONE - s));
            out[f + j] = dy[j] * g * s;
        }
    }
}
