//! LoRA adapters: what they are made with, which projections they adapt, where their values come from.
//!
//! An adapter directory is PEFT's (see [`saved`]); the policy under it is another directory and stays as it is. What is
//! adapted are the layers' projections: attention's (MLA's among them) and dense feed-forward ones. Experts and router of
//! a mixture of experts are not: PEFT takes `gate_proj`, `up_proj` and `down_proj` of such a policy to mean the experts.

mod saved;

use anyhow::{Result, bail};

pub(crate) use saved::refuse_adapter;
pub use saved::{CONFIG, Identity, Saved, WEIGHTS, identify};

use crate::config::Config;
use crate::network::Policy;
use crate::parameters::{Kind, specification};
use crate::random::{Stream, hash};

/// PEFT's name for every projection that can be adapted.
pub const ALL: &str = "all-linear";

/// What an adapter is made with.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// r: rows of A, columns of B
    pub rank: usize,
    /// the scale is `alpha / rank`, with rsLoRA `alpha / √rank`
    pub alpha: f64,
    /// rank-stabilized scale (Kalajdzievski 2023)
    pub rslora: bool,
    /// `target_modules`, sorted: names of projections, or ends of them
    pub targets: Vec<String>,
    /// `lora_dropout`; nothing here drops, so an adapter that is trained must have 0
    pub dropout: f64,
}

impl Settings {
    /// The factor on `x Aᵀ Bᵀ`.
    pub fn scale(&self) -> f32 {
        let rank = self.rank as f64;
        (self.alpha / if self.rslora { rank.sqrt() } else { rank }) as f32
    }
}

/// PEFT's name of a module's `lora_A` or `lora_B`.
pub(crate) fn tensor_name(module: &str, factor: &str) -> String {
    format!("base_model.model.{module}.{factor}.weight")
}

/// The modules that can be adapted, in canonical order: each a tensor's name without `.weight`.
pub fn adaptable(config: &Config) -> Vec<String> {
    specification(config)
        .into_iter()
        .filter(|s| s.kind == Kind::Matrix && s.name.starts_with("model.layers."))
        .filter(|s| config.moe.is_none() || !s.name.contains(".mlp."))
        .filter_map(|s| s.name.strip_suffix(".weight").map(str::to_string))
        .collect()
}

/// The names that targets can have: the last parts of the adaptable modules', each once, sorted.
pub fn names(config: &Config) -> Vec<String> {
    leaves(&adaptable(config))
}

fn leaves(modules: &[String]) -> Vec<String> {
    let mut leaves: Vec<String> =
        modules.iter().filter_map(|m| m.rsplit('.').next()).map(str::to_string).collect();
    leaves.sort();
    leaves.dedup();
    leaves
}

/// Whether a target means a module, in PEFT's way: its whole name, or the end of it after a dot.
fn means(target: &str, module: &str) -> bool {
    module.strip_suffix(target).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// The modules that `targets` mean, and the names to write into adapter_config.json; no targets are all that can be
/// adapted.
///
/// # Errors
/// A target that means nothing, or something that is not adapted ([`names`] are those that are).
pub fn choose(config: &Config, targets: Option<&[String]>) -> Result<(Vec<String>, Vec<String>)> {
    let modules = adaptable(config);
    let known = leaves(&modules);
    let Some(targets) = targets else { return Ok((modules, known)) };
    let experts = "experts and router of a mixture of experts are not adapted";
    if let [one] = targets
        && one == ALL
    {
        if config.moe.is_some() {
            bail!("{ALL} means the experts too, and {experts}");
        }
        return Ok((modules, known));
    }
    for target in targets {
        if modules.iter().any(|m| means(target, m)) {
            continue;
        }
        let stem = |name: &str| name.strip_suffix(".weight").unwrap_or(name).to_string();
        let all: Vec<String> = specification(config).iter().map(|s| stem(&s.name)).collect();
        match all.iter().find(|m| means(target, m)) {
            Some(m) if m.contains(".mlp.") => bail!("{target}: {experts}"),
            Some(_) => bail!("{target}: only the layers' projections are adapted"),
            None => bail!("{target}: the policy has no such projection"),
        }
    }
    let mut names = targets.to_vec();
    names.sort();
    names.dedup();
    Ok((modules.into_iter().filter(|m| targets.iter().any(|t| means(t, m))).collect(), names))
}

/// Lays a fresh adapter over a policy: A uniform in ±1/√K (PEFT's `kaiming_uniform_(a=√5)`), B zeros, so that nothing
/// changes yet. The same seed gives the same bits, whatever else is adapted.
///
/// # Errors
/// None of its own.
pub fn initialize(policy: &mut Policy, settings: Settings, modules: &[String], seed: u64) -> Result<()> {
    policy.adapt(settings, modules, |name, shape| {
        let len = shape.iter().product::<usize>();
        if name.ends_with("lora_B.weight") {
            return Ok(vec![0.0; len]);
        }
        let (stream, bound) = (Stream::of(seed, hash(name), 0), 1.0 / (shape[1] as f64).sqrt());
        Ok((0..len as u64).map(|i| ((2.0 * stream.at(i) - 1.0) * bound) as f32).collect())
    })
}

#[cfg(test)]
mod tests;
