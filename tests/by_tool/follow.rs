//! `--follow`: rounds through one pipe. It ends with the bytes of the same rounds run one by one, whatever was killed on the way, and
//! nobody waits for somebody who is gone.

use super::rollout::{deepseek, qwen};
use super::sft::same_bytes;
use crate::by_tool::device::built;
use crate::harness::*;
use serde_json::{Value, json};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The line that ends a round.
const END: &str = "\u{c}\n";

const REWARDS: &str =
    "--reward accuracy=1 --reward format=0.1 --reward soft_overlong=1 --max-len 24 --overlong-cache 22 -q";
const DRAW: &str = "--samples 4 --max-tokens 24 --seed 5 -q";
const LEARN: &str = "--lr 1e-3 -q";

/// Prompts of a round, and rounds.
const PROMPTS: usize = 4;
const ROUNDS: usize = 3;

fn tasks() -> String {
    let count = (PROMPTS * ROUNDS).to_string();
    run("r1-tasks", &["--count", &count, "--operators", "1", "--unique", "--seed", "31", "-q"], "").success()
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(String::from).collect()
}

/// A stage of a pipe: tool and arguments.
type Stage = (&'static str, Vec<String>);

/// The whole loop: policy, directory to publish, flags of r1-advantage and of both ends.
fn stages(policy: &str, out: &str, advantage: &str, ends: &str) -> Vec<Stage> {
    let [mut draw, mut learn] = [vec![policy.to_string(), "-".into()], vec![policy.to_string(), "-".into()]];
    draw.extend(words(&format!("--follow {out} --prompts {PROMPTS} {DRAW} {ends}")));
    learn.extend(words(&format!("-o {out} --follow {LEARN} {ends}")));
    vec![
        ("r1-rollout", draw),
        ("r1-reward", words(REWARDS)),
        ("r1-advantage", words(&format!("-q {advantage}"))),
        ("r1-grpo", learn),
    ]
}

/// Starts every stage, each reading what the one before writes.
fn start(stages: &[Stage], stdin: &str) -> Vec<Child> {
    start_with(stages, stdin, &[])
}

/// … where these variables are set.
fn start_with(stages: &[Stage], stdin: &str, variables: &[(&str, &str)]) -> Vec<Child> {
    let mut children: Vec<Child> = Vec::new();
    for (tool, arguments) in stages {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let mut command: Command = command(tool, &arguments);
        command.envs(variables.iter().copied());
        match children.last_mut().map(|child| child.stdout.take().expect("piped")) {
            Some(before) => command.stdin(before),
            None => command.stdin(Stdio::piped()),
        };
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        children.push(child.unwrap_or_else(|error| panic!("{tool} cannot be started: {error}")));
    }
    let mut first = children[0].stdin.take().expect("piped");
    let text = stdin.to_string();
    // A pipe holds 64 KiB of tasks and more; a stage that dies early leaves them.
    std::thread::spawn(move || first.write_all(text.as_bytes()));
    children
}

/// Waits until all have ended; gives exit codes and what they said.
#[track_caller]
fn end(mut children: Vec<Child>) -> Vec<(i32, String)> {
    let begun = Instant::now();
    let mut said = Vec::new();
    for child in &mut children {
        while child.try_wait().expect("waitable").is_none() {
            if begun.elapsed() > Duration::from_secs(120) {
                // The rest would wait for ever, too.
                let _ = child.kill();
                panic!("a stage waits for somebody who is gone");
            }
            sleep(Duration::from_millis(2));
        }
    }
    for mut child in children {
        use std::os::unix::process::ExitStatusExt;
        let status = child.wait().expect("it has ended");
        let mut text = String::new();
        child.stderr.take().expect("piped").read_to_string(&mut text).expect("UTF-8");
        assert!(!text.contains("panicked"), "{text}");
        said.push((status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)), text));
    }
    said
}

#[track_caller]
fn whole(stages: &[Stage], stdin: &str) {
    let said = end(start(stages, stdin));
    assert!(said.iter().all(|(code, _)| *code == 0), "{said:?}");
}

fn path(dir: &Path, name: &str) -> String {
    dir.join(name).to_str().expect("UTF-8").to_string()
}

fn state(dir: &str) -> Value {
    serde_json::from_slice(&fs::read(Path::new(dir).join("train.json")).expect("it is there")).expect("JSON")
}

/// The same rounds, one command after the other, each through a file.
fn by_files(policy: &str, out: &str, tasks: &str) -> Vec<String> {
    let mut rounds = Vec::new();
    let lines: Vec<&str> = tasks.split_inclusive('\n').collect();
    for (round, tasks) in lines.chunks(PROMPTS).enumerate() {
        let from = if round == 0 { policy } else { out };
        let draw = words(&format!("{from} - {DRAW}"));
        let learn = words(&format!("{from} - -o {out} {LEARN}"));
        let rewards = words(REWARDS);
        let [draw, rewards, learn] =
            [&draw, &rewards, &learn].map(|list| list.iter().map(String::as_str).collect::<Vec<&str>>());
        let advantaged = pipe(
            &[("r1-rollout", &draw), ("r1-reward", &rewards), ("r1-advantage", &["-q"])],
            &tasks.concat(),
        );
        run("r1-grpo", &learn, &advantaged).success();
        rounds.push(advantaged);
    }
    rounds
}

#[test]
fn the_pipe_and_the_files_give_the_same_bytes() {
    for policy in [deepseek(), qwen()] {
        let dir = scratch();
        let (tasks, [files, piped]) = (tasks(), ["files", "piped"].map(|name| path(dir.path(), name)));
        let rounds = by_files(policy, &files, &tasks);
        let [drawn, learned] = ["drawn.metrics", "learned.metrics"].map(|name| path(dir.path(), name));
        let mut stages = stages(policy, &piped, "", "");
        stages[0].1.extend(["--metrics".into(), drawn.clone()]);
        stages[3].1.extend(["--metrics".into(), learned.clone()]);
        whole(&stages, &tasks);
        same_bytes(Path::new(&files), Path::new(&piped));
        assert_eq!(
            (state(&piped)["round"].as_u64(), state(&piped)["status"].as_str()),
            (Some(3), Some("done"))
        );
        assert!(
            fs::read(format!("{piped}/model.safetensors")).unwrap()
                != fs::read(format!("{policy}/model.safetensors")).unwrap()
        );
        for (file, steps, lag) in [(&drawn, "round", "rounds_ahead"), (&learned, "step", "policy_lag")] {
            let lines = rows(&fs::read_to_string(file).unwrap());
            assert_eq!(lines.iter().map(|line| line[steps].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 3]);
            assert!(lines.iter().all(|line| line[lag] == 0), "{lines:?}");
        }
        // What tee kept is replayed as one stream.
        let stream: String = rounds.iter().map(|round| format!("{round}{END}")).collect();
        let again = path(dir.path(), "again");
        let flags = words(&format!("{policy} - -o {again} --follow {LEARN}"));
        run("r1-grpo", &flags.iter().map(String::as_str).collect::<Vec<_>>(), &stream).success();
        same_bytes(&dir.path().join("again"), Path::new(&files));
        // In place: POLICY is what is followed.
        let here = path(dir.path(), "here");
        assert!(Command::new("cp").args(["-r", policy, &here]).status().unwrap().success());
        whole(&self::stages(&here, &here, "", ""), &tasks);
        let weights = |dir: &str| fs::read(Path::new(dir).join("model.safetensors")).unwrap();
        assert!(weights(&here) == weights(&files));
    }
}

#[test]
fn an_adapter_is_followed_as_a_policy_is() {
    let dir = scratch();
    let (tasks, [files, piped]) = (tasks(), ["files", "piped"].map(|name| path(dir.path(), name)));
    let lines: Vec<&str> = tasks.split_inclusive('\n').collect();
    for (round, tasks) in lines.chunks(PROMPTS).enumerate() {
        let [over, from] = if round == 0 {
            [String::new(), "--lora-rank 4".into()]
        } else {
            [format!("--adapter {files}"), format!("--adapter {files}")]
        };
        let draw = words(&format!("{} - {DRAW} {over}", qwen()));
        let learn = words(&format!("{} - -o {files} {LEARN} {from}", qwen()));
        let rewards = words(REWARDS);
        let [draw, rewards, learn] =
            [&draw, &rewards, &learn].map(|list| list.iter().map(String::as_str).collect::<Vec<&str>>());
        let all: [(&str, &[&str]); 4] =
            [("r1-rollout", &draw), ("r1-reward", &rewards), ("r1-advantage", &["-q"]), ("r1-grpo", &learn)];
        pipe(&all, &tasks.concat());
    }
    let mut stages = stages(qwen(), &piped, "", "");
    stages[3].1.extend(words("--lora-rank 4"));
    whole(&stages, &tasks);
    same_bytes(Path::new(&files), Path::new(&piped));
}

#[test]
fn whoever_is_killed_the_rest_end_and_the_same_command_goes_on_to_the_same_bytes() {
    let dir = scratch();
    let (tasks, files) = (tasks(), path(dir.path(), "files"));
    by_files(qwen(), &files, &tasks);
    let begun = Instant::now();
    whole(&stages(qwen(), &path(dir.path(), "timed"), "", ""), &tasks);
    let takes = begun.elapsed();
    let mut in_the_middle = 0;
    for victim in 0..4 {
        for (turn, share) in [0.3, 0.6, 0.85].into_iter().enumerate() {
            let out = path(dir.path(), &format!("killed-{victim}-{turn}"));
            let stages = stages(qwen(), &out, "", "");
            let mut children = start(&stages, &tasks);
            sleep(takes.mul_f64(share));
            let was_over = children[victim].try_wait().unwrap().is_some();
            children[victim].kill().unwrap();
            let said = end(children);
            for (stage, (code, text)) in said.iter().enumerate().filter(|(stage, _)| *stage != victim) {
                // Quiet, or one line: what breaks off is a broken row, group or round.
                let lines = text.lines().count();
                assert!(
                    *code <= 2 && lines <= 1 && (*code == 0 || lines == 1),
                    "stage {stage}: {code} {text}"
                );
            }
            if Path::new(&out).exists() {
                let state = state(&out);
                assert_eq!(state["status"], "done", "only whole rounds are published");
                in_the_middle += usize::from(!was_over && state["round"].as_u64().unwrap() < 3);
            }
            whole(&stages, &tasks);
            same_bytes(Path::new(&files), Path::new(&out));
        }
    }
    assert!(in_the_middle >= 2, "{in_the_middle} kills came between the first round and the last");
}

#[test]
fn a_signal_gives_the_round_up_and_the_policy_stands() {
    let dir = scratch();
    let (tasks, [files, out]) = (tasks(), ["files", "out"].map(|name| path(dir.path(), name)));
    let rounds = by_files(qwen(), &files, &tasks);
    let flags = words(&format!("{} - -o {out} --follow {LEARN}", qwen()));
    let mut child = command("r1-grpo", &flags.iter().map(String::as_str).collect::<Vec<_>>())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    // One round, and a part of the next; then it waits for the rest.
    let part = rounds[1].split_inclusive('\n').next().unwrap();
    input.write_all(format!("{}{END}{part}", rounds[0]).as_bytes()).unwrap();
    while !Path::new(&out).join("model.safetensors").exists() {
        sleep(Duration::from_millis(5));
    }
    // SAFETY: the process is our child and has not been waited for.
    unsafe { libc::kill(child.id() as i32, libc::SIGINT) };
    let said = wait(child, b"");
    assert_eq!(said.code(), 130, "{}", said.stderr);
    assert_eq!(state(&out)["round"], 1);
    drop(input);
    // The stream breaks off: what is there of the round is not trained on.
    let grpo = |rows: &str| run("r1-grpo", &flags.iter().map(String::as_str).collect::<Vec<_>>(), rows);
    let broken = grpo(part);
    broken
        .refused(1, &["ends within a round, after 1 rows", "as after round 1", "run the same command again"]);
    let rest: String = rounds[1..].iter().map(|round| format!("{round}{END}")).collect();
    let gone_on = grpo(&rest).success();
    assert!(gone_on.is_empty());
    same_bytes(Path::new(&files), Path::new(&out));
}

#[test]
fn rows_of_an_older_policy_are_refused_or_counted() {
    let dir = scratch();
    let tasks = tasks();
    let lagging = path(dir.path(), "lagging");
    let drawn = path(dir.path(), "learned.metrics");
    let mut stages = stages(qwen(), &lagging, "", "--max-lag 1");
    stages[3].1.extend(["--metrics".into(), drawn.clone()]);
    whole(&stages, &tasks);
    let lags: Vec<u64> = rows(&fs::read_to_string(&drawn).unwrap())
        .iter()
        .map(|line| line["policy_lag"].as_u64().unwrap())
        .collect();
    assert!(lags.len() == 3 && lags.iter().all(|lag| *lag <= 1), "{lags:?}");

    let rounds = by_files(qwen(), &path(dir.path(), "files"), &tasks);
    // Rows of the first round come again as the second: with lag 1 they are taken, without they are refused by line.
    let stale = format!("{}{END}{}{END}", rounds[0], rounds[0]);
    let learn = |out: &str, lag: &str| {
        let flags =
            words(&format!("{} - -o {} --follow {LEARN} --max-lag {lag}", qwen(), path(dir.path(), out)));
        run("r1-grpo", &flags.iter().map(String::as_str).collect::<Vec<_>>(), &stale)
    };
    learn("refused", "0").refused(2, &["stdin:18: sampled by sha256:", "--max-lag"]);
    assert_eq!(state(&path(dir.path(), "refused"))["round"], 1);
    learn("taken", "1").success();
    assert_eq!(state(&path(dir.path(), "taken"))["round"], 2);
}

#[test]
fn a_round_of_which_nothing_is_left_is_a_round() {
    let dir = scratch();
    let out = path(dir.path(), "out");
    // Nobody is right in everything: every group is left out.
    whole(&stages(qwen(), &out, "--pass-rate 1..1", ""), &tasks());
    assert_eq!((state(&out)["round"].as_u64(), state(&out)["step"].as_u64()), (Some(3), Some(0)));
    let weights = |dir: &str| fs::read(Path::new(dir).join("model.safetensors")).unwrap();
    assert!(weights(&out) == weights(qwen()));
}

/// Gives a filter two rounds; the first must come out before the second goes in, and both as if they were alone.
#[track_caller]
fn hands_on_rounds(tool: &str, arguments: &[&str], first: &str, second: &str) {
    let alone = |text: &str| run(tool, arguments, text).success();
    let wanted = [alone(first), alone(second)];
    let mut child = command(tool, arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let (send, receive) = std::sync::mpsc::channel();
    let output = BufReader::new(child.stdout.take().unwrap());
    std::thread::spawn(move || output.lines().map_while(Result::ok).for_each(|line| drop(send.send(line))));
    for (given, wanted) in [first, second].into_iter().zip(wanted) {
        input.write_all(format!("{given}{END}").as_bytes()).unwrap();
        let mut came = String::new();
        while !came.ends_with(END) {
            let line = receive.recv_timeout(Duration::from_secs(60));
            came +=
                &format!("{}\n", line.unwrap_or_else(|_| panic!("{tool} {arguments:?} holds back: {came}")));
        }
        assert_eq!(came, format!("{wanted}{END}"), "{tool} {arguments:?}");
    }
    drop(input);
    assert!(child.wait().unwrap().success());
    assert!(receive.recv().is_err(), "{tool} says more than was asked");
}

#[test]
fn every_filter_hands_a_round_on_when_it_ends() {
    let dir = scratch();
    let draw = |seed: &str| {
        let tasks = run("r1-tasks", &["--count", "2", "--seed", seed, "-q"], "").success();
        run("r1-rollout", &[qwen(), "-", "-n", "3", "--max-tokens", "12", "-q"], &tasks).success()
    };
    let [first, second] = [draw("1"), draw("2")];
    hands_on_rounds("r1-reward", &["-q"], &first, &second);
    hands_on_rounds(
        "r1-reward",
        &["-q", "--reward", "accuracy=1", "--reward", "group_length=1"],
        &first,
        &second,
    );
    let program = dir.path().join("half.sh");
    fs::write(&program, "#!/bin/sh\nwhile read -r line; do echo 0.5; done\n").unwrap();
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    hands_on_rounds("r1-reward", &["-q", "--exec", program.to_str().unwrap()], &first, &second);
    hands_on_rounds("r1-rollout", &[qwen(), "-", "--score", "reference", "-q"], &first, &second);
    let prompt = path(dir.path(), "prompt.txt");
    fs::write(&prompt, "name: digit\nverdict: brackets\nvalues: 1=1 2=2\n---\n{{ question }} {{ response }}")
        .unwrap();
    hands_on_rounds(
        "r1-judge",
        &["--judge", qwen(), "--prompt", &prompt, "--max-tokens", "4", "-q"],
        &first,
        &second,
    );
    let rewarded = |text: &str| {
        let mut all = String::new();
        for (i, mut row) in rows(text).into_iter().enumerate() {
            row["reward"] = json!({"total": (i * 7 % 4) as f64 / 2.0});
            all += &format!("{row}\n");
        }
        all
    };
    let [first, second] = [rewarded(&first), rewarded(&second)];
    hands_on_rounds("r1-advantage", &["-q"], &first, &second);
    // One that looks at all groups looks at those of the round.
    hands_on_rounds("r1-advantage", &["-q", "--scale", "batch"], &first, &second);
}

#[test]
fn a_filter_that_waits_sees_that_its_reader_has_left() {
    let first = run("r1-tasks", &["--count", "1", "-q"], "")
        .success()
        .replace("\"prompt\":", "\"rollout\":{\"completion\":\"x\"},\"prompt\":");
    let mut child = command("r1-reward", &["-q"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(first.as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("\"reward\""));
    // Reader and its end of the pipe are gone; nothing more is written or read.
    let said = wait(child, b"");
    assert_eq!((said.code(), said.stderr.as_str()), (0, ""));
    drop(input);
}

#[test]
fn what_cannot_be_followed_is_named() {
    let dir = scratch();
    let draw = |flags: &str| {
        let all = words(&format!("{} - -q --prompts 2 {flags}", qwen()));
        run("r1-rollout", &all.iter().map(String::as_str).collect::<Vec<_>>(), &tasks())
    };
    draw("").refused(2, &["--follow"]);
    for other in ["--adapter x", "--score reference", "--endpoint http://localhost:9", "--resume -o y"] {
        draw(other).refused(2, &["--prompts"]);
    }
    draw(&format!("--follow {}", deepseek())).refused(2, &["not what r1-grpo made of POLICY"]);
    draw("--follow x -o y").refused(2, &["--output"]);
    run("r1-rollout", &[qwen(), "-", "--follow", "x"], &tasks()).refused(2, &["--prompts"]);
    let half = dir.path().join("half");
    fs::create_dir(&half).unwrap();
    fs::write(half.join("train.json"), r#"{"tool":"r1-grpo","status":"running","round":1}"#).unwrap();
    draw(&format!("--follow {}", half.display())).refused(2, &["in the middle of a round"]);
    run("r1-grpo", &[qwen(), "-", "-o", "x", "--follow", "--plan"], "").refused(2, &["--plan"]);
    run("r1-grpo", &[qwen(), "-", "-o", "x", "--max-lag", "1"], "").refused(2, &["--follow"]);
    run("r1-grpo", &[qwen(), "-", "-o", &path(dir.path(), "x"), "--follow"], "").refused(2, &["empty"]);
}

/// Two processes on one (emulated) card, round after round: what they draw and learn is what they do on the CPU.
#[test]
fn rounds_on_one_device_are_rounds_on_the_cpu() {
    if !built(qwen(), "{\"prompt\":\"1 + 1\"}\n") {
        return;
    }
    let dir = scratch();
    let tasks = run("r1-tasks", &["--count", "4", "--operators", "1", "--unique", "--seed", "31", "-q"], "")
        .success();
    let losses = |device: &str| -> Vec<f64> {
        let (out, metrics) = (path(dir.path(), device), path(dir.path(), &format!("{device}.jsonl")));
        let ends = format!("--device {device} --dtype f32 -q");
        let draw =
            format!("{} - --follow {out} --prompts 2 --samples 2 --max-tokens 6 --seed 5 {ends}", qwen());
        let learn = format!("{} - -o {out} --follow --lr 1e-3 --metrics {metrics} {ends}", qwen());
        let stages = [
            ("r1-rollout", words(&draw)),
            // Different rewards within a group, whatever was drawn.
            ("r1-reward", words("--reward repetition=1 --ngram 1 -q")),
            ("r1-advantage", words("-q")),
            ("r1-grpo", words(&learn)),
        ];
        let said = end(start_with(&stages, &tasks, &[("R1_CUDA", "emulated")]));
        assert!(said.iter().all(|(code, _)| *code == 0), "{said:?}");
        assert_eq!(state(&out)["round"], 2);
        let lines = fs::read_to_string(&metrics).expect("metrics");
        crate::harness::rows(&lines).iter().filter_map(|line| line["grad_norm"].as_f64()).collect()
    };
    let (here, there) = (losses("cpu"), losses("cuda"));
    assert!(here.len() == 2 && here[0] > 0.0, "{here:?}");
    for (a, b) in here.iter().zip(&there) {
        assert!((a - b).abs() <= 1e-3 * a, "{here:?} {there:?}");
    }
}
