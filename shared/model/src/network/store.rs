//! A policy from its directory, from nothing, and back.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail};
use half::bf16;
use r1_kernels::threads::{self, SharedMut};
use r1_kernels::{Precision, linear, rope, supports};

use super::Policy;
use crate::checkpoint::{self, FirstBad, SHARD_BYTES, SaveDtype, Shape, Tensors, View};
use crate::config::{Config, Head};
use crate::parameters::{self, Kind, Parameter};
use crate::random::{Stream, hash};

/// How a policy is brought into memory.
#[derive(Clone, Copy, Debug)]
pub struct LoadOptions {
    /// compute type; `None` takes bf16 where this machine has bf16 dot products, else f32
    pub precision: Option<Precision>,
    /// what for
    pub purpose: Purpose,
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
        LoadOptions { precision, purpose: Purpose::Sample }
    }

    /// To be trained.
    pub fn trainable(precision: Option<Precision>) -> LoadOptions {
        LoadOptions { precision, purpose: Purpose::Train }
    }

    /// To stay as it is under an adapter that is trained.
    pub fn adapted(precision: Option<Precision>) -> LoadOptions {
        LoadOptions { precision, purpose: Purpose::Adapt }
    }

    fn settle(self) -> Result<Precision> {
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
        let mut policy = Policy::assemble(config, options, |parameter| {
            let views = parameter.pieces.iter().map(|p| tensors.view(&p.name, &p.shape));
            Ok(Stacked(views.collect::<Result<_>>()?))
        })?;
        let beside = tensors.prediction_layers(&policy.config);
        policy.beside =
            (options.purpose == Purpose::Train && !beside.is_empty()).then_some((beside, tensors));
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

    pub(super) fn assemble<V: Values>(
        config: Config,
        options: LoadOptions,
        values_of: impl Fn(&Parameter) -> Result<V>,
    ) -> Result<Policy> {
        let precision = options.settle()?;
        let (mut parameters, index) = parameters::layout(&config);
        let mut packed = Vec::with_capacity(parameters.len());
        let mut table = None;
        for (i, parameter) in parameters.iter_mut().enumerate() {
            let values = values_of(parameter)?;
            let bad = FirstBad::default();
            let is_head = i == index.head.unwrap_or(index.embedding);
            let is_matrix = parameter.kind == Kind::Matrix || is_head;
            // The router decides in f32: a rounded score can flip which expert a token takes. A classifier's head is one
            // row a sequence: f32 costs nothing there.
            let exact = parameter.is_router() || parameter.pieces[0].name == parameters::SCORE;
            let precision = if exact { Precision::F32 } else { precision };
            let (rows, columns) = (parameter.rows(), parameter.columns());
            let samples = options.purpose == Purpose::Sample;
            if parameter.kind == Kind::Embedding && samples && values.is_bf16() {
                // A policy that only samples keeps a bf16 embedding as it is in the file.
                table = Some(halves(&values, parameter.len, &bad));
            } else if !samples || parameter.kind != Kind::Matrix {
                parameter.value = vec![0.0; parameter.len];
                fill(&values, &mut parameter.value, &bad);
            }
            packed.push(is_matrix.then(|| match samples {
                // Straight from the file into the kernels' form: the plain matrix is never in memory.
                true => linear::Weight::pack_from(rows, columns, precision, |from, out| {
                    values.read(from, out);
                    bad.look(from, out);
                }),
                false => linear::Weight::pack(&parameter.value, rows, columns, precision, true),
            }));
            if options.purpose == Purpose::Adapt && parameter.kind == Kind::Matrix {
                parameter.value = Vec::new();
            }
            if let Some(i) = bad.index() {
                return Err(values.not_finite(i));
            }
            values.let_go();
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
        let own: HashMap<&str, &[f32]> = self
            .parameters
            .iter()
            .flat_map(|p| p.pieces.iter().map(|s| (s.name.as_str(), &p.value[s.range()])))
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
                (Some(values), ..) => Ok(Cow::Borrowed(*values)),
                (None, Some(shape), Some((_, tensors))) => tensors.read_f32(name, shape).map(Cow::Owned),
                _ => bail!("tensor {name} is nowhere"),
            }
        })
    }
}

/// Where the values of one parameter come from.
pub(super) trait Values: Sync {
    /// Fills `out` with the values from flat index `from` on.
    fn read(&self, from: usize, out: &mut [f32]);
    /// Whether all are bf16 values already.
    fn is_bf16(&self) -> bool;
    /// The error that names the value at flat index `i`.
    fn not_finite(&self, i: usize) -> anyhow::Error;
    /// They were read and are not read again.
    fn let_go(&self) {}
}

/// Values that are in memory already.
impl Values for Vec<f32> {
    fn read(&self, from: usize, out: &mut [f32]) {
        out.copy_from_slice(&self[from..from + out.len()]);
    }

    fn is_bf16(&self) -> bool {
        false
    }

    fn not_finite(&self, i: usize) -> anyhow::Error {
        anyhow::anyhow!("a parameter holds {} (value {i})", self[i])
    }
}

/// The tensors of a file that are stacked to one parameter.
struct Stacked<'a>(Vec<View<'a>>);

impl Values for Stacked<'_> {
    fn read(&self, mut from: usize, mut out: &mut [f32]) {
        for view in &self.0 {
            if from < view.len() && !out.is_empty() {
                let count = out.len().min(view.len() - from);
                let (here, rest) = std::mem::take(&mut out).split_at_mut(count);
                view.read(from, here);
                out = rest;
                from = 0;
            } else {
                from -= view.len().min(from);
            }
        }
    }

    fn is_bf16(&self) -> bool {
        self.0.iter().all(View::is_bf16)
    }

    fn not_finite(&self, mut i: usize) -> anyhow::Error {
        for view in &self.0 {
            if i < view.len() {
                return view.not_finite(i);
            }
            i -= view.len();
        }
        unreachable!("an index of a value that was read")
    }

    fn let_go(&self) {
        self.0.iter().for_each(View::let_go);
    }
}

/// Fresh values, every one a function of the seed, its tensor's name and its place.
struct Drawn {
    kind: Kind,
    range: f64,
    streams: Vec<(std::ops::Range<usize>, Stream)>,
}

impl Values for Drawn {
    fn read(&self, from: usize, out: &mut [f32]) {
        for (i, x) in (from..).zip(out) {
            *x = match self.kind {
                Kind::Matrix | Kind::Embedding => {
                    let stream = self.streams.iter().find(|(range, _)| range.contains(&i));
                    stream.map_or(0.0, |(range, s)| (s.normal((i - range.start) as u64) * self.range) as f32)
                }
                Kind::Norm => 1.0,
                Kind::Bias | Kind::CorrectionBias => 0.0,
            };
        }
    }

    fn is_bf16(&self) -> bool {
        false
    }

    fn not_finite(&self, i: usize) -> anyhow::Error {
        anyhow::anyhow!("initializer_range: gives a value that is not finite (the {i}th)")
    }
}

/// Values that are worth a task of their own.
const GRAIN: usize = 1 << 16;

/// Reads everything, on all threads.
fn fill(values: &impl Values, out: &mut [f32], bad: &FirstBad) {
    let length = out.len();
    let parts = SharedMut::new(out);
    threads::parallel(length.div_ceil(GRAIN), |task| {
        let range = task * GRAIN..length.min((task + 1) * GRAIN);
        // SAFETY: the tasks' ranges are disjoint.
        let part = unsafe { parts.slice(range.clone()) };
        values.read(range.start, part);
        bad.look(range.start, part);
    });
}

/// [`fill`] for values that are bf16 already: half the memory.
fn halves(values: &impl Values, length: usize, bad: &FirstBad) -> Vec<bf16> {
    let mut out = vec![bf16::ZERO; length];
    let parts = SharedMut::new(&mut out);
    threads::parallel(length.div_ceil(GRAIN), |task| {
        let range = task * GRAIN..length.min((task + 1) * GRAIN);
        let mut wide = vec![0.0; range.len()];
        values.read(range.start, &mut wide);
        bad.look(range.start, &wide);
        // SAFETY: the tasks' ranges are disjoint.
        let part = unsafe { parts.slice(range) };
        part.iter_mut().zip(&wide).for_each(|(half, x)| *half = bf16::from_f32(*x));
    });
    out
}
