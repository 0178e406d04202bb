//! Log-softmax of tempered logits with the whole row in memory: the definition.

use crate::real::Real;

/// What the reference gives for each row.
pub(crate) struct Rows<F> {
    pub logprobs: Vec<F>,
    pub lse: Vec<F>,
    pub entropy: Vec<F>,
}

/// Tempered logits of row i: (h_i · w_v) · inv_temperature_i.
fn logits<F: Real>(h: &[F], w: &[F], inv_temperature: F) -> Vec<F> {
    w.chunks_exact(h.len())
        .map(|w| {
            let mut sum = F::ZERO;
            for (a, b) in h.iter().zip(w) {
                sum += *a * *b;
            }
            sum * inv_temperature
        })
        .collect()
}

/// logprob = z_target − lse, lse = ln Σ e^z, entropy = −Σ p ln p in nats; h `[T, C]`, w `[V, C]`.
pub(crate) fn forward<F: Real>(h: &[F], w: &[F], targets: &[u32], inv_temperature: &[F]) -> Rows<F> {
    let c = h.len() / targets.len();
    let mut rows = Rows { logprobs: vec![], lse: vec![], entropy: vec![] };
    for (i, &target) in targets.iter().enumerate() {
        let z = logits(&h[i * c..][..c], w, inv_temperature[i]);
        let top = z.iter().fold(z[0], |m, &x| if x > m { x } else { m });
        let mut sum = F::ZERO;
        for &x in &z {
            sum += (x - top).exp();
        }
        let lse = top + sum.ln();
        let mut entropy = F::ZERO;
        for &x in &z {
            entropy += (x - lse).exp() * (lse - x);
        }
        rows.logprobs.push(z[target as usize] - lse);
        rows.lse.push(lse);
        rows.entropy.push(entropy);
    }
    rows
}

/// d z_v = dlogprob·(1[v = target] − p_v) − dentropy·p_v·(ln p_v + H); d logit = d z · inv_temperature;
/// dh = d logit · W, dw += d logitᵀ · h.
pub(crate) fn backward<F: Real>(
    h: &[F],
    w: &[F],
    targets: &[u32],
    inv_temperature: &[F],
    rows: &Rows<F>,
    dlogprob: &[F],
    dentropy: &[F],
    dh: &mut [F],
    dw: &mut [F],
) {
    let c = h.len() / targets.len();
    dh.fill(F::ZERO);
    for (i, &target) in targets.iter().enumerate() {
        let row = &h[i * c..][..c];
        for (v, x) in logits(row, w, inv_temperature[i]).into_iter().enumerate() {
            let logp = x - rows.lse[i];
            let p = logp.exp();
            let hit = if v == target as usize { F::ONE } else { F::ZERO };
            let dz = dlogprob[i] * (hit - p) - dentropy[i] * p * (logp + rows.entropy[i]);
            let d = dz * inv_temperature[i];
            for j in 0..c {
                dh[i * c + j] += d * w[v * c + j];
                dw[v * c + j] += d * row[j];
            }
        }
    }
}
