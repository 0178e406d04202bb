//! LoRA through the tools: an adapter directory beside a policy, trained, sampled, scored, killed, merged.

use super::sft::{files, kill_until_done, metrics, policy, same_bytes};
use crate::harness::{rows, run, scratch};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// A policy, its corpus, and an adapter that r1-sft trained over it.
struct Adapted {
    dir: tempfile::TempDir,
    policy: String,
    corpus: String,
    adapter: String,
}

const SFT: [&str; 7] = ["--max-steps", "6", "--batch-size", "24", "--lr", "2e-2", "-q"];

impl Adapted {
    fn of(preset: &str, lora: &[&str]) -> Adapted {
        let dir = scratch();
        let (path, corpus) = policy(dir.path(), preset);
        let adapter = dir.path().join("adapter").to_str().unwrap().to_string();
        let adapted = Adapted { policy: path.to_str().unwrap().to_string(), dir, corpus, adapter };
        adapted.sft("adapter", &[&SFT[..], lora].concat()).success();
        adapted
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_string()
    }

    fn sft(&self, out: &str, flags: &[&str]) -> crate::harness::Outcome {
        let out = self.path(out);
        run("r1-sft", &[&[self.policy.as_str(), "-", "-o", &out][..], flags].concat(), &self.corpus)
    }

    /// One advantaged round, sampled by the policy with this adapter or without one.
    fn round(&self, adapter: Option<&str>) -> String {
        let tasks = run("r1-tasks", &["--count", "5", "--seed", "9", "-q"], "").success();
        let mut flags = vec![self.policy.as_str(), "-", "-n", "4", "--max-tokens", "12", "-q"];
        flags.extend(adapter.iter().flat_map(|dir| ["--adapter", dir]));
        let drawn = run("r1-rollout", &flags, &tasks).success();
        let mut text = String::new();
        for (i, mut row) in rows(&drawn).into_iter().enumerate() {
            row["reward"] = json!({"total": (i * 7 % 4) as f64 / 2.0});
            text += &format!("{row}\n");
        }
        run("r1-advantage", &["-q"], &text).success()
    }

    fn grpo(&self, out: &str, rows: &str, flags: &[&str]) -> crate::harness::Outcome {
        let out = self.path(out);
        let all = [&[self.policy.as_str(), "-", "-o", &out, "--lr", "1e-2"][..], flags].concat();
        run("r1-grpo", &all, rows)
    }
}

fn names(dir: impl AsRef<Path>) -> Vec<String> {
    files(dir.as_ref()).into_iter().map(|(name, _)| name).collect()
}

fn json_of(file: PathBuf) -> Value {
    serde_json::from_slice(&fs::read(file).unwrap()).unwrap()
}

fn logprobs(text: &str, key: &str) -> Vec<Value> {
    rows(text).iter().map(|row| row[key]["logprobs"].clone()).collect()
}

#[test]
fn an_adapter_is_trained_and_the_policy_stays() {
    let adapted = Adapted::of("qwen-tiny", &["--lora-rank", "4", "--lora-targets", "v_proj,q_proj,up_proj"]);
    let before = files(Path::new(&adapted.policy));
    assert_eq!(names(&adapted.adapter), ["adapter_config.json", "adapter_model.safetensors", "train.json"]);
    let config = json_of(Path::new(&adapted.adapter).join("adapter_config.json"));
    assert_eq!(config["target_modules"], json!(["q_proj", "up_proj", "v_proj"]));
    assert_eq!((&config["r"], &config["lora_alpha"]), (&json!(4), &json!(8)));
    assert_eq!(config["base_model_name_or_path"], json!(adapted.policy));
    let command = json_of(Path::new(&adapted.adapter).join("train.json"))["command"].clone();
    assert_eq!(command["lora-targets"], config["target_modules"]);

    // It has learned: the corpus is likelier with it than without.
    let examples: String = rows(&adapted.corpus)
        .iter()
        .take(20)
        .map(|row| {
            format!("{}\n", json!({"prompt": row["prompt"], "rollout": {"completion": row["completion"]}}))
        })
        .collect();
    let score = |flags: &[&str]| {
        let all = [&[adapted.policy.as_str(), "-", "--score", "check", "-q"][..], flags].concat();
        run("r1-rollout", &all, &examples).success()
    };
    let sum = |text: &str| -> f64 {
        let list = logprobs(text, "check");
        list.iter().flat_map(|l| l.as_array().unwrap()).map(|x| x.as_f64().unwrap()).sum()
    };
    let (with, without) = (score(&["--adapter", &adapted.adapter]), score(&[]));
    assert!(
        sum(&with) > 0.97 * sum(&without) && sum(&with) != sum(&without),
        "{} {}",
        sum(&with),
        sum(&without)
    );
    // The two are different policies by name, and the name says which adapter.
    let named = |text: &str| rows(text)[0]["check"]["policy"].as_str().unwrap().to_string();
    assert_ne!(named(&with), named(&without));
    let loud = adapted.path("loud");
    fs::create_dir(&loud).unwrap();
    for (name, bytes) in files(Path::new(&adapted.adapter)) {
        fs::write(Path::new(&loud).join(name), bytes).unwrap();
    }
    let mut config = config;
    config["lora_alpha"] = json!(80);
    fs::write(Path::new(&loud).join("adapter_config.json"), config.to_string()).unwrap();
    assert_ne!(named(&with), named(&score(&["--adapter", &loud])));

    // Merged it is a plain policy that says the same.
    let merged = adapted.path("merged");
    run("r1-init", &["--from-hf", &adapted.policy, "--merge", &adapted.adapter, "-o", &merged, "-q"], "")
        .success();
    let said = |mut flags: Vec<&str>| {
        flags.extend(["-", "--score", "check", "--dtype", "f32", "-q"]);
        logprobs(&run("r1-rollout", &flags, &examples).success(), "check")
    };
    let pairs = said(vec![&merged[..]]).into_iter().zip(said(vec![
        &adapted.policy[..],
        "--adapter",
        &adapted.adapter,
    ]));
    for (a, b) in pairs {
        for (a, b) in a.as_array().unwrap().iter().zip(b.as_array().unwrap()) {
            assert!((a.as_f64().unwrap() - b.as_f64().unwrap()).abs() < 1e-3, "{a} {b}");
        }
    }
    assert!(before == files(Path::new(&adapted.policy)), "the policy under the adapter changed");
}

#[test]
fn sampled_under_an_adapter_is_recomputed_bit_for_bit() {
    for (preset, lora) in [
        ("llama-tiny", &["--lora-rank", "4", "--lora-targets", "all-linear", "--rslora"][..]),
        ("r1-tiny", &["--lora-rank", "3", "--lora-alpha", "4.5"][..]),
    ] {
        let adapted = Adapted::of(preset, lora);
        let log = adapted.path("log.jsonl");
        let exact = ["--check-logprobs", "0", "--metrics", &log];
        // A fresh adapter changes nothing: the policy's own rows are on-policy for it.
        let first = adapted.grpo("fresh", &adapted.round(None), &[&exact[..], lora].concat());
        assert!(!first.stderr.contains("another policy"), "{}", first.stderr);
        first.success();
        let line = &metrics(Path::new(&log))[0];
        assert_eq!(
            (&line["logprob_max_difference"], &line["ratio/max"]),
            (&json!(0.0), &json!(1.0)),
            "{preset}"
        );
        assert!(line["grad_norm"].as_f64().unwrap() > 0.0);
        assert!(names(adapted.path("fresh")).contains(&"optimizer.safetensors".to_string()));
        fs::remove_file(&log).unwrap();
        // And one that was trained is the policy that its rows were sampled by.
        let own = adapted.round(Some(&adapted.adapter));
        let on = [&exact[..], &["--adapter", &adapted.adapter]].concat();
        let second = adapted.grpo("second", &own, &on);
        assert!(!second.stderr.contains("another policy"), "{}", second.stderr);
        second.success();
        assert_eq!(metrics(Path::new(&log))[0]["logprob_max_difference"], 0.0, "{preset}");
        let off = adapted.grpo("off", &own, &[&["--check-logprobs", "0"], lora].concat());
        off.refused(1, &["recorded log-probability", "recomputed"]);
    }
}

#[test]
fn rounds_go_on_in_place_with_moments_and_are_taken_once() {
    let adapted = Adapted::of("qwen-tiny", &["--lora-rank", "2"]);
    let rows = adapted.round(None);
    adapted.grpo("moving", &rows, &["--lora-rank", "4", "-q"]).success();
    let moving = adapted.path("moving");
    let state = || json_of(Path::new(&moving).join("train.json"));
    assert_eq!((&state()["step"], &state()["round"]), (&json!(1), &json!(1)));
    let next = adapted.round(Some(&moving));
    let flags = ["--adapter", moving.as_str(), "-q"];
    // Beside it and over it: the same bytes.
    adapted.grpo("beside", &next, &flags).success();
    adapted.grpo("moving", &next, &flags).success();
    assert_eq!((&state()["step"], &state()["round"]), (&json!(2), &json!(2)));
    same_bytes(Path::new(&moving), Path::new(&adapted.path("beside")));
    let before = files(Path::new(&moving));
    let again = adapted.grpo("moving", &next, &["--adapter", &moving]);
    assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
    again.success();
    assert!(before == files(Path::new(&moving)));
    adapted
        .grpo("moving", &next, &["--adapter", &moving, "--seed", "5"])
        .refused(2, &["--seed was 0, now 5"]);
}

#[test]
fn a_killed_run_ends_with_the_same_bytes() {
    let adapted = Adapted::of("r1-tiny", &["--lora-rank", "2"]);
    let lora = ["--lora-rank", "4", "--checkpoint-every", "1", "--seed", "3"];
    let unbroken = [&SFT[..], &lora].concat();
    adapted.sft("unbroken", &unbroken).success();
    adapted.sft("one-thread", &[&unbroken[..], &["--threads", "1"]].concat()).success();
    same_bytes(Path::new(&adapted.path("unbroken")), Path::new(&adapted.path("one-thread")));
    let out = adapted.path("broken");
    let all = [&[adapted.policy.as_str(), "-", "-o", &out][..], &unbroken[..]].concat();
    let kills = kill_until_done("r1-sft", &all, adapted.corpus.as_bytes(), || {
        if Path::new(&out).exists() {
            let names = names(&out);
            assert!(names.iter().any(|n| n == "adapter_model.safetensors"), "{names:?}");
        }
    });
    assert!(kills >= 1, "{kills} kills are too few to mean anything");
    same_bytes(Path::new(&adapted.path("unbroken")), Path::new(&out));

    let rows = adapted.round(Some(&adapted.adapter));
    let flags = ["--adapter", adapted.adapter.as_str(), "--batch-size", "5", "--epochs", "2", "-q"];
    adapted.grpo("round", &rows, &flags).success();
    let out = adapted.path("killed-round");
    let all = [&[adapted.policy.as_str(), "-", "-o", &out, "--lr", "1e-2"][..], &flags[..]].concat();
    kill_until_done("r1-grpo", &all, rows.as_bytes(), || ());
    same_bytes(Path::new(&adapted.path("round")), Path::new(&out));
}

#[test]
fn a_student_learns_through_an_adapter_too() {
    let adapted = Adapted::of("qwen-tiny", &["--lora-rank", "2"]);
    let out = adapted.path("student");
    let flags = ["--lora-rank", "4", "--max-steps", "3", "--lr", "1e-2", "-q"];
    let all = [&[adapted.policy.as_str(), "-", "-o", &out][..], &flags[..]].concat();
    run("r1-distill", &all, &adapted.corpus).success();
    assert!(names(&out).contains(&"adapter_model.safetensors".to_string()));
    // r1-sft goes on from it, elsewhere.
    adapted.sft("further", &[&SFT[..], &["--adapter", &out]].concat()).success();
    assert_ne!(
        fs::read(Path::new(&out).join("adapter_model.safetensors")).unwrap(),
        fs::read(Path::new(&adapted.path("further")).join("adapter_model.safetensors")).unwrap()
    );
    adapted
        .sft("student", &[&SFT[..], &["--adapter", &out]].concat())
        .refused(2, &["the adapter that it would start from"]);
}

#[test]
fn what_does_not_fit_is_named() {
    let adapted = Adapted::of("r1-tiny", &["--lora-rank", "2"]);
    let fail = |flags: &[&str], words: &[&str]| {
        adapted.sft("none", &[&SFT[..], flags].concat()).refused(2, words);
        assert!(!Path::new(&adapted.path("none")).exists());
    };
    fail(
        &["--lora-rank", "4", "--lora-targets", "down_proj"],
        &["--lora-targets down_proj", "experts and router", "choose from kv_a_proj_with_mqa, kv_b_proj"],
    );
    fail(&["--lora-rank", "4", "--lora-targets", "qproj"], &["no such projection", "o_proj"]);
    fail(&["--lora-rank", "0"], &["--lora-rank"]);
    fail(&["--lora-rank", "4", "--lora-alpha", "0"], &["--lora-alpha", "above 0"]);
    fail(&["--rslora"], &["--lora-rank"]);
    fail(&["--lora-rank", "4", "--router-bias-rate", "0.01"], &["--router-bias-rate"]);
    fail(&["--lora-rank", "4", "--adapter", &adapted.adapter], &["--adapter"]);
    fail(&["--adapter", &adapted.policy], &["has no adapter_config.json"]);
    // The policy is not an adapter's to replace, in whatever tool.
    let rows = adapted.round(None);
    let all = [adapted.policy.as_str(), "-", "-o", &adapted.policy, "--lora-rank", "4"];
    run("r1-grpo", &all, &rows).refused(2, &["is a policy", "directory of its own"]);
    let none = adapted.path("none");
    let alone = [adapted.adapter.as_str(), "-", "-o", &none];
    run("r1-grpo", &alone, &rows).refused(2, &["an adapter and no policy", "--adapter"]);
    run("r1-rollout", &[&adapted.adapter, "-"], &rows).refused(2, &["an adapter and no policy", "--adapter"]);
    // An adapter of another policy, by shape or by name.
    let (other, _) = policy(&adapted.dir.path().join("other"), "qwen-tiny");
    let other = other.to_str().unwrap();
    run("r1-rollout", &[other, "-", "--adapter", &adapted.adapter], &rows)
        .refused(2, &["adapter_model.safetensors", "made for this policy"]);
    let twin = adapted.path("twin");
    run(
        "r1-init",
        &["--preset", "r1-tiny", "--corpus", "-", "--vocab", "320", "--seed", "8", "-o", &twin, "-q"],
        &adapted.corpus,
    )
    .success();
    run("r1-rollout", &[&twin, "-", "--adapter", &adapted.adapter], &rows)
        .refused(2, &["trained over another policy"]);
    run("r1-init", &["--from-hf", &twin, "--merge", &adapted.adapter, "-o", &adapted.path("none")], "")
        .refused(2, &["trained over another policy"]);
    run("r1-init", &["--preset", "r1-tiny", "--merge", &adapted.adapter, "-o", &adapted.path("none")], "")
        .refused(2, &["--merge"]);
    // Damage.
    let weights = Path::new(&adapted.adapter).join("adapter_model.safetensors");
    let bytes = fs::read(&weights).unwrap();
    fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    fail(&["--adapter", &adapted.adapter], &["adapter_model.safetensors", "cut short"]);
    fs::write(&weights, bytes).unwrap();
    let config = Path::new(&adapted.adapter).join("adapter_config.json");
    let mut fields = json_of(config.clone());
    fields["lora_dropout"] = json!(0.1);
    fs::write(&config, fields.to_string()).unwrap();
    fail(&["--adapter", &adapted.adapter], &["lora_dropout is 0.1", "set it to 0"]);
    fields["use_dora"] = json!(true);
    fs::write(&config, fields.to_string()).unwrap();
    fail(&["--adapter", &adapted.adapter], &["adapter_config.json", "use_dora: true is not computed here"]);
}
