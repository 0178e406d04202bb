//! What of a row a model gets to read.

use r1_records::{Judgement, Opinion, Prompt, RecordError, Row};
use r1_verify::extract::{Prefill, split};

/// A part of a completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// What follows the reasoning: of `<answer>…</answer>` what stands in it
    Summary,
    /// All of it, reasoning included
    Response,
}

/// A completion, taken apart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Text {
    /// all of it
    pub response: String,
    /// the reasoning, without its tags; empty where there is none
    pub reasoning: String,
    /// what its reader is meant to see; empty where the reasoning never ends
    pub summary: String,
}

impl Text {
    /// Takes a completion apart. `opened` says that the prompt has opened the reasoning.
    pub fn of(response: &str, opened: bool) -> Text {
        let thought = split(response, if opened { Prefill::Yes } else { Prefill::No });
        let piece = |range: Option<std::ops::Range<usize>>| range.map_or("", |r| response[r].trim());
        let visible = piece(thought.visible);
        let answer = visible.rfind("<answer>").map(|at| &visible[at + "<answer>".len()..]);
        let summary = answer.map_or(visible, |a| a.split("</answer>").next().unwrap_or(a).trim());
        Text {
            response: response.to_owned(),
            reasoning: piece(thought.reasoning).to_owned(),
            summary: summary.to_owned(),
        }
    }

    /// The row's completion.
    pub fn of_row(row: &Row) -> Result<Text, RecordError> {
        let opened = matches!(row.prompt()?, Prompt::Text(text) if text.trim_end().ends_with("<think>"));
        Ok(Text::of(&row.outline()?.completion, opened))
    }

    /// The part that is asked for.
    pub fn part(&self, part: Part) -> &str {
        match part {
            Part::Summary => &self.summary,
            Part::Response => &self.response,
        }
    }
}

/// What was asked, as one text: the question, or all turns of a conversation.
pub fn question(prompt: &Prompt) -> String {
    match prompt {
        Prompt::Text(text) => text.clone(),
        Prompt::Messages(turns) => match turns.as_slice() {
            [one] => one.content.clone(),
            all => all.iter().map(|t| format!("{}: {}", t.role, t.content)).collect::<Vec<_>>().join("\n\n"),
        },
    }
}

/// Adds opinions to a row's `judgement`; one of the same name is replaced.
pub fn add(row: &mut Row, opinions: Vec<(String, Opinion)>) -> Result<(), RecordError> {
    if opinions.is_empty() {
        return Ok(());
    }
    let mut judgement: Judgement = row.judgement()?.unwrap_or_default();
    for (name, opinion) in opinions {
        match judgement.opinions.iter_mut().find(|(known, _)| *known == name) {
            Some((_, old)) => *old = opinion,
            None => judgement.opinions.push((name, opinion)),
        }
    }
    row.set("judgement", &judgement)
}

/// Whether a text can name an opinion, and a reward made of it.
pub fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_what_follows_the_reasoning() {
        for (response, opened, reasoning, summary) in [
            ("<think>a</think> <answer> 14</answer>", false, "a", "14"),
            ("<think>a</think>\n\nIt is 14.", false, "a", "It is 14."),
            ("a</think> 14", true, "a", "14"),
            ("<think>never ends <answer>14</answer>", false, "never ends <answer>14</answer>", ""),
            ("still thinking", true, "still thinking", ""),
            ("14", false, "", "14"),
            ("<answer>5</answer> or <answer>14", false, "", "14"),
            ("", false, "", ""),
        ] {
            let text = Text::of(response, opened);
            assert_eq!(
                (text.reasoning.as_str(), text.part(Part::Summary)),
                (reasoning, summary),
                "{response}"
            );
            assert_eq!(text.part(Part::Response), response);
        }
    }

    #[test]
    fn opinions_join_those_that_are_there() {
        let mut row = Row::parse(r#"{"id":"a","judgement":{"helpful":0.5,"why":"x"}}"#).unwrap();
        add(&mut row, vec![]).unwrap();
        add(
            &mut row,
            vec![("correct".into(), Opinion::Number(1.0)), ("helpful".into(), Opinion::Number(2.0))],
        )
        .unwrap();
        assert_eq!(row.text(), r#"{"id":"a","judgement":{"helpful":2.0,"why":"x","correct":1.0}}"#);
        assert!(is_name("a_1") && !is_name("A") && !is_name(""));
    }
}
