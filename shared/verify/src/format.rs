//! Rewards for the form of a completion: the tags, not what stands between them.

use crate::extract::Prefill;

/// The R1 form: 1 for `<think>reasoning</think> <answer>answer</answer>` and nothing else, 0 for anything less.
///
/// Each tag stands exactly once, in this order; only whitespace before, between and after; neither part is empty.
/// Line breaks of any kind are whitespace. With [`Prefill::Yes`] the prompt has written `<think>` and the completion
/// must not write it again.
///
/// ```
/// use r1_verify::{extract::Prefill, format::r1};
/// assert_eq!(r1("<think>3 * 4 = 12, 2 + 12 = 14</think> <answer>14</answer>", Prefill::No), 1.0);
/// assert_eq!(r1("<answer>14</answer>", Prefill::No), 0.0);
/// ```
pub fn r1(completion: &str, prefill: Prefill) -> f64 {
    f64::from(u8::from(r1_form(completion, prefill).is_some()))
}

fn r1_form(completion: &str, prefill: Prefill) -> Option<()> {
    let rest = completion.trim();
    let rest = match prefill {
        Prefill::No => rest.strip_prefix("<think>")?,
        Prefill::Yes => rest,
    };
    let (reasoning, rest) = rest.split_once("</think>")?;
    let rest = rest.trim_start().strip_prefix("<answer>")?;
    let answer = rest.strip_suffix("</answer>")?;
    let clean = |part: &str| {
        !part.trim().is_empty()
            && !["<think>", "</think>", "<answer>", "</answer>"].iter().any(|tag| part.contains(tag))
    };
    (clean(reasoning) && clean(answer)).then_some(())
}

/// TRL's think form: the completion starts with `<think>`, closes it, and opens no second one; anything may follow. 1 or 0.
///
/// Equal to `^<think>(?!.*<think>)(.*?)</think>.*$` with dots that match line breaks.
pub fn think(completion: &str) -> f64 {
    let ok = completion
        .strip_prefix("<think>")
        .is_some_and(|rest| !rest.contains("<think>") && rest.contains("</think>"));
    f64::from(u8::from(ok))
}

/// open-r1's form: `<think>\n…\n</think>\n<answer>\n…\n</answer>` with these line breaks exactly. 1 or 0.
///
/// Departs from open-r1 in one point: a tag that stands twice is refused (there, nested blocks are accepted).
pub fn open_r1(completion: &str) -> f64 {
    let ok = completion
        .strip_prefix("<think>\n")
        .and_then(|rest| rest.strip_suffix("\n</answer>"))
        .and_then(|rest| rest.split_once("\n</think>\n<answer>\n"))
        .is_some_and(|(reasoning, answer)| {
            [reasoning, answer].iter().all(|part| {
                !["<think>", "</think>", "<answer>", "</answer>"].iter().any(|tag| part.contains(tag))
            })
        });
    f64::from(u8::from(ok))
}

/// open-r1's tag count: a quarter for each of `<think>\n`, `\n</think>\n`, `\n<answer>\n`, `\n</answer>` that stands exactly once.
pub fn tag_count(completion: &str) -> f64 {
    ["<think>\n", "\n</think>\n", "\n<answer>\n", "\n</answer>"]
        .iter()
        .filter(|tag| completion.matches(*tag).take(2).count() == 1)
        .count() as f64
        * 0.25
}

/// The form of R1's cold start: `token reasoning token summary`, the token exactly twice (once where the prompt has written
/// the first), neither part empty, and nothing but whitespace before. 1 or 0.
///
/// ```
/// use r1_verify::{extract::Prefill, format::special_token};
/// assert_eq!(special_token("|special_token|so and so|special_token|It is 14.", "|special_token|", Prefill::No), 1.0);
/// ```
pub fn special_token(completion: &str, token: &str, prefill: Prefill) -> f64 {
    if token.is_empty() {
        return 0.0;
    }
    let parts: Vec<&str> = completion.splitn(4, token).collect();
    let ok = match (prefill, parts.as_slice()) {
        (Prefill::No, [before, reasoning, summary]) => {
            before.trim().is_empty() && !reasoning.trim().is_empty() && !summary.trim().is_empty()
        }
        (Prefill::Yes, [reasoning, summary]) => !reasoning.trim().is_empty() && !summary.trim().is_empty(),
        _ => false,
    };
    f64::from(u8::from(ok))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_special_token_stands_twice() {
        let of = |text| special_token(text, "<|r|>", Prefill::No);
        assert_eq!(of(" <|r|>a<|r|>b"), 1.0);
        for bad in [
            "",
            "a",
            "<|r|>a",
            "<|r|>a<|r|>",
            "<|r|> <|r|>b",
            "x<|r|>a<|r|>b",
            "<|r|>a<|r|>b<|r|>",
            "<|r|>a<|r|>b<|r|>c",
        ] {
            assert_eq!(of(bad), 0.0, "{bad}");
        }
        assert_eq!(special_token("a<|r|>b", "<|r|>", Prefill::Yes), 1.0);
        assert_eq!(special_token("<|r|>a<|r|>b", "<|r|>", Prefill::Yes), 0.0);
        assert_eq!(special_token("ab", "", Prefill::No), 0.0);
    }

    #[test]
    fn r1_form_is_strict() {
        let ok = |text| assert_eq!(r1(text, Prefill::No), 1.0, "{text}");
        let no = |text| assert_eq!(r1(text, Prefill::No), 0.0, "{text}");
        ok("<think>2 + 3 = 5, 5 * 4 = 20</think> <answer> 20</answer>");
        ok("<think>some gibberish reasoning</think> <answer> 7</answer>");
        ok("\n<think>\r\na\r\n</think>\r\n\r\n<answer>\r\n14\r\n</answer>\r\n");
        ok("<think>a < b</think><answer>x</answer>");
        no("<answer>14</answer>");
        no("<think>a</think> <answer> 7<answer>");
        no("<think></think><answer>14</answer>");
        no("<think>a</think><answer> </answer>");
        no("<think>a</think> so <answer>14</answer>");
        no("<think>a</think><answer>14</answer> done");
        no("<think>a<think>b</think></think><answer>14</answer>");
        no("<think>a</think><answer>1</answer><answer>14</answer>");
        no("x<think>a</think><answer>14</answer>");
        no("a</think><answer>14</answer>");
        no("");
    }

    #[test]
    fn a_prefilled_prompt_takes_the_opening_tag() {
        assert_eq!(r1("\na</think>\n<answer>14</answer>", Prefill::Yes), 1.0);
        assert_eq!(r1("<think>a</think><answer>14</answer>", Prefill::Yes), 0.0);
        assert_eq!(r1("<answer>14</answer>", Prefill::Yes), 0.0);
    }

    #[test]
    fn peers_forms() {
        assert_eq!(think("<think>\nThis is my reasoning.\n</think>\nThis is my answer."), 1.0);
        assert_eq!(think("<think>\nThis is my reasoning.\nThis is my answer."), 0.0);
        assert_eq!(think("<think>a</think> <think>b</think>"), 0.0);
        assert_eq!(open_r1("<think>\na\n</think>\n<answer>\n1\n</answer>"), 1.0);
        assert_eq!(open_r1("<think>a</think>\n<answer>\n1\n</answer>"), 0.0);
        assert_eq!(tag_count("<think>\na\n</think>\n<answer>\n1\n</answer>"), 1.0);
        assert_eq!(tag_count("<think>\na\n</think>\n<answer>1</answer>"), 0.5);
        assert_eq!(tag_count("<think>\n<think>\na"), 0.0);
    }
}
