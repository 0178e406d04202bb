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

#[test]
fn languages_of_one_script_are_told_apart() {
    let of = |text: &str, target: &str| {
        consistency(&format!("<think>{text}</think>a"), Prefill::No, target).unwrap()
    };
    let texts = [
        (
            "en",
            "First we find the number of eggs that are left each day. She sells them for $2, so she gets 18.",
        ),
        (
            "fr",
            "D'abord nous devons calculer le nombre total des œufs. Il reste donc 9 œufs qui sont vendus pour 2 euros.",
        ),
        (
            "de",
            "Zuerst müssen wir die Anzahl der Eier berechnen. Sie hat dann noch 9 Eier und verkauft sie für 2 Euro.",
        ),
        (
            "es",
            "Primero tenemos que calcular el número total de huevos. Entonces le quedan 9 huevos y los vende por 2 euros.",
        ),
        (
            "it",
            "Prima dobbiamo calcolare il numero totale delle uova. Quindi le restano 9 uova che sono vendute per 2 euro.",
        ),
        (
            "pt",
            "Primeiro precisamos de calcular o número total de ovos. Então ela tem 9 ovos que são vendidos por 2 euros.",
        ),
        (
            "nl",
            "Eerst moeten we het aantal eieren berekenen. Dan heeft ze nog 9 eieren en die worden voor 2 euro verkocht.",
        ),
        ("sw", "Kwanza tuna idadi ya mayai ambayo ni 16. Kwa hivyo jumla ya mayai ni 9 kwa kila siku."),
        (
            "ru",
            "Сначала нам нужно найти, сколько яиц осталось. Затем она продает их по 2 доллара, это всего 18.",
        ),
        (
            "uk",
            "Спочатку нам потрібно знайти, скільки яєць залишилось. Потім вона продає їх по 2 долари, це всього 18.",
        ),
    ];
    for (language, text) in texts {
        for (target, _) in texts {
            let cyrillic = |code: &str| matches!(code, "ru" | "uk");
            let got = of(text, target);
            if language == target {
                assert_eq!(got, 1.0, "{text} for {target}");
            } else {
                assert!(got < 0.1 || cyrillic(language) != cyrillic(target), "{text} for {target}: {got}");
            }
        }
        assert_eq!(detect(text), Some(language), "{text}");
    }
    // One sentence of two is in another language; names and quoted words are no evidence.
    let mixed =
        of("So the answer is that she has nine of them. Il reste donc le nombre des œufs pour elle.", "en");
    assert!((0.4..0.6).contains(&mixed), "{mixed}");
    assert_eq!(of("La Salle and De Niro pay El Paso.", "en"), 1.0);
    assert_eq!(of("total = 3 * 4", "fr"), 1.0);
    // Chinese is not Japanese.
    assert_eq!(of("我们先算乘法，这是对的。", "ja"), 0.0);
    assert_eq!(of("まず掛け算を計算します。答えは十四です。", "zh"), 0.0);
    assert_eq!(of("まず掛け算を計算します。合計十四円。", "ja"), 1.0);
}
