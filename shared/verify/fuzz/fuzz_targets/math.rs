//! Two answers, on the first line and after it, under the policy that the first byte chooses: the verdict is the same from
//! either side, and every answer equals itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use r1_verify::Verdict;
use r1_verify::math::{Policy, judge, normal_form};

fuzz_target!(|bytes: &[u8]| {
    let Some((choice, rest)) = bytes.split_first() else { return };
    let text = String::from_utf8_lossy(rest);
    let (a, b) = text.split_once('\n').unwrap_or((&text, "1"));
    let policy = Policy {
        drop_units: choice & 1 == 0,
        strict_percent: choice & 2 != 0,
        decimal_comma: choice & 4 != 0,
        ignore_case: choice & 8 != 0,
        any_order: choice & 16 != 0,
        ..Policy::default()
    };
    assert_eq!(judge(a, b, &policy).verdict, judge(b, a, &policy).verdict, "not symmetric");
    assert_ne!(judge(a, a, &policy).verdict, Verdict::Unequal, "not itself");
    normal_form(a, &policy);
});
