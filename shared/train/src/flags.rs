//! Flags that mean the same in every trainer.

use std::path::Path;

use anyhow::Result;
use r1_kernels::{Precision, isa, supports, threads};
use r1_model::{Config, LoadOptions, Policy, device};
use serde_json::{Map, Value};

use crate::memory::{Budget, Place};
use crate::optimizer::{AdamW, Hyper};
use crate::update::Limits;

/// `--dtype`: what matrix products are computed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Dtype {
    /// bf16 where the machine multiplies it in hardware, else f32
    Auto,
    /// 32-bit floating point
    F32,
    /// bfloat16 products with f32 sums
    Bf16,
}

/// How the machine is used.
#[derive(clap::Args, Clone, Debug)]
pub struct Compute {
    /// What matrix products are computed in; weights and optimizer state are f32 always
    #[arg(long, value_enum, default_value_t = Dtype::Auto)]
    pub dtype: Dtype,
    /// Most tokens computed at once: bounds memory, and fixes the order in which gradients are added [default: 4096, and fewer where
    /// activations would need more than 448 MiB; on a GPU what fits into half of the memory that weights and optimizer leave of it]
    #[arg(long, value_name = "N", value_parser = positive)]
    micro_tokens: Option<usize>,
    #[command(flatten)]
    machine: r1_cli::Machine,
}

/// How the optimizer steps.
#[derive(clap::Args, Clone, Debug)]
pub struct Optimization {
    /// AdamW's decay of the first moment
    #[arg(long, default_value_t = 0.9, value_name = "X", value_parser = share)]
    pub beta1: f64,
    /// AdamW's decay of the second moment
    #[arg(long, default_value_t = 0.95, value_name = "X", value_parser = share)]
    pub beta2: f64,
    /// Added to the root of AdamW's second moment
    #[arg(long, default_value_t = 1e-8, value_name = "X", value_parser = not_negative)]
    pub adam_eps: f64,
    /// Decoupled decay of matrices (norms, biases and the embedding never decay)
    #[arg(long, default_value_t = 0.0, value_name = "X", value_parser = not_negative)]
    pub weight_decay: f64,
    /// Largest norm of the gradient; 0 does not clip
    #[arg(long, default_value_t = 1.0, value_name = "X", value_parser = not_negative)]
    pub clip_norm: f64,
    /// Leave the matrices that score experts as they are (mixture-of-experts policies); their selection bias: --router-bias-rate 0
    #[arg(long)]
    pub freeze_router: bool,
}

/// What is asked before a run; the command stays the same otherwise, and nothing is trained or written.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct Before {
    /// Say how many bytes the run will need and for what, and the longest row that fits; train nothing
    #[arg(long)]
    pub plan: bool,
    /// Hold the gradients against finite differences on this policy and the first rows, and name parameters that get none; train nothing
    #[arg(long)]
    pub selftest: bool,
}

impl Before {
    /// Whether anything is asked.
    pub fn asks(&self) -> bool {
        self.plan || self.selftest
    }
}

impl Compute {
    /// Sets the threads and the device, and settles the compute type.
    ///
    /// # Errors
    /// Exit 2: an instruction set, a device or a type was asked for that this machine lacks.
    pub fn begin(&self) -> Result<Precision> {
        isa().map_err(|fact| r1_cli::misuse(fact, "leave R1_ISA unset to take the best that is there"))?;
        threads::set(self.machine.threads.count());
        device::set(self.machine.device.choose(device::BUILT, device::count, device::open)?);
        if device::chosen().is_some() {
            return Ok(if self.dtype == Dtype::F32 { Precision::F32 } else { Precision::Bf16 });
        }
        match self.dtype {
            Dtype::F32 => Ok(Precision::F32),
            Dtype::Auto if supports(Precision::Bf16).is_err() => Ok(Precision::F32),
            Dtype::Auto => Ok(Precision::Bf16),
            Dtype::Bf16 => match supports(Precision::Bf16) {
                Ok(()) => Ok(Precision::Bf16),
                Err(fact) => Err(r1_cli::misuse(fact, "use --dtype f32")),
            },
        }
    }

    /// Tokens computed at once of this policy.
    ///
    /// # Errors
    /// The device's.
    pub fn micro_tokens(&self, config: &Config, precision: Precision) -> Result<usize> {
        match self.micro_tokens {
            Some(tokens) => Ok(tokens),
            None => {
                let place = Place::of(device::chosen().as_ref())?;
                Ok(Budget::of(config, precision, place).default_tokens())
            }
        }
    }

    /// Adds what decides the result to `train.json`'s command.
    pub fn record(&self, precision: Precision, micro_tokens: usize, command: &mut Map<String, Value>) {
        let dtype = if precision == Precision::Bf16 { "bf16" } else { "f32" };
        command.insert("dtype".into(), dtype.into());
        if let Some(device) = device::chosen() {
            command.insert("device".into(), "cuda".into());
            if device.is_batch_invariant() {
                command.insert("batch-invariant".into(), true.into());
            }
        }
        command.insert("micro-tokens".into(), micro_tokens.into());
    }
}

impl Optimization {
    /// AdamW's constants.
    pub fn hyper(&self) -> Hyper {
        Hyper {
            beta1: self.beta1,
            beta2: self.beta2,
            eps: self.adam_eps,
            weight_decay: self.weight_decay,
            freeze_router: self.freeze_router,
        }
    }

    /// What stays the same over all updates.
    pub fn limits(&self, micro_tokens: usize, router_bias_rate: f64) -> Limits {
        Limits { micro_tokens, clip_norm: self.clip_norm, router_bias_rate }
    }

    /// Adds what decides the result to `train.json`'s command.
    pub fn record(&self, command: &mut Map<String, Value>) {
        for (name, value) in [
            ("beta1", self.beta1),
            ("beta2", self.beta2),
            ("adam-eps", self.adam_eps),
            ("weight-decay", self.weight_decay),
            ("clip-norm", self.clip_norm),
        ] {
            command.insert(name.into(), value.into());
        }
        if self.freeze_router {
            command.insert("freeze-router".into(), true.into());
        }
    }
}

/// Reads a policy's config.
///
/// # Errors
/// Exit 2, naming file and field.
pub fn load_config(dir: &Path) -> Result<Config> {
    Config::load(dir)
        .map_err(|e| r1_cli::misuse(format!("{e:#}"), "name a whole policy directory (see r1-init)"))
}

/// Loads a policy to be trained.
///
/// # Errors
/// Exit 2, naming file and field or tensor.
pub fn load_policy(dir: &Path, precision: Precision) -> Result<Policy> {
    Policy::load(dir, LoadOptions::trainable(Some(precision)))
        .map_err(|e| r1_cli::misuse(format!("{e:#}"), "name a whole policy directory (see r1-init)"))
}

/// Loads the optimizer's state that lies beside a policy.
///
/// # Errors
/// Exit 2, naming the file and the tensor.
pub fn load_optimizer(policy: &Policy, dir: &Path, hyper: Hyper) -> Result<AdamW> {
    AdamW::load(policy, dir, hyper).map_err(|e| {
        let remedy = format!("go on from a whole checkpoint, or remove {} to start over", dir.display());
        r1_cli::misuse(format!("{e:#}"), remedy)
    })
}

/// A finite number.
fn finite(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(x) if x.is_finite() => Ok(x),
        _ => Err("not a finite number".to_string()),
    }
}

/// Parses a number of at least 0.
///
/// # Errors
/// In the words of a flag's error.
pub fn not_negative(text: &str) -> Result<f64, String> {
    finite(text).and_then(|x| if x >= 0.0 { Ok(x) } else { Err("below 0".to_string()) })
}

/// Parses a number from 0 up to, but not including, 1.
///
/// # Errors
/// In the words of a flag's error.
pub fn share(text: &str) -> Result<f64, String> {
    not_negative(text).and_then(|x| if x < 1.0 { Ok(x) } else { Err("must be below 1".to_string()) })
}

/// Parses a whole number of at least 1.
///
/// # Errors
/// In the words of a flag's error.
pub fn positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("must be at least 1".to_string()),
        Ok(n) => Ok(n),
        Err(_) => Err("not a whole number".to_string()),
    }
}
