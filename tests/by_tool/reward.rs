//! r1-reward as a process.

use crate::harness::*;

mod code;
mod programs;
mod threads;

use serde_json::{Value, json};

const WEIGHTS: [&str; 4] = ["--reward", "accuracy=1", "--reward", "format=0.1"];

/// Rows of the walkthrough: a prompt, an answer, and a completion made elsewhere.
fn walkthrough() -> String {
    [
        "<think>2 + 3 = 5, 5 * 4 = 20</think> <answer> 20</answer>",
        "<think>3 * 4 = 12, 2 + 12 = 14</think> <answer>14</answer>",
        "<answer>14</answer>",
        "<think>some gibberish reasoning</think> <answer> 7</answer>",
    ]
    .iter()
    .map(|completion| {
        let row =
            json!({"prompt": "What is 2 + 3 * 4?", "answer": "14", "rollout": {"completion": completion}});
        format!("{row}\n")
    })
    .collect()
}

fn row(columns: Value, completion: &str) -> String {
    let mut row = columns;
    row["rollout"] = json!({ "completion": completion });
    format!("{row}\n")
}

fn rewards(arguments: &[&str], stdin: &str) -> Vec<Value> {
    run("r1-reward", arguments, stdin).rows().into_iter().map(|mut row| row["reward"].take()).collect()
}

fn reward(arguments: &[&str], columns: Value, completion: &str) -> Value {
    rewards(arguments, &row(columns, completion)).remove(0)
}

#[test]
fn the_walkthrough_exactly() {
    // The completions o1 to o4 and their rewards as the walkthrough of R1-Zero's training gives them.
    let expected = [
        json!({"total": 0.1, "accuracy": 0.0, "format": 1.0, "answer": "20"}),
        json!({"total": 1.1, "accuracy": 1.0, "format": 1.0, "answer": "14"}),
        json!({"total": 1.0, "accuracy": 1.0, "format": 0.0, "answer": "14"}),
        json!({"total": 0.1, "accuracy": 0.0, "format": 1.0, "answer": "7"}),
    ];
    assert_eq!(rewards(&WEIGHTS, &walkthrough()), expected);
    let language = rewards(&["--reward", "accuracy=1", "--reward", "language=0.2"], &walkthrough());
    assert_eq!(language[0], json!({"total": 0.2, "accuracy": 0.0, "language": 1.0, "answer": "20"}));
    assert_eq!(language[1], json!({"total": 1.2, "accuracy": 1.0, "language": 1.0, "answer": "14"}));
    // The cold start's form has its reasoning between special tokens.
    for (token, share) in [("|special_token|", 0.5), ("||", 0.0)] {
        let text = format!(" {token} first 三乘四 then two {token} Summary: The answer is 14.");
        let made = rewards(&["--reward", "language"], &row(json!({"prompt": "What is 2 + 3 * 4?"}), &text));
        assert_eq!(made[0]["language"], share, "{text}");
    }
}

#[test]
fn the_walkthrough_through_a_shell() {
    let mut command = std::process::Command::new("sh");
    let (reward, advantage) = (executable("r1-reward"), executable("r1-advantage"));
    let script = r#""$1" --reward accuracy=1 --reward format=0.1 | "$2""#;
    command.args(["-c", script, "sh"]).arg(reward).arg(advantage).current_dir(root());
    command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    command.stderr(std::process::Stdio::piped());
    let made = wait(command.spawn().expect("sh can be started"), walkthrough().as_bytes()).rows();
    let std = (0.9075f64 / 4.0).sqrt();
    for (row, total) in made.iter().zip([0.1, 1.1, 1.0, 0.1]) {
        assert_eq!(row["reward"]["total"], json!(total));
        let advantage = row["advantage"].as_f64().expect("an advantage");
        assert!((advantage - (total - 0.575) / std).abs() < 1e-9, "{advantage}");
    }
    assert_eq!(made.len(), 4);
}

#[test]
fn everything_else_is_carried_byte_for_byte() {
    let input = "{\"x\" : [1.50,\"\\u00e9\"], \"answer\": 14.0,\"rollout\":{\"completion\":\"14\", \"sample\":3}, \"y\":1e2}\n";
    let output = run("r1-reward", &["--reward", "accuracy"], input).success();
    let kept = input.trim_end().strip_suffix('}').expect("an object");
    let added = ",\"reward\":{\"total\":1.0,\"accuracy\":1.0,\"answer\":\"14\"}}\n";
    assert!(output.starts_with(kept), "{output}");
    assert_eq!(output[kept.len()..].trim_start(), added.trim_start(), "{output}");
    // Judged again, the section is replaced where it stands.
    assert_eq!(run("r1-reward", &["--reward", "accuracy"], &output).success(), output);
}

#[test]
fn parts_that_do_not_apply_are_absent() {
    let answered =
        reward(&["--preset", "r1-all"], json!({"prompt": "What?", "answer": "1"}), "<answer>1</answer>");
    assert_eq!(
        answered,
        json!({"total": 1.0, "accuracy": 1.0, "format": 0.0, "language": 0.0, "answer": "1"})
    );
    let general = json!({"prompt": "Hello there", "judgement": {"helpful": 0.75, "why": "kind"}});
    let said =
        reward(&["--preset", "r1-all"], general.clone(), "<think>greet back</think> <answer>Hi</answer>");
    assert_eq!(said, json!({"total": 2.75, "format": 1.0, "language": 1.0, "helpful": 0.75, "answer": "Hi"}));
    let none = reward(&["--reward", "accuracy=1", "--reward", "harmless=1"], general, "Hi");
    assert_eq!(none, json!({"answer": "Hi"}));
}

#[test]
fn each_task_has_its_verifier() {
    let accuracy = |columns: Value, completion: &str| {
        reward(&["--reward", "accuracy"], columns, completion)["accuracy"].as_f64()
    };
    let numbers = json!({"task": "countdown", "nums": [10, 98, 72, 95], "target": 717});
    assert_eq!(accuracy(numbers.clone(), "<answer>10*72 - 98 + 95</answer>"), Some(1.0));
    assert_eq!(accuracy(numbers.clone(), "<answer>717</answer>"), Some(0.0));
    assert_eq!(
        accuracy(json!({"task": "countdown", "nums": [7, 2, 9], "target": 14}), "7*2 = 14"),
        Some(1.0)
    );
    let all = |completion: &str| {
        let columns = json!({"task": "countdown", "nums": [7, 2, 9], "target": 14});
        reward(&["--reward", "accuracy", "--countdown", "all"], columns, completion)["accuracy"].as_f64()
    };
    assert_eq!(all("7*2"), Some(0.0));
    assert_eq!(all("7+9-2"), Some(1.0));
    let metadata = json!({"task": "countdown", "metadata": {"numbers": [2, 3], "target": 6}});
    assert_eq!(accuracy(metadata, "2*3"), Some(1.0));
    let choices = json!({"task": "choice", "answer": "B", "choices": ["London", "Paris"]});
    assert_eq!(accuracy(choices.clone(), "The answer is (b)."), Some(1.0));
    assert_eq!(accuracy(choices.clone(), "\\boxed{Paris}"), Some(1.0));
    assert_eq!(accuracy(choices, "A"), Some(0.0));
    assert_eq!(
        accuracy(json!({"task": "exact", "answer": "latodrecas"}), "<answer>latodrecas</answer>"),
        Some(1.0)
    );
    assert_eq!(accuracy(json!({"task": "exact", "answer": "2.0"}), "2"), Some(0.0));
    assert_eq!(accuracy(json!({"task": "general", "answer": "x"}), "x"), None);
    assert_eq!(accuracy(json!({"task": "code", "answer": "x"}), "x"), None);
    // Columns of other data sets: GSM8K's worked answer, a boxed solution.
    assert_eq!(accuracy(json!({"question": "?", "answer": "48/2 = 24\n#### 1,072"}), "so 1072"), Some(0.0));
    assert_eq!(accuracy(json!({"question": "?", "answer": "48/2 = 24\n#### 1,072"}), "#### 1072"), Some(1.0));
    assert_eq!(
        accuracy(json!({"problem": "?", "solution": "thus \\boxed{\\frac12}"}), "\\boxed{0.5}"),
        Some(1.0)
    );
}

#[test]
fn reasoning_does_not_earn_and_prefill_is_understood() {
    let columns = json!({"prompt": "Say it. <think>\n", "answer": "14"});
    let parts = |arguments: &[&str], completion: &str| {
        let reward = reward(arguments, columns.clone(), completion);
        (reward["accuracy"].as_f64(), reward["format"].as_f64())
    };
    let asked = |text: &str| parts(&["--preset", "r1-zero"], text);
    assert_eq!(asked("\\boxed{14}"), (Some(0.0), Some(0.0)));
    assert_eq!(asked("so\n</think>\n<answer>14</answer>"), (Some(1.0), Some(1.0)));
    assert_eq!(parts(&["--prefilled", "no"], "so</think> <answer>14</answer>"), (Some(1.0), Some(0.0)));
    let outcome = run(
        "r1-reward",
        &[],
        &row(json!({"prompt": "Say it.", "answer": "14"}), "so</think> <answer>14</answer>"),
    );
    assert!(outcome.stderr.contains("--prefilled yes"), "{}", outcome.stderr);
}

#[test]
fn the_extraction_order_is_settable() {
    let columns = json!({"answer": "2"});
    let answer = |order: &str| {
        let completion = "\\boxed{1} and then #### 2\nThe answer is 3.\n4 pieces";
        reward(&["--extract", order], columns.clone(), completion)["answer"].as_str().map(str::to_string)
    };
    assert_eq!(answer("boxed,hash").as_deref(), Some("1"));
    assert_eq!(answer("hash,boxed").as_deref(), Some("2"));
    assert_eq!(answer("phrase").as_deref(), Some("3"));
    assert_eq!(answer("line").as_deref(), Some("4 pieces"));
    assert_eq!(answer("number").as_deref(), Some("4"));
    assert_eq!(answer("tag"), None);
    run("r1-reward", &["--extract", "box"], "").refused(2, &["box"]);
}

#[test]
fn shape_rewards_have_their_published_values() {
    let ids: Vec<u32> = (0..90).collect();
    let columns = json!({"answer": "14"});
    let mut made = columns;
    made["rollout"] = json!({"completion": "14", "completion_ids": ids});
    let arguments = [
        "--reward",
        "cosine_length",
        "--reward",
        "soft_overlong",
        "--reward",
        "repetition",
        "--max-len",
        "100",
        "--overlong-cache",
        "20",
        "--ngram",
        "2",
    ];
    let reward = rewards(&arguments, &format!("{made}\n")).remove(0);
    assert_eq!(reward["soft_overlong"], json!(-0.5));
    assert_eq!(reward["repetition"], json!(0.0));
    let cosine = 0.5 + 0.25 * (1.0 + (0.9 * std::f64::consts::PI).cos());
    assert!((reward["cosine_length"].as_f64().expect("a number") - cosine).abs() < 1e-12);
    made["rollout"]["completion_ids"] = json!([5, 5, 5, 5, 5]);
    assert_eq!(rewards(&arguments, &format!("{made}\n"))[0]["repetition"], json!(-0.75));
}

#[test]
fn verdicts_are_explained_and_counted() {
    let input = [
        row(json!({"id": "a", "answer": "1/2"}), "\\boxed{0.5}"),
        row(json!({"id": "b", "answer": "14"}), "<think>14"),
        row(json!({"id": "c", "answer": "14"}), "\\boxed{9^9^9^9}"),
        row(json!({"id": "d", "answer": "14"}), "\\boxed{15}"),
    ]
    .concat();
    let outcome = run("r1-reward", &["--why"], &input);
    let lines: Vec<&str> = outcome.stderr.lines().collect();
    assert!(
        lines[0].contains("line 1 a") && lines[0].contains("right by rule \"rational\": 1/2 against 1/2"),
        "{}",
        lines[0]
    );
    assert!(lines[1].contains("no answer: the reasoning never closes"), "{}", lines[1]);
    assert!(lines[2].contains("undecided by rule \"a power is too large\""), "{}", lines[2]);
    assert!(
        lines[3].contains("\"15\" (boxed, bytes 7..9): wrong by rule \"integer\": 15 against 14"),
        "{}",
        lines[3]
    );
    assert!(
        lines[4].contains("4 rows, reward 0.2500")
            && lines[4].contains("1 no answer, 1 right, 1 undecided, 1 wrong"),
        "{}",
        lines[4]
    );
    let directory = scratch();
    let metrics = directory.path().join("metrics.jsonl");
    let path = metrics.to_str().expect("a path in UTF-8");
    run("r1-reward", &["--metrics", path, "--quiet"], &input).success();
    let line: Value =
        serde_json::from_str(&std::fs::read_to_string(&metrics).expect("metrics")).expect("one line");
    assert_eq!(
        (&line["rows"], &line["reward"], &line["verdicts"]["right"]),
        (&json!(4), &json!(0.25), &json!(1))
    );
}

#[test]
fn bad_rows_and_flags_are_refused() {
    refuses_bad_rows("r1-reward", &[], &walkthrough());
    reports_a_full_disk("r1-reward", &[], &walkthrough().repeat(1000));
    survives_a_closed_pipe("r1-reward", &[], &walkthrough().repeat(1000));
    run("r1-reward", &[], "{\"answer\":\"14\"}\n").refused(2, &["stdin:1", "rollout", "r1-rollout"]);
    run("r1-reward", &[], &row(json!({"answer": "1", "task": "chess"}), "1"))
        .refused(2, &["stdin:1", "chess"]);
    run("r1-reward", &[], &row(json!({"task": "countdown"}), "1")).refused(2, &["stdin:1", "nums", "target"]);
    run("r1-reward", &["--reward", "accuracy=x"], "").refused(2, &["accuracy=x"]);
    run("r1-reward", &["--reward", "accuracy", "--reward", "accuracy=2"], "")
        .refused(2, &["accuracy", "twice"]);
    run("r1-reward", &["--language", "xx"], "").refused(2, &["xx"]);
    let unknown = row(json!({"answer": "1", "language": "xx"}), "<think>a word</think>1");
    run("r1-reward", &["--reward", "language"], &unknown).refused(2, &["stdin:1", "xx", "--language"]);
}

#[test]
fn labels_of_real_solutions_are_reproduced() {
    let Some(path) = shared_data("gsm8k_model_solutions/rollouts.jsonl") else { return };
    let mut input = String::new();
    let mut labels = Vec::new();
    for problem in rows(&std::fs::read_to_string(path).expect("the file can be read")) {
        for completion in problem["completions"].as_array().expect("completions") {
            labels.push(completion["is_correct"].as_bool().expect("a label"));
            let columns =
                json!({"id": problem["id"], "prompt": problem["prompt"], "answer": problem["answer"]});
            input.push_str(&row(columns, completion["text"].as_str().expect("a text")));
        }
    }
    let made = run("r1-reward", &["--reward", "accuracy"], &input).rows();
    assert_eq!(made.len(), labels.len());
    let mut disagreements = Vec::new();
    for (row, label) in made.iter().zip(&labels) {
        if (row["reward"]["accuracy"] == json!(1.0)) != *label {
            disagreements.push(format!(
                "{} answer {} expected {} label {label}",
                row["id"], row["reward"]["answer"], row["answer"]
            ));
        }
    }
    println!("{} of {} labels reproduced", labels.len() - disagreements.len(), labels.len());
    assert!(disagreements.is_empty(), "{disagreements:#?}");
}

#[test]
fn every_family_of_reasoning_gym_has_its_verifier() {
    let Some(path) = shared_data("reasoning_gym/reasoning_gym.jsonl") else { return };
    let all = rows(&std::fs::read_to_string(path).expect("the file can be read"));
    let (mut right, mut wrong, mut families) = (String::new(), String::new(), Vec::new());
    for (n, task) in all.iter().enumerate() {
        let mut columns = task.clone();
        columns["task"] = json!("reasoning_gym");
        let say = |of: &Value| {
            format!("<think>so</think> <answer>{}</answer>", of["answer"].as_str().expect("an answer"))
        };
        right.push_str(&row(columns.clone(), &say(task)));
        // The answer to another question of the family, where it is another.
        let other = all[n + 1..]
            .iter()
            .chain(&all[..n])
            .find(|o| o["family"] == task["family"] && o["answer"] != task["answer"]);
        wrong.push_str(&row(columns, &say(other.expect("not all answers are one"))));
        if !families.contains(&task["family"]) {
            families.push(task["family"].clone());
        }
    }
    let judged =
        |input: &str| run("r1-reward", &["--reward", "accuracy", "--countdown", "all"], input).rows();
    let missed: Vec<Value> =
        judged(&right).into_iter().filter(|row| row["reward"]["accuracy"] != json!(1.0)).collect();
    let taken: Vec<Value> =
        judged(&wrong).into_iter().filter(|row| row["reward"]["accuracy"] != json!(0.0)).collect();
    println!(
        "{} rows of {} families: {} right answers missed, {} wrong ones taken",
        all.len(),
        families.len(),
        missed.len(),
        taken.len()
    );
    let show = |rows: &[Value]| -> Vec<String> {
        rows.iter()
            .take(12)
            .map(|row| format!("{} {} for {}", row["id"], row["reward"]["answer"], row["answer"]))
            .collect()
    };
    assert!(missed.is_empty(), "{:#?}", show(&missed));
    assert!(taken.is_empty(), "{:#?}", show(&taken));
    assert!(families.len() >= 27);
    let bare = row(json!({"task": "reasoning_gym", "answer": "1"}), "1");
    run("r1-reward", &[], &bare).refused(2, &["stdin:1", "family"]);
    let unknown = row(json!({"task": "reasoning_gym", "answer": "1", "family": "chess"}), "1");
    run("r1-reward", &[], &unknown).refused(2, &["stdin:1", "chess", "countdown"]);
}

#[test]
fn a_pattern_describes_the_answer() {
    let input = ["2024-02-29", "on 2024-02-29", "NEVER"].map(|answer| {
        row(
            json!({"task": "regex", "answer": r"\d{4}-\d\d-\d\d|(?i:never)"}),
            &format!("<answer>{answer}</answer>"),
        )
    });
    let made = rewards(&["--reward", "accuracy"], &input.concat());
    assert_eq!(
        made.iter().map(|r| r["accuracy"].clone()).collect::<Vec<_>>(),
        [json!(1.0), json!(0.0), json!(1.0)]
    );
    let bad = row(json!({"task": "regex", "answer": "("}), "1");
    run("r1-reward", &[], &bad).refused(2, &["stdin:1", "no regular expression: unclosed group"]);
}

#[test]
fn ambiguous_cases_are_settable() {
    for (flag, answer, expected) in [
        ("--ignore-case", "3X", "3x"),
        ("--any-order", "(1, 2)", "(2, 1)"),
        ("--decimal-comma", "3,5", "7/2"),
    ] {
        let input = row(json!({"answer": expected}), &format!("\\boxed{{{answer}}}"));
        let of = |flags: &[&str]| {
            rewards(&[&["--reward", "accuracy"], flags].concat(), &input)[0]["accuracy"].clone()
        };
        assert_eq!((of(&[]), of(&[flag])), (json!(0.0), json!(1.0)), "{flag}");
    }
    for (flag, answer, expected) in [("--strict-units", "18 cm", "18"), ("--strict-percent", "50%", "50")] {
        let input = row(json!({"answer": expected}), &format!("\\boxed{{{answer}}}"));
        let of = |flags: &[&str]| {
            rewards(&[&["--reward", "accuracy"], flags].concat(), &input)[0]["accuracy"].clone()
        };
        assert_eq!((of(&[]), of(&[flag])), (json!(1.0), json!(0.0)), "{flag}");
    }
}

#[test]
fn answers_are_found_in_eleven_languages() {
    let Some(path) = shared_data("mgsm/exemplars_native_cot.jsonl") else { return };
    let mut input = String::new();
    for mut example in rows(&std::fs::read_to_string(path).expect("the file can be read")) {
        let solution = example["solution"].take();
        let columns = json!({"id": example["id"], "prompt": example["prompt"], "answer": example["answer"]});
        input.push_str(&row(columns, solution.as_str().expect("a solution")));
    }
    let made = run("r1-reward", &["--reward", "accuracy"], &input).rows();
    let wrong: Vec<&Value> = made.iter().filter(|row| row["reward"]["accuracy"] != json!(1.0)).collect();
    println!("{} of {} worked solutions", made.len() - wrong.len(), made.len());
    assert!(made.len() > 80 && wrong.is_empty(), "{wrong:#?}");
}
