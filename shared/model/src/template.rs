//! From a prompt to the token ids that a policy continues.
//!
//! What belongs to whom, the same in sampling and in training:
//! - the prompt's ids end where the template ends (`… Assistant:`, or the generation prompt of a chat template); BOS is
//!   there exactly once;
//! - the completion is tokenized on its own and appended. In the R1-Zero form the single space behind `Assistant:`
//!   belongs to the completion's first token: [`Template::completion_ids`] puts it in front, and
//!   [`Template::completion_text`] takes one leading space away from what was sampled. Other templates add nothing;
//! - an example's completion ends in the tokenizer's EOS.

mod generation;
mod jinja;
mod lint;
mod python;

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
pub use r1_records::{Message, Prompt};

use crate::tokenizer::Tokenizer;
use jinja::Jinja;

/// The conversation of a prompt; a plain text is one user turn.
fn turns(prompt: &Prompt) -> Cow<'_, [Message]> {
    match prompt {
        Prompt::Text(text) => Cow::Owned(vec![Message::new("user", text)]),
        Prompt::Messages(messages) => Cow::Borrowed(messages),
    }
}

/// The one question; conversations of more than one user turn have none.
fn one_question<'p>(prompt: &'p Prompt, form: &str) -> Result<&'p str> {
    match prompt {
        Prompt::Text(text) => Ok(text),
        Prompt::Messages(messages) => match messages.as_slice() {
            [one] if one.role == "user" => Ok(&one.content),
            _ => bail!("the {form} template takes one user message, the prompt has {}", messages.len()),
        },
    }
}

/// The paper's "Template for DeepSeek-R1-Zero" (Table 1), on one line, in front of the question.
const R1_ZERO_BEFORE: &str = "A conversation between User and Assistant. The user asks a question, and the Assistant \
solves it. The assistant first thinks about the reasoning process in the mind and then provides the user with the answer. \
The reasoning process and answer are enclosed within <think> </think> and <answer> </answer> tags respectively, i.e., \
<think> reasoning process here </think> <answer> answer here </answer>. User: ";
/// … and behind it.
const R1_ZERO_AFTER: &str = ". Assistant:";

/// Token ids of a conversation, and the ranges of them that are the assistant's.
pub type Marked = (Vec<u32>, Vec<Range<usize>>);

/// How a prompt becomes the text that a policy continues.
#[derive(Clone, Debug)]
pub enum Template {
    /// the paper's plain-text form: it names the tags and ends in `Assistant:`
    R1Zero,
    /// the tokenizer's own chat template, with the generation prompt
    Chat(Arc<Jinja>),
    /// the prompt as it is
    Raw,
    /// a minijinja file that sees `prompt` and `messages`
    File(Arc<Jinja>),
}

impl Template {
    /// Reads a `--template` flag: `r1-zero`, `chat`, `raw`, `auto` (`chat` where the tokenizer has a template, else
    /// `r1-zero`), or the path of a minijinja file.
    ///
    /// # Errors
    /// `chat` without a chat template; a file that cannot be read; a template that does not parse.
    pub fn parse(flag: &str, tokenizer: &Tokenizer) -> Result<Template> {
        let chat = || -> Result<Option<Template>> {
            tokenizer
                .chat_template()
                .map(|source| Ok(Template::Chat(Arc::new(Jinja::parse("chat template", source)?))))
                .transpose()
        };
        match flag {
            "r1-zero" => Ok(Template::R1Zero),
            "raw" => Ok(Template::Raw),
            "auto" => Ok(chat()?.unwrap_or(Template::R1Zero)),
            "chat" => chat()?.ok_or_else(|| {
                anyhow!("--template chat: the policy's tokenizer has no chat template (use r1-zero, raw or a file)")
            }),
            path if Path::new(path).exists() => {
                let source = std::fs::read_to_string(path).with_context(|| path.to_owned())?;
                Ok(Template::File(Arc::new(Jinja::parse(path, &source)?)))
            }
            other => bail!("--template {other}: not r1-zero, chat, raw or auto, and no such file"),
        }
    }

    /// The words of the R1-Zero form with an empty question: what a tokenizer for it should have seen.
    pub fn r1_zero_words() -> String {
        format!("{R1_ZERO_BEFORE}{R1_ZERO_AFTER}")
    }

    /// The same template for a policy that may call `tools`: a row's column of that name. Forms that are no chat have no place
    /// for them.
    pub fn with_tools(&self, tools: &[serde_json::Value]) -> Template {
        match self {
            Template::Chat(jinja) => Template::Chat(Arc::new(jinja.with_tools(tools))),
            Template::File(jinja) => Template::File(Arc::new(jinja.with_tools(tools))),
            other => other.clone(),
        }
    }

    /// The token ids of a whole conversation, and the ranges of them that are the assistant's by the chat template's
    /// `{% generation %}` blocks: every token that shares a character with one. `None` where the template has none.
    /// (transformers leaves out what follows the first token of a span's last character, where that is several tokens.)
    ///
    /// # Errors
    /// What the template refuses; a template that marks nothing.
    pub fn assistant_tokens(&self, messages: &[Message], tokenizer: &Tokenizer) -> Result<Option<Marked>> {
        let Template::Chat(jinja) = self else { return Ok(None) };
        let Some((text, spans)) = jinja.marked(messages, tokenizer)? else { return Ok(None) };
        let (ids, places) = tokenizer.encode_with_places(&text)?;
        let tokens_of = |span: Range<usize>| {
            let start = places.partition_point(|place| place.end <= span.start);
            let end = start + places[start..].partition_point(|place| place.start < span.end);
            start..end
        };
        let ranges = spans.into_iter().map(tokens_of).filter(|range| !range.is_empty());
        Ok(Some((ids, ranges.collect())))
    }

    /// The prompt's text as the policy sees it (BOS only where a chat template writes it).
    pub fn text(&self, prompt: &Prompt, tokenizer: &Tokenizer) -> Result<String> {
        match self {
            Template::R1Zero => {
                Ok(format!("{R1_ZERO_BEFORE}{}{R1_ZERO_AFTER}", one_question(prompt, "r1-zero")?))
            }
            Template::Raw => Ok(one_question(prompt, "raw")?.to_owned()),
            Template::Chat(jinja) => jinja.render(None, &turns(prompt), tokenizer, true),
            Template::File(jinja) => {
                jinja.render(one_question(prompt, "file").ok(), &turns(prompt), tokenizer, true)
            }
        }
    }

    /// The prompt's token ids, BOS exactly once (chat templates write it themselves, as transformers has it).
    pub fn render(&self, prompt: &Prompt, tokenizer: &Tokenizer) -> Result<Vec<u32>> {
        let text = self.text(prompt, tokenizer)?;
        let ids = tokenizer.encode(&text, !matches!(self, Template::Chat(_)))?;
        if ids.is_empty() {
            bail!("the prompt is empty: there is no token to continue");
        }
        Ok(ids)
    }

    /// Token ids of a completion that follows the rendered prompt, without EOS.
    pub fn completion_ids(&self, completion: &str, tokenizer: &Tokenizer) -> Result<Vec<u32>> {
        match self {
            Template::R1Zero => tokenizer.encode(&format!(" {completion}"), false),
            _ => tokenizer.encode(completion, false),
        }
    }

    /// The completion as records carry it: the decoded text of what was sampled, without the space that belongs to the
    /// template.
    pub fn completion_text<'t>(&self, decoded: &'t str) -> &'t str {
        match self {
            Template::R1Zero => decoded.strip_prefix(' ').unwrap_or(decoded),
            _ => decoded,
        }
    }

    /// The start of the answer that the rendered prompt already contains: `<think>` and a line break where a chat
    /// template opens the thinking itself, else nothing.
    pub fn prefill(rendered: &str) -> &str {
        let open = rendered.rfind("<think>").map(|start| &rendered[start..]);
        open.filter(|tail| tail["<think>".len()..].trim().is_empty()).unwrap_or("")
    }

    /// Prompt ids and completion ids of an example; the completion ends in EOS.
    ///
    /// Where the template opens the thinking itself and the completion starts with `<think>` too, the tag is written
    /// once.
    ///
    /// # Errors
    /// A tokenizer without EOS; an empty completion; what [`Template::render`] refuses.
    pub fn render_example(
        &self,
        prompt: &Prompt,
        completion: &str,
        tokenizer: &Tokenizer,
    ) -> Result<(Vec<u32>, Vec<u32>)> {
        let eos = tokenizer.eos().ok_or_else(|| {
            anyhow!("tokenizer_config.json: eos_token is missing, an example could not end")
        })?;
        if completion.is_empty() {
            bail!("the completion is empty");
        }
        let prefill = Self::prefill(&self.text(prompt, tokenizer)?).to_owned();
        let rest = match completion.strip_prefix("<think>") {
            Some(rest) if !prefill.is_empty() => {
                if prefill.ends_with('\n') {
                    rest.strip_prefix('\n').unwrap_or(rest)
                } else {
                    rest
                }
            }
            _ => completion,
        };
        let mut ids = self.completion_ids(rest, tokenizer)?;
        ids.push(eos.id);
        Ok((self.render(prompt, tokenizer)?, ids))
    }
}

#[cfg(test)]
mod tests;
