//! r1-advantage as a process.

use crate::harness::*;
use serde_json::Value;
use std::process::Stdio;

/// The four completions of the walkthrough, already rewarded; one column that no tool reads, in a form no tool would write.
fn walkthrough() -> String {
    [0.1, 1.1, 1.0, 0.1]
        .iter()
        .map(|total| {
            format!(
                "{{\"prompt\": \"What is 2 + 3 * 4?\", \"answer\": \"14\", \"x\" : [1.50,\"\\u00e9\\/\"], \
                 \"rollout\": {{\"completion\": \"\"}}, \"reward\": {{\"total\": {total:?}}}}}\n"
            )
        })
        .collect()
}

fn group(id: &str, rewards: &[&str]) -> String {
    let row = |(sample, total): (usize, &&str)| {
        format!(
            "{{\"id\":\"{id}\",\"prompt\":\"{id}?\",\"rollout\":{{\"sample\":{sample},\"completion\":\"\"}},\
             \"reward\":{{\"total\":{total}}}}}\n"
        )
    };
    rewards.iter().enumerate().map(row).collect()
}

fn advantages(arguments: &[&str], stdin: &str) -> Vec<f64> {
    let number = |row: &Value| row["advantage"].as_f64().expect("an advantage");
    run("r1-advantage", arguments, stdin).rows().iter().map(number).collect()
}

#[track_caller]
fn close(found: &[f64], expected: &[f64]) {
    let same = found.len() == expected.len() && found.iter().zip(expected).all(|(f, e)| (f - e).abs() < 1e-9);
    assert!(same, "{found:?} is not {expected:?}");
}

#[test]
fn the_walkthrough() {
    // mean 0.575; squares 2 · 0.475² + 0.525² + 0.425² = 0.9075
    let population = (0.9075f64 / 4.0).sqrt();
    let expected = [-0.475, 0.525, 0.425, -0.475].map(|deviation| deviation / population);
    close(&advantages(&[], &walkthrough()), &expected);
    let sample = (0.9075f64 / 3.0).sqrt();
    let expected = [-0.475, 0.525, 0.425, -0.475].map(|deviation| deviation / (sample + 1e-4));
    close(&advantages(&["--preset", "trl"], &walkthrough()), &expected);
    close(&advantages(&["--std", "none"], &walkthrough()), &[-0.475, 0.525, 0.425, -0.475]);
}

#[test]
fn the_walkthrough_as_a_pipe() {
    let both: &[&str] = &["--reward", "accuracy=1", "--reward", "format=0.1"];
    let made = rows(&pipe(&[("r1-reward", both), ("r1-advantage", &[])], &crate::contract::walkthrough()));
    let column =
        |read: &dyn Fn(&Value) -> Option<f64>| -> Vec<f64> { made.iter().filter_map(read).collect() };
    close(&column(&|row| row["reward"]["total"].as_f64()), &[0.1, 1.1, 1.0, 0.1]);
    let population = (0.9075f64 / 4.0).sqrt();
    close(
        &column(&|row| row["advantage"].as_f64()),
        &[0.1, 1.1, 1.0, 0.1].map(|total| (total - 0.575) / population),
    );
}

#[test]
fn everything_else_is_carried_byte_for_byte() {
    let made = run("r1-advantage", &["-q"], &walkthrough());
    assert_eq!(made.stderr, "");
    for (before, after) in walkthrough().lines().zip(made.success().lines()) {
        let (row, advantage) = after.split_once(",\"advantage\":").expect("the key comes last");
        assert_eq!(format!("{row}}}"), before);
        assert!(advantage.trim_end_matches('}').parse::<f64>().is_ok());
    }
    // A second run replaces the number and nothing else.
    let once = run("r1-advantage", &[], &walkthrough()).success();
    assert_eq!(run("r1-advantage", &[], &once).success(), once);
}

#[test]
fn groups_without_spread_and_absent_rewards() {
    let rows = group("a", &["0.1", "0.1", "0.1"]) + &group("b", &["1", "null", "0"]) + &group("c", &["0.7"]);
    close(&advantages(&[], &rows), &[0.0, 0.0, 0.0, 1.0, 0.0, -1.0, 0.0]);
    close(&advantages(&["--drop-zero-std"], &rows), &[1.0, 0.0, -1.0]);
    assert_eq!(advantages(&["--preset", "verl"], &rows)[6], 0.7 / (1.0 + 1e-6));
    let told = run("r1-advantage", &["--drop-zero-std"], &rows).stderr;
    for words in ["rows 7", "groups 3", "66.7 %", "not judged 1", "left out 2"] {
        assert!(told.contains(words), "{words:?} is not in {told:?}");
    }
}

#[test]
fn too_few_groups_are_told_by_the_exit_code() {
    let rows = group("a", &["0", "1"]) + &group("b", &["1", "1"]);
    assert_eq!(run("r1-advantage", &["--need", "1"], &rows).code(), 0);
    let few = run("r1-advantage", &["--need", "2", "--drop-zero-std"], &rows);
    few.refused(3, &["1 of 2"]);
    assert_eq!(few.stdout.lines().count(), 2, "what was made is written all the same");
}

#[test]
fn broken_groups_are_refused_with_their_lines() {
    let split = group("a", &["0", "1"]) + &group("b", &["0"]) + &group("a", &["1"]);
    run("r1-advantage", &[], &split).refused(2, &["stdin:4: ", "`a`", "line 2"]);
    let twice = group("a", &["0", "1"]).replace("\"sample\":1", "\"sample\":0");
    run("r1-advantage", &[], &twice).refused(2, &["stdin:2: ", "sample 0 twice", "line 1"]);
    let gap = group("a", &["0", "1"]).replace("\"sample\":1", "\"sample\":2");
    run("r1-advantage", &[], &gap).refused(2, &["stdin:1: ", "lacks sample 1"]);
    assert_eq!(run("r1-advantage", &["--partial"], &gap).code(), 0);
    let mixed = group("a", &["0", "1"]).replacen("a?", "b?", 1);
    run("r1-advantage", &[], &mixed).refused(2, &["stdin:2: ", "another prompt", "line 1"]);
}

#[test]
fn bad_input_is_refused() {
    refuses_bad_rows("r1-advantage", &[], &walkthrough());
    let reward = |json: &str| format!("{{\"prompt\":\"x\",\"reward\":{json}}}\n");
    run("r1-advantage", &[], "{\"prompt\":\"x\"}\n").refused(2, &["stdin:1: ", "no `reward`", "r1-reward"]);
    run("r1-advantage", &[], "{\"reward\":{\"total\":1}}\n").refused(2, &["stdin:1: ", "no prompt"]);
    run("r1-advantage", &[], &reward("{\"total\":\"1\"}")).refused(2, &["stdin:1:", "`reward`"]);
    run("r1-advantage", &[], &reward("{\"total\":1e999}")).refused(2, &["stdin:1:", "out of range"]);
    run("r1-advantage", &[], &reward("1")).refused(2, &["stdin:1:", "`reward`"]);
    run("r1-advantage", &["--eps=-1"], &walkthrough()).refused(2, &["--eps"]);
    run("r1-advantage", &["--std", "none", "--eps", "1"], &walkthrough()).refused(2, &["--eps"]);
}

#[test]
fn bad_rows_can_be_set_aside() {
    let directory = scratch();
    let (aside, made) = (directory.path().join("bad.jsonl"), directory.path().join("made.jsonl"));
    let bad = [
        "{\"id\":\"a\",",
        "{\"id\":\"a\",\"prompt\":\"a?\"}",
        "{\"id\":\"a\",\"prompt\":\"a?\",\"reward\":{\"total\":[]}}",
    ];
    let rows = group("a", &["0", "1"]) + &bad.join("\n") + "\n" + &group("b", &["3", "5"]);
    let arguments = ["--skip-bad", aside.to_str().unwrap(), "-o", made.to_str().unwrap()];
    let outcome = run("r1-advantage", &arguments, &rows);
    assert!(outcome.stderr.contains("3 bad rows set aside"), "{}", outcome.stderr);
    assert_eq!(outcome.success(), "");
    assert_eq!(std::fs::read_to_string(&aside).unwrap(), bad.join("\n") + "\n");
    assert_eq!(std::fs::read_to_string(&made).unwrap().lines().count(), 4);
    // A group split in two is not one row's fault, and nothing is published.
    std::fs::remove_file(&made).unwrap();
    let split = group("a", &["0"]) + &group("b", &["0"]) + &group("a", &["1"]);
    run("r1-advantage", &arguments, &split).refused(2, &["split in two"]);
    assert!(!made.exists());
}

#[test]
fn output_appears_whole_or_not_at_all() {
    let directory = scratch();
    let made = directory.path().join("made.jsonl");
    std::fs::write(&made, "what was there").unwrap();
    let broken = walkthrough() + "{\"prompt\":\"x\"\n";
    run("r1-advantage", &["-o", made.to_str().unwrap()], &broken).refused(2, &["stdin:5:"]);
    assert_eq!(std::fs::read_to_string(&made).unwrap(), "what was there");
    run("r1-advantage", &["-o", made.to_str().unwrap()], &walkthrough()).success();
    assert_eq!(std::fs::read_to_string(&made).unwrap().lines().count(), 4);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "no temporary file is left");
    let into = directory.path().join("none/made.jsonl");
    run("r1-advantage", &["-o", into.to_str().unwrap()], &walkthrough()).refused(2, &["none/made.jsonl"]);
}

#[test]
fn full_disks_and_early_readers() {
    reports_a_full_disk("r1-advantage", &[], &walkthrough());
    let many: String = (0..3000).map(|at| group(&format!("g{at}"), &["0", "1"])).collect();
    survives_a_closed_pipe("r1-advantage", &[], &many);
}

#[test]
fn a_group_is_handed_on_as_soon_as_it_is_complete() {
    use std::io::{BufRead, BufReader, Write};
    let mut command = command("r1-advantage", &[]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the tool starts");
    let mut input = child.stdin.take().expect("piped");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    input.write_all((group("a", &["0", "1"]) + &group("b", &["0"])).as_bytes()).expect("the tool reads");
    // The input is still open: these lines can only come because the group `b` has begun.
    for _ in 0..2 {
        assert!(lines.next().expect("a line").expect("text").contains("\"id\":\"a\""));
    }
    drop(input);
    assert_eq!(lines.count(), 1);
    assert!(child.wait().expect("the tool ends").success());
}

#[test]
fn a_signal_leaves_no_temporary_file() {
    use std::io::Write;
    for (signal, code) in [(libc::SIGINT, 130), (libc::SIGTERM, 143)] {
        let directory = scratch();
        let made = directory.path().join("made.jsonl");
        let mut command = command("r1-advantage", &["-o", made.to_str().unwrap()]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the tool starts");
        let mut input = child.stdin.take().expect("piped");
        input.write_all(walkthrough().as_bytes()).expect("the tool reads");
        let begun = std::time::Instant::now();
        while std::fs::read_dir(directory.path()).unwrap().count() == 0 {
            assert!(begun.elapsed().as_secs() < 60, "the temporary file does not appear");
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        // The handler is set before the file is made.
        // SAFETY: the child has not been waited for, so its id is still its own.
        assert_eq!(unsafe { libc::kill(child.id() as i32, signal) }, 0);
        let outcome = wait(child, b"");
        drop(input);
        assert_eq!(outcome.code(), code, "{}", outcome.stderr);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}

#[test]
fn manners_of_the_command_line() {
    let help = run("r1-advantage", &["--help"], "").success();
    assert!(help.starts_with("Adds group-relative advantages") && help.contains("Examples:"), "{help}");
    assert!(run("r1-advantage", &["--version"], "").success().starts_with("r1-advantage "));
    let json = run("r1-advantage", &["--log-json"], &walkthrough()).stderr;
    assert_eq!(rows(&json)[0]["tool"], "r1-advantage");
    let error = run("r1-advantage", &["--log-json"], "").stderr;
    assert_eq!(rows(&error)[0]["level"], "error");
    let directory = scratch();
    let metrics = directory.path().join("metrics.jsonl");
    for _ in 0..2 {
        run("r1-advantage", &["--metrics", metrics.to_str().unwrap()], &walkthrough()).success();
    }
    let lines = rows(&std::fs::read_to_string(&metrics).unwrap());
    assert_eq!(
        (lines.len(), lines[1]["groups"].as_u64(), lines[1]["frac_reward_zero_std"].as_f64()),
        (2, Some(1), Some(0.0))
    );
    assert!((lines[0]["reward"].as_f64().unwrap() - 0.575).abs() < 1e-12);
}

/// A group with parts of the reward, completion lengths and the log-probabilities of two policies.
fn rich(id: &str, rows: &[(f64, Option<f64>, usize, f64)]) -> String {
    let row = |(sample, (accuracy, format, tokens, gap)): (usize, &(f64, Option<f64>, usize, f64))| {
        let list = |x: f64| format!("[{}]", vec![format!("{x:?}"); *tokens].join(","));
        let part = format.map_or(String::new(), |f| format!(",\"format\":{f:?}"));
        format!(
            "{{\"id\":\"{id}\",\"prompt\":\"{id}?\",\"rollout\":{{\"sample\":{sample},\"completion\":\"\",\
             \"completion_ids\":{},\"logprobs\":{}}},\"reference\":{{\"logprobs\":{}}},\
             \"reward\":{{\"total\":{accuracy:?},\"accuracy\":{accuracy:?}{part}}}}}\n",
            list(1.0).replace(".0", ""),
            list(-1.0),
            list(-1.0 - gap)
        )
    };
    rows.iter().enumerate().map(row).collect()
}

#[test]
fn every_preset_is_reached_from_the_command_line() {
    let rows = rich("a", &[(1.0, Some(0.5), 2, 0.0), (0.0, Some(1.0), 6, 0.0)])
        + &rich("b", &[(1.0, None, 1, 0.0), (0.0, Some(0.0), 1, 0.0)]);
    let sample = 0.5f64.sqrt() + 1e-4;
    close(&advantages(&["--preset", "opo"], &rows), &[0.75, -0.25, 0.5, -0.5]);
    close(&advantages(&["--preset", "maxrl"], &rows), &[1.0, -1.0, 1.0, -1.0]);
    close(&advantages(&["--preset", "rloo"], &rows), &[1.0, -1.0, 1.0, -1.0]);
    let lead = 1.0 / (0.5f64.sqrt() + 1e-6);
    close(&advantages(&["--preset", "passk"], &rows), &[lead, 0.0, lead, 0.0]);
    // Accuracy ±a in both groups; format −f, f in the first and nothing in the second: mean 0.
    let (a, f) = (0.5 / sample, 0.25 / ((0.125f64).sqrt() + 1e-4));
    let sums = [a - f, f - a, a, -a];
    let deviation = (sums.iter().map(|x| x * x).sum::<f64>() / 3.0).sqrt() + 1e-4;
    let gdpo = ["--preset", "gdpo", "--part", "accuracy=1", "--part", "format=1"];
    close(&advantages(&gdpo, &rows), &sums.map(|x| x / deviation));
    // Ten tokens, three of them rewarded: mean 0.3, sample variance (3 · 0.49 + 7 · 0.09) / 9.
    let whitened = |r: f64| (r - 0.3) / ((3.0f64 * 0.49 + 7.0 * 0.09) / 9.0 + 1e-8).sqrt();
    let expected = [whitened(1.0), whitened(0.0), whitened(1.0), whitened(0.0)];
    close(&advantages(&["--preset", "reinforce++"], &rows), &expected);
    let batch = (1.0f64 / 3.0).sqrt() + 1e-4;
    close(
        &advantages(&["--preset", "trl", "--scale", "batch"], &rows),
        &[0.5, -0.5, 0.5, -0.5].map(|x| x / batch),
    );
    let short = group("a", &["0", "1"]);
    run("r1-advantage", &["--preset", "opo"], &short).refused(2, &["stdin:1", "completion_ids"]);
    let negative = group("a", &["0", "-1"]);
    run("r1-advantage", &["--preset", "maxrl"], &negative).refused(2, &["stdin:2", "negative"]);
    run("r1-advantage", &["--preset", "gdpo"], &rows).refused(2, &["--part"]);
}

#[test]
fn groups_outside_the_band_or_of_the_wrong_size_are_told_apart() {
    let never = rich("never", &[(0.0, Some(1.0), 1, 0.0), (0.0, Some(0.0), 1, 0.0)]);
    let sometimes = rich("sometimes", &[(1.0, None, 1, 0.0), (0.0, None, 3, 0.0)]);
    let unknown = group("unknown", &["0", "1"]);
    let all = never + &sometimes + &unknown;
    let banded = run("r1-advantage", &["--pass-rate", "0.01..0.99", "--need", "1"], &all);
    assert!(
        banded.stderr.contains("left out 2") && banded.stderr.contains("tokens 1.5 (1 to 3)"),
        "{}",
        banded.stderr
    );
    let kept = banded.success();
    assert_eq!(rows(&kept).iter().map(|r| r["id"].clone()).collect::<Vec<_>>(), ["sometimes", "sometimes"]);
    run("r1-advantage", &["--pass-rate", "..0.3", "--need", "1"], &all).refused(3, &["0 of 1"]);
    run("r1-advantage", &["--size", "2"], &all).success();
    run("r1-advantage", &["--size", "3"], &all).refused(2, &["stdin:1", "`never` has 2 rows, not 3"]);
    run("r1-advantage", &["--pass-rate", "2..3"], &all).refused(2, &["--pass-rate"]);
}

#[test]
fn the_divergence_counts_against_the_reward() {
    // k1 is 0.25 a token: totals 1 − 0.4 · 0.5 and 0 − 0.4 · 1.
    let rows = rich("a", &[(1.0, None, 2, 0.25), (0.0, None, 4, 0.25)]);
    let flags = ["--preset", "dr-grpo", "--kl-beta", "0.4"];
    close(&advantages(&flags, &rows), &[0.6, -0.6]);
    // k2 is 0.03125 a token.
    close(&advantages(&[&flags[..], &["--kl-kind", "k2"]].concat(), &rows), &[0.5125, -0.5125]);
    run("r1-advantage", &flags, &group("a", &["0", "1"])).refused(2, &["stdin:1", "rollout.logprobs"]);
    run("r1-advantage", &["--kl-beta", "1", "--part", "accuracy=1"], &rows).refused(2, &["--kl-beta"]);
}
