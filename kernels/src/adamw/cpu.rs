//! AdamW in f32 for every instruction set.

use super::Constants;

dispatch! {
    /// One step for a run of elements.
    pub(super) fn update(w: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], c: &Constants) = update_body;
}

impl Constants {
    /// One element: takes (w, g, m, v) and returns the next (w, m, v).
    #[inline(always)]
    pub(super) fn apply(&self, w: f32, g: f32, m: f32, v: f32) -> (f32, f32, f32) {
        let g = g * self.grad_scale;
        let m = self.beta1.mul_add(m, self.one_minus_beta1 * g);
        let v = self.beta2.mul_add(v, self.one_minus_beta2 * (g * g));
        let step = self.rate * m / v.sqrt().mul_add(self.inverse_root, self.eps);
        (w.mul_add(self.keep, -step), m, v)
    }
}

#[inline(always)]
fn update_body(w: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], c: &Constants) {
    let n = w.len();
    let (g, m, v) = (&g[..n], &mut m[..n], &mut v[..n]);
    for i in 0..n {
        (w[i], m[i], v[i]) = c.apply(w[i], g[i], m[i], v[i]);
    }
}
