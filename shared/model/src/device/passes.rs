//! Whole passes on a device: what goes up is token ids, positions and paths, what comes down is logits, log-probabilities
//! or scores.

use anyhow::{Result, bail};
use r1_kernels::cuda::{Buffer, View, ViewMut};
use r1_kernels::{Precision, attention, embedding, head, linear, rmsnorm};

use super::attention::{Cached, There};
use super::latent;
use super::layer::LayerTape;
use super::tensors::{Compute, Gradients, Network, Table};
use crate::batch::Packed;
use crate::cache::Caches;
use crate::network::{self, Attend, Recompute};

/// What a forward pass leaves for its backward pass, by what the policy computes in.
pub struct Tape(pub(super) Kept);

pub(super) enum Kept {
    F32(TapeOf<f32>),
    Bf16(TapeOf<u16>),
}

pub(super) struct TapeOf<A: Cached> {
    positions: Buffer<u32>,
    plan: attention::cuda::Plan,
    /// the input of each layer, then the last layer's output
    stream: Vec<Buffer<f32>>,
    layers: Vec<Option<LayerTape<A>>>,
    pub(super) gathered: Buffer<f32>,
    pub(super) normed: Buffer<A>,
    rstd: Buffer<f32>,
    /// what the head found; a classifier's scores need none of it
    pub(super) found: Option<head::cuda::Output>,
    /// tokens per expert of each layer with experts: (layer, counts)
    load: Vec<(usize, Vec<u32>)>,
}

/// `$run` with `$a` the type that the policy computes in.
macro_rules! by_precision {
    ($network:expr, $a:ident => $run:expr) => {
        match $network.precision {
            Precision::F32 => {
                type $a = f32;
                $run
            }
            Precision::Bf16 => {
                type $a = u16;
                $run
            }
        }
    };
}

/// `$run` with `$tape` the tape inside, whatever the policy computes in.
macro_rules! within {
    ($kept:expr, $tape:ident => $run:expr) => {
        match $kept.0 {
            Kept::F32($tape) => $run,
            Kept::Bf16($tape) => $run,
        }
    };
}

pub(super) use {by_precision, within};

/// A tape in its type, forgotten.
pub(super) trait Keep: Cached {
    fn keep(tape: TapeOf<Self>) -> Kept;
}

impl Keep for f32 {
    fn keep(tape: TapeOf<f32>) -> Kept {
        Kept::F32(tape)
    }
}

impl Keep for u16 {
    fn keep(tape: TapeOf<u16>) -> Kept {
        Kept::Bf16(tape)
    }
}

/// A tape as the network gives it.
pub(super) fn forget<A: Keep>(mut tape: TapeOf<A>) -> network::Tape {
    let load = std::mem::take(&mut tape.load);
    network::Tape::on_device(Tape(A::keep(tape)), load)
}

/// What the head found, on the host.
fn to_host(found: &head::cuda::Output) -> Result<head::Output> {
    let down = |values: &Buffer<f32>| values.download("log-probabilities");
    let entropy = found.entropy.as_ref().map(down).transpose()?.unwrap_or_default();
    Ok(head::Output { logprobs: down(&found.logprobs)?, lse: down(&found.lse)?, entropy })
}

impl Network {
    pub(super) fn upload(&self, what: &'static str, ids: &[u32]) -> Result<Buffer<u32>> {
        Ok(Buffer::of(&self.device, what, ids)?)
    }

    /// Embeds tokens: [T, C].
    fn embed(&self, tokens: &[u32]) -> Result<Buffer<f32>> {
        self.embed_there(self.upload("token ids", tokens)?.all())
    }

    /// As [`Network::embed`], the tokens being there.
    pub(super) fn embed_there(&self, ids: View<'_, u32>) -> Result<Buffer<f32>> {
        let (d, c) = (&self.device, self.config.hidden_size);
        let mut x = Buffer::uninit(d, "embedding::forward", ids.len() * c)?;
        match self.table() {
            Table::F32(table) => embedding::cuda::forward(d, table, c, ids, x.all_mut())?,
            Table::Bf16(table) => embedding::cuda::forward(d, table, c, ids, x.all_mut())?,
        }
        Ok(x)
    }

    /// Rows of `x` [T, C] in the order of `rows`.
    pub(super) fn gather(&self, x: &Buffer<f32>, rows: &[u32]) -> Result<Buffer<f32>> {
        let c = self.config.hidden_size;
        let ids = self.upload("rows", rows)?;
        let mut out = Buffer::uninit(&self.device, "the head's rows", rows.len() * c)?;
        embedding::cuda::forward(&self.device, x.all(), c, ids.all(), out.all_mut())?;
        Ok(out)
    }

    /// The residual stream after the last layer.
    pub(super) fn hidden<A: Cached>(
        &self,
        tokens: &[u32],
        positions: &[u32],
        there: &mut There<'_>,
    ) -> Result<Buffer<f32>> {
        let positions = self.upload("positions", positions)?;
        let mut x = self.embed(tokens)?;
        for layer in 0..self.config.layers {
            self.layer_through::<A>(layer, &mut x, &positions, there)?;
        }
        Ok(x)
    }

    /// The final norm of the chosen rows, what it was applied to, and its reciprocal deviations.
    fn last_norm<A: Cached>(
        &self,
        x: &Buffer<f32>,
        rows: &[u32],
    ) -> Result<(Buffer<f32>, Buffer<A>, Buffer<f32>)> {
        let gathered = self.gather(x, rows)?;
        let (normed, rstd) = self.normed(gathered.all(), self.index.final_norm, self.config.rms_norm_eps)?;
        Ok((gathered, normed, rstd))
    }

    pub(super) fn plan(&self, batch: &Packed) -> Result<attention::cuda::Plan> {
        Ok(attention::cuda::Plan::of(&self.device, &batch.segments)?)
    }

    pub(crate) fn logits(
        &self,
        tokens: &[u32],
        positions: &[u32],
        attend: Attend,
        rows: &[u32],
        out: &mut Vec<f32>,
    ) -> Result<()> {
        let logits = by_precision!(self, A => self.logits_there::<A>(tokens, positions, attend, rows))?;
        out.resize(logits.len(), 0.0);
        out.copy_from_slice(&logits.download("logits")?);
        Ok(())
    }

    /// Logits of the chosen rows, [rows, V], on the device.
    pub(super) fn logits_there<A: Cached>(
        &self,
        tokens: &[u32],
        positions: &[u32],
        attend: Attend,
        rows: &[u32],
    ) -> Result<Buffer<f32>> {
        let x = match attend {
            Attend::Packed(segments) => {
                let plan = attention::cuda::Plan::of(&self.device, segments)?;
                self.hidden::<A>(tokens, positions, &mut There::Packed(&plan))?
            }
            Attend::Paged { caches, tables, lens } => {
                let Caches::Device(caches) = caches else {
                    unreachable!("a policy on a device has its cache there")
                };
                let rows = attention::cuda::Rows::of(&self.device, tables, lens, self.shape())?;
                let listed = if caches.of_latents() {
                    latent::seen(&self.config, tables, lens, caches.spare)
                } else {
                    Vec::new()
                };
                let listed = self.upload("pages", &listed)?;
                let seen = self.seen(listed.all());
                self.hidden::<A>(tokens, positions, &mut There::Paged { caches, rows: &rows, seen })?
            }
        };
        let (_, normed, _) = self.last_norm::<A>(&x, rows)?;
        let mut logits = Buffer::uninit(&self.device, "logits", rows.len() * self.config.vocab_size)?;
        self.head_logits(&normed, logits.all_mut())?;
        Ok(logits)
    }

    /// Logits of normed rows, [rows, V].
    pub(super) fn head_logits<A: Cached>(&self, normed: &Buffer<A>, logits: ViewMut<'_, f32>) -> Result<()> {
        let ((v, c), w) = (self.size(self.head()), A::operand(self, self.head()));
        Ok(linear::cuda::forward(&self.device, normed.all(), w, v, c, None, logits)?)
    }

    pub(crate) fn logprobs(
        &self,
        batch: &Packed,
        inv_temperature: &[f32],
        entropy: bool,
    ) -> Result<head::Output> {
        by_precision!(self, A => {
            let normed = self.before_head::<A>(batch)?;
            Ok(to_host(&self.found::<A>(&normed, batch, inv_temperature, entropy)?)?)
        })
    }

    /// As [`Network::logprobs`] without entropy, and the `top` most probable tokens in the place of each target.
    pub(crate) fn logprobs_with_top(
        &self,
        batch: &Packed,
        inv_temperature: &[f32],
        top: usize,
    ) -> Result<(head::Output, head::Top)> {
        let (d, c) = (&self.device, self.config.hidden_size);
        by_precision!(self, A => {
            let normed = self.before_head::<A>(batch)?;
            let output = to_host(&self.found::<A>(&normed, batch, inv_temperature, false)?)?;
            let (w, t) = (A::operand(self, self.head()), Buffer::of(d, "temperatures", inv_temperature)?);
            Ok((output, head::cuda::top(d, normed.all(), w, c, t.all(), top)?))
        })
    }

    /// What the head is applied to at the rows that predict the batch's targets: [targets, C].
    pub(super) fn before_head<A: Cached>(&self, batch: &Packed) -> Result<Buffer<A>> {
        let plan = self.plan(batch)?;
        let x = self.hidden::<A>(&batch.tokens, &batch.positions, &mut There::Packed(&plan))?;
        Ok(self.last_norm::<A>(&x, &batch.target_rows)?.1)
    }

    /// The head's log-probabilities, on the device.
    fn found<A: Cached>(
        &self,
        normed: &Buffer<A>,
        batch: &Packed,
        inv_temperature: &[f32],
        entropy: bool,
    ) -> Result<head::cuda::Output> {
        let (d, c) = (&self.device, self.config.hidden_size);
        let targets = self.upload("targets", &batch.target_tokens)?;
        let inv_temperature = Buffer::of(d, "temperatures", inv_temperature)?;
        let (w, t) = (A::operand(self, self.head()), inv_temperature.all());
        Ok(head::cuda::forward(d, normed.all(), w, c, targets.all(), t, entropy)?)
    }

    /// The forward pass up to the final norm at the target rows, with what the backward pass needs.
    pub(super) fn tape<A: Keep>(&self, batch: &Packed, recompute: Recompute) -> Result<TapeOf<A>> {
        let plan = self.plan(batch)?;
        let positions = self.upload("positions", &batch.positions)?;
        let mut embedded = self.embed(&batch.tokens)?;
        if !batch.noise.is_empty() {
            let noise = Buffer::of(&self.device, "noise", &batch.noise)?;
            linear::cuda::add(&self.device, embedded.all_mut(), noise.all())?;
        }
        let mut stream = vec![embedded];
        let (mut layers, mut load) = (Vec::with_capacity(self.config.layers), Vec::new());
        for layer in 0..self.config.layers {
            let (out, tape) =
                self.layer_forward::<A>(layer, &stream[layer], &positions, &mut There::Packed(&plan))?;
            if let Some(starts) = tape.feed_forward.starts() {
                let mut kept = Buffer::uninit(&self.device, "the experts' load", starts.len())?;
                kept.all_mut().copy_from("the experts' load", starts)?;
                load.push((layer, kept));
            }
            stream.push(out);
            layers.push((recompute == Recompute::None).then_some(tape));
        }
        let (gathered, normed, rstd) =
            self.last_norm::<A>(&stream[self.config.layers], &batch.target_rows)?;
        // What the device has counted comes down when all is queued.
        let counted = |(layer, starts): (usize, Buffer<u32>)| {
            let starts = starts.download("the experts' load")?;
            Ok((layer, starts.windows(2).map(|w| w[1] - w[0]).collect()))
        };
        let load = load.into_iter().map(counted).collect::<Result<_>>()?;
        Ok(TapeOf { positions, plan, stream, layers, gathered, normed, rstd, found: None, load })
    }

    pub(crate) fn forward(
        &self,
        batch: &Packed,
        inv_temperature: &[f32],
        entropy: bool,
        recompute: Recompute,
    ) -> Result<(head::Output, network::Tape)> {
        by_precision!(self, A => {
            let mut tape = self.tape::<A>(batch, recompute)?;
            let found = self.found::<A>(&tape.normed, batch, inv_temperature, entropy)?;
            let output = to_host(&found)?;
            tape.found = Some(found);
            Ok((output, forget(tape)))
        })
    }

    pub(crate) fn backward(
        &self,
        batch: &Packed,
        inv_temperature: &[f32],
        tape: Tape,
        dlogprob: &[f32],
        dentropy: Option<&[f32]>,
        grads: &mut Gradients,
    ) -> Result<()> {
        let d = &self.device;
        let targets = self.upload("targets", &batch.target_tokens)?;
        let up = |values: &[f32]| Buffer::of(d, "gradients of the loss", values);
        let (t, dlogprob, dentropy) = (up(inv_temperature)?, up(dlogprob)?, dentropy.map(up).transpose()?);
        within!(tape, tape => {
            let Some(found) = &tape.found else { bail!("a tape of scores has no log-probabilities") };
            let mut dnormed = Buffer::uninit(d, "head::backward", tape.normed.len())?;
            let dw = grads.of(self.head());
            head::cuda::backward(
                d,
                tape.normed.all(),
                self.operand_of(&tape),
                self.config.hidden_size,
                targets.all(),
                t.all(),
                found,
                dlogprob.all(),
                dentropy.as_ref().map(Buffer::all),
                dnormed.all_mut(),
                dw,
            )?;
            self.backward_from(batch, tape, &dnormed, grads)
        })
    }

    /// The head as an operand of what this tape was computed in.
    pub(super) fn operand_of<A: Cached>(&self, _: &TapeOf<A>) -> View<'_, A> {
        A::operand(self, self.head())
    }

    /// The backward pass below the head, from the gradient of what it is applied to.
    pub(super) fn backward_from<A: Cached>(
        &self,
        batch: &Packed,
        tape: TapeOf<A>,
        dnormed: &Buffer<f32>,
        grads: &mut Gradients,
    ) -> Result<()> {
        let TapeOf { positions, plan, mut stream, mut layers, gathered, normed, rstd, found, .. } = tape;
        drop((normed, found));
        let (d, c, norm) = (&self.device, self.config.hidden_size, self.index.final_norm);
        let mut dgathered: Buffer<f32> = Buffer::uninit(d, "rmsnorm::backward", gathered.len())?;
        let (w, dw) = (self.vector(norm), grads.of(norm));
        let (x, dx) = (gathered.all(), dgathered.all_mut());
        rmsnorm::cuda::backward(d, dnormed.all(), x, w, rstd.all(), dx, dw, false)?;
        let mut dx = Buffer::zeros(d, "the backward pass", batch.rows() * c)?;
        embedding::cuda::backward(d, dgathered.all(), c, &batch.target_rows, dx.all_mut())?;
        drop((gathered, dgathered));
        stream.pop();
        for layer in (0..self.config.layers).rev() {
            let Some(x) = stream.pop() else { unreachable!("one input per layer") };
            let tape = match layers[layer].take() {
                Some(tape) => tape,
                None => self.layer_forward(layer, &x, &positions, &mut There::Packed(&plan))?.1,
            };
            self.layer_backward(layer, &tape, &x, &positions, &plan, &mut dx, grads)?;
        }
        match grads.of(self.index.embedding) {
            Some(dw) => Ok(embedding::cuda::backward(d, dx.all(), c, &batch.tokens, dw)?),
            None => Ok(()),
        }
    }
}
