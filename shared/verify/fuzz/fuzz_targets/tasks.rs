//! The first line is what is expected, the rest the answer: lettered options, plain strings, number puzzles, JSON and its
//! schema, spellings, patterns, programs and outputs.
#![no_main]

use libfuzzer_sys::fuzz_target;
use r1_verify::extract::Prefill;
use r1_verify::pattern::Pattern;
use r1_verify::{choice, code, countdown, exact, json, spelled};

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let (expected, answer) = text.split_once('\n').unwrap_or(("", &text));
    let options: Vec<&str> = expected.split('|').collect();
    choice::judge(answer, expected, &options);
    choice::normal_form(answer, &options);
    exact::judge(answer, expected, exact::Policy::default());
    spelled::judge(answer, expected);
    if let Ok(pattern) = Pattern::new(expected) {
        pattern.judge(answer);
    }
    let numbers: Vec<i64> = expected.split(',').filter_map(|n| n.trim().parse().ok()).collect();
    countdown::judge(answer, &numbers, numbers.last().copied().unwrap_or(24), countdown::Use::All);
    let value = serde_json::from_str(expected).ok();
    json::judge(answer, value.as_ref(), None);
    json::judge(answer, None, value.as_ref());
    let _ = code::program(&text, Prefill::No);
    code::same_output(answer, expected);
});
