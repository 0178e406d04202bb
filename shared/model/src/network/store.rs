//! A policy from its directory, from nothing, and back.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail};
use half::bf16;
use r1_kernels::threads::{self, SharedMut};
use r1_kernels::{Precision, linear, rope, supports};

use super::Policy;
use super::values::{Drawn, Stacked, Values, fill, halves};
use crate::checkpoint::{self, FirstBad, SHARD_BYTES, SaveDtype, Shape, Tensors};
use crate::config::{Config, Head};
use crate::device::{self, Device};
use crate::parameters::{self, Index, Kind, Parameter};
use crate::random::{Stream, hash};

/// How a policy is brought into memory.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// compute type; `None` takes bf16 where this machine has bf16 dot products, else f32
    pub precision: Option<Precision>,
    /// what for
    pub purpose: Purpose,
    /// where it computes, if not on the host
    pub device: Option<Device>,
}

/// What a policy is loaded for: how much of it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// sampling and scoring: matrices packed for the forward pass, no f32 masters of them
    Sample,
    /// training an adapter over it: matrices packed for the backward pass too, no f32 masters of them
    Adapt,
    /// training all of it: f32 masters beside both packings
    Train,
}

/// The precision that `--dtype` names: `auto` (`None`), `f32` or `bf16`.
///
/// # Errors
/// Any other name.
pub fn precision_named(name: &str) -> Result<Option<Precision>> {
    match name {
        "auto" => Ok(None),
        "f32" => Ok(Some(Precision::F32)),
        "bf16" => Ok(Some(Precision::Bf16)),
        other => bail!("`{other}` is no compute type; use auto, f32 or bf16"),
    }
}

impl LoadOptions {
    /// To sample or score only.
    pub fn frozen(precision: Option<Precision>) -> LoadOptions {
        LoadOptions { precision, purpose: Purpose::Sample, device: device::chosen() }
    }

    /// To be trained.
    pub fn trainable(precision: Option<Precision>) -> LoadOptions {
        LoadOptions { precision, purpose: Purpose::Train, device: device::chosen() }
    }

    /// To stay as it is under an adapter that is trained.
    pub fn adapted(precision: Option<Precision>) -> LoadOptions {
        LoadOptions { precision, purpose: Purpose::Adapt, device: device::chosen() }
    }

    /// On this device instead of the one [chosen](device::set).
    pub fn on(self, device: Option<Device>) -> LoadOptions {
        LoadOptions { device, ..self }
    }

    fn settle(&self) -> Result<Precision> {
        if self.device.is_some() {
            return Ok(self.precision.unwrap_or(Precision::Bf16));
        }
        if let Err(fact) = r1_kernels::isa() {
            bail!("{fact}");
        }
        match self.precision {
            None if supports(Precision::Bf16).is_ok() => Ok(Precision::Bf16),
            None => Ok(Precision::F32),
            Some(p) => match supports(p) {
                Ok(()) => Ok(p),
                Err(fact) => bail!("{fact}; use --dtype f32"),
            },
        }
    }
}

impl Policy {
    /// Reads `config.json` and the weights of a policy directory.
    ///
    /// # Errors
    /// One line that names the file and the field or tensor: unsupported architecture, missing or misshapen tensor,
    /// truncated file, non-finite value, or a precision this machine lacks.
    pub fn load(dir: &Path, options: LoadOptions) -> Result<Policy> {
        let config = Config::load(dir)?;
        if config.head != Head::Vocabulary {
            bail!("{}: a classifier scores text and cannot continue it", dir.join("config.json").display());
        }
        Policy::read(dir, config, options)
    }

    /// Reads the weights of a checked config.
    pub(super) fn read(dir: &Path, config: Config, options: LoadOptions) -> Result<Policy> {
        let tensors = Tensors::open(dir)?;
        tensors.check(&parameters::specification(&config), &config)?;
        let purpose = options.purpose;
        let mut policy = Policy::assemble(config, options, |parameter| {
            let views = parameter.pieces.iter().map(|p| tensors.view(&p.name, &p.shape));
            Ok(Stacked(views.collect::<Result<_>>()?))
        })?;
        let beside = tensors.prediction_layers(&policy.config);
        policy.beside = (purpose == Purpose::Train && !beside.is_empty()).then_some((beside, tensors));
        Ok(policy)
    }

    /// A fresh policy: normal matrices with the config's `initializer_range`, norms 1, biases 0. The same seed gives
    /// the same bits on every machine with the same libm.
    ///
    /// # Errors
    /// When this machine lacks the precision.
    pub fn initialize(config: Config, seed: u64, options: LoadOptions) -> Result<Policy> {
        let range = config.initializer_range;
        Policy::assemble(config, options, |parameter| {
            let kind = parameter.kind;
            let streams = parameter.pieces.iter().map(|p| (p.range(), Stream::of(seed, hash(&p.name), 0)));
            Ok(Drawn { kind, range, streams: streams.collect() })
        })
    }

    /// Brings every parameter into the forms that its purpose needs: large ones one after the other, each on all threads,
    /// the many small ones side by side.
    pub(super) fn assemble<V: Values>(
        config: Config,
        options: LoadOptions,
        values_of: impl Fn(&Parameter) -> Result<V> + Sync,
    ) -> Result<Policy> {
        /// Values from which on a parameter occupies all threads.
        const LARGE: usize = 1 << 23;
        let precision = options.settle()?;
        let (mut parameters, index) = parameters::layout(&config);
        if let Some(device) = &options.device {
            return Policy::assemble_there(
                device,
                config,
                parameters,
                index,
                options.purpose,
                precision,
                values_of,
            );
        }
        let head = index.head.unwrap_or(index.embedding);
        let forms: Vec<Form> = parameters
            .iter()
            .enumerate()
            .map(|(i, parameter)| Form::of(parameter, i == head, options.purpose, precision))
            .collect();
        let matrices =
            parameters.iter().zip(&forms).filter_map(|(p, form)| Some((p.rows(), p.columns(), form.packed?)));
        let samples = options.purpose == Purpose::Sample;
        let room = samples.then(|| linear::Weight::room(matrices));

        let mut loaded: Vec<Option<Result<Loaded>>> = parameters.iter().map(|_| None).collect();
        let mut order: Vec<usize> = (0..parameters.len()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(parameters[i].len));
        let (large, small) = order.split_at(order.partition_point(|&i| parameters[i].len >= LARGE));
        let places = SharedMut::new(&mut loaded);
        let bring = |i: usize| {
            let one = values_of(&parameters[i])
                .and_then(|values| Loaded::of(&parameters[i], &values, forms[i], room.as_ref()));
            // SAFETY: every parameter is brought once.
            let place = unsafe { places.slice(i..i + 1) };
            place[0] = Some(one);
        };
        large.iter().for_each(|&i| bring(i));
        threads::parallel(small.len(), |task| bring(small[task]));

        let mut packed = Vec::with_capacity(parameters.len());
        let mut table = None;
        for (parameter, one) in parameters.iter_mut().zip(loaded) {
            let Some(one) = one else { unreachable!("every parameter was brought") };
            let one = one?;
            parameter.value = one.value;
            packed.push(one.packed);
            table = table.or(one.table);
        }
        let c = &config.rope;
        let rope = rope::Table::build(&c.inv_freq, config.max_position_embeddings, c.attention_factor);
        Ok(Policy {
            config,
            parameters,
            index,
            packed,
            table,
            beside: None,
            rope: Arc::new(rope),
            precision,
            purpose: options.purpose,
            adapter: None,
            device: None,
        })
    }

    /// [`Policy::assemble`] on a device, one parameter after the other.
    fn assemble_there<V: Values>(
        device: &Device,
        config: Config,
        mut parameters: Vec<Parameter>,
        index: Index,
        purpose: Purpose,
        precision: Precision,
        values_of: impl Fn(&Parameter) -> Result<V> + Sync,
    ) -> Result<Policy> {
        let mut network = device::Network::empty(device, &config, &index, purpose, precision)?;
        for parameter in &mut parameters {
            let values = values_of(parameter)?;
            network.put(parameter, &values)?;
            // Moved by the load of the experts, on the host.
            if parameter.kind == Kind::CorrectionBias {
                parameter.value = vec![0.0; parameter.len];
                fill(&values, &mut parameter.value, &FirstBad::default());
            }
            values.let_go();
        }
        let c = &config.rope;
        let rope = rope::Table::build(&c.inv_freq, config.max_position_embeddings, c.attention_factor);
        network.set_rope(&rope)?;
        Ok(Policy {
            config,
            packed: parameters.iter().map(|_| None).collect(),
            parameters,
            index,
            table: None,
            beside: None,
            rope: Arc::new(rope),
            precision,
            purpose,
            adapter: None,
            device: Some(network),
        })
    }

    /// Writes the weights into `dir`, under the names transformers uses: one file, or several and an index (see
    /// [`checkpoint::save_checkpoint`]). Multi-token-prediction layers of the checkpoint that was loaded go along.
    ///
    /// # Errors
    /// When the file cannot be written, or the policy was loaded frozen and no longer holds its masters.
    pub fn save_weights(&self, dir: &Path, dtype: SaveDtype) -> Result<()> {
        if self.purpose != Purpose::Train {
            bail!(
                "a policy that was not loaded to be trained does not keep its f32 weights and cannot be saved"
            );
        }
        let own: HashMap<&str, (usize, Range<usize>)> = self
            .parameters
            .iter()
            .enumerate()
            .flat_map(|(i, p)| p.pieces.iter().map(move |s| (s.name.as_str(), (i, s.range()))))
            .collect();
        let pieces = self.parameters.iter().flat_map(|p| &p.pieces);
        let mut shapes: Vec<Shape> = pieces.map(|s| (s.name.clone(), s.shape.clone())).collect();
        let beside: HashMap<&str, &[usize]> = match &self.beside {
            None => HashMap::new(),
            Some((list, _)) => list.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())).collect(),
        };
        shapes.extend(beside.iter().map(|(name, shape)| ((*name).to_owned(), shape.to_vec())));
        checkpoint::save_checkpoint(dir, &shapes, dtype, &[], SHARD_BYTES, |name| {
            match (own.get(name), beside.get(name), &self.beside) {
                (Some((i, range)), ..) => match &self.device {
                    Some(network) => Ok(Cow::Owned(network.values(*i)?[range.clone()].to_vec())),
                    None => Ok(Cow::Borrowed(&self.parameters[*i].value[range.clone()])),
                },
                (None, Some(shape), Some((_, tensors))) => tensors.read_f32(name, shape).map(Cow::Owned),
                _ => bail!("tensor {name} is nowhere"),
            }
        })
    }
}

/// What is kept of a parameter.
#[derive(Clone, Copy)]
struct Form {
    /// the compute type that it is packed for, where it is applied as a matrix
    packed: Option<Precision>,
    /// whether it is packed for the backward pass too
    backward: bool,
    /// whether its values are kept as f32
    kept: bool,
    /// whether its rows are looked up: kept in one form or another
    looked_up: bool,
}

impl Form {
    fn of(parameter: &Parameter, is_head: bool, purpose: Purpose, precision: Precision) -> Form {
        // The router decides in f32: a rounded score can flip which expert a token takes. A classifier's head is one
        // row a sequence: f32 costs nothing there.
        let exact = parameter.is_router() || parameter.pieces[0].name == parameters::SCORE;
        let matrix = parameter.kind == Kind::Matrix;
        let samples = purpose == Purpose::Sample;
        let looked_up = parameter.kind == Kind::Embedding && samples;
        Form {
            packed: (matrix || is_head).then_some(if exact { Precision::F32 } else { precision }),
            backward: !samples,
            kept: match purpose {
                Purpose::Train => true,
                Purpose::Adapt | Purpose::Sample => !matrix && !looked_up,
            },
            looked_up,
        }
    }
}

/// One parameter in memory.
#[derive(Default)]
struct Loaded {
    value: Vec<f32>,
    packed: Option<linear::Weight>,
    table: Option<Vec<bf16>>,
}

impl Loaded {
    fn of(
        parameter: &Parameter,
        values: &impl Values,
        form: Form,
        room: Option<&linear::Room>,
    ) -> Result<Loaded> {
        let (rows, columns) = (parameter.rows(), parameter.columns());
        let bad = FirstBad::default();
        let mut loaded = Loaded::default();
        // Whether what was packed is what the file holds: then rows can be looked up in it.
        let mut whole = false;
        match (form.packed, room) {
            // Straight from the file into the kernels' form: the plain matrix is never in memory.
            (Some(Precision::Bf16), Some(room)) if values.is_bf16() => {
                let (weight, seen) =
                    linear::Weight::pack_halves(room, rows, columns, |j| values.row(j, columns));
                if seen.not_finite {
                    values.look_at_all(parameter.len, &bad);
                }
                whole = !seen.subnormal;
                loaded.packed = Some(weight);
            }
            (Some(precision), Some(room)) => {
                loaded.packed =
                    Some(linear::Weight::pack_from(room, rows, columns, precision, |from, out| {
                        values.read(from, out);
                        bad.look(from, out);
                    }));
                whole = precision == Precision::F32;
            }
            _ => {}
        }
        if form.looked_up && !whole && values.is_bf16() {
            loaded.table = Some(halves(values, parameter.len, &bad));
        } else if form.kept || form.backward || form.looked_up && !whole {
            loaded.value = vec![0.0; parameter.len];
            fill(values, &mut loaded.value, &bad);
        }
        if let (Some(precision), true) = (form.packed, form.backward) {
            loaded.packed = Some(linear::Weight::pack(&loaded.value, rows, columns, precision, true));
            if !form.kept {
                loaded.value = Vec::new();
            }
        }
        if let Some(i) = bad.index() {
            return Err(values.not_finite(i));
        }
        values.let_go();
        Ok(loaded)
    }
}
