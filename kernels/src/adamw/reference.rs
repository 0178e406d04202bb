//! The definition of AdamW: the formula in f64, element by element.

#[cfg(test)]
use super::Step;

/// One step in f64.
#[cfg(test)]
pub fn update(w: &mut [f64], g: &[f64], m: &mut [f64], v: &mut [f64], s: &Step) {
    let [lr, b1, b2, eps, decay, scale] = [s.lr, s.beta1, s.beta2, s.eps, s.weight_decay, s.grad_scale];
    for i in 0..w.len() {
        let g = g[i] * scale;
        m[i] = b1 * m[i] + (1.0 - b1) * g;
        v[i] = b2 * v[i] + (1.0 - b2) * g * g;
        let m_hat = m[i] / (1.0 - b1.powf(s.step as f64));
        let v_hat = v[i] / (1.0 - b2.powf(s.step as f64));
        w[i] -= lr * decay * w[i];
        w[i] -= lr * m_hat / (v_hat.sqrt() + eps);
    }
}
