//! AdamW over a policy's parameters, with its state in f32 whatever the policy computes in.
//!
//! Decay applies to matrices only: not to norms, biases, the embedding or the router's correction bias, which has no
//! gradient and no moments. On disk the state is `optimizer.safetensors`, with `NAME.exp_avg` and `NAME.exp_avg_sq` for
//! every tensor NAME of the checkpoint (torch's words), and the number of steps in the header.

use std::borrow::Cow;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use r1_kernels::{adamw, norm};
use r1_model::checkpoint::{SaveDtype, save_tensors};
use r1_model::network::Gradients;
use r1_model::parameters::{Kind, Parameter};
use r1_model::{Policy, device};
use safetensors::{Dtype, SafeTensors};

/// File name of the optimizer's state in a policy directory.
pub const FILE: &str = "optimizer.safetensors";

/// What AdamW is told once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hyper {
    /// decay of the first moment
    pub beta1: f64,
    /// decay of the second moment
    pub beta2: f64,
    /// added to the root of the second moment
    pub eps: f64,
    /// decoupled decay of matrices
    pub weight_decay: f64,
    /// the matrices that score experts stay as they are
    pub freeze_router: bool,
}

impl Hyper {
    /// Whether the parameter stays as it is, whatever its gradient.
    pub(crate) fn freezes(&self, parameter: &Parameter) -> bool {
        self.freeze_router && parameter.is_router()
    }
}

/// First and second moment of one parameter; both empty where it has no gradient, or where they are on a device.
#[derive(Clone, Debug, Default, PartialEq)]
struct Moments {
    first: Vec<f32>,
    second: Vec<f32>,
}

impl Moments {
    fn zeros(len: usize) -> Moments {
        Moments { first: vec![0.0; len], second: vec![0.0; len] }
    }
}

/// The optimizer's state: moments of every parameter, and how many steps made them.
pub struct AdamW {
    hyper: Hyper,
    steps: u64,
    moments: Vec<Moments>,
    /// the moments of a policy on a device, from its first step on; the host's are empty then
    there: Vec<Option<device::Moments>>,
}

/// Whether the parameter is trained by gradients.
pub(crate) fn has_gradient(parameter: &Parameter) -> bool {
    parameter.kind != Kind::CorrectionBias
}

impl AdamW {
    /// No steps taken, all moments zero. Those of a policy on a device are made there, at the first step.
    pub fn fresh(policy: &Policy, hyper: Hyper) -> AdamW {
        let here = policy.device().is_none();
        let len = |p: &Parameter| if has_gradient(p) && here { p.len } else { 0 };
        let moments = policy.parameters().iter().map(|p| Moments::zeros(len(p))).collect();
        AdamW { hyper, steps: 0, moments, there: Vec::new() }
    }

    /// What it was told.
    pub fn hyper(&self) -> &Hyper {
        &self.hyper
    }

    /// Steps taken so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Bytes of the moments that the host holds.
    pub fn bytes(&self) -> usize {
        self.moments.iter().map(|m| 4 * (m.first.len() + m.second.len())).sum()
    }

    /// One step: every parameter moves by its gradient times `grad_scale`. The policy's packed matrices are brought up to date.
    ///
    /// # Errors
    /// A device's.
    pub fn step(
        &mut self,
        policy: &mut Policy,
        gradients: &Gradients,
        lr: f64,
        grad_scale: f64,
    ) -> Result<()> {
        self.move_to_device(policy)?;
        self.steps += 1;
        for i in 0..policy.parameters().len() {
            let parameter = &policy.parameters()[i];
            if !has_gradient(parameter) || self.hyper.freezes(parameter) {
                continue;
            }
            let decay = if parameter.kind == Kind::Matrix { self.hyper.weight_decay } else { 0.0 };
            let step = adamw::Step {
                lr,
                beta1: self.hyper.beta1,
                beta2: self.hyper.beta2,
                eps: self.hyper.eps,
                weight_decay: decay,
                step: self.steps,
                grad_scale,
            };
            match (policy.on_device(), self.there.get_mut(i).and_then(Option::as_mut)) {
                (Some(network), Some(moments)) => network.step(i, gradients, moments, &step)?,
                _ => {
                    let (parameter, moments) = (&mut policy.parameters_mut()[i], &mut self.moments[i]);
                    let (first, second) = (&mut moments.first, &mut moments.second);
                    adamw::update(&mut parameter.value, &gradients.values[i], first, second, &step);
                }
            }
        }
        policy.repack();
        Ok(())
    }

    /// The moments go where the policy computes.
    fn move_to_device(&mut self, policy: &Policy) -> Result<()> {
        let Some(device) = policy.device().filter(|_| self.there.is_empty()) else { return Ok(()) };
        for (parameter, moments) in policy.parameters().iter().zip(&mut self.moments) {
            let Moments { first, second } = std::mem::take(moments);
            self.there.push(match (has_gradient(parameter), first.is_empty()) {
                (false, _) => None,
                (true, true) => Some(device::Moments::zeros(device, parameter.len)?),
                (true, false) => Some(device::Moments::of(device, &first, &second)?),
            });
        }
        Ok(())
    }

    /// The moments of parameter `i`, from wherever they are kept.
    fn moments(&self, i: usize, parameter: &Parameter) -> Result<Cow<'_, Moments>> {
        match self.there.get(i).and_then(Option::as_ref) {
            Some(there) => {
                let (first, second) = there.to_host()?;
                Ok(Cow::Owned(Moments { first, second }))
            }
            None if self.moments[i].first.is_empty() => Ok(Cow::Owned(Moments::zeros(parameter.len))),
            None => Ok(Cow::Borrowed(&self.moments[i])),
        }
    }

    /// Writes the state into `dir`.
    ///
    /// # Errors
    /// When the file cannot be written, or a device fails.
    pub fn save(&self, policy: &Policy, dir: &Path) -> Result<()> {
        let each = policy.parameters().iter().enumerate();
        let all = each.map(|(i, p)| self.moments(i, p)).collect::<Result<Vec<_>>>()?;
        let mut tensors: Vec<(String, Vec<usize>, &[f32])> = Vec::new();
        for (parameter, moments) in policy.parameters().iter().zip(&all) {
            if !has_gradient(parameter) {
                continue;
            }
            for piece in &parameter.pieces {
                let (name, shape) = (&piece.name, &piece.shape);
                tensors.push((format!("{name}.exp_avg"), shape.clone(), &moments.first[piece.range()]));
                tensors.push((format!("{name}.exp_avg_sq"), shape.clone(), &moments.second[piece.range()]));
            }
        }
        save_tensors(&dir.join(FILE), &tensors, SaveDtype::F32, &[("step", self.steps.to_string())])
    }

    /// Reads the state that [`AdamW::save`] wrote for this policy's parameters.
    ///
    /// # Errors
    /// One line that names the file and the tensor: no file, a header that is broken, a tensor missing or misshapen, a moment
    /// that is not finite.
    pub fn load(policy: &Policy, dir: &Path, hyper: Hyper) -> Result<AdamW> {
        let file = dir.join(FILE);
        let place = file.display();
        let bytes = std::fs::read(&file).with_context(|| format!("{place}"))?;
        let tensors =
            SafeTensors::deserialize(&bytes).map_err(|e| anyhow!("{place}: broken or cut short: {e}"))?;
        let (_, metadata) =
            SafeTensors::read_metadata(&bytes).map_err(|e| anyhow!("{place}: broken or cut short: {e}"))?;
        let steps = metadata
            .metadata()
            .as_ref()
            .and_then(|m| m.get("step")?.parse().ok())
            .ok_or_else(|| anyhow!("{place}: its header has no step"))?;
        let mut optimizer = AdamW::fresh(policy, hyper);
        optimizer.steps = steps;
        for (parameter, moments) in policy.parameters().iter().zip(&mut optimizer.moments) {
            if !has_gradient(parameter) {
                continue;
            }
            *moments = Moments::zeros(parameter.len);
            for piece in &parameter.pieces {
                for (suffix, values) in [("exp_avg", &mut moments.first), ("exp_avg_sq", &mut moments.second)]
                {
                    let name = format!("{}.{suffix}", piece.name);
                    let tensor =
                        tensors.tensor(&name).map_err(|_| anyhow!("{place}: tensor {name} is missing"))?;
                    if tensor.shape() != piece.shape || tensor.dtype() != Dtype::F32 {
                        bail!(
                            "{place}: tensor {name} is {} {:?}, the policy asks for F32 {:?}",
                            tensor.dtype(),
                            tensor.shape(),
                            piece.shape
                        );
                    }
                    let values = &mut values[piece.range()];
                    for (value, bytes) in values.iter_mut().zip(tensor.data().as_chunks::<4>().0) {
                        *value = f32::from_le_bytes(*bytes);
                    }
                    if let Some(i) = norm::first_non_finite(values) {
                        bail!("{place}: tensor {name} holds {} at {i}", values[i]);
                    }
                }
            }
        }
        Ok(optimizer)
    }
}

/// Norm of all gradients together, and the first parameter whose gradient is not finite.
pub(crate) fn global_norm(policy: &Policy, gradients: &Gradients) -> Result<(f64, Option<usize>)> {
    let mut sum = 0.0;
    for (i, (parameter, part)) in policy.parameters().iter().zip(gradients.squares()?).enumerate() {
        if has_gradient(parameter) {
            if !part.is_finite() {
                return Ok((f64::NAN, Some(i)));
            }
            sum += part;
        }
    }
    Ok((sum.sqrt(), None))
}

/// Factor that brings a gradient of this norm down to `max_norm`: torch's `clip_grad_norm_`, which divides by norm + 1e-6.
pub(crate) fn clip_factor(norm: f64, max_norm: f64) -> f64 {
    if max_norm > 0.0 { (max_norm / (norm + 1e-6)).min(1.0) } else { 1.0 }
}

#[cfg(test)]
mod tests;
