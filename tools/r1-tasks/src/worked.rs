//! A worked solution, and how it is told: formulas alone, a few words, whole sentences, or sentences and a check.

use crate::draw::Draw;
use crate::language::{Bilingual, Language};

/// What has to be remembered before the first step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hint {
    /// Nothing.
    Nothing,
    /// Multiplication and division come before addition and subtraction.
    Precedence,
    /// What stands in parentheses comes first.
    Parentheses,
}

/// The solution of one problem, step by step, without the words around the steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Worked {
    /// What to remember first.
    pub hint: Hint,
    /// One operation each: `3 * 4 = 12`.
    pub steps: Vec<String>,
    /// The steps are a running count (`r 1, a 1, r 2`) and not operations: one sentence tells them all.
    pub running: bool,
    /// Something that holds only if the answer is right, computed another way: `14 - 12 = 2`.
    pub check: String,
    /// The final answer.
    pub answer: String,
}

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// The steps, in a share of the rows with a word before each.
    Short,
    /// Whole sentences: what comes first, the numbered steps, the answer (few-shot long CoT).
    Long,
    /// The long form with a sentence that verifies the answer.
    Reflect,
}

/// The language of each phrase: the row's own, or a mixture with the other one.
#[derive(Clone, Debug)]
pub enum Voice {
    /// One language throughout.
    Pure(Language),
    /// Some phrases are in the other language; at least one is, and at least one is not where there are two or more.
    Mixed(Language, Draw),
}

/// The reasoning, as it stands between the think tags. `words` puts words around the steps of the short style;
/// a mixed voice has words always, for formulas are in no language.
pub fn tell(worked: &Worked, style: Style, words: bool, voice: Voice) -> String {
    let words = words || matches!(voice, Voice::Mixed(..));
    match style {
        Style::Short if !words => worked.steps.join(", "),
        Style::Short => join(&clauses(worked), [", ", "，"], voice),
        Style::Long => join(&sentences(worked, false), [" ", ""], voice),
        Style::Reflect => join(&sentences(worked, true), [" ", ""], voice),
    }
}

/// The short style in words: `first 3 * 4 = 12`, `then 2 + 12 = 14`.
fn clauses(worked: &Worked) -> Vec<Bilingual<String>> {
    if worked.running {
        return vec![running(worked)];
    }
    let last = worked.steps.len().saturating_sub(1);
    let with = |index: usize, step: &String| match index {
        _ if last == 0 => [format!("we get {step}"), format!("得到 {step}")],
        0 => [format!("first {step}"), format!("先算 {step}")],
        _ => [format!("then {step}"), format!("再算 {step}")],
    };
    worked.steps.iter().enumerate().map(|(index, step)| with(index, step)).collect()
}

/// The long style: a sentence each for what comes first, for every step, for the check and for the answer.
fn sentences(worked: &Worked, verify: bool) -> Vec<Bilingual<String>> {
    let mut told = Vec::new();
    match worked.hint {
        Hint::Nothing => {}
        Hint::Precedence => {
            told.push(["Multiply and divide before adding.".to_owned(), "先乘除，后加减。".to_owned()])
        }
        Hint::Parentheses => told.push(["Parentheses come first.".to_owned(), "先算括号里的。".to_owned()]),
    }
    if worked.running {
        let [english, chinese] = running(worked);
        told.push([format!("We {english}."), format!("{chinese}。")]);
    } else {
        for (index, step) in worked.steps.iter().enumerate() {
            let number = index + 1;
            told.push([format!("Step {number}: {step}."), format!("第 {number} 步：{step}。")]);
        }
    }
    if verify {
        let check = &worked.check;
        told.push([format!("Check: {check}, right."), format!("检验：{check}，正确。")]);
    }
    let answer = &worked.answer;
    told.push([format!("So the answer is {answer}."), format!("所以答案是 {answer}。")]);
    told
}

/// A running count as one clause.
fn running(worked: &Worked) -> Bilingual<String> {
    let steps = worked.steps.join(", ");
    [format!("count: {steps}"), format!("数一数：{steps}")]
}

/// Puts the phrases together; what stands between two is written as the language of the first has it.
fn join(phrases: &[Bilingual<String>], between: Bilingual<&str>, voice: Voice) -> String {
    let languages: Vec<Language> = match voice {
        Voice::Pure(language) => vec![language; phrases.len()],
        Voice::Mixed(home, mut draw) => {
            let mut languages: Vec<Language> =
                phrases.iter().map(|_| if draw.chance(0.5) { home.other() } else { home }).collect();
            let foreign = draw.below(phrases.len() as u64) as usize;
            languages[foreign] = home.other();
            if phrases.len() > 1 && languages.iter().all(|&language| language != home) {
                languages[(foreign + 1) % phrases.len()] = home;
            }
            languages
        }
    };
    let mut text = String::new();
    for (index, (phrase, &language)) in phrases.iter().zip(&languages).enumerate() {
        text.push_str(&phrase[language as usize]);
        if index + 1 < phrases.len() {
            text.push_str(language.of(between));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::draw::Purpose;

    fn worked() -> Worked {
        Worked {
            hint: Hint::Precedence,
            steps: vec!["3 * 4 = 12".to_owned(), "2 + 12 = 14".to_owned()],
            running: false,
            check: "14 - 12 = 2".to_owned(),
            answer: "14".to_owned(),
        }
    }

    #[test]
    fn each_style_reads_as_it_should() {
        let tell = |style, words, language| tell(&worked(), style, words, Voice::Pure(language));
        assert_eq!(tell(Style::Short, false, Language::English), "3 * 4 = 12, 2 + 12 = 14");
        assert_eq!(tell(Style::Short, false, Language::Chinese), "3 * 4 = 12, 2 + 12 = 14");
        assert_eq!(tell(Style::Short, true, Language::English), "first 3 * 4 = 12, then 2 + 12 = 14");
        assert_eq!(tell(Style::Short, true, Language::Chinese), "先算 3 * 4 = 12，再算 2 + 12 = 14");
        assert_eq!(
            tell(Style::Long, false, Language::English),
            "Multiply and divide before adding. Step 1: 3 * 4 = 12. Step 2: 2 + 12 = 14. So the answer is 14."
        );
        assert_eq!(
            tell(Style::Reflect, false, Language::Chinese),
            "先乘除，后加减。第 1 步：3 * 4 = 12。第 2 步：2 + 12 = 14。检验：14 - 12 = 2，正确。所以答案是 14。"
        );
    }

    #[test]
    fn a_mixed_voice_speaks_both_languages() {
        let chinese = |text: &str| text.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c));
        let english = |text: &str| text.chars().any(|c| c.is_ascii_alphabetic());
        for row in 0..500 {
            for home in Language::ALL {
                for style in [Style::Short, Style::Long, Style::Reflect] {
                    let voice = Voice::Mixed(home, Draw::new(1, row, 0, Purpose::Noise));
                    let text = tell(&worked(), style, false, voice);
                    assert!(chinese(&text) && english(&text), "{text}");
                }
            }
            let mut single = worked();
            single.steps.truncate(1);
            let voice = Voice::Mixed(Language::English, Draw::new(1, row, 0, Purpose::Noise));
            assert_eq!(tell(&single, Style::Short, false, voice), "得到 3 * 4 = 12");
        }
    }
}
