//! Causal attention over a forest of segments, with whole rows of probabilities in memory: the definition.

use super::Segment;
use crate::real::Real;

/// Sizes and the scale, with the scale in the reference's number type.
#[derive(Clone, Copy)]
pub(crate) struct Sizes<F> {
    pub heads: usize,
    pub kv_heads: usize,
    pub dk: usize,
    pub dv: usize,
    pub scale: F,
}

impl<F: Real> Sizes<F> {
    pub fn of(s: super::Shape) -> Sizes<F> {
        Sizes { heads: s.heads, kv_heads: s.kv_heads, dk: s.dk, dv: s.dv, scale: F::of(f64::from(s.scale)) }
    }
}

/// Scores of one query head over the visible part of a path.
fn scores<F: Real>(q: &[F], k: &[F], visible: &[u32], kv_head: usize, s: Sizes<F>) -> Vec<F> {
    let row = |j: u32| &k[(j as usize * s.kv_heads + kv_head) * s.dk..][..s.dk];
    visible
        .iter()
        .map(|&j| {
            let mut sum = F::ZERO;
            for (a, b) in q.iter().zip(row(j)) {
                sum += *a * s.scale * *b;
            }
            sum
        })
        .collect()
}

/// out = Σ_j softmax(q·k_j·scale) v_j, lse = ln Σ_j e^(q·k_j·scale).
pub(crate) fn forward<F: Real>(
    q: &[F],
    k: &[F],
    v: &[F],
    segments: &[Segment],
    s: Sizes<F>,
    out: &mut [F],
    lse: &mut [F],
) {
    for segment in segments {
        let before = segment.path.len() - segment.queries.len();
        for (i, row) in segment.queries.clone().enumerate() {
            let visible = &segment.path[..=before + i];
            for h in 0..s.heads {
                let kv_head = h / (s.heads / s.kv_heads);
                let at = row * s.heads + h;
                let score = scores(&q[at * s.dk..][..s.dk], k, visible, kv_head, s);
                let top = score.iter().fold(score[0], |m, &x| if x > m { x } else { m });
                let mut sum = F::ZERO;
                for &x in &score {
                    sum += (x - top).exp();
                }
                lse[at] = top + sum.ln();
                let out = &mut out[at * s.dv..][..s.dv];
                out.fill(F::ZERO);
                for (&x, &j) in score.iter().zip(visible) {
                    let p = (x - top).exp() / sum;
                    let v = &v[(j as usize * s.kv_heads + kv_head) * s.dv..][..s.dv];
                    for d in 0..s.dv {
                        out[d] += p * v[d];
                    }
                }
            }
        }
    }
}

/// With p_j = e^(score_j − lse), D = Σ dout·out: dv_j += p_j·dout, ds_j = p_j·(dout·v_j − D),
/// dq = scale·Σ ds_j·k_j, dk_j += ds_j·scale·q.
pub(crate) fn backward<F: Real>(
    q: &[F],
    k: &[F],
    v: &[F],
    out: &[F],
    lse: &[F],
    dout: &[F],
    segments: &[Segment],
    s: Sizes<F>,
    dq: &mut [F],
    dk: &mut [F],
    dv: &mut [F],
) {
    dq.fill(F::ZERO);
    dk.fill(F::ZERO);
    dv.fill(F::ZERO);
    for segment in segments {
        let before = segment.path.len() - segment.queries.len();
        for (i, row) in segment.queries.clone().enumerate() {
            let visible = &segment.path[..=before + i];
            for h in 0..s.heads {
                let kv_head = h / (s.heads / s.kv_heads);
                let at = row * s.heads + h;
                let q = &q[at * s.dk..][..s.dk];
                let dout = &dout[at * s.dv..][..s.dv];
                let mut d = F::ZERO;
                for (a, b) in dout.iter().zip(&out[at * s.dv..][..s.dv]) {
                    d += *a * *b;
                }
                for (x, &j) in scores(q, k, visible, kv_head, s).into_iter().zip(visible) {
                    let p = (x - lse[at]).exp();
                    let slot = j as usize * s.kv_heads + kv_head;
                    let mut dp = F::ZERO;
                    for c in 0..s.dv {
                        dp += dout[c] * v[slot * s.dv + c];
                        dv[slot * s.dv + c] += p * dout[c];
                    }
                    let ds = p * (dp - d) * s.scale;
                    for c in 0..s.dk {
                        dq[at * s.dk + c] += ds * k[slot * s.dk + c];
                        dk[slot * s.dk + c] += ds * q[c];
                    }
                }
            }
        }
    }
}
