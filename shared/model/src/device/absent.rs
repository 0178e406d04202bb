//! Without the feature `cuda`: types that have no value, so that whoever asks for one is given none.

use std::ops::Range;

use anyhow::{Result, bail};
use r1_kernels::{Precision, adamw, head, rope};

use crate::batch::Packed;
use crate::cache::PageForm;
use crate::config::Config;
use crate::network::toward::Toward;
use crate::network::values::Values;
use crate::network::{self, Attend, Purpose, Recompute};
use crate::parameters::{Index, Parameter};
use crate::sample::{Draw, Sampling};

/// What there is none of.
#[derive(Clone, Debug)]
enum Never {}

/// No device.
#[derive(Clone, Debug)]
pub struct Device(Never);

/// No network on a device.
pub struct Network(Never);

/// No tape of one.
pub struct Tape(Never);

/// No gradients on a device.
pub struct Gradients(Never);

/// No moments on a device.
#[derive(Clone)]
pub struct Moments(Never);

/// No cache on a device.
pub struct Caches(Never);

/// No device can be opened.
///
/// # Errors
/// Always.
pub fn open(_ordinal: usize, _batch_invariant: bool) -> Result<Device> {
    bail!("this binary was built without GPUs")
}

/// There is none.
///
/// # Errors
/// Never.
pub fn count() -> Result<usize> {
    Ok(0)
}

/// No error is.
pub fn is_out_of_memory(_: &anyhow::Error) -> bool {
    false
}

/// Nothing is held.
pub fn logits_bytes(_: usize, _: usize, _: bool) -> usize {
    0
}

/// Nothing is held.
pub fn expanded_bytes(_: &Config, _: usize) -> usize {
    0
}

impl Device {
    /// Whether a row's bits depend on no other row.
    pub fn is_batch_invariant(&self) -> bool {
        match self.0 {}
    }

    /// Bytes free and bytes in all.
    ///
    /// # Errors
    /// Never.
    pub fn memory(&self) -> Result<(usize, usize)> {
        match self.0 {}
    }

    /// Most bytes that this process has held there.
    pub fn peak(&self) -> usize {
        match self.0 {}
    }

    pub(crate) fn release(&self) -> Result<()> {
        match self.0 {}
    }

    /// What the card calls itself.
    pub fn name(&self) -> String {
        match self.0 {}
    }
}

impl Caches {
    pub(crate) fn replayed(&self) -> usize {
        match self.0 {}
    }

    pub(crate) fn without_recordings(&mut self) {
        match self.0 {}
    }
}

impl Network {
    pub(crate) fn empty(d: &Device, _: &Config, _: &Index, _: Purpose, _: Precision) -> Result<Network> {
        match d.0 {}
    }

    pub(crate) fn put(&mut self, _: &Parameter, _: &impl Values) -> Result<()> {
        match self.0 {}
    }

    pub(crate) fn set_rope(&mut self, _: &rope::Table) -> Result<()> {
        match self.0 {}
    }

    pub(crate) fn device(&self) -> &Device {
        match self.0 {}
    }

    pub(crate) fn values(&self, _: usize) -> Result<Vec<f32>> {
        match self.0 {}
    }

    /// Replaces the values of a parameter.
    ///
    /// # Errors
    /// Never.
    pub fn set_values(&mut self, _: usize, _: &[f32]) -> Result<()> {
        match self.0 {}
    }

    pub(crate) fn gradients(&self) -> Result<Gradients> {
        match self.0 {}
    }

    /// One step of the optimizer.
    ///
    /// # Errors
    /// Never.
    pub fn step(&mut self, _: usize, _: &network::Gradients, _: &mut Moments, _: &adamw::Step) -> Result<()> {
        match self.0 {}
    }

    pub(crate) fn logits(&self, _: &[u32], _: &[u32], _: Attend, _: &[u32], _: &mut Vec<f32>) -> Result<()> {
        match self.0 {}
    }

    pub(crate) fn draws(
        &self,
        _: &[u32],
        _: &[u32],
        _: Attend,
        _: &[u32],
        _: &Sampling,
        _: &[Draw],
    ) -> Result<Vec<(u32, f32)>> {
        match self.0 {}
    }

    pub(crate) fn logprobs(&self, _: &Packed, _: &[f32], _: bool) -> Result<head::Output> {
        match self.0 {}
    }

    pub(crate) fn logprobs_with_top(
        &self,
        _: &Packed,
        _: &[f32],
        _: usize,
    ) -> Result<(head::Output, head::Top)> {
        match self.0 {}
    }

    pub(crate) fn backward_toward(
        &self,
        _: &Packed,
        _: &[f32],
        _: Tape,
        _: &[f32],
        _: &Toward,
        _: &mut Gradients,
    ) -> Result<Vec<f32>> {
        match self.0 {}
    }

    pub(crate) fn adapt(
        &mut self,
        _: usize,
        _: (usize, f32),
        _: Vec<Range<usize>>,
        _: [&Parameter; 2],
    ) -> Result<()> {
        match self.0 {}
    }

    pub(crate) fn switch_adapter(&mut self, _: bool) {
        match self.0 {}
    }

    pub(crate) fn forward(
        &self,
        _: &Packed,
        _: &[f32],
        _: bool,
        _: Recompute,
    ) -> Result<(head::Output, network::Tape)> {
        match self.0 {}
    }

    pub(crate) fn backward(
        &self,
        _: &Packed,
        _: &[f32],
        _: Tape,
        _: &[f32],
        _: Option<&[f32]>,
        _: &mut Gradients,
    ) -> Result<()> {
        match self.0 {}
    }

    pub(crate) fn scores(&self, _: &Packed) -> Result<Vec<f32>> {
        match self.0 {}
    }

    pub(crate) fn forward_scores(&self, _: &Packed, _: Recompute) -> Result<(Vec<f32>, network::Tape)> {
        match self.0 {}
    }

    pub(crate) fn backward_scores(&self, _: &Packed, _: Tape, _: &[f32], _: &mut Gradients) -> Result<()> {
        match self.0 {}
    }
}

impl Gradients {
    pub(crate) fn to_host(&self) -> Result<Vec<Vec<f32>>> {
        match self.0 {}
    }

    pub(crate) fn squares(&self) -> Result<Vec<f64>> {
        match self.0 {}
    }

    pub(crate) fn clear_one(&mut self, _: usize) -> Result<()> {
        match self.0 {}
    }
}

impl Moments {
    /// First and second moment of a parameter.
    ///
    /// # Errors
    /// Never.
    pub fn of(device: &Device, _: &[f32], _: &[f32]) -> Result<Moments> {
        match device.0 {}
    }

    /// Zeros.
    ///
    /// # Errors
    /// Never.
    pub fn zeros(device: &Device, _: usize) -> Result<Moments> {
        match device.0 {}
    }

    /// Both, on the host.
    ///
    /// # Errors
    /// Never.
    pub fn to_host(&self) -> Result<(Vec<f32>, Vec<f32>)> {
        match self.0 {}
    }
}

impl Caches {
    pub(crate) fn new(d: &Device, _: usize, _: &PageForm) -> Result<Caches> {
        match d.0 {}
    }

    pub(crate) fn copy_page(&mut self, _: u32, _: u32, _: usize) -> Result<()> {
        match self.0 {}
    }
}
