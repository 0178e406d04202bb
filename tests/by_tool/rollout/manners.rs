//! How r1-rollout fails and stops: one line, the right exit code, nothing half-written.

use super::*;
use serde_json::json;
use std::process::Stdio;
use std::time::{Duration, Instant};

#[test]
fn bad_rows_and_flags_are_named() {
    refuses_bad_rows("r1-rollout", &[qwen(), "-", "--max-tokens", "2"], &tasks(1));
    let refused = |flags: &str, rows: &str, words: &[&str]| {
        let outcome = rollout(qwen(), flags, rows);
        outcome.refused(2, words);
        assert_eq!((outcome.stderr.lines().count(), outcome.stdout.as_str()), (1, ""), "{flags}");
    };
    refused("", "{\"id\":\"a\"}\n", &["stdin:1", "prompt"]);
    refused("", "{\"id\":[7],\"prompt\":\"x\"}\n", &["stdin:1", "`id`"]);
    refused("", "{\"prompt\":7}\n", &["stdin:1", "prompt"]);
    let twice = "{\"id\":\"a\",\"prompt\":\"x\"}\n\n{\"id\":\"a\",\"prompt\":\"y\"}\n";
    refused("", twice, &["stdin:3", "`a` stands on line 1 already", "--samples"]);
    refused("", "{\"prompt\":\"x\"}\n{\"prompt\":\"x\"}\n", &["stdin:2", "stands on line 1 already"]);
    // The context: every preset has 2048 positions.
    let long = json!({"prompt": "1 ".repeat(3000)}).to_string();
    refused("", &format!("{{\"prompt\":\"x\"}}\n{long}\n"), &["stdin:2:", "tokens", "2048 positions"]);
    refused("--max-tokens 2048", "{\"prompt\":\"x\"}\n", &["stdin:1:", "--max-tokens", "2048 positions"]);
    refused(&format!("--max-tokens {}", u64::MAX), "{\"prompt\":\"x\"}\n", &["--max-tokens"]);
    // The cache: too small for anything, and for this one row.
    refused("--kv-memory 0", "{\"prompt\":\"x\"}\n", &["KV memory", "--kv-memory"]);
    let longer = json!({"prompt": "1 + 1 ".repeat(200)}).to_string();
    let kilobytes = "--kv-memory 1 --max-tokens 200";
    assert_eq!(rollout(qwen(), kilobytes, "{\"prompt\":\"x\"}\n").code(), 0);
    refused(kilobytes, &format!("{{\"prompt\":\"x\"}}\n{longer}\n"), &["stdin:2:", "pages", "--kv-memory"]);
    refused("--kv-cache latents", "{\"prompt\":\"x\"}\n", &["no latents", "--kv-cache"]);
    for (flags, word) in [
        ("--samples 0", "--samples"),
        ("--limit 0", "--limit"),
        ("--max-tokens 0", "max tokens"),
        ("--sequences 0", "sequences"),
        ("--micro-tokens 0", "--micro-tokens"),
        ("--temperature=-1", "temperature"),
        ("--temperature nan", "temperature"),
        ("--temperature inf", "temperature"),
        ("--top-p 0", "top-p"),
        ("--top-p 1.1", "top-p"),
        ("--min-p=-0.1", "min-p"),
        ("--repetition-penalty 0", "repetition penalty"),
        ("--presence-penalty inf", "presence penalty"),
        ("--frequency-penalty nan", "frequency penalty"),
        ("--threads 0", "--threads"),
        ("--dtype f16", "--dtype"),
        ("--seed=-1", "--seed"),
    ] {
        refused(flags, "{\"prompt\":\"x\"}\n", &[word]);
    }
    let golden = root().join("tests/golden/checkpoints/llama");
    rollout(golden.to_str().unwrap(), "", "{\"prompt\":\"x\"}\n").refused(2, &["llama: no tokenizer.json"]);
    rollout("no/such", "", "{\"prompt\":\"x\"}\n").refused(2, &["no/such/config.json"]);
    let bad = scratch().path().join("none/metrics.jsonl").to_str().unwrap().to_string();
    run("r1-rollout", &[qwen(), "-", "--metrics", &bad], "{\"prompt\":\"x\"}\n")
        .refused(2, &["none/metrics.jsonl"]);
}

#[test]
fn full_disks_and_early_readers() {
    let given = tasks(2);
    reports_a_full_disk("r1-rollout", &[qwen(), "-", "--max-tokens", "4"], &given);
    let drawn = rollout(qwen(), "--max-tokens 4", &given).success();
    reports_a_full_disk("r1-rollout", &[qwen(), "-", "--score", "reference"], &drawn);
    let given = tasks(40);
    survives_a_closed_pipe("r1-rollout", &[qwen(), "-", "--max-tokens", "20", "--samples", "8"], &given);
    let drawn = rollout(qwen(), "--max-tokens 20 --samples 8", &given).success();
    survives_a_closed_pipe("r1-rollout", &[qwen(), "-", "--score", "reference"], &drawn);
}

/// Starts a long run that writes to `out` and waits until its temporary file is there.
fn long_run(out: &Path, rows: &str) -> std::process::Child {
    // Groups of long completions, one after the other: the first is complete long before the last begins.
    let flags = "--samples 4 --max-tokens 1500 --min-tokens 1500 --sequences 4";
    let mut arguments = vec![deepseek(), rows, "-q", "-o", out.to_str().unwrap()];
    arguments.extend(flags.split(' '));
    let mut command = command("r1-rollout", &arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("the tool can be started");
    let begun = Instant::now();
    while !left_in(out.parent().unwrap()).iter().any(|name| name.contains(".writing-")) {
        assert!(begun.elapsed() < Duration::from_secs(20), "it never begins to write");
        std::thread::sleep(Duration::from_millis(2));
    }
    child
}

fn left_in(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn signals_end_it_and_leave_nothing_half_written() {
    let dir = scratch();
    let rows = dir.path().join("tasks.jsonl");
    fs::write(&rows, tasks(12)).unwrap();
    let rows = rows.to_str().unwrap();
    let folder = dir.path().join("out");
    fs::create_dir(&folder).unwrap();
    let out = folder.join("rollout.jsonl");
    for (signal, code) in [(libc::SIGINT, 130), (libc::SIGTERM, 143)] {
        let child = long_run(&out, rows);
        std::thread::sleep(Duration::from_millis(60));
        let begun = Instant::now();
        // SAFETY: the process is our child and has not been waited for.
        unsafe { libc::kill(child.id() as i32, signal) };
        let outcome = wait(child, b"");
        outcome.refused(code, &["stopped by signal", "run the same command again"]);
        assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.stderr);
        assert!(begun.elapsed() < Duration::from_secs(3), "it heeds the signal between two steps");
        assert_eq!(left_in(&folder), Vec::<String>::new());
    }
    // An earlier file stays what it was until the whole of the next one is there.
    fs::write(&out, "old\n").unwrap();
    for _ in 0..2 {
        let mut child = long_run(&out, rows);
        std::thread::sleep(Duration::from_millis(60));
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(fs::read_to_string(&out).unwrap(), "old\n");
        // What the kill left, the next run takes away.
    }
    assert_eq!(left_in(&folder).len(), 2, "one file of the killed run: {:?}", left_in(&folder));
    let arguments = [qwen(), rows, "--max-tokens", "4", "-q", "-o", out.to_str().unwrap()];
    run("r1-rollout", &arguments, "").success();
    assert_eq!(left_in(&folder), ["rollout.jsonl"]);
    assert_eq!(fs::read_to_string(&out).unwrap(), run("r1-rollout", &arguments[..5], "").success());
}

#[test]
fn a_group_is_handed_on_as_soon_as_it_is_complete() {
    use std::io::{BufRead, BufReader};
    let dir = scratch();
    let rows = dir.path().join("tasks.jsonl");
    fs::write(&rows, tasks(12)).unwrap();
    let flags = "--samples 2 --max-tokens 400 --min-tokens 400 --sequences 2";
    let mut arguments = vec![deepseek(), rows.to_str().unwrap(), "-q"];
    arguments.extend(flags.split(' '));
    let mut command = command("r1-rollout", &arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the tool can be started");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(first["rollout"]["sample"], 0);
    assert!(child.try_wait().unwrap().is_none(), "the first group comes while others are drawn");
    drop(lines);
    child.kill().unwrap();
    child.wait().unwrap();
}
