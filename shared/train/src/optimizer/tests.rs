use r1_model::config::Config;
use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Runs {
    runs: Vec<Run>,
}

#[derive(Deserialize)]
struct Run {
    dtype: String,
    beta1: f64,
    beta2: f64,
    epsilon: f64,
    weight_decay: f64,
    start: Vec<f32>,
    steps: Vec<Expected>,
}

#[derive(Deserialize)]
struct Expected {
    lr: f64,
    gradient: Vec<f32>,
    parameter: Vec<f64>,
    first_moment: Vec<f64>,
    second_moment: Vec<f64>,
}

fn close(what: &str, ours: &[f32], theirs: &[f64]) {
    for (i, (a, b)) in ours.iter().zip(theirs).enumerate() {
        let a = f64::from(*a);
        assert!((a - b).abs() <= 1e-7 + 1e-6 * b.abs(), "{what}[{i}]: {a}, torch {b}");
    }
}

#[test]
fn steps_are_those_of_torch() {
    let text = include_str!("../../../../tests/golden/optimizer/adamw.json");
    let golden: Runs = serde_json::from_str(text).unwrap();
    let mut steps = 0;
    for run in golden.runs.iter().filter(|r| r.dtype == "float32") {
        let mut w = run.start.clone();
        let (mut m, mut v) = (vec![0.0; w.len()], vec![0.0; w.len()]);
        for (i, expected) in run.steps.iter().enumerate() {
            let step = adamw::Step {
                lr: expected.lr,
                beta1: run.beta1,
                beta2: run.beta2,
                eps: run.epsilon,
                weight_decay: run.weight_decay,
                step: i as u64 + 1,
                grad_scale: 1.0,
            };
            adamw::update(&mut w, &expected.gradient, &mut m, &mut v, &step);
            close("parameter", &w, &expected.parameter);
            close("first moment", &m, &expected.first_moment);
            close("second moment", &v, &expected.second_moment);
            steps += 1;
        }
    }
    assert!(steps >= 15);
}

#[derive(Deserialize)]
struct Clips {
    gradients: Vec<Vec<f32>>,
    cases: Vec<Clip>,
}

#[derive(Deserialize)]
struct Clip {
    max_norm: f64,
    grad_norm: f64,
    clipped: Vec<Vec<f64>>,
}

#[test]
fn clipping_is_that_of_torch() {
    let text = include_str!("../../../../tests/golden/optimizer/clip.json");
    let golden: Clips = serde_json::from_str(text).unwrap();
    for case in golden.cases {
        let norm = golden.gradients.iter().map(|g| norm::sum_of_squares(g)).sum::<f64>().sqrt();
        assert!((norm - case.grad_norm).abs() < 1e-6);
        let factor = clip_factor(norm, case.max_norm) as f32;
        for (ours, theirs) in golden.gradients.iter().zip(&case.clipped) {
            close("clipped", &ours.iter().map(|g| g * factor).collect::<Vec<_>>(), theirs);
        }
    }
    assert_eq!(clip_factor(1e9, 0.0), 1.0);
}

/// A policy with every kind of parameter: experts, correction bias, low-rank query.
fn policy() -> Policy {
    let config = serde_json::json!({
        "architectures": ["DeepseekV3ForCausalLM"], "model_type": "deepseek_v3", "hidden_size": 16, "intermediate_size": 24,
        "moe_intermediate_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2,
        "q_lora_rank": 8, "kv_lora_rank": 8, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 8,
        "n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1,
        "first_k_dense_replace": 1, "norm_topk_prob": true, "scoring_func": "sigmoid", "topk_method": "noaux_tc",
        "routed_scaling_factor": 1.5, "vocab_size": 32, "max_position_embeddings": 64, "rms_norm_eps": 1e-6,
        "rope_theta": 10000.0, "tie_word_embeddings": false, "hidden_act": "silu", "attention_bias": false,
        "initializer_range": 0.2, "bos_token_id": 0, "eos_token_id": 1
    });
    let config = Config::parse(config, None).unwrap();
    let options = r1_model::LoadOptions::trainable(Some(r1_model::Precision::F32));
    Policy::initialize(config, 3, options).unwrap()
}

const HYPER: Hyper = Hyper { beta1: 0.9, beta2: 0.95, eps: 1e-8, weight_decay: 0.5, freeze_router: false };

/// Gradients that differ from value to value.
fn gradients(policy: &Policy, scale: f32) -> Gradients {
    let mut gradients = Gradients::zeros(policy).unwrap();
    for (i, g) in gradients.values.iter_mut().enumerate() {
        g.iter_mut().enumerate().for_each(|(j, x)| *x = scale * ((i * 31 + j * 7) % 13) as f32 - 0.5);
    }
    gradients
}

#[test]
fn decay_shrinks_matrices_only_and_the_correction_bias_never_moves() {
    let mut policy = policy();
    let before: Vec<Vec<f32>> = policy.parameters().iter().map(|p| p.value.clone()).collect();
    let nothing = Gradients::zeros(&policy).unwrap();
    AdamW::fresh(&policy, HYPER).step(&mut policy, &nothing, 0.1, 1.0).unwrap();
    for (parameter, before) in policy.parameters().iter().zip(&before) {
        let factor = if parameter.kind == Kind::Matrix { 0.95 } else { 1.0 };
        for (a, b) in parameter.value.iter().zip(before) {
            assert!((a - b * factor).abs() <= 1e-6 * b.abs(), "{}", parameter.pieces[0].name);
        }
    }
    let g = gradients(&policy, 0.3);
    let mut optimizer = AdamW::fresh(&policy, HYPER);
    optimizer.step(&mut policy, &g, 0.1, 1.0).unwrap();
    let correction = policy.parameters().iter().find(|p| p.kind == Kind::CorrectionBias).unwrap();
    assert!(correction.value.iter().all(|b| *b == 0.0));
}

#[test]
fn a_saved_state_goes_on_with_the_same_bits() {
    let dir = tempfile::tempdir().unwrap();
    let (mut a, mut b) = (policy(), policy());
    let mut optimizer = AdamW::fresh(&a, HYPER);
    for step in 0..4 {
        let g = gradients(&a, 0.1 + step as f32);
        optimizer.step(&mut a, &g, 0.01, 0.7).unwrap();
    }
    let mut half = AdamW::fresh(&b, HYPER);
    for step in 0..2 {
        let g = gradients(&b, 0.1 + step as f32);
        half.step(&mut b, &g, 0.01, 0.7).unwrap();
    }
    half.save(&b, dir.path()).unwrap();
    let mut again = AdamW::load(&b, dir.path(), HYPER).unwrap();
    assert_eq!(again.steps(), 2);
    for step in 2..4 {
        let g = gradients(&b, 0.1 + step as f32);
        again.step(&mut b, &g, 0.01, 0.7).unwrap();
    }
    assert_eq!(again.moments, optimizer.moments);
    for (x, y) in a.parameters().iter().zip(b.parameters()) {
        assert!(x.value.iter().zip(&y.value).all(|(x, y)| x.to_bits() == y.to_bits()));
    }
}

#[test]
fn a_broken_state_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let policy = policy();
    let error = |dir: &Path| format!("{:#}", AdamW::load(&policy, dir, HYPER).err().unwrap());
    assert!(error(dir.path()).contains(FILE));
    AdamW::fresh(&policy, HYPER).save(&policy, dir.path()).unwrap();
    let file = dir.path().join(FILE);
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() - 8]).unwrap();
    assert!(error(dir.path()).contains("broken or cut short"));
    save_tensors(&file, &[("x".into(), vec![1], &[1.0])], SaveDtype::F32, &[("step", "3".into())]).unwrap();
    assert!(error(dir.path()).contains("model.embed_tokens.weight.exp_avg is missing"));
    save_tensors(&file, &[("x".into(), vec![1], &[1.0])], SaveDtype::F32, &[]).unwrap();
    assert!(error(dir.path()).contains("no step"));
    let shape = vec![4];
    let wrong = [("model.embed_tokens.weight.exp_avg".to_string(), shape, &[0.0f32; 4][..])];
    save_tensors(&file, &wrong, SaveDtype::F32, &[("step", "3".into())]).unwrap();
    assert!(error(dir.path()).contains("[4]"), "{}", error(dir.path()));
}
