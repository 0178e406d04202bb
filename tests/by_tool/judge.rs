//! r1-judge as a process: reward models, judges, servers, and how all of them fail.

use super::prefer::pairs;
use super::rollout::{deepseek, qwen};
use super::sft::policy;
use crate::contract;
use crate::harness::*;
use crate::stub::*;
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use std::thread;

fn text(path: &Path) -> String {
    path.to_str().expect("UTF-8").to_string()
}

/// A small reward model, trained for a moment.
fn reward_model() -> &'static str {
    static MADE: OnceLock<(tempfile::TempDir, String)> = OnceLock::new();
    let (_, path) = MADE.get_or_init(|| {
        let dir = scratch();
        let (policy, _) = policy(dir.path(), "llama-tiny");
        let out = text(&dir.path().join("rm"));
        let flags = [
            "-o",
            &out,
            "--max-steps",
            "3",
            "--batch-size",
            "20",
            "--lr",
            "1e-3",
            "-q",
            "--template",
            "chat",
        ];
        let from = text(&policy);
        run("r1-prefer", &[&[from.as_str()][..], &flags].concat(), &pairs("60", "train")).success();
        (dir, out)
    });
    path
}

fn rollout(id: &str, sample: usize, completion: &str) -> String {
    let row = json!({"id": id, "prompt": format!("Question {id}?"), "answer": "14",
        "rollout": {"sample": sample, "completion": completion}});
    format!("{row}\n")
}

#[test]
fn a_score_depends_on_the_row_alone() {
    let rm = reward_model();
    let input: String = (0..40)
        .map(|i| {
            let thought = "step ".repeat(i % 7);
            rollout(
                &format!("r{}", i / 4),
                i % 4,
                &format!("<think>{thought}</think> <answer>{}</answer>", i % 5),
            )
        })
        .collect();
    let score = |flags: &[&str], input: &str| {
        let both = [format!("helpful={rm}"), format!("harmless={rm}")];
        let own = ["--score", &both[0], "--score", &both[1], "-q"];
        run("r1-judge", &[&own[..], flags].concat(), input).success()
    };
    let whole = score(&[], &input);
    for flags in
        [&["--threads", "1"][..], &["--micro-tokens", "1"], &["--micro-tokens", "100", "--threads", "2"]]
    {
        assert_eq!(score(flags, &input), whole, "{flags:?}");
    }
    let alone: String = input.lines().map(|line| score(&[], line)).collect();
    assert_eq!(alone, whole);
    // helpful reads the summary: where summaries are equal, so are the scores, whatever was thought before.
    let all = rows(&whole);
    let of = |i: usize, name: &str| all[i]["judgement"][name].as_f64().unwrap();
    let a = rollout("x", 0, "<think>one thing</think> <answer>4</answer>");
    let b = rollout("x", 1, "<think>another thing</think> <answer>4</answer>");
    let pair = rows(&score(&[], &(a.clone() + &b)));
    assert_eq!(pair[0]["judgement"]["helpful"], pair[1]["judgement"]["helpful"]);
    assert!(pair[0]["judgement"]["harmless"] != pair[1]["judgement"]["harmless"]);
    let on = rows(&score(&["--on", "response"], &(a + &b)));
    assert_eq!(on[0]["judgement"]["helpful"], on[0]["judgement"]["harmless"]);
    assert!((0..40).any(|i| of(i, "helpful") != of(0, "helpful")));
    // A summary that never came is an empty one, and has a score.
    let open = rows(&score(&[], &rollout("x", 0, "<think>never ends")));
    assert!(open[0]["judgement"]["helpful"].is_number());
}

#[test]
fn scores_become_rewards_and_advantages() {
    let rm = reward_model();
    let tasks = run("r1-tasks", &["--count", "4", "--family", "general", "-q"], "").success();
    let out = pipe(
        &[
            ("r1-rollout", &[qwen(), "-n", "4", "--max-tokens", "24", "-q"]),
            ("r1-judge", &["--score", &format!("helpful={rm}"), "-q"]),
            ("r1-reward", &["--reward", "helpful=0.5", "--reward", "format=1", "-q"]),
            ("r1-advantage", &["-q"]),
        ],
        &tasks,
    );
    out.lines().for_each(|line| contract::check(line, &["rollout", "judgement", "reward", "advantage"]));
    let all = rows(&out);
    assert_eq!(all.len(), 16);
    for row in &all {
        let (helpful, reward) = (row["judgement"]["helpful"].as_f64().unwrap(), &row["reward"]);
        assert_eq!(reward["helpful"].as_f64(), Some(helpful));
        let total = 0.5 * helpful + reward["format"].as_f64().unwrap();
        assert!((reward["total"].as_f64().unwrap() - total).abs() < 1e-9, "{row}");
        assert!(row["advantage"].is_number());
    }
    assert!(all.iter().any(|row| row["advantage"].as_f64().unwrap() > 0.0));
    let again = run("r1-judge", &["--score", &format!("helpful={rm}"), "-q"], &out).success();
    assert_eq!(rows(&again)[3]["judgement"], all[3]["judgement"], "judged twice is judged the same");
}

/// A server that answers as `answer` says: to the n-th request, a status and a body.
fn server(answer: impl Fn(usize, &Value) -> (u16, String) + Send + Sync + 'static) -> String {
    let act = move |turn: usize, path: &str, body: &Value| {
        assert_eq!(path, "/v1/chat/completions", "the model is named: nothing else is asked");
        let (status, text) = answer(turn - 1, body);
        Act::Say(status, text)
    };
    serve(act).0
}

fn says(text: &str) -> (u16, String) {
    (200, json!({"choices": [{"message": {"role": "assistant", "content": text}}]}).to_string())
}

#[test]
fn a_server_grades_answers_in_order() {
    // Right where the reply holds 14; slower for earlier questions, so that replies come back out of order.
    let url = server(|n, question| {
        thread::sleep(std::time::Duration::from_millis(40 / (n as u64 + 1)));
        assert_eq!((question["model"].as_str(), question["temperature"].is_number()), (Some("m"), true));
        let asked = question["messages"][0]["content"].as_str().unwrap();
        let reply = asked.split("<reply>").nth(1).unwrap();
        assert!(asked.contains("<reference>\n14\n</reference>") && !reply.contains("thinking"), "{asked}");
        let verdict = if reply.contains("14") { "correct" } else { "incorrect" };
        match reply.contains("odd") {
            true => says("I think it is correct."),
            false => says(&json!({"analysis": "because", "correctness": verdict}).to_string()),
        }
    });
    let input = rollout("a", 0, "<think>thinking 14</think> <answer>14</answer>")
        + &rollout("a", 1, "<think>thinking 14</think> <answer>15</answer>")
        + &rollout("b", 0, "odd 14")
        + "{\"id\":\"c\",\"prompt\":\"q\",\"rollout\":{\"completion\":\"14\"}}\n";
    let dir = scratch();
    let log = text(&dir.path().join("metrics.jsonl"));
    let flags = ["--endpoint", &url, "--model", "m", "--prompt", "correctness", "--why", "--metrics", &log];
    let outcome = run("r1-judge", &flags, &input);
    assert!(outcome.stderr.contains("2 of 3 judged"), "{}", outcome.stderr);
    let all = outcome.rows();
    let correct: Vec<Option<f64>> = all.iter().map(|row| row["judgement"]["correct"].as_f64()).collect();
    assert_eq!(correct, [Some(1.0), Some(0.0), None, None]);
    assert!(all[0]["judgement"]["correct_why"].as_str().unwrap().contains("because"));
    assert!(all[2].get("judgement").is_none() && all[3].get("judgement").is_none());
    let line = &rows(&fs::read_to_string(&log).unwrap())[0];
    assert_eq!(
        (&line["asked"], &line["judged"], &line["unreadable"], &line["unasked/no_reference_answer"]),
        (&json!(3), &json!(2), &json!(1), &json!(1))
    );
}

/// A judge that likes what it is shown first a little, and the word "good" more.
fn partial_judge() -> String {
    server(|_, question| {
        let asked = question["messages"][0]["content"].as_str().unwrap();
        let good = |side: &str| {
            let shown = asked.split(&format!("<reply-{side}>")).nth(1).unwrap();
            shown.split("</reply-").next().unwrap().contains("good")
        };
        says(match (good("A"), good("B")) {
            (true, false) => "A it is: [[A>>B]]",
            (false, true) => "[[B>A]]",
            _ => "[[A>B]]",
        })
    })
}

#[test]
fn pairs_are_compared_in_both_orders() {
    let url = partial_judge();
    let dir = scratch();
    let log = text(&dir.path().join("metrics.jsonl"));
    let flags = ["--endpoint", &url, "--model", "m", "--prompt", "comparison", "--metrics", &log];
    // A group of two, of three, and of one.
    let input = [
        ("a", 0, "good"),
        ("a", 1, "bad"),
        ("b", 0, "bad"),
        ("b", 1, "bad"),
        ("b", 2, "good"),
        ("c", 0, "good"),
    ]
    .map(|(id, sample, said)| rollout(id, sample, said))
    .concat();
    let all = run("r1-judge", &flags, &input).rows();
    let of: Vec<Option<f64>> = all.iter().map(|row| row["judgement"]["preferred"].as_f64()).collect();
    // good against bad: +2 shown first, +1 shown second (as B>A): 1.5. bad against bad: +1 and -1: 0.
    assert_eq!(of, [Some(1.5), Some(-1.5), Some(-0.75), Some(-0.75), Some(1.5), None]);
    let line = &rows(&fs::read_to_string(&log).unwrap())[0];
    assert_eq!(
        (&line["asked"], &line["replies"], &line["unasked/alone_in_its_group"]),
        (&json!(4), &json!(16), &json!(1))
    );
    // Of sixteen verdicts, two a matter and order: in three matters half, in the fourth all favour the first shown.
    assert_eq!(line["first_preferred"], json!((2.0 * 3.0 + 4.0) / 16.0));
    assert_eq!(line["both_orders_agree"], json!(0.75));

    // Preferences: how often the judge agrees with what is known.
    let known = "{\"id\":\"1\",\"prompt\":\"q\",\"chosen\":\"good\",\"rejected\":\"bad\"}\n\
                 {\"id\":\"2\",\"prompt\":\"q\",\"chosen\":\"bad\",\"rejected\":\"good\"}\n\
                 {\"id\":\"3\",\"prompt\":\"q\",\"chosen\":\"bad\",\"rejected\":\"worse\"}\n";
    let outcome = run("r1-judge", &[&flags[..], &["--name", "agrees", "--repeats", "2"]].concat(), known);
    assert!(outcome.stderr.contains("`chosen` is preferred 50.0 %"), "{}", outcome.stderr);
    let of: Vec<f64> =
        outcome.rows().iter().map(|row| row["judgement"]["agrees"].as_f64().unwrap()).collect();
    assert_eq!(of, [1.5, -1.5, 0.0]);
}

#[test]
fn a_server_that_fails_is_asked_again_and_then_named() {
    let ask = |url: &str, flags: &[&str]| {
        let all = ["--endpoint", url, "--prompt", "readability", "--concurrency", "1"];
        run("r1-judge", &[&all[..], flags].concat(), &rollout("a", 0, "x"))
    };
    let fair = || json!({"choices": [{"message": {"content": "{\"readability\": \"fair\"}"}}]}).to_string();
    let (limps, asked) = limping(move |_| Act::Say(200, fair()));
    let judged = ask(&limps, &["--timeout", "1", "--retries", "7"]).rows();
    assert_eq!(judged[0]["judgement"]["readable"], json!(0.5));
    assert!(asked.lock().unwrap().len() == 1 + FAULTS + 1 && was_left_alone(&asked));
    let refuses = server(|_, _| (400, "no such model".into()));
    ask(&refuses, &["--model", "m"]).refused(1, &["chat/completions", "status 400", "no such model"]);
    let strange = server(|_, _| (200, "<html>".into()));
    ask(&strange, &["--model", "m", "--retries", "1"]).refused(1, &["no JSON", "tried 2 times"]);
    let silent = server(|_, _| (200, json!({"choices": [{"message": {"content": null}}]}).to_string()));
    assert!(ask(&silent, &["--model", "m"]).rows()[0].get("judgement").is_none(), "silence is no verdict");
}

#[test]
fn a_judge_over_tls_says_the_same() {
    let dir = scratch();
    let says = |_: usize, path: &str, _: &Value| {
        let fair = json!({"choices": [{"message": {"content": "{\"readability\": \"good\"}"}}]}).to_string();
        if path == "/v1/models" { models() } else { Act::Say(200, fair) }
    };
    let (url, asked, authority) = serve_tls(dir.path(), says);
    let mut command = command("r1-judge", &["--endpoint", &url, "--prompt", "readability", "-q"]);
    command.env("SSL_CERT_FILE", authority).env("OPENAI_API_KEY", "sk");
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let child = command.stderr(std::process::Stdio::piped()).spawn().expect("the tool can be started");
    let judged = wait(child, rollout("a", 0, "x").as_bytes()).rows();
    assert!(judged[0]["judgement"]["readable"].is_number(), "{}", judged[0]);
    assert!(asked.lock().unwrap().iter().all(|request| request.key.as_deref() == Some("Bearer sk")));
}

#[test]
fn a_local_judge_gives_the_same_bytes_whatever_is_asked_together() {
    let dir = scratch();
    let prompt = text(&dir.path().join("prompt.txt"));
    // A judge of a few million parameters says hardly ever what it is told to say: digits in brackets it may happen upon.
    fs::write(&prompt, "name: digit\nverdict: brackets\nvalues: 1=1 2=2\n---\n{{ question }} {{ response }}")
        .unwrap();
    let input: String = (0..12).map(|i| rollout(&format!("r{i}"), 0, &format!("{i} + {i}"))).collect();
    let ask = |flags: &[&str]| {
        let own = ["--judge", deepseek(), "--prompt", &prompt, "--max-tokens", "12", "--repeats", "3"];
        run("r1-judge", &[&own[..], flags].concat(), &input)
    };
    let whole = ask(&[]);
    assert!(whole.stderr.contains("of 12 judged") && whole.stderr.contains("36 replies"), "{}", whole.stderr);
    let whole = whole.success();
    for flags in [&["--batch", "1"][..], &["--batch", "5", "--threads", "1"]] {
        assert_eq!(ask(flags).success(), whole);
    }
}

#[test]
fn misuse_is_told_in_one_line() {
    let rm = reward_model();
    let row = rollout("a", 0, "x");
    let score = format!("helpful={rm}");
    let wrong = format!("helpful={}", qwen());
    let cases: [(&[&str], &[&str]); 12] = [
        (&[], &["--score", "--prompt"]),
        (&["--score", "helpful"], &["NAME=DIR"]),
        (&["--score", "Helpful=x"], &["NAME=DIR"]),
        (&["--score", &score, "--score", &score], &["twice"]),
        (&["--score", &wrong], &["not a reward model"]),
        (&["--score", &score, "--prompt", "correctness"], &["cannot be used"]),
        (&["--prompt", "correctness"], &["--judge DIR or --endpoint URL"]),
        (&["--judge", rm, "--prompt", "correctness"], &["classifier"]),
        (&["--judge", qwen(), "--prompt", "no-such"], &["no-such", "correctness, readability, comparison"]),
        (&["--endpoint", "x/v1", "--model", "m", "--prompt", "readability"], &["http://"]),
        (&["--endpoint", "http://localhost/v1", "--score", &score], &["cannot be used"]),
        (&["--model", "m", "--score", &score], &["--model", "cannot be used"]),
    ];
    for (flags, words) in cases {
        let outcome = run("r1-judge", flags, &row);
        assert_eq!(outcome.code(), 2, "{flags:?}: {}", outcome.stderr);
        words.iter().for_each(|word| assert!(outcome.stderr.contains(word), "{flags:?}: {}", outcome.stderr));
    }
    let flags = ["--score", &score, "-q"];
    refuses_bad_rows("r1-judge", &flags, &row);
    reports_a_full_disk("r1-judge", &flags, &row);
    survives_a_closed_pipe(
        "r1-judge",
        &flags,
        &(0..800).map(|i| rollout(&format!("{i}"), 0, &"x ".repeat(40))).collect::<String>(),
    );
    run("r1-judge", &flags, "{\"prompt\":\"q\"}\n").refused(2, &["stdin:1", "r1-rollout"]);
    run("r1-judge", &flags, "{\"rollout\":{\"completion\":\"x\"}}\n").refused(2, &["stdin:1", "no prompt"]);
}
