//! Parameters, gradients and moments in a device's memory.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail};
use r1_kernels::cuda::{Buffer, Device, Float, View, ViewMut};
use r1_kernels::{Precision, adamw, attention, head, linear, moe, norm, rope};

use super::adapter::Adapter;
use super::experts::Matrices;
use crate::checkpoint::FirstBad;
use crate::config::Config;
use crate::network::values::{Values, fill_from};
use crate::network::{self, Purpose};
use crate::parameters::{Index, Kind, Parameter, SCORE};

/// A policy's parameters on a device, and its passes there.
pub struct Network {
    /// no other network of the process has it
    pub(super) name: u64,
    pub(super) device: Device,
    pub(super) config: Config,
    pub(super) index: Index,
    pub(super) precision: Precision,
    purpose: Purpose,
    tensors: Vec<Tensor>,
    rope: Option<rope::cuda::Table>,
    pub(super) adapter: Option<Adapter>,
    /// where the experts' matrices are, a layer
    pub(super) experts: Vec<OnceLock<Matrices>>,
}

/// The values of a parameter, as they came.
enum Brought {
    Full(Buffer<f32>),
    Half(Buffer<u16>),
}

/// One parameter, in the forms that its purpose needs; at least one.
pub(super) struct Tensor {
    pub rows: usize,
    pub columns: usize,
    /// f32: the master of a trained parameter, and whatever computes in f32
    pub full: Option<Buffer<f32>>,
    /// bf16: the operand of products in bf16
    pub half: Option<Buffer<u16>>,
}

/// What the operands of products, and the activations between them, are kept in: f32 or bf16.
pub(super) trait Compute: Float {
    /// A parameter as an operand.
    fn operand(network: &Network, i: usize) -> View<'_, Self> {
        Self::of(&network.tensors[i])
    }
    /// A tensor as an operand: one that is applied as a matrix.
    fn of(tensor: &Tensor) -> View<'_, Self>;
    /// f32 values as operands of products: themselves, or rounded.
    fn round<'a>(device: &Device, x: &'a Buffer<f32>) -> Result<Rounded<'a, Self>>;
    /// As [`Compute::round`], for values that are not needed otherwise.
    fn rounded(device: &Device, x: Buffer<f32>) -> Result<Buffer<Self>>;
}

/// Values that were rounded, or did not have to be.
pub(super) enum Rounded<'a, A: Float> {
    As(View<'a, A>),
    New(Buffer<A>),
}

impl<A: Float> Rounded<'_, A> {
    pub fn all(&self) -> View<'_, A> {
        match self {
            Rounded::As(view) => *view,
            Rounded::New(buffer) => buffer.all(),
        }
    }
}

impl Compute for f32 {
    fn of(tensor: &Tensor) -> View<'_, f32> {
        tensor.full()
    }

    fn round<'a>(_: &Device, x: &'a Buffer<f32>) -> Result<Rounded<'a, f32>> {
        Ok(Rounded::As(x.all()))
    }

    fn rounded(_: &Device, x: Buffer<f32>) -> Result<Buffer<f32>> {
        Ok(x)
    }
}

impl Compute for u16 {
    fn of(tensor: &Tensor) -> View<'_, u16> {
        match &tensor.half {
            Some(half) => half.all(),
            None => unreachable!("operands of products in bf16 are kept in it"),
        }
    }

    fn round<'a>(device: &Device, x: &'a Buffer<f32>) -> Result<Rounded<'a, u16>> {
        let mut half = Buffer::uninit(device, "linear::convert", x.len())?;
        linear::cuda::convert(device, x.all(), half.all_mut())?;
        Ok(Rounded::New(half))
    }

    fn rounded(device: &Device, x: Buffer<f32>) -> Result<Buffer<u16>> {
        let mut half = Buffer::uninit(device, "linear::convert", x.len())?;
        linear::cuda::convert(device, x.all(), half.all_mut())?;
        Ok(half)
    }
}

impl Network {
    /// No parameter yet: [`Network::put`] them in their canonical order.
    pub(crate) fn empty(
        device: &Device,
        config: &Config,
        index: &Index,
        purpose: Purpose,
        precision: Precision,
    ) -> Result<Network> {
        check(config)?;
        let (device, config, index) = (device.clone(), config.clone(), index.clone());
        let (tensors, rope, adapter) = (Vec::new(), None, None);
        let experts = std::iter::repeat_with(OnceLock::new).take(config.layers).collect();
        static NAMES: AtomicU64 = AtomicU64::new(0);
        let name = NAMES.fetch_add(1, Ordering::Relaxed);
        Ok(Network { name, device, config, index, precision, purpose, tensors, rope, adapter, experts })
    }

    /// What training moves: the network's own parameters, or those of its adapter.
    fn trained(&self) -> &[Tensor] {
        self.adapter.as_ref().map_or(&self.tensors, |adapter| &adapter.tensors)
    }

    fn trained_mut(&mut self) -> &mut [Tensor] {
        match &mut self.adapter {
            Some(adapter) => &mut adapter.tensors,
            None => &mut self.tensors,
        }
    }

    /// The next parameter: its values go from where they lie to the device, and there into the forms that are needed.
    pub(crate) fn put(&mut self, parameter: &Parameter, values: &impl Values) -> Result<()> {
        let i = self.tensors.len();
        let trains = self.purpose == Purpose::Train;
        let looked_up = parameter.kind == Kind::Embedding;
        let applied = parameter.kind == Kind::Matrix || i == self.head();
        // Those that compute in f32 on the host do so here.
        let exact = parameter.is_router() || parameter.pieces[0].name == SCORE;
        let bf16 = self.precision == Precision::Bf16;
        let half = bf16 && (applied && !exact || looked_up && values.is_bf16() && !trains);
        let full = trains || !half || looked_up && !values.is_bf16();
        let (full, half) = match self.brought(parameter, values)? {
            Brought::Half(lies) => {
                let full = full.then(|| self.converted(parameter, &lies)).transpose()?;
                (full, half.then_some(lies))
            }
            Brought::Full(lies) => {
                let half = half.then(|| self.converted(parameter, &lies)).transpose()?;
                (full.then_some(lies), half)
            }
        };
        self.tensors.push(Tensor { rows: parameter.rows(), columns: parameter.columns(), full, half });
        Ok(())
    }

    /// Room for the values of a parameter.
    fn room<T: Float>(&self, parameter: &Parameter) -> Result<Buffer<T>> {
        let place = || format!("{} on the device", parameter.pieces[0].name);
        Buffer::uninit(&self.device, "weights", parameter.len).with_context(place)
    }

    fn converted<X: Float, Y: Float>(&self, parameter: &Parameter, from: &Buffer<X>) -> Result<Buffer<Y>> {
        let mut to = self.room(parameter)?;
        linear::cuda::convert(&self.device, from.all(), to.all_mut())?;
        Ok(to)
    }

    /// The values on the device: straight from the file where it holds them as they are, else by way of some of the host's memory.
    fn brought(&self, parameter: &Parameter, values: &impl Values) -> Result<Brought> {
        /// Values that are made at once.
        const PART: usize = 1 << 22;
        match (values.plain(), values.is_bf16()) {
            (Some(parts), true) => Ok(Brought::Half(self.copied(parameter, &parts, values)?)),
            (Some(parts), false) => Ok(Brought::Full(self.copied(parameter, &parts, values)?)),
            (None, _) => {
                let (mut full, bad) = (self.room(parameter)?, FirstBad::default());
                let mut part = vec![0.0; PART.min(parameter.len)];
                for start in (0..parameter.len).step_by(PART) {
                    let part = &mut part[..PART.min(parameter.len - start)];
                    fill_from(values, start, part, &bad);
                    full.part_mut(start..start + part.len()).upload("weights", part)?;
                }
                bad.index().map_or(Ok(Brought::Full(full)), |i| Err(values.not_finite(i)))
            }
        }
    }

    fn copied<T: Float>(
        &self,
        parameter: &Parameter,
        parts: &[&[u8]],
        values: &impl Values,
    ) -> Result<Buffer<T>> {
        let (mut buffer, mut start) = (self.room(parameter)?, 0);
        for bytes in parts {
            let end = start + bytes.len() / size_of::<T>();
            buffer.part_mut(start..end).upload_bytes("weights", bytes)?;
            start = end;
        }
        match norm::cuda::first_non_finite(&self.device, &[buffer.all()])?[0] {
            Some(i) => Err(values.not_finite(i)),
            None => Ok(buffer),
        }
    }

    pub(crate) fn set_rope(&mut self, table: &rope::Table) -> Result<()> {
        self.rope = Some(rope::cuda::Table::of(&self.device, table)?);
        Ok(())
    }

    pub(super) fn rope(&self) -> &rope::cuda::Table {
        self.rope.as_ref().expect("it is set when the network is assembled")
    }

    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    pub(super) fn head(&self) -> usize {
        self.index.head.unwrap_or(self.index.embedding)
    }

    /// How many parameters the network itself has.
    pub(super) fn count(&self) -> usize {
        self.tensors.len()
    }

    /// `[rows, columns]` of a parameter.
    pub(super) fn size(&self, i: usize) -> (usize, usize) {
        (self.tensors[i].rows, self.tensors[i].columns)
    }

    /// A parameter in f32.
    pub(super) fn vector(&self, i: usize) -> View<'_, f32> {
        self.tensors[i].full()
    }

    /// The embedding, in the form that is looked up: f32 where it is kept in it.
    pub(super) fn table(&self) -> Table<'_> {
        let tensor = &self.tensors[self.index.embedding];
        match (&tensor.full, &tensor.half) {
            (Some(full), _) => Table::F32(full.all()),
            (None, Some(half)) => Table::Bf16(half.all()),
            (None, None) => unreachable!("a parameter is kept in one form at least"),
        }
    }

    /// Values of a parameter that training moves, on the host.
    pub(crate) fn values(&self, i: usize) -> Result<Vec<f32>> {
        let tensor = &self.trained()[i];
        match (&tensor.full, &tensor.half) {
            (Some(full), _) => Ok(full.download("weights")?),
            (None, Some(half)) => Ok(half.download("weights")?.into_iter().map(Float::widen).collect()),
            (None, None) => unreachable!("a parameter is kept in one form at least"),
        }
    }

    /// Replaces the values of a parameter that training moves.
    ///
    /// # Errors
    /// The device refused.
    pub fn set_values(&mut self, i: usize, values: &[f32]) -> Result<()> {
        let tensor = &mut self.trained_mut()[i];
        if let Some(full) = &mut tensor.full {
            full.all_mut().upload("weights", values)?;
        }
        if let Some(half) = &mut tensor.half {
            let narrow: Vec<u16> = values.iter().map(|&x| u16::narrow(x)).collect();
            half.all_mut().upload("weights", &narrow)?;
        }
        Ok(())
    }

    /// Zeros for every parameter that training moves.
    pub(crate) fn gradients(&self) -> Result<Gradients> {
        let zeros = |t: &Tensor| Buffer::zeros(&self.device, "gradients", t.rows * t.columns);
        let values = self.trained().iter().map(zeros).collect::<Result<_, _>>()?;
        Ok(Gradients { device: self.device.clone(), values, frozen: self.adapter.is_some() })
    }

    /// One step of the optimizer for parameter `i`; its form in bf16 follows.
    ///
    /// # Errors
    /// The device refused.
    pub fn step(
        &mut self,
        i: usize,
        gradients: &network::Gradients,
        moments: &mut Moments,
        step: &adamw::Step,
    ) -> Result<()> {
        let (g, device) = (gradients.there().values[i].all(), self.device.clone());
        let tensor = &mut self.trained_mut()[i];
        let Some(w) = &mut tensor.full else { unreachable!("a parameter that is trained is kept in f32") };
        let half = tensor.half.as_mut().map(Buffer::all_mut);
        let (first, second) = (moments.first.all_mut(), moments.second.all_mut());
        adamw::cuda::update(&device, w.all_mut(), first, second, g, half, step)?;
        Ok(())
    }
}

/// Refuses what the kernels there have no room for.
fn check(c: &Config) -> Result<()> {
    let (experts, groups) = c.moe.as_ref().map_or((0, 0), |m| (m.experts, m.groups));
    for (what, has, most) in [
        ("values a head", c.dk().max(c.dv()), attention::cuda::WIDEST),
        ("tokens in the vocabulary", c.vocab_size, head::cuda::VOCABULARY),
        ("experts a layer", experts, moe::cuda::EXPERTS),
        ("groups of experts", groups, moe::cuda::GROUPS),
    ] {
        if has > most {
            bail!("{has} {what}: a GPU computes {most} at most; use --device cpu");
        }
    }
    Ok(())
}

/// The embedding by the form that is looked up.
pub(super) enum Table<'a> {
    F32(View<'a, f32>),
    Bf16(View<'a, u16>),
}

impl Tensor {
    fn full(&self) -> View<'_, f32> {
        match &self.full {
            Some(full) => full.all(),
            None => unreachable!("what computes in f32 is kept in it"),
        }
    }
}

/// One gradient a parameter that training moves.
pub struct Gradients {
    device: Device,
    pub(super) values: Vec<Buffer<f32>>,
    /// the values are an adapter's: the network's own parameters have none
    frozen: bool,
}

impl Gradients {
    pub(crate) fn to_host(&self) -> Result<Vec<Vec<f32>>> {
        self.values.iter().map(|g| Ok(g.download("gradients")?)).collect()
    }

    /// Whether the network's own parameters have none.
    pub(super) fn frozen(&self) -> bool {
        self.frozen
    }

    /// The gradient of the network's own parameter `i`; `None` where the network is frozen.
    pub(super) fn of(&mut self, i: usize) -> Option<ViewMut<'_, f32>> {
        if self.frozen { None } else { Some(self.values[i].all_mut()) }
    }

    pub(crate) fn squares(&self) -> Result<Vec<f64>> {
        let all: Vec<View<f32>> = self.values.iter().map(Buffer::all).collect();
        Ok(norm::cuda::sums_of_squares(&self.device, &all)?)
    }

    pub(crate) fn clear_one(&mut self, i: usize) -> Result<()> {
        Ok(self.values[i].all_mut().clear("gradients")?)
    }
}

/// AdamW's moments of one parameter.
pub struct Moments {
    first: Buffer<f32>,
    second: Buffer<f32>,
}

impl Moments {
    /// First and second moment of a parameter.
    ///
    /// # Errors
    /// The device has no room for them.
    pub fn of(device: &Device, first: &[f32], second: &[f32]) -> Result<Moments> {
        let moment = |values| Buffer::of(device, "the optimizer's moments", values);
        Ok(Moments { first: moment(first)?, second: moment(second)? })
    }

    /// Zeros.
    ///
    /// # Errors
    /// The device has no room for them.
    pub fn zeros(device: &Device, len: usize) -> Result<Moments> {
        let moment = || Buffer::zeros(device, "the optimizer's moments", len);
        Ok(Moments { first: moment()?, second: moment()? })
    }

    /// Both, on the host.
    ///
    /// # Errors
    /// The device refused.
    pub fn to_host(&self) -> Result<(Vec<f32>, Vec<f32>)> {
        let moment = |buffer: &Buffer<f32>| buffer.download("the optimizer's moments");
        Ok((moment(&self.first)?, moment(&self.second)?))
    }
}
