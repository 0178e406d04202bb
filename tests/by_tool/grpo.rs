//! r1-grpo: the first ratio is exactly 1, rounds replay byte for byte, and what is missing is named.

use super::sft::{files, kill_until_done, metrics, policy, same_bytes};
use crate::harness::{command, refuses_bad_rows, rows, run, scratch, wait};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// A policy and one round of advantaged rows that it sampled.
struct Round {
    dir: tempfile::TempDir,
    policy: String,
    rows: String,
}

impl Round {
    fn of(preset: &str) -> Round {
        let dir = scratch();
        let (path, _) = policy(dir.path(), preset);
        let policy = path.to_str().unwrap().to_string();
        let tasks = run("r1-tasks", &["--count", "6", "--seed", "9", "-q"], "").success();
        let drawn =
            run("r1-rollout", &[&policy, "-", "-n", "4", "--max-tokens", "12", "-q"], &tasks).success();
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
                assert_eq!((&line["ratio_mean"], &line["ratio_max"]), (&json!(1.0), &json!(1.0)));
                assert_eq!(line["clip_fraction"], 0.0);
            } else {
                // Rounding to bf16 can send a token to another expert: close, and not equal.
                assert!(line["logprob_max_difference"].as_f64().unwrap() < 1.0);
            }
            assert!(line["grad_norm"].as_f64().unwrap() > 0.0 && line["entropy"].as_f64().unwrap() > 0.0);
            for key in ["reward", "reward_std", "completion_length", "zero_advantage_share", "learning_rate"]
            {
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
fn a_round_replays_byte_for_byte_from_a_pipe_a_file_or_after_kills() {
    let round = Round::of("r1-tiny");
    let file = round.path("rows.jsonl");
    fs::write(&file, &round.rows).unwrap();
    let flags = ["--batch-size", "8", "--epochs", "2", "-q"];
    round.update("piped", &flags).success();
    let mut all =
        vec![round.policy.clone(), file, "-o".into(), round.path("from-file"), "--lr".into(), "1e-3".into()];
    all.extend(flags.map(String::from));
    all.extend(["--threads".into(), "1".into()]);
    run("r1-grpo", &all.iter().map(String::as_str).collect::<Vec<_>>(), "").success();
    same_bytes(&at(&round, "piped"), &at(&round, "from-file"));

    let killed = round.path("killed");
    let mut all = vec![round.policy.as_str(), "-", "-o", &killed, "--lr", "1e-3"];
    all.extend(flags);
    let kills = kill_until_done("r1-grpo", &all, round.rows.as_bytes(), || {
        let out = Path::new(&killed);
        assert!(!out.exists() || files(out).iter().any(|(name, _)| name == "model.safetensors"));
    });
    assert!(kills >= 1);
    same_bytes(&at(&round, "piped"), &at(&round, "killed"));
    // Done is done.
    let again = run("r1-grpo", &all, &round.rows);
    assert!(again.code() == 0);
    same_bytes(&at(&round, "piped"), &at(&round, "killed"));
}

#[test]
fn a_signal_in_the_middle_of_a_round_saves_and_the_round_goes_on() {
    let round = Round::of("qwen-tiny");
    let flags = ["--batch-size", "2", "--epochs", "12", "-q"];
    round.update("whole", &flags).success();
    let parted = round.path("parted");
    let mut all = vec![round.policy.as_str(), "-", "-o", &parted, "--lr", "1e-3"];
    all.extend(flags);
    let mut child = command("r1-grpo", &all);
    let mut child =
        child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    {
        use std::io::Write;
        child.stdin.take().unwrap().write_all(round.rows.as_bytes()).unwrap();
    }
    std::thread::sleep(std::time::Duration::from_millis(250));
    // SAFETY: the process is our child and has not been waited for.
    unsafe { libc::kill(child.id() as i32, libc::SIGINT) };
    let stopped = wait(child, b"");
    match stopped.code() {
        130 => {
            let state: Value =
                serde_json::from_slice(&fs::read(Path::new(&parted).join("train.json")).unwrap()).unwrap();
            assert_eq!(state["status"], "running");
            run("r1-grpo", &all, &round.rows).success();
        }
        code => {
            println!("the round was over before the signal came: nothing to compare");
            assert_eq!(code, 0, "{}", stopped.stderr);
        }
    }
    same_bytes(&at(&round, "whole"), &at(&round, "parted"));
}

#[test]
fn rounds_in_place_are_the_rounds_of_a_chain_and_are_taken_once() {
    let round = Round::of("r1-tiny");
    round.update("one", &["-q"]).success();
    let (one, two, rolling) = (round.path("one"), round.path("two"), round.path("rolling"));
    let tasks = run("r1-tasks", &["--count", "4", "--seed", "2", "-q"], "").success();
    let drawn = run("r1-rollout", &[&one, "-", "-n", "4", "--max-tokens", "8", "--seed", "3", "-q"], &tasks)
        .success();
    let judged: String = rows(&drawn)
        .into_iter()
        .enumerate()
        .map(|(i, mut row)| {
            row["reward"] = json!({"total": (i % 3) as f64});
            format!("{row}\n")
        })
        .collect();
    let second = run("r1-advantage", &["-q"], &judged).success();
    run("r1-grpo", &[&one, "-", "-o", &two, "--lr", "1e-3", "--check-logprobs", "0", "-q"], &second)
        .success();

    fs::create_dir(&rolling).unwrap();
    for (name, bytes) in files(Path::new(&round.policy)) {
        fs::write(Path::new(&rolling).join(name), bytes).unwrap();
    }
    let in_place = |rows: &str, flags: &[&str]| {
        let mut all = vec![rolling.as_str(), "-", "-o", &rolling, "--lr", "1e-3"];
        all.extend(flags);
        run("r1-grpo", &all, rows)
    };
    let log = round.path("metrics.jsonl");
    in_place(&round.rows, &["--metrics", &log]).success();
    same_bytes(Path::new(&one), Path::new(&rolling));
    let again = in_place(&round.rows, &[]);
    assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
    again.success();
    same_bytes(Path::new(&one), Path::new(&rolling));
    in_place(&round.rows, &["--seed", "4"])
        .refused(2, &["has taken these rows already", "--seed was 0, now 4"]);
    in_place(&second, &["--metrics", &log]).success();
    // Moments, step and round went on: both ways end with the same bytes.
    same_bytes(Path::new(&two), Path::new(&rolling));
    let steps: Vec<Value> = metrics(Path::new(&log)).iter().map(|l| json!([l["step"], l["round"]])).collect();
    assert_eq!(steps, [json!([1, 1]), json!([2, 2])]);
    let foreign = Path::new(&rolling).join("notes.txt");
    fs::write(&foreign, "mine").unwrap();
    in_place(&second, &[]).refused(2, &["would lose notes.txt"]);
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
fn the_divergence_from_the_reference_starts_at_zero_and_holds_back() {
    let round = Round::of("qwen-tiny");
    let out = round.path("out");
    let beta = ["-o", out.as_str(), "--kl-beta", "0.1", "--epochs", "3", "--lr", "3e-3"];
    let mut all = vec![round.policy.as_str(), "-"];
    all.extend(beta);
    run("r1-grpo", &all, &round.rows)
        .refused(2, &["stdin:1", "no `reference.logprobs`", "--score reference"]);
    let scored =
        run("r1-rollout", &[&round.policy, "-", "--score", "reference", "-q"], &round.rows).success();
    let log = round.path("metrics.jsonl");
    all.extend(["--metrics", &log]);
    run("r1-grpo", &all, &scored).success();
    let kl: Vec<f64> = metrics(Path::new(&log)).iter().map(|l| l["kl"].as_f64().unwrap()).collect();
    assert!(kl[0] == 0.0 && kl[1] > 0.0 && kl.len() == 3, "{kl:?}");
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

#[test]
fn a_round_without_any_advantage_says_so() {
    let round = Round::of("llama-tiny");
    let text: String = rows(&round.rows)
        .into_iter()
        .map(|mut row| {
            row["advantage"] = json!(0.0);
            format!("{row}\n")
        })
        .collect();
    let out = round.path("out");
    let outcome = run("r1-grpo", &[&round.policy, "-", "-o", &out], &text);
    assert!(outcome.stderr.contains("nothing to learn from these rows"), "{}", outcome.stderr);
    outcome.success();
    // A zero gradient moves nothing: the weights are the policy's own.
    let weights = |dir: &str| fs::read(Path::new(dir).join("model.safetensors")).unwrap();
    assert!(weights(&out) == weights(&round.policy));
}
