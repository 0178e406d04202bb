//! What a policy directory holds, as one JSON object: for people, for jq, for planning memory.

use std::io::Write;
use std::path::Path;

use anyhow::Result;
use r1_model::checkpoint::{Tensors, sha256_of_weights};
use r1_model::config::Attention;
use r1_model::parameters::{Kind, ParameterSpec, specification};
use r1_model::{Config, Tokenizer};
use serde_json::{Value, json};

use crate::run::bad;

/// Prints the description.
pub fn describe(dir: &Path) -> Result<()> {
    let config = Config::load(dir).map_err(bad("name a policy directory"))?;
    let damaged = "the directory is damaged: make or download it again";
    let tensors = Tensors::open(dir).map_err(bad(damaged))?;
    let wanted = specification(&config);
    tensors.check(&wanted, &config).map_err(bad(damaged))?;
    let tokenizer = match dir.join("tokenizer.json").exists() {
        true => Some(Tokenizer::load(dir).map_err(bad(damaged))?),
        false => None,
    };
    let mut text =
        serde_json::to_string_pretty(&object(&config, &wanted, &tensors, tokenizer.as_ref(), dir)?)?;
    text.push('\n');
    let mut out = r1_cli::Output::default().create()?;
    let written = out.write_all(text.as_bytes());
    out.judge(written)?;
    out.finish()
}

fn object(
    config: &Config,
    wanted: &[ParameterSpec],
    tensors: &Tensors,
    tokenizer: Option<&Tokenizer>,
    dir: &Path,
) -> Result<Value> {
    let counts = Counts::of(config, wanted);
    let attention = match config.attention {
        Attention::Gqa { kv_heads, head_dim, .. } => {
            json!({"kind": "grouped-query", "heads": config.heads, "kv_heads": kv_heads, "head_size": head_dim})
        }
        Attention::Mla { q_lora_rank, kv_lora_rank, qk_nope_head_dim, qk_rope_head_dim, v_head_dim } => {
            json!({"kind": "multi-head latent", "heads": config.heads, "query_rank": q_lora_rank,
                "key_value_rank": kv_lora_rank, "head_size": qk_nope_head_dim + qk_rope_head_dim,
                "rotated": qk_rope_head_dim, "value_size": v_head_dim})
        }
    };
    let experts = config.moe.as_ref().map(|m| {
        json!({"routed": m.experts, "per_token": m.top_k, "shared": m.shared, "groups": m.groups,
            "groups_per_token": m.top_groups, "dense_layers": m.first_dense.min(config.layers)})
    });
    let mut dtypes: Vec<String> = wanted.iter().filter_map(|s| tensors.dtype(&s.name)).collect();
    dtypes.sort();
    dtypes.dedup();
    // A bf16 embedding stays as it is in the file.
    let table = if tensors.dtype("model.embed_tokens.weight").as_deref() == Some("BF16") { 2 } else { 4 };
    Ok(json!({
        "architecture": config.raw["architectures"][0],
        "layers": config.layers, "hidden_size": config.hidden_size, "vocabulary": config.vocab_size,
        "context": config.max_position_embeddings, "attention": attention, "experts": experts,
        "parameters": {"total": counts.total, "active": counts.active},
        "bytes": {
            "on_disk": tensors.bytes_on_disk(),
            "to_sample": {"f32": counts.to_sample(4, table), "bf16": counts.to_sample(2, table)},
            // Keys and values in f32, of every layer.
            "cache_per_token": 4 * config.layers * config.kv_heads() * (config.dk() + config.dv()),
            "to_train": {"f32": counts.to_train(4), "bf16": counts.to_train(2)},
        },
        "flops_per_token": {
            // Two for each parameter that works on a token, and four for each token that it looks back at (a query by a key,
            // a weight by a value), a head and a size. A training step takes three times as many.
            "parameters": 2 * counts.active,
            "per_token_of_context": 2 * config.layers * config.heads * (config.dk() + config.dv()),
        },
        "element_types": dtypes,
        "policy": sha256_of_weights(dir)?,
        "multi_token_prediction": tensors.prediction_layers(config).len(),
        "tokenizer": tokenizer.map(|t| {
            json!({"tokens": t.vocab_size(), "bos": t.bos().map(|s| &s.text), "eos": t.eos().map(|s| &s.text),
                "adds_bos": t.adds_bos(), "chat_template": t.chat_template().is_some(), "stop_ids": t.stop_ids(config)})
        }),
    }))
}

/// Parameters by the way that memory holds them.
struct Counts {
    total: usize,
    /// used for one token: all but the embedding table and the experts that are not chosen
    active: usize,
    /// applied as matrices in the compute type (the head among them, tied or not)
    packed: usize,
    /// the embedding's table
    embedding: usize,
    /// kept in f32: norms, biases, routers
    plain: usize,
}

impl Counts {
    fn of(config: &Config, wanted: &[ParameterSpec]) -> Counts {
        let size = |s: &ParameterSpec| s.shape.iter().product::<usize>();
        let sum = |test: &dyn Fn(&ParameterSpec) -> bool| {
            wanted.iter().filter(|s| test(s)).map(size).sum::<usize>()
        };
        let total = sum(&|_| true);
        let routed = sum(&|s| s.name.contains(".experts."));
        let embedding = sum(&|s| s.kind == Kind::Embedding);
        let tied = if config.tie_word_embeddings { embedding } else { 0 };
        let chosen = config.moe.as_ref().map_or(0, |m| routed / m.experts * m.top_k);
        let packed = tied + sum(&|s| s.kind == Kind::Matrix && !s.name.ends_with(".mlp.gate.weight"));
        Counts {
            total,
            active: total - embedding + tied - routed + chosen,
            packed,
            embedding,
            plain: total + tied - packed - embedding,
        }
    }

    /// Weights in memory while sampling, in a compute type and an embedding of so many bytes.
    fn to_sample(&self, bytes: usize, table: usize) -> usize {
        bytes * self.packed + table * self.embedding + 4 * self.plain
    }

    /// Weights, gradients and AdamW's two moments in f32, and the matrices packed for the forward and the backward pass;
    /// activations come on top, by the tokens of a micro-batch.
    fn to_train(&self, bytes: usize) -> usize {
        16 * self.total + 2 * bytes * self.packed
    }
}
