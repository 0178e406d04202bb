//! Divergences on a device, chunk by chunk of rows as the head is.

use super::cpu::Shape;
use crate::cuda::{Arg, Buffer, Device, Error, Float, Grid, Source, View, ViewMut};
use crate::head::cuda::{THREADS, chunk_rows};
use crate::linear::cuda as linear;

pub(crate) const SOURCE: Source =
    Source { name: "divergence", text: concat!(include_str!("../head/rows.cuh"), include_str!("cuda.cu")) };

/// Where the teacher's distributions come from.
#[derive(Clone, Copy)]
pub enum Teacher<'a, T: Float> {
    /// A network on the same device: what its head is applied to, `[T, c]`, and the head, `[V', c]`.
    Live {
        /// rows of the final norm's output
        h: View<'a, T>,
        /// its head
        w: View<'a, T>,
        /// their width
        c: usize,
    },
    /// Lists of its most probable tokens, on the host: see [`super::Teacher::Listed`].
    Listed {
        /// token ids, none twice in a row
        ids: &'a [u32],
        /// their log-probabilities (nats)
        logprobs: &'a [f32],
        /// T + 1 bounds
        starts: &'a [usize],
    },
    /// Every token of the vocabulary is as probable as every other.
    Uniform,
}

/// A teacher's lists on the device.
struct Lists {
    ids: Buffer<u32>,
    logprobs: Buffer<f32>,
    starts: Buffer<u32>,
    /// ln of what each list leaves out
    tails: Buffer<f32>,
    /// room for the student's log-probabilities of what is listed
    own: Buffer<f32>,
}

impl Lists {
    fn of(device: &Device, ids: &[u32], logprobs: &[f32], starts: &[usize]) -> Result<Lists, Error> {
        let op = "divergence::backward";
        let bounds = starts.iter().map(|&s| u32::try_from(s).expect("lists of a batch fit 32 bits"));
        let tails = starts.windows(2).map(|own| super::tail(&logprobs[own[0]..own[1]]));
        Ok(Lists {
            ids: Buffer::of(device, op, ids)?,
            logprobs: Buffer::of(device, op, logprobs)?,
            starts: Buffer::of(device, op, &bounds.collect::<Vec<_>>())?,
            tails: Buffer::of(device, op, &tails.collect::<Vec<_>>())?,
            own: Buffer::uninit(device, op, ids.len())?,
        })
    }
}

/// The divergence of every row, and the gradient of Σ `weights[i]` · divergence i: dh and, where wanted, dw `[V, c]` are added to. As
/// [`super::backward`].
///
/// # Errors
/// The device refused.
///
/// # Panics
/// When sizes do not fit one another, β lies outside 0..=1, or a list names a token twice or beyond the vocabulary.
pub fn backward<T: Float, U: Float>(
    device: &Device,
    h: View<T>,
    w: View<T>,
    c: usize,
    teacher: Teacher<U>,
    beta: f32,
    inv_temperature: View<f32>,
    weights: View<f32>,
    mut dh: ViewMut<f32>,
    mut dw: Option<ViewMut<f32>>,
) -> Result<Buffer<f32>, Error> {
    let (op, rows, v) = ("divergence::backward", inv_temperature.len(), w.len() / c.max(1));
    assert!(
        w.len() == v * c && h.len() == rows * c && dh.len() == h.len() && weights.len() == rows,
        "{op}: {} and {} values in rows of {c}, {rows} temperatures, {} weights",
        h.len(),
        w.len(),
        weights.len()
    );
    assert!((0.0..=1.0).contains(&beta), "{op}: beta {beta} is not within 0..=1");
    let (rest, odds) = match Shape::of(beta) {
        Shape::Between { rest, odds, .. } => (rest, odds),
        Shape::Forward | Shape::Reverse => (0.0, 0.0),
    };
    let (theirs, lists) = match teacher {
        Teacher::Live { h, w, c } => {
            assert!(h.len() == rows * c && w.len().is_multiple_of(c), "{op}: the teacher's rows");
            (w.len() / c, None)
        }
        Teacher::Listed { ids, logprobs, starts } => {
            super::check_lists(ids, logprobs, starts, rows, v);
            (0, Some(Lists::of(device, ids, logprobs, starts)?))
        }
        Teacher::Uniform => (0, None),
    };
    let step = chunk_rows(v.max(theirs)).min(rows);
    let values: Buffer<f32> = Buffer::uninit(device, op, rows)?;
    let mut logits: Buffer<f32> = Buffer::uninit(device, op, step * v)?;
    let mut of_teacher: Buffer<f32> = Buffer::uninit(device, op, step * theirs)?;
    let dlogits: Buffer<T> = Buffer::uninit(device, op, step * v)?;
    for start in (0..rows).step_by(step.max(1)) {
        let part = start..rows.min(start + step);
        let count = part.len();
        let own = h.part(part.start * c..part.end * c);
        linear::forward(device, own, w, v, c, None, logits.part_mut(0..count * v))?;
        if let Teacher::Live { h, w, c } = teacher {
            let (h, to) = (h.part(part.start * c..part.end * c), of_teacher.part_mut(0..count * theirs));
            linear::forward(device, h, w, theirs, c, None, to)?;
        }
        let after = [
            inv_temperature.part(part.clone()).into(),
            beta.into(),
            rest.into(),
            odds.into(),
            weights.part(part.clone()).into(),
            values.part(part.clone()).into(),
            Arg::from(&dlogits),
        ];
        let (kernel, before) = match &lists {
            Some(l) => {
                let (starts, tails) = (l.starts.part(part.start..part.end + 1), l.tails.part(part.clone()));
                let lists =
                    [Arg::from(&l.ids), (&l.logprobs).into(), starts.into(), tails.into(), (&l.own).into()];
                ("listed", [&[Arg::from(&logits), v.into()], &lists[..]].concat())
            }
            None => {
                let whole = Arg::maybe((theirs > 0).then(|| of_teacher.all()));
                ("live", vec![Arg::from(&logits), v.into(), whole, theirs.into()])
            }
        };
        let kernel = format!("{kernel}_{}", T::SUFFIX);
        device.launch(op, &SOURCE, &kernel, Grid::of(count, THREADS), &[before, after.to_vec()].concat())?;
        let d = dlogits.part(0..count * v);
        linear::backward_input(device, d, w, v, c, dh.part_mut(part.start * c..part.end * c), true)?;
        if let Some(dw) = &mut dw {
            linear::backward_weight(device, d, own, v, c, dw.again())?;
        }
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{BETAS, Case, case};
    use super::*;
    use crate::cuda::testing::{each_device, narrow, near, on, values, widen};
    use crate::divergence;

    /// Divergences and gradients of a case on the device, its operands in either type.
    fn run<T: Float>(
        device: &Device,
        k: &Case,
        teacher: usize,
        beta: f32,
        to: fn(&[f32]) -> Vec<T>,
    ) -> [Vec<f32>; 3] {
        let (h, w) = (on(device, &to(&k.h)), on(device, &to(&k.w)));
        let (teacher_h, teacher_w) = (on(device, &to(&k.teacher_h)), on(device, &to(&k.teacher_w)));
        let (t, weights) = (on(device, &k.inv_temperature), on(device, &k.weights));
        let (mut dh, mut dw) =
            (on(device, &values(7, k.h.len(), 1.0)), on(device, &values(6, k.w.len(), 1.0)));
        let lists = k.lists(0..k.weights.len());
        let (c, their_c) = (k.head.k(), k.teacher_head.k());
        let teacher: Teacher<T> = match teacher {
            0 => Teacher::Live { h: teacher_h.all(), w: teacher_w.all(), c: their_c },
            1 => Teacher::Listed { ids: &lists.ids, logprobs: &lists.logprobs, starts: &lists.starts },
            _ => Teacher::Uniform,
        };
        let (to_h, to_w) = (dh.all_mut(), Some(dw.all_mut()));
        let found =
            backward(device, h.all(), w.all(), c, teacher, beta, t.all(), weights.all(), to_h, to_w).unwrap();
        [found, dh, dw].map(|buffer| buffer.download("test").unwrap())
    }

    #[test]
    fn every_teacher_pulls_as_on_the_cpu() {
        each_device(|device| {
            for (rows, v, c, more) in
                [(1, 1, 1, 0), (2, 5, 3, 2), (3, 16, 8, -3), (7, 700, 4, 0), (19, 133, 12, 5)]
            {
                let k = case(rows, v, c, more);
                // What bf16 operands hold, so that both sides see the same numbers.
                let k = k.rounded(|x| widen(&narrow(x)));
                for teacher in 0..3 {
                    for beta in BETAS {
                        let (mut dh, mut dw) = (values(7, k.h.len(), 1.0), values(6, k.w.len(), 1.0));
                        let lists = k.lists(0..rows);
                        let nothing = vec![0.0; rows];
                        let zeros =
                            crate::linear::Weight::pack(&vec![0.0; v], v, 1, crate::Precision::F32, false);
                        let here = match teacher {
                            0 => divergence::Teacher::Live { h: &k.teacher_h, w: &k.teacher_head },
                            1 => {
                                let (ids, logprobs, starts) =
                                    (&lists.ids[..], &lists.logprobs[..], &lists.starts[..]);
                                divergence::Teacher::Listed { ids, logprobs, starts }
                            }
                            _ => divergence::Teacher::Live { h: &nothing, w: &zeros },
                        };
                        let (t, weights) = (&k.inv_temperature, &k.weights);
                        let wanted = divergence::backward(
                            &k.h,
                            &k.head,
                            here,
                            beta,
                            t,
                            weights,
                            &mut dh,
                            Some(&mut dw),
                        );
                        let what = format!("{rows} {v} {c} {more} teacher {teacher} beta {beta}");
                        let [found, fh, fw] = run(device, &k, teacher, beta, <[f32]>::to_vec);
                        for (a, b) in found.iter().zip(&wanted) {
                            assert!((a - b).abs() < 3e-6 + 3e-6 * b.abs(), "{what}: {a} for {b}");
                        }
                        near(&what, &fh, &dh, 1e-5);
                        near(&what, &fw, &dw, 1e-5);
                        let [half, fh, fw] = run(device, &k, teacher, beta, narrow);
                        assert_eq!(half, found, "{what}: logits of the same operands");
                        near(&what, &fh, &dh, 1e-2);
                        near(&what, &fw, &dw, 1e-2);
                    }
                }
            }
        });
    }
}
