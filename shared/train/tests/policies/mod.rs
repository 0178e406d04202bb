//! Tiny random policies of every family, and random batches for them.

use r1_model::random::{Stream, hash};
use r1_model::{Config, LoadOptions, Policy, Precision};
use serde_json::{Value, json};

/// Vocabulary of all of them.
pub const VOCABULARY: u32 = 40;

/// The four families as (name, config.json).
pub fn configs() -> Vec<(&'static str, Value)> {
    let mut all = vec![
        (
            "llama",
            json!({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "num_key_value_heads": 2,
                "rms_norm_eps": 1e-5, "tie_word_embeddings": false, "rope_theta": 10000.0}),
        ),
        (
            "qwen2",
            json!({"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "num_key_value_heads": 2,
                "rms_norm_eps": 1e-6, "tie_word_embeddings": true, "rope_theta": 1000000.0, "use_sliding_window": false}),
        ),
        (
            "qwen3",
            json!({"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "num_key_value_heads": 1, "head_dim": 8,
                "rms_norm_eps": 1e-6, "tie_word_embeddings": true, "rope_theta": 1000000.0, "attention_bias": false}),
        ),
        (
            "deepseek-v3",
            json!({"architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "num_key_value_heads": 4,
                "moe_intermediate_size": 12, "q_lora_rank": 12, "kv_lora_rank": 12, "qk_nope_head_dim": 8,
                "qk_rope_head_dim": 4, "v_head_dim": 8, "n_routed_experts": 8, "n_shared_experts": 1,
                "num_experts_per_tok": 2, "n_group": 2, "topk_group": 1, "first_k_dense_replace": 1, "norm_topk_prob": true,
                "scoring_func": "sigmoid", "topk_method": "noaux_tc", "routed_scaling_factor": 1.5, "rms_norm_eps": 1e-6,
                "rope_theta": 10000.0, "tie_word_embeddings": false, "attention_bias": false}),
        ),
    ];
    for (_, config) in &mut all {
        for (key, value) in [
            ("hidden_size", json!(24)),
            ("intermediate_size", json!(40)),
            ("num_hidden_layers", json!(2)),
            ("num_attention_heads", json!(4)),
            ("vocab_size", json!(VOCABULARY)),
            ("max_position_embeddings", json!(128)),
            ("hidden_act", json!("silu")),
            ("initializer_range", json!(0.25)),
            ("bos_token_id", json!(0)),
            ("eos_token_id", json!(1)),
        ] {
            config[key] = value;
        }
    }
    all
}

/// A policy that computes in f32, its weights drawn from `seed`.
pub fn policy(config: &Value, seed: u64) -> Policy {
    let config = Config::parse(config.clone(), None).unwrap();
    Policy::initialize(config, seed, LoadOptions::trainable(Some(Precision::F32))).unwrap()
}

/// Random token ids.
pub fn ids(name: &str, n: usize) -> Vec<u32> {
    let stream = Stream::of(11, hash(name), 0);
    (0..n as u64).map(|i| (stream.bits(i) % u64::from(VOCABULARY)) as u32).collect()
}
