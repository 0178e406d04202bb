//! Rows to imitate and pairs to prefer, under TRL's column names.

use crate::columns::CONVERSATIONS;
use crate::{Message, Prompt, RecordError, Row};

/// A row for supervised fine-tuning: the loss is on the completion.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// What the policy is given.
    pub prompt: Prompt,
    /// What it should say.
    pub completion: String,
}

/// A pair for preference training.
#[derive(Clone, Debug, PartialEq)]
pub struct Preference {
    /// What the policy was given.
    pub prompt: Prompt,
    /// The better completion.
    pub chosen: String,
    /// The worse one.
    pub rejected: String,
}

impl Row {
    /// The row as an example: `prompt` (or `question`, `problem`) and `completion`, each a string or chat messages; or
    /// `messages` (or `conversations`) that end with the assistant's turn, which is then the completion and all before it
    /// the prompt.
    pub fn example(&self) -> Result<Example, RecordError> {
        if self.has("completion") {
            let completion = match self.raw("completion").and_then(|raw| raw.bytes().next()) {
                Some(b'[') => {
                    let (before, said) = self.last_turn("completion")?;
                    if !before.is_empty() {
                        return Err(self.error_in(
                            "completion",
                            "`completion` has several turns",
                            "give one assistant turn; put the earlier ones into the prompt",
                        ));
                    }
                    said
                }
                _ => self.require("completion")?,
            };
            return Ok(Example { prompt: self.prompt()?, completion });
        }
        let Some(name) = ["messages", CONVERSATIONS].into_iter().find(|name| self.has(name)) else {
            return Err(self.error("neither `completion` nor `messages`", "an example needs one of the two"));
        };
        let (before, completion) = self.last_turn(name)?;
        if before.is_empty() {
            let fact = format!("`{name}` has no turn before the assistant's");
            return Err(self.error_in(name, fact, "give the user's turn"));
        }
        Ok(Example { prompt: Prompt::Messages(before), completion })
    }

    /// The row as a preference: `prompt` with `chosen` and `rejected`, strings or lists with one assistant turn; or `chosen`
    /// and `rejected` as whole conversations that share all but their last turn, or as whole texts, whose common beginning is
    /// then the prompt (TRL's implicit prompt).
    pub fn preference(&self) -> Result<Preference, RecordError> {
        for name in ["chosen", "rejected"] {
            if !self.has(name) {
                return Err(self.error(format!("no `{name}`"), "a preference needs `chosen` and `rejected`"));
            }
        }
        let listed = |name: &str| self.raw(name).is_some_and(|raw| raw.starts_with('['));
        if !listed("chosen") && !listed("rejected") {
            let (chosen, rejected): (String, String) = (self.require("chosen")?, self.require("rejected")?);
            if self.prompt_column().is_some() {
                return Ok(Preference { prompt: self.prompt()?, chosen, rejected });
            }
            let at = common_beginning(&chosen, &rejected);
            if at == 0 {
                return Err(self.error("no prompt", "give `prompt`, or texts that begin with it"));
            }
            let (prompt, chosen) = chosen.split_at(at);
            let (prompt, chosen) = (Prompt::Text(prompt.to_owned()), chosen.to_owned());
            return Ok(Preference { prompt, chosen, rejected: rejected[at..].to_owned() });
        }
        let (before, chosen) = self.last_turn("chosen")?;
        let (also_before, rejected) = self.last_turn("rejected")?;
        if before != also_before {
            return Err(self.error_in(
                "rejected",
                "`rejected` answers another conversation",
                "both must share the prompt",
            ));
        }
        let prompt = match (self.has("prompt"), before.is_empty()) {
            (true, true) => self.prompt()?,
            (false, false) => Prompt::Messages(before),
            (true, false) => {
                return Err(self.error_in(
                    "chosen",
                    "the prompt stands both in `prompt` and in `chosen`",
                    "leave one out",
                ));
            }
            (false, true) => return Err(self.error("no prompt", "give `prompt`, or whole conversations")),
        };
        Ok(Preference { prompt, chosen, rejected })
    }

    /// A list of turns that ends with the assistant's: the turns before it, and its text.
    fn last_turn(&self, name: &str) -> Result<(Vec<Message>, String), RecordError> {
        let mut turns = self.turns(name)?;
        match turns.pop() {
            Some(turn) if turn.role == "assistant" => {
                match turn.extra.iter().find(|(_, value)| !value.is_null()) {
                    None => Ok((turns, turn.content)),
                    Some((key, _)) => Err(self.error_in(
                        name,
                        format!("the last turn of `{name}` has `{key}` beside its content"),
                        "put all that should be learned into the content",
                    )),
                }
            }
            _ => Err(self.error_in(
                name,
                format!("`{name}` does not end with the assistant's turn"),
                "add the turn to learn",
            )),
        }
    }
}

/// Where two texts part, in bytes; a blank before that belongs to what follows it, as in TRL's `extract_prompt`.
fn common_beginning(a: &str, b: &str) -> usize {
    let same = a.char_indices().zip(b.chars()).take_while(|((_, x), y)| x == y);
    let at = same.map(|((i, x), _)| i + x.len_utf8()).last().unwrap_or(0);
    if a[..at].ends_with(' ') { at - 1 } else { at }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(text: &str) -> Row {
        Row::parse(text).unwrap()
    }

    #[test]
    fn examples_of_either_form() {
        let plain = row(r#"{"id":"a","question":"2+2?","completion":"4"}"#).example().unwrap();
        assert_eq!(plain, Example { prompt: Prompt::Text("2+2?".into()), completion: "4".into() });
        let chat = concat!(
            r#"[{"role":"user","content":"a"},{"role":"assistant","content":"b"},"#,
            r#"{"role":"user","content":"c"},{"role":"assistant","content":"d"}]"#
        );
        let whole = row(&format!(r#"{{"messages":{chat}}}"#)).example().unwrap();
        let Prompt::Messages(turns) = &whole.prompt else { panic!("messages expected") };
        assert_eq!((turns.len(), whole.completion.as_str()), (3, "d"));
        let parted =
            r#"{"prompt":[{"role":"user","content":"a"}],"completion":[{"role":"assistant","content":"b"}]}"#;
        assert_eq!(row(parted).example().unwrap().completion, "b");
    }

    #[test]
    fn what_is_no_example() {
        for bad in [
            r#"{"prompt":"x"}"#,
            r#"{"completion":"x"}"#,
            r#"{"prompt":"x","completion":7}"#,
            r#"{"messages":[{"role":"user","content":"a"}]}"#,
            r#"{"messages":[{"role":"assistant","content":"a"}]}"#,
            r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b","reasoning_content":"c"}]}"#,
            r#"{"messages":[{"role":"user"}]}"#,
        ] {
            assert!(row(bad).example().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_prompt_may_be_the_common_beginning_of_two_texts() {
        let of = |a: &str, b: &str| row(&format!(r#"{{"chosen":"{a}","rejected":"{b}"}}"#)).preference();
        let pair = of("The sky is blue.", "The sky is green.").unwrap();
        assert_eq!((pair.prompt.question(), pair.chosen.as_str()), ("The sky is", " blue."));
        let pair = of("天空是蓝的", "天空是绿的").unwrap();
        assert_eq!((pair.prompt.question(), pair.rejected.as_str()), ("天空是", "绿的"));
        assert!(of("blue", "green").is_err());
    }

    #[test]
    fn preferences_of_either_form() {
        let plain = row(r#"{"prompt":"x","chosen":"good","rejected":"bad"}"#).preference().unwrap();
        assert_eq!((plain.chosen.as_str(), plain.rejected.as_str()), ("good", "bad"));
        let turn = |said: &str| {
            format!(r#"[{{"role":"user","content":"q"}},{{"role":"assistant","content":"{said}"}}]"#)
        };
        let whole = row(&format!(r#"{{"chosen":{},"rejected":{}}}"#, turn("good"), turn("bad")))
            .preference()
            .unwrap();
        assert_eq!((whole.prompt.question(), whole.rejected.as_str()), ("q", "bad"));
        assert!(row(r#"{"prompt":"x","chosen":"good"}"#).preference().is_err());
        let other = turn("bad").replace("\"q\"", "\"other\"");
        assert!(row(&format!(r#"{{"chosen":{},"rejected":{other}}}"#, turn("good"))).preference().is_err());
    }
}
