//! Tiny random reward models of every family against transformers (recipe: scripts/golden/scores.py).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use r1_model::batch::Sequence;
use r1_model::checkpoint::SaveDtype;
use r1_model::config::Head;
use r1_model::network::{Gradients, Recompute};
use r1_model::{LoadOptions, Packed, Policy, Precision};
use safetensors::SafeTensors;

const MODELS: [(&str, &[&str]); 4] = [
    ("llama", &["LABEL_0"]),
    ("qwen2", &["LABEL_0"]),
    ("qwen3", &["good", "fair", "bad"]),
    ("deepseek-v3", &["LABEL_0", "LABEL_1"]),
];

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/scores").join(name)
}

fn golden(name: &str) -> (Vec<Vec<u32>>, BTreeMap<String, Vec<f32>>) {
    let json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder(name).join("golden.json")).unwrap()).unwrap();
    let sequences = serde_json::from_value(json["sequences"].clone()).unwrap();
    let bytes = std::fs::read(folder(name).join("golden.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let values = |data: &[u8]| data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    (sequences, tensors.iter().map(|(k, t)| (k.to_string(), values(t.data()))).collect())
}

fn exact() -> LoadOptions {
    LoadOptions::trainable(Some(Precision::F32))
}

fn largest_difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max)
}

/// Every sequence cut after its first `at` tokens into prompt and completion: where makes no difference.
fn packed(sequences: &[Vec<u32>], at: usize, pad: Option<u32>) -> Packed {
    let cut: Vec<Sequence> =
        sequences.iter().map(|s| Sequence { prompt: &s[..at], completion: &s[at..] }).collect();
    Packed::scored(&cut, pad)
}

#[test]
fn scores_and_gradients_agree_with_transformers() {
    for (name, labels) in MODELS {
        let (sequences, golden) = golden(name);
        let policy = Policy::load_scorer(&folder(name), exact()).unwrap();
        assert_eq!(policy.config.labels(), labels, "{name}");
        let mut all = Vec::new();
        for at in [1, 3, 7] {
            let batch = packed(&sequences, at, policy.config.pad_token_id);
            let scores = policy.scores(&batch).unwrap();
            let d = largest_difference(&scores, &golden["scores"]);
            assert!(d <= 1e-4, "{name}: scores differ by {d:e}");
            all.push(scores);
            for recompute in [Recompute::None, Recompute::Layers] {
                let (again, tape) = policy.forward_scores(&batch, recompute).unwrap();
                assert_eq!(again, all[0], "{name}: one engine");
                let mut grads = Gradients::zeros(&policy).unwrap();
                policy.backward_scores(&batch, tape, &golden["weights"], &mut grads).unwrap();
                let mut seen = 0;
                for (parameter, gradient) in policy.parameters().iter().zip(&grads.values) {
                    for piece in &parameter.pieces {
                        let Some(want) = golden.get(&format!("gradient.{}", piece.name)) else {
                            assert!(
                                piece.name.ends_with("e_score_correction_bias"),
                                "{name}: {}",
                                piece.name
                            );
                            continue;
                        };
                        let scale = want.iter().fold(0f32, |m, x| m.max(x.abs()));
                        let d = largest_difference(&gradient[piece.range()], want);
                        assert!(d <= 1e-3 * scale, "{name}: {}: {d:e} of {scale:e}", piece.name);
                        seen += 1;
                    }
                }
                assert_eq!(seen, golden.keys().filter(|k| k.starts_with("gradient.")).count(), "{name}");
            }
        }
        // Alone or in company, wherever the prompt ends: the same bits.
        assert!(all.iter().all(|scores| *scores == all[0]), "{name}");
        for (i, s) in sequences.iter().enumerate() {
            let alone =
                policy.scores(&packed(std::slice::from_ref(s), 1, policy.config.pad_token_id)).unwrap();
            assert_eq!(alone, all[0][i * labels.len()..(i + 1) * labels.len()], "{name}");
        }
    }
}

#[test]
fn a_reward_model_survives_the_disk_and_is_not_sampled_from() {
    let dir = std::env::temp_dir().join(format!("r1-scores-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let (sequences, _) = golden("deepseek-v3");
    let policy = Policy::load_scorer(&folder("deepseek-v3"), exact()).unwrap();
    std::fs::copy(folder("deepseek-v3").join("config.json"), dir.join("config.json")).unwrap();
    policy.save_weights(&dir, SaveDtype::F32).unwrap();
    let again = Policy::load_scorer(&dir, LoadOptions::frozen(Some(Precision::F32))).unwrap();
    let batch = packed(&sequences, 2, policy.config.pad_token_id);
    assert_eq!(policy.scores(&batch).unwrap(), again.scores(&batch).unwrap());
    let error = Policy::load(&dir, exact()).err().unwrap().to_string();
    assert!(error.contains("config.json") && error.contains("classifier"), "{error}");
    std::fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn any_policy_can_carry_a_fresh_head() {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/checkpoints");
    for name in ["llama", "llama3-rope", "qwen2", "qwen3-moe", "deepseek-v3"] {
        let dir = from.join(name);
        let error = Policy::load_scorer(&dir, exact()).err().unwrap().to_string();
        assert!(error.contains("not a reward model"), "{error}");
        let one = Policy::scorer_on(&dir, &["score"], Some(0), 5, exact()).unwrap();
        let (same, other) = (
            Policy::scorer_on(&dir, &["score"], Some(0), 5, exact()).unwrap(),
            Policy::scorer_on(&dir, &["score"], Some(0), 6, exact()).unwrap(),
        );
        assert_eq!(one.config.head, Head::Score { labels: vec!["score".into()] });
        let kind = one.config.raw["architectures"][0].as_str().unwrap();
        assert!(kind.ends_with("ForSequenceClassification"), "{kind}");
        assert_eq!((one.config.pad_token_id, one.config.raw["pad_token_id"].as_u64()), (Some(0), Some(0)));
        let batch = packed(&[vec![1, 5, 9, 2], vec![1, 7, 2]], 1, Some(0));
        assert_eq!(one.scores(&batch).unwrap(), same.scores(&batch).unwrap());
        assert!(one.scores(&batch).unwrap() != other.scores(&batch).unwrap());
        // The network under it is the policy's.
        let bare = Policy::load(&dir, exact()).unwrap();
        assert_eq!(one.parameters()[0].value, bare.parameters()[0].value, "{name}");
        assert!(one.parameters().iter().all(|p| p.pieces[0].name != "lm_head.weight"));
    }
}
