//! The whole recipe in miniature, as a user types it: in a shell, and by `make`.

use crate::by_tool::sft::{files, metrics, same_bytes};
use crate::contract;
use crate::harness::*;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Where the tools' executables are.
fn programs() -> String {
    executable("r1-tasks").parent().expect("a directory").to_str().expect("UTF-8").to_string()
}

/// Runs a script in `dir`, with the tools on the path; all of it must succeed.
#[track_caller]
fn shell(dir: &Path, script: &str) -> String {
    let mut command = Command::new("bash");
    let path = format!("{}:{}", programs(), std::env::var("PATH").unwrap_or_default());
    command.args(["-eu", "-o", "pipefail", "-c", script]).current_dir(dir).env("PATH", path);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    wait(command.spawn().expect("bash can be started"), b"").success()
}

/// Checks every line of a file against the contract; returns how many there are.
#[track_caller]
fn checked(file: PathBuf, needs: &[&str]) -> usize {
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    text.lines().for_each(|line| contract::check(line, needs));
    text.lines().count()
}

#[test]
fn the_recipe_in_a_shell() {
    let dir = scratch();
    let here = dir.path();
    shell(
        here,
        "r1-tasks --corpus --count 400 --operators 1 --split train --seed 1 > corpus.jsonl
         r1-init --preset r1-tiny --corpus corpus.jsonl --vocab 320 --seed 1 -o init
         r1-sft init corpus.jsonl -o base --max-steps 25 --batch-size 24 --lr 3e-3 --metrics base.metrics
         r1-tasks --count 4 --operators 1 --split test --unique --seed 9 > held-out.jsonl",
    );
    assert_eq!(
        fs::read_to_string(here.join("corpus.jsonl")).unwrap().lines().map(contract::check_example).count(),
        400
    );
    assert_eq!(checked(here.join("held-out.jsonl"), &["id", "prompt", "answer", "task"]), 4);

    // Two rounds of reinforcement, the second in place; every stage's rows are kept to be looked at.
    let rewards =
        "--reward accuracy=1 --reward format=0.1 --reward soft_overlong=1 --max-len 30 --overlong-cache 28";
    for (round, policy) in [(1, "base"), (2, "zero")] {
        shell(
            here,
            &format!(
                "r1-tasks --count 6 --operators 1 --split train --unique --seed {round} | tee tasks-{round}.jsonl \
                 | r1-rollout {policy} --samples 4 --max-tokens 32 --seed {round} | tee rollout-{round}.jsonl \
                 | r1-rollout base --score reference \
                 | r1-reward {rewards} | tee rewarded-{round}.jsonl \
                 | r1-advantage | tee round-{round}.jsonl \
                 | r1-grpo {policy} -o zero --lr 1e-3 --kl-beta 0.01 --metrics zero.metrics"
            ),
        );
        assert_eq!(checked(here.join(format!("tasks-{round}.jsonl")), &["id", "prompt", "answer"]), 6);
        assert_eq!(checked(here.join(format!("rollout-{round}.jsonl")), &["id", "rollout"]), 24);
        assert_eq!(
            checked(here.join(format!("rewarded-{round}.jsonl")), &["rollout", "reference", "reward"]),
            24
        );
        assert_eq!(
            checked(here.join(format!("round-{round}.jsonl")), &["reference", "reward", "advantage"]),
            24
        );
    }
    let told = rows(&fs::read_to_string(here.join("zero.metrics")).unwrap());
    assert_eq!(told.len(), 2);
    for (line, round) in told.iter().zip(1..) {
        assert_eq!((line["round"].as_u64(), line["ratio/max"].as_f64()), (Some(round), Some(1.0)), "{line}");
        assert!(line["grad_norm"].as_f64().unwrap() > 0.0);
    }
    // The reference is the first policy: no divergence at first, some after a round.
    assert!(told[0]["kl"] == 0.0 && told[1]["kl"].as_f64().unwrap() > 0.0, "{told:?}");

    // Replay: the rows that tee kept give the same weights as the pipe did.
    shell(
        here,
        "r1-grpo base round-1.jsonl -o replay --lr 1e-3 --kl-beta 0.01
         r1-grpo replay -o replay --lr 1e-3 --kl-beta 0.01 < round-2.jsonl",
    );
    same_bytes(&here.join("zero"), &here.join("replay"));
    assert!(files(&here.join("zero")) != files(&here.join("base")));

    // Curation, imitation on the base again, a student of another family, evaluation before and after.
    shell(
        here,
        "r1-reject rewarded-2.jsonl --finished --best 2 --dedup --report refused.json -o examples.jsonl
         r1-sft base examples.jsonl -o again --epochs 2 --batch-size 4 --lr 1e-3
         r1-init --preset qwen-tiny --corpus corpus.jsonl --vocab 300 -o student-init
         r1-distill student-init rewarded-2.jsonl -o student --template chat --epochs 2 --batch-size 6 --lr 2e-3
         for policy in base zero again student; do
           r1-rollout $policy held-out.jsonl --samples 4 --max-tokens 32 --seed 77 \
             | r1-reward --reward accuracy=1 --reward format=0.1 > eval-$policy.jsonl
         done",
    );
    let examples = fs::read_to_string(here.join("examples.jsonl")).unwrap();
    examples.lines().for_each(contract::check_example);
    let report: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(here.join("refused.json")).unwrap()).unwrap();
    assert_eq!(
        (report["rows"].as_u64(), report["kept"].as_u64()),
        (Some(24), Some(examples.lines().count() as u64))
    );
    for policy in ["base", "zero", "again", "student"] {
        assert_eq!(checked(here.join(format!("eval-{policy}.jsonl")), &["rollout", "reward"]), 16);
    }
    let table =
        shell(here, "r1-eval eval-base.jsonl eval-zero.jsonl eval-again.jsonl eval-student.jsonl --show 1");
    for word in ["pass@1", "cons@4", "eval-base", "eval-zero", "eval-again", "eval-student"] {
        assert!(table.contains(word), "{word} is not in {table}");
    }
}

/// `make` in the repository's root with these words, the programs taken as they are built.
pub fn make(words: &[&str]) -> Command {
    let mut command = Command::new("make");
    command.args(words).args(["BUILT=1", &format!("BIN={}", programs())]).current_dir(root());
    heed_signals(&mut command);
    // What an outer make says to its children is not meant for this one.
    for name in ["MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKEOVERRIDES"] {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Our tools' command lines in what `make -n` prints: the words from a tool's name to the next sign of the shell.
fn commands(printed: &str) -> Vec<Vec<String>> {
    let prefix = format!("{}/r1-", programs());
    let mut found: Vec<Vec<String>> = Vec::new();
    let mut open = false;
    for line in printed.replace("\\\n", " ").lines() {
        for word in line.split_whitespace() {
            let sign = word.ends_with(';') || ["|", ">", "{", "}", "<"].contains(&word);
            let word = word.trim_end_matches(';');
            if word.starts_with(&prefix) {
                found.push(Vec::new());
                open = true;
            }
            if let (true, false, Some(last)) =
                (open, word.is_empty() || ["|", ">", "{", "}", "<"].contains(&word), found.last_mut())
            {
                last.push(word.to_string());
            }
            open &= !sign;
        }
        open = false;
    }
    found
}

#[test]
fn commands_that_make_prints_are_understood_by_the_tools() {
    let dir = scratch();
    let run_there = format!("RUN={}", dir.path().join("run").display());
    let rows = dir.path().join("tasks.jsonl");
    fs::write(&rows, "{\"prompt\":\"2 + 2?\",\"answer\":\"4\"}\n").unwrap();
    let given = format!("TASKS={}", rows.display());
    let mut seen = Vec::new();
    for words in [
        vec!["-n", "ROUNDS=1"],
        vec!["-n", "zero", "ROUNDS=2", "SEED=3"],
        vec!["-n", "r1", "ROUNDS=1", "R1_ROUNDS=2", "ALL_ROUNDS=2", "JUDGED_ROUNDS=1", "STUDENT_ROUNDS=1"],
        vec![
            "-n",
            "r1",
            &given,
            "MODEL=some/policy",
            "ROUNDS=1",
            "R1_ROUNDS=1",
            "ALL_ROUNDS=1",
            "JUDGED_ROUNDS=1",
            "STUDENT_ROUNDS=1",
        ],
        vec!["-n", "r1", "ROUNDS=1", "COLD_WAYS=zero few-shot reflection refine", "REVIEW=1"],
        vec!["-n", "ROUNDS=1", &given, "MODEL=some/policy"],
        vec!["-n", "ROUNDS=1", "MODEL=some/file.gguf"],
    ] {
        let mut words = words;
        words.push(&run_there);
        let outcome = wait(make(&words).spawn().expect("make can be started"), b"");
        assert!(!outcome.stdout.contains("cargo build"), "BUILT=1 builds nothing");
        let found = commands(&outcome.success());
        assert!(found.len() >= 9, "{words:?}: {found:?}");
        for command in found {
            let tool = Path::new(&command[0]).file_name().unwrap().to_str().unwrap().to_string();
            let mut arguments: Vec<&str> = command[1..].iter().map(String::as_str).collect();
            arguments.push("--help");
            // The tool's own parser reads all that stands before --help.
            let outcome = run(&tool, &arguments, "");
            assert_eq!(outcome.code(), 0, "{}: {}", command.join(" "), outcome.stderr);
            seen.push(tool);
        }
    }
    seen.sort();
    seen.dedup();
    let all = [
        "r1-advantage",
        "r1-distill",
        "r1-eval",
        "r1-grpo",
        "r1-init",
        "r1-judge",
        "r1-plot",
        "r1-prefer",
        "r1-reject",
        "r1-reward",
        "r1-rollout",
        "r1-sft",
        "r1-tasks",
    ];
    assert_eq!(seen, all);
    // What makes the check above one: a flag, a value and a word too many before --help are refused.
    for wrong in [
        &["a", "b", "-o", "c", "--no-such", "--help"][..],
        &["a", "--schedule", "x", "--help"],
        &["a", "b", "c", "--help"],
    ] {
        run("r1-sft", wrong, "").refused(2, &[]);
    }
}

/// `make help` names every variable that a user may set and every target that is not a file.
#[test]
fn help_lists_every_target_and_variable() {
    let help = wait(make(&["help"]).spawn().expect("make can be started"), b"").success();
    let words: Vec<&str> = help.split(|c: char| !(c.is_alphanumeric() || "_-".contains(c))).collect();
    let mut rules = vec![root().join("Makefile")];
    rules.extend(fs::read_dir(root().join("scripts")).expect("readable").flatten().map(|entry| entry.path()));
    rules.retain(|path| {
        path.file_name().is_some_and(|n| n == "Makefile") || path.extension().is_some_and(|e| e == "mk")
    });
    assert!(rules.len() >= 5, "{rules:?}");
    let mut known = 0;
    for path in rules {
        for line in fs::read_to_string(&path).expect("readable").lines() {
            let names: Vec<&str> = match (line.split_once("?="), line.strip_prefix(".PHONY:")) {
                (Some((name, _)), _) => vec![name.trim()],
                (_, Some(targets)) => targets.split_whitespace().collect(),
                _ => continue,
            };
            // Steps that a target takes on its way.
            for name in names.into_iter().filter(|name| !["have-rust", "settled", "r1-stages"].contains(name))
            {
                assert!(words.contains(&name), "{name} of {} is not in make help", path.display());
                known += 1;
            }
        }
    }
    assert!(known > 40, "{known}");
}

/// `make -s` or `make -n` of a run so small that it takes seconds, with a checkpoint at every other step.
fn miniature(run: &Path, how: &str) -> Command {
    let mut command = make(&[how, "zero", &format!("RUN={}", run.display())]);
    command.args([
        "CORPUS=--operators 1 --count 400",
        "BASE_FLAGS=--max-steps 12 --batch-size 24 --lr 3e-3 --checkpoint-every 2",
        "ZERO_FLAGS=--lr 1e-3 --batch-size 4",
        "ZERO_REWARDS=--reward accuracy=1 --reward soft_overlong=1 --max-len 30 --overlong-cache 28",
    ]);
    let small = "ROUNDS=3 PROMPTS=3 GROUP=4 MAX_TOKENS=32 HELD_OUT=6 EVAL_SAMPLES=2 THREADS=2";
    command.args(small.split(' ')).process_group(0);
    command
}

/// Every file under a directory by its path, but what the clock decides (metrics) and what make only touches.
fn tree(dir: &Path, under: &str, found: &mut Vec<(String, Vec<u8>)>) {
    for entry in fs::read_dir(dir.join(under)).expect("readable").flatten() {
        let name = format!("{under}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            tree(dir, &format!("{name}/"), found);
        } else if !name.ends_with("metrics.jsonl") {
            found.push((name, fs::read(entry.path()).expect("readable")));
        }
    }
    found.sort();
}

/// Sends a signal to a process and all it has started.
fn signal_group(child: &Child, signal: libc::c_int) {
    // SAFETY: the child was made the leader of a group of its own and has not been waited for.
    unsafe { libc::kill(-(child.id() as i32), signal) };
}

/// Waits until nothing of the child's group runs any more, since a tool may save its work after make has gone; or for five
/// seconds, where nobody takes away the dead.
fn wait_for_group(mut child: Child) {
    let group = -(child.id() as i32);
    child.wait().expect("waitable");
    let begun = Instant::now();
    // SAFETY: signal 0 only asks whether a process of the group is there.
    while unsafe { libc::kill(group, 0) } == 0 && begun.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_make_stopped_at_any_moment_ends_with_the_same_bytes() {
    let dir = scratch();
    let (unbroken, broken) = (dir.path().join("straight"), dir.path().join("stopping"));
    let begun = Instant::now();
    let table = wait(miniature(&unbroken, "-s").spawn().expect("make can be started"), b"").success();
    let whole_run = begun.elapsed();
    assert!(table.contains("pass@1") && table.contains("zero.jsonl"), "{table}");

    // SIGKILL to make and all its children, and now and then what Ctrl-C or a batch system sends; again until it ends.
    let mut state = 20_261_123u64;
    let mut stops = 0u32;
    let table_again = loop {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let share = 0.03 + 0.08 * ((state >> 40) as f64 / (1u64 << 24) as f64) + 0.015 * f64::from(stops);
        let child = miniature(&broken, "-s").spawn().expect("make can be started");
        let deadline = Instant::now() + whole_run.mul_f64(share);
        let mut child = child;
        while Instant::now() < deadline && child.try_wait().expect("waitable").is_none() {
            std::thread::sleep(Duration::from_millis(3));
        }
        if child.try_wait().expect("waitable").is_some() {
            break wait(child, b"").success();
        }
        signal_group(
            &child,
            [libc::SIGKILL, libc::SIGKILL, libc::SIGINT, libc::SIGKILL, libc::SIGTERM][stops as usize % 5],
        );
        wait_for_group(child);
        stops += 1;
        assert!(stops < 60, "it never ends");
    };
    assert!(stops >= 4, "{stops} stops are too few to mean anything");
    let (mut expected, mut found) = (Vec::new(), Vec::new());
    tree(&unbroken, "", &mut expected);
    tree(&broken, "", &mut found);
    let names = |all: &[(String, Vec<u8>)]| all.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&found), names(&expected));
    for name in [
        "0-base/policy/model.safetensors",
        "1-zero/policy/model.safetensors",
        "eval/base.jsonl",
        "eval/zero.jsonl",
    ] {
        assert!(names(&expected).iter().any(|known| known == name), "{name} is missing");
    }
    for ((name, expected), (_, found)) in expected.iter().zip(&found) {
        assert!(expected == found, "{name} differs after {stops} stops");
    }
    assert_eq!(table_again.replace("stopping", "straight"), table);
    for log in ["0-base/metrics.jsonl", "1-zero/metrics.jsonl"] {
        let told = |run: &Path| {
            let mut lines = metrics(&run.join(log));
            for line in &mut lines {
                // What the clock decides.
                line.as_object_mut().expect("an object").remove("step_time");
            }
            lines
        };
        let (expected, found) = (told(&unbroken), told(&broken));
        assert!(expected == found && !found.is_empty(), "{log} differs after {stops} stops");
    }
    // Done is done: only the table would be printed again.
    let left = commands(&wait(miniature(&broken, "-n").spawn().expect("make can be started"), b"").success());
    assert!(left.len() == 1 && left[0][0].ends_with("r1-eval"), "{left:?}");
}
