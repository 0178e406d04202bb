use super::*;

fn en(text: &str) -> f64 {
    consistency(text, Prefill::No, "en").unwrap()
}

fn zh(text: &str) -> f64 {
    consistency(text, Prefill::No, "zh").unwrap()
}

#[test]
fn reasoning_without_words_is_consistent_and_absent_reasoning_is_not() {
    assert_eq!(en("<think>2 + 3 = 5, 5 * 4 = 20</think> <answer> 20</answer>"), 1.0);
    assert_eq!(en("<think>3 * 4 = 12, 2 + 12 = 14</think> <answer>14</answer>"), 1.0);
    assert_eq!(en("<answer>14</answer>"), 0.0);
    assert_eq!(en("<think> </think><answer>14</answer>"), 0.0);
    assert_eq!(en("<think>some reasoning that never ends"), 0.0);
}

#[test]
fn only_the_reasoning_counts() {
    assert_eq!(en("<think>multiply first</think> 先算乘法 <answer>14</answer>"), 1.0);
    assert_eq!(consistency("multiply first</think>答案", Prefill::Yes, "en").unwrap(), 1.0);
}

#[test]
fn mixed_reasoning_is_a_share() {
    // Two English words, four Chinese characters.
    assert_eq!(en("<think>multiply first 先算乘法</think>"), 2.0 / 6.0);
    assert_eq!(zh("<think>multiply first 先算乘法</think>"), 4.0 / 6.0);
    assert_eq!(zh("<think>先算 3 * 4 = 12，再加 2。</think>"), 1.0);
}

#[test]
fn code_formulas_and_variables_are_not_words() {
    assert_eq!(zh("<think>设 x 为 $\\frac{a}{b} \\text{ and more}$，`let value = sin(x)`</think>"), 1.0);
    assert_eq!(zh("<think>\\[ \\sqrt{abc} \\] 计算 \\times 5cm sin x1 mod</think>"), 1.0);
    assert_eq!(zh("<think>代码：\n```python\nprint(hello)\n```\n好</think>"), 1.0);
    // A lone dollar is money, not a formula.
    assert_eq!(en("<think>she pays $5 for eggs</think>"), 1.0);
    assert_eq!(count_words("she pays $5 for eggs")[&Script::Latin], 4);
}

#[test]
fn words_and_characters_are_counted() {
    let n = |text: &str| count_words(text).values().sum::<usize>();
    assert_eq!(n("don't re-use it"), 3);
    assert_eq!(n("naïve café"), 2);
    assert_eq!(n("नमस्ते दुनिया"), 2);
    assert_eq!(n("привет мир"), 2);
    assert_eq!(n("答案是十四"), 5);
    assert_eq!(n("これは"), 3);
    assert_eq!(n("안녕 세계"), 2);
    assert_eq!(n("a b c 1 2 3"), 0);
    assert_eq!(n(""), 0);
}

#[test]
fn the_language_of_a_prompt_is_told_by_its_script() {
    assert_eq!(detect("What is 2 + 3 * 4?"), Some("en"));
    assert_eq!(detect("2 + 3 * 4 等于多少？"), Some("zh"));
    assert_eq!(detect("ロジャーは5個のテニスボールがあります。"), Some("ja"));
    assert_eq!(detect("Сколько будет 2 + 3?"), Some("ru"));
    assert_eq!(detect("2 + 3 * 4 = ?"), None);
}

#[test]
fn language_tags() {
    assert_eq!(Script::of_language("pt-BR"), Some(&[Script::Latin][..]));
    assert_eq!(Script::of_language("ZH_hant"), Some(&[Script::Han][..]));
    assert!(consistency("<think>a</think>", Prefill::No, "xx").is_err());
}

#[test]
fn lone_marks_cost_little() {
    let text = "$`\\".repeat(300_000);
    assert!(count_words(&text).is_empty());
}
