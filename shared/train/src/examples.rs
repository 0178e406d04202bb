//! Examples in words: read, rendered by the policy's template, tokenized.

use std::path::Path;

use anyhow::Result;
use r1_model::template::{Prompt, Template};
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
    Ok(Some(Example { prompt, completion, line: row.line() }))
}

/// Every turn of the assistant in `messages` as an example of its own, given what came before it: the template decides what the
/// policy sees of earlier turns (many cut their thinking), as it will when it speaks. Other rows have one turn.
///
/// # Errors
/// Those of [`imitated`].
pub fn every_turn(row: &Row) -> Result<Vec<Example>, RecordError> {
    let Some(last) = imitated(row)? else { return Ok(Vec::new()) };
    let Prompt::Messages(turns) = &last.prompt else { return Ok(vec![last]) };
    let earlier = turns.iter().enumerate().filter(|(i, turn)| *i > 0 && turn.role == "assistant");
    let mut examples: Vec<Example> = earlier
        .map(|(i, turn)| Example {
            prompt: Prompt::Messages(turns[..i].to_vec()),
            completion: turn.content.clone(),
            line: last.line,
        })
        .collect();
    examples.push(last);
    Ok(examples)
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
        self.template.render_example(&example.prompt, &example.completion, &self.tokenizer)
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
        let all = Corpus::tokenize(list.len(), |i| self.ids(&list[i])).map_err(|(i, error)| {
            let remedy = "mend the row, or choose another --template";
            input.blame(RecordError::new(format!("{error:#}"), remedy).at_line(list[i].line))
        })?;
        let mut corpus = Corpus::default();
        let mut longest = 0;
        for (example, (prompt, completion)) in list.iter().zip(&all) {
            longest = longest.max(prompt.len() + completion.len());
            if prompt.len() + completion.len() <= max_length {
                corpus.push(prompt, completion, example.line);
            }
        }
        if corpus.is_empty() {
            let fact = format!("no example fits into {max_length} tokens (the longest has {longest})");
            return Err(r1_cli::bad_input(input.name(), fact, "raise --max-length"));
        }
        let left_out = all.len() - corpus.len();
        if left_out > 0 {
            r1_cli::warn(&format!(
                "{}: {left_out} of {} examples left out: longer than {max_length} tokens (the longest has {longest})",
                input.name(),
                all.len()
            ));
        }
        Ok((corpus, left_out))
    }
}
