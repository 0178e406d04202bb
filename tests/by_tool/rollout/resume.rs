//! `--resume`: what was complete is kept, and the end has the bytes of an unbroken run.

use super::*;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Names in a folder.
fn left_in(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// The unfinished file of a run, where there is one.
fn part(dir: &Path) -> Option<PathBuf> {
    left_in(dir).into_iter().find(|name| name.contains(".part-")).map(|name| dir.join(name))
}

const DRAW: &str = "--samples 3 --max-tokens 300 --min-tokens 200 --sequences 6 --seed 4";

fn arguments<'a>(rows: &'a str, out: &'a str) -> Vec<&'a str> {
    let mut arguments = vec![deepseek(), rows, "-q", "--resume", "-o", out];
    arguments.extend(DRAW.split(' '));
    arguments
}

#[test]
fn a_killed_run_goes_on_to_the_same_bytes() {
    let dir = scratch();
    let rows = dir.path().join("tasks.jsonl");
    fs::write(&rows, tasks(10)).unwrap();
    let rows = rows.to_str().unwrap();
    let folder = dir.path().join("out");
    fs::create_dir(&folder).unwrap();
    let out = folder.join("rollout.jsonl");
    let arguments = arguments(rows, out.to_str().unwrap());
    let whole = rollout(deepseek(), DRAW, &fs::read_to_string(rows).unwrap()).success();
    for signal in [libc::SIGKILL, libc::SIGTERM, libc::SIGKILL] {
        let before = part(&folder).map_or(0, |path| fs::metadata(path).unwrap().len());
        let mut command = command("r1-rollout", &arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the tool can be started");
        let begun = Instant::now();
        // Until a group more is there.
        while part(&folder).map_or(0, |path| fs::metadata(path).unwrap().len()) <= before {
            assert!(begun.elapsed() < Duration::from_secs(100), "no group is ever complete");
            if child.try_wait().unwrap().is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        // SAFETY: the process is our child and has not been waited for, or it has ended and nobody is signalled.
        unsafe { libc::kill(child.id() as i32, signal) };
        child.wait().unwrap();
    }
    let path = part(&folder).expect("the part outlives the kill");
    let kept = fs::read_to_string(&path).unwrap();
    assert!(kept.lines().count() >= 3 && !out.exists());
    // A torn line, as a kill in the middle of a write leaves it.
    let torn = kept.len().min(whole.len() - 1000);
    fs::write(&path, &whole.as_bytes()[..torn + 700]).unwrap();
    let mut told = arguments.clone();
    told.retain(|a| *a != "-q");
    let log = dir.path().join("metrics.jsonl").to_str().unwrap().to_string();
    told.extend(["--metrics", &log]);
    let outcome = run("r1-rollout", &told, "");
    assert!(outcome.stderr.contains("going on after"), "{}", outcome.stderr);
    outcome.success();
    assert!(fs::read_to_string(&out).unwrap() == whole, "the end of a resumed run");
    assert_eq!(left_in(&folder), ["rollout.jsonl"]);
    let metrics = &self::rows_of(&log)[0];
    let (resumed, drawn) = (&metrics["resumed_prompts"], &metrics["completions"]);
    assert_eq!(resumed.as_u64().unwrap() * 3 + drawn.as_u64().unwrap(), 30);
}

fn rows_of(path: &str) -> Vec<Value> {
    rows(&fs::read_to_string(path).unwrap())
}

#[test]
fn only_what_this_run_would_write_is_kept() {
    let dir = scratch();
    let out = dir.path().join("rollout.jsonl");
    let out = out.to_str().unwrap();
    let given = tasks(4);
    let draw = |flags: &str, rows: &str| {
        let outcome = rollout(qwen(), &format!("--resume -o {out} --max-tokens 8 {flags}"), rows);
        assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
        fs::read_to_string(out).unwrap()
    };
    let plain = |flags: &str, rows: &str| rollout(qwen(), &format!("--max-tokens 8 {flags}"), rows).success();
    // A whole run leaves nothing beside its output, and leaves a part of other settings to nobody.
    fs::write(dir.path().join(".rollout.jsonl.part-0123456789abcdef"), "stale").unwrap();
    let first = draw("--samples 2", &given);
    assert_eq!(first, plain("--samples 2", &given));
    assert_eq!(left_in(dir.path()), ["rollout.jsonl"]);
    rollout(qwen(), "--resume", &given).refused(2, &["--resume", "-o"]);
    rollout(qwen(), "--resume -o /dev/null", &given).refused(2, &["/dev/null", "plain file"]);
}
