//! A policy in memory: its parameters, their packed forms, and its forward and backward pass.
//!
//! The backward pass is written out block by block instead of being recorded: a layer's activations live exactly as long
//! as they are needed, and with [`Recompute::Layers`] only the layers' inputs are kept.

mod attention;
mod buffer;
mod feed_forward;
mod layer;
mod passes;
mod score;
mod store;

use std::sync::Arc;

use r1_kernels::{Precision, linear, rope};

pub use attention::Attend;
pub use passes::{Recompute, Tape};
pub use store::{LoadOptions, precision_named};

use crate::config::Config;
use crate::parameters::{Index, Kind, Parameter};

/// A policy: config, master parameters in f32, and the matrices packed for the kernels.
pub struct Policy {
    /// the checked config
    pub config: Config,
    parameters: Vec<Parameter>,
    index: Index,
    packed: Vec<Option<linear::Weight>>,
    rope: Arc<rope::Table>,
    precision: Precision,
    trainable: bool,
}

/// One gradient per parameter, in the policy's order.
pub struct Gradients {
    /// values, shaped like the parameters'
    pub values: Vec<Vec<f32>>,
}

impl Gradients {
    /// Zeros for every parameter of a policy.
    pub fn zeros(policy: &Policy) -> Gradients {
        Gradients { values: policy.parameters.iter().map(|p| vec![0.0; p.len]).collect() }
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

    /// All parameters in canonical order.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// All parameters, to be changed; call [`Policy::repack`] afterwards.
    pub fn parameters_mut(&mut self) -> &mut [Parameter] {
        &mut self.parameters
    }

    /// Brings the packed matrices up to date with the parameters.
    pub fn repack(&mut self) {
        for (parameter, packed) in self.parameters.iter().zip(&mut self.packed) {
            if let Some(w) = packed {
                w.repack(&parameter.value);
            }
        }
    }

    /// Number of parameters that get a gradient.
    pub fn trainable_count(&self) -> usize {
        self.parameters.iter().filter(|p| p.kind != Kind::CorrectionBias).map(|p| p.len).sum()
    }

    /// Layers' correction biases: (layer, parameter index), for the update by load (DeepSeek-V3's auxiliary-loss-free
    /// balancing).
    pub fn correction_biases(&self) -> Vec<(usize, usize)> {
        let layers = self.index.layers.iter().enumerate();
        layers
            .filter_map(|(i, l)| match &l.feed_forward {
                crate::parameters::FeedForwardIndex::Moe { correction: Some(c), .. } => Some((i, *c)),
                _ => None,
            })
            .collect()
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
