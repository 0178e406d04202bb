//! The cold start's ways to examples, as `make` goes them: a server that this test plays writes, a person edits, `make` goes on.

use crate::contract;
use crate::harness::*;
use crate::pipeline::make;
use crate::stub::{Act, models, serve};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// Problems in two languages: the second number is 4 throughout.
fn problem(n: u64) -> (String, bool) {
    let chinese = n.is_multiple_of(3);
    (if chinese { format!("{n} 加 4 等于多少？") } else { format!("What is {n} plus 4?") }, chinese)
}

/// What a good writer says to a request, by what it asks for.
fn write(request: &str) -> String {
    let n = (1..=12).find(|&n| request.contains(&problem(n).0)).expect("a problem of the test");
    let (answer, chinese) = (n + 4, problem(n).1);
    if request.contains("<draft>") {
        assert!(request.contains("umm 加"), "the draft is shown: {request}");
        return match chinese {
            true => format!(
                "<think>先看第一个数，再加上四，所以得到结果。</think> <answer>相加得到 \\boxed{{{answer}}}</answer>"
            ),
            false => format!(
                "<think>I begin with the first number.\n\nThen I add four.</think> <answer>Adding gives \\boxed{{{answer}}}</answer>"
            ),
        };
    }
    if request.contains("verify each step") {
        let thought = if chinese {
            "先加四，再检查一遍，没有错。"
        } else {
            "I add four. I check it again: it is right."
        };
        return format!("<think>{thought}</think> <answer>{answer}</answer>");
    }
    assert!(request.ends_with("Solution:") && request.contains("|special_token|"), "{request}");
    let thought =
        if chinese { "先看第一个数，再加上四。" } else { "Four more than the first number." };
    format!(" |special_token| {thought} |special_token| Summary: The answer is {answer}.")
}

/// A run directory whose R1-Zero has answered: mixed languages, in part wrong.
fn begun(run: &Path) {
    let cold = run.join("2-cold-start");
    fs::create_dir_all(&cold).unwrap();
    let mut rows = String::new();
    for n in 1..=3 {
        for (sample, answer) in [n + 4, n + 5].into_iter().enumerate() {
            let said = format!("<think>umm 加 four</think> <answer>{answer}</answer>");
            let right = f64::from(u8::from(sample == 0));
            rows += &format!(
                "{}\n",
                json!({"id": format!("p{n}"), "prompt": problem(n).0, "answer": (n + 4).to_string(),
                    "rollout": {"sample": sample, "completion": said, "finish_reason": "stop"},
                    "reward": {"total": right, "accuracy": right, "format": 1.0, "language": 0.5}})
            );
        }
    }
    fs::write(cold.join("zero.rewarded.jsonl"), rows).unwrap();
}

/// `make` of the cold start's examples in `run`, R1-Zero's completions being there.
fn examples(run: &Path, tasks: &Path, words: &[&str]) -> Outcome {
    let cold = run.join("2-cold-start");
    let (target, old) = (cold.join("examples.jsonl"), cold.join("zero.rewarded.jsonl"));
    let (run, tasks) = (format!("RUN={}", run.display()), format!("TASKS={}", tasks.display()));
    let mut all = vec!["-s", target.to_str().unwrap(), "-o", old.to_str().unwrap(), &run, &tasks];
    all.extend(["HELD_OUT=2", "COLD_PROMPTS=4", "THREADS=2", "MAX_TOKENS=24"]);
    all.extend(words);
    wait(make(&all).spawn().expect("make can be started"), b"")
}

#[test]
fn every_way_leads_to_examples_and_a_person_has_the_last_word() {
    let dir = scratch();
    let tasks = dir.path().join("tasks.jsonl");
    let task = |n: u64| {
        format!("{}\n", json!({"id": n.to_string(), "prompt": problem(n).0, "answer": (n + 4).to_string()}))
    };
    fs::write(&tasks, (1..=12).map(task).collect::<String>()).unwrap();
    let (url, _) = serve(|_, path, body| {
        if path == "/v1/models" {
            return models();
        }
        let said = write(body["messages"][0]["content"].as_str().expect("a chat"));
        let choice = |i| json!({"index": i, "message": {"content": said}, "finish_reason": "stop"});
        let choices: Vec<Value> = (0..body["n"].as_u64().unwrap_or(1)).map(choice).collect();
        Act::Say(200, json!({"choices": choices}).to_string())
    });
    let run = dir.path().join("run");
    begun(&run);
    let server = format!("WRITER_FLAGS=--endpoint {url}");
    let words = ["COLD_WAYS=few-shot reflection refine", "WRITER=-", &server];
    examples(&run, &tasks, &words).success();
    let cold = run.join("2-cold-start");
    let read = |name: &str| fs::read_to_string(cold.join(name)).unwrap();
    let made = read("examples.jsonl");
    made.lines().map(contract::check_example).for_each(drop);
    // Four problems in two ways, and three drafts; nothing written where tasks are given.
    let made = rows(&made);
    assert_eq!(made.len(), 11);
    for example in &made {
        let text = example["completion"].as_str().unwrap();
        assert!(
            text.starts_with("<think>") && text.ends_with("</answer>") && !text.contains("umm 加"),
            "{text}"
        );
        assert!(text.contains(example["answer"].as_str().unwrap()), "{text}");
        assert!(problem_of(example).is_some(), "the prompt is the problem, not the request: {example}");
    }
    // Done is done.
    let again = examples(&run, &tasks, &[&words[..], &["-n"]].concat()).success();
    assert!(!again.contains("r1-"), "{again}");

    // In the other form, with a person in between.
    let run = dir.path().join("reviewed");
    begun(&run);
    let words = [&words[..], &["REVIEW=1", "COLD_FORM=special-token"]].concat();
    let stopped = examples(&run, &tasks, &words);
    assert_eq!(stopped.code(), 2);
    assert!(stopped.stderr.contains("few-shot.candidates.txt, save it as"), "{}", stopped.stderr);
    let cold = run.join("2-cold-start");
    for way in ["few-shot", "reflection", "refine"] {
        let text = fs::read_to_string(cold.join(format!("{way}.candidates.txt"))).unwrap();
        let edited = if way == "refine" {
            text.replacen("\n=== keep", "\n=== drop", 1).replace("I begin with", "To begin with, I take")
        } else {
            text
        };
        fs::write(cold.join(format!("{way}.reviewed.txt")), edited).unwrap();
    }
    examples(&run, &tasks, &words).success();
    let made = rows(&fs::read_to_string(cold.join("examples.jsonl")).unwrap());
    assert_eq!(made.len(), 10, "one was dropped");
    let texts: Vec<&str> = made.iter().map(|row| row["completion"].as_str().unwrap()).collect();
    assert!(texts.iter().all(|text| text.starts_with("|special_token|")), "{texts:?}");
    assert!(texts.iter().any(|text| text.contains("To begin with, I take")), "{texts:?}");
}

/// The number that a row's prompt asks about.
fn problem_of(row: &Value) -> Option<u64> {
    (1..=12).find(|&n| row["prompt"] == problem(n).0.as_str())
}

#[test]
fn a_local_policy_is_asked_too_and_unknown_ways_are_named() {
    let dir = scratch();
    let tasks = dir.path().join("tasks.jsonl");
    let rows: String =
        (1..=6).map(|n| format!("{{\"prompt\":\"What is {n} + 4?\",\"answer\":\"{}\"}}\n", n + 4)).collect();
    fs::write(&tasks, rows).unwrap();
    let run = dir.path().join("run");
    begun(&run);
    let writer = format!("WRITER={}", crate::by_tool::rollout::qwen());
    examples(&run, &tasks, &["COLD_WAYS=few-shot reflection refine", &writer]).success();
    let cold = run.join("2-cold-start");
    for (way, asked) in [("few-shot", 16), ("reflection", 16), ("refine", 6)] {
        let judged = fs::read_to_string(cold.join(format!("{way}.rewarded.jsonl"))).unwrap();
        judged.lines().for_each(|line| contract::check(line, &["prompt", "rollout", "reward"]));
        assert_eq!(judged.lines().count(), asked, "{way}");
        let report: Value =
            serde_json::from_str(&fs::read_to_string(cold.join(format!("{way}.refused.json"))).unwrap())
                .unwrap();
        assert_eq!(report["rows"], asked, "{way}");
    }
    assert!(cold.join("examples.jsonl").exists());
    let unknown = examples(&run, &tasks, &["COLD_WAYS=zero guess"]);
    assert!(unknown.code() != 0 && unknown.stderr.contains("guess is none of zero"), "{}", unknown.stderr);
}
