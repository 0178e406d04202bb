//! `--device`: what a program without GPUs says, and, where the programs were built with the feature `cuda`, a policy that is
//! sampled and trained on the emulated device as on the CPU.

use crate::by_tool::sft::policy;
use crate::harness::{Outcome, command, rows, run, scratch, wait};
use std::path::Path;
use std::process::Stdio;

/// What a cache keeps of a policy with latent attention changes no byte of what is drawn on a device.
#[test]
fn a_cache_of_latents_gives_the_rows_of_keys_and_values_on_a_device() {
    let dir = scratch();
    let (policy, _) = policy(dir.path(), "r1-tiny");
    let tasks = run("r1-tasks", &["--count", "3", "--seed", "4", "-q"], "").success();
    if !built(text(&policy), &tasks) {
        return;
    }
    let draw = |more: &[&str]| {
        let flags = [text(&policy), "--device", "cuda", "--max-tokens", "12", "-n", "2", "-q"];
        emulated("r1-rollout", &[&flags[..], more].concat(), &tasks).success()
    };
    let values = draw(&[]);
    assert_eq!(rows(&values).len(), 6);
    assert!(draw(&["--kv-cache", "latents"]) == values);
    assert!(draw(&["--kv-cache", "latents", "--kv-memory", "1", "--sequences", "2"]) == values);
}

/// Runs a tool where `R1_CUDA` names the emulated device.
fn emulated(tool: &str, arguments: &[&str], stdin: &str) -> Outcome {
    let mut command = command(tool, arguments);
    command.env("R1_CUDA", "emulated").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    wait(command.spawn().expect("the tool starts"), stdin.as_bytes())
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

/// Whether the programs can use GPUs.
pub fn built(policy: &str, task: &str) -> bool {
    let outcome = emulated("r1-rollout", &[policy, "--device", "cuda", "--max-tokens", "2", "-q"], task);
    let absent = ["built without GPUs", "g++"].iter().find(|word| outcome.stderr.contains(**word));
    if let Some(word) = absent {
        eprintln!("skipped: the programs were built without the feature cuda, or there is no g++ ({word})");
    }
    absent.is_none()
}

#[test]
fn a_gpu_that_cannot_be_had_is_refused_in_one_line() {
    let dir = scratch();
    let (policy, _) = policy(dir.path(), "qwen-tiny");
    let task = "{\"prompt\":\"1 + 1\"}\n";
    let arguments = [text(&policy), "--device", "cuda:63", "-q"];
    run("r1-rollout", &arguments, task).refused(2, &["--device cpu"]);
    let out = dir.path().join("out");
    let trained = run("r1-sft", &[text(&policy), "-o", text(&out), "--device", "cuda:63", "-q"], "");
    trained.refused(2, &["--device cpu"]);
    assert!(!out.exists());
    run("r1-rollout", &[text(&policy), "--device", "gpu"], task).refused(2, &["--device"]);
    let ordered = [text(&policy), "--device", "cpu", "--batch-invariant", "-q"];
    run("r1-rollout", &ordered, task).refused(2, &["--batch-invariant", "the CPU always is"]);
}

#[test]
fn a_policy_is_sampled_scored_and_trained_on_a_device_as_on_the_cpu() {
    let dir = scratch();
    let (policy, corpus) = policy(dir.path(), "qwen-tiny");
    let policy = text(&policy);
    if !built(policy, "{\"prompt\":\"1 + 1\"}\n") {
        return;
    }
    let tasks = run("r1-tasks", &["--count", "3", "--seed", "4", "-q"], "").success();
    let draw = ["--dtype", "f32", "--max-tokens", "12", "-n", "2", "-q"];
    let here = run("r1-rollout", &[&[policy, "--device", "cpu"], &draw[..]].concat(), &tasks).success();
    let there =
        emulated("r1-rollout", &[&[policy, "--device", "cuda"], &draw[..]].concat(), &tasks).success();
    let (here_rows, there_rows) = (rows(&here), rows(&there));
    assert_eq!(here_rows.len(), 6);
    for (a, b) in here_rows.iter().zip(&there_rows) {
        assert_eq!(a["rollout"]["completion_ids"], b["rollout"]["completion_ids"]);
    }
    let score = [policy, "--score", "reference", "--dtype", "f32", "-q", "--device"];
    let scored = rows(&emulated("r1-rollout", &[&score[..], &["cuda"]].concat(), &here).success());
    for row in &scored {
        let (a, b) = (&row["rollout"]["logprobs"], &row["reference"]["logprobs"]);
        for (a, b) in a.as_array().expect("a list").iter().zip(b.as_array().expect("a list")) {
            let apart = (a.as_f64().expect("a number") - b.as_f64().expect("a number")).abs();
            assert!(apart < 1e-4, "{apart}");
        }
    }
    let top = |device| {
        let flags = [&score[..], &[device, "--top", "3"]].concat();
        rows(&emulated("r1-rollout", &flags, &here).success())
    };
    for (a, b) in top("cpu").iter().zip(&top("cuda")) {
        assert_eq!(a["reference"]["top_ids"], b["reference"]["top_ids"]);
    }

    let losses = |device: &str, more: &[&str]| -> Vec<f64> {
        let name = format!("{device}{}", more.concat());
        let (out, metrics) = (dir.path().join(&name), dir.path().join(format!("{name}.jsonl")));
        let flags = ["--max-steps", "3", "--batch-size", "8", "--lr", "1e-3", "--dtype", "f32", "-q"];
        let names = [policy, "-o", text(&out), "--device", device, "--metrics", text(&metrics)];
        emulated("r1-sft", &[&names[..], &flags[..], more].concat(), &corpus).success();
        let lines = std::fs::read_to_string(&metrics).expect("metrics");
        rows(&lines).iter().filter_map(|line| line["loss"].as_f64()).collect()
    };
    for more in [&[][..], &["--label-smoothing", "0.1"], &["--lora-rank", "2"]] {
        let (here, there) = (losses("cpu", more), losses("cuda", more));
        assert_eq!(here.len(), 3);
        for (a, b) in here.iter().zip(&there) {
            assert!((a - b).abs() < 1e-4 * a, "{more:?}: {here:?} {there:?}");
        }
    }
    assert!(dir.path().join("cuda/model.safetensors").exists());
    let adapter = dir.path().join("cuda--lora-rank2");
    assert!(adapter.join("adapter_model.safetensors").exists());
    let over = ["--adapter", text(&adapter)];
    let drawn = [&[policy, "--device", "cuda"], &over[..], &draw[..]].concat();
    assert_eq!(rows(&emulated("r1-rollout", &drawn, &tasks).success()).len(), 6);

    // What is asked before a run, of the device.
    let ask = |flag| {
        let out = dir.path().join("asked");
        let flags = [policy, "-o", text(&out), "--device", "cuda", "--batch-size", "2", flag];
        emulated("r1-sft", &flags, &corpus)
    };
    let plan = ask("--plan");
    assert!(plan.code() == 0 && plan.stderr.contains("MiB that are free on the GPU"), "{}", plan.stderr);
    assert!(plan.stderr.contains("the same in bf16, for products"), "{}", plan.stderr);
    let selftest = ask("--selftest");
    assert!(selftest.code() == 0 && selftest.stderr.contains("agrees"), "{}", selftest.stderr);
}

/// What a batch-invariant device samples, it finds again to the bit when it trains.
#[test]
fn a_batch_invariant_device_recomputes_the_bits_that_it_sampled() {
    let dir = scratch();
    let (policy, _) = policy(dir.path(), "qwen-tiny");
    let policy = text(&policy);
    if !built(policy, "{\"prompt\":\"1 + 1\"}\n") {
        return;
    }
    let tasks = run("r1-tasks", &["--count", "3", "--seed", "4", "-q"], "").success();
    let ordered = ["--device", "cuda", "--batch-invariant", "-q"];
    let draw = [policy, "--max-tokens", "12", "-n", "4", "--temperature", "0.8"];
    let drawn = emulated("r1-rollout", &[&draw[..], &ordered].concat(), &tasks).success();
    let rewarded = run("r1-reward", &["-q"], &drawn).success();
    let advantaged = run("r1-advantage", &["-q"], &rewarded).success();
    let (out, metrics) = (dir.path().join("out"), dir.path().join("metrics.jsonl"));
    let train = [policy, "-", "-o", text(&out), "--check-logprobs", "0", "--metrics", text(&metrics)];
    emulated("r1-grpo", &[&train[..], &ordered].concat(), &advantaged).success();
    let lines = std::fs::read_to_string(&metrics).expect("metrics");
    let apart: Vec<f64> =
        rows(&lines).iter().filter_map(|line| line["logprob_max_difference"].as_f64()).collect();
    assert_eq!(apart, [0.0]);
}
