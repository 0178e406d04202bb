//! r1-init as a process.

mod hub;

use crate::harness::*;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

/// Rows to learn a tokenizer from.
fn corpus() -> String {
    (0..60)
        .map(|i| {
            let (a, b) = (i % 9 + 1, i / 7 + 1);
            let completion = format!("<think>{a} + {b} = {}</think> <answer>{}</answer>", a + b, a + b);
            let row = json!({"prompt": format!("What is {a} + {b}?"), "completion": completion});
            format!("{row}\n")
        })
        .collect()
}

fn json_of(path: impl AsRef<Path>) -> Value {
    serde_json::from_slice(&fs::read(path).expect("the file is there")).expect("JSON")
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .expect("the directory is there")
        .map(|entry| entry.expect("listed").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    names
}

/// Makes a policy; returns its directory as text.
fn make(dir: &Path, name: &str, arguments: &[&str]) -> String {
    let target = dir.join(name).to_str().expect("UTF-8").to_string();
    let mut all = vec!["--preset", "llama-tiny", "--corpus", "-", "-o", &target];
    all.extend(arguments);
    run("r1-init", &all, &corpus()).success();
    target
}

#[test]
fn a_preset_is_a_complete_directory() {
    let scratch = scratch();
    for (preset, architecture) in [
        ("r1-tiny", "DeepseekV3ForCausalLM"),
        ("qwen-tiny", "Qwen2ForCausalLM"),
        ("llama-tiny", "LlamaForCausalLM"),
    ] {
        let target = scratch.path().join(preset);
        let arguments =
            ["--preset", preset, "--corpus", "-", "--vocab", "330", "-o", target.to_str().unwrap()];
        run("r1-init", &arguments, &corpus()).success();
        assert_eq!(
            names(&target),
            [
                "config.json",
                "generation_config.json",
                "model.safetensors",
                "tokenizer.json",
                "tokenizer_config.json"
            ]
        );
        let config = json_of(target.join("config.json"));
        assert_eq!(config["architectures"], json!([architecture]));
        assert_eq!(config["vocab_size"], 330);
        let about: Value =
            serde_json::from_str(&run("r1-init", &["--describe", target.to_str().unwrap()], "").success())
                .unwrap();
        assert_eq!(about["architecture"], architecture);
        assert_eq!(
            (&about["tokenizer"]["tokens"], &about["tokenizer"]["eos"]),
            (&json!(330), &json!("<|eos|>"))
        );
        assert_eq!(
            about["tokenizer"]["stop_ids"],
            json!([json_of(target.join("generation_config.json"))["eos_token_id"]])
        );
        let bytes = fs::metadata(target.join("model.safetensors")).unwrap().len();
        assert_eq!(about["bytes"]["on_disk"], bytes);
        let parameters = about["parameters"]["total"].as_u64().unwrap();
        assert!(
            bytes > 4 * parameters && bytes < 4 * parameters + 100_000,
            "{bytes} bytes, {parameters} parameters"
        );
        assert!(about["parameters"]["active"].as_u64().unwrap() <= parameters);
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    let scratch = scratch();
    let of = |target: String| {
        ["model.safetensors", "tokenizer.json", "config.json"]
            .map(|file| fs::read(Path::new(&target).join(file)).unwrap())
    };
    let first = of(make(scratch.path(), "a", &["--seed", "7"]));
    assert_eq!(first, of(make(scratch.path(), "b", &["--seed", "7"])));
    let other = of(make(scratch.path(), "c", &["--seed", "8"]));
    assert_ne!(first[0], other[0]);
    assert_eq!(first[1], other[1]);
    // A directory that is there is replaced, and nothing is left beside it.
    assert_eq!(other, of(make(scratch.path(), "a", &["--seed", "8"])));
    assert_eq!(names(scratch.path()), ["a", "b", "c"]);
}

#[test]
fn a_tokenizer_can_be_taken_and_a_directory_copied() {
    let scratch = scratch();
    let first = make(scratch.path(), "first", &["--vocab", "300"]);
    let target = |name: &str| scratch.path().join(name).to_str().unwrap().to_string();
    let student = target("student");
    run("r1-init", &["--preset", "qwen-tiny", "--tokenizer", &first, "-o", &student, "--dtype", "bf16"], "")
        .success();
    let read = |dir: &str, file: &str| fs::read(Path::new(dir).join(file)).unwrap();
    assert_eq!(read(&student, "tokenizer.json"), read(&first, "tokenizer.json"));
    assert_eq!(json_of(Path::new(&student).join("config.json"))["torch_dtype"], "bfloat16");

    let copy = target("copy");
    run("r1-init", &["--from-hf", &first, "-o", &copy], "").success();
    for file in names(Path::new(&first)) {
        assert_eq!(read(&copy, &file), read(&first, &file), "{file}");
    }
    let smaller = target("smaller");
    run("r1-init", &["--from-hf", &first, "-o", &smaller, "--dtype", "bf16"], "").success();
    let sizes = [&first, &smaller].map(|dir| read(dir, "model.safetensors").len());
    assert!(sizes[1] * 2 < sizes[0] + 20_000, "{sizes:?}");
    let about: Value =
        serde_json::from_str(&run("r1-init", &["--describe", &smaller], "").success()).unwrap();
    assert_eq!(about["element_types"], json!(["BF16"]));
}

#[test]
fn golden_checkpoints_are_accepted() {
    let scratch = scratch();
    for name in ["deepseek-v3", "qwen3-moe", "llama-bf16-sharded"] {
        let from = root().join("tests/golden/checkpoints").join(name);
        let target = scratch.path().join(name);
        let arguments = ["--from-hf", from.to_str().unwrap(), "-o", target.to_str().unwrap()];
        let outcome = run("r1-init", &arguments, "");
        assert!(outcome.stderr.contains("no tokenizer.json"), "{}", outcome.stderr);
        outcome.success();
        for file in names(&target) {
            assert_eq!(
                fs::read(target.join(&file)).unwrap(),
                fs::read(from.join(&file)).unwrap(),
                "{name}/{file}"
            );
        }
    }
}

#[test]
fn misuse_is_named() {
    let scratch = scratch();
    let target = scratch.path().join("x").to_str().unwrap().to_string();
    let refused = |arguments: &[&str], stdin: &str, words: &[&str]| {
        run("r1-init", arguments, stdin).refused(2, words);
        assert_eq!(names(scratch.path()), Vec::<String>::new(), "{arguments:?} left something");
    };
    refused(&[], "", &["--preset"]);
    refused(&["--preset", "r1-huge", "-o", &target], "", &["r1-huge"]);
    refused(&["--preset", "r1-tiny", "-o", &target], "", &["needs a tokenizer", "--corpus"]);
    refused(&["--preset", "r1-tiny", "--corpus", "-"], &corpus(), &["-o DIR"]);
    refused(&["--preset", "r1-tiny", "--corpus", "-", "-o", &target], "", &["stdin", "empty"]);
    refused(
        &["--preset", "r1-tiny", "--corpus", "-", "-o", &target],
        "{\"prompt\": 7}\n",
        &["stdin:1", "prompt"],
    );
    refused(&["--preset", "r1-tiny", "--corpus", "no/such.jsonl", "-o", &target], "", &["no/such.jsonl"]);
    refused(
        &["--preset", "r1-tiny", "--corpus", "-", "--vocab", "100", "-o", &target],
        &corpus(),
        &["100 tokens is too small", "265", "--vocab"],
    );
    refused(
        &["--preset", "r1-tiny", "--tokenizer", "no/such", "-o", &target],
        "",
        &["no/such/tokenizer.json"],
    );
    refused(&["--from-hf", "./no/such", "-o", &target], "", &["./no/such: no such directory"]);
    refused(&["--from-gguf", "no/such.gguf", "-o", &target], "", &["no/such.gguf"]);
    refused(&["--from-gguf", "Cargo.toml", "-o", &target], "", &["Cargo.toml", "not a GGUF file"]);
    // Flags that would have no effect.
    refused(&["--from-hf", "x", "--seed", "7", "-o", &target], "", &["--seed", "--from-hf"]);
    refused(&["--preset", "r1-tiny", "--tokenizer", "x", "--vocab", "300", "-o", &target], "", &["--vocab"]);
    refused(&["--describe", "x", "-o", &target], "", &["--output"]);
}

#[test]
fn a_directory_that_is_no_policy_is_not_replaced() {
    let scratch = scratch();
    fs::write(scratch.path().join("thesis.tex"), "x").unwrap();
    let target = scratch.path().to_str().unwrap();
    let arguments = ["--preset", "llama-tiny", "--corpus", "-", "-o", target];
    run("r1-init", &arguments, &corpus()).refused(2, &["would lose thesis.tex", "-o"]);
    assert_eq!(names(scratch.path()), ["thesis.tex"]);
}

#[test]
fn damaged_directories_are_refused() {
    let scratch = scratch();
    let good = make(scratch.path(), "good", &["--vocab", "300"]);
    let (good, bad) = (Path::new(&good), scratch.path().join("bad"));
    let target = scratch.path().join("out");
    let refused = |file: &str, content: Vec<u8>, words: &[&str]| {
        let _ = fs::remove_dir_all(&bad);
        fs::create_dir(&bad).unwrap();
        for name in names(good) {
            fs::copy(good.join(&name), bad.join(&name)).unwrap();
        }
        fs::write(bad.join(file), content).unwrap();
        for arguments in [
            vec!["--from-hf", bad.to_str().unwrap(), "-o", target.to_str().unwrap()],
            vec!["--describe", bad.to_str().unwrap()],
        ] {
            let whole_read = arguments[0] == "--from-hf" || !words.contains(&"NaN");
            if whole_read {
                run("r1-init", &arguments, "").refused(2, words);
            }
        }
        assert!(!target.exists());
    };
    let weights = fs::read(good.join("model.safetensors")).unwrap();
    refused("model.safetensors", weights[..weights.len() / 2].to_vec(), &["model.safetensors", "cut short"]);
    refused("model.safetensors", weights[..5].to_vec(), &["model.safetensors", "too few for a header"]);
    refused("model.safetensors", Vec::new(), &["model.safetensors", "empty"]);
    let header = u64::from_le_bytes(weights[..8].try_into().unwrap()) as usize;
    let mut broken = weights.clone();
    broken[8 + header..12 + header].copy_from_slice(&f32::NAN.to_le_bytes());
    refused("model.safetensors", broken, &["tensor model.", "NaN"]);
    let renamed = String::from_utf8_lossy(&weights[8..8 + header]).replacen(
        "model.norm.weight",
        "model.norn.weight",
        1,
    );
    let mut broken = weights.clone();
    broken[8..8 + header].copy_from_slice(renamed.as_bytes());
    refused("model.safetensors", broken, &["tensor model.norm.weight is missing"]);
    let config = |field: &str, value: Value| {
        let mut config = json_of(good.join("config.json"));
        config[field] = value;
        config.to_string().into_bytes()
    };
    refused("config.json", config("hidden_size", json!(64)), &["has shape", "config.json asks for"]);
    refused("config.json", config("hidden_act", json!("gelu")), &["config.json: hidden_act"]);
    refused("config.json", b"{".to_vec(), &["config.json: not JSON", "line 1 column 1"]);
    refused("tokenizer.json", b"{}".to_vec(), &["tokenizer.json"]);
}

#[test]
fn a_kill_at_any_moment_leaves_a_whole_policy_or_none() {
    let scratch = scratch();
    let rows = scratch.path().join("corpus.jsonl");
    fs::write(&rows, corpus()).unwrap();
    let target = scratch.path().join("policy");
    let arguments = |seed: &'static str| {
        [
            "--preset",
            "r1-tiny",
            "--corpus",
            rows.to_str().unwrap(),
            "--seed",
            seed,
            "-q",
            "-o",
            target.to_str().unwrap(),
        ]
        .map(str::to_string)
    };
    let start = |seed: &'static str| {
        let arguments = arguments(seed);
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        command("r1-init", &words).spawn().expect("the tool can be started")
    };
    let weights = || fs::read(target.join("model.safetensors")).unwrap();
    let done = |seed: &'static str| {
        assert!(start(seed).wait().unwrap().success());
        weights()
    };
    let (old, fresh) = (done("1"), done("2"));
    let (mut kept, mut replaced) = (0, 0);
    for delay in (0..15).map(|i| i * 12) {
        done("1");
        let mut child = start("2");
        sleep(Duration::from_millis(delay));
        let _ = child.kill();
        child.wait().unwrap();
        let now = weights();
        assert!(now == old || now == fresh, "half a policy after {delay} ms");
        if now == old { kept += 1 } else { replaced += 1 }
    }
    assert!(kept > 0, "no kill came early: {kept} {replaced}");
    assert_eq!(done("2"), fresh);
    assert_eq!(names(scratch.path()), ["corpus.jsonl", "policy"], "the next run cleans up");
}

#[test]
fn a_real_gguf_file_becomes_a_policy() {
    let Some(file) = std::env::var_os("R1_SMOLLM2_GGUF") else {
        println!("skipped: R1_SMOLLM2_GGUF does not name SmolLM2-135M-Instruct.Q4_1.gguf");
        return;
    };
    let scratch = scratch();
    let target = scratch.path().join("smollm2");
    let arguments =
        ["--from-gguf", file.to_str().unwrap(), "-o", target.to_str().unwrap(), "--dtype", "bf16"];
    run("r1-init", &arguments, "").success();
    let about: Value =
        serde_json::from_str(&run("r1-init", &["--describe", target.to_str().unwrap()], "").success())
            .unwrap();
    assert_eq!(about["parameters"]["total"], 134_515_008);
    assert_eq!(about["tokenizer"]["stop_ids"], json!([2]));
}
