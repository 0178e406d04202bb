//! r1-grpo as a process: the first ratio is exactly 1, what was good becomes more likely, and what is missing is named.

mod losses;
mod replay;
mod rounds;

use super::sft::{metrics, policy, same_bytes};
use crate::harness::{refuses_bad_rows, rows, run, scratch};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// A policy and one round of advantaged rows that it sampled.
struct Round {
    dir: tempfile::TempDir,
    policy: String,
    rows: String,
}

impl Round {
    fn of(preset: &str) -> Round {
        Round::drawn(preset, "0")
    }

    /// A round of another draw.
    fn drawn(preset: &str, seed: &str) -> Round {
        let dir = scratch();
        let (path, _) = policy(dir.path(), preset);
        let policy = path.to_str().unwrap().to_string();
        let tasks = run("r1-tasks", &["--count", "6", "--seed", "9", "-q"], "").success();
        let flags = ["-n", "4", "--max-tokens", "12", "--seed", seed, "-q"];
        let drawn = run("r1-rollout", &[&[policy.as_str(), "-"][..], &flags].concat(), &tasks).success();
        // A fresh policy is never right: rewards that spread, so that there is something to learn.
        let mut text = String::new();
        for (i, mut row) in rows(&drawn).into_iter().enumerate() {
            row["reward"] = json!({"total": (i * 7 % 4) as f64 / 2.0});
            text += &format!("{row}\n");
        }
        let rows = run("r1-advantage", &["-q"], &text).success();
        Round { dir, policy, rows }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_string()
    }

    /// Runs r1-grpo from the policy to `out`.
    fn update(&self, out: &str, flags: &[&str]) -> crate::harness::Outcome {
        let out = self.path(out);
        let mut all = vec![self.policy.as_str(), "-", "-o", &out, "--lr", "1e-3"];
        all.extend(flags);
        run("r1-grpo", &all, &self.rows)
    }
}

/// What `train.json` of a policy directory says of its command.
fn command_of(dir: &str) -> Value {
    let text = fs::read(Path::new(dir).join("train.json")).unwrap();
    serde_json::from_slice::<Value>(&text).unwrap()["command"].clone()
}

fn at(round: &Round, name: &str) -> PathBuf {
    round.dir.path().join(name)
}

#[test]
fn on_the_sampling_policy_every_ratio_is_exactly_one() {
    for preset in ["r1-tiny", "qwen-tiny"] {
        for dtype in ["f32", "auto"] {
            let round = Round::of(preset);
            // --dtype auto is what sampled; f32 agrees bit for bit only where auto is f32.
            let log = round.path("metrics.jsonl");
            let mut flags = vec!["--metrics", log.as_str(), "--dtype", dtype];
            if dtype == "auto" {
                flags.extend(["--check-logprobs", "0"]);
            }
            let outcome = round.update("out", &flags);
            assert!(outcome.stderr.contains("by construction") || dtype == "f32", "{}", outcome.stderr);
            outcome.success();
            let line = &metrics(Path::new(&log))[0];
            assert_eq!((&line["step"], &line["round"], &line["rows"]), (&json!(1), &json!(1), &json!(24)));
            if dtype == "auto" {
                assert_eq!(line["logprob_max_difference"], 0.0);
                assert_eq!((&line["ratio/mean"], &line["ratio/max"]), (&json!(1.0), &json!(1.0)));
                assert_eq!(line["clip_ratio/region_mean"], 0.0);
            } else {
                // Rounding to bf16 can send a token to another expert: close, and not equal.
                assert!(line["logprob_max_difference"].as_f64().unwrap() < 1.0);
            }
            assert!(line["grad_norm"].as_f64().unwrap() > 0.0 && line["entropy"].as_f64().unwrap() > 0.0);
            for key in [
                "reward",
                "reward_std",
                "completions/mean_length",
                "frac_reward_zero_std",
                "frac_tokens_moving",
                "learning_rate",
                "step_time",
            ] {
                assert!(line[key].is_number(), "{key} is missing in {line}");
            }
        }
    }
}

#[test]
fn what_was_good_becomes_more_likely() {
    let round = Round::of("llama-tiny");
    round.update("out", &["--epochs", "4", "-q"]).success();
    let scored =
        run("r1-rollout", &[&round.path("out"), "-", "--score", "after", "-q"], &round.rows).success();
    let sum = |list: &Value| list.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).sum::<f64>();
    let moved: f64 = rows(&scored)
        .iter()
        .map(|row| {
            let change = sum(&row["after"]["logprobs"]) - sum(&row["rollout"]["logprobs"]);
            row["advantage"].as_f64().unwrap().signum() * change
        })
        .sum();
    assert!(moved > 1.0, "advantage-weighted change of log-probabilities: {moved}");
}

#[test]
fn recorded_log_probabilities_are_checked() {
    let round = Round::of("llama-tiny");
    let mut changed = rows(&round.rows);
    let old = changed[5]["rollout"]["logprobs"][2].as_f64().unwrap();
    changed[5]["rollout"]["logprobs"][2] = json!(old - 0.25);
    let text: String = changed.iter().map(|row| format!("{row}\n")).collect();
    let out = round.path("out");
    for more in [&[][..], &["--batch-size", "8"]] {
        let mut all = vec![round.policy.as_str(), "-", "-o", &out, "--check-logprobs", "1e-3"];
        all.extend(more);
        run("r1-grpo", &all, &text)
            .refused(1, &["line 6 of the input, completion token 2", "nothing was trained"]);
        assert!(!Path::new(&out).exists());
    }
    run("r1-grpo", &[&round.policy, "-", "-o", &out, "--check-logprobs", "0.3", "-q"], &text).success();
}

#[test]
fn what_is_missing_is_named() {
    let round = Round::of("llama-tiny");
    let out = round.path("out");
    let arguments = [round.policy.as_str(), "-", "-o", &out];
    let good = round.rows.lines().next().unwrap();
    refuses_bad_rows("r1-grpo", &arguments, good);
    let _ = fs::remove_dir_all(&out);
    let without = |section: &str, key: &str| {
        let mut row: Value = serde_json::from_str(good).unwrap();
        match key {
            "" => row.as_object_mut().unwrap().remove(section),
            key => row[section].as_object_mut().unwrap().remove(key),
        };
        format!("{row}\n")
    };
    for (section, key, words) in [
        ("advantage", "", &["stdin:1", "advantage", "r1-advantage"][..]),
        ("rollout", "", &["stdin:1", "rollout", "r1-rollout"]),
        ("rollout", "logprobs", &["no `rollout.logprobs`"]),
        ("rollout", "prompt_ids", &["no `rollout.prompt_ids`"]),
        ("rollout", "completion_ids", &["stdin:1"]),
    ] {
        run("r1-grpo", &arguments, &without(section, key)).refused(2, words);
    }
    let mut row: Value = serde_json::from_str(good).unwrap();
    row["rollout"]["prompt_ids"] = json!([999999]);
    run("r1-grpo", &arguments, &format!("{row}\n")).refused(2, &["stdin:1", "999999", "vocabulary"]);
    row["rollout"]["prompt_ids"] = json!([]);
    run("r1-grpo", &arguments, &format!("{row}\n")).refused(2, &["stdin:1", "prompt_ids` is empty"]);
    let dr = ["--loss", "dr_grpo"];
    round.update("out", &dr).refused(2, &["--generation-limit"]);
    assert!(!Path::new(&out).exists());
}

/// The same rows, none better than another.
fn without_advantage(text: &str) -> String {
    let all = rows(text).into_iter().map(|mut row| {
        row["advantage"] = json!(0.0);
        format!("{row}\n")
    });
    all.collect()
}

#[test]
fn a_round_without_any_advantage_says_so() {
    let round = Round::of("llama-tiny");
    let text = without_advantage(&round.rows);
    let out = round.path("out");
    let outcome = run("r1-grpo", &[&round.policy, "-", "-o", &out], &text);
    assert!(outcome.stderr.contains("nothing to learn from these rows"), "{}", outcome.stderr);
    outcome.success();
    // A zero gradient moves nothing: the weights are the policy's own.
    let weights = |dir: &str| fs::read(Path::new(dir).join("model.safetensors")).unwrap();
    assert!(weights(&out) == weights(&round.policy));
}

#[test]
fn explanations_say_what_a_zero_means() {
    let round = Round::of("llama-tiny");
    let told = round.update("out", &["--explain"]);
    assert!(told.stderr.contains("it does not measure progress"), "{}", told.stderr);
    told.success();
    let silent = round.update("silent", &[]);
    assert!(!silent.stderr.contains("it does not measure progress"), "{}", silent.stderr);
    let warm = round.update("warm", &["--explain", "--warmup", "5"]);
    assert!(warm.stderr.contains("learning rate 0"), "{}", warm.stderr);
    let cut: String = rows(&round.rows)
        .into_iter()
        .map(|mut row| {
            row["rollout"]["finish_reason"] = json!("length");
            format!("{row}\n")
        })
        .collect();
    let out = round.path("masked");
    let all = [round.policy.as_str(), "-", "-o", &out, "--mask-truncated", "--explain"];
    let masked = run("r1-grpo", &all, &cut);
    assert!(masked.stderr.contains("no token has a loss"), "{}", masked.stderr);
    masked.success();
}
