//! Passes over one row of log-probabilities on lanes; the order of the sums is in the header of `mod.rs`.

use crate::lanes::{Lanes, WIDTH, exp, ln, load_upto, log1p, store_upto};

/// Which divergence: β with what the inner loop needs of it.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    Forward,
    Reverse,
    Between {
        beta: f32,
        /// ln(1 − β)
        rest: f32,
        /// ln β − ln(1 − β)
        odds: f32,
    },
}

impl Shape {
    pub(super) fn of(beta: f32) -> Shape {
        match beta {
            0.0 => Shape::Forward,
            1.0 => Shape::Reverse,
            _ => Shape::Between { beta, rest: ln(1.0 - beta), odds: ln(beta) - ln(1.0 - beta) },
        }
    }
}

/// What a row adds up to.
#[derive(Clone, Copy)]
pub(super) struct Sums {
    /// in nats
    pub divergence: f32,
    /// Σ q s; 0 where the slope needs none
    pub mean: f32,
}

on_lanes! {
    /// z = z − by, in place.
    pub(super) fn lower(z: &mut [f32], by: f32) = lower_body;
    /// z = e^z, in place; their sum.
    pub(super) fn exp_and_sum(z: &mut [f32]) -> f32 = exp_and_sum_body;
    /// The divergence of q from p, both as logarithms, and Σ q s.
    pub(super) fn sums(q: &[f32], p: &[f32], shape: Shape) -> Sums = sums_body;
    /// q = `by` · d(divergence)/d z, z the logits that q is the log-softmax of.
    pub(super) fn slopes(q: &mut [f32], p: &[f32], shape: Shape, sums: Sums, by: f32) = slopes_body;
}

#[inline(always)]
fn lower_body<V: Lanes>(z: &mut [f32], by: f32) {
    for i in (0..z.len()).step_by(WIDTH) {
        let n = z.len() - i;
        // SAFETY: each access takes at most the n values left.
        unsafe {
            let at = z.as_mut_ptr().add(i);
            store_upto(load_upto::<V>(at, n).sub(V::splat(by)), at, n);
        }
    }
}

#[inline(always)]
fn exp_and_sum_body<V: Lanes>(z: &mut [f32]) -> f32 {
    let mut sum = V::splat(0.0);
    for i in (0..z.len()).step_by(WIDTH) {
        let n = z.len() - i;
        // SAFETY: each access takes at most the n values left.
        unsafe {
            let at = z.as_mut_ptr().add(i);
            let e = exp(load_upto::<V>(at, n));
            sum = sum.add(e.first(n.min(WIDTH), V::splat(0.0)));
            store_upto(e, at, n);
        }
    }
    sum.sum()
}

/// ln q − ln m, m the mixture.
#[inline(always)]
fn from_mixture<V: Lanes>(q: V, p: V, rest: f32, odds: f32) -> V {
    let zero = V::splat(0.0);
    let a = p.sub(q).add(V::splat(odds));
    let size = a.max(zero.sub(a));
    let softplus = a.max(zero).add(log1p(exp(zero.sub(size))));
    zero.sub(V::splat(rest).add(softplus))
}

#[inline(always)]
fn sums_body<V: Lanes>(q: &[f32], p: &[f32], shape: Shape) -> Sums {
    assert!(q.len() == p.len());
    let zero = V::splat(0.0);
    let (mut of_teacher, mut of_student) = (zero, zero);
    for i in (0..q.len()).step_by(WIDTH) {
        let n = q.len() - i;
        // SAFETY: the lengths are equal; each access takes at most the n values left.
        let (q, p) = unsafe { (load_upto::<V>(q.as_ptr().add(i), n), load_upto::<V>(p.as_ptr().add(i), n)) };
        let (n, apart) = (n.min(WIDTH), p.sub(q));
        match shape {
            Shape::Forward => of_teacher = exp(p).first(n, zero).fma(apart, of_teacher),
            Shape::Reverse => of_student = exp(q).first(n, zero).fma(zero.sub(apart), of_student),
            Shape::Between { rest, odds, .. } => {
                let r = from_mixture(q, p, rest, odds);
                of_teacher = exp(p).first(n, zero).fma(apart.add(r), of_teacher);
                of_student = exp(q).first(n, zero).fma(r, of_student);
            }
        }
    }
    let (of_teacher, of_student) = (of_teacher.sum(), of_student.sum());
    match shape {
        Shape::Forward => Sums { divergence: of_teacher, mean: 0.0 },
        Shape::Reverse => Sums { divergence: of_student, mean: of_student },
        Shape::Between { beta, .. } => {
            let mean = (1.0 - beta) * of_student;
            Sums { divergence: beta * of_teacher + mean, mean }
        }
    }
}

#[inline(always)]
fn slopes_body<V: Lanes>(q: &mut [f32], p: &[f32], shape: Shape, sums: Sums, by: f32) {
    assert!(q.len() == p.len());
    let (mean, by) = (V::splat(sums.mean), V::splat(by));
    for i in (0..q.len()).step_by(WIDTH) {
        let n = q.len() - i;
        // SAFETY: the lengths are equal; each access takes at most the n values left.
        unsafe {
            let at = q.as_mut_ptr().add(i);
            let (q, p) = (load_upto::<V>(at, n), load_upto::<V>(p.as_ptr().add(i), n));
            let d = match shape {
                Shape::Forward => exp(q).sub(exp(p)),
                Shape::Reverse => exp(q).mul(q.sub(p).sub(mean)),
                Shape::Between { beta, rest, odds } => {
                    let s = V::splat(1.0 - beta).mul(from_mixture(q, p, rest, odds));
                    exp(q).mul(s.sub(mean))
                }
            };
            store_upto(d.mul(by), at, n);
        }
    }
}
