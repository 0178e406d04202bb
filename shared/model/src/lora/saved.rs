//! An adapter directory as PEFT writes it: `adapter_config.json` beside `adapter_model.safetensors`, f32, under
//! `base_model.model.MODULE.lora_A.weight` `[r, K]` and `….lora_B.weight` `[N, r]`.
//!
//! Written are the fields that PEFT has had since 0.9, so that every version since loads it and fills in its own
//! defaults. Read is any file whose settings mean what is computed here; one that means more (DoRA, biases, patterns of
//! ranks, experts …) is refused, and the message names the field. Which projections are adapted the tensors say, not the
//! field `target_modules`, which may be a pattern.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Settings, adaptable, choose, tensor_name};
use crate::checkpoint::{SaveDtype, Tensors, hash_file, hex, save_tensors, sha256_of_weights};
use crate::config::{Config, read_json};
use crate::directory::write_json;
use crate::network::Policy;
use crate::parameters::specification;

/// The settings of an adapter directory.
pub const CONFIG: &str = "adapter_config.json";
/// The tensors of an adapter directory.
pub const WEIGHTS: &str = "adapter_model.safetensors";

/// Fields that may have any value: they change nothing of what is computed, or are read elsewhere.
const FREE: [&str; 18] = [
    "auto_mapping",
    "base_model_name_or_path",
    "exclude_modules",
    "inference_mode",
    "init_lora_weights",
    "layers_pattern",
    "layers_to_transform",
    "lora_alpha",
    "lora_dropout",
    "megatron_core",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "r",
    "revision",
    "target_modules",
    "task_type",
    "use_rslora",
];

/// An adapter on the disk, checked against the config of the policy under it; values are read on demand.
pub struct Saved {
    /// what it was made with
    pub settings: Settings,
    modules: Vec<String>,
    tensors: Tensors,
}

impl Saved {
    /// Opens an adapter directory.
    ///
    /// # Errors
    /// One line that names the file and the field or tensor: no adapter, settings that are not computed here, a tensor
    /// that is missing, misshapen or belongs to no projection of this policy.
    pub fn open(dir: &Path, config: &Config) -> Result<Saved> {
        let (raw, mut settings) = read(dir)?;
        let tensors = Tensors::open_file(dir.join(WEIGHTS))?;
        let modules = modules(&tensors, config, settings.rank)
            .with_context(|| format!("{}", dir.join(WEIGHTS).display()))?;
        let names: Option<Vec<String>> =
            serde_json::from_value(raw.get("target_modules").cloned().unwrap_or_default()).ok();
        settings.targets = match names.map(|names| choose(config, Some(&names))) {
            Some(Ok((meant, names))) if meant == modules => names,
            _ => modules.clone(),
        };
        Ok(Saved { settings, modules, tensors })
    }

    /// Lays the adapter over a policy.
    ///
    /// # Errors
    /// A value that is not finite.
    pub fn attach(&self, policy: &mut Policy) -> Result<()> {
        policy.adapt(self.settings.clone(), &self.modules, |name, shape| self.tensors.read_f32(name, shape))
    }

    /// Adds s · B A to the values of the tensor `name` of the policy, where the adapter adapts it.
    ///
    /// # Errors
    /// A value that is not finite.
    pub fn merge(&self, name: &str, shape: &[usize], values: &mut [f32]) -> Result<()> {
        let Some(module) = name.strip_suffix(".weight").filter(|m| self.modules.iter().any(|own| own == m))
        else {
            return Ok(());
        };
        let (rank, scale) = (self.settings.rank, self.settings.scale());
        let (n, k) = (shape[0], shape[1]);
        let a = self.tensors.read_f32(&tensor_name(module, "lora_A"), &[rank, k])?;
        let b = self.tensors.read_f32(&tensor_name(module, "lora_B"), &[n, rank])?;
        let mut delta = vec![0.0f32; k];
        for (row, b) in values.chunks_exact_mut(k).zip(b.chunks_exact(rank)) {
            delta.fill(0.0);
            for (b, a) in b.iter().zip(a.chunks_exact(k)) {
                delta.iter_mut().zip(a).for_each(|(d, a)| *d = b.mul_add(*a, *d));
            }
            row.iter_mut().zip(&delta).for_each(|(w, d)| *w += scale * d);
        }
        Ok(())
    }
}

impl Policy {
    /// Writes the adapter over this policy into `dir`, the tensors last; `base` is what adapter_config.json says the
    /// policy under it is called.
    ///
    /// # Errors
    /// When there is no adapter, a value is not finite, or a file cannot be written.
    pub fn save_adapter(&self, dir: &Path, base: &Path) -> Result<()> {
        let Some(adapter) = self.adapter() else { bail!("a policy without an adapter has none to save") };
        write_json(&dir.join(CONFIG), &fields(adapter.settings(), base))?;
        let parameters = adapter.parameters();
        let values = (0..parameters.len()).map(|i| self.values(i)).collect::<Result<Vec<_>>>()?;
        let tensors: Vec<(String, Vec<usize>, &[f32])> = parameters
            .iter()
            .zip(&values)
            .flat_map(|(p, v)| p.pieces.iter().map(|s| (s.name.clone(), s.shape.clone(), &v[s.range()])))
            .collect();
        save_tensors(&dir.join(WEIGHTS), &tensors, SaveDtype::F32, &[])
    }
}

/// `adapter_config.json` of a directory: as it is, and what it means.
fn read(dir: &Path) -> Result<(Value, Settings)> {
    let file = dir.join(CONFIG);
    if !file.exists() {
        bail!("{}: has no {CONFIG}: not an adapter directory", dir.display());
    }
    let raw = read_json(&file)?;
    let settings = settings(&raw).with_context(|| format!("{}", file.display()))?;
    Ok((raw, settings))
}

/// `adapter_config.json`, keys in order.
fn fields(s: &Settings, base: &Path) -> Value {
    let whole = |x: f64| if x.fract() == 0.0 && x.abs() < 1e15 { json!(x as i64) } else { json!(x) };
    json!({
        "alpha_pattern": {},
        "auto_mapping": null,
        "base_model_name_or_path": base.display().to_string(),
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "layer_replication": null,
        "layers_pattern": null,
        "layers_to_transform": null,
        "loftq_config": {},
        "lora_alpha": whole(s.alpha),
        "lora_dropout": s.dropout,
        "megatron_config": null,
        "megatron_core": "megatron.core",
        "modules_to_save": null,
        "peft_type": "LORA",
        "r": s.rank,
        "rank_pattern": {},
        "revision": null,
        "target_modules": s.targets,
        "task_type": "CAUSAL_LM",
        "use_dora": false,
        "use_rslora": s.rslora,
    })
}

/// Settings out of `adapter_config.json`; `targets` are left empty.
pub(super) fn settings(raw: &Value) -> Result<Settings> {
    let fields = raw.as_object().ok_or_else(|| anyhow!("expected an object"))?;
    let field = |name: &str| fields.get(name).filter(|v| !v.is_null());
    match field("peft_type").and_then(Value::as_str) {
        Some("LORA") => {}
        _ => bail!("peft_type: {}, only LORA is read", shown(fields.get("peft_type"))),
    }
    match field("init_lora_weights") {
        None | Some(Value::Bool(_)) => {}
        Some(Value::String(s)) if ["gaussian", "eva", "orthogonal"].contains(&s.as_str()) => {}
        // The others (PiSSA, OLoRA, LoftQ …) have changed the weights under the adapter.
        other => {
            bail!("init_lora_weights: {} changes the policy under the adapter; convert it", shown(other))
        }
    }
    for (name, value) in fields {
        let neutral = match value {
            Value::Null | Value::Bool(false) => true,
            Value::String(s) => s.is_empty() || (name == "bias" && s == "none"),
            Value::Array(list) => list.is_empty(),
            Value::Object(map) => map.is_empty(),
            _ => false,
        };
        if !neutral && !FREE.contains(&name.as_str()) {
            bail!("{name}: {} is not computed here", shown(Some(value)));
        }
    }
    let number = |name: &str| {
        let value = field(name).and_then(Value::as_f64).filter(|x| x.is_finite());
        value.ok_or_else(|| anyhow!("{name}: {}, expected a number", shown(fields.get(name))))
    };
    let rank = field("r").and_then(Value::as_u64).filter(|r| (1..=65536).contains(r));
    let rank = rank.ok_or_else(|| anyhow!("r: {}, expected a rank of 1 or more", shown(fields.get("r"))))?;
    let dropout = if field("lora_dropout").is_some() { number("lora_dropout")? } else { 0.0 };
    let rslora = matches!(field("use_rslora"), Some(Value::Bool(true)));
    Ok(Settings { rank: rank as usize, alpha: number("lora_alpha")?, rslora, targets: Vec::new(), dropout })
}

fn shown(value: Option<&Value>) -> String {
    value.map_or("absent".to_string(), Value::to_string)
}

/// The modules that a file adapts, in canonical order, once every tensor has its place and shape.
fn modules(tensors: &Tensors, config: &Config, rank: usize) -> Result<Vec<String>> {
    let known = adaptable(config);
    let shapes = specification(config);
    for name in tensors.names() {
        let inner = name.strip_prefix("base_model.model.").unwrap_or(name);
        let module = inner
            .strip_suffix(".lora_A.weight")
            .or_else(|| inner.strip_suffix(".lora_B.weight"))
            .ok_or_else(|| {
                anyhow!("tensor {name} is no lora_A or lora_B of a projection: it is not computed here")
            })?;
        if name == inner || !known.iter().any(|k| k == module) {
            let experts = config.moe.is_some() && module.contains(".mlp.");
            match experts {
                true => bail!("tensor {name}: experts and router are not adapted"),
                false => bail!("tensor {name} adapts nothing that this policy has"),
            }
        }
    }
    let mut modules = Vec::new();
    for module in known {
        let both = ["lora_A", "lora_B"].map(|factor| tensor_name(&module, factor));
        if both.iter().all(|name| tensors.shape(name).is_none()) {
            continue;
        }
        let weight = format!("{module}.weight");
        let Some(spec) = shapes.iter().find(|s| s.name == weight) else { continue };
        for (name, wanted) in both.iter().zip([[rank, spec.shape[1]], [spec.shape[0], rank]]) {
            match tensors.shape(name) {
                None => bail!("tensor {name} is missing"),
                Some(shape) if shape != wanted => {
                    bail!("tensor {name} has shape {shape:?}, rank and policy ask for {wanted:?}")
                }
                Some(_) => {}
            }
        }
        modules.push(module);
    }
    if modules.is_empty() {
        bail!("holds no adapter");
    }
    Ok(modules)
}

/// Refuses an adapter directory where a policy directory is wanted.
///
/// # Errors
/// Says how to name both.
pub(crate) fn refuse_adapter(dir: &Path) -> Result<()> {
    if dir.join(CONFIG).exists() && !dir.join("config.json").exists() {
        let name = dir.display();
        bail!("{name}: an adapter and no policy: it goes over one with --adapter {name}");
    }
    Ok(())
}

/// Who a policy is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `sha256:…` of the weight files of its directory
    pub base: String,
    /// `sha256:…` of what computes: the same, or where there is an adapter that of both
    pub policy: String,
}

/// Names a policy directory, with an adapter over it where there is one: for `rollout.policy`.
///
/// # Errors
/// A file that cannot be read; an adapter that was trained here, over another policy.
pub fn identify(policy: &Path, adapter: Option<&Path>) -> Result<Identity> {
    refuse_adapter(policy)?;
    let base = sha256_of_weights(policy)?;
    let Some(dir) = adapter else { return Ok(Identity { policy: base.clone(), base }) };
    let (_, settings) = read(dir)?;
    if let Some(own) = trained_over(dir)?.filter(|own| *own != base) {
        bail!(
            "{}: was trained over another policy ({own}) than {} ({base})",
            dir.display(),
            policy.display()
        );
    }
    let weights: PathBuf = dir.join(WEIGHTS);
    let mut hash = Sha256::new();
    hash.update(format!("{base} {:08x}\n", settings.scale().to_bits()));
    hash_file(&weights, &mut hash)?;
    Ok(Identity { base, policy: hex(hash) })
}

/// The policy that our trainers noted under an adapter of theirs; `None` for an adapter from elsewhere.
fn trained_over(dir: &Path) -> Result<Option<String>> {
    let file = dir.join("train.json");
    if !file.exists() {
        return Ok(None);
    }
    Ok(read_json(&file)?.pointer("/inputs/base").and_then(Value::as_str).map(str::to_string))
}
