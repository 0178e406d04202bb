//! A mixture of experts on a device. The router decides in f32 whatever the policy computes in, as on the host. A product of all experts
//! is one launch that finds the rows of each on the device: nothing waits for the host.

use anyhow::Result;
use r1_kernels::cuda::{Buffer, View};
use r1_kernels::{linear, moe};

use super::feed_forward::MlpTape;
use super::tensors::{Compute, Gradients, Network};
use crate::parameters::{FeedForwardIndex, MlpIndex};

/// What the backward pass of a mixture needs.
pub(super) struct MoeTape<A: Compute> {
    routing: moe::cuda::Routing,
    plan: moe::cuda::Plan,
    /// gates and ups of all expert rows
    gate_up: Buffer<A>,
    /// the experts' outputs
    y: Buffer<A>,
    shared: Option<MlpTape<A>>,
}

impl<A: Compute> MoeTape<A> {
    /// Where each expert's rows begin, and the end: `[E + 1]`.
    pub fn starts(&self) -> View<'_, u32> {
        let groups = self.plan.groups();
        groups.starts.part(0..groups.count + 1)
    }
}

/// The experts' matrices of a layer, by their addresses.
pub(super) struct Matrices {
    gate_up: Buffer<u64>,
    down: Buffer<u64>,
}

/// Where a mixture's parameters stand.
struct Mixture<'a> {
    router: usize,
    correction: Option<usize>,
    experts: &'a [MlpIndex],
    shared: Option<MlpIndex>,
}

impl Network {
    fn mixture(&self, layer: usize) -> (Mixture<'_>, moe::Router) {
        let FeedForwardIndex::Moe { router, correction, experts, shared } =
            &self.index.layers[layer].feed_forward
        else {
            unreachable!("only called where there are experts")
        };
        let Some(m) = &self.config.moe else { unreachable!("only called where there are experts") };
        let rule = moe::Router {
            experts: m.experts,
            top_k: m.top_k,
            groups: m.groups,
            top_groups: m.top_groups,
            scoring: m.scoring,
            normalize: m.normalize,
            scale: m.routed_scaling,
        };
        (Mixture { router: *router, correction: *correction, experts, shared: *shared }, rule)
    }

    /// Where the experts' matrices of a layer are. They stay there, so it is asked once.
    fn matrices<A: Compute>(&self, layer: usize) -> Result<&Matrices> {
        if self.experts[layer].get().is_none() {
            let (index, _) = self.mixture(layer);
            let of = |pick: fn(&MlpIndex) -> usize| {
                let weights = index.experts.iter().map(|e| A::operand(self, pick(e)));
                linear::cuda::addresses(&self.device, weights)
            };
            let made = Matrices { gate_up: of(|e| e.gate_up)?, down: of(|e| e.down)? };
            let _ = self.experts[layer].set(made);
        }
        let Some(found) = self.experts[layer].get() else { unreachable!("it was just set") };
        Ok(found)
    }

    /// Where their gradients are; nowhere under an adapter, which leaves experts as they are.
    fn learnt(&self, layer: usize, grads: &Gradients) -> Result<Option<Matrices>> {
        let (index, _) = self.mixture(layer);
        if grads.frozen() {
            return Ok(None);
        }
        let of = |pick: fn(&MlpIndex) -> usize| {
            let gradients = index.experts.iter().map(|e| grads.values[pick(e)].all());
            linear::cuda::addresses(&self.device, gradients)
        };
        Ok(Some(Matrices { gate_up: of(|e| e.gate_up)?, down: of(|e| e.down)? }))
    }

    /// The norm of x in f32, for the router.
    fn exact(&self, layer: usize, x: &Buffer<f32>) -> Result<Buffer<f32>> {
        let norm = self.index.layers[layer].post_norm;
        Ok(self.normed(x.all(), norm, self.config.rms_norm_eps)?.0)
    }

    fn gathered<A: Compute>(
        &self,
        h: View<'_, A>,
        rule: &moe::Router,
        plan: &moe::cuda::Plan,
    ) -> Result<Buffer<A>> {
        let mut rows = Buffer::uninit(&self.device, "moe::gather", h.len() * rule.top_k)?;
        moe::cuda::gather(&self.device, h, self.config.hidden_size, rule.top_k, plan, rows.all_mut())?;
        Ok(rows)
    }

    /// `x += mixture(h)`, h the norm of x.
    pub(super) fn experts_forward<A: Compute>(
        &self,
        layer: usize,
        h: View<'_, A>,
        x: &mut Buffer<f32>,
    ) -> Result<MoeTape<A>> {
        let ((index, rule), d, c) = (self.mixture(layer), &self.device, self.config.hidden_size);
        let logits = self.project::<f32>(self.exact(layer, x)?.all(), index.router, None)?;
        let correction = index.correction.map(|i| self.vector(i));
        let routing = moe::cuda::route(d, logits.all(), correction, &rule)?;
        let plan = moe::cuda::plan(d, &routing, rule.experts)?;
        let (f, slots) = (self.size(index.experts[0].down).1, plan.order.len());
        let rows = self.gathered(h, &rule, &plan)?;
        let mut gate_up: Buffer<A> = Buffer::uninit(d, "the experts", slots * 2 * f)?;
        let mut y: Buffer<A> = Buffer::uninit(d, "the experts", slots * c)?;
        let (groups, w) = (plan.groups(), self.matrices::<A>(layer)?);
        linear::cuda::grouped_forward(d, rows.all(), w.gate_up.all(), 2 * f, c, groups, gate_up.all_mut())?;
        let act = self.activation(gate_up.all(), f)?;
        linear::cuda::grouped_forward(d, act.all(), w.down.all(), c, f, groups, y.all_mut())?;
        let shared = index.shared.map(|mlp| self.mlp_forward(mlp, h, x)).transpose()?;
        moe::cuda::combine(d, y.all(), c, &routing, &plan, rule.top_k, x.all_mut())?;
        Ok(MoeTape { routing, plan, gate_up, y, shared })
    }

    /// Backward of [`Network::experts_forward`]: see [`Network::feed_forward_backward`].
    pub(super) fn experts_backward<A: Compute>(
        &self,
        layer: usize,
        tape: &MoeTape<A>,
        middle: &Buffer<f32>,
        h: View<'_, A>,
        dx: &Buffer<f32>,
        dy: View<'_, A>,
        dh: &mut Buffer<f32>,
        grads: &mut Gradients,
    ) -> Result<()> {
        let ((index, rule), d, c) = (self.mixture(layer), &self.device, self.config.hidden_size);
        let MoeTape { routing, plan, gate_up, y, shared } = tape;
        let (f, slots, k) = (self.size(index.experts[0].down).1, plan.order.len(), rule.top_k);
        let mut dy_rows: Buffer<A> = Buffer::uninit(d, "the experts", slots * c)?;
        let mut dweights: Buffer<f32> = Buffer::uninit(d, "the experts", slots)?;
        let (to_rows, to_weights) = (dy_rows.all_mut(), dweights.all_mut());
        moe::cuda::combine_backward(d, dx.all(), y.all(), c, routing, plan, k, to_rows, to_weights)?;
        let rows = self.gathered(h, &rule, plan)?;
        let mut dx_rows: Buffer<f32> = Buffer::uninit(d, "the experts", slots * c)?;
        let (groups, w) = (plan.groups(), self.matrices::<A>(layer)?);
        let learnt = self.learnt(layer, grads)?;
        if let Some(dw) = &learnt {
            let act = self.activation(gate_up.all(), f)?;
            let (dy, act, dw) = (dy_rows.all(), act.all(), dw.down.all());
            linear::cuda::grouped_backward_weight(d, dy, act, c, f, groups, dw)?;
        }
        let mut dact: Buffer<A> = Buffer::uninit(d, "the experts", slots * f)?;
        linear::cuda::grouped_backward_input(d, dy_rows.all(), w.down.all(), c, f, groups, dact.all_mut())?;
        let dgates = self.activation_backward(&dact, gate_up.all(), f)?;
        drop((dact, dy_rows));
        if let Some(dw) = &learnt {
            let (dy, dw) = (dgates.all(), dw.gate_up.all());
            linear::cuda::grouped_backward_weight(d, dy, rows.all(), 2 * f, c, groups, dw)?;
        }
        let (dgates, w, to) = (dgates.all(), w.gate_up.all(), dx_rows.all_mut());
        linear::cuda::grouped_backward_input(d, dgates, w, 2 * f, c, groups, to)?;
        match (index.shared, shared) {
            (Some(mlp), Some(tape)) => self.mlp_backward(mlp, tape, h, dy, dh, grads)?,
            _ => dh.all_mut().clear("the experts")?,
        }
        moe::cuda::scatter_add(d, dx_rows.all(), c, k, plan, dh.all_mut())?;
        let mut dlogits: Buffer<f32> = Buffer::uninit(d, "moe::route_backward", routing.scores.len())?;
        moe::cuda::route_backward(d, dweights.all(), routing, &rule, dlogits.all_mut())?;
        self.learn::<f32>(dlogits.all(), self.exact(layer, middle)?.all(), index.router, None, grads)?;
        self.back_into::<f32>(dlogits.all(), index.router, dh, true)
    }
}
