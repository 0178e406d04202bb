//! `--ask`: what a policy is asked about a row, where that is more than its prompt: the question among solved ones, with a request
//! to look back, or with a draft to be written anew. The row keeps its prompt, so what is drawn is judged and imitated as an
//! answer to it; `rollout.prompt_ids` are those of what was asked.

use anyhow::{Context, Result, anyhow};
use minijinja::{Environment, UndefinedBehavior, Value};
use r1_records::{Prompt, Row};

/// Requests that come with the tool.
const SHIPPED: [(&str, &str); 3] = [
    ("few-shot", include_str!("../prompts/few-shot.txt")),
    ("reflection", include_str!("../prompts/reflection.txt")),
    ("refine", include_str!("../prompts/refine.txt")),
];

/// What a request may speak of.
const KNOWN: [&str; 2] = ["question", "response"];

/// Instructions that one rendering may take.
const FUEL: u64 = 1_000_000;

/// A request, ready to be filled in.
#[derive(Debug)]
pub struct Ask {
    environment: Environment<'static>,
    needs_response: bool,
}

impl Ask {
    /// A shipped request by its name, or a file: a minijinja text over `question` and `response`.
    ///
    /// # Errors
    /// Exit 2: no such request, or what is wrong with it.
    pub fn load(flag: &str) -> Result<Ask> {
        let shipped = SHIPPED.iter().find(|(name, _)| *name == flag).map(|(_, text)| (*text).to_owned());
        let text = match shipped {
            Some(text) => text,
            None => std::fs::read_to_string(flag).map_err(|e| {
                let names = SHIPPED.map(|(name, _)| name).join(", ");
                r1_cli::misuse(format!("--ask {flag}: {e}"), format!("name a file, or one of {names}"))
            })?,
        };
        let remedy = "it is a minijinja text over question and response (a row's `completion`)";
        Ask::parse(&text).map_err(|e| r1_cli::bad_input(flag, format!("{e:#}"), remedy))
    }

    fn parse(text: &str) -> Result<Ask> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_fuel(Some(FUEL));
        environment.add_template_owned("request", text.replace("\r\n", "\n")).map_err(one_line)?;
        let used = environment.get_template("request")?.undeclared_variables(false);
        let mut unknown: Vec<&String> = used.iter().filter(|name| !KNOWN.contains(&name.as_str())).collect();
        unknown.sort();
        if let Some(unknown) = unknown.first() {
            return Err(anyhow!("`{unknown}` is not known there"));
        }
        if !used.contains("question") {
            return Err(anyhow!("the text does not show the `question`"));
        }
        let needs_response = used.contains("response");
        Ok(Ask { environment, needs_response })
    }

    /// What is asked about a row.
    ///
    /// # Errors
    /// A row without the `completion` that the request speaks of; a template that fails.
    pub fn about(&self, row: &Row) -> Result<Prompt> {
        let question = match row.prompt()? {
            Prompt::Text(text) => text,
            Prompt::Messages(turns) => match turns.as_slice() {
                [one] => one.content.clone(),
                turns => {
                    let fact = format!("--ask takes one user message, the prompt has {}", turns.len());
                    return Err(anyhow!(fact));
                }
            },
        };
        let mut context = vec![("question", Value::from(question))];
        if self.needs_response {
            let response = row
                .get::<String>("completion")?
                .context("no `completion` that could be asked about (r1-reject writes such rows)")?;
            context.push(("response", response.into()));
        }
        let text = self.environment.get_template("request")?.render(Value::from_pairs(context));
        Ok(Prompt::Text(text.map_err(one_line)?.trim_end().to_owned()))
    }
}

fn one_line(error: minijinja::Error) -> anyhow::Error {
    anyhow!("{}", format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(ask: &Ask, row: &str) -> Result<String> {
        match ask.about(&Row::parse(row).unwrap())? {
            Prompt::Text(text) => Ok(text),
            Prompt::Messages(_) => unreachable!("a request is a text"),
        }
    }

    #[test]
    fn shipped_requests_show_what_they_ask_about() {
        let row = r#"{"prompt":"Why {{ x }}?","completion":"umm... \"so\""}"#;
        for (name, _) in SHIPPED {
            let text = said(&Ask::load(name).unwrap(), row).unwrap();
            assert!(text.contains("Why {{ x }}?") && !text.contains("{{ question"), "{text}");
            assert_eq!(text.contains("umm... \"so\""), name == "refine", "{text}");
            assert_eq!(text.contains("|special_token|"), name == "few-shot");
            assert_eq!(text.ends_with("Solution:"), name != "refine");
        }
    }

    #[test]
    fn what_cannot_be_asked_is_said() {
        for (text, word) in [
            ("{{ question }} {{ answer }}", "`answer` is not known"),
            ("{{ response }}", "does not show the `question`"),
            ("{% if %}", "syntax"),
        ] {
            let error = format!("{:#}", Ask::parse(text).unwrap_err());
            assert!(error.contains(word) && !error.contains('\n'), "{error}");
        }
        let refine = Ask::load("refine").unwrap();
        for (row, word) in [
            (r#"{"prompt":"x"}"#, "no `completion`"),
            (
                r#"{"prompt":[{"role":"system","content":"a"},{"role":"user","content":"b"}],"completion":"c"}"#,
                "one user",
            ),
        ] {
            assert!(format!("{:#}", said(&refine, row).unwrap_err()).contains(word), "{row}");
        }
        let one = r#"{"prompt":[{"role":"user","content":"b"}]}"#;
        assert_eq!(said(&Ask::parse("<{{ question }}>\r\n").unwrap(), one).unwrap(), "<b>");
    }
}
