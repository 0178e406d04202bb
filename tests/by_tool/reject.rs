//! r1-reject as a process.

use crate::harness::*;
use serde_json::Value;

/// One judged completion.
fn row(id: &str, sample: u32, completion: &str, reward: &str, rest: &str) -> String {
    format!(
        "{{\"id\":\"{id}\",\"prompt\":\"{id}?\",\"level\": 1.50,\"rollout\":{{\"sample\":{sample},\"completion\":{completion:?}{rest}}},\
         \"reward\":{reward},\"advantage\":0.5}}\n"
    )
}

fn judged() -> String {
    let good = r#"{"total":1.1,"accuracy":1,"format":1,"language":1}"#;
    row("a", 0, "<think>3 * 4 = 12</think> <answer>14</answer>", good, "")
        + &row("a", 1, "<think>3 * 4 = 12</think> <answer>14</answer>", good, "")
        + &row(
            "a",
            2,
            "<think>2 + 3 = 5</think> <answer>20</answer>",
            r#"{"total":0.1,"accuracy":0,"answer":"20"}"#,
            "",
        )
        + &row(
            "a",
            3,
            "<think>3 mal 4</think> <answer>14</answer>",
            r#"{"total":1,"accuracy":1,"language":0.4}"#,
            "",
        )
        + &row("b", 0, "<think>so", good, ",\"finish_reason\":\"length\"")
        + &row("b", 1, "<think>```\nprint(14)\n```</think> <answer>14</answer>", good, "")
        + &row("b", 2, "<think>wait wait wait wait wait wait</think> <answer>14</answer>", good, "")
        + &row("b", 3, "<think>a longer way to the same</think> <answer>14</answer>", good, "")
        + &row("b", 4, "<think>a short way</think> <answer>14</answer>", good, "")
}

#[test]
fn every_refusal_has_one_reason() {
    let directory = scratch();
    let report = directory.path().join("report.json");
    let arguments = [
        "--correct",
        "--finished",
        "--language",
        "0.9",
        "--no-code",
        "--max-repetition",
        "0.3",
        "--ngram",
        "2",
        "--dedup",
        "--best",
        "1",
        "--report",
        report.to_str().unwrap(),
    ];
    let outcome = run("r1-reject", &arguments, &judged());
    for words in ["not-best", "wrong", "22.2 %", "a sample 2, line 3: accuracy 0, answer `20`"] {
        assert!(outcome.stderr.contains(words), "{words:?} is not in {}", outcome.stderr);
    }
    let kept = outcome.rows();
    let texts: Vec<&str> = kept.iter().filter_map(|row| row["completion"].as_str()).collect();
    assert_eq!(
        texts,
        ["<think>3 * 4 = 12</think> <answer>14</answer>", "<think>a short way</think> <answer>14</answer>"]
    );
    let report: Value = serde_json::from_str(&std::fs::read_to_string(&report).unwrap()).unwrap();
    let count = |reason: &str| report["refused"][reason]["count"].as_u64();
    for reason in ["wrong", "unfinished", "language", "code-block", "repetition", "duplicate", "not-best"] {
        assert_eq!(count(reason), Some(1), "{reason}");
    }
    let refused: u64 =
        report["refused"].as_object().unwrap().values().map(|entry| entry["count"].as_u64().unwrap()).sum();
    assert_eq!((report["rows"].as_u64(), report["kept"].as_u64(), refused), (Some(9), Some(2), 7));
    assert_eq!(report["refused"]["code-block"]["examples"][0]["line"].as_u64(), Some(6));
    assert_eq!(
        report["refused"]["language"]["examples"][0]["completion"],
        "<think>3 mal 4</think> <answer>14</answer>"
    );
}

#[test]
fn examples_carry_the_data_set_and_drop_the_stages() {
    let made = run("r1-reject", &["--correct", "--best", "1", "-q"], &judged());
    assert_eq!(made.stderr, "");
    assert_eq!(
        made.success().lines().next(),
        Some(
            r#"{"id":"a","prompt":"a?","completion":"<think>3 * 4 = 12</think> <answer>14</answer>","level":1.50}"#
        )
    );
    // The order of the input, whatever the order of merit.
    let all = run("r1-reject", &[], &judged()).rows();
    assert_eq!(all.len(), 9);
    assert_eq!(all[4]["completion"], "<think>so");
}

#[test]
fn rows_without_an_id_get_the_one_their_group_has() {
    let row = "{\"question\":\"2+2?\",\"answer\":\"4\",\"rollout\":{\"completion\":\"4\"},\"reward\":{\"accuracy\":1}}\n";
    let made = run("r1-reject", &["--correct"], row).rows();
    assert_eq!((made[0]["prompt"].as_str(), made[0]["answer"].as_str()), (Some("2+2?"), Some("4")));
    assert!(made[0]["id"].as_str().unwrap().starts_with("row-") && made[0].get("question").is_none());
}

#[test]
fn bands_and_nothing_left() {
    assert_eq!(run("r1-reject", &["--correct", "--pass-rate", "0.5..0.8"], &judged()).rows().len(), 3);
    let none = run("r1-reject", &["--chars", "1000.."], &judged());
    assert!(none.stderr.contains("no completion was kept"), "{}", none.stderr);
    assert_eq!(none.success(), "");
}

/// A file of this name and text in the directory.
fn file(directory: &tempfile::TempDir, name: &str, text: &str) -> String {
    let path = directory.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_string()
}

#[test]
fn pairs_are_of_a_right_and_a_wrong_one() {
    let directory = scratch();
    let pairs = directory.path().join("pairs.jsonl");
    let arguments = ["--correct", "--best", "1", "--pairs", pairs.to_str().unwrap(), "-q"];
    run("r1-reject", &arguments, &judged()).success();
    // `b` has no wrong completion.
    assert_eq!(
        std::fs::read_to_string(&pairs).unwrap(),
        "{\"id\":\"a\",\"prompt\":\"a?\",\"chosen\":\"<think>3 * 4 = 12</think> <answer>14</answer>\",\
         \"rejected\":\"<think>2 + 3 = 5</think> <answer>20</answer>\",\"level\":1.50}\n"
    );
    // Where nobody says what is wrong, a margin in reward does.
    let totals = row("q", 0, "well said", "{\"total\":2}", "") + &row("q", 1, "so so", "{\"total\":0.5}", "");
    for (margin, expected) in [("1.5", 1), ("1.6", 0)] {
        let arguments = ["--pairs", pairs.to_str().unwrap(), "--pair-margin", margin, "-q"];
        run("r1-reject", &arguments, &totals).success();
        let made = rows(&std::fs::read_to_string(&pairs).unwrap());
        assert_eq!(made.len(), expected, "margin {margin}");
        assert!(made.iter().all(|pair| pair["chosen"] == "well said" && pair["rejected"] == "so so"));
    }
    run("r1-reject", &["--pair-margin", "1"], &judged()).refused(2, &["--pairs"]);
}

#[test]
fn other_examples_come_in_their_proportion() {
    let directory = scratch();
    let general: String =
        (0..3).map(|at| format!("{{\"prompt\": \"hello {at}\",  \"completion\":\"hi\"}}\n")).collect();
    let general = file(&directory, "general.jsonl", &general);
    let made = run("r1-reject", &["--mix", &format!("{general}=1/3")], &judged()).success();
    let kinds: String = made.lines().map(|line| if line.contains("hello") { 'g' } else { 'r' }).collect();
    // After the four of `a` one is due, after all nine three.
    assert_eq!(kinds, "rrrrgrrrrrgg");
    assert!(made.contains("{\"prompt\": \"hello 0\",  \"completion\":\"hi\"}\n"), "byte for byte: {made}");
    let short = run("r1-reject", &["--mix", &format!("{general}=1")], &judged());
    assert!(short.stderr.contains("gave 3 examples of the 9"), "{}", short.stderr);
    let broken = file(&directory, "broken.jsonl", "{\"prompt\":\"x\"}\n");
    run("r1-reject", &["--mix", &format!("{broken}=1")], &judged())
        .refused(2, &["broken.jsonl:1", "completion"]);
    run("r1-reject", &["--mix", "x"], &judged()).refused(2, &["--mix", "FILE=RATIO"]);
}

#[test]
fn evaluations_are_kept_out() {
    let directory = scratch();
    let held_out = file(
        &directory,
        "test.jsonl",
        "{\"question\":\"Is this A?\"}\n{\"question\":\"B??\",\"answer\":\"14\"}\n",
    );
    let made = run("r1-reject", &["--decontaminate", &held_out], &judged());
    assert!(
        made.stderr.contains("contaminated") && made.stderr.contains("one of an evaluation: b"),
        "{}",
        made.stderr
    );
    assert_eq!(made.rows().len(), 4);
    let words = "{\"question\":\"x\",\"solution\":\"First, a longer way to the SAME: so!\"}\n";
    let held_out = file(&directory, "words.jsonl", words);
    let arguments = ["--decontaminate", &held_out, "--decontaminate-ngram", "6"];
    assert_eq!(run("r1-reject", &arguments, &judged()).rows().len(), 8);
    assert_eq!(run("r1-reject", &arguments[..2], &judged()).rows().len(), 9, "ten words by default");
    let broken = file(&directory, "broken.jsonl", "{\"text\":\"x\"}\n");
    run("r1-reject", &["--decontaminate", &broken], &judged()).refused(2, &["broken.jsonl:1", "no prompt"]);
    run("r1-reject", &["--decontaminate-ngram", "8"], &judged()).refused(2, &["--decontaminate"]);
}

#[test]
fn forms_are_rewritten() {
    let made = run("r1-reject", &["--correct", "--best", "1", "--form", "special-token"], &judged()).rows();
    assert_eq!(made[0]["completion"], "|special_token|3 * 4 = 12|special_token|14");
    let made = run("r1-reject", &["--form", "special-token"], &judged());
    assert!(made.stderr.contains(" form ") && made.stderr.contains("b sample 0"), "{}", made.stderr);
    let lines = made.success();
    // And back: the examples are rolled out again by hand.
    let again: String = rows(&lines)
        .iter()
        .map(|row| {
            let completion = row["completion"].as_str().unwrap();
            let id = row["id"].as_str().unwrap();
            format!("{{\"id\":{id:?},\"prompt\":\"{id}?\",\"rollout\":{{\"completion\":{completion:?}}},\"reward\":{{}}}}\n")
        })
        .collect();
    let back = run("r1-reject", &["--form", "tags"], &again).rows();
    assert_eq!(back[0]["completion"], "<think>3 * 4 = 12</think> <answer>14</answer>");
}

#[test]
fn a_majority_labels_what_has_no_answer() {
    let row = |sample: u32, answer: &str| {
        row("q", sample, &format!("so {answer}"), &format!("{{\"total\":0.1,\"answer\":\"{answer}\"}}"), "")
    };
    let group = row(0, "1/2") + &row(1, "3") + &row(2, "0.5") + &row(3, "\\\\frac{1}{2}");
    let made = run("r1-reject", &["--correct", "--majority", "0.7"], &group);
    assert!(made.stderr.contains("answer `3`, the majority's is `1/2`"), "{}", made.stderr);
    assert!(made.stderr.contains("1 prompts were labelled"), "{}", made.stderr);
    let kept = made.rows();
    assert_eq!((kept.len(), kept[0]["answer"].as_str()), (3, Some("1/2")));
    let none = run("r1-reject", &["--majority", "0.8"], &group);
    assert!(
        none.stderr.contains("no-majority") && none.stderr.contains("3 of 4 completions agree"),
        "{}",
        none.stderr
    );
    run("r1-reject", &["--correct"], &group).success();
}

#[test]
fn judges_stand_in_for_rules() {
    let said = |verdict: &str, harmless: f64| {
        row("q", 0, "so", "{}", "").replace(
            ",\"advantage\"",
            &format!(",\"judgement\":{{\"correct\":\"{verdict}\",\"harmless\":{harmless}}},\"advantage\""),
        )
    };
    let flags = ["--correct", "--correct-by", "correct=yes", "--judgement", "harmless=0.5"];
    assert_eq!(run("r1-reject", &flags, &said("yes", 0.5)).rows().len(), 1);
    let no = run("r1-reject", &flags, &said("no", 0.5));
    assert!(no.stderr.contains("judgement.correct `no`"), "{}", no.stderr);
    let harmful = run("r1-reject", &flags, &said("yes", 0.25));
    assert!(harmful.stderr.contains("judgement.harmless 0.25"), "{}", harmful.stderr);
    let mistaken = ["--judgement", "correct=0.5"];
    run("r1-reject", &mistaken, &said("yes", 1.0)).refused(2, &["stdin:1:", "judgement.correct", "a text"]);
}

#[test]
fn a_person_has_the_last_word() {
    let directory = scratch();
    let path = directory.path().join("candidates.txt");
    let path = path.to_str().unwrap();
    let flags = ["--correct", "--dedup", "-q"];
    let with = |flag: &'static str| [&flags[..], &[flag, path]].concat();
    let before = run("r1-reject", &with("--review"), &judged()).success();
    let written = std::fs::read_to_string(path).unwrap();
    assert_eq!(before.lines().count(), written.matches("\n=== keep ").count());
    // Untouched, it changes nothing.
    assert_eq!(run("r1-reject", &with("--reviewed"), &judged()).success(), before);
    // One is dropped, one is edited.
    let edited = written.replacen("\n=== keep", "\n=== drop", 1).replace("3 mal 4", "3 times 4");
    std::fs::write(path, &edited).unwrap();
    let report = directory.path().join("report.json");
    let mut arguments = with("--reviewed");
    arguments.extend(["--report", report.to_str().unwrap()]);
    let after = run("r1-reject", &arguments, &judged()).success();
    assert_eq!(after.lines().count(), before.lines().count() - 1);
    assert!(after.contains("3 times 4") && !after.contains("3 mal 4"), "{after}");
    let report: Value = serde_json::from_str(&std::fs::read_to_string(&report).unwrap()).unwrap();
    assert_eq!(
        report["review"],
        serde_json::json!({"kept": before.lines().count() - 2, "edited": 1, "dropped": 1})
    );
    assert_eq!(report["refused"]["dropped"]["count"], 1);
    // Nothing is lost silently.
    let cases = [
        (written.replacen("a?", "c?", 1), "prompt of `a` was changed"),
        (written.replace("=== end", "== end"), "cut short"),
        (written.replacen("\"row\":0", "\"row\":7", 1), "is missing"),
        (
            written.replacen("3 * 4 = 12</think> <answer>14</answer>", "", 1).replacen("<think>\n", "\n", 1),
            "empty",
        ),
    ];
    for (broken, word) in cases {
        std::fs::write(path, broken).unwrap();
        run("r1-reject", &with("--reviewed"), &judged()).refused(2, &["candidates.txt", word]);
    }
    let first = written.find("\n=== keep").unwrap();
    let second = first + 1 + written[first + 1..].find("\n=== keep").unwrap();
    std::fs::write(path, format!("{}{}", &written[..first], &written[second..])).unwrap();
    run("r1-reject", &with("--reviewed"), &judged()).refused(2, &["candidates.txt", "candidates where"]);
    std::fs::write(path, &written).unwrap();
    let other = judged().replace("a short way", "another way");
    run("r1-reject", &with("--reviewed"), &other).refused(2, &["candidates.txt", "another in the input"]);
    let fewer: String = judged().lines().take(4).map(|line| format!("{line}\n")).collect();
    run("r1-reject", &with("--reviewed"), &fewer)
        .refused(2, &["candidates.txt", "no candidate of this input"]);
}

#[test]
fn near_duplicates_are_refused_across_prompts() {
    let text = |end: &str| (0..30).map(|at| format!("step {at} follows, ")).collect::<String>() + end;
    let good = r#"{"total":1,"accuracy":1}"#;
    let three = row("a", 0, &text("so 14"), good, "")
        + &row("b", 0, &text("so 15"), good, "")
        + &row("c", 0, "something else entirely, said in other words", good, "");
    let made = run("r1-reject", &["--near-dup", "0.8"], &three);
    assert!(made.stderr.contains("like a sample 0"), "{}", made.stderr);
    assert_eq!(made.rows().len(), 2);
    assert_eq!(run("r1-reject", &["--near-dup", "1"], &three).rows().len(), 3);
    run("r1-reject", &["--near-dup", "0.3"], &three).refused(2, &["--near-dup", "0.5"]);
}

/// Four models' solutions of GSM8K's test problems, with the labels that came with them.
#[test]
fn real_solutions() {
    let Some(path) = shared_data("gsm8k_model_solutions/rollouts.jsonl") else { return };
    let mut input = String::new();
    for problem in rows(&std::fs::read_to_string(path).unwrap()).iter().take(300) {
        for (sample, solution) in problem["completions"].as_array().unwrap().iter().enumerate() {
            let row = serde_json::json!({"id": problem["id"], "prompt": problem["prompt"], "answer": problem["answer"],
                "label": solution["is_correct"], "rollout": {"sample": sample, "completion": solution["text"]}});
            input.push_str(&format!("{row}\n"));
        }
    }
    let rewarded = run("r1-reward", &["--reward", "accuracy=1", "-q"], &input).success();
    let kept = run("r1-reject", &["--correct", "--dedup"], &rewarded);
    assert!(kept.stderr.contains("of 1200 completions, "), "{}", kept.stderr);
    let kept = kept.rows();
    let agree = kept.iter().filter(|row| row["label"] == true).count();
    assert!(kept.len() > 300 && agree * 100 >= 98 * kept.len(), "{agree} of {} bear the label", kept.len());
}

#[test]
fn bad_input_is_refused() {
    refuses_bad_rows("r1-reject", &["--correct"], &judged());
    run("r1-reject", &["--tokens", "1.."], &judged()).refused(2, &["stdin:1:", "completion_ids", "--chars"]);
    run("r1-reject", &["--pass-rate", "2..1"], &judged()).refused(2, &["--pass-rate"]);
    run("r1-reject", &["--language", "1.5"], &judged()).refused(2, &["--language"]);
    run("r1-reject", &["--best", "0"], &judged()).refused(2, &["--best"]);
    let unscored = "{\"id\":\"a\",\"prompt\":\"x\",\"rollout\":{\"completion\":\"x\"}}\n";
    run("r1-reject", &[], unscored).refused(2, &["stdin:1: ", "no `reward`"]);
    let split = row("a", 0, "x", "{}", "") + &row("b", 0, "x", "{}", "") + &row("a", 1, "x", "{}", "");
    run("r1-reject", &[], &split).refused(2, &["stdin:3: ", "split in two"]);
    reports_a_full_disk("r1-reject", &[], &judged());
    let many: String = (0..3000).map(|at| row(&format!("g{at}"), 0, "x", "{}", "")).collect();
    survives_a_closed_pipe("r1-reject", &[], &many);
    // A row that a flag cannot judge is a bad row, and can be set aside.
    let directory = scratch();
    let aside = directory.path().join("bad.jsonl");
    let one = judged() + &row("c", 0, "x", "{}", ",\"completion_ids\":[1,2]");
    let made = run("r1-reject", &["--tokens", "1..", "--skip-bad", aside.to_str().unwrap()], &one);
    assert_eq!(made.rows().len(), 1);
    assert_eq!(std::fs::read_to_string(&aside).unwrap(), judged());
}
