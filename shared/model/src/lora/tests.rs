use serde_json::{Value, json};

use super::saved::settings;
use super::*;
use crate::Precision;
use crate::network::LoadOptions;

fn config(name: &str) -> Config {
    let goldens = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/checkpoints");
    Config::load(&std::path::Path::new(goldens).join(name)).unwrap()
}

fn names(list: &[&str]) -> Vec<String> {
    list.iter().map(|s| s.to_string()).collect()
}

#[test]
fn targets_mean_what_they_mean_to_peft() {
    let dense = config("qwen2");
    let layers = dense.layers;
    let count = |targets: &[&str]| choose(&dense, Some(&names(targets))).unwrap().0.len();
    assert_eq!(count(&["q_proj"]), layers);
    assert_eq!(count(&["self_attn.q_proj", "gate_proj"]), 2 * layers);
    assert_eq!(count(&["model.layers.0.mlp.down_proj"]), 1);
    assert_eq!(count(&["all-linear"]), 7 * layers);
    let (all, leaves) = choose(&dense, None).unwrap();
    assert_eq!((all.len(), leaves.len()), (7 * layers, 7));
    // Written sorted and once, whatever the order on the command line.
    assert_eq!(
        choose(&dense, Some(&names(&["v_proj", "k_proj", "v_proj"]))).unwrap().1,
        ["k_proj", "v_proj"]
    );
    for (target, words) in [
        // a tied head is no tensor of its own
        ("lm_head", "no such projection"),
        ("embed_tokens", "only the layers' projections"),
        ("proj", "no such projection"),
        ("kv_b_proj", "no such projection"),
        ("", "no such projection"),
    ] {
        let text = choose(&dense, Some(&names(&["q_proj", target]))).unwrap_err().to_string();
        assert!(text.contains(words), "{text}");
    }
}

#[test]
fn experts_and_router_are_refused_in_one_line() {
    let moe = config("deepseek-v3");
    for target in ["down_proj", "gate", "experts.0.up_proj", "shared_experts.gate_proj", "all-linear"] {
        let text = choose(&moe, Some(&names(&[target]))).unwrap_err().to_string();
        assert!(text.contains("experts and router of a mixture of experts are not adapted"), "{text}");
    }
    assert_eq!(super::names(&moe), ["kv_a_proj_with_mqa", "kv_b_proj", "o_proj", "q_a_proj", "q_b_proj"]);
    let (modules, _) = choose(&moe, None).unwrap();
    assert!(!modules.is_empty() && modules.iter().all(|m| m.contains(".self_attn.")), "{modules:?}");
}

#[test]
fn a_fresh_adapter_is_pefts_and_depends_on_nothing_but_the_seed() {
    let draw = |targets: &[&str], seed: u64| {
        let options = LoadOptions::adapted(Some(Precision::F32));
        let mut policy = Policy::initialize(config("qwen2"), 1, options).unwrap();
        let (modules, targets) = choose(&policy.config, Some(&names(targets))).unwrap();
        let settings = Settings { rank: 8, alpha: 16.0, rslora: false, targets, dropout: 0.0 };
        initialize(&mut policy, settings, &modules, seed).unwrap();
        let mut all = Vec::new();
        for p in policy.parameters() {
            all.extend(
                p.pieces.iter().map(|s| (s.name.clone(), s.shape.clone(), p.value[s.range()].to_vec())),
            );
        }
        all
    };
    let (one, more) = (draw(&["down_proj"], 3), draw(&["up_proj", "down_proj"], 3));
    for tensor in &one {
        assert!(more.contains(tensor), "{} depends on what else is adapted", tensor.0);
    }
    assert_ne!(one[0].2, draw(&["down_proj"], 4)[0].2);
    for (name, shape, values) in more {
        if name.ends_with("lora_B.weight") {
            assert!(values.iter().all(|v| *v == 0.0) && shape[1] == 8, "{name}");
            continue;
        }
        let bound = 1.0 / (shape[1] as f32).sqrt();
        assert!(shape[0] == 8 && values.iter().all(|v| v.abs() <= bound), "{name}");
        // A uniform distribution: mean 0, variance bound²/3.
        let n = values.len() as f32;
        let (mean, square) = values.iter().fold((0.0, 0.0), |(m, s), v| (m + v / n, s + v * v / n));
        assert!(mean.abs() < 0.1 * bound && (square / (bound * bound / 3.0) - 1.0).abs() < 0.2, "{name}");
    }
}

#[test]
fn the_scale_is_alpha_over_rank_or_its_root() {
    let of = |rslora| Settings { rank: 4, alpha: 6.0, rslora, targets: Vec::new(), dropout: 0.0 }.scale();
    assert_eq!((of(false), of(true)), (1.5, 3.0));
}

#[test]
fn settings_that_are_not_computed_are_refused_by_field() {
    let good = json!({"peft_type": "LORA", "r": 8, "lora_alpha": 16, "bias": "none", "lora_dropout": 0.05,
        "target_modules": ["q_proj"], "use_rslora": true, "megatron_core": "megatron.core", "rank_pattern": {},
        "use_dora": false, "modules_to_save": null, "init_lora_weights": "gaussian", "qalora_group_size": 16,
        "a_field_of_the_future": null});
    let read = settings(&good).unwrap();
    assert_eq!((read.rank, read.alpha, read.rslora, read.dropout), (8, 16.0, true, 0.05));
    for (field, value, words) in [
        ("peft_type", json!("IA3"), "only LORA is read"),
        ("r", json!(0), "a rank of 1 or more"),
        ("r", Value::Null, "r: null"),
        ("lora_alpha", json!("16"), "expected a number"),
        ("bias", json!("all"), "bias: \"all\" is not computed here"),
        ("use_dora", json!(true), "use_dora: true is not computed here"),
        ("rank_pattern", json!({"q_proj": 4}), "rank_pattern"),
        ("modules_to_save", json!(["lm_head"]), "modules_to_save"),
        ("target_parameters", json!(["experts.down_proj"]), "target_parameters"),
        ("init_lora_weights", json!("pissa"), "changes the policy under the adapter"),
        ("a_field_of_the_future", json!(1), "a_field_of_the_future: 1 is not computed here"),
    ] {
        let mut bad = good.clone();
        bad[field] = value;
        let text = format!("{:#}", settings(&bad).unwrap_err());
        assert!(text.contains(words) && !text.contains('\n'), "{field}: {text}");
    }
}
