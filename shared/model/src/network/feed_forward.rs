//! The feed-forward block: one SwiGLU layer, or a mixture of SwiGLU experts behind a router.
//!
//! Experts run on the rows that chose them, sorted by expert, without padding or capacity; a token's expert outputs are
//! added in the order of its choices, so that its result does not depend on who else is in the batch.

use std::sync::Mutex;

use r1_kernels::{linear, moe, swiglu, threads};

use super::buffer::Buffer;
use super::{Gradients, Policy};
use crate::parameters::{FeedForwardIndex, MlpIndex};

/// What the backward pass of one SwiGLU layer needs: its gates and ups. What they make is computed again.
pub(super) struct MlpTape {
    gate_up: Buffer,
}

/// What the backward pass of a feed-forward block needs.
pub(super) enum FeedForwardTape {
    Dense(MlpTape),
    Moe { routing: moe::Routing, plan: moe::Plan, experts: MlpTape, y: Buffer, shared: Option<MlpTape> },
}

impl FeedForwardTape {
    /// Tokens per expert, where there are experts.
    pub(super) fn load(&self) -> Option<Vec<u32>> {
        match self {
            FeedForwardTape::Dense(_) => None,
            FeedForwardTape::Moe { plan, .. } => {
                Some(plan.offsets.windows(2).map(|w| (w[1] - w[0]) as u32).collect())
            }
        }
    }
}

/// Cuts `buffer` into one part per expert: rows `offsets[e]..offsets[e + 1]` of `width` values.
fn by_expert<'a>(mut buffer: &'a mut [f32], offsets: &[usize], width: usize) -> Vec<Mutex<&'a mut [f32]>> {
    offsets
        .windows(2)
        .map(|w| {
            let (part, rest) = std::mem::take(&mut buffer).split_at_mut((w[1] - w[0]) * width);
            buffer = rest;
            Mutex::new(part)
        })
        .collect()
}

/// The part of one expert; each is locked once, by the task that computes it.
macro_rules! part {
    ($parts:expr, $e:expr) => {
        $parts[$e].lock().unwrap_or_else(|e| e.into_inner())
    };
}

impl Policy {
    fn router(&self) -> moe::Router {
        let Some(m) = &self.config.moe else { unreachable!("only called where there are experts") };
        moe::Router {
            experts: m.experts,
            top_k: m.top_k,
            groups: m.groups,
            top_groups: m.top_groups,
            scoring: m.scoring,
            normalize: m.normalize,
            scale: m.routed_scaling,
        }
    }

    fn mlp_forward(&self, index: MlpIndex, h: &[f32]) -> (Buffer, MlpTape) {
        let gate_up = self.project(h, index.gate_up, None);
        let f = self.weight(index.down).k();
        let mut act = Buffer::new(gate_up.len() / 2);
        swiglu::forward(&gate_up, f, &mut act);
        (self.project(&act, index.down, None), MlpTape { gate_up })
    }

    fn mlp_backward(
        &self,
        index: MlpIndex,
        tape: &MlpTape,
        h: &[f32],
        dy: &[f32],
        dh: &mut [f32],
        accumulate: bool,
        grads: &mut Gradients,
    ) {
        let f = self.weight(index.down).k();
        let (mut act, mut dact) = (Buffer::new(tape.gate_up.len() / 2), Buffer::new(tape.gate_up.len() / 2));
        swiglu::forward(&tape.gate_up, f, &mut act);
        self.project_backward(dy, &act, index.down, None, &mut dact, false, grads);
        drop(act);
        let mut dgate_up = Buffer::new(tape.gate_up.len());
        swiglu::backward(&dact, &tape.gate_up, f, &mut dgate_up);
        drop(dact);
        self.project_backward(&dgate_up, h, index.gate_up, None, dh, accumulate, grads);
    }

    /// The block without its residual, h [T, C] already normed.
    pub(super) fn feed_forward(&self, layer: usize, h: &[f32]) -> (Buffer, FeedForwardTape) {
        match &self.index.layers[layer].feed_forward {
            FeedForwardIndex::Dense(mlp) => {
                let (y, tape) = self.mlp_forward(*mlp, h);
                (y, FeedForwardTape::Dense(tape))
            }
            FeedForwardIndex::Moe { router, correction, experts, shared } => {
                let r = self.router();
                let c = self.config.hidden_size;
                let logits = self.project(h, *router, None);
                let routing = moe::route(&logits, correction.map(|i| self.vector(i)), &r);
                let plan = moe::plan(&routing, r.experts);
                let slots = plan.order.len();
                let f = self.weight(experts[0].down).k();
                let mut gathered = Buffer::new(slots * c);
                moe::gather(h, c, r.top_k, &plan.order, &mut gathered);
                let (mut gate_up, mut act, mut y) =
                    (Buffer::new(slots * 2 * f), Buffer::new(slots * f), Buffer::new(slots * c));
                {
                    let gate_ups = by_expert(&mut gate_up, &plan.offsets, 2 * f);
                    let acts = by_expert(&mut act, &plan.offsets, f);
                    let ys = by_expert(&mut y, &plan.offsets, c);
                    threads::parallel(r.experts, |e| {
                        let x = &gathered[plan.offsets[e] * c..plan.offsets[e + 1] * c];
                        if x.is_empty() {
                            return;
                        }
                        let (mut gate_up, mut act) = (part!(gate_ups, e), part!(acts, e));
                        linear::forward(x, self.weight(experts[e].gate_up), None, &mut gate_up);
                        swiglu::forward(&gate_up, f, &mut act);
                        linear::forward(&act, self.weight(experts[e].down), None, &mut part!(ys, e));
                    });
                }
                let (mut out, shared_tape) = match shared {
                    Some(mlp) => {
                        let (y, tape) = self.mlp_forward(*mlp, h);
                        (y, Some(tape))
                    }
                    None => (Buffer::zeros(h.len()), None),
                };
                moe::combine(&y, c, &routing, &plan, r.top_k, &mut out);
                let experts = MlpTape { gate_up };
                (out, FeedForwardTape::Moe { routing, plan, experts, y, shared: shared_tape })
            }
        }
    }

    /// Backward of [`Policy::feed_forward`]: `dy` [T, C] in, `dh` [T, C] out (overwritten), gradients added.
    pub(super) fn feed_forward_backward(
        &self,
        layer: usize,
        tape: &FeedForwardTape,
        h: &[f32],
        dy: &[f32],
        dh: &mut [f32],
        grads: &mut Gradients,
    ) {
        match (&self.index.layers[layer].feed_forward, tape) {
            (FeedForwardIndex::Dense(mlp), FeedForwardTape::Dense(t)) => {
                self.mlp_backward(*mlp, t, h, dy, dh, false, grads);
            }
            (
                FeedForwardIndex::Moe { router, experts, shared, .. },
                FeedForwardTape::Moe { routing, plan, experts: expert_tape, y, shared: shared_tape },
            ) => {
                let r = self.router();
                let c = self.config.hidden_size;
                let f = self.weight(experts[0].down).k();
                let slots = plan.order.len();
                let (mut dslots, mut dweights) = (Buffer::new(slots * c), Buffer::new(slots));
                moe::combine_backward(dy, y, c, routing, plan, r.top_k, &mut dslots, &mut dweights);
                let (mut gathered, mut dgathered) = (Buffer::new(slots * c), Buffer::new(slots * c));
                moe::gather(h, c, r.top_k, &plan.order, &mut gathered);
                self.experts_backward(
                    experts,
                    plan,
                    &gathered,
                    expert_tape,
                    f,
                    &dslots,
                    &mut dgathered,
                    grads,
                );
                drop((gathered, dslots));
                match (shared, shared_tape) {
                    (Some(mlp), Some(t)) => self.mlp_backward(*mlp, t, h, dy, dh, false, grads),
                    _ => dh.fill(0.0),
                }
                moe::scatter_add(&dgathered, c, r.top_k, plan, dh);
                let mut dlogits = Buffer::new(routing.scores.len());
                moe::route_backward(&dweights, routing, &r, &mut dlogits);
                self.project_backward(&dlogits, h, *router, None, dh, true, grads);
            }
            _ => unreachable!("a tape of another layer"),
        }
    }

    fn experts_backward(
        &self,
        experts: &[MlpIndex],
        plan: &moe::Plan,
        gathered: &[f32],
        tape: &MlpTape,
        f: usize,
        dslots: &[f32],
        dgathered: &mut [f32],
        grads: &mut Gradients,
    ) {
        let c = self.config.hidden_size;
        let dxs = by_expert(dgathered, &plan.offsets, c);
        // Experts' parameters follow each other in the canonical order: gate_up, down, gate_up, down, …
        let first = experts[0].gate_up;
        let mut slices = grads.range(first..first + 2 * experts.len()).iter_mut();
        let dws: Vec<_> = (0..experts.len()).map(|_| Mutex::new(slices.next().zip(slices.next()))).collect();
        threads::parallel(experts.len(), |e| {
            let (a, b) = (plan.offsets[e], plan.offsets[e + 1]);
            if a == b {
                return;
            }
            let (x, dy) = (&gathered[a * c..b * c], &dslots[a * c..b * c]);
            let gate_up = &tape.gate_up[a * 2 * f..b * 2 * f];
            let mut act = Buffer::new(gate_up.len() / 2);
            swiglu::forward(gate_up, f, &mut act);
            let (up, down) = (self.weight(experts[e].gate_up), self.weight(experts[e].down));
            let mut dw = part!(dws, e);
            let mut dact = Buffer::new(act.len());
            linear::backward_input(dy, down, &mut dact, false);
            if let Some((_, dw)) = &mut *dw {
                linear::backward_weight(dy, &act, c, f, down.precision(), dw);
            }
            let mut dgate_up = Buffer::new(gate_up.len());
            swiglu::backward(&dact, gate_up, f, &mut dgate_up);
            linear::backward_input(&dgate_up, up, &mut part!(dxs, e), false);
            if let Some((dw, _)) = &mut *dw {
                linear::backward_weight(&dgate_up, x, 2 * f, c, up.precision(), dw);
            }
        });
    }
}
