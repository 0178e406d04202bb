//! The wire format, declared a second time and on its own: nothing here comes from `r1-records`. What the tools print is checked
//! against this declaration, so a change of the format must be made twice, on purpose.

use crate::harness::*;
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// The top level of a line: every key once, in order.
struct Line(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Line {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Line;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Line, M::Error> {
                let mut pairs: Vec<(String, Box<RawValue>)> = Vec::new();
                while let Some((key, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    if pairs.iter().any(|(known, _)| *known == key) {
                        return Err(M::Error::custom(format!("{key} twice")));
                    }
                    pairs.push((key, value));
                }
                Ok(Line(pairs))
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "fields are declared for their types")]
struct Rollout {
    sample: u64,
    completion: String,
    prompt_ids: Vec<u64>,
    completion_ids: Vec<u64>,
    logprobs: Vec<f64>,
    finish_reason: String,
    temperature: f64,
    top_p: f64,
    seed: u64,
    policy: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Scores {
    logprobs: Vec<f64>,
    policy: String,
    top_ids: Option<Vec<Vec<u64>>>,
    top_logprobs: Option<Vec<Vec<f64>>>,
}

/// Checks one line that a tool of ours printed. `needs` are the sections it must have. Panics with the line on any departure.
#[track_caller]
pub fn check(line: &str, needs: &[&str]) {
    let Line(pairs) = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    for key in needs {
        assert!(pairs.iter().any(|(known, _)| known == key), "no {key}: {line}");
    }
    for (key, value) in &pairs {
        let value = value.get();
        match key.as_str() {
            "id" | "task" | "language" => drop(read::<String>(key, value)),
            "answer" => assert!(
                value.starts_with(['"', '-']) || value.as_bytes()[0].is_ascii_digit(),
                "{key}: {value}"
            ),
            "prompt" => assert!(value.starts_with(['"', '[']), "{key}: {value}"),
            "rollout" => check_rollout(value),
            "reference" | "teacher" => check_scores(value),
            "reward" => check_reward(value),
            "judgement" => {
                for (name, opinion) in read::<Line>(key, value).0 {
                    let number = opinion.get().parse::<f64>().is_ok_and(f64::is_finite);
                    assert!(number || opinion.get().starts_with('"'), "judgement.{name}: {value}");
                }
            }
            "advantage" => assert!(read::<f64>(key, value).is_finite(), "{key}: {value}"),
            _ => {}
        }
    }
}

#[track_caller]
fn read<'a, T: Deserialize<'a>>(key: &str, value: &'a str) -> T {
    serde_json::from_str(value).unwrap_or_else(|error| panic!("{key}: {error}: {value}"))
}

/// A rollout as r1-rollout writes it: everything is there. (One made elsewhere may have its completion alone.)
#[track_caller]
fn check_rollout(value: &str) {
    if read::<Line>("rollout", value).0.len() == 1 {
        assert!(value.contains("\"completion\""), "rollout: {value}");
        return;
    }
    let rollout: Rollout = read("rollout", value);
    assert_eq!(rollout.completion_ids.len(), rollout.logprobs.len(), "a logprob for each token: {value}");
    assert!(!rollout.prompt_ids.is_empty() && !rollout.completion_ids.is_empty(), "{value}");
    // A probability is at most 1; rounding of an f32 may leave a trace above.
    assert!(rollout.logprobs.iter().all(|logprob| *logprob <= 1e-5 && logprob.is_finite()), "{value}");
    assert!(["stop", "length"].contains(&rollout.finish_reason.as_str()), "{value}");
    assert!(rollout.temperature >= 0.0 && rollout.top_p > 0.0 && rollout.top_p <= 1.0, "{value}");
    check_hash(&rollout.policy);
    let list = value
        .split_once("\"logprobs\":[")
        .and_then(|(_, rest)| rest.split_once(']'))
        .map_or("", |(list, _)| list);
    for text in list.split(',').map(str::trim) {
        let number: f32 = text.parse().unwrap_or_else(|error| panic!("{error}: {text}"));
        assert!(text.len() <= format!("{number:?}").len() + 2, "{text} is longer than f32's shortest form");
    }
}

#[track_caller]
fn check_scores(value: &str) {
    let scores: Scores = read("scores", value);
    assert!(scores.logprobs.iter().all(|logprob| *logprob <= 1e-5), "{value}");
    check_hash(&scores.policy);
    if let (Some(ids), Some(logprobs)) = (&scores.top_ids, &scores.top_logprobs) {
        assert!(ids.len() == scores.logprobs.len() && logprobs.len() == ids.len(), "{value}");
        assert!(ids.iter().zip(logprobs).all(|(ids, logprobs)| ids.len() == logprobs.len()), "{value}");
        assert!(logprobs.iter().all(|row| row.is_sorted_by(|a, b| a >= b)), "most probable first: {value}");
    } else {
        assert!(scores.top_ids.is_none() && scores.top_logprobs.is_none(), "one without the other: {value}");
    }
}

#[track_caller]
fn check_hash(policy: &str) {
    let hash = policy.strip_prefix("sha256:").unwrap_or_else(|| panic!("no hash: {policy}"));
    assert!(hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()), "no SHA-256: {policy}");
}

#[track_caller]
fn check_reward(value: &str) {
    for (name, part) in read::<Line>("reward", value).0 {
        if name == "answer" {
            drop(read::<String>("answer", part.get()));
        } else {
            // Absent, not null: null would fail here.
            assert!(read::<f64>(&name, part.get()).is_finite(), "reward.{name}: {value}");
        }
    }
}

/// An example for r1-sft: exactly one of the two forms, and no section of a stage.
#[track_caller]
pub fn check_example(line: &str) {
    let Line(pairs) = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let has = |key: &str| pairs.iter().any(|(known, _)| known == key);
    assert!((has("prompt") && has("completion")) != has("messages"), "an example has one form: {line}");
    for section in ["rollout", "reference", "teacher", "judgement", "reward", "advantage"] {
        assert!(!has(section), "{section} has no place in an example: {line}");
    }
    if let Some((_, completion)) = pairs.iter().find(|(key, _)| key == "completion") {
        assert!(completion.get().starts_with(['"', '[']), "{line}");
    }
}

/// The walkthrough's four completions as a user would write them: no id, nothing but what is needed, and a column of the user's.
pub fn walkthrough() -> String {
    [
        "<think>2 + 3 = 5, 5 * 4 = 20</think> <answer> 20</answer>",
        "<think>3 * 4 = 12, 2 + 12 = 14</think> <answer>14</answer>",
        "<answer>14</answer>",
        "<think>some gibberish reasoning</think> <answer> 7</answer>",
    ]
    .map(|completion| {
        format!(
            "{{\"prompt\": \"What is 2 + 3 * 4?\", \"answer\": \"14\", \"mine\": [1.0, \"\\u00fc\"], \
             \"rollout\": {{\"completion\": {completion:?}}}}}\n"
        )
    })
    .concat()
}

#[test]
fn the_declaration_notices_departures() {
    let good = format!(
        "{{\"sample\":0,\"completion\":\"x\",\"prompt_ids\":[1],\"completion_ids\":[2],\"logprobs\":[-0.1],\
         \"finish_reason\":\"stop\",\"temperature\":1.0,\"top_p\":1.0,\"seed\":7,\"policy\":\"sha256:{}\"}}",
        "ab".repeat(32)
    );
    let line = |rollout: &str| format!("{{\"id\":\"a\",\"rollout\":{rollout},\"reward\":{{\"total\":1.0}}}}");
    check(&line(&good), &["id", "rollout", "reward"]);
    let departures = [
        good.replace("\"seed\":7,", ""),
        good.replace("\"seed\":7,", "\"seed\":7,\"more\":1,"),
        good.replace("\"seed\":7,", "\"seed\":7,\"seed\":7,"),
        good.replace("[-0.1]", "[-0.1,-0.2]"),
        good.replace("[-0.1]", "[0.1]"),
        good.replace("[-0.1]", "[-0.10000000149011612]"),
        good.replace("stop", "eos"),
        good.replace("sha256:", ""),
    ];
    for departure in departures {
        let line = line(&departure);
        assert!(std::panic::catch_unwind(|| check(&line, &[])).is_err(), "not noticed: {line}");
    }
    for line in
        ["{\"id\":7}", "{\"a\":1,\"a\":2}", "{\"reward\":{\"total\":null}}", "{\"advantage\":\"1\"}", "[]"]
    {
        assert!(std::panic::catch_unwind(|| check(line, &[])).is_err(), "not noticed: {line}");
    }
    assert!(std::panic::catch_unwind(|| check("{}", &["id"])).is_err());
    assert!(
        std::panic::catch_unwind(|| check_example("{\"prompt\":\"x\",\"completion\":\"y\",\"reward\":{}}"))
            .is_err()
    );
}

#[test]
fn tasks_are_rows() {
    let made = run("r1-tasks", &["--count", "20", "--seed", "3"], "").success();
    assert_eq!(made.lines().count(), 20);
    for line in made.lines() {
        check(line, &["id", "prompt", "answer", "task"]);
    }
}

#[test]
fn a_stage_adds_its_key_and_touches_nothing_else() {
    let rewarded =
        run("r1-reward", &["--reward", "accuracy=1", "--reward", "format=0.1"], &walkthrough()).success();
    let advantaged = run("r1-advantage", &[], &rewarded).success();
    let stages = [(walkthrough(), &rewarded, "reward"), (rewarded.clone(), &advantaged, "advantage")];
    for (before, after, key) in stages {
        assert_eq!(before.lines().count(), after.lines().count());
        for (before, after) in before.lines().zip(after.lines()) {
            check(after, &["prompt", "rollout", key]);
            let carried = before.trim_end().strip_suffix('}').expect("an object");
            let added =
                after.strip_prefix(carried).unwrap_or_else(|| panic!("not carried as it came: {after}"));
            assert!(added.starts_with(&format!(",\"{key}\":")), "one key is added: {added}");
        }
    }
    let examples = run("r1-reject", &["--correct", "-q"], &advantaged).success();
    assert_eq!(examples.lines().count(), 2);
    examples.lines().for_each(check_example);
}
