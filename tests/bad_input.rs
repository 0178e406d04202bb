//! Whatever is wrong with what a tool is given: one line that says so, the right exit code, and nothing half-written.
//!
//! The tests under `by_tool` look at the words; the ones here look at all tools alike.

mod policies;
mod room;

use crate::by_tool::rollout::{deepseek, qwen, tasks};
use crate::by_tool::sft::files;
use crate::harness::*;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

/// Rows of every kind, from a real run: rewarded and advantaged completions that a policy of this process sampled.
fn advantaged() -> &'static str {
    static MADE: OnceLock<String> = OnceLock::new();
    MADE.get_or_init(|| {
        let drawn =
            run("r1-rollout", &[qwen(), "-", "-n", "2", "--max-tokens", "12", "-q"], &tasks(3)).success();
        pipe(&[("r1-reward", &["-q"]), ("r1-advantage", &["-q"])], &drawn)
    })
}

fn examples() -> &'static str {
    static MADE: OnceLock<String> = OnceLock::new();
    MADE.get_or_init(|| run("r1-tasks", &["--corpus", "--count", "6", "-q"], "").success())
}

fn preferences() -> &'static str {
    static MADE: OnceLock<String> = OnceLock::new();
    MADE.get_or_init(|| {
        run("r1-tasks", &["--pairs", "--family", "general", "--count", "6", "-q"], "").success()
    })
}

/// A tool, the flags it is given before `-o OUT`, and rows that it accepts.
struct Use {
    tool: &'static str,
    flags: Vec<String>,
    rows: &'static str,
    /// the columns it cannot do without: a JSON pointer, and a value of a wrong type
    needs: Vec<(&'static str, Value)>,
}

fn uses(policy: &str) -> Vec<Use> {
    let text = |flags: &str| flags.split_whitespace().map(|flag| flag.replace("POLICY", policy)).collect();
    let of = |tool, flags, rows, needs| Use { tool, flags: text(flags), rows, needs };
    vec![
        of("r1-rollout", "POLICY - --max-tokens 2", advantaged_tasks(), vec![("/prompt", json!(7))]),
        of(
            "r1-rollout",
            "POLICY - --score reference",
            advantaged(),
            vec![
                ("/rollout", json!([])),
                ("/rollout/completion", json!(1)),
                ("/rollout/completion_ids", json!("1")),
            ],
        ),
        of(
            "r1-reward",
            "-",
            advantaged(),
            vec![("/rollout", json!("x")), ("/rollout/completion", json!(null))],
        ),
        of("r1-advantage", "-", advantaged(), vec![("/reward", json!(1)), ("/reward/total", json!("1"))]),
        of(
            "r1-grpo",
            "POLICY -",
            advantaged(),
            vec![
                ("/advantage", json!("1")),
                ("/rollout", json!(1)),
                ("/rollout/logprobs", json!([true])),
                ("/rollout/completion_ids", json!([1.5])),
            ],
        ),
        of("r1-reject", "-", advantaged(), vec![("/rollout", json!({})), ("/reward", json!([1]))]),
        of("r1-eval", "-", advantaged(), vec![("/rollout", json!(false)), ("/reward", json!(1))]),
        of(
            "r1-sft",
            "POLICY - --max-steps 1",
            examples(),
            vec![("/prompt", json!(1)), ("/completion", json!(["x"]))],
        ),
        of(
            "r1-distill",
            "POLICY - --max-steps 1",
            examples(),
            vec![("/prompt", json!(1)), ("/completion", json!(2))],
        ),
        of(
            "r1-prefer",
            "POLICY - --max-steps 1",
            preferences(),
            vec![("/prompt", json!(1)), ("/chosen", json!(2)), ("/rejected", json!(null))],
        ),
        of(
            "r1-init",
            "--preset llama-tiny --corpus -",
            examples(),
            vec![("/prompt", json!(1)), ("/completion", json!({}))],
        ),
    ]
}

fn advantaged_tasks() -> &'static str {
    static MADE: OnceLock<String> = OnceLock::new();
    MADE.get_or_init(|| tasks(3))
}

impl Use {
    /// Runs it in a folder of its own with `-o OUT`; returns what came and what then lay in the folder.
    fn run(&self, rows: &[u8]) -> (Outcome, Vec<String>) {
        let dir = scratch();
        let out = dir.path().join("out");
        let mut arguments: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        arguments.extend(["-q", "-o", out.to_str().expect("UTF-8")]);
        let outcome = run_bytes(self.tool, &arguments, rows);
        let left = fs::read_dir(dir.path()).expect("readable").flatten();
        (outcome, left.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
    }

    /// Asserts exit 2, exactly one line, and nothing in the folder.
    #[track_caller]
    fn refuses(&self, rows: &[u8], words: &[&str]) {
        let (outcome, left) = self.run(rows);
        assert_eq!(outcome.code(), 2, "{} {:?}: {}", self.tool, words, outcome.stderr);
        outcome.refused(2, words);
        assert_eq!(outcome.stderr.trim_end().lines().count(), 1, "{}: {}", self.tool, outcome.stderr);
        assert!(outcome.stdout.is_empty() && left.is_empty(), "{} left {left:?}", self.tool);
    }
}

#[test]
fn bad_rows_are_one_line_in_every_tool() {
    for tool in uses(qwen()) {
        let (good, left) = tool.run(tool.rows.as_bytes());
        assert_eq!(
            (good.code(), left.as_slice()),
            (0, &["out".to_string()][..]),
            "{}: {}",
            tool.tool,
            good.stderr
        );
        let next = tool.rows.lines().count() + 1;
        let line = format!("stdin:{next}:");
        let with = |bad: &[u8]| [tool.rows.as_bytes(), bad, b"\n"].concat();
        tool.refuses(b"", &["stdin", "empty"]);
        tool.refuses(b"\xef\xbb\xbf \n\n", &["stdin", "empty"]);
        tool.refuses(&with(br#"{"id": "x",, }"#), &[&format!("{line}12:")]);
        tool.refuses(&with(br#"{"id": "x", "a": [1, Infinity]}"#), &[&line, "Infinity"]);
        tool.refuses(&with(br#"{"id": "x", "a": NaN}"#), &[&line, "NaN"]);
        tool.refuses(&with(br#"{"id": "x", "a": "cut o"#), &[&line]);
        tool.refuses(&with(br#"{"id": "x"} {"id": "y"}"#), &[&line]);
        tool.refuses(&with(b"[1, 2]"), &[&line]);
        tool.refuses(&with(b"{\"id\": \"\xff\xfe\"}"), &[&line, "UTF-8"]);
        tool.refuses(&with(b"\0\0\0\0"), &[&line]);
        tool.refuses(&with("[".repeat(200_000).as_bytes()), &[&line]);
        tool.refuses(&with(b"\x1f\x8b\x08\0 a gzip file"), &[&line]);
        let last: Value = serde_json::from_str(tool.rows.lines().next().expect("a row")).expect("JSON");
        for (pointer, wrong) in &tool.needs {
            let (parent, name) = pointer.rsplit_once('/').expect("a pointer");
            let mut missing = last.clone();
            let inside = missing.pointer_mut(parent).and_then(Value::as_object_mut).expect("an object");
            inside.shift_remove(name);
            missing["id"] = "other".into();
            let mut misshapen = last.clone();
            misshapen["id"] = "other".into();
            *misshapen.pointer_mut(pointer).expect("it is there") = wrong.clone();
            tool.refuses(&with(misshapen.to_string().as_bytes()), &[&line]);
            // What may be absent: the total where no part applied, ids where text can be scored, the rollout behind a verdict.
            let optional = [
                ("r1-advantage", "/reward/total"),
                ("r1-rollout", "/rollout/completion_ids"),
                ("r1-eval", "/rollout"),
                ("r1-init", "/completion"),
                // The common beginning of both texts is the prompt then.
                ("r1-prefer", "/prompt"),
            ];
            if !optional.contains(&(tool.tool, *pointer)) {
                tool.refuses(&with(missing.to_string().as_bytes()), &[&line]);
            }
        }
    }
}
