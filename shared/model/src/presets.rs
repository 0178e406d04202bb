//! Small networks to start from nothing: one like the paper's policy, one like each of its families of students.

use anyhow::{Result, bail};
use serde_json::{Value, json};

use crate::config::Config;
use crate::tokenizer::Tokenizer;

/// A shape to start from.
pub struct Preset {
    /// its name
    pub name: &'static str,
    /// what it is
    pub about: &'static str,
    /// parameters, with a tokenizer of 1024 tokens
    pub parameters: usize,
    /// of them used for one token
    pub active: usize,
}

/// All presets.
pub const PRESETS: [Preset; 3] = [
    Preset {
        name: "r1-tiny",
        about: "DeepSeek-V3-shaped: latent attention, 4 experts of which 2 and a shared one work on a token",
        parameters: 2_754_476,
        active: 1_853_356,
    },
    Preset { name: "qwen-tiny", about: "Qwen2-shaped student", parameters: 919_680, active: 919_680 },
    Preset { name: "llama-tiny", about: "Llama-shaped student", parameters: 918_656, active: 918_656 },
];

/// The presets as `--help` shows them: parameters, those of one token, FLOPs a token of a forward pass (2 a parameter; a
/// training step takes three times as many), memory to sample and to train in f32. With 1024 tokens; more add rows to the
/// embedding and the head.
pub fn table() -> String {
    let mut text =
        String::from("Presets, with 1024 tokens:  parameters  active  FLOPs/token  to sample  to train\n");
    for p in &PRESETS {
        let millions = |n: usize| format!("{:.2} M", n as f64 / 1e6);
        // Embedding (and tied head) stand beside the packed matrices; training holds weights, gradients, two moments and both
        // packings.
        let megabytes = |bytes: usize| format!("{:.0} MB", bytes as f64 / 1e6);
        text += &format!(
            "  {:<12}              {:>10}  {:>6}  {:>11}  {:>9}  {:>8}\n    {}\n",
            p.name,
            millions(p.parameters),
            millions(p.active).trim_end_matches(" M"),
            millions(2 * p.active),
            megabytes(4 * p.parameters),
            megabytes(24 * p.parameters),
            p.about,
        );
    }
    text
}

/// Longest sequence of every preset, in tokens.
pub const CONTEXT: usize = 2048;

/// `config.json` of a preset for a tokenizer, checked.
///
/// # Errors
/// An unknown name.
pub fn config(name: &str, tokenizer: &Tokenizer) -> Result<Config> {
    let mut raw = match name {
        "r1-tiny" => deepseek(),
        "qwen-tiny" => dense("Qwen2ForCausalLM", "qwen2"),
        "llama-tiny" => dense("LlamaForCausalLM", "llama"),
        other => {
            let names = PRESETS.map(|preset| preset.name);
            bail!("{other:?} is not a preset; there are {}", names.join(", "))
        }
    };
    raw["vocab_size"] = tokenizer.vocab_size().into();
    let roles = [
        ("bos_token_id", tokenizer.bos()),
        ("eos_token_id", tokenizer.eos()),
        ("pad_token_id", tokenizer.pad()),
    ];
    for (field, token) in roles {
        raw[field] = token.map(|t| t.id).into();
    }
    Config::parse(raw, None)
}

/// `generation_config.json` that goes with a preset's config: sampling as the paper does it.
pub fn generation_config(config: &Config) -> Value {
    let mut generation = json!({"do_sample": true, "temperature": 1.0, "top_p": 1.0});
    for field in ["bos_token_id", "eos_token_id", "pad_token_id"] {
        if !config.raw[field].is_null() {
            generation[field] = config.raw[field].clone();
        }
    }
    generation
}

/// DeepSeek-V3's parts in small: one dense layer, then four experts in two groups of which a token may use one. Few and
/// wide experts, because on a corpus this small each needs enough tokens to learn from.
fn deepseek() -> Value {
    json!({
        "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3",
        "hidden_size": 160, "intermediate_size": 512, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 4,
        "q_lora_rank": 96, "kv_lora_rank": 64, "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 32,
        "first_k_dense_replace": 1, "moe_layer_freq": 1, "moe_intermediate_size": 256,
        "n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1, "n_group": 2, "topk_group": 1,
        "topk_method": "noaux_tc", "scoring_func": "sigmoid", "norm_topk_prob": true, "routed_scaling_factor": 1.0,
        "num_nextn_predict_layers": 0, "attention_bias": false, "attention_dropout": 0.0, "hidden_act": "silu",
        "initializer_range": 0.05, "max_position_embeddings": 2048, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
        "rope_interleave": true, "tie_word_embeddings": false, "use_cache": true
    })
}

fn dense(architecture: &str, model_type: &str) -> Value {
    json!({
        "architectures": [architecture], "model_type": model_type,
        "hidden_size": 128, "intermediate_size": 384, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 2, "attention_dropout": 0.0, "hidden_act": "silu",
        "initializer_range": 0.06, "max_position_embeddings": CONTEXT, "rms_norm_eps": 1e-6, "rope_theta": 10000.0,
        "tie_word_embeddings": true, "use_cache": true
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parameters::{Kind, specification};
    use crate::tokenizer::train;

    #[test]
    fn sizes_are_what_they_are_said_to_be() {
        let words: String = (0..4000).map(|i| format!("word{} ", (i * 7919) % 1500)).collect();
        let tokenizer = train([words.as_str()], 1024, 2048).unwrap().build().unwrap();
        let count = |name: &str| -> (usize, usize) {
            let mut raw = config(name, &tokenizer).unwrap().raw;
            raw["vocab_size"] = 1024.into();
            let c = Config::parse(raw, None).unwrap();
            let all = specification(&c);
            let size = |s: &crate::parameters::ParameterSpec| s.shape.iter().product::<usize>();
            let total = all.iter().map(size).sum();
            // Per token: no embedding table, and of the routed experts only those chosen.
            let idle = |s: &&crate::parameters::ParameterSpec| {
                (s.kind == Kind::Embedding && !c.tie_word_embeddings) || s.name.contains(".experts.")
            };
            let mut active = total - all.iter().filter(idle).map(size).sum::<usize>();
            if let Some(m) = &c.moe {
                active += (c.layers - m.first_dense) * m.top_k * 3 * m.intermediate * c.hidden_size;
            }
            (total, active)
        };
        for preset in &PRESETS {
            assert_eq!(count(preset.name), (preset.parameters, preset.active), "{}", preset.name);
        }
        assert!(
            config("r1-huge", &tokenizer).unwrap_err().to_string().contains("there are r1-tiny, qwen-tiny")
        );
        let c = config("r1-tiny", &tokenizer).unwrap();
        assert_eq!(generation_config(&c)["eos_token_id"], tokenizer.eos().unwrap().id);
        assert_eq!(c.eos_token_ids, [tokenizer.eos().unwrap().id]);
    }
}
