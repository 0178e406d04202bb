//! What speaks against a single completion: it is wrong, cut off, or hard to read.
//!
//! The R1 paper drops reasoning with mixed languages, long paragraphs and code blocks, and gives no thresholds; here each is a
//! flag, and none is on unless it is given.

use crate::band::Band;
use crate::majority::Vote;
use crate::reading::{longest_paragraph, units};
use crate::reason::{Reason, Refusal};
use crate::wanted::Wanted;
use r1_records::{FinishReason, Outline, RecordError, Reward, Row};
use r1_verify::extract::{Prefill, split};
use r1_verify::repetition::penalty;

/// The flags that look at one completion.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Filters {
    /// Only completions whose `reward.accuracy` is 1
    #[arg(long)]
    pub correct: bool,
    /// Where a row has no accuracy, --correct asks this opinion of r1-judge: at least that number, or exactly that text
    #[arg(long, value_name = "NAME=WANT", requires = "correct")]
    pub correct_by: Option<Wanted>,
    /// Only completions with this `judgement.NAME`: at least that number, or exactly that text; repeatable
    #[arg(long, value_name = "NAME=WANT")]
    pub judgement: Vec<Wanted>,
    /// Only completions that ended by themselves: `finish_reason` is not `length`
    #[arg(long)]
    pub finished: bool,
    /// Only completions whose `reward.format` is 1
    #[arg(long)]
    pub format: bool,
    /// Only completions whose `reward.language` is at least SHARE
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub language: Option<f64>,
    /// No paragraph of the reasoning is longer than N characters; paragraphs are parted by empty lines
    #[arg(long, value_name = "N")]
    pub max_paragraph: Option<usize>,
    /// No fenced code block in the reasoning
    #[arg(long)]
    pub no_code: bool,
    /// At most SHARE of the n-grams (words; single characters where a script writes no spaces) repeat an earlier one
    #[arg(long, value_name = "SHARE", value_parser = share)]
    pub max_repetition: Option<f64>,
    /// n for --max-repetition
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub ngram: u32,
    /// Length in tokens; needs `rollout.completion_ids`
    #[arg(long, value_name = "LOW..HIGH")]
    pub tokens: Option<Band>,
    /// Length in characters
    #[arg(long, value_name = "LOW..HIGH")]
    pub chars: Option<Band>,
}

impl Filters {
    /// The first reason against the completion. Errors: the row lacks what a flag needs.
    pub fn refuse(
        &self,
        row: &Row,
        rollout: &Outline,
        reward: &Reward,
        vote: Option<&Vote>,
    ) -> Result<Option<Refusal>, RecordError> {
        let text = rollout.completion.as_str();
        if text.trim().is_empty() {
            return Ok(Some((Reason::Empty, "no text".to_string())));
        }
        if let Some(refusal) = self.incorrect(row, reward, vote)? {
            return Ok(Some(refusal));
        }
        if !self.judgement.is_empty() {
            let judgement = row.judgement()?.unwrap_or_default();
            for wanted in &self.judgement {
                if wanted.met(row, &judgement)? != Some(true) {
                    return Ok(Some((Reason::Judgement, wanted.found(&judgement))));
                }
            }
        }
        if self.finished && rollout.finish_reason == Some(FinishReason::Length) {
            return Ok(Some((Reason::Unfinished, "finish_reason length".to_string())));
        }
        if self.format && reward.part("format") != Some(1.0) {
            return Ok(Some((Reason::Format, part("format", reward.part("format")))));
        }
        if let Some(least) = self.language
            && reward.part("language").is_none_or(|found| found < least)
        {
            return Ok(Some((Reason::Language, part("language", reward.part("language")))));
        }
        Ok(self.unreadable(text).or(self.misfit(row, rollout)?))
    }

    /// Whether the completion is right, where anything tells: its accuracy, else the majority of its group, else a judge.
    pub fn right(
        &self,
        row: &Row,
        reward: &Reward,
        vote: Option<&Vote>,
    ) -> Result<Option<bool>, RecordError> {
        match (reward.part("accuracy"), vote, &self.correct_by) {
            (Some(accuracy), _, _) => Ok(Some(accuracy == 1.0)),
            (None, Some(vote), _) => Ok(vote.right()),
            (None, None, Some(wanted)) => wanted.met(row, &row.judgement()?.unwrap_or_default()),
            (None, None, None) => Ok(None),
        }
    }

    /// What speaks against the answer.
    fn incorrect(
        &self,
        row: &Row,
        reward: &Reward,
        vote: Option<&Vote>,
    ) -> Result<Option<Refusal>, RecordError> {
        let answer = || reward.answer.as_deref().map_or("none".to_string(), |answer| format!("`{answer}`"));
        match vote {
            Some(Vote::None(found)) => return Ok(Some((Reason::NoMajority, found.clone()))),
            Some(Vote::Minority(label)) => {
                let found = format!("answer {}, the majority's is `{label}`", answer());
                return Ok(Some((Reason::Wrong, found)));
            }
            Some(Vote::Majority) => return Ok(None),
            None if !self.correct => return Ok(None),
            None => {}
        }
        Ok(match (self.right(row, reward, None)?, reward.part("accuracy"), &self.correct_by) {
            (Some(true), _, _) => None,
            (Some(false), Some(accuracy), _) => {
                Some((Reason::Wrong, format!("accuracy {accuracy}, answer {}", answer())))
            }
            (Some(false), None, wanted) => {
                let judgement = row.judgement()?.unwrap_or_default();
                let found = wanted.as_ref().map_or_else(String::new, |wanted| wanted.found(&judgement));
                Some((Reason::Wrong, found))
            }
            (None, _, Some(_)) => Some((Reason::Unjudged, "no reward.accuracy, no judgement".to_string())),
            (None, _, None) => Some((Reason::Unjudged, "no reward.accuracy".to_string())),
        })
    }

    /// The readability of the text alone.
    fn unreadable(&self, text: &str) -> Option<Refusal> {
        let reasoning = &text[split(text, Prefill::No).reasoning.unwrap_or(0..text.len())];
        if let Some(most) = self.max_paragraph {
            let longest = longest_paragraph(reasoning);
            if longest > most {
                return Some((Reason::LongParagraph, format!("a paragraph of {longest} characters")));
            }
        }
        if self.no_code && reasoning.lines().any(|line| line.trim_start().starts_with("```")) {
            return Some((Reason::CodeBlock, "a fenced code block in the reasoning".to_string()));
        }
        if let Some(most) = self.max_repetition {
            let repeated = penalty(&units(text), self.ngram as usize, -1.0).abs();
            if repeated > most {
                return Some((
                    Reason::Repetition,
                    format!("{:.1} % of the {}-grams are repeats", 100.0 * repeated, self.ngram),
                ));
            }
        }
        None
    }

    /// The length.
    fn misfit(&self, row: &Row, rollout: &Outline) -> Result<Option<Refusal>, RecordError> {
        if let Some(band) = self.tokens {
            let Some(tokens) = rollout.completion_tokens else {
                return Err(row.error_in(
                    "rollout",
                    "`rollout` has no completion_ids, which --tokens counts",
                    "use --chars",
                ));
            };
            if !band.holds(tokens as f64) {
                return Ok(Some((Reason::Length, format!("{tokens} tokens"))));
            }
        }
        if let Some(band) = self.chars {
            let chars = rollout.completion.chars().count();
            if !band.holds(chars as f64) {
                return Ok(Some((Reason::Length, format!("{chars} characters"))));
            }
        }
        Ok(None)
    }
}

/// A reward part in words.
fn part(name: &str, value: Option<f64>) -> String {
    value.map_or_else(
        || format!("no reward.{name}: score it with r1-reward --reward {name}=…"),
        |v| format!("{name} {v:.3}"),
    )
}

/// A number from 0 to 1.
pub fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(value),
        _ => Err("a share between 0 and 1 is needed".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(filters: &Filters, rollout: &str, reward: &str) -> Option<&'static str> {
        let row = Row::parse(&format!(r#"{{"rollout":{rollout},"reward":{reward}}}"#)).unwrap();
        let found = filters.refuse(&row, &row.outline().unwrap(), &row.reward().unwrap(), None).unwrap();
        found.map(|(reason, _)| reason.name())
    }

    fn text(filters: &Filters, text: &str) -> Option<&'static str> {
        first(filters, &format!(r#"{{"completion":{text:?}}}"#), "{}")
    }

    #[test]
    fn rewards_decide() {
        let all = Filters {
            correct: true,
            finished: true,
            format: true,
            language: Some(0.9),
            ..Filters::default()
        };
        let said = r#"{"completion":"x","finish_reason":"stop"}"#;
        let cut = r#"{"completion":"x","finish_reason":"length"}"#;
        assert_eq!(first(&all, said, r#"{"accuracy":1,"format":1,"language":0.9}"#), None);
        assert_eq!(first(&all, said, r#"{"format":1,"language":0.9}"#), Some("unjudged"));
        assert_eq!(
            first(&all, cut, r#"{"accuracy":0}"#),
            Some("wrong"),
            "the first reason in the order counts"
        );
        assert_eq!(first(&all, cut, r#"{"accuracy":1}"#), Some("unfinished"));
        assert_eq!(first(&all, said, r#"{"accuracy":1,"format":0}"#), Some("format"));
        assert_eq!(first(&all, said, r#"{"accuracy":1,"format":1,"language":0.89}"#), Some("language"));
        assert_eq!(first(&all, said, r#"{"accuracy":1,"format":1}"#), Some("language"));
        assert_eq!(first(&Filters::default(), cut, r#"{"accuracy":0}"#), None, "no filter is on by itself");
        assert_eq!(first(&Filters::default(), r#"{"completion":" \n"}"#, "{}"), Some("empty"));
    }

    #[test]
    fn judges_decide_where_no_rule_does() {
        let by = |correct_by: &str, judgement: &[&str]| Filters {
            correct: true,
            correct_by: Some(correct_by.parse().unwrap()),
            judgement: judgement.iter().map(|text| text.parse().unwrap()).collect(),
            ..Filters::default()
        };
        let reason = |filters: &Filters, text: &str| {
            let row = Row::parse(text).unwrap();
            let found = filters.refuse(&row, &row.outline().unwrap(), &row.reward().unwrap(), None).unwrap();
            found.map(|(reason, _)| reason.name())
        };
        let filters = by("verdict=correct", &["harmless=0.5"]);
        let row = |reward: &str, said: &str| {
            format!(r#"{{"rollout":{{"completion":"x"}},"reward":{reward},"judgement":{said}}}"#)
        };
        assert_eq!(reason(&filters, &row("{}", r#"{"verdict":"correct","harmless":0.5}"#)), None);
        assert_eq!(reason(&filters, &row("{}", r#"{"verdict":"incorrect","harmless":1}"#)), Some("wrong"));
        assert_eq!(reason(&filters, &row("{}", r#"{"harmless":1}"#)), Some("unjudged"));
        let harmful = row(r#"{"accuracy":1}"#, r#"{"verdict":"incorrect","harmless":0.4}"#);
        assert_eq!(reason(&filters, &harmful), Some("judgement"), "a rule goes before a judge");
    }

    #[test]
    fn paragraphs_are_those_of_the_reasoning() {
        let filters = Filters { max_paragraph: Some(9), ..Filters::default() };
        assert_eq!(text(&filters, "<think>12345\n\n123456789</think> a summary that is longer"), None);
        assert_eq!(text(&filters, "<think>1234\n567890</think> x"), Some("long-paragraph"));
        assert_eq!(text(&filters, "no tags, all of it counts"), Some("long-paragraph"));
    }

    #[test]
    fn code_is_refused_in_the_reasoning_only() {
        let filters = Filters { no_code: true, ..Filters::default() };
        assert_eq!(text(&filters, "<think>so\n ```python\nx\n```\n</think> x"), Some("code-block"));
        assert_eq!(text(&filters, "<think>so `x`</think>\n```python\nx\n```"), None);
    }

    #[test]
    fn rambling_is_refused() {
        let filters = Filters { max_repetition: Some(0.5), ngram: 2, ..Filters::default() };
        assert_eq!(text(&filters, "wait no wait no wait no wait no"), Some("repetition"));
        assert_eq!(text(&filters, "three times four is twelve and two is fourteen"), None);
        assert_eq!(text(&filters, "等等等等等等等等"), Some("repetition"));
    }

    #[test]
    fn lengths() {
        let tokens = Filters { tokens: Some("2..3".parse().unwrap()), ..Filters::default() };
        assert_eq!(first(&tokens, r#"{"completion":"x","completion_ids":[1,2]}"#, "{}"), None);
        assert_eq!(first(&tokens, r#"{"completion":"x","completion_ids":[1]}"#, "{}"), Some("length"));
        let row = Row::parse(r#"{"rollout":{"completion":"x"},"reward":{}}"#).unwrap();
        assert!(tokens.refuse(&row, &row.outline().unwrap(), &row.reward().unwrap(), None).is_err());
        let chars = Filters { chars: Some("..3".parse().unwrap()), ..Filters::default() };
        assert_eq!((text(&chars, "数数数"), text(&chars, "abcd")), (None, Some("length")));
    }
}
