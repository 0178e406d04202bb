//! Where the values of parameters come from: a file's tensors, memory, or a seed.

use half::bf16;
use r1_kernels::linear::Half;
use r1_kernels::threads::{self, SharedMut};

use crate::checkpoint::{FirstBad, View};
use crate::parameters::Kind;
use crate::random::Stream;

/// Where the values of one parameter come from.
pub(crate) trait Values: Sync {
    /// Fills `out` with the values from flat index `from` on.
    fn read(&self, from: usize, out: &mut [f32]);
    /// Whether all are bf16 values already.
    fn is_bf16(&self) -> bool {
        false
    }
    /// Row `j` of `columns` values, of values that [are bf16](Values::is_bf16).
    fn row(&self, j: usize, columns: usize) -> &[Half] {
        let _ = columns;
        unreachable!("row {j} of values that are not bf16")
    }
    /// All of them as they lie in a file, part after part, the low byte first: 2 a value where they [are bf16](Values::is_bf16), else 4 (f32).
    /// `None` where they have to be made.
    #[cfg_attr(not(feature = "cuda"), allow(dead_code))]
    fn plain(&self) -> Option<Vec<&[u8]>> {
        None
    }
    /// The error that names the value at flat index `i`.
    fn not_finite(&self, i: usize) -> anyhow::Error;
    /// They were read and are not read again.
    fn let_go(&self) {}
    /// Reads all `length` of them for nothing but to find the first that is not finite.
    fn look_at_all(&self, length: usize, bad: &FirstBad) {
        threads::parallel(length.div_ceil(GRAIN), |task| {
            let range = task * GRAIN..length.min((task + 1) * GRAIN);
            let mut part = vec![0.0; range.len()];
            self.read(range.start, &mut part);
            bad.look(range.start, &part);
        });
    }
}

/// Values that are in memory already.
impl Values for Vec<f32> {
    fn read(&self, from: usize, out: &mut [f32]) {
        out.copy_from_slice(&self[from..from + out.len()]);
    }

    fn not_finite(&self, i: usize) -> anyhow::Error {
        anyhow::anyhow!("a parameter holds {} (value {i})", self[i])
    }
}

/// The tensors of a file that are stacked to one parameter.
pub(super) struct Stacked<'a>(pub Vec<View<'a>>);

impl Values for Stacked<'_> {
    fn read(&self, mut from: usize, mut out: &mut [f32]) {
        for view in &self.0 {
            if from < view.len() && !out.is_empty() {
                let count = out.len().min(view.len() - from);
                let (here, rest) = std::mem::take(&mut out).split_at_mut(count);
                view.read(from, here);
                out = rest;
                from = 0;
            } else {
                from -= view.len().min(from);
            }
        }
    }

    fn is_bf16(&self) -> bool {
        self.0.iter().all(View::is_bf16)
    }

    fn plain(&self) -> Option<Vec<&[u8]>> {
        let alike = self.is_bf16() || self.0.iter().all(|view| !view.is_bf16());
        if alike { self.0.iter().map(View::plain).collect() } else { None }
    }

    fn row(&self, j: usize, columns: usize) -> &[Half] {
        let mut from = j * columns;
        for view in &self.0 {
            if from < view.len() {
                return &view.halves()[from..from + columns];
            }
            from -= view.len();
        }
        unreachable!("row {j} of a parameter that has it")
    }

    fn not_finite(&self, mut i: usize) -> anyhow::Error {
        for view in &self.0 {
            if i < view.len() {
                return view.not_finite(i);
            }
            i -= view.len();
        }
        unreachable!("an index of a value that was read")
    }

    fn let_go(&self) {
        self.0.iter().for_each(View::let_go);
    }
}

/// Fresh values, every one a function of the seed, its tensor's name and its place.
pub(super) struct Drawn {
    pub kind: Kind,
    pub range: f64,
    pub streams: Vec<(std::ops::Range<usize>, Stream)>,
}

impl Values for Drawn {
    fn read(&self, from: usize, out: &mut [f32]) {
        for (i, x) in (from..).zip(out) {
            *x = match self.kind {
                Kind::Matrix | Kind::Embedding => {
                    let stream = self.streams.iter().find(|(range, _)| range.contains(&i));
                    stream.map_or(0.0, |(range, s)| (s.normal((i - range.start) as u64) * self.range) as f32)
                }
                Kind::Norm => 1.0,
                Kind::Bias | Kind::CorrectionBias => 0.0,
            };
        }
    }

    fn not_finite(&self, i: usize) -> anyhow::Error {
        anyhow::anyhow!("initializer_range: gives a value that is not finite (the {i}th)")
    }
}

/// Values that are worth a task of their own.
const GRAIN: usize = 1 << 16;

/// Reads everything, on all threads.
pub(super) fn fill(values: &impl Values, out: &mut [f32], bad: &FirstBad) {
    fill_from(values, 0, out, bad);
}

/// Reads what stands from flat index `start` on, on all threads.
pub(crate) fn fill_from(values: &impl Values, start: usize, out: &mut [f32], bad: &FirstBad) {
    let length = out.len();
    let parts = SharedMut::new(out);
    threads::parallel(length.div_ceil(GRAIN), |task| {
        let range = task * GRAIN..length.min((task + 1) * GRAIN);
        // SAFETY: the tasks' ranges are disjoint.
        let part = unsafe { parts.slice(range.clone()) };
        values.read(start + range.start, part);
        bad.look(start + range.start, part);
    });
}

/// [`fill`] for values that are bf16 already: half the memory.
pub(super) fn halves(values: &impl Values, length: usize, bad: &FirstBad) -> Vec<bf16> {
    let mut out = vec![bf16::ZERO; length];
    let parts = SharedMut::new(&mut out);
    threads::parallel(length.div_ceil(GRAIN), |task| {
        let range = task * GRAIN..length.min((task + 1) * GRAIN);
        let mut wide = vec![0.0; range.len()];
        values.read(range.start, &mut wide);
        bad.look(range.start, &wide);
        // SAFETY: the tasks' ranges are disjoint.
        let part = unsafe { parts.slice(range) };
        part.iter_mut().zip(&wide).for_each(|(half, x)| *half = bf16::from_f32(*x));
    });
    out
}
