//! r1-prefer as a process: it learns what is better, it survives being killed, and it says what is wrong.

use super::sft::{files, kill_until_done, metrics, policy, same_bytes};
use crate::harness::*;
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Preference pairs of requests without a verifiable answer, in two languages.
pub fn pairs(count: &str, split: &str) -> String {
    let flags = ["--pairs", "--family", "general", "--language", "en", "--language", "zh", "--split", split];
    run("r1-tasks", &[&flags[..], &["--count", count, "-q"]].concat(), "").success()
}

/// Each pair as a right and a wrong completion.
fn labels(pairs: &str) -> String {
    let mut out = String::new();
    for row in rows(pairs) {
        for (column, label) in [("chosen", "safe"), ("rejected", "unsafe")] {
            let line =
                serde_json::json!({"prompt": row["prompt"], "completion": row[column], "label": label});
            out += &format!("{line}\n");
        }
    }
    out
}

fn text(path: &Path) -> String {
    path.to_str().expect("UTF-8").to_string()
}

#[test]
fn it_learns_what_is_better_and_tells_on_held_out_pairs() {
    let dir = scratch();
    let (policy, _) = policy(dir.path(), "llama-tiny");
    let (out, log, held) =
        (dir.path().join("rm"), dir.path().join("metrics.jsonl"), dir.path().join("held.jsonl"));
    fs::write(&held, pairs("100", "test")).unwrap();
    let train = pairs("400", "train");
    let (policy, out_text, held, log_text) = (text(&policy), text(&out), text(&held), text(&log));
    let mut arguments = vec![policy.as_str(), "-o", &out_text, "--eval", &held, "--metrics", &log_text];
    arguments.extend(["--lr", "2e-3", "--batch-size", "20", "--epochs", "2", "--center", "0.01"]);
    let outcome = run("r1-prefer", &arguments, &train);
    assert!(outcome.stderr.contains("400 pairs, 0 labels"), "{}", outcome.stderr);
    outcome.success();
    let lines = metrics(&log);
    let steps: Vec<&Value> = lines.iter().filter(|l| l["loss"].is_number()).collect();
    assert_eq!(steps.len(), 40);
    for key in ["accuracy", "margin", "mean_reward", "min_reward", "max_reward", "grad_norm", "learning_rate"]
    {
        assert!(steps.iter().all(|l| l[key].is_number()), "{key}");
    }
    let evals: Vec<&Value> = lines.iter().filter(|l| l["eval_accuracy"].is_number()).collect();
    assert_eq!(evals.iter().map(|l| l["step"].as_u64().unwrap()).collect::<Vec<_>>(), [0, 20, 40]);
    let last = evals[2];
    let of = |key: &str| last[key].as_f64().unwrap();
    assert!(of("eval_accuracy_low") > 0.52, "{last}");
    assert!(of("eval_accuracy_low") < of("eval_accuracy") && of("eval_accuracy") <= of("eval_accuracy_high"));
    assert!(of("eval_loss") < 0.65 && of("eval_ece") < 0.5 && of("eval_rows") == 100.0, "{last}");
    assert!((0.0..=1.0).contains(&of("eval_longer_wins")), "{last}");

    // What it wrote is a classifier's directory.
    let config: Value = serde_json::from_slice(&fs::read(out.join("config.json")).unwrap()).unwrap();
    assert_eq!(config["architectures"][0], "LlamaForSequenceClassification");
    assert_eq!(config["id2label"], serde_json::json!({"0": "score"}));
    assert!(config["pad_token_id"].is_number());
    let header = fs::read(out.join("model.safetensors")).unwrap();
    let header = String::from_utf8_lossy(&header[8..20_000.min(header.len())]).into_owned();
    assert!(header.contains("\"score.weight\"") && !header.contains("lm_head"), "the head is another");
    // It scores, and does not continue text.
    run("r1-rollout", &[&text(&out)], "{\"prompt\":\"q\"}\n").refused(2, &["config.json", "classifier"]);

    // Again: nothing to do. Another command: refused. From where it stands, on: a run of its own.
    let before = files(&out);
    let again = run("r1-prefer", &arguments, &train);
    assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
    let mut other = arguments.clone();
    other.push("--pointwise");
    run("r1-prefer", &other, &train).refused(2, &["--pointwise was false, now true"]);
    assert!(before == files(&out));
    let further = text(&dir.path().join("further"));
    run("r1-prefer", &[&text(&out), "-o", &further, "--max-steps", "1", "-q"], &train).success();
}

#[test]
fn labels_and_pairs_taken_as_labels_are_the_same_thing() {
    let dir = scratch();
    let (policy, _) = policy(dir.path(), "qwen-tiny");
    let train = pairs("60", "train");
    let (a, b) = (dir.path().join("labels"), dir.path().join("pairs"));
    let wrong = dir.path().join("wrong");
    let (from, b_text, wrong_text) = (text(&policy), text(&b), text(&wrong));
    let flags = ["--lr", "1e-3", "--batch-size", "120", "--max-steps", "2", "-q", "--dtype", "f32"];
    run("r1-prefer", &[&[text(&policy).as_str(), "-o", &text(&a)][..], &flags].concat(), &labels(&train))
        .success();
    let with = [&[from.as_str(), "-o", &b_text, "--pointwise"][..], &flags].concat();
    run("r1-prefer", &with, &train).success();
    assert!(fs::read(a.join("model.safetensors")).unwrap() == fs::read(b.join("model.safetensors")).unwrap());
    let with = [&[from.as_str(), "-o", &wrong_text, "--center", "0.1"][..], &flags].concat();
    run("r1-prefer", &with, &labels(&train)).refused(2, &["--center has no effect on labels"]);
    assert!(!wrong.exists());
}

#[test]
fn a_run_killed_at_any_moment_ends_with_the_same_bytes() {
    let dir = scratch();
    let (policy, _) = policy(dir.path(), "r1-tiny");
    let train = pairs("120", "train");
    fs::write(dir.path().join("pairs.jsonl"), &train).unwrap();
    let run_to = |out: &str, threads: &str| -> Vec<String> {
        let path = |name: &str| text(&dir.path().join(name));
        let mut all = vec![text(&policy), path("pairs.jsonl"), "-o".into(), path(out)];
        let flags = "--max-steps 8 --batch-size 24 --lr 1e-3 --checkpoint-every 1 -q --metrics";
        all.extend(flags.split(' ').map(String::from));
        all.extend([path(&format!("{out}.jsonl")), "--threads".into(), threads.into()]);
        all
    };
    let whole = run_to("whole", "1");
    run("r1-prefer", &whole.iter().map(String::as_str).collect::<Vec<_>>(), "").success();
    let broken = run_to("broken", "2");
    let kills =
        kill_until_done("r1-prefer", &broken.iter().map(String::as_str).collect::<Vec<_>>(), b"", || {
            let out = dir.path().join("broken");
            assert!(
                !out.exists() || (out.join("model.safetensors").exists() && out.join("train.json").exists())
            );
        });
    assert!(kills >= 2, "{kills} kills are too few to mean anything");
    same_bytes(&dir.path().join("whole"), &dir.path().join("broken"));
    let told = |name: &str| {
        let mut lines = metrics(&dir.path().join(name));
        lines.retain(|line| line["loss"].is_number());
        lines
    };
    assert_eq!(told("whole.jsonl"), told("broken.jsonl"));
}

#[test]
fn patience_keeps_the_best_and_survives_being_killed() {
    let dir = scratch();
    let (policy, _) = policy(dir.path(), "llama-tiny");
    let path = |name: &str| text(&dir.path().join(name));
    fs::write(path("pairs.jsonl"), pairs("60", "train")).unwrap();
    // Held-out pairs the wrong way round: the more is learned, the worse it gets.
    let turned: String = rows(&pairs("60", "train"))
        .iter()
        .map(|row| {
            let (chosen, rejected) = (&row["rejected"], &row["chosen"]);
            format!(
                "{}\n",
                serde_json::json!({"prompt": row["prompt"], "chosen": chosen, "rejected": rejected})
            )
        })
        .collect();
    fs::write(path("turned.jsonl"), turned).unwrap();
    let words = |out: &str| {
        let flags = "--epochs 4 --batch-size 12 --lr 1e-3 --eval-every 2 --patience 3 --metrics";
        let mut all = vec![
            text(&policy),
            path("pairs.jsonl"),
            "-o".into(),
            path(out),
            "--eval".into(),
            path("turned.jsonl"),
        ];
        all.extend(flags.split(' ').map(String::from));
        all.push(path(&format!("{out}.jsonl")));
        all
    };
    let whole = words("whole");
    let outcome = run("r1-prefer", &whole.iter().map(String::as_str).collect::<Vec<_>>(), "");
    let told = outcome.stderr.clone();
    outcome.success();
    let lines = metrics(&dir.path().join("whole.jsonl"));
    let evals: Vec<(u64, f64)> = lines
        .iter()
        .filter(|line| line["eval_loss"].is_number() && line["step"] != 0)
        .map(|line| (line["step"].as_u64().unwrap(), line["eval_loss"].as_f64().unwrap()))
        .collect();
    let best = evals.iter().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    let state = |out: &str| -> Value {
        serde_json::from_slice(&fs::read(dir.path().join(out).join("train.json")).unwrap()).unwrap()
    };
    // It ended three measurements after the best one, before all twenty updates, and kept the best.
    assert_eq!(evals.last().unwrap().0, best.0 + 6, "{evals:?}");
    assert!(best.0 + 6 < 20, "{evals:?}");
    assert_eq!((&state("whole")["step"], &state("whole")["status"]), (&best.0.into(), &"done".into()));
    assert!(told.contains(&format!("the reward model after {} was the best", best.0)), "{told}");
    assert!(!dir.path().join("whole/optimizer.safetensors").exists());
    // What is kept is what a run of as many updates at the same rates would have made: measured again it says the same.
    let again = run(
        "r1-judge",
        &["--score", &format!("s={}", path("whole"))],
        "{\"prompt\":\"q\",\"rollout\":{\"completion\":\"a\"}}\n",
    );
    assert!(again.rows()[0]["judgement"]["s"].is_number());
    let broken = words("broken");
    let broken: Vec<&str> = broken.iter().map(String::as_str).collect();
    let kills = kill_until_done("r1-prefer", &broken, b"", || {});
    assert!(kills >= 2, "{kills} kills are too few to mean anything");
    same_bytes(&dir.path().join("whole"), &dir.path().join("broken"));
    run("r1-prefer", &[&text(&policy), &path("pairs.jsonl"), "-o", "x", "--patience", "3"], "")
        .refused(2, &["--eval"]);
}

#[test]
fn what_is_no_preference_is_refused_in_one_line() {
    let dir = scratch();
    let (policy, _) = policy(dir.path(), "llama-tiny");
    let (from, out) = (text(&policy), text(&dir.path().join("rm")));
    let good = "{\"prompt\":\"q\",\"chosen\":\"a\",\"rejected\":\"b\"}\n";
    let with =
        |row: &str| run("r1-prefer", &[&from, "-o", &out, "--max-steps", "1"], &format!("{good}{row}\n"));
    let cases: [(&str, &[&str]); 6] = [
        ("{\"prompt\":\"q\",\"chosen\":\"a\"}", &["stdin:2", "rejected"]),
        ("{\"prompt\":\"q\",\"chosen\":\"a\",\"rejected\":\"a\"}", &["stdin:2", "the same"]),
        ("{\"prompt\":\"q\",\"completion\":\"a\"}", &["stdin:2", "label"]),
        ("{\"prompt\":\"q\",\"completion\":\"a\",\"label\":\"maybe\"}", &["stdin:2", "unsafe"]),
        ("{\"prompt\":\"q\",\"chosen\":\"a\",\"rejected\":\"b\",\"margin\":\"x\"}", &["stdin:2", "margin"]),
        ("{\"prompt\":\"q\",\"chosen\":\"\",\"rejected\":\"b\"}", &["stdin:2", "empty"]),
    ];
    for (row, words) in cases {
        with(row).refused(2, words);
        assert!(!Path::new(&out).exists(), "{row}");
    }
    run("r1-prefer", &["no/such/policy", "-o", &out], good).refused(2, &["no/such/policy"]);
    run("r1-prefer", &[&from, "-o", &from], good).refused(2, &["is the policy that it would start from"]);
    run("r1-prefer", &[&from, "-o", &out, "--max-length", "1"], good).refused(2, &["--max-length"]);
    for flag in [&["--neftune", "5"][..], &["--keep-optimizer"], &["--plan"], &["--selftest"]] {
        let words: Vec<&str> = [&from, "-o", &out].into_iter().chain(flag.iter().copied()).collect();
        run("r1-prefer", &words, good).refused(2, &[flag[0], "reward model"]);
    }
}
