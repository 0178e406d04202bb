//! Examples to imitate: worked solutions in the paper's form, spoilt on purpose where noise is asked for.

use crate::draw::Draw;
use crate::families::{Mistake, Problem};
use crate::general::Request;
use crate::language::Language;
use crate::noise::{Noise, Shares};
use crate::worked::{Style, Voice, Worked, tell};

/// How reasoning is told in one row.
#[derive(Clone, Copy, Debug)]
pub struct Telling {
    /// The language of the row.
    pub language: Language,
    /// How much is said.
    pub style: Style,
    /// Whether the short style uses words.
    pub words: bool,
}

/// An example, and what is wrong with it.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// The completion to imitate.
    pub completion: String,
    /// The noise that made a difference.
    pub noise: Vec<Noise>,
    /// The answer in it is right (for general requests: the reply is the good one).
    pub correct: bool,
    /// It has the form `<think>…</think> <answer>…</answer>`.
    pub formed: bool,
}

/// Which kinds of noise a row gets: one draw each, none depends on another. `unkind` takes a draw only where it has a share,
/// so that a corpus without it stays what it was before there was that kind.
pub fn draw_noise(shares: &Shares, draw: &mut Draw) -> Vec<Noise> {
    let asked = |noise: &Noise| *noise != Noise::Unkind || shares.of(Noise::Unkind) > 0.0;
    Noise::ALL.into_iter().filter(asked).filter(|&noise| draw.chance(shares.of(noise))).collect()
}

/// The reasoning and the answer of a worked problem, in the form that the template asks for.
pub fn clean(problem: &dyn Problem, telling: Telling) -> Example {
    let worked = problem.work(telling.language);
    let reasoning = tell(&worked, telling.style, telling.words, Voice::Pure(telling.language));
    dress(&reasoning, &worked.answer, &[], Vec::new(), true)
}

/// As [`clean`], with the given kinds of noise wherever they can make a difference.
pub fn spoilt(problem: &dyn Problem, telling: Telling, noise: &[Noise], draw: &mut Draw) -> Example {
    let language = telling.language;
    let right = problem.work(language);
    let truth = right.answer.clone();
    let mut done: Vec<Noise> = Vec::new();
    let silent = noise.contains(&Noise::NoThink) || noise.contains(&Noise::Bare);
    let (reasoning, answer) = if noise.contains(&Noise::Gibberish) {
        done.push(Noise::Gibberish);
        (gibberish(language, draw), unrelated_answer(problem, &truth, language, draw))
    } else {
        let mut mistakes = Vec::new();
        for (kind, mistake) in [(Noise::Precedence, Mistake::Precedence), (Noise::Fact, Mistake::Fact)] {
            if noise.contains(&kind) {
                // Each is tried alone, so that only those which change this problem are recorded.
                if problem.work_wrongly(&[mistake], &mut draw.clone()).is_some() {
                    done.push(kind);
                    mistakes.push(mistake);
                }
            }
        }
        // Two mistakes can cancel; and one that leaves the answer right cannot be seen without the reasoning.
        let visible = |wrong: &Worked| !silent || wrong.answer != truth;
        let wrong = if mistakes.is_empty() { None } else { problem.work_wrongly(&mistakes, draw) };
        let worked = wrong.filter(visible).unwrap_or_else(|| {
            done.clear();
            right
        });
        let mut answer = worked.answer.clone();
        if noise.contains(&Noise::Slip) {
            // Near the right answer; after wrong reasoning that may be what the reasoning arrived at, which is no slip.
            if let Some(slip) =
                (0..8).map(|_| problem.wrong_answer(language, draw)).find(|slip| *slip != answer)
            {
                answer = slip;
                done.push(Noise::Slip);
            }
        }
        let voice = if noise.contains(&Noise::MixedLanguage) && !silent {
            done.push(Noise::MixedLanguage);
            Voice::Mixed(language, draw.clone())
        } else {
            Voice::Pure(language)
        };
        (tell(&worked, telling.style, telling.words, voice), answer)
    };
    let correct = answer == truth;
    dress(&reasoning, &answer, noise, done, correct)
}

/// An example of a general request: the good reply, or, spoilt, one in another form, language or sense.
pub fn general(request: &Request, language: Language, noise: &[Noise], draw: &mut Draw) -> Example {
    let mut done = Vec::new();
    let silent = noise.contains(&Noise::NoThink) || noise.contains(&Noise::Bare);
    let unkind = noise.contains(&Noise::Unkind) && !noise.contains(&Noise::Gibberish);
    let reply = if unkind { request.worse_reply(language, draw) } else { request.reply(language) };
    done.extend(unkind.then_some(Noise::Unkind));
    let (thought, text) = if noise.contains(&Noise::Gibberish) {
        done.push(Noise::Gibberish);
        (gibberish(language, draw), gibberish(language, draw))
    } else if noise.contains(&Noise::MixedLanguage) && !silent {
        done.push(Noise::MixedLanguage);
        (request.reply(language.other()).thought, reply.text)
    } else {
        (reply.thought, reply.text)
    };
    let correct = !done.contains(&Noise::Gibberish) && !unkind;
    dress(&thought, &text, noise, done, correct)
}

/// Puts the tags around reasoning and answer, or leaves them away.
pub fn dress(reasoning: &str, answer: &str, noise: &[Noise], mut done: Vec<Noise>, correct: bool) -> Example {
    let has = |kind| noise.contains(&kind);
    // A bare answer has no tag that could be missing.
    let bare = has(Noise::Bare);
    let form = |kind| has(kind) && !bare;
    let unclosed = form(Noise::Unclosed) && !has(Noise::NoAnswerTag);
    let answer_part = match () {
        () if bare || form(Noise::NoAnswerTag) => answer.to_owned(),
        () if unclosed => format!("<answer>{answer}<answer>"),
        () => format!("<answer>{answer}</answer>"),
    };
    let completion = if bare || form(Noise::NoThink) {
        answer_part
    } else {
        format!("<think>{reasoning}</think> {answer_part}")
    };
    done.extend([Noise::NoThink, Noise::NoAnswerTag].into_iter().filter(|&kind| form(kind)));
    done.extend(
        [(Noise::Bare, bare), (Noise::Unclosed, unclosed)]
            .into_iter()
            .filter(|kind| kind.1)
            .map(|kind| kind.0),
    );
    let formed = ![Noise::NoThink, Noise::NoAnswerTag, Noise::Bare, Noise::Unclosed]
        .iter()
        .any(|kind| done.contains(kind));
    done.sort_by_key(|&kind| kind as usize);
    Example { completion, noise: done, correct, formed }
}

/// Words, signs and numbers that mean nothing together.
fn gibberish(language: Language, draw: &mut Draw) -> String {
    const WORDS: [[&str; 2]; 8] = [
        ["hm", "嗯"],
        ["maybe", "也许"],
        ["blue", "蓝"],
        ["then", "然后"],
        ["again", "又"],
        ["some", "一些"],
        ["or", "或者"],
        ["so", "那么"],
    ];
    let parts: Vec<String> = (0..draw.between(3, 6))
        .map(|_| match draw.below(4) {
            0 => draw.below(100).to_string(),
            1 => draw.pick(&["+", "*", "=", "-"]).to_string(),
            _ => language.of(*draw.pick(&WORDS)).to_owned(),
        })
        .collect();
    parts.join(" ")
}

/// A wrong answer that has nothing to do with the question: some small number where a number is asked for.
fn unrelated_answer(problem: &dyn Problem, truth: &str, language: Language, draw: &mut Draw) -> String {
    let number = draw.below(100).to_string();
    let wanted = truth.parse::<i64>().is_ok();
    if wanted && number != truth { number } else { problem.wrong_answer(language, draw) }
}
