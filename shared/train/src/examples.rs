//! Examples in words: read, rendered by the policy's template, tokenized.

use std::borrow::Cow;
use std::path::Path;

use anyhow::{Result, bail};
use r1_model::template::{Message, Prompt, Template};
use r1_model::{Config, Tokenizer};
use r1_records::{Reader, RecordError, Row};

use crate::checkpoint::Hashing;
use crate::corpus::{Corpus, Ids};

/// A prompt and what to say to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Example {
    /// what is given
    pub prompt: Prompt,
    /// what is learned
    pub completion: String,
    /// whether the assistant's turns in the prompt are learned too
    pub every_turn: bool,
    /// what the policy may call
    pub tools: Vec<serde_json::Value>,
    /// line in the input, from 1
    pub line: usize,
}

/// Examples and the hash of the input that they came from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Examples {
    /// in the order of the input
    pub list: Vec<Example>,
    /// `sha256:…` of the input's bytes
    pub hash: String,
}

/// The words' side of a policy: tokenizer, template, and what the network can take.
pub struct Words {
    /// the policy's tokenizer
    pub tokenizer: Tokenizer,
    /// how prompts become text
    pub template: Template,
    /// the policy's config
    pub config: Config,
}

/// Reads all rows; `of` makes a row an example, or several, or leaves it out.
///
/// # Errors
/// Exit 2, naming line and field.
pub fn read<I: IntoIterator<Item = Example>>(
    input: &r1_cli::Input,
    mut of: impl FnMut(&Row) -> Result<I, RecordError>,
) -> Result<Examples> {
    let mut bytes = Hashing::new(input.open()?);
    let mut list = Vec::new();
    for row in Reader::new(&mut bytes) {
        list.extend(row.and_then(|row| of(&row)).map_err(|error| input.blame(error))?);
    }
    Ok(Examples { list, hash: bytes.finish() })
}

/// A row with `prompt` and `completion`, or `messages` that end with the assistant's turn.
///
/// # Errors
/// Naming the field that is missing or misshapen.
pub fn imitated(row: &Row) -> Result<Option<Example>, RecordError> {
    let r1_records::Example { prompt, completion } = row.example()?;
    Example::of(row, prompt, completion).map(Some)
}

/// As [`imitated`], with every turn of the assistant to be learned.
///
/// # Errors
/// Those of [`imitated`].
pub fn every_turn(row: &Row) -> Result<Option<Example>, RecordError> {
    Ok(imitated(row)?.map(|example| Example { every_turn: true, ..example }))
}

impl Example {
    /// What a row's prompt and what it says of tools come to, with something to say.
    ///
    /// # Errors
    /// A misshapen `tools`.
    pub fn of(row: &Row, prompt: Prompt, completion: String) -> Result<Example, RecordError> {
        Ok(Example { prompt, completion, every_turn: false, tools: row.tools()?, line: row.line() })
    }

    /// The turns, the one that is learned at their end.
    fn conversation(&self) -> Vec<Message> {
        let mut turns = match &self.prompt {
            Prompt::Text(text) => vec![Message::new("user", text)],
            Prompt::Messages(turns) => turns.clone(),
        };
        turns.push(Message::new("assistant", &self.completion));
        turns
    }

    /// Every turn of the assistant as an example of its own, given what came before it: the template decides what the policy
    /// sees of earlier turns (many cut their thinking), as it will when it speaks.
    fn turns(&self) -> Vec<(Prompt, &str)> {
        let mut list = Vec::new();
        if let (Prompt::Messages(turns), true) = (&self.prompt, self.every_turn) {
            let earlier = turns.iter().enumerate().filter(|(i, turn)| *i > 0 && turn.role == "assistant");
            list.extend(
                earlier.map(|(i, turn)| (Prompt::Messages(turns[..i].to_vec()), turn.content.as_str())),
            );
        }
        list.push((self.prompt.clone(), &self.completion));
        list
    }
}

impl Words {
    /// Loads tokenizer and config of a policy, and the template that the flag names.
    ///
    /// # Errors
    /// Exit 2: no tokenizer, one that does not fit the network, an unknown template.
    pub fn load(policy: &Path, template: &str) -> Result<Words> {
        let wrong = |e: anyhow::Error| {
            r1_cli::misuse(format!("{e:#}"), "name a whole policy directory (see r1-init)")
        };
        let config = Config::load(policy).map_err(wrong)?;
        let tokenizer = Tokenizer::load(policy).map_err(wrong)?;
        tokenizer.check_fits(&config).map_err(wrong)?;
        let template = Template::parse(template, &tokenizer)
            .map_err(|e| r1_cli::misuse(format!("{e:#}"), "see --help for the templates"))?;
        Ok(Words { tokenizer, template, config })
    }

    /// Token ids of an example; the completion ends in EOS.
    ///
    /// # Errors
    /// When the template refuses the prompt, or the tokenizer has no EOS.
    pub fn ids(&self, example: &Example) -> Result<Ids> {
        self.template(example).render_example(&example.prompt, &example.completion, &self.tokenizer)
    }

    /// Token ids of all that an example teaches: of every turn where that is asked for. Where the chat template marks what the
    /// assistant says (`{% generation %}`), its marks decide: each span is a completion, and the conversation up to it its prompt.
    ///
    /// # Errors
    /// Those of [`Words::ids`].
    pub fn all_ids(&self, example: &Example) -> Result<Vec<Ids>> {
        let template = self.template(example);
        if example.every_turn
            && let Some((ids, spans)) = template.assistant_tokens(&example.conversation(), &self.tokenizer)?
        {
            if spans.first().is_none_or(|span| span.start == 0) {
                bail!(
                    "the chat template has no token before the assistant's first: there is nothing to learn it from"
                );
            }
            return Ok(spans.into_iter().map(|s| (ids[..s.start].to_vec(), ids[s].to_vec())).collect());
        }
        let turns = example.turns().into_iter();
        turns.map(|(prompt, said)| template.render_example(&prompt, said, &self.tokenizer)).collect()
    }

    /// The template, which knows the example's tools where it has some.
    fn template(&self, example: &Example) -> Cow<'_, Template> {
        match example.tools.as_slice() {
            [] => Cow::Borrowed(&self.template),
            tools => Cow::Owned(self.template.with_tools(tools)),
        }
    }

    /// Tokenizes examples; those longer than `max_length` tokens are left out, and their number comes back.
    ///
    /// # Errors
    /// Exit 2: an example that cannot be rendered (naming its line), or none that is short enough.
    pub fn corpus(
        &self,
        examples: &Examples,
        input: &r1_cli::Input,
        max_length: Option<usize>,
    ) -> Result<(Corpus, usize)> {
        let most = self.config.max_position_embeddings;
        let max_length = max_length.unwrap_or(most).min(most);
        let list = &examples.list;
        let all = Corpus::tokenize(list.len(), |i| self.all_ids(&list[i])).map_err(|(i, error)| {
            let remedy = "mend the row, or choose another --template";
            input.blame(RecordError::new(format!("{error:#}"), remedy).at_line(list[i].line))
        })?;
        let mut corpus = Corpus::default();
        let mut longest = 0;
        let turns =
            list.iter().zip(&all).flat_map(|(example, all)| all.iter().map(|one| (example.line, one)));
        let mut count = 0;
        for (line, (prompt, completion)) in turns {
            count += 1;
            longest = longest.max(prompt.len() + completion.len());
            if prompt.len() + completion.len() <= max_length {
                corpus.push(prompt, completion, line);
            }
        }
        if corpus.is_empty() {
            let fact = format!("no example fits into {max_length} tokens (the longest has {longest})");
            return Err(r1_cli::bad_input(input.name(), fact, "raise --max-length"));
        }
        let left_out = count - corpus.len();
        if left_out > 0 {
            r1_cli::warn(&format!(
                "{}: {left_out} of {count} examples left out: longer than {max_length} tokens (the longest has {longest})",
                input.name()
            ));
        }
        Ok((corpus, left_out))
    }
}
