//! The divergences with whole rows in memory: the definition, and d by the chain rule through every step.

use crate::real::Real;

/// Softmax of the tempered logits of one row.
fn softmax<F: Real>(h: &[F], w: &[F], v: usize, inv_temperature: F) -> Vec<F> {
    let c = h.len();
    let mut q: Vec<F> = (0..v)
        .map(|v| {
            let mut z = F::ZERO;
            for j in 0..c {
                z += h[j] * w[v * c + j];
            }
            z * inv_temperature
        })
        .collect();
    let top = q.iter().fold(q[0], |m, &x| if x > m { x } else { m });
    let mut sum = F::ZERO;
    for x in &mut q {
        *x = (*x - top).exp();
        sum += *x;
    }
    q.iter().map(|&x| x / sum).collect()
}

/// Where the teacher's distributions come from.
pub(crate) enum Teacher<'a, F> {
    /// rows, head, V'
    Live(&'a [F], &'a [F], usize),
    /// a row's list of ids and log-probabilities
    Listed(&'a [Vec<u32>], &'a [Vec<F>]),
}

/// Σ p (ln p − ln q), an outcome of no mass adding nothing.
fn kl<F: Real>(p: &[F], q: &[F]) -> F {
    let mut sum = F::ZERO;
    for (&p, &q) in p.iter().zip(q) {
        if p > F::ZERO {
            sum += p * (p.ln() - q.ln());
        }
    }
    sum
}

/// The divergence of q from p, and d of it / d q.
fn divergence<F: Real>(p: &[F], q: &[F], beta: F) -> (F, Vec<F>) {
    let pairs = || p.iter().zip(q);
    if beta == F::ZERO {
        return (kl(p, q), pairs().map(|(&p, &q)| -p / q).collect());
    }
    if beta == F::ONE {
        return (kl(q, p), pairs().map(|(&p, &q)| q.ln() - p.ln() + F::ONE).collect());
    }
    let rest = F::ONE - beta;
    let m: Vec<F> = pairs().map(|(&p, &q)| beta * p + rest * q).collect();
    let d = pairs().zip(&m).map(|((&p, &q), &m)| {
        let of_teacher = -p * rest / m;
        let of_student = q.ln() - m.ln() + F::ONE - q * rest / m;
        beta * of_teacher + rest * of_student
    });
    (beta * kl(p, &m) + rest * kl(q, &m), d.collect())
}

/// The divergence of every row; dh and dw += of Σ weights · divergence.
pub(crate) fn backward<F: Real>(
    h: &[F],
    w: &[F],
    v: usize,
    teacher: &Teacher<F>,
    beta: F,
    inv_temperature: &[F],
    weights: &[F],
    dh: &mut [F],
    dw: &mut [F],
) -> Vec<F> {
    let rows = inv_temperature.len();
    let c = h.len() / rows;
    let mut values = Vec::new();
    for i in 0..rows {
        let row = &h[i * c..][..c];
        // Outcomes: which tokens each is made of, and its mass for either.
        let (parts, p, q): (Vec<Vec<usize>>, Vec<F>, Vec<F>) = match teacher {
            Teacher::Live(ht, wt, vt) => {
                let (both, ct) = (v.min(*vt), ht.len() / rows);
                let p = softmax(&ht[i * ct..][..ct], wt, both, inv_temperature[i]);
                let q = softmax(row, w, both, inv_temperature[i]);
                ((0..both).map(|v| vec![v]).collect(), p, q)
            }
            Teacher::Listed(ids, logprobs) => {
                let all = softmax(row, w, v, inv_temperature[i]);
                let mut parts: Vec<Vec<usize>> = ids[i].iter().map(|&id| vec![id as usize]).collect();
                let mut p: Vec<F> = logprobs[i].iter().map(|x| x.exp()).collect();
                let tail: Vec<usize> = (0..v).filter(|&v| !ids[i].contains(&(v as u32))).collect();
                if !tail.is_empty() {
                    let mut mass = F::ONE;
                    for &p in &p {
                        mass = mass - p;
                    }
                    let smallest = F::of(1.0 / 1_048_576.0);
                    p.push(if mass > smallest { mass } else { smallest });
                    parts.push(tail);
                }
                let mass = |part: &Vec<usize>| {
                    let mut sum = F::ZERO;
                    part.iter().for_each(|&v| sum += all[v]);
                    sum
                };
                let q = parts.iter().map(mass).collect();
                (parts, p, q)
            }
        };
        let (value, dq) = divergence(&p, &q, beta);
        values.push(value);
        let mut mean = F::ZERO;
        for (&q, &d) in q.iter().zip(&dq) {
            mean += q * d;
        }
        let width = parts.iter().map(Vec::len).sum();
        let all = softmax(row, w, width, inv_temperature[i]);
        for (part, d) in parts.iter().zip(dq) {
            for &v in part {
                let dz = all[v] * (d - mean) * inv_temperature[i] * weights[i];
                for j in 0..c {
                    dh[i * c + j] += dz * w[v * c + j];
                    dw[v * c + j] += dz * row[j];
                }
            }
        }
    }
    values
}
