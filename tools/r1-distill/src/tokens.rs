//! Rows as tokens, with what the teacher says of each: nothing that was sampled is tokenized again.

use anyhow::Result;
use r1_model::{Config, Tokenizer};
use r1_records::{Reader, RecordError, Rollout, Row, Scores};
use r1_train::checkpoint::Hashing;
use r1_train::corpus::{Corpus, Ids};
use r1_train::examples::Words;

use crate::loss::{Flags, Loss};
use crate::teach::{Count, Lesson, judged, taught};

/// What is known of one row besides its tokens.
pub struct Known {
    /// 1 / temperature that the row was sampled at, and scored at; 1 for greedy rows
    pub inv_temperature: f32,
    /// log-probabilities (nats) of the tokens when they were drawn; empty where the loss has no use for them
    pub drawn: Vec<f32>,
    /// the teacher's scores; empty where it is live
    pub teacher: Scores,
}

/// Rows in tokens.
#[derive(Default)]
pub struct Rows {
    /// the tokens
    pub corpus: Corpus,
    /// one for each of them
    pub known: Vec<Known>,
}

/// How rows are read.
pub struct Reading<'a> {
    /// the loss
    pub flags: &'a Flags,
    /// which rows
    pub lesson: &'a Lesson,
    /// the student's tokenizer and template
    pub words: &'a Words,
    /// the live teacher's config
    pub teacher: Option<&'a Config>,
    /// longest row in tokens
    pub max_length: usize,
}

/// Why tokens of another vocabulary are refused.
const ONE_TOKENIZER: &str =
    "use --loss text, or give the student the teacher's tokenizer (r1-init --tokenizer DIR)";

/// The hash of the input, before any of it is understood: it names the run.
pub fn read(input: &r1_cli::Input) -> Result<(Vec<Row>, String)> {
    let mut bytes = Hashing::new(input.open()?);
    let rows: Result<Vec<Row>, RecordError> = Reader::new(&mut bytes).collect();
    Ok((rows.map_err(|error| input.blame(error))?, bytes.finish()))
}

impl Reading<'_> {
    /// Makes rows tokens; refused ones are counted.
    ///
    /// # Errors
    /// What a row lacks, or has wrong.
    pub fn take(&self, rows: &[Row], count: &mut Count) -> Result<Rows, RecordError> {
        let mut taken = Rows::default();
        for row in rows {
            if !judged(row, self.lesson, count)? {
                continue;
            }
            let Some(((prompt, completion), known)) = self.tokens(row, count)? else { continue };
            self.check_ids(row, &prompt, &completion)?;
            if prompt.len() + completion.len() > self.max_length {
                count.too_long += 1;
                continue;
            }
            count.used += 1;
            taken.corpus.push(&prompt, &completion, row.line());
            taken.known.push(known);
        }
        Ok(taken)
    }

    /// Prompt, completion and what is known of a row; `None`, counted, where it says nothing. A live teacher can say its part to
    /// any text: rows without ids are tokenized as the student's examples are.
    fn tokens(&self, row: &Row, count: &mut Count) -> Result<Option<(Ids, Known)>, RecordError> {
        let live = self.flags.teacher.is_some();
        let has_ids = match row.has("rollout") {
            true => row.outline()?.completion_tokens.is_some(),
            false => false,
        };
        if live && !has_ids {
            let Some(example) = taught(row, &Lesson { correct_only: false, ..self.lesson.clone() }, count)?
            else {
                return Ok(None);
            };
            count.used -= 1;
            let ids = self.words.ids(&example);
            let ids = ids.map_err(|e| row.error(format!("{e:#}"), "mend the row"))?;
            return Ok(Some((ids, Known::of(1.0))));
        }
        let rollout = row.rollout()?;
        let inv_temperature = match rollout.temperature {
            Some(t) if t > 0.0 => 1.0 / t,
            _ => 1.0,
        };
        let Rollout { completion: text, prompt_ids, completion_ids, logprobs, .. } = rollout;
        let (Some(prompt), Some(completion)) = (prompt_ids, completion_ids) else {
            let fact = "no prompt_ids and completion_ids, which log-probabilities belong to";
            return Err(row.error_in("rollout", fact, "sample with r1-rollout, or use --loss text"));
        };
        if completion.is_empty() {
            count.empty += 1;
            return Ok(None);
        }
        self.check_spelling(row, &text, &completion)?;
        let mut known = Known::of(inv_temperature);
        if !live {
            known.teacher = self.scores(row, completion.len(), inv_temperature)?;
        }
        if self.flags.loss == Loss::PolicyGradient {
            known.drawn = logprobs.ok_or_else(|| {
                row.error_in("rollout", "no logprobs, which the log-ratio needs", "sample with r1-rollout")
            })?;
        }
        Ok(Some(((prompt, completion), known)))
    }

    /// The teacher's scores in a row, checked.
    fn scores(&self, row: &Row, tokens: usize, inv_temperature: f32) -> Result<Scores, RecordError> {
        let again = "run r1-rollout TEACHER --score teacher --top N on the rows, or give --teacher DIR";
        let scores = row.scores("teacher")?.ok_or_else(|| row.error("no `teacher`", again))?;
        let wrong = |fact: String| row.error_in("teacher", fact, again);
        if scores.logprobs.len() != tokens {
            return Err(wrong(format!("{} logprobs for {tokens} completion_ids", scores.logprobs.len())));
        }
        if self.flags.loss == Loss::PolicyGradient {
            return Ok(Scores { top_ids: None, top_logprobs: None, ..scores });
        }
        if let Some(t) = self.flags.temperature
            && 1.0 / t as f32 != inv_temperature
        {
            let fact = format!("scored at temperature {}, not {t}", 1.0 / inv_temperature);
            return Err(row.error_in("teacher", fact, "leave --temperature out, or give --teacher DIR"));
        }
        let (Some(ids), Some(logprobs)) = (&scores.top_ids, &scores.top_logprobs) else {
            return Err(wrong("no top_ids and top_logprobs".to_string()));
        };
        for (token, (ids, logprobs)) in ids.iter().zip(logprobs).enumerate() {
            let mut sorted = ids.clone();
            sorted.sort_unstable();
            let mass: f64 = logprobs.iter().map(|&x| f64::from(x).exp()).sum();
            let fact = if ids.is_empty() {
                "no tokens".to_string()
            } else if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
                "a token twice".to_string()
            } else if sorted[sorted.len() - 1] as usize >= self.words.config.vocab_size {
                format!("token {}, beyond the student's vocabulary", sorted[sorted.len() - 1])
            } else if mass > 1.001 {
                format!("a mass of {mass:.3}, more than 1")
            } else {
                continue;
            };
            return Err(wrong(format!("the list of completion token {token} has {fact}")));
        }
        Ok(scores)
    }

    /// Errors unless every id is one of the student's, and of the live teacher's.
    fn check_ids(&self, row: &Row, prompt: &[u32], completion: &[u32]) -> Result<(), RecordError> {
        for config in [Some(&self.words.config), self.teacher].into_iter().flatten() {
            let most = config.vocab_size;
            if let Some(id) = prompt.iter().chain(completion).find(|&&id| id as usize >= most) {
                let fact = format!("token id {id}, but a vocabulary of {most}");
                return Err(row.error(fact, ONE_TOKENIZER));
            }
        }
        if prompt.is_empty() {
            return Err(row.error("an empty prompt", "give the policy at least one token"));
        }
        Ok(())
    }

    /// Errors unless the student's tokenizer reads the ids as the text that the sampler's tokenizer read.
    fn check_spelling(&self, row: &Row, text: &str, completion: &[u32]) -> Result<(), RecordError> {
        if text.is_empty() {
            return Ok(());
        }
        let tokenizer = &self.words.tokenizer;
        let stops = tokenizer.stop_ids(&self.words.config);
        let ids = match completion.split_last() {
            Some((last, rest)) if stops.contains(last) => rest,
            _ => completion,
        };
        let read = tokenizer.decode(ids, true).unwrap_or_default();
        if read.trim() == text.trim() {
            return Ok(());
        }
        let fact = format!("the student's tokenizer reads completion_ids otherwise: {:?}", short(&read));
        Err(row.error_in("rollout", fact, ONE_TOKENIZER))
    }
}

impl Known {
    fn of(inv_temperature: f32) -> Known {
        Known { inv_temperature, drawn: Vec::new(), teacher: Scores::default() }
    }
}

/// The beginning of a text.
fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

/// Errors unless teacher and student have the same token under every id.
///
/// # Errors
/// Exit 2, naming the first token that differs.
pub fn check_one_tokenizer(teacher: &Tokenizer, student: &Tokenizer) -> Result<()> {
    for id in 0..teacher.vocab_size().max(student.vocab_size()) as u32 {
        let (theirs, ours) = (teacher.id_to_token(id), student.id_to_token(id));
        if theirs != ours {
            let name = |token: Option<String>| token.map_or("nothing".to_string(), |t| format!("{t:?}"));
            let fact = format!(
                "teacher and student have different tokenizers: token {id} is {} and {}",
                name(theirs),
                name(ours)
            );
            return Err(r1_cli::misuse(fact, ONE_TOKENIZER));
        }
    }
    Ok(())
}

/// What a row lacks, as an error of the tool.
pub fn blame(input: &r1_cli::Input) -> impl Fn(RecordError) -> anyhow::Error + '_ {
    |error| input.blame(error)
}
