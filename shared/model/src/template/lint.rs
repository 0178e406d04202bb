//! What is likely to go wrong with a template and a tokenizer, said before compute is spent on it.

use super::{Message, Prompt, Template};
use crate::config::Config;
use crate::tokenizer::Tokenizer;

/// A question and an answer in the form that the recipe trains.
const QUESTION: &str = "What is 2 + 3 * 4?";
const ANSWER: &str = "<think>\n3 * 4 = 12,\n2 + 12 = 14\n</think>\n<answer>14</answer>";

impl Template {
    /// One line for each thing that looks wrong; nothing where all is well. What cannot be rendered is left to the rows.
    pub fn lint(&self, tokenizer: &Tokenizer, config: &Config) -> Vec<String> {
        let mut found = Vec::new();
        if tokenizer.stop_ids(config).is_empty() {
            found.push("neither config nor tokenizer names an EOS: no completion ends by itself".to_string());
        }
        match tokenizer.encode(ANSWER, false).and_then(|ids| tokenizer.decode(&ids, false)) {
            Ok(text) if text != ANSWER => {
                found.push(format!(
                    "the tokenizer does not give back what it is given: {ANSWER:?} becomes {text:?}"
                ));
            }
            _ => {}
        }
        let prompt = Prompt::Text(QUESTION.to_string());
        if let Ok(text) = self.text(&prompt, tokenizer)
            && !Template::prefill(&text).is_empty()
        {
            found.push(
                "the template opens <think> itself: completions begin inside it, and a format that wants the tag in them \
                 fails"
                    .to_string(),
            );
        }
        if let (Ok(ids), Some(bos)) = (self.render(&prompt, tokenizer), tokenizer.bos())
            && ids.iter().filter(|id| **id == bos.id).count() > 1
        {
            found.push(format!("prompts hold BOS ({}) twice", bos.text));
        }
        if let Template::Chat(_) = self {
            let turn = |role: &str, content: &str| Message::new(role, content);
            let talk = Prompt::Messages(vec![
                turn("user", QUESTION),
                turn("assistant", ANSWER),
                turn("user", "Why?"),
            ]);
            if self.text(&talk, tokenizer).is_ok_and(|text| !text.contains("3 * 4 = 12")) {
                found.push("the template strips the thinking from earlier turns".to_string());
            }
        }
        found
    }
}
