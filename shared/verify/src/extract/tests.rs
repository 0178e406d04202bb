use super::*;

fn found(text: &str) -> Option<(String, &'static str)> {
    extract(text, DEFAULT_ORDER, Prefill::No).ok().map(|e| (e.answer.into_owned(), e.source.name()))
}

fn answer(text: &str) -> String {
    found(text).map(|(a, _)| a).unwrap_or_default()
}

#[test]
fn the_worked_example() {
    assert_eq!(
        found("<think>2 + 3 = 5, 5 * 4 = 20</think> <answer> 20</answer>"),
        Some(("20".into(), "tag"))
    );
    assert_eq!(
        found("<think>3 * 4 = 12, 2 + 12 = 14</think> <answer>14</answer>"),
        Some(("14".into(), "tag"))
    );
    assert_eq!(found("<answer>14</answer>"), Some(("14".into(), "tag")));
    assert_eq!(
        found("<think>some gibberish reasoning</think> <answer> 7</answer>"),
        Some(("7".into(), "tag"))
    );
}

#[test]
fn nothing_inside_the_reasoning_earns() {
    let none = |text: &str, prefill, why| {
        assert_eq!(extract(text, DEFAULT_ORDER, prefill).unwrap_err(), why, "{text}")
    };
    none("<think>\\boxed{14}", Prefill::No, Missing::UnclosedThink);
    none("<think>a</think> \\boxed{14} <think>b", Prefill::No, Missing::UnclosedThink);
    none("so \\boxed{14}", Prefill::Yes, Missing::UnclosedThink);
    none("<think><answer>14</answer></think>  ", Prefill::No, Missing::Empty);
    none("", Prefill::No, Missing::Empty);
    // Before and between reasonings is not the final answer.
    none("<answer>14</answer><think>a</think>", Prefill::No, Missing::Empty);
    assert_eq!(answer("<think>\\boxed{9}</think> \\boxed{14}"), "14");
    assert_eq!(answer("\\boxed{9}</think> \\boxed{14}"), "14");
}

#[test]
fn prefilled_reasoning_is_understood() {
    for prefill in [Prefill::No, Prefill::Yes] {
        let e = extract("3 * 4 is 12</think><answer>14</answer>", DEFAULT_ORDER, prefill).unwrap();
        assert_eq!(e.answer, "14");
    }
    let t = split("3 * 4</think>x", Prefill::No);
    assert_eq!((t.reasoning, t.visible, t.prefilled), (Some(0..5), Some(13..14), true));
}

#[test]
fn sources_come_in_order_and_the_last_wins() {
    assert_eq!(found("\\boxed{1} <answer>2</answer>"), Some(("2".into(), "tag")));
    assert_eq!(answer("<answer>1</answer> or <answer>2</answer>"), "2");
    assert_eq!(answer("<answer>The answer is \\boxed{3}.</answer>"), "3");
    assert_eq!(answer("<answer>The answer is 3.</answer>"), "3");
    assert_eq!(answer("<answer>\n14\n</answer>"), "14");
    assert_eq!(found("#### 1 \\boxed{2}"), Some(("2".into(), "boxed")));
    assert_eq!(found("The answer is 3.\n#### 72\n"), Some(("72".into(), "hash")));
    assert_eq!(found("It is 5.\nThe answer is 3"), Some(("3".into(), "phrase")));
    assert_eq!(found("one\n\n  42 \n\n"), Some(("42".into(), "line")));
    let order = [Source::Hash, Source::Number];
    let e = extract("\\boxed{1} and $2,345.50 in all.", &order, Prefill::No).unwrap();
    assert_eq!((e.answer.as_ref(), e.source), ("2,345.50", Source::Number));
    assert_eq!(extract("none", &order, Prefill::No).unwrap_err(), Missing::NoSource);
}

#[test]
fn spans_are_where_the_answer_stands() {
    let text = "<think>a</think> so \\boxed{ 14 }.";
    let e = extract(text, DEFAULT_ORDER, Prefill::No).unwrap();
    assert_eq!(&text[e.span], "14");
}

#[test]
fn boxes_balance() {
    assert_eq!(answer("\\boxed{\\frac{1}{2}}"), "\\frac{1}{2}");
    assert_eq!(answer("\\boxed{\\{1, 2\\}}"), "\\{1, 2\\}");
    assert_eq!(answer("\\boxed{1} then \\boxed{2"), "1");
    assert_eq!(answer("\\boxed{ \\boxed{3}"), "3");
    assert_eq!(answer("\\boxed{\\boxed{3}}"), "\\boxed{3}");
    assert_eq!(answer("\\fbox{4}"), "4");
    assert_eq!(answer("$\\boxed 5$"), "5");
    assert_eq!(answer("\\\\boxed{6}"), "6");
    assert_eq!(answer("\\boxed  {7}"), "7");
    assert_eq!(answer("\\boxed{3} then \\boxed{4}"), "4");
    assert_eq!(answer("$\\boxed{3}$ and $\\boxed{4}$"), "3, 4");
    assert_eq!(answer("\\boxed{3}, \\boxed{4}, or \\boxed{5}"), "3, 4, 5");
    assert_eq!(answer("\\boxed{} \n7"), "7");
    // Found by fuzzing: a word that runs into the next box.
    assert_eq!(answer("\\fbox*d(\\fbox\\) 5"), "\\)");
    assert_eq!(answer("\\boxed\\boxed{5}"), "5");
}

#[test]
fn phrases_end_with_their_sentence() {
    assert_eq!(answer("So the final answer is: **$\\frac{3}{4}$**. Done."), "$\\frac{3}{4}$**");
    assert_eq!(answer("The answer is 14.5. I think."), "14.5");
    assert_eq!(answer("The answer is $18. She is happy"), "$18");
    assert_eq!(answer("**Answer:** 18\n\nCheck: 18"), "18");
    assert_eq!(answer("She sells 9.\nA: 18"), "18");
    // In a sentence an exclamation mark is one; a factorial stands in a box or in dollars.
    assert_eq!(answer("Final Answer: 5! "), "5");
    assert_eq!(answer("Final Answer: $5!$ "), "$5!$");
    assert_eq!(answer("The answer is 18 sq. cm."), "18 sq. cm");
    assert_eq!(answer("答案是 11。"), "11");
    assert_eq!(answer("5+6=11。答えは11です。"), "11です");
    assert_eq!(answer("సమాధానం 39.చాక్లెట్లు"), "39");
    assert_eq!(answer("Die Antwort ist 11."), "11");
    assert_eq!(answer("Ответ — 11."), "11");
    assert_eq!(answer("คำตอบคือ 11"), "11");
    assert_eq!(answer("5 + 6 = 11. Jibu ni 11."), "11");
    assert_eq!(answer("La réponse est 1,5."), "1,5");
    assert_eq!(answer("The answer is:\n\n$$x = 3$$"), "$$x = 3$$");
}

#[test]
fn gold_columns_hold_solutions() {
    assert_eq!(expected("48/2 = 24\n#### 72"), "72");
    assert_eq!(expected("so $x = \\boxed{\\frac{1}{2}}$."), "\\frac{1}{2}");
    assert_eq!(expected(" 14 "), "14");
}

#[test]
fn long_texts_take_linear_time() {
    let start = std::time::Instant::now();
    for text in [
        "\\boxed{".repeat(1_400_000),
        "{".repeat(10_000_000),
        "<think>".repeat(1_400_000),
        "<answer>".repeat(1_200_000) + "</answer>",
        "answer is ".repeat(1_000_000),
        "$".repeat(10_000_000),
        "\\boxed{1},".repeat(1_000_000),
        "\\boxed".repeat(1_500_000),
        "\\boxed|".repeat(1_400_000),
        "x\n".repeat(5_000_000),
        "A:".repeat(5_000_000),
        "--\n".repeat(3_000_000),
    ] {
        let _ = extract(&text, DEFAULT_ORDER, Prefill::No);
        let _ = extract(&text, Source::ALL, Prefill::Yes);
    }
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}
