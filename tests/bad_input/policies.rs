//! Damaged policy directories and training states.

use super::*;

/// The tensor that most damages are done to: 384 × 128.
const UP: &str = "model.layers.1.mlp.up_proj.weight";

/// A file of a policy, what stands in it instead (nothing: it is not there), and words of the error.
type Damage = (&'static str, Option<Vec<u8>>, &'static [&'static str]);

/// A tensor of a safetensors file: name, shape, bytes.
type Tensor = (String, Vec<usize>, Vec<u8>);

/// Takes a file of f32 tensors apart.
fn apart(bytes: &[u8]) -> Vec<Tensor> {
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let all: Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
    let tensors = all.as_object().unwrap().iter().filter(|(name, _)| *name != "__metadata__");
    tensors
        .map(|(name, tensor)| {
            assert_eq!(tensor["dtype"], "F32");
            let at = |i: usize| 8 + header + tensor["data_offsets"][i].as_u64().unwrap() as usize;
            let shape = tensor["shape"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap() as usize);
            (name.clone(), shape.collect(), bytes[at(0)..at(1)].to_vec())
        })
        .collect()
}

/// Puts it together again.
fn together(tensors: &[Tensor]) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, shape, bytes) in tensors {
        let from = data.len();
        data.extend(bytes);
        header.insert(
            name.clone(),
            json!({"dtype": "F32", "shape": shape, "data_offsets": [from, data.len()]}),
        );
    }
    let header = Value::Object(header).to_string();
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat()
}

#[test]
fn damaged_policies_are_one_line_in_every_tool() {
    let dir = scratch();
    let good = files(Path::new(qwen()));
    let bad = dir.path().join("policy");
    let of = |name: &str| good.iter().find(|(known, _)| known == name).unwrap().1.clone();
    let weights = of("model.safetensors");
    let tensors = apart(&weights);
    assert_eq!(apart(&together(&tensors)), tensors);
    let edited = |edit: &dyn Fn(&mut Vec<Tensor>)| {
        let mut list = tensors.clone();
        edit(&mut list);
        Some(together(&list))
    };
    let at = |list: &[Tensor], name: &str| list.iter().position(|(known, _, _)| known == name).unwrap();
    let config = |edit: &dyn Fn(&mut Value)| {
        let mut config: Value = serde_json::from_slice(&of("config.json")).unwrap();
        edit(&mut config);
        Some(config.to_string().into_bytes())
    };
    // The tokenizer of a policy with more tokens than this one's embedding has rows.
    let larger = dir.path().join("larger").to_str().unwrap().to_string();
    let corpus = run("r1-tasks", &["--corpus", "--count", "300", "--language", "zh", "-q"], "").success();
    let flags = ["--preset", "qwen-tiny", "--corpus", "-", "--vocab", "500", "-o", &larger, "-q"];
    run("r1-init", &flags, &corpus).success();
    let large = fs::read(Path::new(&larger).join("tokenizer.json")).unwrap();

    let damages: Vec<Damage> = vec![
        ("model.safetensors", edited(&|l| drop(l.remove(at(l, UP)))), &[UP, "is missing"]),
        (
            "model.safetensors",
            edited(&|l| {
                let i = at(l, UP);
                l[i].1.reverse()
            }),
            &[UP, "has shape [128, 384]", "[384, 128]"],
        ),
        (
            "model.safetensors",
            edited(&|l| {
                let i = at(l, "model.norm.weight");
                l[i].1 = vec![64];
                l[i].2.truncate(256)
            }),
            &["model.norm.weight", "[64]"],
        ),
        (
            "model.safetensors",
            edited(&|l| {
                let i = at(l, UP);
                l[i].2[400..404].copy_from_slice(&f32::NAN.to_le_bytes())
            }),
            &[UP, "NaN", "[0, 100]"],
        ),
        (
            "model.safetensors",
            edited(&|l| {
                let t = ("model.layers.1.adapter".into(), vec![1], vec![0; 4]);
                l.push(t)
            }),
            &["model.layers.1.adapter"],
        ),
        (
            "model.safetensors",
            Some(weights[..weights.len() - 1].to_vec()),
            &["model.safetensors", "cut short"],
        ),
        (
            "model.safetensors",
            Some(weights[..weights.len() / 3].to_vec()),
            &["model.safetensors", "cut short"],
        ),
        ("model.safetensors", Some(weights[..100].to_vec()), &["model.safetensors", "cut short"]),
        ("model.safetensors", Some(Vec::new()), &["model.safetensors", "empty"]),
        ("model.safetensors", None, &["model.safetensors"]),
        (
            "model.safetensors",
            Some(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n".to_vec()),
            &["model.safetensors"],
        ),
        ("config.json", None, &["config.json"]),
        ("config.json", Some(b"{\"hidden_size\": 12".to_vec()), &["config.json", "line 1 column"]),
        (
            "config.json",
            config(&|c| c["architectures"] = json!(["GPT2LMHeadModel"])),
            &["config.json", "GPT2LMHeadModel"],
        ),
        (
            "config.json",
            config(&|c| drop(c.as_object_mut().unwrap().shift_remove("hidden_size"))),
            &["config.json", "hidden_size"],
        ),
        (
            "config.json",
            config(&|c| c["num_attention_heads"] = json!("4")),
            &["config.json", "num_attention_heads"],
        ),
        (
            "config.json",
            config(&|c| c["num_key_value_heads"] = json!(3)),
            &["config.json", "num_key_value_heads"],
        ),
        ("config.json", config(&|c| c["vocab_size"] = json!(999)), &["model.embed_tokens.weight", "999"]),
        ("tokenizer.json", Some(large), &["tokenizer", "320"]),
        ("tokenizer.json", Some(b"{}".to_vec()), &["tokenizer.json"]),
        ("tokenizer.json", Some(b"{".to_vec()), &["tokenizer.json"]),
    ];
    for (file, content, words) in damages {
        let _ = fs::remove_dir_all(&bad);
        fs::create_dir(&bad).unwrap();
        good.iter().for_each(|(name, bytes)| fs::write(bad.join(name), bytes).unwrap());
        match &content {
            Some(bytes) => fs::write(bad.join(file), bytes).unwrap(),
            None => fs::remove_file(bad.join(file)).unwrap(),
        }
        for tool in uses(bad.to_str().unwrap()).iter().filter(|tool| tool.flags[0].ends_with("policy")) {
            // r1-grpo trains on ids and never reads a tokenizer.
            if tool.tool == "r1-grpo" && file == "tokenizer.json" {
                continue;
            }
            println!("{} {file} {words:?}", tool.tool);
            tool.refuses(tool.rows.as_bytes(), words);
        }
    }
}

#[test]
fn damaged_training_states_are_named_and_stay_as_they_are() {
    let dir = scratch();
    let out = dir.path().join("out").to_str().unwrap().to_string();
    let update = |rows: &str| run("r1-grpo", &[&out, "-", "-o", &out, "-q"], rows);
    run("r1-grpo", &[qwen(), "-", "-o", &out, "-q"], advantaged()).success();
    let whole = files(Path::new(&out));
    let of = |name: &str| whole.iter().find(|(known, _)| known == name).unwrap().1.clone();
    let other: String = advantaged().lines().take(2).map(|line| format!("{line}\n")).collect();
    let (moments, state) = (of("optimizer.safetensors"), of("train.json"));
    let swapped = String::from_utf8(state.clone()).unwrap().replace("\"step\": 1", "\"step\": \"one\"");
    assert_ne!(swapped.as_bytes(), state);
    let damages: [(&str, Vec<u8>, &[&str]); 4] = [
        ("optimizer.safetensors", moments[..moments.len() / 2].to_vec(), &["optimizer.safetensors"]),
        ("optimizer.safetensors", together(&apart(&of("model.safetensors"))), &["optimizer.safetensors"]),
        ("train.json", state[..state.len() / 2].to_vec(), &["train.json", "no training state"]),
        ("train.json", swapped.into_bytes(), &["train.json", "no training state"]),
    ];
    for (name, bytes, words) in damages {
        fs::write(Path::new(&out).join(name), bytes).unwrap();
        let before = files(Path::new(&out));
        let outcome = update(&other);
        outcome.refused(2, words);
        assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
        assert!(files(Path::new(&out)) == before && fs::read_dir(dir.path()).unwrap().count() == 1);
        fs::write(Path::new(&out).join(name), of(name)).unwrap();
    }
    update(&other).success();
}
