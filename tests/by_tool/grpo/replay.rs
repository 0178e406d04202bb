//! The same bytes from a pipe, a file, after kills and signals, in place or in a chain.

use super::*;
use crate::by_tool::sft::{files, kill_until_done, same_bytes};
use crate::harness::{command, wait};
use std::process::Stdio;

#[test]
fn a_round_replays_byte_for_byte_from_a_pipe_a_file_or_after_kills() {
    let round = Round::of("r1-tiny");
    let file = round.path("rows.jsonl");
    fs::write(&file, &round.rows).unwrap();
    let flags = ["--batch-size", "8", "--epochs", "2", "-q"];
    round.update("piped", &flags).success();
    let mut all =
        vec![round.policy.clone(), file, "-o".into(), round.path("from-file"), "--lr".into(), "1e-3".into()];
    all.extend(flags.map(String::from));
    all.extend(["--threads".into(), "1".into()]);
    run("r1-grpo", &all.iter().map(String::as_str).collect::<Vec<_>>(), "").success();
    same_bytes(&at(&round, "piped"), &at(&round, "from-file"));

    let killed = round.path("killed");
    let mut all = vec![round.policy.as_str(), "-", "-o", &killed, "--lr", "1e-3"];
    all.extend(flags);
    let kills = kill_until_done("r1-grpo", &all, round.rows.as_bytes(), || {
        let out = Path::new(&killed);
        assert!(!out.exists() || files(out).iter().any(|(name, _)| name == "model.safetensors"));
    });
    assert!(kills >= 1);
    same_bytes(&at(&round, "piped"), &at(&round, "killed"));
    // Done is done.
    let again = run("r1-grpo", &all, &round.rows);
    assert!(again.code() == 0);
    same_bytes(&at(&round, "piped"), &at(&round, "killed"));
}

#[test]
fn a_signal_in_the_middle_of_a_round_saves_and_the_round_goes_on() {
    let round = Round::of("qwen-tiny");
    let flags = ["--batch-size", "2", "--epochs", "12", "-q"];
    round.update("whole", &flags).success();
    let parted = round.path("parted");
    let mut all = vec![round.policy.as_str(), "-", "-o", &parted, "--lr", "1e-3"];
    all.extend(flags);
    let mut child = command("r1-grpo", &all);
    let mut child =
        child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    {
        use std::io::Write;
        child.stdin.take().unwrap().write_all(round.rows.as_bytes()).unwrap();
    }
    std::thread::sleep(std::time::Duration::from_millis(250));
    // SAFETY: the process is our child and has not been waited for.
    unsafe { libc::kill(child.id() as i32, libc::SIGINT) };
    let stopped = wait(child, b"");
    match stopped.code() {
        130 => {
            let state: Value =
                serde_json::from_slice(&fs::read(Path::new(&parted).join("train.json")).unwrap()).unwrap();
            assert_eq!(state["status"], "running");
            run("r1-grpo", &all, &round.rows).success();
        }
        code => {
            println!("the round was over before the signal came: nothing to compare");
            assert_eq!(code, 0, "{}", stopped.stderr);
        }
    }
    same_bytes(&at(&round, "whole"), &at(&round, "parted"));
}

#[test]
fn rounds_in_place_are_the_rounds_of_a_chain_and_are_taken_once() {
    let round = Round::of("r1-tiny");
    round.update("one", &["-q"]).success();
    let (one, two, rolling) = (round.path("one"), round.path("two"), round.path("rolling"));
    let tasks = run("r1-tasks", &["--count", "4", "--seed", "2", "-q"], "").success();
    let drawn = run("r1-rollout", &[&one, "-", "-n", "4", "--max-tokens", "8", "--seed", "3", "-q"], &tasks)
        .success();
    let judged: String = rows(&drawn)
        .into_iter()
        .enumerate()
        .map(|(i, mut row)| {
            row["reward"] = json!({"total": (i % 3) as f64});
            format!("{row}\n")
        })
        .collect();
    let second = run("r1-advantage", &["-q"], &judged).success();
    run("r1-grpo", &[&one, "-", "-o", &two, "--lr", "1e-3", "--check-logprobs", "0", "-q"], &second)
        .success();

    fs::create_dir(&rolling).unwrap();
    for (name, bytes) in files(Path::new(&round.policy)) {
        fs::write(Path::new(&rolling).join(name), bytes).unwrap();
    }
    let in_place = |rows: &str, flags: &[&str]| {
        let mut all = vec![rolling.as_str(), "-", "-o", &rolling, "--lr", "1e-3"];
        all.extend(flags);
        run("r1-grpo", &all, rows)
    };
    let log = round.path("metrics.jsonl");
    in_place(&round.rows, &["--metrics", &log]).success();
    same_bytes(Path::new(&one), Path::new(&rolling));
    let again = in_place(&round.rows, &[]);
    assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
    again.success();
    same_bytes(Path::new(&one), Path::new(&rolling));
    in_place(&round.rows, &["--seed", "4"])
        .refused(2, &["has taken these rows already", "--seed was 0, now 4"]);
    in_place(&second, &["--metrics", &log]).success();
    // Moments, step and round went on: both ways end with the same bytes.
    same_bytes(Path::new(&two), Path::new(&rolling));
    let steps: Vec<Value> = metrics(Path::new(&log)).iter().map(|l| json!([l["step"], l["round"]])).collect();
    assert_eq!(steps, [json!([1, 1]), json!([2, 2])]);
    let foreign = Path::new(&rolling).join("notes.txt");
    fs::write(&foreign, "mine").unwrap();
    in_place(&second, &[]).refused(2, &["would lose notes.txt"]);
}

#[test]
fn recomputed_log_probabilities_are_the_recorded_ones_and_survive_a_stop() {
    let round = Round::of("qwen-tiny");
    let weights = |name: &str| fs::read(at(&round, name).join("model.safetensors")).unwrap();
    let flags = ["-q", "--batch-size", "6", "--epochs", "3"];
    round.update("recorded", &flags).success();
    round.update("recomputed", &[&flags[..], &["--old", "recompute"]].concat()).success();
    assert!(weights("recorded") == weights("recomputed"), "one engine, one number");
    let mut foreign = rows(&round.rows);
    for (i, row) in foreign.iter_mut().enumerate() {
        for (t, l) in row["rollout"]["logprobs"].as_array_mut().unwrap().iter_mut().enumerate() {
            *l = json!(l.as_f64().unwrap() - 0.1 * ((i + t) % 3) as f64);
        }
    }
    let foreign: String = foreign.iter().map(|row| format!("{row}\n")).collect();
    let (log, whole) = (round.path("log.jsonl"), round.path("whole"));
    let settings = [
        "--old",
        "recompute",
        "--correction",
        "tis-token",
        "--correction-bounds",
        ",1.1",
        "--entropy-target",
        "9",
        "--entropy-step",
        "0.01",
        "--batch-size",
        "2",
        "--epochs",
        "6",
        "--lr",
        "1e-3",
        "-q",
    ];
    let mut all = vec![round.policy.as_str(), "-", "-o", &whole, "--metrics", &log];
    all.extend(settings);
    run("r1-grpo", &all, &foreign).success();
    let first = &metrics(Path::new(&log))[0];
    let close = |key: &str, x: f64| (first[key].as_f64().unwrap() - x).abs() < 1e-4;
    assert!(close("sampling/sampling_logp_difference/max", 0.2), "{first}");
    assert!(close("sampling/importance_sampling_ratio/max", 1.1), "{first}");
    assert!(close("sampling/importance_sampling_ratio/min", 1.0) && first["ratio/mean"] == 1.0, "{first}");
    let coefficients: Vec<f64> =
        metrics(Path::new(&log)).iter().take(4).map(|l| l["entropy_coef"].as_f64().unwrap()).collect();
    assert_eq!(coefficients, [0.0, 0.01, 0.02, 0.03]);
    // Stopped wherever the signal finds it, in place or not: the same bytes in the end, and no list left behind.
    let parted = round.path("parted");
    let mut again = vec![round.policy.as_str(), "-", "-o", &parted];
    again.extend(settings);
    let mut stops = 0;
    for pause in [150u64, 250, 350, 100_000] {
        let mut child = command("r1-grpo", &again);
        let child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = child.unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), foreign.as_bytes()).unwrap();
        if pause < 100_000 {
            std::thread::sleep(std::time::Duration::from_millis(pause));
            // SAFETY: the process is our child and has not been waited for.
            unsafe { libc::kill(child.id() as i32, libc::SIGINT) };
        }
        let outcome = wait(child, b"");
        if outcome.code() == 130 && Path::new(&parted).exists() {
            assert!(Path::new(&parted).join("old.json").exists());
            stops += 1;
        }
    }
    println!("stopped {stops} times on the way");
    same_bytes(Path::new(&whole), Path::new(&parted));
    assert!(!Path::new(&parted).join("old.json").exists());
    round.update("none", &["--correction", "tis-token"]).refused(2, &["--old recompute"]);
}
