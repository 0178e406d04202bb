//! A low-rank adapter (LoRA, Hu et al. 2021) over a frozen network: beside an adapted matrix W `[N, K]` stand A `[r, K]`
//! and B `[N, r]`, and its product becomes `x Wᵀ + s · (x Aᵀ) Bᵀ`.
//!
//! The order is fixed as everywhere: `u = x (s·A)ᵀ` is one linear product, and `u Bᵀ` goes on from the sums of `x Wᵀ`,
//! bias included, ranks ascending; so sampling and training share every bit with an adapter too, and an adapter whose B
//! is 0 changes none. W's packed forms are never touched.
//!
//! A parameter that stacks projections (gate and up) has one A above the other and its Bs as blocks on a diagonal: two
//! products for all of them, and each projection's numbers are those of its own adapter, since the zeros add nothing.

use std::ops::Range;

use anyhow::Result;
use r1_kernels::{Precision, linear};

use super::buffer::Buffer;
use super::layer::add;
use super::{Gradients, Policy, Purpose};
use crate::lora::{Settings, tensor_name};
use crate::parameters::{Kind, Parameter, Piece};

/// The adapters of all adapted parameters of a network.
pub struct Adapter {
    settings: Settings,
    /// A, B, A, B, … in the order of the network's parameters; each has one piece an adapted projection
    parameters: Vec<Parameter>,
    /// on the host; a device has its own
    pairs: Vec<Pair>,
    /// which pair each of the network's parameters has
    pair_of: Vec<Option<usize>>,
    on: bool,
}

/// The adapter of one parameter: R = rank · projections columns.
pub(super) struct Pair {
    scale: f32,
    rank: usize,
    /// place of A in the adapter's parameters; B follows it
    a: usize,
    /// the rows of W that each adapted projection has
    rows: Vec<Range<usize>>,
    /// s · A, `[R, K]`
    down: linear::Weight,
    /// B, `[N, R]`
    up: linear::Weight,
}

impl Pair {
    /// `y += s · (x Aᵀ) Bᵀ`.
    pub(super) fn forward_add(&self, x: &[f32], y: &mut [f32]) {
        linear::forward_add(&self.narrow(x), &self.up, y);
    }

    /// `x (s·A)ᵀ`, [T, R].
    fn narrow(&self, x: &[f32]) -> Buffer {
        let mut u = Buffer::new(x.len() / self.down.k() * self.down.n());
        linear::forward(x, &self.down, None, &mut u);
        u
    }

    /// `dx += s · (dy B) A`, `dA += s · (dy B)ᵀ x`, `dB += dyᵀ (s · x Aᵀ)`.
    pub(super) fn backward_add(&self, dy: &[f32], x: &[f32], dx: &mut [f32], grads: &mut Gradients) {
        let (n, k, width) = (self.up.n(), self.down.k(), self.down.n());
        let precision = self.up.precision();
        // Computed again: a product with a few columns is cheaper than keeping its result.
        let u = self.narrow(x);
        let db = &mut grads.values[self.a + 1];
        if self.rows.len() == 1 && self.rows[0].len() == n {
            linear::backward_weight(dy, &u, n, width, precision, db);
        } else {
            let mut all = Buffer::zeros(n * width);
            linear::backward_weight(dy, &u, n, width, precision, &mut all);
            let rows = self.rows.iter().enumerate().flat_map(|(j, rows)| rows.clone().map(move |n| (j, n)));
            for ((j, row), db) in rows.zip(db.chunks_exact_mut(self.rank)) {
                add(db, &all[row * width + j * self.rank..][..self.rank]);
            }
        }
        let mut v = Buffer::new(u.len());
        linear::backward_input(dy, &self.up, &mut v, false);
        linear::backward_input(&v, &self.down, dx, true);
        v.iter_mut().for_each(|v| *v *= self.scale);
        linear::backward_weight(&v, x, width, k, precision, &mut grads.values[self.a]);
    }

    /// s · A as it is packed.
    fn scaled(&self, a: &Parameter) -> Vec<f32> {
        a.value.iter().map(|v| v * self.scale).collect()
    }

    /// B as it is packed: the projections' blocks on the diagonal, `[N, R]`.
    fn diagonal(&self, b: &Parameter) -> Vec<f32> {
        let (width, rank) = (self.down.n(), self.rank);
        let mut whole = vec![0.0; self.up.n() * width];
        let rows = self.rows.iter().enumerate().flat_map(|(j, rows)| rows.clone().map(move |n| (j, n)));
        for ((j, row), b) in rows.zip(b.value.chunks_exact(rank)) {
            whole[row * width + j * rank..][..rank].copy_from_slice(b);
        }
        whole
    }
}

impl Adapter {
    /// What it was made with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// A and B of every adapted parameter; their pieces bear PEFT's names.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    pub(super) fn parameters_mut(&mut self) -> &mut [Parameter] {
        &mut self.parameters
    }

    pub(super) fn pair(&self, i: usize) -> Option<&Pair> {
        if self.on { self.pair_of[i].map(|p| &self.pairs[p]) } else { None }
    }

    pub(super) fn repack(&mut self) {
        for pair in &mut self.pairs {
            let (a, b) = (pair.scaled(&self.parameters[pair.a]), pair.diagonal(&self.parameters[pair.a + 1]));
            pair.down.repack(&a);
            pair.up.repack(&b);
        }
    }
}

impl Policy {
    /// Lays an adapter over the network: `modules` are the projections it adapts (a tensor's name without `.weight`),
    /// `values` is asked for each one's A and B by PEFT's tensor name and shape. From then on [`Policy::parameters`],
    /// and with them gradients and optimizer, are the adapter's.
    ///
    /// # Errors
    /// Those of `values`; a device's.
    pub fn adapt(
        &mut self,
        settings: Settings,
        modules: &[String],
        mut values: impl FnMut(&str, &[usize]) -> Result<Vec<f32>>,
    ) -> Result<()> {
        let backward = self.purpose != Purpose::Sample;
        let (scale, rank) = (settings.scale(), settings.rank);
        let (parameters, pairs, pair_of) = (Vec::new(), Vec::new(), vec![None; self.parameters.len()]);
        let mut adapter = Adapter { settings, parameters, pairs, pair_of, on: true };
        for (i, parameter) in self.parameters.iter().enumerate() {
            let (n, k) = (parameter.rows(), parameter.columns());
            let adapted: Vec<(&str, &Piece)> = parameter
                .pieces
                .iter()
                .filter_map(|p| Some((p.name.strip_suffix(".weight")?, p)))
                .filter(|(module, _)| modules.iter().any(|m| m == module))
                .collect();
            if adapted.is_empty() {
                continue;
            }
            let rows = adapted.iter().map(|(_, p)| p.offset / k..(p.offset + p.len()) / k).collect();
            let precision = self.packed[i].as_ref().map_or(Precision::F32, linear::Weight::precision);
            let width = rank * adapted.len();
            // Empty weights first: the one way to fill them is the one that an update takes.
            let empty =
                |n: usize, k: usize| linear::Weight::pack(&vec![0.0; n * k], n, k, precision, backward);
            let a = adapter.parameters.len();
            for factor in ["lora_A", "lora_B"] {
                let shape =
                    |p: &Piece| if factor == "lora_A" { vec![rank, k] } else { vec![p.shape[0], rank] };
                let (mut pieces, mut value) = (Vec::new(), Vec::new());
                for (module, piece) in &adapted {
                    let (name, shape) = (tensor_name(module, factor), shape(piece));
                    let offset = value.len();
                    value.extend(values(&name, &shape)?);
                    pieces.push(Piece { name, shape, offset });
                }
                let len = value.len();
                adapter.parameters.push(Parameter { kind: Kind::Matrix, pieces, value, len });
            }
            if let Some(network) = &mut self.device {
                let [down, up] = &mut adapter.parameters[a..] else { unreachable!("an A and a B") };
                network.adapt(i, (rank, scale), rows, [down, up])?;
                (down.value, up.value) = (Vec::new(), Vec::new());
                continue;
            }
            adapter.pairs.push(Pair { scale, rank, a, rows, down: empty(width, k), up: empty(n, width) });
            adapter.pair_of[i] = Some(adapter.pairs.len() - 1);
        }
        adapter.repack();
        self.adapter = Some(adapter);
        Ok(())
    }

    /// The adapter that lies over the network.
    pub fn adapter(&self) -> Option<&Adapter> {
        self.adapter.as_ref()
    }

    /// Switches the adapter on or off: off, the policy computes what the network under it computes, which is the
    /// reference of a training run that began there. Does nothing without an adapter.
    pub fn switch_adapter(&mut self, on: bool) {
        if let Some(adapter) = &mut self.adapter {
            adapter.on = on;
        }
        if let Some(network) = &mut self.device {
            network.switch_adapter(on);
        }
    }
}
