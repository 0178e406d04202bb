//! r1-rollout as a process: sampling, scoring, and how it fails.

mod cuts;
mod draw;
mod endpoint;
mod manners;
mod resume;
mod score;
mod templates;

use crate::harness::*;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Where this process keeps the policies that many tests use; what earlier processes left there goes away.
fn shelf() -> &'static Path {
    static SHELF: OnceLock<PathBuf> = OnceLock::new();
    SHELF.get_or_init(|| {
        let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
        fs::create_dir_all(parent).expect("the target directory can be written");
        for entry in fs::read_dir(parent).expect("readable").flatten() {
            let name = entry.file_name().into_string().unwrap_or_default();
            let Some(pid) = name.strip_prefix("policies-").and_then(|pid| pid.parse::<i32>().ok()) else {
                continue;
            };
            // SAFETY: signal 0 only asks whether the process is there.
            if unsafe { libc::kill(pid, 0) } != 0 {
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        let own = parent.join(format!("policies-{}", std::process::id()));
        fs::create_dir_all(&own).expect("the target directory can be written");
        own
    })
}

/// A policy that has learned a little from a small corpus, so that completions differ in length and most end by themselves.
fn learned(preset: &str, made: &'static OnceLock<String>) -> &'static str {
    made.get_or_init(|| {
        let (fresh, corpus) = super::sft::policy(shelf(), preset);
        let out = shelf().join(format!("{preset}-learned")).to_str().expect("UTF-8").to_string();
        let mut arguments = vec![fresh.to_str().expect("UTF-8"), "-", "-o", &out, "-q"];
        arguments.extend(["--batch-size", "24", "--lr", "3e-3", "--max-steps", "30"]);
        run("r1-sft", &arguments, &corpus).success();
        out
    })
}

/// The DeepSeek-V3-shaped policy: latent attention, experts.
pub fn deepseek() -> &'static str {
    static MADE: OnceLock<String> = OnceLock::new();
    learned("r1-tiny", &MADE)
}

/// The Qwen2-shaped policy: grouped queries, biases, tied embeddings.
pub fn qwen() -> &'static str {
    static MADE: OnceLock<String> = OnceLock::new();
    learned("qwen-tiny", &MADE)
}

/// Task rows.
pub fn tasks(count: usize) -> String {
    run("r1-tasks", &["--count", &count.to_string(), "--seed", "11", "-q"], "").success()
}

/// Runs r1-rollout on rows with flags that stand in one text.
pub fn rollout(policy: &str, flags: &str, rows: &str) -> Outcome {
    let mut arguments = vec![policy, "-", "-q"];
    arguments.extend(flags.split_whitespace());
    run("r1-rollout", &arguments, rows)
}

/// The compute types of this machine.
pub fn dtypes() -> Vec<&'static str> {
    let outcome = rollout(qwen(), "--dtype bf16 --max-tokens 1", &tasks(1));
    if outcome.code() == 0 {
        return vec!["f32", "bf16"];
    }
    outcome.refused(2, &["--dtype f32"]);
    println!("skipped: this machine has no bf16");
    vec!["f32"]
}

/// A list of a row's `rollout`.
fn list<'a>(row: &'a Value, name: &str) -> &'a [Value] {
    row["rollout"][name].as_array().unwrap_or_else(|| panic!("no rollout.{name} in {row}"))
}

/// Token ids of a row's `rollout`.
fn ids(row: &Value, name: &str) -> Vec<u64> {
    list(row, name).iter().map(|id| id.as_u64().expect("a token id")).collect()
}

/// The id at which the policies of this file end.
fn eos(policy: &str) -> u64 {
    let text = fs::read_to_string(Path::new(policy).join("generation_config.json")).expect("it is there");
    let config: Value = serde_json::from_str(&text).expect("JSON");
    config["eos_token_id"].as_u64().expect("one id")
}
