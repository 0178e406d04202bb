//! Prompt files: what a judge is asked, and how its reply is read.
//!
//! ```text
//! name: correct                        the opinion in `judgement`
//! of: pair                             it compares two completions (left away, it judges one)
//! verdict: json correctness            or `verdict: brackets`
//! values: correct=1 incorrect=0        what each verdict counts
//! ---
//! … {{ question }} … {{ answer }} … {{ summary }} …
//! ```

use anyhow::{Context, Result, anyhow, bail};
use minijinja::{Environment, UndefinedBehavior, Value};
use std::collections::HashSet;
use std::path::Path;

use crate::reading::{Text, is_name};
use crate::verdict::{Form, Verdicts};

/// Prompts that come with the tool.
const SHIPPED: [(&str, &str); 3] = [
    ("correctness", include_str!("../prompts/correctness.txt")),
    ("readability", include_str!("../prompts/readability.txt")),
    ("comparison", include_str!("../prompts/comparison.txt")),
];

/// Instructions that one rendering may take.
const FUEL: u64 = 1_000_000;

/// A prompt, ready to be filled in.
#[derive(Debug)]
pub struct PromptFile {
    /// name of the opinion
    pub name: String,
    /// compares two completions
    pub pair: bool,
    /// how a reply is read
    pub verdicts: Verdicts,
    /// asks for a reference answer
    pub needs_answer: bool,
    environment: Environment<'static>,
}

impl PromptFile {
    /// A shipped prompt by its name, or a file.
    ///
    /// # Errors
    /// Exit 2: no such prompt, or what is wrong in which line.
    pub fn load(flag: &str) -> Result<PromptFile> {
        let shipped = SHIPPED.iter().find(|(name, _)| *name == flag).map(|(_, text)| (*text).to_owned());
        let text = match shipped {
            Some(text) => text,
            None => std::fs::read_to_string(Path::new(flag)).map_err(|e| {
                let names = SHIPPED.map(|(name, _)| name).join(", ");
                r1_cli::misuse(format!("--prompt {flag}: {e}"), format!("name a file, or one of {names}"))
            })?,
        };
        PromptFile::parse(&text).map_err(|e| {
            r1_cli::bad_input(flag, format!("{e:#}"), "see --help for the form of a prompt file")
        })
    }

    fn parse(text: &str) -> Result<PromptFile> {
        let text = text.replace("\r\n", "\n");
        let (head, body) = text.split_once("\n---\n").context("no line `---` between head and text")?;
        let (mut name, mut pair, mut form, mut values) = (None, false, None, None);
        for (number, line) in head.lines().enumerate() {
            let wrong = |what: &str| anyhow!("line {}: {what}: {line:?}", number + 1);
            let (key, value) = line.split_once(':').ok_or_else(|| wrong("expected `key: value`"))?;
            let value = value.trim();
            match key.trim() {
                "name" if is_name(value) => name = Some(value.to_owned()),
                "name" => return Err(wrong("a name has small letters, digits and _")),
                "of" if value == "pair" => pair = true,
                "of" if value == "completion" => pair = false,
                "of" => return Err(wrong("`completion` or `pair`")),
                "verdict" => {
                    form = Some(Form::parse(value).ok_or_else(|| wrong("`json KEY` or `brackets`"))?)
                }
                "values" => {
                    values =
                        Some(labels(value).ok_or_else(|| wrong("expected LABEL=NUMBER …, each label once"))?)
                }
                _ => return Err(wrong("not a key of a prompt file")),
            }
        }
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_fuel(Some(FUEL));
        environment.add_template_owned("prompt", body.to_owned()).map_err(|e| anyhow!("{e}"))?;
        let used = environment.get_template("prompt")?.undeclared_variables(false);
        let known: &[&str] = if pair {
            &[
                "question",
                "answer",
                "response_a",
                "reasoning_a",
                "summary_a",
                "response_b",
                "reasoning_b",
                "summary_b",
            ]
        } else {
            &["question", "answer", "response", "reasoning", "summary"]
        };
        let mut unknown: Vec<&String> = used.iter().filter(|name| !known.contains(&name.as_str())).collect();
        unknown.sort();
        if let Some(unknown) = unknown.first() {
            bail!("`{unknown}` is not known there; there are {}", known.join(", "));
        }
        reads_both(&used, pair)?;
        Ok(PromptFile {
            name: name.context("no `name:`")?,
            pair,
            verdicts: Verdicts {
                form: form.context("no `verdict:`")?,
                values: values.context("no `values:`")?,
            },
            needs_answer: used.contains("answer"),
            environment,
        })
    }

    /// The text that the judge is asked; `second` of a pair stands at B.
    ///
    /// # Errors
    /// When the template fails.
    pub fn fill(
        &self,
        question: &str,
        answer: Option<&str>,
        first: &Text,
        second: Option<&Text>,
    ) -> Result<String> {
        let mut context: Vec<(String, Value)> = vec![("question".into(), question.into())];
        context.extend(answer.map(|answer| ("answer".into(), answer.into())));
        let mut put = |text: &Text, suffix: &str| {
            for (name, part) in
                [("response", &text.response), ("reasoning", &text.reasoning), ("summary", &text.summary)]
            {
                context.push((format!("{name}{suffix}"), part.as_str().into()));
            }
        };
        match second {
            None => put(first, ""),
            Some(second) => {
                put(first, "_a");
                put(second, "_b");
            }
        }
        let template = self.environment.get_template("prompt")?;
        let text =
            template.render(Value::from_pairs(context)).map_err(|e| anyhow!("the prompt file: {e:#}"))?;
        Ok(text.trim_end().to_owned())
    }
}

/// A judge that is not shown what it judges would be believed.
fn reads_both(used: &HashSet<String>, pair: bool) -> Result<()> {
    for suffix in if pair { &["_a", "_b"][..] } else { &[""] } {
        if !["response", "summary"].iter().any(|part| used.contains(&format!("{part}{suffix}"))) {
            bail!("the text shows neither `response{suffix}` nor `summary{suffix}`");
        }
    }
    Ok(())
}

/// `A=B=0` is the label `A=B` with the number 0.
fn labels(text: &str) -> Option<Vec<(String, f64)>> {
    let mut all: Vec<(String, f64)> = Vec::new();
    for part in text.split_whitespace() {
        let (label, number) = part.rsplit_once('=')?;
        let number: f64 = number.parse().ok().filter(|x: &f64| x.is_finite())?;
        if label.is_empty() || all.iter().any(|(known, _)| known == label) {
            return None;
        }
        all.push((label.to_owned(), number));
    }
    (all.len() >= 2).then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shipped_prompts_show_what_they_ask_about() {
        let (a, b) = (Text::of("<think>t</think> one reply", false), Text::of("another reply", false));
        for (name, _) in SHIPPED {
            let prompt = PromptFile::load(name).unwrap();
            let text = prompt.fill("Why?", Some("because"), &a, prompt.pair.then_some(&b)).unwrap();
            assert!(text.contains("Why?") && text.contains("one reply") && !text.contains("{{"), "{text}");
            assert_eq!(text.contains("another reply"), prompt.pair, "{name}");
            assert_eq!(prompt.needs_answer, name == "correctness");
            assert_eq!(text.contains("because"), prompt.needs_answer);
        }
        let values = PromptFile::load("comparison").unwrap().verdicts.values;
        assert_eq!(values.iter().map(|v| v.1).sum::<f64>(), 0.0, "no side is favoured");
        assert!(values.contains(&("A=B".into(), 0.0)));
    }

    #[test]
    fn broken_prompts_name_their_line() {
        let good = "name: x\nverdict: json k\nvalues: yes=1 no=0\n---\n{{ response }}";
        PromptFile::parse(good).unwrap();
        for (from, to, word) in [
            ("\n---\n", "\n", "---"),
            ("name: x", "name: X", "line 1"),
            ("name: x\n", "", "no `name:`"),
            ("json k", "xml k", "line 2"),
            ("yes=1 no=0", "yes=1", "line 3"),
            ("yes=1 no=0", "yes=1 yes=0", "line 3"),
            ("yes=1 no=0", "yes=one no=0", "line 3"),
            ("name: x", "colour: x", "line 1"),
            ("{{ response }}", "{{ completion }}{{ response }}", "`completion` is not known"),
            ("{{ response }}", "{{ question }}", "neither `response`"),
            ("{{ response }}", "{% if %}", "syntax"),
            ("name: x", "name: x\nof: pair", "response"),
        ] {
            let error = format!("{:#}", PromptFile::parse(&good.replace(from, to)).unwrap_err());
            assert!(error.contains(word), "{error}");
        }
    }
}
