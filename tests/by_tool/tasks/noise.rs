//! The imitation corpus: what each kind of noise does, that it comes in its share, and that clean examples are clean.

use super::oracle::{Fraction, expression, left_to_right, steps_hold, value};
use super::{FAMILIES, han, tasks, text, whole};
use serde_json::Value;

fn kinds(row: &Value) -> Vec<&str> {
    row["noise"]
        .as_array()
        .unwrap_or_else(|| panic!("no noise in {row}"))
        .iter()
        .map(|kind| kind.as_str().unwrap())
        .collect()
}

/// Reasoning and answer of `<think>…</think> <answer>…</answer>`.
fn parts(completion: &str) -> Option<(&str, &str)> {
    completion.strip_prefix("<think>")?.strip_suffix("</answer>")?.split_once("</think> <answer>")
}

#[test]
fn clean_examples_are_right_and_well_formed() {
    for style in ["short --words 0", "short --words 1", "long", "reflect"] {
        for family in FAMILIES {
            let flags = format!(
                "--corpus --noise none -n 300 --family {family} --language en --language zh --style {style}"
            );
            for row in tasks(&flags).rows() {
                let (reasoning, answer) = parts(text(&row, "completion")).unwrap_or_else(|| panic!("{row}"));
                assert_eq!(answer, text(&row, "answer"));
                assert!(kinds(&row).is_empty() && row["correct"] == true);
                let chinese = text(&row, "language") == "zh";
                if style != "short --words 0" {
                    assert_eq!(han(reasoning), chinese, "{row}");
                }
                if style == "reflect" {
                    assert!(reasoning.contains(if chinese { "检验：" } else { "Check: " }), "{row}");
                }
            }
        }
    }
}

#[test]
fn the_default_corpus_keeps_reasoning_short() {
    let rows = tasks("--corpus --noise none -n 2000 --operators 2").rows();
    let short = |row: &&Value| parts(text(row, "completion")).unwrap().0.len() < 40;
    assert!(rows.iter().filter(short).count() > 1900);
}

#[test]
fn the_checks_of_the_reflective_style_hold() {
    for row in tasks(
        "--corpus --noise none -n 2000 --style reflect --operators 1-4 --operands -9-9 --operations +-*/",
    )
    .rows()
    {
        let (reasoning, _) = parts(text(&row, "completion")).unwrap();
        let check = reasoning.split_once("Check: ").unwrap().1.split_once(", right.").unwrap().0;
        steps_hold(check).unwrap_or_else(|wrong| panic!("{wrong} in {row}"));
    }
}

/// What is recorded is what was done, row by row, on a corpus with every kind of noise.
#[test]
fn recorded_noise_is_what_happened() {
    let noise =
        "precedence=0.3,fact=0.2,slip=0.2,no-think=0.1,no-answer-tag=0.1,bare=0.1,gibberish=0.1,unclosed=0.1";
    let flags = "--operators 1-4 --operations +-*/ --parentheses 0.3 --operands 1-12 --words 0";
    let mut seen = std::collections::HashMap::new();
    for row in tasks(&format!("--corpus -n 8000 {flags} --noise {noise}")).rows() {
        let (completion, kinds) = (text(&row, "completion"), kinds(&row));
        kinds.iter().for_each(|&kind| *seen.entry(kind.to_owned()).or_insert(0) += 1);
        let has = |kind: &str| kinds.contains(&kind);
        let asked = expression(text(&row, "prompt"));
        let truth = text(&row, "answer");
        assert_eq!(value(asked), Some(whole(truth)));

        // The form is what the kinds say, and nothing else.
        let reasoning = completion.strip_prefix("<think>").map(|rest| rest.split_once("</think> ").unwrap());
        assert_eq!(reasoning.is_none(), has("no-think") || has("bare"), "{row}");
        let end = reasoning.map_or(completion, |parts| parts.1);
        let answer = if has("bare") || has("no-answer-tag") {
            assert!(!end.contains('<'), "{row}");
            end
        } else if has("unclosed") {
            end.strip_prefix("<answer>").and_then(|end| end.strip_suffix("<answer>")).unwrap()
        } else {
            end.strip_prefix("<answer>").and_then(|end| end.strip_suffix("</answer>")).unwrap()
        };
        assert_eq!(row["correct"] == true, whole(answer) == whole(truth), "{row}");

        let sense = ["precedence", "fact", "slip", "gibberish"].into_iter().filter(|kind| has(kind)).count();
        assert!(sense > 0 || answer == truth, "{row}");
        let Some((reasoning, _)) = reasoning else { continue };
        if has("gibberish") {
            assert!(steps_hold(reasoning).is_err() && answer != truth, "{row}");
            continue;
        }
        let last: i128 = reasoning.rsplit_once(" = ").unwrap().1.parse().unwrap();
        assert_eq!(has("slip"), whole(answer) != Fraction(last, 1), "{row}");
        match (has("precedence"), has("fact")) {
            (false, false) => assert_eq!(steps_hold(reasoning), Ok(whole(truth).0), "{row}"),
            (true, false) => assert_eq!(Some(last), left_to_right(asked), "{row}"),
            (_, true) => assert!(steps_hold(reasoning).is_err(), "{row}"),
        }
    }
    assert_eq!(seen.len(), 8, "{seen:?}");
}

#[test]
fn slips_are_wrong_answers_of_the_right_kind() {
    for family in FAMILIES {
        for row in
            tasks(&format!("--corpus -n 800 --family {family} --language en --language zh --noise slip=1"))
                .rows()
        {
            let (_, answer) = parts(text(&row, "completion")).unwrap();
            let truth = text(&row, "answer");
            assert_eq!(kinds(&row), ["slip"], "{row}");
            assert!(answer != truth && row["correct"] == false, "{row}");
            if family == "countdown" {
                assert_ne!(value(answer), Some(whole(&row["target"].to_string())), "{row}");
            } else {
                // The same kind of thing: number for number, time for time, weekday for weekday.
                let shape =
                    |text: &str| (text.contains(':'), text.contains('/'), han(text), whole_number(text));
                assert_eq!(shape(answer), shape(truth), "{row}");
            }
        }
    }
}

/// A general corpus in which half of the replies are those that `--pairs` rejects: each such row says so, and its reply is
/// never the good one, which `--noise none` writes in the same place.
#[test]
fn unkind_replies_are_told_from_good_ones() {
    let flags = "--corpus -n 1000 --family general --language en --language zh";
    let good = tasks(&format!("{flags} --noise none")).rows();
    let mixed = tasks(&format!("{flags} --noise unkind=0.5")).rows();
    let mut unkind = 0;
    for (good, row) in good.iter().zip(&mixed) {
        assert_eq!(good["prompt"], row["prompt"]);
        let same = parts(text(good, "completion")).unwrap().1 == parts(text(row, "completion")).unwrap().1;
        let is_unkind = kinds(row) == ["unkind"];
        assert!(is_unkind != same && (row["correct"] == true) == same, "{row}");
        unkind += usize::from(is_unkind);
    }
    assert!((440..=560).contains(&unkind), "{unkind} of 1000");
    // It has no meaning for problems, and no share unless it is asked for.
    let sums = |noise: &str| tasks(&format!("--corpus -n 200 --noise {noise}")).success();
    assert!(!sums("default").contains("unkind") && !sums("unkind=1").contains("unkind"));
}

fn whole_number(text: &str) -> bool {
    text.parse::<i64>().is_ok()
}

/// Kinds that apply to every row come in the share asked for, each independent of the others.
#[test]
fn noise_comes_in_its_share() {
    let rows = tasks("--corpus -n 10000 --operators 2 --order-matters 1 --noise precedence=0.5,slip=0.15,no-think=0.2,unclosed=0.1").rows();
    let share = |wanted: &[&str]| {
        let count = rows.iter().filter(|row| wanted.iter().all(|kind| kinds(row).contains(kind))).count();
        count as f64 / rows.len() as f64
    };
    for (wanted, expected) in [
        (&["precedence"][..], 0.5),
        (&["slip"], 0.15),
        (&["no-think"], 0.2),
        (&["unclosed"], 0.1),
        (&["precedence", "no-think"], 0.1),
        (&["precedence", "slip"], 0.075),
    ] {
        // Five standard deviations, and a little for slips that fell on what the wrong reasoning gave anyway.
        let bound = 5.0 * (expected * (1.0 - expected) / 10_000.0_f64).sqrt() + 0.005;
        assert!((share(wanted) - expected).abs() < bound, "{wanted:?}: {} for {expected}", share(wanted));
    }
}

#[test]
fn mixed_reasoning_has_both_languages_and_other_reasoning_one() {
    for row in tasks(
        "--corpus -n 2000 --operators 2-3 --language en --language zh --words 1 --noise mixed-language=0.4",
    )
    .rows()
    {
        let (reasoning, _) = parts(text(&row, "completion")).unwrap();
        let english = reasoning.chars().any(|c| c.is_ascii_alphabetic());
        let mixed = kinds(&row) == ["mixed-language"];
        assert_eq!(mixed, han(reasoning) && english, "{row}");
        if !mixed {
            assert_eq!(han(reasoning), text(&row, "language") == "zh", "{row}");
        }
    }
}

#[test]
fn the_summary_tells_what_the_corpus_is() {
    let outcome = tasks("--corpus -n 4000 --operators 2 --order-matters 1");
    let rows =
        outcome.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>();
    let right = rows.iter().filter(|row| row["correct"] == true).count() as f64 / 40.0;
    let formed = rows.iter().filter(|row| parts(text(row, "completion")).is_some()).count() as f64 / 40.0;
    let line = outcome.stderr.trim();
    assert!(line.contains(&format!("4000 examples: {right:.1}% right, {formed:.1}% well-formed")), "{line}");
    // About (1 - 0.5) · (1 - 0.15) · (1 - 0.05) right, and (1 - 0.2) · (1 - 0.15) · (1 - 0.1) well-formed.
    assert!((right - 40.4).abs() < 4.5 && (formed - 61.2).abs() < 4.5, "{line}");
    assert_eq!(tasks("--corpus -n 10 --quiet").stderr, "");
}

#[test]
fn pairs_prefer_what_is_right_helpful_and_harmless() {
    let mut aspects = std::collections::HashSet::new();
    for row in
        tasks("--pairs -n 3000 --family arithmetic --family general=2 --language en --language zh").rows()
    {
        let (chosen, rejected) = (text(&row, "chosen"), text(&row, "rejected"));
        assert_ne!(chosen, rejected);
        let (_, said) = parts(chosen).unwrap_or_else(|| panic!("{row}"));
        aspects.insert(text(&row, "aspect").to_owned());
        match text(&row, "family") {
            "arithmetic" => {
                assert_eq!(said, text(&row, "answer"));
                let wrong = |end: &str| whole(end) != whole(said);
                if let ("correct", Some((_, end))) = (text(&row, "aspect"), parts(rejected)) {
                    assert!(wrong(end), "{row}");
                }
                assert!(!kinds(&row).is_empty(), "{row}");
            }
            _ => {
                assert_eq!(row["task"], "general");
                let refuses = said.contains("I cannot help") || said.contains("不能帮忙");
                assert_eq!(refuses, row["aspect"] == "harmless", "{row}");
                assert!(!parts(rejected).unwrap().1.contains("cannot help"), "{row}");
            }
        }
    }
    assert_eq!(aspects.len(), 5, "{aspects:?}");
}

#[test]
fn general_rows_have_a_reply_and_no_answer() {
    for row in tasks("-n 500 --family general").rows() {
        assert_eq!(row["task"], "general");
        assert!(
            row.get("answer").is_none() && row.get("solution").is_none() && !text(&row, "reply").is_empty()
        );
    }
    for row in tasks("--corpus -n 500 --family general --noise none").rows() {
        assert!(parts(text(&row, "completion")).is_some(), "{row}");
    }
}
