//! Many threads, the same bytes.

use super::row;
use crate::harness::*;
use serde_json::json;
use std::io::{Read, Write};
use std::process::Stdio;

/// Rows of many lengths and tasks; some take long to judge.
fn mixed(rows: usize) -> String {
    let mut input = String::new();
    for n in 0..rows {
        let (answer, completion) = match n % 5 {
            0 => ("14".to_string(), format!("<think>{}</think> <answer>{n}</answer>", "so ".repeat(n % 400))),
            1 => ("x^2-1".to_string(), "<think>a</think> \\boxed{(x-1)(x+1)}".to_string()),
            2 => ("\\frac{1}{2}".to_string(), "\\boxed{0.5}".to_string()),
            3 => (n.to_string(), format!("#### {n}")),
            _ => ("\\sqrt{2}".to_string(), "\\boxed{\\sin(x)^2+\\cos(x)^2}".to_string()),
        };
        input.push_str(&row(json!({"id": n / 4, "prompt": "What?", "answer": answer}), &completion));
        if n % 97 == 0 {
            input.push('\n');
        }
    }
    input
}

#[test]
fn the_thread_count_never_shows() {
    let input = mixed(3000);
    let arguments = ["--preset", "r1", "--why", "--threads"];
    let with = |threads: &str| {
        let outcome = run("r1-reward", &[&arguments[..], &[threads]].concat(), &input);
        assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
        (outcome.stdout, outcome.stderr)
    };
    let one = with("1");
    assert_eq!(one.0.lines().count(), 3000);
    for threads in ["2", "5"] {
        assert!(with(threads) == one, "--threads {threads} gives other bytes");
    }
    run("r1-reward", &["--threads", "0"], "").refused(2, &["--threads"]);
}

#[test]
fn errors_have_their_line_wherever_they_stand() {
    let mut lines: Vec<String> = mixed(2000).lines().map(str::to_string).collect();
    let bad = [700, 1500];
    for at in bad {
        lines[at] = "{\"answer\": \"1\"}".to_string();
    }
    let input = lines.join("\n");
    run("r1-reward", &["--threads", "3"], &input).refused(2, &["stdin:701", "rollout"]);
    let directory = scratch();
    let aside = directory.path().join("bad.jsonl");
    let path = aside.to_str().expect("a path in UTF-8");
    let outcome = run("r1-reward", &["--threads", "3", "--skip-bad", path], &input);
    assert!(outcome.stderr.contains("stdin:1501"), "{}", outcome.stderr);
    assert_eq!(outcome.success().lines().count(), 1998);
    assert_eq!(std::fs::read_to_string(aside).expect("bad rows"), "{\"answer\": \"1\"}\n".repeat(2));
}

#[test]
fn a_row_is_judged_before_the_next_one_comes() {
    let mut command = command("r1-reward", &["--quiet"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("the tool can be started");
    let mut input = child.stdin.take().expect("a pipe");
    let mut output = child.stdout.take().expect("a pipe");
    for n in 0..3 {
        input
            .write_all(row(json!({"answer": "14"}), &format!("<answer>{n}</answer>")).as_bytes())
            .expect("writing");
        let mut line = Vec::new();
        let mut byte = [0];
        while line.last() != Some(&b'\n') {
            output.read_exact(&mut byte).expect("a row comes back");
            line.push(byte[0]);
        }
        assert!(String::from_utf8(line).expect("text").contains(&format!("\"answer\":\"{n}\"")));
    }
    drop(input);
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn memory_does_not_grow_with_the_input() {
    if !std::path::Path::new("/proc/self/status").exists() {
        println!("skipped: this system has no /proc");
        return;
    }
    let piece = mixed(500);
    let peak = |repeats: usize| {
        let mut command = command("r1-reward", &["--quiet", "--threads", "2"]);
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = command.spawn().expect("the tool can be started");
        let mut input = child.stdin.take().expect("a pipe");
        for _ in 0..repeats {
            input.write_all(piece.as_bytes()).expect("writing");
        }
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).expect("a status");
        drop(input);
        assert!(child.wait().expect("it ends").success());
        let line = status.lines().find(|line| line.starts_with("VmHWM")).expect("a peak");
        line.split_whitespace().nth(1).and_then(|kb| kb.parse::<u64>().ok()).expect("a number")
    };
    // Both runs are long enough for every thread to have met its largest chunk; the longer one reads ten times as much.
    let (little, much) = (peak(40), peak(400));
    let more = (360 * piece.len() / 1024) as u64;
    assert!(more > 3 * 8192, "the difference in input, {more} kB, must be far above what is allowed");
    assert!(much < little + 8192, "{little} kB for 40 pieces, {much} kB for 400");
}
