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
    assert_eq!(report["refused"]["code-block"]["first"]["line"].as_u64(), Some(6));
    assert_eq!(
        report["refused"]["language"]["first"]["completion"],
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
