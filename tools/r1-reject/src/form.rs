//! `--form`: the two ways in which the paper writes reasoning and result, from either into either.
//!
//! - `tags`: `<think>reasoning</think> <answer>result</answer>`, the form of R1-Zero;
//! - `special-token`: `|special_token|reasoning|special_token|summary`, the form of the cold start.

use clap::ValueEnum;
use r1_verify::extract::{Prefill, split};

/// A form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Form {
    /// <think>reasoning</think> <answer>result</answer>
    Tags,
    /// TOKEN reasoning TOKEN summary
    SpecialToken,
}

/// The flags.
#[derive(clap::Args, Clone, Debug)]
pub struct Rewriting {
    /// Rewrite what is kept into this form; what has no reasoning and result to tell apart is refused
    #[arg(long, value_name = "FORM")]
    form: Option<Form>,
    /// The token of the form special-token, where it is written and where it is read
    #[arg(long, value_name = "TOKEN", default_value = "|special_token|", requires = "form",
          value_parser = clap::builder::NonEmptyStringValueParser::new())]
    special_token: String,
}

impl Rewriting {
    /// The completion in the form asked for, or as it is where none was; nothing where it cannot be told apart.
    pub fn of(&self, text: &str) -> Option<String> {
        let Some(form) = self.form else { return Some(text.to_string()) };
        let token = self.special_token.as_str();
        let (reasoning, result) = match text.trim_start().strip_prefix(token) {
            Some(rest) => rest.split_once(token)?,
            None => {
                let thought = split(text, Prefill::No);
                (&text[thought.reasoning?], &text[thought.visible?])
            }
        };
        let (reasoning, result) = (reasoning.trim(), result.trim());
        let bare = result.replace("<answer>", "").replace("</answer>", "");
        if reasoning.is_empty() || bare.trim().is_empty() || reasoning.contains(token) || bare.contains(token)
        {
            return None;
        }
        Some(match form {
            Form::SpecialToken => format!("{token}{reasoning}{token}{}", bare.trim()),
            Form::Tags if result.contains("<answer>") => format!("<think>{reasoning}</think> {result}"),
            Form::Tags => format!("<think>{reasoning}</think> <answer>{result}</answer>"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn from_either_into_either() {
        let to = |form, text: &str| {
            Rewriting { form: Some(form), special_token: "|special_token|".into() }.of(text)
        };
        let tags = "<think>3 * 4 = 12</think> <answer>14</answer>";
        let token = "|special_token|3 * 4 = 12|special_token|14";
        for text in [tags, token, " <think>\n3 * 4 = 12\n</think>\n\n14"] {
            assert_eq!(to(Form::Tags, text).as_deref(), Some(tags));
            assert_eq!(to(Form::SpecialToken, text).as_deref(), Some(token));
        }
        for text in ["14", "<think>so", "<think></think> 14", "|special_token|so", "<think>a</think> "] {
            assert_eq!((to(Form::Tags, text), to(Form::SpecialToken, text)), (None, None), "{text}");
        }
    }
}
