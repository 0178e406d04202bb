//! A completion: every source by itself and in the default order, with and without a prefilled `<think>`. Spans lie on the
//! borders of characters, outside of the reasoning, and hold what was extracted.
#![no_main]

use libfuzzer_sys::fuzz_target;
use r1_verify::extract::{DEFAULT_ORDER, Prefill, Source, expected, extract, split};

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    for prefill in [Prefill::No, Prefill::Yes] {
        let thought = split(&text, prefill);
        let visible = thought.visible.clone().map(|range| text[range].len());
        let orders = Source::ALL.iter().map(std::slice::from_ref);
        for order in orders.chain([DEFAULT_ORDER]) {
            let Ok(found) = extract(&text, order, prefill) else { continue };
            let range = thought.visible.clone().expect("an answer stands in visible text");
            assert!(range.start <= found.span.start && found.span.end <= range.end, "{:?}", found.span);
            assert!(found.span.len() <= visible.unwrap_or(0));
            if matches!(found.answer, std::borrow::Cow::Borrowed(_)) {
                assert_eq!(found.answer, text[found.span.clone()]);
            }
        }
    }
    expected(&text);
});
