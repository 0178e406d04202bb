//! A policy in memory: its parameters, their packed forms, and its forward and backward pass.
//!
//! The backward pass is written out block by block instead of being recorded: a layer's activations live exactly as long
//! as they are needed, and with [`Recompute::Layers`] only the layers' inputs are kept.

pub mod adapter;
mod attention;
mod buffer;
mod feed_forward;
mod layer;
mod passes;
mod score;
mod store;
mod values;

use std::ops::Range;
use std::sync::Arc;

use half::bf16;
use r1_kernels::{Precision, linear, rope};

pub use attention::Attend;
pub use passes::{Recompute, Tape};
pub use store::{LoadOptions, Purpose, precision_named};

use crate::checkpoint::{Shape, Tensors};
use crate::config::Config;
use crate::parameters::{Index, Kind, Parameter};
use adapter::{Adapter, Pair};

/// A policy: config, master parameters in f32, and the matrices packed for the kernels; over them perhaps an adapter.
pub struct Policy {
    /// the checked config
    pub config: Config,
    parameters: Vec<Parameter>,
    index: Index,
    packed: Vec<Option<linear::Weight>>,
    /// the embedding of a policy that only samples from a bf16 checkpoint, where it is not the head too (then its rows are
    /// looked up in what is packed); its parameter's value is empty in both cases
    table: Option<Vec<bf16>>,
    /// multi-token-prediction layers of the checkpoint, to be saved again: what they are and where they lie
    beside: Option<(Vec<Shape>, Tensors)>,
    rope: Arc<rope::Table>,
    precision: Precision,
    purpose: Purpose,
    adapter: Option<Adapter>,
}

/// One gradient per trained parameter, in the policy's order.
pub struct Gradients {
    /// values, shaped like the parameters'
    pub values: Vec<Vec<f32>>,
    /// the values are an adapter's: the network's own parameters have none
    frozen: bool,
}

impl Gradients {
    /// Zeros for every parameter that training moves.
    pub fn zeros(policy: &Policy) -> Gradients {
        let values = policy.parameters().iter().map(|p| vec![0.0; p.len]).collect();
        Gradients { values, frozen: policy.adapter.is_some() }
    }

    /// The gradient of the network's own parameter `i`; `None` where the network is frozen.
    fn of(&mut self, i: usize) -> Option<&mut [f32]> {
        if self.frozen { None } else { Some(&mut self.values[i]) }
    }

    /// The gradients of several of the network's own parameters; none where the network is frozen.
    fn range(&mut self, range: Range<usize>) -> &mut [Vec<f32>] {
        if self.frozen { &mut [] } else { &mut self.values[range] }
    }

    /// Sets every value to zero.
    pub fn clear(&mut self) {
        self.values.iter_mut().for_each(|v| v.fill(0.0));
    }
}

impl Policy {
    /// Compute type of the matrix products.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The parameters that training moves, in canonical order: the network's own, or its adapter's where it has one.
    pub fn parameters(&self) -> &[Parameter] {
        self.adapter.as_ref().map_or(&self.parameters, Adapter::parameters)
    }

    /// The parameters that training moves, to be changed; call [`Policy::repack`] afterwards.
    pub fn parameters_mut(&mut self) -> &mut [Parameter] {
        match &mut self.adapter {
            Some(adapter) => adapter.parameters_mut(),
            None => &mut self.parameters,
        }
    }

    /// Brings the packed matrices up to date with the parameters that training moves.
    pub fn repack(&mut self) {
        if let Some(adapter) = &mut self.adapter {
            return adapter.repack();
        }
        for (parameter, packed) in self.parameters.iter().zip(&mut self.packed) {
            if let Some(w) = packed {
                w.repack(&parameter.value);
            }
        }
    }

    /// Number of parameters that get a gradient.
    pub fn trainable_count(&self) -> usize {
        self.parameters().iter().filter(|p| p.kind != Kind::CorrectionBias).map(|p| p.len).sum()
    }

    /// Layers' correction biases: (layer, parameter index), for the update by load (DeepSeek-V3's auxiliary-loss-free
    /// balancing); none under an adapter, which leaves the router as it is.
    pub fn correction_biases(&self) -> Vec<(usize, usize)> {
        if self.adapter.is_some() {
            return Vec::new();
        }
        let layers = self.index.layers.iter().enumerate();
        layers
            .filter_map(|(i, l)| match &l.feed_forward {
                crate::parameters::FeedForwardIndex::Moe { correction: Some(c), .. } => Some((i, *c)),
                _ => None,
            })
            .collect()
    }

    /// The adapter of parameter `i`, where it has one and it is switched on.
    fn adapted(&self, i: usize) -> Option<&Pair> {
        self.adapter.as_ref()?.pair(i)
    }

    fn weight(&self, i: usize) -> &linear::Weight {
        match &self.packed[i] {
            Some(w) => w,
            None => unreachable!("parameter {i} is applied as a matrix and was packed on load"),
        }
    }

    fn vector(&self, i: usize) -> &[f32] {
        &self.parameters[i].value
    }

    fn head(&self) -> usize {
        self.index.head.unwrap_or(self.index.embedding)
    }
}
