//! Losses on log-probabilities: a live teacher, scores in the rows, the student's own samples.

use crate::by_tool::rollout::{deepseek, rollout, tasks};
use crate::by_tool::sft::{kill_until_done, metrics, same_bytes};
use crate::harness::{refuses_bad_rows, rows, run, scratch};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

/// The three losses that compare whole distributions.
const DIVERGENCES: [&str; 3] = ["forward-kl", "reverse-kl", "jsd"];

/// A fresh student of another shape with the teacher's tokenizer.
fn student(dir: &Path) -> String {
    let out = dir.join("student").to_str().expect("UTF-8").to_string();
    run("r1-init", &["--preset", "llama-tiny", "--tokenizer", deepseek(), "-o", &out, "-q"], "").success();
    out
}

/// What the teacher wrote, with its `top` most probable tokens in each place.
fn scored(samples: usize, top: usize) -> String {
    let drawn = rollout(deepseek(), &format!("--samples {samples} --max-tokens 24"), &tasks(12)).success();
    rollout(deepseek(), &format!("--score teacher --top {top}"), &drawn).success()
}

/// Runs a loss for some steps; its metrics.
fn learn(student: &str, out: &Path, flags: &str, rows: &str) -> Vec<Value> {
    let log = out.with_extension("jsonl");
    let (out, log_text) = (out.to_str().expect("UTF-8"), log.to_str().expect("UTF-8").to_string());
    let mut arguments = vec![student, "-", "-o", out, "--metrics", &log_text, "-q"];
    arguments.extend(["--lr", "3e-3"]);
    if !flags.contains("--batch-size") {
        arguments.extend(["--batch-size", "16"]);
    }
    arguments.extend(flags.split_whitespace());
    run("r1-distill", &arguments, rows).success();
    metrics(&log)
}

/// A number of one line of metrics.
fn number(lines: &[Value], step: usize, name: &str) -> f64 {
    lines[step][name].as_f64().unwrap_or_else(|| panic!("no {name}: {}", lines[step]))
}

#[test]
fn a_list_of_the_whole_vocabulary_teaches_what_the_live_teacher_does() {
    let dir = scratch();
    let student = student(dir.path());
    let config: Value =
        serde_json::from_slice(&fs::read(Path::new(&student).join("config.json")).unwrap()).unwrap();
    let whole = scored(4, config["vocab_size"].as_u64().unwrap() as usize);
    let short = scored(4, 4);
    for loss in DIVERGENCES {
        let flags = format!("--loss {loss} --max-steps 12 --dtype f32");
        let teacher = format!("{flags} --teacher {} --temperature 1", deepseek());
        let live = learn(&student, &dir.path().join(format!("{loss}-live")), &teacher, &whole);
        let listed = learn(&student, &dir.path().join(format!("{loss}-listed")), &flags, &whole);
        let part = learn(&student, &dir.path().join(format!("{loss}-part")), &flags, &short);
        for step in [0, 11] {
            let (a, b) = (number(&live, step, "divergence"), number(&listed, step, "divergence"));
            assert!((a - b).abs() < 2e-3 * a, "{loss} step {step}: live {a}, listed {b}");
        }
        // A list tells less: what it does not tell is no distance.
        assert!(number(&part, 0, "divergence") < number(&live, 0, "divergence"), "{loss}");
        for lines in [&live, &part] {
            let (first, last) = (number(lines, 0, "loss"), number(lines, 11, "loss"));
            assert!(last < 0.8 * first, "{loss}: {first} {last}");
            assert_eq!(number(lines, 3, "loss"), number(lines, 3, "divergence"));
        }
    }
}

#[test]
fn the_text_loss_is_mixed_in_and_jsd_ends_in_both_divergences() {
    let dir = scratch();
    let student = student(dir.path());
    let rows = scored(2, 8);
    let step = |name: &str, flags: &str| {
        let teacher = format!("--teacher {} --max-steps 1 {flags}", deepseek());
        learn(&student, &dir.path().join(name), &teacher, &rows).remove(0)
    };
    let at = |line: &Value, name: &str| line[name].as_f64().unwrap();
    let mixed = step("mixed", "--loss forward-kl --alpha 0.3 --temperature 2");
    let expected = 0.3 * at(&mixed, "nll") + 0.7 * at(&mixed, "divergence");
    assert!((at(&mixed, "loss") - expected).abs() < 1e-9);
    let cold = step("cold", "--loss forward-kl");
    assert!(at(&cold, "divergence") > at(&mixed, "divergence"), "temperature brings distributions together");
    assert_eq!(at(&cold, "nll"), at(&mixed, "nll"), "the text loss is at temperature 1 always");
    // Rows of text alone are given the student's template, and a live teacher says its part to them too.
    let text = concat!(
        r#"{"prompt":"2+2?","completion":"<think>2 + 2 = 4</think> <answer>4</answer>"}"#,
        "\n",
        r#"{"prompt":"2+3?","rollout":{"completion":"<think>2 + 3 = 5</think> <answer>5</answer>"}}"#,
        "\n"
    );
    let teacher = format!("--teacher {} --max-steps 1 --loss forward-kl", deepseek());
    let of_text = learn(&student, &dir.path().join("text"), &teacher, text).remove(0);
    assert!(at(&of_text, "divergence") > 0.1 && at(&of_text, "tokens") > 20.0, "{of_text}");
    // β → 0: JSD/β → forward KL; β → 1: JSD/(1 − β) → reverse KL.
    for (beta, share, loss) in [(0.001, 0.001, "forward-kl"), (0.999, 0.001, "reverse-kl")] {
        let near = step(&format!("near-{loss}"), &format!("--loss jsd --beta {beta}"));
        let whole = step(&format!("whole-{loss}"), &format!("--loss {loss}"));
        let (a, b) = (at(&near, "divergence") / share, at(&whole, "divergence"));
        assert!((a - b).abs() < 0.03 * b, "{loss}: {a} {b}");
    }
}

#[test]
fn bytes_depend_on_neither_threads_nor_kills() {
    let dir = scratch();
    let student = student(dir.path());
    let rows = scored(4, 6);
    for (name, loss) in [
        ("live", format!("--loss jsd --beta 0.3 --alpha 0.1 --teacher {}", deepseek())),
        ("listed", "--loss reverse-kl".to_string()),
    ] {
        let flags = format!("{loss} --max-steps 20 --checkpoint-every 1");
        let path = |what: &str| dir.path().join(format!("{name}-{what}"));
        learn(&student, &path("whole"), &format!("{flags} --threads 2"), &rows);
        learn(&student, &path("one"), &format!("{flags} --threads 1"), &rows);
        same_bytes(&path("whole"), &path("one"));
        let parted = path("parted");
        let out = parted.to_str().unwrap();
        let mut arguments =
            vec![student.as_str(), "-", "-o", out, "-q", "--batch-size", "16", "--lr", "3e-3"];
        arguments.extend(flags.split_whitespace());
        let kills = kill_until_done("r1-distill", &arguments, rows.as_bytes(), || ());
        println!("{name}: killed {kills} times");
        same_bytes(&path("whole"), &parted);
    }
}

#[test]
fn a_student_is_taught_on_its_own_samples() {
    let dir = scratch();
    let student = student(dir.path());
    let own = rollout(&student, "--samples 4 --max-tokens 16", &tasks(16)).success();
    let judged = rollout(deepseek(), "--score teacher", &own).success();
    let lines = learn(&student, &dir.path().join("gradient"), "--loss policy-gradient --epochs 1", &judged);
    // A mean of ones, added up in f64: each log-probability has the bits that were drawn.
    assert!((number(&lines, 0, "ratio") - 1.0).abs() < 1e-12, "drawn by this very policy");
    assert!((number(&lines, 1, "ratio") - 1.0).abs() > 1e-6);
    // Before the first update its loss is the mean log-ratio of the file.
    let all = rows(&judged);
    let (mut sum, mut tokens) = (0.0, 0);
    for row in &all {
        let list = |of: &str| row[of]["logprobs"].as_array().unwrap().clone();
        for (q, p) in list("rollout").iter().zip(list("teacher")) {
            sum += q.as_f64().unwrap() - p.as_f64().unwrap();
            tokens += 1;
        }
    }
    let whole = learn(
        &student,
        &dir.path().join("one-batch"),
        "--loss policy-gradient --epochs 1 --batch-size 64",
        &judged,
    );
    assert!((number(&whole, 0, "loss") - sum / f64::from(tokens)).abs() < 1e-6);
    // In closed form the same prefixes give the mean of what the drawn tokens estimate.
    let live = format!("--loss reverse-kl --teacher {} --epochs 1 --batch-size 64", deepseek());
    let closed = learn(&student, &dir.path().join("closed"), &live, &judged);
    let (a, b) = (number(&closed, 0, "loss"), number(&whole, 0, "loss"));
    assert!((a - b).abs() < 0.15 * a, "closed form {a}, estimate {b}");

    // Used again, a row's ratios are held; in the first pass there is nothing to hold.
    let twice = |to: &str, flags: &str| {
        let flags = format!("--loss policy-gradient --epochs 4 --batch-size 64 {flags}");
        learn(&student, &dir.path().join(to), &flags, &judged)
    };
    let (free, held) = (twice("free", ""), twice("held", "--clip 0.05"));
    assert_eq!((number(&free, 0, "loss"), number(&held, 0, "clip_ratio")), (number(&held, 0, "loss"), 0.0));
    assert!(number(&held, 3, "clip_ratio") > 0.0 && free[3]["clip_ratio"].is_null(), "{held:?}");
    assert!(number(&held, 3, "loss") != number(&free, 3, "loss"));

    // Rounds of one training: the second goes on from the moments of the first.
    let round = |from: &str, to: &str, flags: &str| {
        let flags = format!("--loss policy-gradient --epochs 1 {flags}");
        learn(from, &dir.path().join(to), &flags, &judged);
        dir.path().join(to)
    };
    let first = round(&student, "round-1", "--keep-optimizer");
    assert!(first.join("optimizer.safetensors").exists());
    let first = first.to_str().unwrap();
    let (kept, fresh) = (round(first, "round-2", "--keep-optimizer"), round(first, "round-2-fresh", ""));
    assert!(!fresh.join("optimizer.safetensors").exists());
    let weights = |dir: &Path| fs::read(dir.join("model.safetensors")).unwrap();
    assert!(weights(&kept) != weights(&fresh));
}

#[test]
fn another_tokenizer_is_refused_in_one_line() {
    let dir = scratch();
    let own = dir.path().join("own").to_str().unwrap().to_string();
    let other = run("r1-tasks", &["--corpus", "--count", "200", "--family", "counting", "-q"], "").success();
    let flags = ["--preset", "qwen-tiny", "--corpus", "-", "--vocab", "300", "-o", &own, "-q"];
    run("r1-init", &flags, &other).success();
    let rows = scored(1, 3);
    let out = dir.path().join("out").to_str().unwrap().to_string();
    let try_with = |more: &[&str], words: &[&str]| {
        let mut arguments = vec![own.as_str(), "-", "-o", &out];
        arguments.extend(more);
        run("r1-distill", &arguments, &rows).refused(2, words);
        assert!(!Path::new(&out).exists());
    };
    for loss in DIVERGENCES {
        try_with(&["--loss", loss, "--teacher", deepseek()], &["different tokenizers", "--loss text"]);
        try_with(&["--loss", loss], &["stdin:", "--loss text"]);
    }
    try_with(&["--loss", "policy-gradient"], &["stdin:", "--loss text"]);
    // Text crosses.
    run("r1-distill", &[&own, "-", "-o", &out, "--max-steps", "1", "-q"], &rows).success();
}

#[test]
fn flags_without_use_and_rows_without_scores_are_refused() {
    let dir = scratch();
    let student = student(dir.path());
    let out = dir.path().join("out").to_str().unwrap().to_string();
    let rows_text = scored(1, 3);
    let fail = |flags: &str, input: &str, words: &[&str]| {
        let mut arguments = vec![student.as_str(), "-", "-o", &out];
        arguments.extend(flags.split_whitespace());
        run("r1-distill", &arguments, input).refused(2, words);
        assert!(!Path::new(&out).exists(), "{flags}");
    };
    for (flags, word) in [
        ("--beta 0.5", "--beta"),
        ("--alpha 0.5", "--alpha"),
        ("--teacher x", "--teacher"),
        ("--temperature 2", "--temperature"),
        ("--loss forward-kl --beta 0.5", "--beta"),
        ("--loss reverse-kl --thinking strip", "--thinking strip"),
        ("--loss policy-gradient --teacher x", "--teacher"),
        ("--loss policy-gradient --alpha 0.1", "--alpha"),
        ("--loss text --clip 0.2", "--clip"),
        ("--loss jsd --beta 0", "--beta 0"),
        ("--loss jsd --beta 1", "--beta"),
        ("--loss jsd --teacher nowhere", "nowhere"),
    ] {
        fail(flags, &rows_text, &[word]);
    }
    fail("--loss forward-kl --temperature 0.5", &rows_text, &["stdin:1:", "scored at temperature 1"]);
    let row: Value = serde_json::from_str(rows_text.lines().next().unwrap()).unwrap();
    let with = |change: &dyn Fn(&mut Value)| {
        let mut row = row.clone();
        change(&mut row);
        format!("{}\n{row}\n", rows_text.lines().next().unwrap())
    };
    let kl = "--loss forward-kl";
    fail(kl, &with(&|r| drop(r.as_object_mut().unwrap().remove("teacher"))), &["stdin:2:", "no `teacher`"]);
    fail(kl, &with(&|r| r["teacher"] = json!({"logprobs": [-1.0]})), &["stdin:2:", "1 logprobs"]);
    let lists = |r: &mut Value, name: &str, list: Value| r["teacher"][name][0] = list;
    fail(kl, &with(&|r| lists(r, "top_ids", json!([3, 3, 5]))), &["stdin:2:", "a token twice"]);
    fail(kl, &with(&|r| lists(r, "top_ids", json!([3, 4, 5000]))), &["stdin:2:", "token 5000"]);
    fail(kl, &with(&|r| lists(r, "top_logprobs", json!([-0.1, -0.1, -0.1]))), &["stdin:2:", "a mass of 2.7"]);
    let no_lists = |r: &mut Value| drop(r["teacher"].as_object_mut().unwrap().remove("top_ids"));
    fail(kl, &with(&no_lists), &["stdin:2:", "together"]);
    fail(kl, "{\"prompt\":\"q\",\"completion\":\"x\"}\n", &["stdin:1", "rollout"]);
    let unscored = |r: &mut Value| drop(r["rollout"].as_object_mut().unwrap().remove("logprobs"));
    fail("--loss policy-gradient", &with(&unscored), &["stdin:2:", "log-ratio"]);
    fail(&format!("{kl} --max-length 3"), &rows_text, &["nothing to learn", "too long"]);
    let arguments = [student.as_str(), "-", "-o", &out, "--loss", "reverse-kl", "--max-steps", "1"];
    refuses_bad_rows("r1-distill", &arguments, &rows_text);
}
