//! A policy from its directory, from nothing, and back.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, bail};
use r1_kernels::{Precision, linear, rope, supports};

use super::Policy;
use crate::checkpoint::{self, SaveDtype, Tensors};
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
        Policy::assemble(config, options, |parameter| {
            let mut value = Vec::with_capacity(parameter.len);
            for piece in &parameter.pieces {
                value.extend_from_slice(&tensors.read_f32(&piece.name, &piece.shape)?);
            }
            Ok(value)
        })
    }

    /// A fresh policy: normal matrices with the config's `initializer_range`, norms 1, biases 0. The same seed gives
    /// the same bits on every machine with the same libm.
    ///
    /// # Errors
    /// When this machine lacks the precision.
    pub fn initialize(config: Config, seed: u64, options: LoadOptions) -> Result<Policy> {
        let range = config.initializer_range;
        Policy::assemble(config, options, |parameter| {
            let mut value = Vec::with_capacity(parameter.len);
            for piece in &parameter.pieces {
                let stream = Stream::of(seed, hash(&piece.name), 0);
                value.extend((0..piece.len() as u64).map(|i| match parameter.kind {
                    Kind::Matrix | Kind::Embedding => (stream.normal(i) * range) as f32,
                    Kind::Norm => 1.0,
                    Kind::Bias | Kind::CorrectionBias => 0.0,
                }));
            }
            Ok(value)
        })
    }

    pub(super) fn assemble(
        config: Config,
        options: LoadOptions,
        mut value_of: impl FnMut(&Parameter) -> Result<Vec<f32>>,
    ) -> Result<Policy> {
        let precision = options.settle()?;
        let (mut parameters, index) = parameters::layout(&config);
        let mut packed = Vec::with_capacity(parameters.len());
        for (i, parameter) in parameters.iter_mut().enumerate() {
            let value = value_of(parameter)?;
            let is_head = i == index.head.unwrap_or(index.embedding);
            packed.push((parameter.kind == Kind::Matrix || is_head).then(|| {
                // The router decides in f32: a rounded score can flip which expert a token takes. A classifier's head is one
                // row a sequence: f32 costs nothing there.
                let exact = parameter.is_router() || parameter.pieces[0].name == parameters::SCORE;
                let precision = if exact { Precision::F32 } else { precision };
                linear::Weight::pack(
                    &value,
                    parameter.rows(),
                    parameter.columns(),
                    precision,
                    options.purpose != Purpose::Sample,
                )
            }));
            if options.purpose == Purpose::Train || parameter.kind != Kind::Matrix {
                parameter.value = value;
            }
        }
        let c = &config.rope;
        let table = rope::Table::build(&c.inv_freq, config.max_position_embeddings, c.attention_factor);
        Ok(Policy {
            config,
            parameters,
            index,
            packed,
            rope: Arc::new(table),
            precision,
            purpose: options.purpose,
            adapter: None,
        })
    }

    /// Writes `model.safetensors` into `dir` (atomically), under the names transformers uses.
    ///
    /// # Errors
    /// When the file cannot be written, or the policy was loaded frozen and no longer holds its masters.
    pub fn save_weights(&self, dir: &Path, dtype: SaveDtype) -> Result<()> {
        if self.purpose != Purpose::Train {
            bail!(
                "a policy that was not loaded to be trained does not keep its f32 weights and cannot be saved"
            );
        }
        let tensors: Vec<(String, Vec<usize>, &[f32])> = self
            .parameters
            .iter()
            .flat_map(|p| p.pieces.iter().map(|s| (s.name.clone(), s.shape.clone(), &p.value[s.range()])))
            .collect();
        checkpoint::save_tensors(
            &dir.join("model.safetensors"),
            &tensors,
            dtype,
            &[("format", "pt".to_string())],
        )
    }
}
