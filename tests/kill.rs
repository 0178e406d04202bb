//! SIGKILL at any moment: a name holds nothing, the old file, or the whole of the next one; the same command ends the same.
//!
//! r1-sft, r1-grpo and r1-init have such tests of their own under `by_tool`.

use crate::by_tool::rollout::{qwen, tasks};
use crate::by_tool::sft::same_bytes;
use crate::harness::*;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Names in a directory.
fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Runs a command to its end; says how long that took.
#[track_caller]
fn unbroken(tool: &str, arguments: &[String]) -> Duration {
    let begun = Instant::now();
    run(tool, &arguments.iter().map(String::as_str).collect::<Vec<_>>(), "").success();
    begun.elapsed()
}

/// Starts a command several times and kills it each time at another moment of the time that it takes; then lets it end. `look` is
/// called after every kill. Returns how many kills came before the end.
#[track_caller]
fn killed(tool: &str, arguments: &[String], takes: Duration, look: impl Fn()) -> usize {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut kills = 0;
    for share in [0.15, 0.5, 0.33, 0.8, 0.65, 0.93] {
        let mut command = command(tool, &words);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the tool can be started");
        sleep(takes.mul_f64(share));
        if child.try_wait().expect("waitable").is_some() {
            assert_eq!(wait(child, b"").code(), 0, "{tool}");
            continue;
        }
        child.kill().expect("killable");
        child.wait().expect("waitable");
        kills += 1;
        look();
    }
    run(tool, &words, "").success();
    kills
}

#[test]
fn filters_publish_whole_files_only() {
    let dir = scratch();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
    // Enough rows that each tool has something to do for a while.
    let few = run("r1-rollout", &[qwen(), "-", "-n", "4", "--max-tokens", "24", "-q"], &tasks(100)).success();
    let many: String = (0..30).map(|copy| few.replace("\"id\":\"", &format!("\"id\":\"{copy}-"))).collect();
    fs::write(path("few.jsonl"), &few).unwrap();
    fs::write(path("rollout.jsonl"), &many).unwrap();
    fs::write(path("tasks.jsonl"), tasks(100)).unwrap();
    let rewarded = path("rewarded.jsonl");
    run("r1-reward", &[&path("rollout.jsonl"), "-q", "-o", &rewarded], "").success();
    let stages: [(&str, Vec<String>); 6] = [
        ("r1-tasks", vec!["--count".into(), "30000".into()]),
        (
            "r1-rollout",
            vec![
                qwen().into(),
                path("tasks.jsonl"),
                "--max-tokens".into(),
                "40".into(),
                "-n".into(),
                "4".into(),
            ],
        ),
        ("r1-rollout", vec![qwen().into(), path("few.jsonl"), "--score".into(), "reference".into()]),
        ("r1-reward", vec![path("rollout.jsonl")]),
        ("r1-advantage", vec![rewarded.clone()]),
        ("r1-reject", vec![rewarded.clone(), "--report".into(), path("report.json")]),
    ];
    let mut kills = 0;
    for (tool, flags) in stages {
        let of = |out: &str| {
            let mut all = flags.clone();
            all.extend(["-q".into(), "-o".into(), path(out)]);
            all
        };
        let takes = unbroken(tool, &of("whole.jsonl"));
        let whole = fs::read(path("whole.jsonl")).unwrap();
        kills += killed(tool, &of("broken.jsonl"), takes, || {
            if let Ok(bytes) = fs::read(path("broken.jsonl")) {
                assert!(bytes == whole, "{tool}: half a file");
            }
        });
        assert!(fs::read(path("broken.jsonl")).unwrap() == whole, "{tool}");
        fs::remove_file(path("broken.jsonl")).unwrap();
        let left: Vec<String> = names(dir.path()).into_iter().filter(|name| name.starts_with('.')).collect();
        assert!(left.is_empty(), "{tool} left {left:?}");
    }
    assert!(kills >= 12, "{kills} kills are too few to mean anything");
}

#[test]
fn a_distillation_killed_at_any_moment_ends_with_the_same_bytes() {
    let dir = scratch();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
    let rows = run("r1-tasks", &["--corpus", "--count", "200", "--seed", "5", "-q"], "").success();
    fs::write(path("rows.jsonl"), rows).unwrap();
    let of = |out: &str| {
        let mut all = vec![qwen().to_string(), path("rows.jsonl"), "-o".into(), path(out)];
        let flags = "--template chat --thinking strip --max-steps 8 --batch-size 32 --checkpoint-every 1 -q --metrics";
        all.extend(flags.split(' ').map(String::from));
        all.push(path(&format!("{out}.jsonl")));
        all
    };
    let takes = unbroken("r1-distill", &of("whole"));
    let kills = killed("r1-distill", &of("broken"), takes, || {
        let out = dir.path().join("broken");
        assert!(!out.exists() || (out.join("model.safetensors").exists() && out.join("train.json").exists()));
    });
    assert!(kills >= 2, "{kills} kills are too few to mean anything");
    same_bytes(&dir.path().join("whole"), &dir.path().join("broken"));
    let steps = |name: &str| {
        let mut lines = crate::by_tool::sft::metrics(&dir.path().join(name));
        lines.retain(|line| line["loss"].is_number());
        lines
    };
    assert_eq!(steps("whole.jsonl"), steps("broken.jsonl"));
    assert!(names(dir.path()).iter().all(|name| !name.starts_with('.')), "{:?}", names(dir.path()));
}
