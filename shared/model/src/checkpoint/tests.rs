//! Round trips, and every way a weight file can be broken.

use std::fs;

use half::{bf16, f16};
use serde_json::{Value, json};

use super::*;
use crate::parameters::Kind;

/// A fresh directory below the system's temporary directory, removed when the test ends.
struct Scratch(PathBuf);

impl Scratch {
    fn of(name: &str) -> Scratch {
        let path = std::env::temp_dir().join(format!("r1-checkpoint-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    fn weights(&self) -> PathBuf {
        self.0.join(WEIGHTS)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn named(name: &str, shape: &[usize], values: &'static [f32]) -> (String, Vec<usize>, &'static [f32]) {
    (name.into(), shape.to_vec(), values)
}

/// Writes a file by hand from a header and its tensors' bytes.
fn raw(path: &Path, header: &Value, body: &[u8]) {
    let header = header.to_string();
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend(body);
    fs::write(path, bytes).unwrap();
}

fn shown<T: std::fmt::Debug>(result: Result<T>) -> String {
    let text = format!("{:#}", result.unwrap_err());
    assert!(!text.contains('\n'), "{text}");
    text
}

#[test]
fn saved_tensors_come_back() {
    let scratch = Scratch::of("round");
    let tensors = [
        named("b.weight", &[2, 3], &[1.0, -2.5, 3.25, 0.1, f32::MIN_POSITIVE, -0.0]),
        named("a.weight", &[1], &[7.0]),
        named("mlp.gate.e_score_correction_bias", &[1], &[0.1]),
        named("empty", &[0, 4], &[]),
    ];
    save_tensors(&scratch.weights(), &tensors, SaveDtype::F32, &[("step", "12".into())]).unwrap();
    let first = fs::read(scratch.weights()).unwrap();
    let read = Tensors::open(&scratch.0).unwrap();
    assert_eq!(
        read.names().collect::<Vec<_>>(),
        ["a.weight", "b.weight", "empty", "mlp.gate.e_score_correction_bias"]
    );
    for (name, shape, values) in &tensors {
        let back = read.read_f32(name, shape).unwrap();
        assert_eq!(
            back.iter().map(|x| x.to_bits()).collect::<Vec<_>>(),
            values.iter().map(|x| x.to_bits()).collect::<Vec<_>>()
        );
    }
    let hash = sha256_of_weights(&scratch.0).unwrap();
    assert!(hash.starts_with("sha256:") && hash.len() == 7 + 64);

    // The same values in another order and with a kill's leftovers around give the same bytes.
    let mut turned = tensors.to_vec();
    turned.reverse();
    save_tensors(&scratch.weights(), &turned, SaveDtype::F32, &[("step", "12".into())]).unwrap();
    assert_eq!(fs::read(scratch.weights()).unwrap(), first);
    assert_eq!(sha256_of_weights(&scratch.0).unwrap(), hash);

    save_tensors(&scratch.weights(), &tensors, SaveDtype::Bf16, &[]).unwrap();
    let read = Tensors::open(&scratch.0).unwrap();
    let back = read.read_f32("b.weight", &[2, 3]).unwrap();
    assert_eq!(back[3], bf16::from_f32(0.1).to_f32());
    assert_eq!(read.read_f32("mlp.gate.e_score_correction_bias", &[1]).unwrap(), [0.1]);
    assert_eq!(read.dtype("b.weight").as_deref(), Some("BF16"));
}

#[test]
fn values_that_are_not_finite_are_neither_saved_nor_read() {
    let scratch = Scratch::of("nan");
    let good = [named("w", &[2], &[1.0, 2.0])];
    save_tensors(&scratch.weights(), &good, SaveDtype::F32, &[]).unwrap();
    for (bad, dtype) in [
        (named("w", &[2], &[1.0, f32::NAN]), SaveDtype::F32),
        (named("w", &[2], &[1.0, f32::NEG_INFINITY]), SaveDtype::Bf16),
        // finite in f32, infinite once rounded
        (named("w", &[2], &[1.0, f32::MAX]), SaveDtype::Bf16),
    ] {
        let text = shown(save_tensors(&scratch.weights(), &[bad], dtype, &[]));
        assert!(text.contains("tensor w holds"), "{text}");
    }
    // The good file is still there, and nothing beside it.
    assert_eq!(Tensors::open(&scratch.0).unwrap().read_f32("w", &[2]).unwrap(), [1.0, 2.0]);
    assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 1);

    let mut body = vec![0u8; 24];
    body[16..20].copy_from_slice(&f32::NAN.to_le_bytes());
    raw(&scratch.weights(), &json!({"w": {"dtype": "F32", "shape": [3, 2], "data_offsets": [0, 24]}}), &body);
    let text = shown(Tensors::open(&scratch.0).unwrap().read_f32("w", &[3, 2]));
    assert!(text.contains("model.safetensors: tensor w holds NaN at [2, 0]"), "{text}");
}

#[test]
fn tensors_that_do_not_fit_their_shape_are_not_saved() {
    let scratch = Scratch::of("shape");
    let text = shown(save_tensors(&scratch.weights(), &[named("w", &[3], &[1.0, 2.0])], SaveDtype::F32, &[]));
    assert!(text.contains("tensor w: 2 values do not fill shape [3]"), "{text}");
    let twice = [named("w", &[1], &[1.0]), named("w", &[1], &[1.0])];
    assert!(shown(save_tensors(&scratch.weights(), &twice, SaveDtype::F32, &[])).contains("given twice"));
}

#[test]
fn broken_files_are_described() {
    let scratch = Scratch::of("broken");
    let path = scratch.weights();
    let open = || shown(Tensors::open(&scratch.0));
    assert!(open().contains("has neither model.safetensors nor"));
    for (bytes, expected) in [
        (vec![], "the file is empty"),
        (vec![1, 2, 3], "3 bytes are too few for a header"),
        (b"\x05\0\0\0\0\0\0\0{}".to_vec(), "the header says it has 5 bytes, the file has 10"),
        (b"\xff\xff\xff\xff\xff\xff\xff\xff{}".to_vec(), "not a safetensors file"),
        (b"\x02\0\0\0\0\0\0\0{]".to_vec(), "invalid JSON in header"),
        (b"\x02\0\0\0\0\0\0\0\xff\xff".to_vec(), "UTF-8"),
        (b"version https://git-lfs.github.com/spec/v1".to_vec(), "not a safetensors file"),
    ] {
        fs::write(&path, bytes).unwrap();
        let text = open();
        assert!(text.contains(expected) && text.contains("model.safetensors: "), "{text}");
    }
    let f32s = |shape: Value, from: u64, to: u64| json!({"dtype": "F32", "shape": shape, "data_offsets": [from, to]});
    for (header, body, expected) in [
        (json!({"a": f32s(json!([2]), 0, 8), "b": f32s(json!([2]), 4, 12)}), 12, "overlap"),
        (json!({"a": f32s(json!([2]), 0, 8), "b": f32s(json!([2]), 12, 20)}), 20, "leave a gap"),
        (json!({"a": f32s(json!([2]), 8, 0)}), 8, "tensor a"),
        (json!({"a": f32s(json!([3]), 0, 8)}), 8, "do not fit its shape"),
        (json!({"a": f32s(json!([u64::MAX, 8]), 0, 8)}), 8, "overflow"),
        (json!({"a": f32s(json!([2]), 0, 8)}), 7, "cut short"),
        (json!({"a": f32s(json!([2]), 0, 8)}), 9, "its header describes"),
        (json!({"a": {"dtype": "Q9", "shape": [2], "data_offsets": [0, 8]}}), 8, "invalid JSON in header"),
        (json!({"a": 7}), 0, "invalid JSON in header"),
    ] {
        raw(&path, &header, &vec![0; body]);
        let text = open();
        assert!(text.contains(expected), "{header}: {text}");
    }
    // Cut anywhere, a good file is refused and never a panic.
    save_tensors(&path, &[named("w", &[2, 2], &[1.0, 2.0, 3.0, 4.0])], SaveDtype::F32, &[]).unwrap();
    let whole = fs::read(&path).unwrap();
    for cut in 0..whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        open();
    }
    // One bit turned: read or refused, never a panic.
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, bytes).unwrap();
        let _ = Tensors::open(&scratch.0).and_then(|t| t.read_f32("w", &[2, 2]));
    }
}

fn tiny_config(changes: &[(&str, Value)]) -> Config {
    let mut c = json!({"architectures": ["LlamaForCausalLM"], "vocab_size": 3, "hidden_size": 2,
        "intermediate_size": 2, "num_hidden_layers": 1, "num_attention_heads": 1, "max_position_embeddings": 8});
    for (k, v) in changes {
        c[*k] = v.clone();
    }
    Config::parse(c, None).unwrap()
}

#[test]
fn a_checkpoint_is_held_against_its_config() {
    let scratch = Scratch::of("check");
    let config = tiny_config(&[]);
    let specification = crate::parameters::specification(&config);
    let zeros = [0f32; 64];
    let tensors = || -> Vec<(String, Vec<usize>, &[f32])> {
        specification
            .iter()
            .map(|s| (s.name.clone(), s.shape.clone(), &zeros[..s.shape.iter().product::<usize>()]))
            .collect()
    };
    let check = |tensors: &[(String, Vec<usize>, &[f32])], config: &Config| {
        save_tensors(&scratch.weights(), tensors, SaveDtype::F32, &[]).unwrap();
        Tensors::open(&scratch.0).unwrap().check(&crate::parameters::specification(config), config)
    };
    check(&tensors(), &config).unwrap();

    let mut missing = tensors();
    let lost = missing.remove(3).0;
    assert!(
        shown(check(&missing, &config)).ends_with(&format!("model.safetensors: tensor {lost} is missing"))
    );

    let mut misshapen = tensors();
    misshapen[0].1 = vec![2, 3];
    let text = shown(check(&misshapen, &config));
    assert!(
        text.contains("model.embed_tokens.weight has shape [2, 3], config.json asks for [3, 2]"),
        "{text}"
    );

    let mut allowed = tensors();
    allowed.push(("model.layers.0.self_attn.rotary_emb.inv_freq".into(), vec![1], &zeros[..1]));
    allowed.push(("model.layers.1.eh_proj.weight".into(), vec![1], &zeros[..1]));
    check(&allowed, &config).unwrap();

    let mut extra = tensors();
    for i in 0..5 {
        extra.push((format!("model.layers.0.self_attn.lora_{i}"), vec![1], &zeros[..1]));
    }
    let text = shown(check(&extra, &config));
    assert!(text.contains("lora_0, ") && text.ends_with("lora_2 and 2 more"), "{text}");

    // Tied: the head may be on disk, and is ignored.
    check(&tensors(), &tiny_config(&[("tie_word_embeddings", json!(true))])).unwrap();
    let text = shown(Tensors::open(&scratch.0).unwrap().read_f32("lm_head.weight", &[9, 9]));
    assert!(text.contains("has shape [3, 2], config.json asks for [9, 9]"), "{text}");
    assert!(
        shown(Tensors::open(&scratch.0).unwrap().read_f32("nowhere", &[1]))
            .contains("tensor nowhere is missing")
    );
}

#[test]
fn integer_tensors_are_not_weights() {
    let scratch = Scratch::of("integer");
    raw(&scratch.weights(), &json!({"w": {"dtype": "I32", "shape": [2], "data_offsets": [0, 8]}}), &[0; 8]);
    let tensors = Tensors::open(&scratch.0).unwrap();
    assert!(shown(tensors.read_f32("w", &[2])).contains("tensor w has type I32, which is not read"));
    let wanted = ParameterSpec { name: "w".into(), shape: vec![2], kind: Kind::Norm };
    assert!(shown(tensors.check(&[wanted], &tiny_config(&[]))).contains("type I32"));
}

#[test]
fn half_precision_and_fp8_values_are_exact() {
    let scratch = Scratch::of("half");
    let values = [0.0f32, 1.0, -1.5, 65504.0, 6.1e-5, 0.333_251_95];
    let body: Vec<u8> = values.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect();
    raw(&scratch.weights(), &json!({"w": {"dtype": "F16", "shape": [6], "data_offsets": [0, 12]}}), &body);
    let read = Tensors::open(&scratch.0).unwrap().read_f32("w", &[6]).unwrap();
    assert_eq!(read, values.map(|x| f16::from_f32(x).to_f32()));

    // Landmarks of e4m3fn: largest, smallest normal, smallest subnormal, one.
    for (byte, value) in
        [(0x7E, 448.0), (0x08, 0.015625), (0x01, 0.001953125), (0x38, 1.0), (0xC0, -2.0), (0x80, 0.0)]
    {
        assert_eq!(decode::e4m3(byte), value, "{byte:#x}");
    }
    assert!(decode::e4m3(0x7F).is_nan() && decode::e4m3(0xFF).is_nan());
}

#[test]
fn fp8_blocks_use_their_own_scale_also_at_the_edge() {
    let scratch = Scratch::of("fp8");
    let (rows, columns) = (130, 300);
    let scales: Vec<f32> = (0..6).map(|i| 0.5 + i as f32).collect();
    let mut body = vec![0x38u8; rows * columns];
    body.extend(scales.iter().flat_map(|s| s.to_le_bytes()));
    let end = rows * columns;
    let header = |shape: Value| {
        json!({"w.weight": {"dtype": "F8_E4M3", "shape": [rows, columns], "data_offsets": [0, end]},
            "w.weight_scale_inv": {"dtype": "F32", "shape": shape, "data_offsets": [end, end + 24]}})
    };
    raw(&scratch.weights(), &header(json!([2, 3])), &body);
    let read = Tensors::open(&scratch.0).unwrap().read_f32("w.weight", &[rows, columns]).unwrap();
    for (r, c) in [(0, 0), (127, 127), (127, 128), (128, 0), (129, 299), (0, 256)] {
        assert_eq!(read[r * columns + c], scales[r / 128 * 3 + c / 128], "{r} {c}");
    }
    raw(&scratch.weights(), &header(json!([3, 2])), &body);
    let text = shown(Tensors::open(&scratch.0).unwrap().read_f32("w.weight", &[rows, columns]));
    assert!(text.contains("w.weight_scale_inv has shape [3, 2]"), "{text}");
}

#[test]
fn shards_are_found_through_their_index() {
    let scratch = Scratch::of("shards");
    let (one, two) = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors");
    save_tensors(&scratch.0.join(one), &[named("a", &[1], &[1.0])], SaveDtype::F32, &[]).unwrap();
    save_tensors(&scratch.0.join(two), &[named("b", &[1], &[2.0])], SaveDtype::F32, &[]).unwrap();
    let index =
        |map: Value| fs::write(scratch.0.join(INDEX), json!({"weight_map": map}).to_string()).unwrap();
    index(json!({"a": one, "b": two}));
    let tensors = Tensors::open(&scratch.0).unwrap();
    assert_eq!(tensors.read_f32("b", &[1]).unwrap(), [2.0]);
    assert!(sha256_of_weights(&scratch.0).unwrap().starts_with("sha256:"));
    for (map, expected) in [
        (json!({"a": two, "b": two}), "does not hold tensor a"),
        (json!({"a": one, "b": two, "c": two}), "does not hold tensor c"),
        (json!({"a": one}), "No such tensor"),
        (json!({"a": one, "b": "model-3.safetensors"}), "No such file"),
        (json!({"a": one, "b": "../secret.safetensors"}), "is not a file name"),
        (json!({"a": one, "b": 7}), "is not a file name"),
        (json!({}), "weight_map"),
        (json!([]), "weight_map"),
    ] {
        index(map.clone());
        match Tensors::open(&scratch.0) {
            // A shard that the index does not name at all is simply not read.
            Ok(t) => assert_eq!((t.names().count(), expected), (1, "No such tensor")),
            Err(e) => assert!(format!("{e:#}").contains(expected), "{map}: {e:#}"),
        }
    }
    save_tensors(
        &scratch.0.join(two),
        &[named("b", &[1], &[2.0]), named("z", &[1], &[2.0])],
        SaveDtype::F32,
        &[],
    )
    .unwrap();
    index(json!({"a": one, "b": two}));
    assert!(shown(Tensors::open(&scratch.0)).contains("does not list tensor z"));
}

/// A small Llama with one multi-token-prediction layer behind its own.
fn with_prediction_layer(dir: &Path) -> (Config, Vec<Shape>) {
    let raw = json!({"architectures": ["LlamaForCausalLM"], "vocab_size": 5, "hidden_size": 4,
        "intermediate_size": 2, "num_hidden_layers": 1, "num_attention_heads": 1, "max_position_embeddings": 8});
    let config = Config::parse(raw, None).unwrap();
    let mut shapes: Vec<Shape> =
        crate::parameters::specification(&config).into_iter().map(|s| (s.name, s.shape)).collect();
    shapes.push(("model.layers.1.eh_proj.weight".into(), vec![4, 8]));
    shapes.push(("model.layers.1.enorm.weight".into(), vec![4]));
    fs::write(dir.join("config.json"), config.raw.to_string()).unwrap();
    save_checkpoint(dir, &shapes, SaveDtype::F32, &[], SHARD_BYTES, |name| {
        Ok(values_of(name, &shapes).into())
    })
    .unwrap();
    (config, shapes)
}

/// Some values, another for each name.
fn values_of(name: &str, shapes: &[Shape]) -> Vec<f32> {
    let count = shapes.iter().find(|(n, _)| n == name).map_or(0, |(_, shape)| shape.iter().product());
    (0..count).map(|i| (name.len() * 100 + i) as f32 / 64.0).collect()
}

#[test]
fn a_large_checkpoint_is_cut_into_files_with_an_index() {
    let (whole, cut) = (Scratch::of("whole"), Scratch::of("cut"));
    let (config, shapes) = with_prediction_layer(&whole.0);
    // A file holds what fits into 100 bytes; a larger tensor would have one to itself.
    save_checkpoint(&cut.0, &shapes, SaveDtype::Bf16, &[("source", "x".into())], 100, |name| {
        Ok(values_of(name, &shapes).into())
    })
    .unwrap();
    assert!(!cut.weights().exists());
    let index: Value = serde_json::from_slice(&fs::read(cut.0.join(INDEX)).unwrap()).unwrap();
    let total: usize = shapes.iter().map(|(_, s)| s.iter().product::<usize>()).sum();
    assert_eq!(index["metadata"], json!({"total_parameters": total, "total_size": 2 * total}));
    let files: std::collections::BTreeSet<&str> =
        index["weight_map"].as_object().unwrap().values().map(|f| f.as_str().unwrap()).collect();
    assert!(files.len() > 2);
    let last = format!("model-{0:05}-of-{0:05}.safetensors", files.len());
    assert!(files.contains(last.as_str()), "{files:?}");
    let read = Tensors::open(&cut.0).unwrap();
    read.check(&crate::parameters::specification(&config), &config).unwrap();
    for (name, shape) in &shapes {
        let rounded: Vec<f32> =
            values_of(name, &shapes).iter().map(|x| bf16::from_f32(*x).to_f32()).collect();
        assert_eq!(read.read_f32(name, shape).unwrap(), rounded, "{name}");
    }
}

#[test]
fn prediction_layers_go_along_when_a_policy_is_saved() {
    let (from, to) = (Scratch::of("mtp"), Scratch::of("mtp-saved"));
    let (_, shapes) = with_prediction_layer(&from.0);
    let options = crate::LoadOptions::trainable(Some(crate::Precision::F32));
    let mut policy = crate::Policy::load(&from.0, options).unwrap();
    policy.parameters_mut()[0].value[0] = 9.0;
    policy.save_weights(&to.0, SaveDtype::F32).unwrap();
    let saved = Tensors::open(&to.0).unwrap();
    assert_eq!(saved.names().count(), shapes.len());
    for (name, shape) in &shapes {
        let mut wanted = values_of(name, &shapes);
        if name == "model.embed_tokens.weight" {
            wanted[0] = 9.0;
        }
        assert_eq!(saved.read_f32(name, shape).unwrap(), wanted, "{name}");
    }
}

/// Headers with one byte changed, in every place: read or refused, quickly, and never by a panic.
#[test]
fn damaged_headers_are_read_or_refused() {
    let scratch = Scratch::of("damaged");
    let (config, shapes) = with_prediction_layer(&scratch.0);
    let whole = fs::read(scratch.weights()).unwrap();
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    let wanted = crate::parameters::specification(&config);
    let mut refused = 0;
    for at in 0..header {
        for byte in [whole[at] ^ 1, whole[at] ^ 0x80, b'9', b'"', b'}', b'-', 0] {
            let mut bytes = whole.clone();
            bytes[at] = byte;
            fs::write(scratch.weights(), &bytes).unwrap();
            let read = Tensors::open(&scratch.0).and_then(|t| {
                t.check(&wanted, &config)?;
                shapes.iter().try_for_each(|(n, s)| t.read_f32(n, s).map(drop))
            });
            refused += usize::from(read.is_err());
        }
    }
    assert!(refused > header, "{refused} of {}", 7 * header);
}

#[test]
fn headers_that_ask_for_the_impossible_are_refused() {
    let scratch = Scratch::of("impossible");
    let two = |a: Value, b: Value| json!({"a": a, "b": b});
    let f32s = |shape: Value, from: u64, to: u64| json!({"dtype": "F32", "shape": shape, "data_offsets": [from, to]});
    for header in [
        two(f32s(json!([2]), 0, 8), f32s(json!([2]), 4, 12)),
        two(f32s(json!([2]), 0, 8), f32s(json!([2]), 12, 20)),
        two(f32s(json!([2]), 0, 8), f32s(json!([u64::MAX, 2]), 8, 16)),
        two(f32s(json!([2]), 0, 8), f32s(json!([1u64 << 62, 4]), 8, 16)),
        two(f32s(json!([2]), 0, 8), f32s(json!([2]), 8, 1 << 60)),
        two(f32s(json!([2]), 8, 0), f32s(json!([2]), 8, 16)),
        two(f32s(json!([2]), 0, 8), f32s(json!([-1]), 8, 16)),
        two(f32s(json!([2]), 0, 8), json!({"dtype": "F99", "shape": [2], "data_offsets": [8, 16]})),
    ] {
        raw(&scratch.weights(), &header, &[0; 16]);
        shown(Tensors::open(&scratch.0));
    }
    // A length of the header that is larger than any file.
    fs::write(scratch.weights(), [&u64::MAX.to_le_bytes()[..], b"{}"].concat()).unwrap();
    shown(Tensors::open(&scratch.0));
}
