//! A low-rank adapter on a device: see `crate::network::adapter`. A and B are kept as any trained parameter is; the scale is applied between
//! the products.

use std::ops::Range;

use anyhow::Result;
use r1_kernels::Precision;
use r1_kernels::cuda::{Buffer, Float};
use r1_kernels::linear::cuda::LowRank;

use super::tensors::{Compute, Network, Tensor};
use crate::parameters::Parameter;

/// The adapters of all adapted parameters.
pub(super) struct Adapter {
    /// A, B, A, B, … in the order of the network's parameters
    pub tensors: Vec<Tensor>,
    pairs: Vec<Pair>,
    /// which pair each of the network's parameters has
    pair_of: Vec<Option<usize>>,
    on: bool,
}

/// The adapter of one parameter.
struct Pair {
    scale: f32,
    rank: usize,
    /// place of A in the adapter's tensors; B follows it
    a: usize,
    /// the rows of W that each adapted projection has
    rows: Vec<Range<usize>>,
}

impl Network {
    /// Lays the next pair over parameter `i`: its A and its B, with their values.
    pub(crate) fn adapt(
        &mut self,
        i: usize,
        (rank, scale): (usize, f32),
        rows: Vec<Range<usize>>,
        factors: [&Parameter; 2],
    ) -> Result<()> {
        let [a, b] = factors.map(|p| -> Result<Tensor> {
            let op = "the adapter";
            let narrow = || p.value.iter().map(|&x| u16::narrow(x)).collect::<Vec<u16>>();
            let half = (self.precision == Precision::Bf16).then(narrow);
            let half = half.map(|half| Buffer::of(&self.device, op, &half)).transpose()?;
            let full = Some(Buffer::of(&self.device, op, &p.value)?);
            Ok(Tensor { rows: p.rows(), columns: p.columns(), full, half })
        });
        let count = self.count();
        let adapter = self.adapter.get_or_insert_with(|| Adapter {
            tensors: Vec::new(),
            pairs: Vec::new(),
            pair_of: vec![None; count],
            on: true,
        });
        adapter.pair_of[i] = Some(adapter.pairs.len());
        adapter.pairs.push(Pair { scale, rank, a: adapter.tensors.len(), rows });
        adapter.tensors.extend([a?, b?]);
        Ok(())
    }

    /// Switches the adapter on or off.
    pub(crate) fn switch_adapter(&mut self, on: bool) {
        if let Some(adapter) = &mut self.adapter {
            adapter.on = on;
        }
    }

    /// Whether one is there and switched on.
    pub(super) fn is_adapted(&self) -> bool {
        self.adapter.as_ref().is_some_and(|adapter| adapter.on)
    }

    /// The adapter of parameter `i`, where it has one and it is switched on, and the place of its A among the gradients; its B's is the next.
    pub(super) fn adapted<A: Compute>(&self, i: usize) -> Option<(LowRank<'_, A>, usize)> {
        let adapter = self.adapter.as_ref().filter(|adapter| adapter.on)?;
        let pair = &adapter.pairs[adapter.pair_of[i]?];
        let ((n, k), &Pair { rank, scale, a, ref rows }) = (self.size(i), pair);
        let [down, up] = [a, a + 1].map(|at| A::of(&adapter.tensors[at]));
        Some((LowRank { a: down, b: up, n, k, rank, rows, scale }, a))
    }
}
