//! A policy in memory: its parameters, their packed forms, and its forward and backward pass.
//!
//! The backward pass is written out block by block instead of being recorded: a layer's activations live exactly as long
//! as they are needed, and with [`Recompute::Layers`] only the layers' inputs are kept.

pub mod adapter;
mod attention;
mod buffer;
mod feed_forward;
mod latent;
mod layer;
mod passes;
mod score;
mod store;
pub mod toward;
pub(crate) mod values;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use anyhow::Result;
use half::bf16;
use r1_kernels::{Precision, linear, norm, rope};

pub use attention::Attend;
#[cfg(feature = "cuda")]
pub(crate) use latent::LOW_RANK_EPS;
pub use passes::{Recompute, Tape};
pub use store::{LoadOptions, Purpose, precision_named};

use crate::checkpoint::{Shape, Tensors};
use crate::config::Config;
use crate::device::{self, Device};
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
    /// where it computes when that is not the host; then the parameters' values are there, and `packed` is empty
    device: Option<device::Network>,
}

/// One gradient per trained parameter, in the policy's order.
pub struct Gradients {
    /// values, shaped like the parameters'; empty where the policy computes on a device
    pub values: Vec<Vec<f32>>,
    device: Option<device::Gradients>,
    /// the values are an adapter's: the network's own parameters have none
    frozen: bool,
}

impl Gradients {
    /// Zeros for every parameter that training moves.
    ///
    /// # Errors
    /// The device that the policy computes on has no room for them.
    pub fn zeros(policy: &Policy) -> Result<Gradients> {
        let device = policy.device.as_ref().map(device::Network::gradients).transpose()?;
        let values = match &device {
            Some(_) => vec![Vec::new(); policy.parameters().len()],
            None => policy.parameters().iter().map(|p| vec![0.0; p.len]).collect(),
        };
        Ok(Gradients { values, device, frozen: policy.adapter.is_some() })
    }

    pub(crate) fn on_device(&mut self) -> &mut device::Gradients {
        let Some(gradients) = &mut self.device else { unreachable!("gradients of a policy on the host") };
        gradients
    }

    #[cfg(feature = "cuda")]
    pub(crate) fn there(&self) -> &device::Gradients {
        let Some(gradients) = &self.device else { unreachable!("gradients of a policy on the host") };
        gradients
    }

    /// Values of all parameters, on the host.
    ///
    /// # Errors
    /// A device's.
    pub fn to_host(&self) -> Result<Vec<Vec<f32>>> {
        match &self.device {
            Some(gradients) => gradients.to_host(),
            None => Ok(self.values.clone()),
        }
    }

    /// Σ g² of every parameter (in f64).
    ///
    /// # Errors
    /// A device's.
    pub fn squares(&self) -> Result<Vec<f64>> {
        match &self.device {
            Some(gradients) => gradients.squares(),
            None => Ok(self.values.iter().map(|g| norm::sum_of_squares(g)).collect()),
        }
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
    ///
    /// # Errors
    /// A device's.
    pub fn clear(&mut self) -> Result<()> {
        (0..self.values.len()).try_for_each(|i| self.clear_one(i))
    }

    /// Sets the values of one parameter to zero.
    ///
    /// # Errors
    /// A device's.
    pub fn clear_one(&mut self, i: usize) -> Result<()> {
        match &mut self.device {
            Some(gradients) => gradients.clear_one(i),
            None => {
                self.values[i].fill(0.0);
                Ok(())
            }
        }
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

    /// The device that it computes on, where that is not the host.
    pub fn device(&self) -> Option<&Device> {
        self.device.as_ref().map(device::Network::device)
    }

    /// Its parameters and passes on the device that it computes on.
    pub fn on_device(&mut self) -> Option<&mut device::Network> {
        self.device.as_mut()
    }

    #[cfg(feature = "cuda")]
    pub(crate) fn there(&self) -> Option<&device::Network> {
        self.device.as_ref()
    }

    /// Replaces the values of parameter `i` of [`Policy::parameters`], wherever they are kept.
    ///
    /// # Errors
    /// A device's.
    pub fn set_values(&mut self, i: usize, values: &[f32]) -> Result<()> {
        if let Some(network) = &mut self.device {
            return network.set_values(i, values);
        }
        self.parameters_mut()[i].value.copy_from_slice(values);
        self.repack();
        Ok(())
    }

    /// Values of parameter `i` of [`Policy::parameters`], from wherever they are kept.
    ///
    /// # Errors
    /// A device's.
    pub fn values(&self, i: usize) -> Result<Cow<'_, [f32]>> {
        match &self.device {
            Some(network) => network.values(i).map(Cow::Owned),
            None => Ok(Cow::Borrowed(&self.parameters()[i].value)),
        }
    }

    /// Brings the packed matrices up to date with the parameters that training moves. On a device nothing is packed.
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
