//! The head on a device: log-probabilities and their backward pass, chunk by chunk, and the draw of tokens from logits.

use super::Top;
use super::top::most_probable_first;
use crate::cuda::{Arg, Buffer, Device, Error, Float, Grid, Source, View, ViewMut};
use crate::linear::cuda as linear;

pub(crate) const SOURCE: Source =
    Source { name: "head", text: concat!(include_str!("rows.cuh"), include_str!("cuda.cu")) };

/// Threads of a row's block, as in rows.cuh.
pub(crate) const THREADS: u32 = 512;

/// What forward gives for every row, on the device.
pub struct Output {
    /// ln p(target) under the tempered distribution.
    pub logprobs: Buffer<f32>,
    /// ln Σ e^z, z the tempered logits.
    pub lse: Buffer<f32>,
    /// Entropy of the tempered distribution in nats, where asked for.
    pub entropy: Option<Buffer<f32>>,
}

/// Rows whose logits are in memory at the same time: at most 512 MiB of logits.
pub(crate) fn chunk_rows(v: usize) -> usize {
    ((1 << 27) / v.max(1)).clamp(16, 4096)
}

/// Bytes of scratch that [`forward`] and [`backward`] hold for `rows` rows and a vocabulary of `v`; `half`: in bf16.
pub fn scratch_bytes(rows: usize, v: usize, half: bool) -> usize {
    chunk_rows(v).min(rows) * v * (size_of::<f32>() + if half { size_of::<u16>() } else { size_of::<f32>() })
}

/// Log-probabilities of the targets, one row of h a target; w `[V, C]`. The targets lie on the device: one beyond the vocabulary gives NaN.
///
/// # Errors
/// The device refused.
///
/// # Panics
/// When the sizes do not fit one another.
pub fn forward<T: Float>(
    device: &Device,
    h: View<T>,
    w: View<T>,
    c: usize,
    targets: View<u32>,
    inv_temperature: View<f32>,
    entropy: bool,
) -> Result<Output, Error> {
    let op = "head::forward";
    let (rows, v) = sizes(op, h.len(), w.len(), c, targets.len(), inv_temperature.len());
    let step = chunk_rows(v).min(rows);
    let mut logits: Buffer<f32> = Buffer::uninit(device, op, step * v)?;
    let room = || Buffer::<f32>::uninit(device, op, rows);
    let out = Output { logprobs: room()?, lse: room()?, entropy: if entropy { Some(room()?) } else { None } };
    for start in (0..rows).step_by(step.max(1)) {
        let part = start..rows.min(start + step);
        let count = part.len();
        let rows_of_h = h.part(part.start * c..part.end * c);
        linear::forward(device, rows_of_h, w, v, c, None, logits.part_mut(0..count * v))?;
        let args = [
            Arg::from(&logits),
            targets.part(part.clone()).into(),
            inv_temperature.part(part.clone()).into(),
            v.into(),
            out.logprobs.part(part.clone()).into(),
            out.lse.part(part.clone()).into(),
            Arg::maybe(out.entropy.as_ref().map(|e| e.part(part.clone()))),
        ];
        device.launch(op, &SOURCE, "head_rows", Grid::of(count, THREADS), &args)?;
    }
    Ok(out)
}

/// dh (overwritten) and, where it is wanted, dw `[V, C]` (added to) from d(loss)/d(logprob) and, optionally, d(loss)/d(entropy), which
/// needs an `out` with entropy. Logits are computed again.
///
/// # Errors
/// The device refused.
///
/// # Panics
/// When the sizes do not fit one another, or dentropy is given and `out` has no entropy.
pub fn backward<T: Float>(
    device: &Device,
    h: View<T>,
    w: View<T>,
    c: usize,
    targets: View<u32>,
    inv_temperature: View<f32>,
    out: &Output,
    dlogprob: View<f32>,
    dentropy: Option<View<f32>>,
    mut dh: ViewMut<f32>,
    mut dw: Option<ViewMut<f32>>,
) -> Result<(), Error> {
    let op = "head::backward";
    let (rows, v) = sizes(op, h.len(), w.len(), c, targets.len(), inv_temperature.len());
    assert!(
        out.lse.len() == rows && dlogprob.len() == rows && dh.len() == h.len(),
        "{op}: not of {rows} rows"
    );
    assert!(
        dentropy.is_none_or(|d| d.len() == rows && out.entropy.is_some()),
        "{op}: dentropy or entropy is missing"
    );
    let step = chunk_rows(v).min(rows);
    let mut logits: Buffer<f32> = Buffer::uninit(device, op, step * v)?;
    let dlogits: Buffer<T> = Buffer::uninit(device, op, step * v)?;
    for start in (0..rows).step_by(step.max(1)) {
        let part = start..rows.min(start + step);
        let count = part.len();
        let rows_of_h = h.part(part.start * c..part.end * c);
        linear::forward(device, rows_of_h, w, v, c, None, logits.part_mut(0..count * v))?;
        let args = [
            Arg::from(&logits),
            targets.part(part.clone()).into(),
            inv_temperature.part(part.clone()).into(),
            out.lse.part(part.clone()).into(),
            Arg::maybe(out.entropy.as_ref().map(|e| e.part(part.clone()))),
            dlogprob.part(part.clone()).into(),
            Arg::maybe(dentropy.map(|d| d.part(part.clone()))),
            Arg::from(&dlogits),
            v.into(),
        ];
        let kernel = format!("head_slopes_{}", T::SUFFIX);
        device.launch(op, &SOURCE, &kernel, Grid::of(count, THREADS), &args)?;
        let d = dlogits.part(0..count * v);
        linear::backward_input(device, d, w, v, c, dh.part_mut(part.start * c..part.end * c), false)?;
        if let Some(dw) = &mut dw {
            linear::backward_weight(device, d, rows_of_h, v, c, dw.again())?;
        }
    }
    Ok(())
}

/// The `n` most probable tokens of every row, as [`super::top`]: chosen on the device, brought into order on the host. Waits for the device.
///
/// # Errors
/// The device refused.
///
/// # Panics
/// When the sizes do not fit one another, or `n` is 0 or more than the vocabulary.
pub fn top<T: Float>(
    device: &Device,
    h: View<T>,
    w: View<T>,
    c: usize,
    inv_temperature: View<f32>,
    n: usize,
) -> Result<Top, Error> {
    let (op, rows) = ("head::top", inv_temperature.len());
    let (_, v) = sizes(op, h.len(), w.len(), c, rows, rows);
    assert!((1..=v).contains(&n), "{op}: {n} of a vocabulary of {v}");
    let step = chunk_rows(v).min(rows);
    let mut logits: Buffer<f32> = Buffer::uninit(device, op, step * v)?;
    let ids: Buffer<u32> = Buffer::uninit(device, op, rows * n)?;
    let logprobs: Buffer<f32> = Buffer::uninit(device, op, rows * n)?;
    for start in (0..rows).step_by(step.max(1)) {
        let part = start..rows.min(start + step);
        let (count, own) = (part.len(), part.start * n..part.end * n);
        let rows_of_h = h.part(part.start * c..part.end * c);
        linear::forward(device, rows_of_h, w, v, c, None, logits.part_mut(0..count * v))?;
        let args = [
            Arg::from(&logits),
            v.into(),
            inv_temperature.part(part).into(),
            n.into(),
            ids.part(own.clone()).into(),
            logprobs.part(own).into(),
        ];
        device.launch(op, &SOURCE, "most_probable", Grid::of(count, THREADS), &args)?;
    }
    let mut top = Top { ids: ids.download(op)?, logprobs: logprobs.download(op)? };
    for (ids, logprobs) in top.ids.chunks_exact_mut(n).zip(top.logprobs.chunks_exact_mut(n)) {
        let mut row: Vec<(f32, u32)> = logprobs.iter().copied().zip(ids.iter().copied()).collect();
        row.sort_unstable_by(most_probable_first);
        for (i, (logprob, id)) in row.into_iter().enumerate() {
            (ids[i], logprobs[i]) = (id, logprob);
        }
    }
    Ok(top)
}

/// Tokens that a vocabulary may have for [`draw`].
pub const VOCABULARY: usize = 1 << 18;

/// How tokens are drawn: the host's `Sampling`, as far as the device has it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rule {
    /// 0 is greedy
    pub temperature: f32,
    /// keep the k most probable tokens; 0 keeps all
    pub top_k: usize,
    /// keep the smallest set of most probable tokens whose mass reaches this; 1 keeps all
    pub top_p: f32,
    /// drop tokens less probable than this share of the most probable one; 0 keeps all
    pub min_p: f32,
}

/// What the tokens before a draw do to its logits, on the device: of row b the tokens `ids[starts[b]..starts[b + 1]]`, each once, and a
/// mark for each: how often it was drawn, [`SEEN`] where it stands in the prompt or was drawn, [`BANNED`] where it must not come.
pub struct Marks<'a> {
    /// `[B + 1]`
    pub starts: View<'a, u32>,
    /// tokens, ascending within a row
    pub ids: View<'a, u32>,
    /// their marks
    pub marks: View<'a, u32>,
    /// divides positive logits of seen tokens and multiplies others
    pub repetition: f32,
    /// taken from the logits of tokens that were drawn
    pub presence: f32,
    /// taken once for each time that they were
    pub frequency: f32,
}

/// In a mark: the token stands in the prompt or was drawn.
pub const SEEN: u32 = 1 << 30;

/// In a mark: the token must not come.
pub const BANNED: u32 = 1 << 31;

/// Draws B tokens from rows of logits `[R, v]`, draw b from row `rows[b]` (without `rows`, from row b), as `marks` change it where there
/// are any, with the number of `streams[b]` at `positions[b]`. `logprobs` are of the row's whole tempered distribution (at temperature 0:
/// at temperature 1), as [`forward`] would give them. What `rows` says is not checked.
///
/// The rule is the host's. Its sums are made in another order and, for the masses of top-p, in whole numbers of 2⁻⁴⁵, so a draw differs
/// where the uniform number falls within about 1e-9 of a border.
///
/// # Errors
/// The device refused.
///
/// # Panics
/// When the sizes do not fit one another.
pub fn draw(
    device: &Device,
    logits: View<f32>,
    v: usize,
    rule: &Rule,
    marks: Option<&Marks>,
    rows: Option<View<u32>>,
    streams: View<u64>,
    positions: View<u32>,
    tokens: ViewMut<u32>,
    logprobs: ViewMut<f32>,
) -> Result<(), Error> {
    draw_in_runs(device, logits, v, rule, marks, rows, streams, positions, tokens, logprobs, chunk_rows(v))
}

/// As [`draw`], `step` draws at a time: each run's scratch is as large as the logits it draws from.
fn draw_in_runs(
    device: &Device,
    logits: View<f32>,
    v: usize,
    rule: &Rule,
    marks: Option<&Marks>,
    rows: Option<View<u32>>,
    streams: View<u64>,
    positions: View<u32>,
    mut tokens: ViewMut<u32>,
    mut logprobs: ViewMut<f32>,
    step: usize,
) -> Result<(), Error> {
    let (op, count) = ("head::draw", tokens.len());
    assert!(
        v > 0
            && v <= VOCABULARY
            && logits.len().is_multiple_of(v)
            && rows.map_or(logits.len() / v, |rows| rows.len()) == count
            && streams.len() == count
            && positions.len() == count
            && logprobs.len() == count,
        "{op}: {} logits, {} streams, {} positions for {count} draws from rows of {v} ({VOCABULARY} at most)",
        logits.len(),
        streams.len(),
        positions.len()
    );
    assert!(
        marks.is_none_or(|marks| marks.starts.len() == count + 1 && marks.ids.len() == marks.marks.len()),
        "{op}: starts or marks of other numbers than {count} draws have"
    );
    let most = step.min(count);
    let scratch = |wanted: bool| Buffer::<f32>::uninit(device, op, if wanted { most * v } else { 0 });
    let (weights, kept) = (scratch(rule.temperature != 0.0)?, scratch(marks.is_some())?);
    for start in (0..count).step_by(step) {
        let run = start..(start + step).min(count);
        let (from, rows) = match rows {
            Some(rows) => (logits, Some(rows.part(run.clone()))),
            None => (logits.part(run.start * v..run.end * v), None),
        };
        if let Some(marks) = marks {
            let args = [
                from.into(),
                Arg::maybe(rows),
                Arg::from(&kept),
                v.into(),
                marks.starts.part(run.start..run.end + 1).into(),
                marks.ids.into(),
                marks.marks.into(),
                marks.repetition.into(),
                marks.presence.into(),
                marks.frequency.into(),
            ];
            device.launch(op, &SOURCE, "penalize", Grid::of(run.len(), 256), &args)?;
        }
        let args = [
            from.into(),
            Arg::maybe(rows),
            Arg::maybe(marks.map(|_| kept.all())),
            v.into(),
            Arg::from(&weights),
            rule.temperature.into(),
            rule.top_k.into(),
            rule.top_p.into(),
            rule.min_p.into(),
            streams.part(run.clone()).into(),
            positions.part(run.clone()).into(),
            Arg::from(&tokens.part_mut(run.clone())),
            Arg::from(&logprobs.part_mut(run.clone())),
        ];
        device.launch(op, &SOURCE, "draw", Grid::of(run.len(), THREADS), &args)?;
    }
    Ok(())
}

fn sizes(op: &str, h: usize, w: usize, c: usize, rows: usize, temperatures: usize) -> (usize, usize) {
    assert!(
        c > 0 && h == rows * c && w.is_multiple_of(c) && temperatures == rows,
        "{op}: h {h}, w {w} values in rows of {c}, {rows} targets, {temperatures} temperatures"
    );
    (rows, w / c)
}

#[cfg(test)]
mod tests;
