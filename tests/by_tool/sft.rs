//! r1-sft: it learns, it survives being killed, and it says what is wrong.

use crate::harness::{command, refuses_bad_rows, run, scratch, wait};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use std::{fs, thread};

/// A small policy with a tokenizer of its own, and the corpus it was made for, in `dir`.
pub fn policy(dir: &Path, preset: &str) -> (PathBuf, String) {
    let corpus = run("r1-tasks", &["--corpus", "--count", "240", "--seed", "5", "-q"], "").success();
    let path = dir.join(preset);
    let out = path.to_str().expect("UTF-8");
    run("r1-init", &["--preset", preset, "--corpus", "-", "--vocab", "320", "-o", out, "-q"], &corpus)
        .success();
    (path, corpus)
}

/// Every file of a directory with its bytes.
pub fn files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut all: Vec<(String, Vec<u8>)> = fs::read_dir(dir)
        .unwrap_or_else(|error| panic!("{}: {error}", dir.display()))
        .map(|entry| entry.expect("readable"))
        .flat_map(|entry| {
            let name = entry.file_name().into_string().expect("UTF-8");
            if entry.path().is_dir() {
                let inside = files(&entry.path()).into_iter();
                return inside.map(|(file, bytes)| (format!("{name}/{file}"), bytes)).collect();
            }
            vec![(name, fs::read(entry.path()).expect("a file"))]
        })
        .collect();
    all.sort();
    all
}

/// Asserts that two directories hold the same files with the same bytes.
#[track_caller]
pub fn same_bytes(a: &Path, b: &Path) {
    let (a, b) = (files(a), files(b));
    let names = |all: &[(String, Vec<u8>)]| all.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&a), names(&b));
    for ((name, x), (_, y)) in a.iter().zip(&b) {
        assert!(x == y, "{name} differs");
    }
}

/// The lines of a metrics file without what the clock and the machine's memory decide.
pub fn metrics(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mut lines = crate::harness::rows(&text);
    for line in &mut lines {
        let line = line.as_object_mut().expect("an object");
        line.remove("tokens_per_second");
        line.remove("memory/peak_bytes");
    }
    lines
}

/// Starts a tool, kills it after some milliseconds, and again, each time a little later, until it ends by itself.
/// `whole` is asked after every kill. Returns how often it was killed.
pub fn kill_until_done(tool: &str, arguments: &[&str], stdin: &[u8], whole: impl Fn()) -> usize {
    let mut kills = 0;
    // A fixed walk over delays: they grow, so that it ends, and jump, so that all moments are hit.
    let mut state = 12345u64;
    loop {
        let mut child = command(tool, arguments);
        child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = child.spawn().expect("the tool starts");
        {
            use std::io::Write;
            let mut input = child.stdin.take().expect("piped");
            let _ = input.write_all(stdin);
        }
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let delay = 20 + 12 * kills as u64 + (state >> 33) % 80;
        thread::sleep(Duration::from_millis(delay));
        match child.try_wait().expect("waitable") {
            Some(_) => {
                let outcome = wait(child, b"");
                assert_eq!(outcome.code(), 0, "{}", outcome.stderr);
                return kills;
            }
            None => {
                child.kill().expect("killable");
                child.wait().expect("waitable");
                kills += 1;
                whole();
                assert!(kills < 400, "it never ends");
            }
        }
    }
}

#[test]
fn the_loss_falls_and_a_whole_policy_is_written_once() {
    let dir = scratch();
    let (policy, corpus) = policy(dir.path(), "llama-tiny");
    let (out, log) = (dir.path().join("out"), dir.path().join("metrics.jsonl"));
    let held_out = dir.path().join("held-out.jsonl");
    fs::write(&held_out, corpus.lines().take(20).collect::<Vec<_>>().join("\n")).unwrap();
    let path = |p: &Path| p.to_str().unwrap().to_string();
    let (policy, out_text, log_text, held) = (path(&policy), path(&out), path(&log), path(&held_out));
    let mut args = vec!["-", "-o", &out_text, "--epochs", "3", "--batch-size", "40", "--lr", "3e-3"];
    args.extend(["--metrics", &log_text, "--eval", &held]);
    let with = |more: &[&'static str]| {
        let mut all = vec![policy.as_str()];
        all.extend(&args);
        all.extend(more);
        run("r1-sft", &all, &corpus)
    };
    let first = with(&[]);
    assert!(first.stderr.contains("18 steps"), "{}", first.stderr);
    first.success();
    let lines = metrics(&log);
    let losses: Vec<f64> = lines.iter().filter_map(|l| l["loss"].as_f64()).collect();
    assert_eq!(losses.len(), 18);
    assert!(losses[17] < 0.7 * losses[0], "{losses:?}");
    let held: Vec<f64> = lines.iter().filter_map(|l| l["eval_loss"].as_f64()).collect();
    assert_eq!(held.len(), 4);
    assert!(held[3] < 0.7 * held[0], "{held:?}");

    let names: Vec<String> = files(&out).into_iter().map(|(name, _)| name).collect();
    for name in ["config.json", "tokenizer.json", "model.safetensors", "train.json"] {
        assert!(names.iter().any(|n| n == name), "{name} is not in {names:?}");
    }
    assert!(!names.iter().any(|n| n == "optimizer.safetensors"));
    // Again: nothing to do, no byte changes. Another command: refused, and what differs is named.
    let before = files(&out);
    let again = with(&[]);
    assert!(again.stderr.contains("nothing to do"), "{}", again.stderr);
    again.success();
    assert!(before == files(&out) && metrics(&log).len() == lines.len());
    with(&["--seed", "1"]).refused(2, &["--seed was 0, now 1", "to start over"]);
    let other = corpus.lines().take(100).collect::<Vec<_>>().join("\n");
    let mut all = vec![policy.as_str()];
    all.extend(&args);
    run("r1-sft", &all, &other).refused(2, &["another examples"]);
    assert!(before == files(&out));
}

#[test]
fn a_run_killed_at_any_moment_ends_with_the_same_bytes() {
    let dir = scratch();
    for preset in ["r1-tiny", "qwen-tiny"] {
        let (policy, corpus) = policy(dir.path(), preset);
        let path = |name: &str| dir.path().join(format!("{preset}-{name}"));
        let text = |p: &Path| p.to_str().unwrap().to_string();
        let run_to = |out: &str, log: &str, threads: &str| -> Vec<String> {
            let flags =
                ["--max-steps", "10", "--batch-size", "24", "--lr", "1e-3", "--checkpoint-every", "1", "-q"];
            let mut all = vec![text(&policy), "-".into(), "-o".into(), text(&path(out))];
            all.extend(flags.map(String::from));
            all.extend(["--metrics".into(), text(&path(log)), "--threads".into(), threads.into()]);
            all
        };
        let arguments = |list: &[String]| list.iter().map(String::as_str).collect::<Vec<_>>().join("\u{0}");
        let unbroken = run_to("unbroken", "unbroken.jsonl", "2");
        run("r1-sft", &arguments(&unbroken).split('\u{0}').collect::<Vec<_>>(), &corpus).success();
        let one_thread = run_to("one-thread", "one-thread.jsonl", "1");
        run("r1-sft", &arguments(&one_thread).split('\u{0}').collect::<Vec<_>>(), &corpus).success();
        same_bytes(&path("unbroken"), &path("one-thread"));

        let broken = run_to("broken", "broken.jsonl", "2");
        let out = path("broken");
        let kills = kill_until_done(
            "r1-sft",
            &broken.iter().map(String::as_str).collect::<Vec<_>>(),
            corpus.as_bytes(),
            || {
                // At every moment the name holds nothing or a whole state.
                if out.exists() {
                    let names: Vec<String> = files(&out).into_iter().map(|(name, _)| name).collect();
                    assert!(names.iter().any(|n| n == "model.safetensors"), "{names:?}");
                    assert!(names.iter().any(|n| n == "train.json"), "{names:?}");
                }
            },
        );
        assert!(kills >= 3, "{kills} kills are too few to mean anything");
        same_bytes(&path("unbroken"), &out);
        let steps =
            |file: &Path| metrics(file).into_iter().filter(|l| l["loss"].is_number()).collect::<Vec<_>>();
        assert_eq!(steps(&path("unbroken.jsonl")), steps(&path("broken.jsonl")));
        let left: Vec<String> = fs::read_dir(dir.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with('.'))
            .collect();
        assert!(left.is_empty(), "left behind: {left:?}");
    }
}

#[test]
fn a_signal_saves_and_the_same_command_goes_on() {
    let dir = scratch();
    let (policy, corpus) = policy(dir.path(), "qwen-tiny");
    let text = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
    let (policy, whole, parted) = (policy.to_str().unwrap().to_string(), text("whole"), text("parted"));
    let flags = ["--max-steps", "60", "--batch-size", "16", "--lr", "1e-3", "--checkpoint-every", "0"];
    let arguments = |out: &str| {
        let mut all = vec![policy.clone(), "-".into(), "-o".into(), out.to_string()];
        all.extend(flags.map(String::from));
        all
    };
    let list = arguments(&whole);
    run("r1-sft", &list.iter().map(String::as_str).collect::<Vec<_>>(), &corpus).success();
    let list = arguments(&parted);
    let list: Vec<&str> = list.iter().map(String::as_str).collect();
    let mut child = command("r1-sft", &list);
    let mut child =
        child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    {
        use std::io::Write;
        child.stdin.take().unwrap().write_all(corpus.as_bytes()).unwrap();
    }
    thread::sleep(Duration::from_millis(400));
    // SAFETY: the process is our child and has not been waited for.
    unsafe { libc::kill(child.id() as i32, libc::SIGTERM) };
    let stopped = wait(child, b"");
    if stopped.code() == 143 {
        assert!(stopped.stderr.contains("run the same command again"), "{}", stopped.stderr);
        assert!(Path::new(&parted).join("optimizer.safetensors").exists());
        let again = run("r1-sft", &list, &corpus);
        assert!(again.stderr.contains("goes on after step"), "{}", again.stderr);
        again.success();
    } else {
        println!("the run was over before the signal came: nothing to compare");
        assert_eq!(stopped.code(), 0, "{}", stopped.stderr);
    }
    same_bytes(Path::new(&whole), Path::new(&parted));
}

#[test]
fn bad_input_is_named() {
    let dir = scratch();
    let (policy, corpus) = policy(dir.path(), "llama-tiny");
    let text = |p: &Path| p.to_str().unwrap().to_string();
    let (name, out) = (text(&policy), text(&dir.path().join("out")));
    let one = corpus.lines().next().unwrap();
    let arguments = [name.as_str(), "-", "-o", &out, "--max-steps", "1"];
    refuses_bad_rows("r1-sft", &arguments, one);
    let _ = fs::remove_dir_all(&out);
    let fail = |row: &str, words: &[&str]| run("r1-sft", &arguments, row).refused(2, words);
    fail("{\"prompt\":\"x\"}\n", &["stdin:1", "completion"]);
    fail("{\"prompt\":\"x\",\"completion\":\"\"}\n", &["stdin:1", "the completion is empty"]);
    let long = format!("{{\"prompt\":\"x\",\"completion\":\"{}\"}}\n", "1 ".repeat(5000));
    fail(&long, &["no example fits", "--max-length"]);
    run("r1-sft", &[&name, "-", "-o", &name], one).refused(2, &["the policy that it would start from"]);
    run("r1-sft", &["nowhere", "-", "-o", &out], one).refused(2, &["nowhere"]);
    run("r1-sft", &[&name, "-", "-o", &out, "--template", "nothing"], one)
        .refused(2, &["--template nothing"]);
    run("r1-sft", &[&name, "-", "-o", &out, "--lr=-1"], one).refused(2, &["--lr", "below 0"]);
    fs::create_dir(&out).unwrap();
    fs::write(Path::new(&out).join("mine.txt"), "keep").unwrap();
    run("r1-sft", &arguments, one).refused(2, &["holds no training state"]);
    fs::remove_file(Path::new(&out).join("mine.txt")).unwrap();

    let weights = policy.join("model.safetensors");
    let bytes = fs::read(&weights).unwrap();
    fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    run("r1-sft", &arguments, one).refused(2, &["model.safetensors", "cut short"]);
    assert_eq!(fs::read_dir(&out).unwrap().count(), 0, "nothing half-written");
}

#[test]
fn an_update_that_is_not_finite_is_refused_and_its_batch_saved() {
    let dir = scratch();
    let (policy, corpus) = policy(dir.path(), "llama-tiny");
    let out = dir.path().join("out");
    let (name, out_text) = (policy.to_str().unwrap().to_string(), out.to_str().unwrap().to_string());
    // A learning rate beyond all measure: the second update meets what the first has done.
    let arguments = [
        &name,
        "-",
        "-o",
        &out_text,
        "--max-steps",
        "9",
        "--lr",
        "1e38",
        "--clip-norm",
        "0",
        "--dtype",
        "f32",
    ];
    let outcome = run("r1-sft", &arguments, &corpus);
    outcome.refused(1, &["refused, weights unchanged", "line ", "is saved in", "lower --lr"]);
    assert!(!out.exists());
    let saved: Vec<PathBuf> = fs::read_dir(dir.path())
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.to_str().unwrap().contains("refused-step"))
        .collect();
    assert_eq!(saved.len(), 1, "{saved:?}");
    let rows = crate::harness::rows(&fs::read_to_string(&saved[0]).unwrap());
    // 240 examples in batches of 128: the second batch has the rest.
    assert_eq!(rows.len(), 112);
    assert_eq!(rows.iter().filter(|r| r["refused"].is_string()).count(), 1);
}

#[test]
fn every_turn_of_the_assistant_is_learned_where_asked() {
    let dir = scratch();
    let (policy, _) = policy(dir.path(), "qwen-tiny");
    let policy = policy.to_str().unwrap();
    let turns = [("user", "1 + 1?"), ("assistant", "2"), ("user", "and 2 + 3?"), ("assistant", "that is 5")];
    let messages: Vec<Value> =
        turns.iter().map(|(role, content)| serde_json::json!({"role": role, "content": content})).collect();
    let row = serde_json::json!({"messages": messages}).to_string();
    // The same two lessons, said one by one.
    let apart =
        [&messages[..2], &messages[..]].map(|part| serde_json::json!({"messages": part}).to_string() + "\n");
    let weights = |out: &str| fs::read(dir.path().join(out).join("model.safetensors")).unwrap();
    let train = |out: &str, rows: &str, flags: &[&str]| {
        let out = dir.path().join(out);
        let mut all = vec![policy, "-", "-o", out.to_str().unwrap(), "--max-steps", "3", "--lr", "1e-3"];
        all.extend(["--template", "chat"]);
        all.extend(flags);
        let outcome = run("r1-sft", &all, rows);
        let said = outcome.stderr.clone();
        outcome.success();
        said
    };
    let said = train("all", &row, &["--turns", "all"]);
    assert!(said.contains("2 examples") && said.contains("tokens of a prompt"), "{said}");
    train("apart", &apart.concat(), &[]);
    let said = train("last", &row, &[]);
    assert!(said.contains("1 examples"), "{said}");
    assert!(weights("all") == weights("apart") && weights("all") != weights("last"));
}

/// Where the chat template says what the assistant's words are, all turns are learned in one piece, tools and all.
#[test]
fn generation_blocks_say_what_is_learned() {
    let dir = scratch();
    let (policy, _) = policy(dir.path(), "qwen-tiny");
    let template = "{% for t in tools or [] %}{{ t.name }}{% endfor %}{% for m in messages %}{% if m.role == 'assistant' %}\
        {% generation %}{{ m.content + eos_token }}{% endgeneration %}{% else %}<|user|>{{ m.content }}{% endif %}{% endfor %}";
    fs::write(policy.join("chat_template.jinja"), template).unwrap();
    let policy = policy.to_str().unwrap();
    let train = |out: &str, row: &str, flags: &[&str]| {
        let path = dir.path().join(out);
        let mut all = vec![policy, "-", "-o", path.to_str().unwrap(), "--max-steps", "3", "--lr", "1e-3"];
        all.extend(["--template", "chat"]);
        all.extend(flags);
        run("r1-sft", &all, row).success();
        fs::read(path.join("model.safetensors")).unwrap()
    };
    let turns = serde_json::json!([{"role": "user", "content": "1 + 1?"}, {"role": "assistant", "content": "2"},
        {"role": "user", "content": "and 2 + 3?"}, {"role": "assistant", "content": "5"}]);
    let plain = serde_json::json!({"messages": turns}).to_string();
    let listed = serde_json::json!({"messages": turns, "tools": [{"name": "add"}]}).to_string();
    let said = serde_json::json!({"messages": turns, "tools": "[{\"name\": \"add\"}]"}).to_string();
    let all = train("all", &plain, &["--turns", "all"]);
    // The template writes the same turn by turn, so the lessons are those of the turns.
    let apart = [&turns.as_array().unwrap()[..2], &turns.as_array().unwrap()[..]]
        .map(|part| serde_json::json!({"messages": part}).to_string() + "\n");
    assert!(all == train("apart", &apart.concat(), &[]) && all != train("last", &plain, &[]));
    let with_tools = train("tools", &listed, &["--turns", "all"]);
    assert!(with_tools != all && with_tools == train("said", &said, &["--turns", "all"]));
    let bad = run(
        "r1-sft",
        &[policy, "-", "-o", dir.path().join("bad").to_str().unwrap()],
        &serde_json::json!({"messages": turns, "tools": 7}).to_string(),
    );
    bad.refused(2, &["`tools` is no list"]);
}

#[test]
fn a_plan_is_near_what_is_used_and_gradients_are_slopes() {
    let dir = scratch();
    let (policy, corpus) = policy(dir.path(), "llama-tiny");
    let (out, log) = (dir.path().join("out"), dir.path().join("log.jsonl"));
    let board = dir.path().join("board");
    let [policy, out_text, log_text, board_text] =
        [&policy, &out, &log, &board].map(|p| p.to_str().unwrap().to_string());
    let base = [policy.as_str(), "-", "-o", &out_text, "--batch-size", "120", "--dtype", "f32"];
    let with = |more: &[&str]| {
        let outcome = run("r1-sft", &[&base[..], more].concat(), &corpus);
        let said = outcome.stderr.clone();
        outcome.success();
        said
    };
    let said = with(&["--plan"]);
    let line = said.lines().find(|line| line.contains("MiB  at most")).unwrap_or_else(|| panic!("{said}"));
    let planned: f64 = line.split_whitespace().find_map(|word| word.parse().ok()).unwrap();
    assert!(said.contains("a row of up to") && said.contains("moments of AdamW"), "{said}");
    let said = with(&["--selftest"]);
    assert!(said.contains("gradient coverage") && said.contains("agrees   self_attn.q_proj"), "{said}");
    assert!(!said.contains("DIFFERS") && !out.exists(), "{said}");
    with(&["--metrics", &log_text, "--tensorboard", &board_text, "-q"]);
    let text = fs::read_to_string(&log).unwrap();
    let last: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let used = last["memory/peak_bytes"].as_f64().unwrap() / f64::from(1 << 20);
    assert!((0.4..2.0).contains(&(used / planned)), "planned {planned} MiB, used {used}");
    let events = fs::read(board.join("events.out.tfevents.r1-sft")).unwrap();
    let tags = events.windows(9).filter(|bytes| *bytes == b"grad_norm").count();
    assert_eq!(tags, text.lines().count());
}

#[test]
fn smoothed_labels_are_learned_the_same_way_on_any_machine() {
    let dir = scratch();
    let (policy, corpus) = policy(dir.path(), "r1-tiny");
    let policy = policy.to_str().unwrap();
    let train = |out: &str, flags: &[&str]| {
        let (out, log) = (dir.path().join(out), dir.path().join(format!("{out}.jsonl")));
        let (to, log_text) = (out.to_str().unwrap(), log.to_str().unwrap());
        let mut all =
            vec![policy, "-", "-o", to, "--max-steps", "3", "--lr", "1e-3", "-q", "--metrics", log_text];
        all.extend(flags);
        run("r1-sft", &all, &corpus).success();
        (files(&out), metrics(&log))
    };
    let (plain, smooth) = (train("plain", &[]), train("smooth", &["--label-smoothing", "0.1"]));
    let again = train("again", &["--label-smoothing", "0.1", "--threads", "1", "--micro-tokens", "4096"]);
    assert!(smooth.0 == again.0, "the same bytes on one thread");
    let of = |line: &Value, key: &str| line[key].as_f64().unwrap();
    // The first batch is the same: its plain loss is told, and a fresh policy is far from certain anyway.
    assert!((of(&plain.1[0], "loss") - of(&smooth.1[0], "nll")).abs() < 1e-9);
    assert!(plain.1[0]["nll"].is_null() && of(&smooth.1[0], "loss") != of(&smooth.1[0], "nll"));
    assert!(of(&smooth.1[2], "loss") < of(&smooth.1[0], "loss"));
    let state: Value =
        serde_json::from_slice(&fs::read(dir.path().join("smooth/train.json")).unwrap()).unwrap();
    assert_eq!(state["command"]["label-smoothing"], 0.1);
    run(
        "r1-sft",
        &[policy, "-o", dir.path().join("smooth").to_str().unwrap(), "--max-steps", "3", "--lr", "1e-3"],
        &corpus,
    )
    .refused(2, &["--label-smoothing was 0.1"]);
    run("r1-sft", &[policy, "-o", "x", "--label-smoothing", "1.5"], &corpus)
        .refused(2, &["--label-smoothing"]);
}

#[test]
fn noise_on_embeddings_is_the_seeds_own_and_leaves_the_held_out_loss_alone() {
    let dir = scratch();
    let (policy, corpus) = policy(dir.path(), "qwen-tiny");
    let policy = policy.to_str().unwrap();
    let held_out = dir.path().join("held-out.jsonl");
    fs::write(&held_out, corpus.lines().take(20).collect::<Vec<_>>().join("\n")).unwrap();
    let train = |out: &str, flags: &[&str]| {
        let (out, log) = (dir.path().join(out), dir.path().join(format!("{out}.jsonl")));
        let mut all =
            vec![policy, "-", "-o", out.to_str().unwrap(), "--max-steps", "3", "--lr", "1e-3", "-q"];
        all.extend(["--metrics", log.to_str().unwrap(), "--eval", held_out.to_str().unwrap()]);
        all.extend(flags);
        run("r1-sft", &all, &corpus).success();
        let lines = metrics(&log);
        (
            fs::read(out.join("model.safetensors")).unwrap(),
            lines[0]["eval_loss"].clone(),
            lines[1]["loss"].clone(),
        )
    };
    let (none, noisy) = (train("none", &[]), train("noisy", &["--neftune", "15"]));
    let (again, other) =
        (train("again", &["--neftune", "15", "--threads", "1"]), train("other", &["--neftune", "5"]));
    assert!(noisy == again, "the same noise");
    assert!(none.1 == noisy.1 && none.2 != noisy.2 && noisy.2 != other.2);
    assert!(none.0 != noisy.0 && noisy.0 != other.0);
}
