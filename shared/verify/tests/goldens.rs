//! TRL's and open-r1's own reward functions on generated completions (`scripts/golden/rewards.py`). Where we depart from them, the
//! test says by what the completion must have.

use r1_verify::length::{Cosine, in_group, soft_overlong};
use r1_verify::{format, repetition, steps};
use serde_json::Value;

fn golden() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/rewards/rewards.json");
    serde_json::from_str(&std::fs::read_to_string(path).expect("the goldens are in the tree")).expect("JSON")
}

fn number(row: &Value, key: &str) -> f64 {
    row[key].as_f64().unwrap_or_else(|| panic!("{key} of {row}"))
}

fn size(row: &Value, key: &str) -> usize {
    usize::try_from(row[key].as_u64().unwrap_or_else(|| panic!("{key} of {row}"))).expect("it fits")
}

fn list<'g>(golden: &'g Value, key: &str) -> &'g Vec<Value> {
    golden[key].as_array().unwrap_or_else(|| panic!("no {key}"))
}

#[track_caller]
fn same(ours: f64, theirs: f64, of: &Value) {
    assert!((ours - theirs).abs() < 1e-12, "ours {ours}, theirs {theirs}: {of}");
}

#[test]
fn forms_of_texts() {
    let golden = golden();
    let (mut forms, mut strict) = (0, 0);
    for row in list(&golden, "texts") {
        let text = row["text"].as_str().expect("a text");
        same(format::think(text), number(row, "think_format"), row);
        same(format::tag_count(text), number(row, "tag_count"), row);
        for n in 1..=3 {
            let ours = repetition::penalty(&repetition::words(text), n, -1.0);
            same(ours, number(row, &format!("repetition_{n}")), row);
        }
        // Departure: a tag that stands twice, and text on the lines after the answer, are refused.
        let (ours, theirs) = (format::open_r1(text), number(row, "open_r1_format"));
        if ours != theirs {
            let twice = ["<think>", "</think>", "<answer>", "</answer>"]
                .iter()
                .any(|tag| text.matches(tag).count() > 1);
            assert!(ours == 0.0 && (twice || !text.ends_with("</answer>")), "{row}");
            strict += 1;
        }
        forms += usize::from(ours == 1.0);
    }
    println!(
        "{} texts, {forms} in open-r1's form, {strict} that only open-r1 takes for it",
        list(&golden, "texts").len()
    );
    assert!(forms > 10 && strict > 0);
}

#[test]
fn steps_of_texts() {
    let golden = golden();
    let (mut compared, mut departed) = (0, 0);
    for row in list(&golden, "texts") {
        let text = row["text"].as_str().expect("a text");
        let (ours, theirs) = (steps::reasoning_steps(text), number(row, "reasoning_steps"));
        // Departures: numbers begin any line; a bullet may begin the text, and has a space behind it.
        let departs = text.lines().enumerate().any(|(n, line)| {
            let line = line.trim_start_matches([' ', '\t']);
            let number = line.bytes().take_while(u8::is_ascii_digit).count();
            let bullet = line.starts_with(['-', '*']);
            (number > 0 && line[number..].starts_with('.'))
                || (bullet && (n == 0 || !line[1..].starts_with([' ', '\t'])))
        }) || text.contains("\r\n-")
            || text.contains("\n ");
        if departs {
            departed += 1;
        } else {
            same(ours, theirs, row);
            compared += 1;
        }
    }
    println!("{compared} texts agree, {departed} have what is counted otherwise");
    assert!(compared > 200);
}

#[test]
fn lengths_and_tokens() {
    let golden = golden();
    for row in list(&golden, "tokens") {
        let ids: Vec<u64> = list(row, "ids").iter().map(|id| id.as_u64().expect("an id")).collect();
        same(repetition::penalty(&ids, size(row, "n"), number(row, "most")), number(row, "penalty"), row);
    }
    for row in list(&golden, "overlong") {
        let ours = soft_overlong(size(row, "len"), size(row, "max_len"), size(row, "cache"));
        same(ours, number(row, "penalty"), row);
    }
    for row in list(&golden, "cosine") {
        let right = row["right"].as_bool().expect("right or not");
        let ours = Cosine::with_max_len(size(row, "max_len")).reward(size(row, "len"), right);
        same(ours, number(row, "trl"), row);
        // Departure: open-r1's cosine comes back up beyond the greatest length.
        if size(row, "len") <= size(row, "max_len") {
            same(ours, number(row, "open_r1"), row);
        }
    }
    for group in list(&golden, "groups") {
        let lengths: Vec<usize> =
            list(group, "lengths").iter().map(|n| n.as_u64().expect("a length") as usize).collect();
        let (least, greatest) = (lengths.iter().min().expect("one"), lengths.iter().max().expect("one"));
        for ((len, right), theirs) in lengths.iter().zip(list(group, "right")).zip(list(group, "rewards")) {
            let ours = in_group(*len, *least, *greatest, right.as_bool().expect("right or not"));
            same(ours, theirs.as_f64().expect("a reward"), group);
        }
    }
}
