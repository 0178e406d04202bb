//! A mixture of experts on a device. The router decides in f32 whatever the policy computes in, as on the host; each expert's products run
//! over the rows that chose it. Making the plan waits for the device: how many rows an expert has decides what is launched.

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
    /// Tokens per expert.
    pub fn load(&self) -> Vec<u32> {
        self.plan.offsets.windows(2).map(|w| (w[1] - w[0]) as u32).collect()
    }
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
        for (e, expert) in index.experts.iter().enumerate() {
            let (a, b) = (plan.offsets[e], plan.offsets[e + 1]);
            if a == b {
                continue;
            }
            let gates = gate_up.part_mut(a * 2 * f..b * 2 * f);
            let w = A::operand(self, expert.gate_up);
            linear::cuda::forward(d, rows.part(a * c..b * c), w, 2 * f, c, None, gates)?;
            let act = self.activation(gate_up.part(a * 2 * f..b * 2 * f), f)?;
            let (w, out) = (A::operand(self, expert.down), y.part_mut(a * c..b * c));
            linear::cuda::forward(d, act.all(), w, c, f, None, out)?;
        }
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
        for (e, expert) in index.experts.iter().enumerate() {
            let (a, b) = (plan.offsets[e], plan.offsets[e + 1]);
            if a == b {
                continue;
            }
            let (own, dy) = (rows.part(a * c..b * c), dy_rows.part(a * c..b * c));
            let gates = gate_up.part(a * 2 * f..b * 2 * f);
            let act = self.activation(gates, f)?;
            self.learn(dy, act.all(), expert.down, None, grads)?;
            let dgates = self.activation_backward(&self.back(dy, expert.down)?, gates, f)?;
            self.learn(dgates.all(), own, expert.gate_up, None, grads)?;
            let (w, to) = (A::operand(self, expert.gate_up), dx_rows.part_mut(a * c..b * c));
            linear::cuda::backward_input(d, dgates.all(), w, 2 * f, c, to, false)?;
        }
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
