//! Reading a judge's reply: exactly one verdict, or none.

use r1_verify::extract::{Prefill, split};
use serde_json::Value;

/// The form of a verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Form {
    /// The reply is one JSON object (perhaps in a code fence), whose KEY holds a label.
    Json(String),
    /// The reply holds a label in double brackets; twice the same counts, two different ones do not.
    Brackets,
}

impl Form {
    /// `json KEY` or `brackets`.
    pub fn parse(text: &str) -> Option<Form> {
        match text.split_whitespace().collect::<Vec<_>>().as_slice() {
            ["brackets"] => Some(Form::Brackets),
            ["json", key] => Some(Form::Json((*key).to_owned())),
            _ => None,
        }
    }
}

/// How verdicts look, and what each counts.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdicts {
    pub form: Form,
    /// labels and their numbers
    pub values: Vec<(String, f64)>,
}

impl Verdicts {
    /// What the reply's one verdict counts. What stands in the judge's own reasoning is not read; a reasoning that never ends
    /// leaves nothing to read.
    pub fn read(&self, reply: &str) -> Option<f64> {
        let visible = &reply[split(reply, Prefill::No).visible?];
        match &self.form {
            Form::Json(key) => {
                let object: Value = serde_json::from_str(unfenced(visible.trim())).ok()?;
                match object.as_object()?.get(key)? {
                    Value::String(label) => self.value(label),
                    Value::Bool(b) => self.value(if *b { "true" } else { "false" }),
                    Value::Number(n) => self.value(&n.to_string()),
                    _ => None,
                }
            }
            Form::Brackets => {
                let mut found = bracketed(visible).map(|label| self.value(label));
                let first = found.next()??;
                found.all(|other| other == Some(first)).then_some(first)
            }
        }
    }

    fn value(&self, label: &str) -> Option<f64> {
        let label = label.trim();
        self.values.iter().find(|(known, _)| known.eq_ignore_ascii_case(label)).map(|(_, value)| *value)
    }
}

/// The text inside a code fence that holds all of it; else the text.
fn unfenced(text: &str) -> &str {
    let inner = text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```"));
    inner.map_or(text, |inner| inner.strip_prefix("json").unwrap_or(inner).trim())
}

/// What stands in double brackets, piece by piece.
fn bracketed(text: &str) -> impl Iterator<Item = &str> {
    text.split("[[").skip(1).filter_map(|piece| piece.split_once("]]")).map(|(label, _)| label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json() -> Verdicts {
        Verdicts {
            form: Form::parse("json correctness").unwrap(),
            values: vec![("correct".into(), 1.0), ("incorrect".into(), 0.0)],
        }
    }

    fn brackets() -> Verdicts {
        let labels = [("A>>B", 2.0), ("A>B", 1.0), ("A=B", 0.0), ("B>A", -1.0), ("B>>A", -2.0)];
        Verdicts {
            form: Form::parse("brackets").unwrap(),
            values: labels.map(|(label, value)| (label.to_owned(), value)).to_vec(),
        }
    }

    #[test]
    fn one_json_object_is_a_verdict() {
        for good in [
            r#"{"analysis": "same", "correctness": "correct"}"#,
            " {\"correctness\": \" Correct \"}\n",
            "```json\n{\"correctness\": \"correct\"}\n```",
            "```\n{\"correctness\": \"correct\"}```",
            r#"<think>{"correctness": "incorrect"}</think> {"correctness": "correct"}"#,
            r#"thought</think>{"correctness": "correct"}"#,
        ] {
            assert_eq!(json().read(good), Some(1.0), "{good}");
        }
        assert_eq!(json().read(r#"{"correctness": "incorrect"}"#), Some(0.0));
        for bad in [
            "",
            "correct",
            r#"It is {"correctness": "correct"}"#,
            r#"{"correctness": "correct"} {"correctness": "correct"}"#,
            r#"{"correctness": "correct or incorrect"}"#,
            r#"{"correctness": ["correct"]}"#,
            r#"{"verdict": "correct"}"#,
            r#"{"correctness": "correct""#,
            r#"<think>{"correctness": "correct"}"#,
            r#"["correct"]"#,
        ] {
            assert_eq!(json().read(bad), None, "{bad}");
        }
    }

    #[test]
    fn one_label_in_brackets_is_a_verdict() {
        for (good, value) in [
            ("A is right. [[A>B]]", 1.0),
            ("[[B>>A]]", -2.0),
            ("[[A=B]] as I said: [[A=B]]", 0.0),
            ("<think>[[A>>B]]</think>[[B>A]]", -1.0),
            ("[[ a>b ]]", 1.0),
        ] {
            assert_eq!(brackets().read(good), Some(value), "{good}");
        }
        for bad in [
            "A>B",
            "[[A>B]] or [[B>A]]",
            "[[A]]",
            "[[A>B",
            "[A>B]",
            "[[A>B]] [[C]]",
            "<think>[[A>B]]",
            "[[]]",
        ] {
            assert_eq!(brackets().read(bad), None, "{bad}");
        }
        assert_eq!(Form::parse("json"), None);
    }
}
