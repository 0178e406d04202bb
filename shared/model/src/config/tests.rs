//! Published configs and the ways they can be wrong. Expected numbers: DeepSeek-R1's scale and YaRN range as the paper's
//! code computes them, Llama 3.1's blend worked out by hand, the rest from `scripts/golden` elsewhere.

use serde_json::{Value, json};

use super::*;

/// DeepSeek-R1's config.json, the fields that matter.
fn deepseek_r1() -> Value {
    json!({
        "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "attention_bias": false,
        "bos_token_id": 0, "eos_token_id": 1, "ep_size": 1, "first_k_dense_replace": 3, "hidden_act": "silu",
        "hidden_size": 7168, "initializer_range": 0.02, "intermediate_size": 18432, "kv_lora_rank": 512,
        "max_position_embeddings": 163840, "moe_intermediate_size": 2048, "moe_layer_freq": 1, "n_group": 8,
        "n_routed_experts": 256, "n_shared_experts": 1, "norm_topk_prob": true, "num_attention_heads": 128,
        "num_experts_per_tok": 8, "num_hidden_layers": 61, "num_key_value_heads": 128,
        "num_nextn_predict_layers": 1, "q_lora_rank": 1536, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
        "quantization_config": {"activation_scheme": "dynamic", "fmt": "e4m3", "quant_method": "fp8",
            "weight_block_size": [128, 128]},
        "rms_norm_eps": 1e-6,
        "rope_scaling": {"type": "yarn", "factor": 40, "beta_fast": 32, "beta_slow": 1, "mscale": 1.0,
            "mscale_all_dim": 1.0, "original_max_position_embeddings": 4096},
        "rope_theta": 10000, "routed_scaling_factor": 2.5, "scoring_func": "sigmoid",
        "tie_word_embeddings": false, "topk_group": 4, "topk_method": "noaux_tc", "torch_dtype": "bfloat16",
        "v_head_dim": 128, "vocab_size": 129280
    })
}

fn qwen2() -> Value {
    json!({
        "architectures": ["Qwen2ForCausalLM"], "bos_token_id": 151643, "eos_token_id": 151643, "hidden_act": "silu",
        "hidden_size": 1536, "initializer_range": 0.02, "intermediate_size": 8960,
        "max_position_embeddings": 131072, "max_window_layers": 21, "num_attention_heads": 12,
        "num_hidden_layers": 28, "num_key_value_heads": 2, "rms_norm_eps": 1e-6, "rope_theta": 10000,
        "sliding_window": 4096, "tie_word_embeddings": false, "use_sliding_window": false, "vocab_size": 151936
    })
}

fn llama31() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "attention_bias": false, "attention_dropout": 0.0,
        "bos_token_id": 128000, "eos_token_id": [128001, 128008, 128009], "hidden_act": "silu",
        "hidden_size": 4096, "intermediate_size": 14336, "max_position_embeddings": 131072, "mlp_bias": false,
        "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8, "rms_norm_eps": 1e-5,
        "rope_scaling": {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192, "rope_type": "llama3"},
        "rope_theta": 500000.0, "vocab_size": 128256
    })
}

fn with(mut config: Value, field: &str, value: Value) -> Value {
    config[field] = value;
    config
}

fn without(mut config: Value, field: &str) -> Value {
    config.as_object_mut().unwrap().remove(field);
    config
}

fn error(config: Value) -> String {
    format!("{:#}", Config::parse(config, None).unwrap_err())
}

#[test]
fn deepseek_r1_is_read() {
    let c = Config::parse(deepseek_r1(), None).unwrap();
    assert_eq!(c.architecture, Architecture::DeepseekV3);
    assert_eq!((c.dk(), c.dv(), c.kv_heads()), (192, 128, 128));
    assert_eq!((c.is_moe(2), c.is_moe(3)), (false, true));
    assert_eq!(c.eos_token_ids, [1]);
    // 192^-1/2 × (0.1 ln 40 + 1)²
    assert!((f64::from(c.attention_scale) - 0.135_233_8).abs() < 1e-7, "{}", c.attention_scale);
    assert_eq!(c.rope.attention_factor, 1.0);
    assert_eq!(c.rope.pairing, Pairing::Interleaved);
    // YaRN's ramp runs over dimensions 10..23: the first keep their frequency, the last have 1/40 of it.
    let plain = |i: usize| 10_000f64.powf(-2.0 * i as f64 / 64.0);
    assert_eq!(c.rope.inv_freq.len(), 32);
    for i in 0..=10 {
        assert!((c.rope.inv_freq[i] / plain(i) - 1.0).abs() < 1e-12, "{i}");
    }
    for i in 23..32 {
        assert!((c.rope.inv_freq[i] * 40.0 / plain(i) - 1.0).abs() < 1e-12, "{i}");
    }
    let half = plain(16) * (1.0 - 6.0 / 13.0) + plain(16) / 40.0 * (6.0 / 13.0);
    assert!((c.rope.inv_freq[16] / half - 1.0).abs() < 1e-12);
    let moe = c.moe.unwrap();
    assert_eq!((moe.experts, moe.top_k, moe.groups, moe.top_groups), (256, 8, 8, 4));
    assert_eq!(moe.scoring, Scoring::Sigmoid);
}

#[test]
fn moonlight_has_a_plain_query_and_no_scaling() {
    let mut config = without(without(deepseek_r1(), "rope_scaling"), "quantization_config");
    config["q_lora_rank"] = Value::Null;
    let c = Config::parse(config, None).unwrap();
    assert!(matches!(c.attention, Attention::Mla { q_lora_rank: None, .. }));
    assert!((c.attention_scale - 192f32.powf(-0.5)).abs() < 1e-8);
}

#[test]
fn both_spellings_of_rope_agree() {
    let old = Config::parse(llama31(), None).unwrap();
    let mut config = without(without(llama31(), "rope_scaling"), "rope_theta");
    config["rope_parameters"] = json!({"rope_theta": 500000.0, "rope_type": "llama3", "factor": 8.0,
        "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192});
    let recent = Config::parse(config, None).unwrap();
    assert_eq!(old.rope, recent.rope);

    let mut config = without(without(deepseek_r1(), "rope_scaling"), "rope_theta");
    config["rope_parameters"] = json!({"rope_theta": 10000.0, "rope_type": "yarn", "factor": 40.0,
        "beta_fast": 32.0, "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0,
        "original_max_position_embeddings": 4096});
    let (recent, old) = (Config::parse(config, None).unwrap(), Config::parse(deepseek_r1(), None).unwrap());
    assert_eq!((old.rope, old.attention_scale), (recent.rope, recent.attention_scale));
}

#[test]
fn llama3_scaling_keeps_short_waves_and_slows_long_ones() {
    let c = Config::parse(llama31(), None).unwrap();
    let plain = |i: usize| 500_000f64.powf(-2.0 * i as f64 / 128.0);
    let mut blended = 0;
    for (i, f) in c.rope.inv_freq.iter().enumerate() {
        let wave = 2.0 * std::f64::consts::PI / plain(i);
        if wave < 2048.0 {
            assert_eq!(*f, plain(i), "{i}");
        } else if wave > 8192.0 {
            assert!((f * 8.0 / plain(i) - 1.0).abs() < 1e-12, "{i}");
        } else {
            assert!(*f < plain(i) && *f > plain(i) / 8.0, "{i}");
            blended += 1;
        }
    }
    assert_eq!(blended, 6);
    // Dimension 32: wave 4442.9, s = (8192/4442.9 - 1)/3 = 0.28128
    assert!((c.rope.inv_freq[32] / (plain(32) * (0.281_28 + 0.718_72 / 8.0)) - 1.0).abs() < 1e-4);
}

#[test]
fn yarn_without_mscale_scales_cos_and_sin() {
    let mut config = with(qwen2(), "max_position_embeddings", json!(32768));
    config["rope_scaling"] =
        json!({"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768});
    let c = Config::parse(config, None).unwrap();
    assert!((c.rope.attention_factor - (0.1 * 4f64.ln() + 1.0)).abs() < 1e-12);
    assert!((c.attention_scale - 128f32.powf(-0.5)).abs() < 1e-8);
}

#[test]
fn families_differ_where_they_should() {
    let c = Config::parse(qwen2(), None).unwrap();
    assert_eq!(c.attention, Attention::Gqa { kv_heads: 2, head_dim: 128, qkv_bias: true, qk_norm: false });
    let mut qwen3 = with(qwen2(), "architectures", json!(["Qwen3ForCausalLM"]));
    qwen3["attention_bias"] = json!(false);
    let c = Config::parse(with(qwen3.clone(), "head_dim", json!(64)), None).unwrap();
    assert_eq!(c.attention, Attention::Gqa { kv_heads: 2, head_dim: 64, qkv_bias: false, qk_norm: true });
    let mut moe = with(qwen3, "architectures", json!(["Qwen3MoeForCausalLM"]));
    for (k, v) in [
        ("num_experts", json!(128)),
        ("num_experts_per_tok", json!(8)),
        ("moe_intermediate_size", json!(768)),
        ("norm_topk_prob", json!(true)),
        ("decoder_sparse_step", json!(1)),
        ("mlp_only_layers", json!([])),
    ] {
        moe[k] = v;
    }
    let c = Config::parse(moe.clone(), None).unwrap();
    let m = c.moe.unwrap();
    assert_eq!((m.scoring, m.correction_bias, m.shared, m.first_dense), (Scoring::Softmax, false, 0, 0));
    assert!(error(with(moe.clone(), "decoder_sparse_step", json!(2))).contains("decoder_sparse_step"));
    assert!(error(with(moe, "mlp_only_layers", json!([0]))).contains("mlp_only_layers"));
}

/// DeepSeek-V2-Lite's config.json, the fields that differ from V3's.
fn deepseek_v2_lite() -> Value {
    let mut config = without(without(deepseek_r1(), "quantization_config"), "num_nextn_predict_layers");
    for (field, value) in [
        ("architectures", json!(["DeepseekV2ForCausalLM"])),
        ("aux_loss_alpha", json!(0.001)),
        ("first_k_dense_replace", json!(1)),
        ("n_group", json!(1)),
        ("n_routed_experts", json!(64)),
        ("n_shared_experts", json!(2)),
        ("norm_topk_prob", json!(false)),
        ("num_experts_per_tok", json!(6)),
        ("num_attention_heads", json!(16)),
        ("num_key_value_heads", json!(16)),
        ("q_lora_rank", Value::Null),
        ("routed_scaling_factor", json!(1.0)),
        ("scoring_func", json!("softmax")),
        ("seq_aux", json!(true)),
        ("topk_group", json!(1)),
        ("topk_method", json!("greedy")),
    ] {
        config[field] = value;
    }
    config["rope_scaling"]["mscale"] = json!(0.707);
    config["rope_scaling"]["mscale_all_dim"] = json!(0.707);
    config
}

#[test]
fn deepseek_v2_takes_the_best_of_all_or_of_the_best_groups() {
    let c = Config::parse(deepseek_v2_lite(), None).unwrap();
    assert_eq!(c.architecture, Architecture::DeepseekV2);
    assert_eq!(c.rope.attention_factor, 1.0);
    // 192^-1/2 × (0.0707 ln 40 + 1)²
    assert!((f64::from(c.attention_scale) - 0.114_721_4).abs() < 1e-6, "{}", c.attention_scale);
    let m = c.moe.unwrap();
    assert_eq!((m.scoring, m.groups, m.top_groups, m.correction_bias), (Scoring::Softmax, 1, 1, false));
    let mut grouped = with(deepseek_v2_lite(), "topk_method", json!("group_limited_greedy"));
    (grouped["n_group"], grouped["topk_group"]) = (json!(8), json!(3));
    grouped["routed_scaling_factor"] = json!(16.0);
    let m = Config::parse(grouped, None).unwrap().moe.unwrap();
    assert_eq!((m.groups, m.top_groups, m.routed_scaling), (8, 3, 16.0));
    for (field, value) in [
        ("norm_topk_prob", json!(true)),
        ("topk_method", json!("noaux_tc")),
        ("scoring_func", json!("sigmoid")),
        ("rope_interleave", json!(false)),
    ] {
        assert!(error(with(deepseek_v2_lite(), field, value)).contains(field), "{field}");
    }
}

#[test]
fn a_window_bounds_the_context() {
    let mistral = with(llama31(), "architectures", json!(["MistralForCausalLM"]));
    let mistral = without(mistral, "rope_scaling");
    let context = |c: Value| Config::parse(c, None).unwrap().max_position_embeddings;
    assert_eq!(context(with(mistral.clone(), "sliding_window", json!(1024))), 1024);
    assert_eq!(context(with(mistral.clone(), "sliding_window", Value::Null)), 131_072);
    assert_eq!(context(mistral), 4096);
    assert_eq!(context(qwen2()), 131_072);
    assert_eq!(context(with(qwen2(), "use_sliding_window", json!(true))), 4096);
    let layers = with(qwen2(), "layer_types", json!(["full_attention", "sliding_attention"]));
    assert_eq!(context(layers), 4096);
}

#[test]
fn generation_config_goes_before_config() {
    let generation = json!({"bos_token_id": 151646, "eos_token_id": [151643, 151645]});
    let c = Config::parse(qwen2(), Some(&generation)).unwrap();
    assert_eq!((c.bos_token_id, c.eos_token_ids), (Some(151646), vec![151643, 151645]));
    let generation = json!({"temperature": 0.6});
    let c = Config::parse(qwen2(), Some(&generation)).unwrap();
    assert_eq!((c.bos_token_id, c.eos_token_ids), (Some(151643), vec![151643]));
}

#[test]
fn what_is_not_computed_is_refused_by_name() {
    for (config, field, value) in [
        (qwen2(), "hidden_act", json!("gelu")),
        (without(qwen2(), "sliding_window"), "use_sliding_window", json!(true)),
        (qwen2(), "layer_types", json!(["full_attention", "chunked_attention"])),
        (qwen2(), "sliding_windows", json!(4096)),
        (llama31(), "final_logit_softcapping", json!(30.0)),
        (llama31(), "query_pre_attn_scalar", json!(256)),
        (llama31(), "max_position_embeddings", json!(16_777_215)),
        (llama31(), "attention_bias", json!(true)),
        (llama31(), "mlp_bias", json!(true)),
        (llama31(), "quantization_config", json!({"quant_method": "gptq"})),
        (llama31(), "rope_scaling", json!({"rope_type": "longrope", "factor": 4.0})),
        (llama31(), "rope_scaling", json!({"type": "dynamic", "factor": 4.0})),
        (llama31(), "rope_scaling", json!({"factor": 4.0})),
        (llama31(), "rope_scaling", json!({"type": "linear"})),
        (llama31(), "rope_scaling", json!("linear")),
        (llama31(), "partial_rotary_factor", json!(0.5)),
        (llama31(), "rope_theta", json!(-1.0)),
        (llama31(), "architectures", json!(["MixtralForCausalLM"])),
        (llama31(), "architectures", json!(7)),
        (llama31(), "hidden_size", json!("4096")),
        (llama31(), "hidden_size", json!(-4096)),
        (llama31(), "hidden_size", json!(1e300)),
        (llama31(), "num_hidden_layers", json!(0)),
        (llama31(), "num_hidden_layers", json!(5_000_000)),
        (llama31(), "num_key_value_heads", json!(7)),
        (llama31(), "num_key_value_heads", json!(0)),
        (llama31(), "num_attention_heads", json!(7)),
        (llama31(), "eos_token_id", json!(128256)),
        (llama31(), "eos_token_id", json!("</s>")),
        (llama31(), "bos_token_id", json!(999999)),
        (llama31(), "tie_word_embeddings", json!("yes")),
        (deepseek_r1(), "topk_method", json!("group_limited_greedy")),
        (deepseek_r1(), "scoring_func", json!("softmax")),
        (deepseek_r1(), "moe_layer_freq", json!(2)),
        (deepseek_r1(), "n_group", json!(7)),
        (deepseek_r1(), "topk_group", json!(9)),
        (deepseek_r1(), "num_experts_per_tok", json!(129)),
        (deepseek_r1(), "num_key_value_heads", json!(64)),
        (deepseek_r1(), "qk_rope_head_dim", json!(63)),
    ] {
        let shown = error(with(config, field, value.clone()));
        let named = match field {
            "num_attention_heads" => "num_key_value_heads",
            "qk_rope_head_dim" => "rotated size",
            "use_sliding_window" => "sliding_window",
            other => other,
        };
        assert!(shown.contains(named), "{field} = {value}: {shown}");
        assert!(!shown.contains('\n'));
    }
    for (config, field) in [
        (llama31(), "architectures"),
        (llama31(), "vocab_size"),
        (llama31(), "hidden_size"),
        (llama31(), "max_position_embeddings"),
        (llama31(), "intermediate_size"),
        (deepseek_r1(), "kv_lora_rank"),
        (deepseek_r1(), "norm_topk_prob"),
        (deepseek_r1(), "routed_scaling_factor"),
        (deepseek_r1(), "n_group"),
    ] {
        let shown = error(without(config, field));
        assert!(shown.contains(field) && shown.contains("missing"), "{field}: {shown}");
    }
    assert!(error(json!([1])).contains("expected a JSON object"));
}

#[test]
fn a_directory_without_a_readable_config_is_named() {
    let dir = std::env::temp_dir().join(format!("r1-config-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let show = |e: anyhow::Error| format!("{e:#}");
    assert!(show(Config::load(&dir).unwrap_err()).contains("config.json: No such file"));
    std::fs::write(dir.join("config.json"), "{\"a\": 1,\n oops}").unwrap();
    let shown = show(Config::load(&dir).unwrap_err());
    assert!(shown.contains("config.json: not JSON") && shown.contains("line 2"), "{shown}");
    std::fs::write(dir.join("config.json"), without(llama31(), "vocab_size").to_string()).unwrap();
    assert!(show(Config::load(&dir).unwrap_err()).ends_with("config.json: vocab_size: the field is missing"));
    std::fs::write(dir.join("config.json"), llama31().to_string()).unwrap();
    assert_eq!(Config::load(&dir).unwrap().raw, llama31());
    std::fs::remove_dir_all(&dir).unwrap();
}
