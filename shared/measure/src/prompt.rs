//! What the completions of one prompt tell.

use r1_records::{FinishReason, Group, RecordError};

/// One judged completion.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// Whether `reward.accuracy` is 1.
    pub correct: bool,
    /// `reward.answer`, where the verifier found one.
    pub answer: Option<String>,
}

/// One prompt: its judged completions, and the other numbers of all its completions.
#[derive(Clone, Debug, Default)]
pub struct Prompt {
    /// The group's id.
    pub id: String,
    /// Hash of prompt and answer, where the rows have a prompt.
    pub fingerprint: Option<u64>,
    /// Which verifier judges it.
    pub task: String,
    /// Completions with an accuracy.
    pub samples: Vec<Sample>,
    /// Completions without one.
    pub unjudged: usize,
    /// Lengths in tokens, where they are known.
    pub tokens: Vec<f64>,
    /// Lengths in characters.
    pub characters: Vec<f64>,
    /// 1 for a completion that ended by itself, 0 for one that the token limit ended.
    pub finished: Vec<f64>,
    /// `reward.format`.
    pub format: Vec<f64>,
    /// `reward.language`.
    pub language: Vec<f64>,
    /// `reward.total`.
    pub totals: Vec<f64>,
    /// The distinct (temperature, top-p) that the completions were drawn with, in the order of the rows.
    pub drawn: Vec<(f32, f32)>,
}

impl Prompt {
    /// Reads a group of rewarded rows. Errors: a row without `reward`, or a section that cannot be read.
    pub fn of(group: &Group) -> Result<Prompt, RecordError> {
        let first = &group.rows[0];
        let fingerprint = first.prompt_column().map(|_| first.fingerprint()).transpose()?;
        let mut prompt =
            Prompt { id: group.id.clone(), fingerprint, task: first.task()?, ..Prompt::default() };
        for row in &group.rows {
            let reward = row.reward()?;
            match reward.part("accuracy") {
                Some(accuracy) => {
                    prompt.samples.push(Sample { correct: accuracy == 1.0, answer: reward.answer.clone() })
                }
                None => prompt.unjudged += 1,
            }
            prompt.format.extend(reward.part("format"));
            prompt.language.extend(reward.part("language"));
            prompt.totals.extend(reward.total);
            if !row.has("rollout") {
                continue;
            }
            let rollout = row.outline()?;
            prompt.tokens.extend(rollout.completion_tokens.map(|count| count as f64));
            prompt.characters.push(rollout.completion.chars().count() as f64);
            prompt
                .finished
                .extend(rollout.finish_reason.map(|why| f64::from(u8::from(why == FinishReason::Stop))));
            if let (Some(temperature), Some(top_p)) = (rollout.temperature, rollout.top_p)
                && !prompt.drawn.contains(&(temperature, top_p))
            {
                prompt.drawn.push((temperature, top_p));
            }
        }
        Ok(prompt)
    }

    /// How many judged completions are correct.
    pub fn correct(&self) -> usize {
        self.samples.iter().filter(|sample| sample.correct).count()
    }
}
