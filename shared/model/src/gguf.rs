//! Policies from GGUF files (llama.cpp): config, tensors under their Hugging Face names, tokenizer.
//!
//! Architectures `llama`, `qwen2` and `qwen3`; element types as candle dequantizes them. What a GGUF file does not
//! carry (the initializer range) takes its default; what it carries differently is turned back:
//! - llama.cpp's converter interleaves the rows of Llama's q and k projections for its own rotary embedding;
//! - Llama 3.1's rotary scaling is stored as one factor per frequency (`rope_freqs.weight`).

mod header;
mod vocabulary;

use std::path::Path;

use anyhow::{Result, anyhow, bail};
use serde_json::{Value, json};

use crate::config::{Attention, Config};
use crate::parameters::{self, ParameterSpec};
use crate::tokenizer::Description;
use header::Gguf;

/// A GGUF file, read as a policy.
#[derive(Debug)]
pub struct Import {
    file: Gguf,
    /// the checked config; `config.raw` is the `config.json` to write, without an element type
    pub config: Config,
    /// the `generation_config.json` to write
    pub generation: Value,
    /// the tokenizer
    pub tokenizer: Description,
}

impl Import {
    /// Reads a file's header, and checks that its tensors are exactly those of its architecture.
    ///
    /// # Errors
    /// One line that names the file and the field or tensor: no GGUF, cut short, an architecture, tokenizer or scaling
    /// that is not supported, a tensor that is missing, left over or misshapen.
    pub fn open(path: &Path) -> Result<Import> {
        let file = Gguf::open(path)?;
        let place = path.display();
        let raw = config_json(&file)?;
        let context = raw["max_position_embeddings"].as_u64().unwrap_or(0) as usize;
        let tokenizer = vocabulary::read(&file, context)?;
        let generation = generation_json(&file, &tokenizer)?;
        let config =
            Config::parse(raw, Some(&generation)).map_err(|e| anyhow!("{place}: as config.json: {e:#}"))?;
        if tokenizer.vocabulary.len() > config.vocab_size {
            bail!(
                "{place}: {} tokens do not fit the {} rows of token_embd.weight",
                tokenizer.vocabulary.len(),
                config.vocab_size
            );
        }
        let import = Import { file, config, generation, tokenizer };
        import.check()?;
        Ok(import)
    }

    /// The policy's tensors, in canonical order.
    pub fn specification(&self) -> Vec<ParameterSpec> {
        parameters::specification(&self.config)
    }

    /// A tensor by its Hugging Face name, as row-major f32.
    pub fn read_f32(&self, name: &str) -> Result<Vec<f32>> {
        let place = self.file.path.display();
        let stored =
            stored_name(name).ok_or_else(|| anyhow!("{place}: tensor {name} has no name in GGUF"))?;
        let values = self.file.dequantize(&stored)?;
        let heads = match self.config.attention {
            Attention::Gqa { kv_heads, .. } if name.contains(".k_proj.") => kv_heads,
            _ => self.config.heads,
        };
        let interleaved = self.config.raw["architectures"][0] == "LlamaForCausalLM"
            && (name.contains(".q_proj.") || name.contains(".k_proj."));
        Ok(if interleaved { halves_from_pairs(&values, heads, self.config.dk()) } else { values })
    }

    fn check(&self) -> Result<()> {
        let place = self.file.path.display();
        let mut wanted = std::collections::HashSet::new();
        for spec in self.specification() {
            let stored = stored_name(&spec.name)
                .ok_or_else(|| anyhow!("{place}: tensor {} has no name in GGUF", spec.name))?;
            match self.file.shape(&stored) {
                None => bail!("{place}: tensor {stored} is missing"),
                Some(shape) if shape != spec.shape => {
                    bail!(
                        "{place}: tensor {stored} has shape {shape:?}, its metadata asks for {:?}",
                        spec.shape
                    )
                }
                Some(_) => {}
            }
            wanted.insert(stored);
        }
        match self.file.names().find(|name| !wanted.contains(*name) && *name != ROPE_FACTORS) {
            Some(extra) => bail!("{place}: holds tensor {extra}, which the architecture does not have"),
            None => Ok(()),
        }
    }
}

/// Llama 3.1's scaling, one divisor per frequency.
const ROPE_FACTORS: &str = "rope_freqs.weight";

/// llama.cpp's name of a tensor.
fn stored_name(name: &str) -> Option<String> {
    match name {
        "model.embed_tokens.weight" => return Some("token_embd.weight".into()),
        "model.norm.weight" => return Some("output_norm.weight".into()),
        "lm_head.weight" => return Some("output.weight".into()),
        _ => {}
    }
    let (layer, rest) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let (module, kind) = rest.rsplit_once('.')?;
    let role = match module {
        "input_layernorm" => "attn_norm",
        "post_attention_layernorm" => "ffn_norm",
        "self_attn.q_proj" => "attn_q",
        "self_attn.k_proj" => "attn_k",
        "self_attn.v_proj" => "attn_v",
        "self_attn.o_proj" => "attn_output",
        "self_attn.q_norm" => "attn_q_norm",
        "self_attn.k_norm" => "attn_k_norm",
        "mlp.gate_proj" => "ffn_gate",
        "mlp.up_proj" => "ffn_up",
        "mlp.down_proj" => "ffn_down",
        _ => return None,
    };
    Some(format!("blk.{layer}.{role}.{kind}"))
}

/// Rows `(i, 0), (i, 1)` of each head, one pair after the other, back to the first half and then the second half.
fn halves_from_pairs(values: &[f32], heads: usize, head_dim: usize) -> Vec<f32> {
    let columns = values.len() / (heads * head_dim);
    let half = head_dim / 2;
    let mut out = Vec::with_capacity(values.len());
    for head in 0..heads {
        for part in 0..2 {
            for i in 0..half {
                let row = head * head_dim + 2 * i + part;
                out.extend_from_slice(&values[row * columns..(row + 1) * columns]);
            }
        }
    }
    out
}

/// The file's metadata as a `config.json`.
fn config_json(file: &Gguf) -> Result<Value> {
    let place = file.path.display();
    let family = file
        .text("general.architecture")?
        .ok_or_else(|| anyhow!("{place}: general.architecture: the field is missing"))?;
    let architecture = match family {
        "llama" => "LlamaForCausalLM",
        "qwen2" => "Qwen2ForCausalLM",
        "qwen3" => "Qwen3ForCausalLM",
        other => {
            bail!("{place}: general.architecture: {other:?} is not supported, only llama, qwen2 and qwen3")
        }
    };
    let key = |name: &str| format!("{family}.{name}");
    let size = |name: &str| -> Result<usize> {
        file.count(&key(name))?
            .filter(|n| *n > 0)
            .ok_or_else(|| anyhow!("{place}: {}: the field is missing", key(name)))
    };
    for unsupported in ["expert_count", "attention.sliding_window"] {
        if file.count(&key(unsupported))?.is_some_and(|n| n > 0) {
            bail!("{place}: {}: not supported", key(unsupported));
        }
    }
    let heads = size("attention.head_count")?;
    let hidden = size("embedding_length")?;
    let head_dim = match file.count(&key("attention.key_length"))? {
        Some(n) => n,
        None if hidden.is_multiple_of(heads) => hidden / heads,
        None => bail!("{place}: {}: {heads} heads do not divide {hidden}", key("attention.head_count")),
    };
    for other in ["attention.value_length", "rope.dimension_count"] {
        if let Some(n) = file.count(&key(other))?.filter(|n| *n != head_dim) {
            bail!("{place}: {}: {n} is not the size of a head, {head_dim}", key(other));
        }
    }
    let embedding = file
        .shape("token_embd.weight")
        .ok_or_else(|| anyhow!("{place}: tensor token_embd.weight is missing"))?;
    let context = size("context_length")?;
    let mut config = json!({
        "architectures": [architecture], "model_type": family,
        "vocab_size": embedding[0], "hidden_size": hidden, "intermediate_size": size("feed_forward_length")?,
        "num_hidden_layers": size("block_count")?, "num_attention_heads": heads,
        "num_key_value_heads": file.count(&key("attention.head_count_kv"))?.unwrap_or(heads),
        "head_dim": head_dim, "hidden_act": "silu", "max_position_embeddings": context,
        "rms_norm_eps": shortest(file.number(&key("attention.layer_norm_rms_epsilon"))?.unwrap_or(1e-6)),
        "rope_theta": file.number(&key("rope.freq_base"))?.unwrap_or(10_000.0),
        "tie_word_embeddings": file.shape("output.weight").is_none(),
        "attention_bias": false, "attention_dropout": 0.0, "initializer_range": 0.02, "use_cache": true,
    });
    if family == "llama" {
        config["mlp_bias"] = false.into();
    }
    if family == "qwen2" {
        // Part of the family; the field does not exist there.
        config.as_object_mut().map(|c| c.remove("attention_bias"));
    }
    let theta = config["rope_theta"].as_f64().unwrap_or(10_000.0);
    if let Some(scaling) = scaling_json(file, family, head_dim, theta)? {
        config["rope_scaling"] = scaling;
    }
    for (name, role) in [("bos_token_id", "bos"), ("eos_token_id", "eos"), ("pad_token_id", "padding")] {
        let id = file.count(&format!("tokenizer.ggml.{role}_token_id"))?.filter(|id| *id != 0xFFFF_FFFF);
        config[name] = id.into();
    }
    Ok(config)
}

/// An f32 that was written out in decimals: back to the shortest decimals that mean it (1e-5, not 9.99999974e-6).
fn shortest(x: f64) -> f64 {
    (x as f32).to_string().parse().unwrap_or(x)
}

fn scaling_json(file: &Gguf, family: &str, head_dim: usize, theta: f64) -> Result<Option<Value>> {
    let place = file.path.display();
    let key = |name: &str| format!("{family}.rope.scaling.{name}");
    let kind = file.text(&key("type"))?.unwrap_or("none");
    if file.shape(ROPE_FACTORS).is_some() {
        if kind != "none" {
            bail!("{place}: {}: {kind:?} beside {ROPE_FACTORS} is not supported", key("type"));
        }
        return llama3_scaling(file, head_dim, theta).map(Some);
    }
    let factor = file.number(&key("factor"))?;
    if kind != "none" && factor.is_none() {
        bail!("{place}: {}: the field is missing", key("factor"));
    }
    match kind {
        "none" => Ok(None),
        "linear" => Ok(Some(json!({"rope_type": "linear", "factor": factor}))),
        "yarn" => {
            let original = file.count(&key("original_context_length"))?.ok_or_else(|| {
                anyhow!("{place}: {}: the field is missing", key("original_context_length"))
            })?;
            let mut yarn =
                json!({"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original});
            if let Some(attention) = file.number(&key("attn_factor"))? {
                yarn["attention_factor"] = attention.into();
            }
            Ok(Some(yarn))
        }
        other => bail!("{place}: {}: {other:?} is not supported, only linear and yarn", key("type")),
    }
}

/// Finds the parameters of Llama 3.1's scaling that give the stored divisors: the published ones, or an error.
fn llama3_scaling(file: &Gguf, head_dim: usize, theta: f64) -> Result<Value> {
    let place = file.path.display();
    let stored = file.dequantize(ROPE_FACTORS)?;
    let factor = stored.iter().copied().fold(1.0f32, f32::max);
    let scaling = json!({"rope_type": "llama3", "factor": factor, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192});
    let published = json!({"architectures": ["LlamaForCausalLM"], "vocab_size": 1, "hidden_size": head_dim,
        "intermediate_size": 1, "num_hidden_layers": 1, "num_attention_heads": 1, "max_position_embeddings": 1,
        "rope_theta": theta, "rope_scaling": scaling});
    let config = Config::parse(published, None)?;
    let same = stored.len() == config.rope.inv_freq.len()
        && config.rope.inv_freq.iter().zip(&stored).enumerate().all(|(i, (f, divisor))| {
            let plain = theta.powf(-2.0 * i as f64 / head_dim as f64);
            (plain / f / f64::from(*divisor) - 1.0).abs() < 1e-3
        });
    if !same {
        bail!("{place}: {ROPE_FACTORS}: not Llama 3.1's scaling; import the Hugging Face directory instead");
    }
    Ok(scaling)
}

/// `generation_config.json`: the ids that start and end a text, chat's end of turn among them.
fn generation_json(file: &Gguf, tokenizer: &Description) -> Result<Value> {
    let mut ends: Vec<u32> = tokenizer.eos.into_iter().collect();
    for role in ["eot", "eom"] {
        if let Some(id) = file.count(&format!("tokenizer.ggml.{role}_token_id"))? {
            ends.extend(u32::try_from(id).ok().filter(|id| (*id as usize) < tokenizer.vocabulary.len()));
        }
    }
    ends.dedup();
    let mut generation = json!({"_from_model_config": true});
    if let Some(bos) = tokenizer.bos {
        generation["bos_token_id"] = bos.into();
    }
    if let Some(pad) = tokenizer.pad {
        generation["pad_token_id"] = pad.into();
    }
    match ends.as_slice() {
        [] => {}
        [one] => generation["eos_token_id"] = (*one).into(),
        several => generation["eos_token_id"] = several.into(),
    }
    Ok(generation)
}

#[cfg(test)]
mod tests;
