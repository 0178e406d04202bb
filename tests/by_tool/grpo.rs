//! r1-grpo: the first ratio is exactly 1, rounds replay byte for byte, and what is missing is named.

mod rounds;

use super::sft::{files, kill_until_done, metrics, policy, same_bytes};
use crate::harness::{command, refuses_bad_rows, rows, run, scratch, wait};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// A policy and one round of advantaged rows that it sampled.
struct Round {
    dir: tempfile::TempDir,
    policy: String,
    rows: String,
}

impl Round {
    fn of(preset: &str) -> Round {
        Round::drawn(preset, "0")
    }

    /// A round of another draw.
    fn drawn(preset: &str, seed: &str) -> Round {
        let dir = scratch();
        let (path, _) = policy(dir.path(), preset);
        let policy = path.to_str().unwrap().to_string();
        let tasks = run("r1-tasks", &["--count", "6", "--seed", "9", "-q"], "").success();
        let flags = ["-n", "4", "--max-tokens", "12", "--seed", seed, "-q"];
        let drawn = run("r1-rollout", &[&[policy.as_str(), "-"][..], &flags].concat(), &tasks).success();
        // A fresh policy is never right: rewards that spread, so that there is something to learn.
        let mut text = String::new();
        for (i, mut row) in rows(&drawn).into_iter().enumerate() {
            row["reward"] = json!({"total": (i * 7 % 4) as f64 / 2.0});
            text += &format!("{row}\n");
        }
        let rows = run("r1-advantage", &["-q"], &text).success();
        Round { dir, policy, rows }
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_string()
    }

    /// Runs r1-grpo from the policy to `out`.
    fn update(&self, out: &str, flags: &[&str]) -> crate::harness::Outcome {
        let out = self.path(out);
        let mut all = vec![self.policy.as_str(), "-", "-o", &out, "--lr", "1e-3"];
        all.extend(flags);
        run("r1-grpo", &all, &self.rows)
    }
}

fn at(round: &Round, name: &str) -> PathBuf {
    round.dir.path().join(name)
}

#[test]
fn on_the_sampling_policy_every_ratio_is_exactly_one() {
    for preset in ["r1-tiny", "qwen-tiny"] {
        for dtype in ["f32", "auto"] {
            let round = Round::of(preset);
            // --dtype auto is what sampled; f32 agrees bit for bit only where auto is f32.
            let log = round.path("metrics.jsonl");
            let mut flags = vec!["--metrics", log.as_str(), "--dtype", dtype];
            if dtype == "auto" {
                flags.extend(["--check-logprobs", "0"]);
            }
            let outcome = round.update("out", &flags);
            assert!(outcome.stderr.contains("by construction") || dtype == "f32", "{}", outcome.stderr);
            outcome.success();
            let line = &metrics(Path::new(&log))[0];
            assert_eq!((&line["step"], &line["round"], &line["rows"]), (&json!(1), &json!(1), &json!(24)));
            if dtype == "auto" {
                assert_eq!(line["logprob_max_difference"], 0.0);
                assert_eq!((&line["ratio/mean"], &line["ratio/max"]), (&json!(1.0), &json!(1.0)));
                assert_eq!(line["clip_ratio/region_mean"], 0.0);
            } else {
                // Rounding to bf16 can send a token to another expert: close, and not equal.
                assert!(line["logprob_max_difference"].as_f64().unwrap() < 1.0);
            }
            assert!(line["grad_norm"].as_f64().unwrap() > 0.0 && line["entropy"].as_f64().unwrap() > 0.0);
            for key in [
                "reward",
                "reward_std",
                "completions/mean_length",
                "frac_reward_zero_std",
                "frac_tokens_moving",
                "learning_rate",
                "step_time",
            ] {
                assert!(line[key].is_number(), "{key} is missing in {line}");
            }
        }
    }
}

#[test]
fn what_was_good_becomes_more_likely() {
    let round = Round::of("llama-tiny");
    round.update("out", &["--epochs", "4", "-q"]).success();
    let scored =
        run("r1-rollout", &[&round.path("out"), "-", "--score", "after", "-q"], &round.rows).success();
    let sum = |list: &Value| list.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).sum::<f64>();
    let moved: f64 = rows(&scored)
        .iter()
        .map(|row| {
            let change = sum(&row["after"]["logprobs"]) - sum(&row["rollout"]["logprobs"]);
            row["advantage"].as_f64().unwrap().signum() * change
        })
        .sum();
    assert!(moved > 1.0, "advantage-weighted change of log-probabilities: {moved}");
}

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
fn recorded_log_probabilities_are_checked() {
    let round = Round::of("llama-tiny");
    let mut changed = rows(&round.rows);
    let old = changed[5]["rollout"]["logprobs"][2].as_f64().unwrap();
    changed[5]["rollout"]["logprobs"][2] = json!(old - 0.25);
    let text: String = changed.iter().map(|row| format!("{row}\n")).collect();
    let out = round.path("out");
    for more in [&[][..], &["--batch-size", "8"]] {
        let mut all = vec![round.policy.as_str(), "-", "-o", &out, "--check-logprobs", "1e-3"];
        all.extend(more);
        run("r1-grpo", &all, &text)
            .refused(1, &["line 6 of the input, completion token 2", "nothing was trained"]);
        assert!(!Path::new(&out).exists());
    }
    run("r1-grpo", &[&round.policy, "-", "-o", &out, "--check-logprobs", "0.3", "-q"], &text).success();
}

#[test]
fn the_divergence_from_the_reference_starts_at_zero_and_holds_back() {
    let round = Round::of("qwen-tiny");
    let out = round.path("out");
    let beta = ["-o", out.as_str(), "--kl-beta", "0.1", "--epochs", "3", "--lr", "3e-3"];
    let mut all = vec![round.policy.as_str(), "-"];
    all.extend(beta);
    run("r1-grpo", &all, &round.rows)
        .refused(2, &["stdin:1", "no `reference.logprobs`", "--score reference"]);
    let scored =
        run("r1-rollout", &[&round.policy, "-", "--score", "reference", "-q"], &round.rows).success();
    let log = round.path("metrics.jsonl");
    all.extend(["--metrics", &log]);
    run("r1-grpo", &all, &scored).success();
    let kl: Vec<f64> = metrics(Path::new(&log)).iter().map(|l| l["kl"].as_f64().unwrap()).collect();
    assert!(kl[0] == 0.0 && kl[1] > 0.0 && kl.len() == 3, "{kl:?}");
}

#[test]
fn what_is_missing_is_named() {
    let round = Round::of("llama-tiny");
    let out = round.path("out");
    let arguments = [round.policy.as_str(), "-", "-o", &out];
    let good = round.rows.lines().next().unwrap();
    refuses_bad_rows("r1-grpo", &arguments, good);
    let _ = fs::remove_dir_all(&out);
    let without = |section: &str, key: &str| {
        let mut row: Value = serde_json::from_str(good).unwrap();
        match key {
            "" => row.as_object_mut().unwrap().remove(section),
            key => row[section].as_object_mut().unwrap().remove(key),
        };
        format!("{row}\n")
    };
    for (section, key, words) in [
        ("advantage", "", &["stdin:1", "advantage", "r1-advantage"][..]),
        ("rollout", "", &["stdin:1", "rollout", "r1-rollout"]),
        ("rollout", "logprobs", &["no `rollout.logprobs`"]),
        ("rollout", "prompt_ids", &["no `rollout.prompt_ids`"]),
        ("rollout", "completion_ids", &["stdin:1"]),
    ] {
        run("r1-grpo", &arguments, &without(section, key)).refused(2, words);
    }
    let mut row: Value = serde_json::from_str(good).unwrap();
    row["rollout"]["prompt_ids"] = json!([999999]);
    run("r1-grpo", &arguments, &format!("{row}\n")).refused(2, &["stdin:1", "999999", "vocabulary"]);
    row["rollout"]["prompt_ids"] = json!([]);
    run("r1-grpo", &arguments, &format!("{row}\n")).refused(2, &["stdin:1", "prompt_ids` is empty"]);
    let dr = ["--loss", "dr_grpo"];
    round.update("out", &dr).refused(2, &["--generation-limit"]);
    assert!(!Path::new(&out).exists());
}

#[test]
fn a_round_without_any_advantage_says_so() {
    let round = Round::of("llama-tiny");
    let text: String = rows(&round.rows)
        .into_iter()
        .map(|mut row| {
            row["advantage"] = json!(0.0);
            format!("{row}\n")
        })
        .collect();
    let out = round.path("out");
    let outcome = run("r1-grpo", &[&round.policy, "-", "-o", &out], &text);
    assert!(outcome.stderr.contains("nothing to learn from these rows"), "{}", outcome.stderr);
    outcome.success();
    // A zero gradient moves nothing: the weights are the policy's own.
    let weights = |dir: &str| fs::read(Path::new(dir).join("model.safetensors")).unwrap();
    assert!(weights(&out) == weights(&round.policy));
}

/// What `train.json` of a policy directory says of its command.
fn command_of(dir: &str) -> Value {
    let text = fs::read(Path::new(dir).join("train.json")).unwrap();
    serde_json::from_slice::<Value>(&text).unwrap()["command"].clone()
}

#[test]
fn every_loss_moves_the_policy_and_is_recorded() {
    let mut round = Round::of("llama-tiny");
    // A fresh policy never ends: completions of unequal lengths, which aggregations weigh differently.
    let shorter = rows(&round.rows).into_iter().enumerate().map(|(i, mut row)| {
        for key in ["completion_ids", "logprobs"] {
            row["rollout"][key].as_array_mut().unwrap().truncate(3 + i % 9);
        }
        format!("{row}\n")
    });
    round.rows = shorter.collect();
    let weights = |dir: &str| fs::read(Path::new(dir).join("model.safetensors")).unwrap();
    let mut seen = Vec::new();
    for loss in [
        "grpo",
        "bnpo",
        "dapo",
        "dr_grpo --generation-limit 12",
        "cispo",
        "sapo",
        "vespo",
        "luspo",
        "gspo",
        "gspo-token",
        "reinforce",
        "gpg --kl-beta 0",
        "dual-clip",
        "clip-cov --cov-band 0,9 --cov-share 0.1",
        "kl-cov --cov-share 0.1",
        "gmpo",
        "dppo",
        "dppo-kl",
        "dapo --aggregate group",
        "grpo --importance sequence",
        "dapo --top-entropy 0.3",
        "dapo --off-policy-threshold 0.5",
        "dapo --entropy-weight 0.1",
    ] {
        let flags: Vec<&str> = ["-q", "--epochs", "2", "--loss"].into_iter().chain(loss.split(' ')).collect();
        let name = loss.replace(' ', "-");
        round.update(&name, &flags).success();
        let out = round.path(&name);
        let after = weights(&out);
        assert!(after != weights(&round.policy), "{loss}");
        assert!(command_of(&out)["aggregate"].is_string() && command_of(&out)["importance"].is_string());
        seen.push((loss, after));
    }
    // The same gradient under another name, and every other one its own.
    let of = |name: &str| &seen.iter().find(|(loss, _)| *loss == name).unwrap().1;
    assert!(of("bnpo") == of("dapo") && of("gpg --kl-beta 0") == of("reinforce"));
    for (a, b) in [("grpo", "dapo"), ("dapo", "cispo"), ("gspo", "luspo"), ("dapo", "dapo --top-entropy 0.3")]
    {
        assert!(of(a) != of(b), "{a} and {b} give the same weights");
    }
    assert!(of("dapo") != of("dapo --entropy-weight 0.1"));
}

#[test]
fn presets_are_printed_in_full_and_a_flag_beside_one_wins() {
    let round = Round::of("llama-tiny");
    for preset in ["r1-rl1", "r1-rl2", "dapo", "dr-grpo", "gspo", "cispo", "trl-default"] {
        let flags = match preset {
            "r1-rl1" | "r1-rl2" => vec!["-q", "--preset", preset, "--kl-beta", "0"],
            _ => vec!["-q", "--preset", preset],
        };
        round.update(preset, &flags).success();
        let command = command_of(&round.path(preset));
        assert_eq!((&command["preset"], &command["lr"]), (&json!(preset), &json!(1e-3)), "{command}");
        for key in
            ["loss", "aggregate", "kl-beta", "beta2", "adam-eps", "clip-norm", "epochs", "dtype", "seed"]
        {
            assert!(!command[key].is_null(), "{preset}: {key} is missing in {command}");
        }
        match preset {
            "r1-rl1" => {
                assert_eq!((&command["clip-high"], &command["batch-size"]), (&json!(10.0), &json!(512)))
            }
            "gspo" => assert_eq!((&command["clip-low"], &command["batches"]), (&json!(3e-4), &json!(4))),
            "cispo" => assert_eq!((&command["cap"], &command["adam-eps"]), (&json!(5.0), &json!(1e-15))),
            "trl-default" => assert_eq!(command["beta2"], 0.999),
            _ => {}
        }
    }
    // Without its reference r1-zero says what it needs.
    round.update("zero", &["--preset", "r1-zero"]).refused(2, &["stdin:1", "--score reference", "--kl-beta"]);
    round.update("none", &["--preset", "gspo", "--delta", "2", "--loss", "sapo"]).refused(2, &["--delta"]);
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

#[test]
fn the_entropy_bonus_raises_the_entropy() {
    let round = Round::of("llama-tiny");
    let text: String = rows(&round.rows)
        .into_iter()
        .map(|mut row| {
            row["advantage"] = json!(0.0);
            format!("{row}\n")
        })
        .collect();
    // A policy that has learned something, so that its entropy can rise.
    let (out, log) = (round.path("out"), round.path("log.jsonl"));
    let learned = round.path("learned");
    round.update("learned", &["-q", "--epochs", "12", "--loss", "reinforce"]).success();
    let all = [
        learned.as_str(),
        "-",
        "-o",
        &out,
        "--metrics",
        &log,
        "--entropy-weight",
        "1",
        "--epochs",
        "4",
        "--lr",
        "1e-3",
        "-q",
    ];
    run("r1-grpo", &all, &text).success();
    let entropy: Vec<f64> = metrics(Path::new(&log)).iter().map(|l| l["entropy"].as_f64().unwrap()).collect();
    assert!(entropy.windows(2).all(|pair| pair[1] > pair[0]), "{entropy:?}");
}

#[test]
fn explanations_say_what_a_zero_means() {
    let round = Round::of("llama-tiny");
    let told = round.update("out", &["--explain"]);
    assert!(told.stderr.contains("it does not measure progress"), "{}", told.stderr);
    told.success();
    let silent = round.update("silent", &[]);
    assert!(!silent.stderr.contains("it does not measure progress"), "{}", silent.stderr);
    let warm = round.update("warm", &["--explain", "--warmup", "5"]);
    assert!(warm.stderr.contains("learning rate 0"), "{}", warm.stderr);
    let cut: String = rows(&round.rows)
        .into_iter()
        .map(|mut row| {
            row["rollout"]["finish_reason"] = json!("length");
            format!("{row}\n")
        })
        .collect();
    let out = round.path("masked");
    let all = [round.policy.as_str(), "-", "-o", &out, "--mask-truncated", "--explain"];
    let masked = run("r1-grpo", &all, &cut);
    assert!(masked.stderr.contains("no token has a loss"), "{}", masked.stderr);
    masked.success();
}

#[test]
fn batches_cut_the_round_into_as_many_updates() {
    let round = Round::of("llama-tiny");
    let log = round.path("log.jsonl");
    round.update("out", &["--batches", "5", "--epochs", "2", "-q", "--metrics", &log]).success();
    let counts: Vec<u64> = metrics(Path::new(&log)).iter().map(|l| l["rows"].as_u64().unwrap()).collect();
    assert_eq!(counts, [5, 5, 5, 5, 4, 5, 5, 5, 5, 4]);
    round.update("none", &["--batches", "5", "--batch-size", "2"]).refused(2, &["--batch"]);
}
