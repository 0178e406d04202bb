//! Configs and checkpoints as transformers writes them: rotary frequencies and scales against its own
//! (`scripts/golden/rope.py`), and every golden checkpoint (`scripts/golden/checkpoints.py`) read, checked and written again.

use std::path::{Path, PathBuf};

use r1_model::checkpoint::{SaveDtype, Tensors, save_tensors};
use r1_model::config::Config;
use r1_model::parameters::specification;
use serde_json::Value;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(name)
}

fn json(path: &Path) -> Value {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_slice(&bytes).unwrap()
}

#[test]
fn frequencies_and_scales_are_transformers() {
    let golden = json(&golden("rope/rope.json"));
    let cases = golden["cases"].as_array().unwrap();
    assert!(cases.len() >= 14);
    for case in cases {
        let name = &case["name"];
        let c = Config::parse(case["config"].clone(), None).unwrap_or_else(|e| panic!("{name}: {e:#}"));
        let wanted: Vec<f64> =
            case["frequencies"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
        assert_eq!(c.rope.inv_freq.len(), wanted.len(), "{name}");
        for (i, (ours, theirs)) in c.rope.inv_freq.iter().zip(&wanted).enumerate() {
            // Theirs are powers in f32: a few units in the last place.
            assert!((ours / theirs - 1.0).abs() < 2e-6, "{name} {i}: {ours} {theirs}");
        }
        let close = |ours: f64, field: &str, tolerance: f64| {
            let theirs = case[field].as_f64().unwrap();
            assert!((ours / theirs - 1.0).abs() < tolerance, "{name} {field}: {ours} {theirs}");
        };
        close(c.rope.attention_factor, "attention_factor", 1e-12);
        close(f64::from(c.attention_scale), "attention_scale", 1e-7);
    }
}

#[test]
fn golden_checkpoints_are_read_checked_and_written_again() {
    let scratch = std::env::temp_dir().join(format!("r1-model-golden-{}", std::process::id()));
    std::fs::create_dir_all(&scratch).unwrap();
    let mut seen = 0;
    for entry in std::fs::read_dir(golden("checkpoints")).unwrap() {
        let dir = entry.unwrap().path();
        if !dir.join("config.json").exists() {
            continue;
        }
        let place = dir.display();
        let config = Config::load(&dir).unwrap();
        // The same config in the words of transformers 4 means the same.
        let generation = json(&dir.join("generation_config.json"));
        let mut legacy = Config::parse(json(&dir.join("config.legacy.json")), Some(&generation)).unwrap();
        legacy.raw = config.raw.clone();
        assert_eq!(format!("{legacy:?}"), format!("{config:?}"), "{place}");

        let tensors = Tensors::open(&dir).unwrap();
        let wanted = specification(&config);
        tensors.check(&wanted, &config).unwrap();
        let values: Vec<Vec<f32>> =
            wanted.iter().map(|s| tensors.read_f32(&s.name, &s.shape).unwrap()).collect();
        let named: Vec<(String, Vec<usize>, &[f32])> = wanted
            .iter()
            .zip(&values)
            .map(|(s, v)| (s.name.clone(), s.shape.clone(), v.as_slice()))
            .collect();
        save_tensors(&scratch.join("model.safetensors"), &named, SaveDtype::F32, &[]).unwrap();
        let again = Tensors::open(&scratch).unwrap();
        again.check(&wanted, &config).unwrap();
        for (spec, value) in wanted.iter().zip(&values) {
            assert_eq!(&again.read_f32(&spec.name, &spec.shape).unwrap(), value, "{place} {}", spec.name);
        }
        seen += 1;
    }
    std::fs::remove_dir_all(scratch).unwrap();
    assert!(seen >= 11, "only {seen} golden checkpoints");
}
