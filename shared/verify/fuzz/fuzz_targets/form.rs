//! A completion under every reward that looks at its form: all of them are finite and lie within their bounds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use r1_verify::extract::Prefill;
use r1_verify::{format, language, length, repetition, steps};

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let unit = |reward: f64| assert!((0.0..=1.0).contains(&reward), "{reward}");
    for prefill in [Prefill::No, Prefill::Yes] {
        unit(format::r1(&text, prefill));
        unit(format::special_token(&text, "<|r|>", prefill));
        for language in ["en", "zh", "fr", "ja", "sr"] {
            unit(language::consistency(&text, prefill, language).expect("a known language"));
        }
    }
    unit(format::think(&text));
    unit(format::open_r1(&text));
    unit(format::tag_count(&text));
    unit(steps::reasoning_steps(&text));
    unit(-repetition::penalty(&repetition::words(&text), 3, -1.0));
    unit(-length::soft_overlong(text.len(), 100, 20));
    unit(length::Cosine::with_max_len(100).reward(text.len(), true));
    language::detect(&text);
});
