//! r1-distill: a student of another family and tokenizer learns what a teacher wrote.

mod logprobs;

use super::sft::{files, metrics, policy};
use crate::harness::{rows, run, scratch};
use serde_json::json;
use std::path::Path;

#[test]
fn a_student_with_another_tokenizer_learns_from_the_right_rows() {
    let dir = scratch();
    let text = |p: &Path| p.to_str().unwrap().to_string();
    let (_, corpus) = policy(dir.path(), "r1-tiny");
    // The student's tokenizer is learned from other words.
    let student = text(&dir.path().join("student"));
    let other = run("r1-tasks", &["--corpus", "--count", "200", "--family", "counting", "-q"], "").success();
    let flags = ["--preset", "llama-tiny", "--corpus", "-", "--vocab", "300", "-o", &student, "-q"];
    run("r1-init", &flags, &other).success();
    // What a teacher's rollouts look like after r1-reward.
    let mut judged = String::new();
    let mut right = 0;
    for mut row in rows(&corpus) {
        let correct = row["correct"] == true;
        right += usize::from(correct);
        let completion = row.as_object_mut().unwrap().remove("completion").unwrap();
        row["rollout"] = json!({"completion": completion, "finish_reason": "stop"});
        row["reward"] = json!({"total": f64::from(correct), "accuracy": f64::from(correct)});
        judged += &format!("{row}\n");
    }
    let (out, log) = (text(&dir.path().join("out")), text(&dir.path().join("metrics.jsonl")));
    let mut arguments =
        vec![student.as_str(), "-", "-o", &out, "--correct-only", "--lr", "3e-3", "--epochs", "4"];
    arguments.extend(["--batch-size", "32", "--metrics", &log]);
    let outcome = run("r1-distill", &arguments, &judged);
    let wrong = 240 - right;
    let counted = format!("{right} rows used; refused: {wrong} wrong");
    assert!(outcome.stderr.contains(&counted), "{counted}: {}", outcome.stderr);
    outcome.success();
    let losses: Vec<f64> = metrics(Path::new(&log)).iter().filter_map(|l| l["loss"].as_f64()).collect();
    assert!(losses[losses.len() - 1] < 0.7 * losses[0], "{losses:?}");
    let written = files(Path::new(&out));
    let tokenizer =
        |all: &[(String, Vec<u8>)]| all.iter().find(|(n, _)| n == "tokenizer.json").unwrap().1.clone();
    assert!(tokenizer(&written) == tokenizer(&files(Path::new(&student))), "the student keeps its tokenizer");

    let again = run("r1-distill", &arguments, &judged);
    assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
    arguments.retain(|a| *a != "--correct-only");
    run("r1-distill", &arguments, &judged).refused(2, &["--correct-only was true, now false"]);
}

#[test]
fn rows_are_counted_by_the_reason_of_their_refusal() {
    let dir = scratch();
    let (student, _) = policy(dir.path(), "qwen-tiny");
    let (student, out) = (student.to_str().unwrap(), dir.path().join("out"));
    let out = out.to_str().unwrap();
    let text = concat!(
        r#"{"prompt":"2+2?","rollout":{"completion":"<think>2 + 2 = 4</think> <answer>4</answer>","finish_reason":"stop"}}"#,
        "\n",
        r#"{"prompt":"2+2?","rollout":{"completion":"<think>2 +","finish_reason":"length"}}"#,
        "\n",
        r#"{"prompt":"2+2?","rollout":{"completion":"<think>2 + 2 = 4</think>"}}"#,
        "\n",
        r#"{"prompt":"2+2?","completion":"4"}"#,
        "\n"
    );
    let arguments = [student, "-", "-o", out, "--thinking", "strip", "--max-steps", "1"];
    let outcome = run("r1-distill", &arguments, text);
    let words = "2 rows used; refused: 1 truncated, 1 empty";
    assert!(outcome.stderr.contains(words), "{}", outcome.stderr);
    outcome.success();
    let nothing = "{\"prompt\":\"q\",\"completion\":\"x\"}\n";
    let arguments = [student, "-", "-o", out, "--correct-only"];
    run("r1-distill", &arguments, nothing).refused(2, &["nothing to learn", "1 never judged"]);
    run("r1-distill", &arguments, "{\"prompt\":\"q\"}\n").refused(2, &["stdin:1", "completion"]);
}
