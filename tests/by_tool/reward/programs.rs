//! `--exec`, weights by task, and parts that need the whole group.

use super::{reward, rewards, row, walkthrough};
use crate::harness::*;
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// An executable shell script.
fn script(directory: &Path, name: &str, body: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{body}\n")).expect("the script can be written");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("permissions");
    path.to_str().expect("a path in UTF-8").to_string()
}

#[test]
fn a_program_judges_too() {
    let directory = scratch();
    let words = script(
        directory.path(),
        "Short-answer.sh",
        r#"while read -r line; do case $line in *gibberish*) echo null;; *'"accuracy":1.0'*) echo '{"reward": 0.5}';; *) echo -1;; esac; done"#,
    );
    let made = rewards(&["--reward", "accuracy", "--exec", &words], &walkthrough());
    assert_eq!(made[0], json!({"total": -1.0, "accuracy": 0.0, "short_answer": -1.0, "answer": "20"}));
    assert_eq!(made[1], json!({"total": 1.5, "accuracy": 1.0, "short_answer": 0.5, "answer": "14"}));
    assert_eq!(made[3], json!({"total": 0.0, "accuracy": 0.0, "answer": "7"}));
    // Its own name and weight, before the other parts.
    let named = format!("mine={words}");
    let arguments = ["--reward", "mine=2", "--reward", "accuracy", "--exec", &named];
    let made = run("r1-reward", &arguments, &walkthrough()).success();
    assert!(made.contains(r#""reward":{"total":2.0,"mine":0.5,"accuracy":1.0,"answer":"14"}"#), "{made}");
    // Only for rows of one task; its answers for the others count for nothing.
    let arguments = ["--reward", "accuracy", "--reward", "choice:mine=1", "--exec", &named];
    assert_eq!(
        rewards(&arguments, &walkthrough())[1],
        json!({"total": 1.0, "accuracy": 1.0, "answer": "14"})
    );
    // A task that only the program knows.
    let chess = reward(&["--exec", &named], json!({"task": "chess", "prompt": "?"}), "e4");
    assert_eq!((&chess["mine"], &chess["accuracy"]), (&json!(-1.0), &Value::Null));
    let two = script(directory.path(), "two", "while read -r line; do echo 2; done");
    let arguments = ["--reward", "accuracy", "--exec", &named, "--exec", &two];
    assert_eq!(
        rewards(&arguments, &walkthrough())[2],
        json!({"total": 3.5, "accuracy": 1.0, "mine": 0.5, "two": 2.0, "answer": "14"})
    );
}

#[test]
fn a_program_may_read_everything_first() {
    let directory = scratch();
    let late = script(directory.path(), "late", "sed 's/.*/0.25/' > \"$0.out\"; cat \"$0.out\"");
    let big = row(json!({"answer": "1", "note": "x".repeat(40_000)}), "<answer>1</answer>").repeat(1000);
    let bad = "{\"answer\": 3}\n";
    let aside = directory.path().join("bad.jsonl");
    let path = aside.to_str().expect("a path in UTF-8");
    // 40 MB wait, with bad rows between that the program never sees.
    let outcome = run(
        "r1-reward",
        &["--reward", "late", "--exec", &late, "--skip-bad", path],
        &[&big, bad, &walkthrough()].concat(),
    );
    let made = outcome.rows();
    assert_eq!(made.len(), 1004);
    assert!(made.iter().all(|row| row["reward"]["total"] == json!(0.25)));
    assert_eq!(made[1003]["rollout"], rows(&walkthrough())[3]["rollout"]);
    assert_eq!(std::fs::read_to_string(aside).expect("bad rows"), bad);
}

#[test]
fn a_program_that_fails_stops_the_run() {
    let directory = scratch();
    let input = walkthrough().repeat(500);
    let fails = |name: &str, body: &str, words: &[&str]| {
        let path = script(directory.path(), name, body);
        let out = directory.path().join("out.jsonl");
        let to = out.to_str().expect("a path in UTF-8");
        run("r1-reward", &["--exec", &path, "-o", to], &input).refused(1, &[&[name][..], words].concat());
        assert!(!out.exists(), "a half-written file is left behind");
    };
    fails("dies", "read -r line; echo 1; exit 3", &["exit status: 3", "after 1 answers"]);
    fails("silent", "cat > /dev/null", &["after 0 answers"]);
    fails("short", "head -n 1999 | sed 's/.*/1/'", &["after 1999 answers"]);
    fails("garbage", "while read -r line; do echo good; done", &["line 1", "\"good\"", "not JSON"]);
    fails("texts", "while read -r line; do echo '\"1\"'; done", &["holds no number"]);
    fails("infinite", "while read -r line; do echo 1e999; done", &["line 1"]);
    fails("long", "while read -r line; do echo 1; echo 1; done", &["goes on"]);
    let endless = script(directory.path(), "endless", "exec yes 1");
    run("r1-reward", &["--exec", &endless], &walkthrough()).refused(1, &["endless", "goes on"]);
    fails("unhappy", "sed 's/.*/1/'; exit 4", &["exit status: 4"]);
    run("r1-reward", &["--exec", "/no/such/program"], &input).refused(2, &["/no/such/program"]);
    run("r1-reward", &["--exec", "format=true"], &input).refused(2, &["format", "taken"]);
}

#[test]
fn weights_may_depend_on_the_task() {
    let arguments = [
        "--reward",
        "accuracy=1",
        "--reward",
        "format=0.5",
        "--reward",
        "choice:accuracy=3",
        "--reward",
        "choice:tag_count=1",
    ];
    let completion = "<think>a</think> <answer>B</answer>";
    let choice = reward(&arguments, json!({"task": "choice", "answer": "B"}), completion);
    assert_eq!(
        choice,
        json!({"total": 3.5, "accuracy": 1.0, "format": 1.0, "tag_count": 0.0, "answer": "B"})
    );
    let exact = reward(&arguments, json!({"task": "exact", "answer": "B"}), completion);
    assert_eq!(exact, json!({"total": 1.5, "accuracy": 1.0, "format": 1.0, "answer": "B"}));
    run("r1-reward", &["--reward", "math:accuracy", "--reward", "math:accuracy=2"], "")
        .refused(2, &["math:accuracy", "twice"]);
}

#[test]
fn length_counts_within_a_group() {
    let of = |id: &str, ids: usize, answer: &str| {
        let rollout =
            json!({"completion": format!("<answer>{answer}</answer>"), "completion_ids": vec![1; ids]});
        format!("{}\n", json!({"id": id, "answer": "1", "rollout": rollout}))
    };
    let input =
        [of("a", 100, "1"), of("a", 150, "1"), of("a", 200, "1"), of("a", 100, "2"), of("a", 200, "2")]
            .concat()
            + &of("b", 70, "1")
            + &of("b", 70, "2");
    let parts: Vec<f64> = rewards(&["--reward", "group_length"], &input)
        .iter()
        .map(|reward| reward["group_length"].as_f64().expect("a number"))
        .collect();
    assert_eq!(parts, [0.5, 0.0, -0.5, 0.0, -0.5, 0.0, 0.0]);
}

#[test]
fn json_is_compared_or_admitted_by_a_schema() {
    let accuracy = |columns: Value, completion: &str| {
        reward(&["--reward", "accuracy"], columns, completion)["accuracy"].clone()
    };
    let value = json!({"task": "json", "answer": {"a": [1, 2]}});
    assert_eq!(
        accuracy(value.clone(), "<think>{}</think><answer>```json\n{\"a\": [1.0, 2]}\n```</answer>"),
        json!(1.0)
    );
    assert_eq!(accuracy(value, "<answer>{\"a\": [2, 1]}</answer>"), json!(0.0));
    let schema = json!({"task": "json", "schema": {"type": "object", "required": ["a"]}});
    assert_eq!(accuracy(schema.clone(), "<answer>{\"a\": 1}</answer>"), json!(1.0));
    assert_eq!(accuracy(schema, "<answer>{}</answer>"), json!(0.0));
    assert_eq!(accuracy(json!({"task": "json"}), "<answer>{}</answer>"), Value::Null);
    let bad = row(json!({"task": "json", "answer": "{"}), "<answer>{}</answer>");
    run("r1-reward", &[], &bad).refused(2, &["stdin:1", "answer", "JSON"]);
}

#[test]
fn a_special_token_may_mark_the_reasoning() {
    let form = |prompt: &str, completion: &str| {
        let arguments = ["--reward", "special_token_format", "--special-token", "<|r|>"];
        reward(&arguments, json!({"prompt": prompt}), completion)["special_token_format"].clone()
    };
    assert_eq!(form("?", "<|r|>so<|r|>It is 14."), json!(1.0));
    assert_eq!(form("?<|r|>\n", "so<|r|>It is 14."), json!(1.0));
    assert_eq!(form("?", "so<|r|>It is 14."), json!(0.0));
}
