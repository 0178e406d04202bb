//! The sections `rollout` and those of `r1-rollout --score KEY`. Each has known fields only: an unknown one is an error, so that a typing error
//! or a newer writer is noticed where it is read.

use serde::de::{Deserializer, Error as _, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a completion ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FinishReason {
    /// The policy ended it: an end-of-sequence token or a stop string.
    Stop,
    /// It ran into the token limit.
    Length,
}

/// `rollout`: one sampled completion. Only the text is required, so that completions made elsewhere can be judged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rollout {
    /// Which sample of its group this is, from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<u32>,
    /// The text, without the end-of-sequence token.
    pub completion: String,
    /// The tokens the policy was given: the rendered template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt_ids: Option<Vec<u32>>,
    /// The tokens it sampled, the end-of-sequence token included where it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_ids: Option<Vec<u32>>,
    /// log-probability (nats) of each completion token under the distribution it was drawn from before truncation by top-p and
    /// its like, at the sampling temperature; f32, written so that the same bits are read back.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "finite_list")]
    pub logprobs: Option<Vec<f32>>,
    /// Why it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<FinishReason>,
    /// The sampling temperature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f32>,
    /// The share of probability that nucleus sampling kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f32>,
    /// The run's seed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// `sha256:` and the hash of the weights that sampled it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
}

impl Rollout {
    /// What is inconsistent, in words; nothing where the section is in order.
    pub fn check(&self) -> Result<(), String> {
        if [self.temperature, self.top_p].into_iter().flatten().any(|value| !value.is_finite()) {
            return Err("`rollout` has a temperature or top_p beyond f32".to_string());
        }
        match (&self.completion_ids, &self.logprobs) {
            (Some(ids), Some(logprobs)) if ids.len() != logprobs.len() => {
                Err(format!("`rollout` has {} logprobs for {} completion_ids", logprobs.len(), ids.len()))
            }
            (None, Some(_)) => Err("`rollout` has logprobs but no completion_ids".to_string()),
            _ => Ok(()),
        }
    }
}

/// `rollout` without its arrays. Reads the same section under the same rules, but skips over the numbers.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Outline {
    /// Which sample of its group this is, from 0.
    #[serde(default)]
    pub sample: Option<u32>,
    /// The text.
    pub completion: String,
    #[serde(default, rename = "prompt_ids")]
    _prompt_ids: Option<IgnoredAny>,
    /// How many tokens were sampled, where the section has them.
    #[serde(default, rename = "completion_ids", deserialize_with = "count")]
    pub completion_tokens: Option<usize>,
    #[serde(default, rename = "logprobs")]
    _logprobs: Option<IgnoredAny>,
    /// Why it ended.
    #[serde(default)]
    pub finish_reason: Option<FinishReason>,
    /// The sampling temperature.
    #[serde(default)]
    pub temperature: Option<f32>,
    /// The share of probability that nucleus sampling kept.
    #[serde(default)]
    pub top_p: Option<f32>,
    #[serde(default, rename = "seed")]
    _seed: Option<u64>,
    /// `sha256:` and the hash of the weights that sampled it.
    #[serde(default)]
    pub policy: Option<String>,
}

/// Log-probabilities of a given completion under another policy: `reference`, or whatever key `r1-rollout --score` was given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scores {
    /// log-probability (nats) of each completion token.
    #[serde(deserialize_with = "finite_vec")]
    pub logprobs: Vec<f32>,
    /// `sha256:` and the hash of the weights that scored it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// For each completion token, the ids of the most probable tokens, most probable first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_ids: Option<Vec<Vec<u32>>>,
    /// Their log-probabilities (nats).
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "finite_rows")]
    pub top_logprobs: Option<Vec<Vec<f32>>>,
}

impl Scores {
    /// What is inconsistent, in words; nothing where the section is in order.
    pub fn check(&self) -> Result<(), String> {
        let (ids, logprobs) = match (&self.top_ids, &self.top_logprobs) {
            (None, None) => return Ok(()),
            (Some(ids), Some(logprobs)) => (ids, logprobs),
            _ => return Err("top_ids and top_logprobs must come together".to_string()),
        };
        if ids.len() != self.logprobs.len() || logprobs.len() != self.logprobs.len() {
            return Err(format!("{} rows of top_ids for {} logprobs", ids.len(), self.logprobs.len()));
        }
        match ids.iter().zip(logprobs).position(|(i, l)| i.len() != l.len()) {
            Some(at) => {
                Err(format!("token {at}: {} top_ids for {} top_logprobs", ids[at].len(), logprobs[at].len()))
            }
            None => Ok(()),
        }
    }
}

/// A list of f32; a number that f32 cannot hold is an error rather than an infinity.
fn finite_vec<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<f32>, D::Error> {
    let list: Vec<f32> = Vec::deserialize(deserializer)?;
    match list.iter().position(|value| !value.is_finite()) {
        Some(at) => Err(D::Error::custom(format!("number {at} of the list is beyond f32"))),
        None => Ok(list),
    }
}

/// [`finite_vec`] or null.
fn finite_list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<f32>>, D::Error> {
    let list: Option<Vec<f32>> = Option::deserialize(deserializer)?;
    match list.as_ref().and_then(|list| list.iter().position(|value| !value.is_finite())) {
        Some(at) => Err(D::Error::custom(format!("number {at} of the list is beyond f32"))),
        None => Ok(list),
    }
}

/// [`finite_vec`] for each row, or null.
fn finite_rows<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Vec<f32>>>, D::Error> {
    let rows: Option<Vec<Vec<f32>>> = Option::deserialize(deserializer)?;
    let bad = |row: &Vec<f32>| row.iter().any(|value| !value.is_finite());
    match rows.as_ref().and_then(|rows| rows.iter().position(bad)) {
        Some(at) => Err(D::Error::custom(format!("row {at} holds a number beyond f32"))),
        None => Ok(rows),
    }
}

/// The length of a list, or null, without building it.
fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<usize>, D::Error> {
    struct Length;
    impl<'de> Visitor<'de> for Length {
        type Value = usize;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of token ids")
        }

        fn visit_seq<S: SeqAccess<'de>>(self, mut items: S) -> Result<usize, S::Error> {
            let mut length = 0;
            while items.next_element::<IgnoredAny>()?.is_some() {
                length += 1;
            }
            Ok(length)
        }
    }
    struct Counted(usize);
    impl<'de> Deserialize<'de> for Counted {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            deserializer.deserialize_seq(Length).map(Counted)
        }
    }
    Ok(Option::<Counted>::deserialize(deserializer)?.map(|counted| counted.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Row;

    #[test]
    fn logprobs_read_back_to_the_same_bits() {
        // A fixed walk over f32 bit patterns: subnormals, huge and tiny values, both signs.
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut logprobs = vec![-0.0, f32::MIN_POSITIVE, f32::from_bits(1), f32::MAX, f32::MIN, -1.5e-7];
        while logprobs.len() < 20_000 {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let value = f32::from_bits((state >> 32) as u32);
            if value.is_finite() {
                logprobs.push(value);
            }
        }
        let mut row = Row::default();
        row.set("reference", &Scores { logprobs: logprobs.clone(), ..Scores::default() }).unwrap();
        let read = row.reference().unwrap().unwrap().logprobs;
        let same = logprobs.iter().zip(&read).all(|(a, b)| a.to_bits() == b.to_bits());
        assert!(same && read.len() == logprobs.len());
    }

    #[test]
    fn a_rollout_is_read_whole_or_in_outline() {
        let text = concat!(
            r#"{"rollout":{"sample":2,"completion":"x","prompt_ids":[1,2],"completion_ids":[3,4,5],"logprobs":[-0.1,-0.2,-3],"#,
            r#""finish_reason":"length","temperature":0.7,"top_p":1.0,"seed":7,"policy":"sha256:ab"}}"#
        );
        let row = Row::parse(text).unwrap();
        let rollout = row.rollout().unwrap();
        assert_eq!(rollout.logprobs.as_deref(), Some(&[-0.1f32, -0.2, -3.0][..]));
        assert_eq!(rollout.temperature, Some(0.7f32));
        let outline = row.outline().unwrap();
        assert_eq!(outline.completion_tokens, Some(3));
        assert_eq!((outline.sample, outline.finish_reason), (Some(2), Some(FinishReason::Length)));
        let mut again = Row::default();
        again.set("rollout", &rollout).unwrap();
        assert_eq!(again.text(), text.replace("-3]", "-3.0]"));
    }

    #[test]
    fn sections_know_their_fields() {
        for bad in [
            r#"{"rollout":{"completion":"x","reward":1}}"#,
            r#"{"rollout":{"sample":0}}"#,
            r#"{"rollout":{"completion":"x","sample":-1}}"#,
            r#"{"rollout":{"completion":7}}"#,
            r#"{"rollout":{"completion":"x","completion":"y"}}"#,
            r#"{"rollout":{"completion":"x","finish_reason":"eos"}}"#,
            r#"{"rollout":[]}"#,
            r#"{"prompt":"x"}"#,
        ] {
            let row = Row::parse(bad).unwrap();
            assert!(row.rollout().is_err() && row.outline().is_err(), "{bad}");
        }
        for bad in [
            r#"{"rollout":{"completion":"x","completion_ids":[1],"logprobs":[-1,-2]}}"#,
            r#"{"rollout":{"completion":"x","logprobs":[-1]}}"#,
            r#"{"rollout":{"completion":"x","completion_ids":[1],"logprobs":[-1e39]}}"#,
        ] {
            assert!(Row::parse(bad).unwrap().rollout().is_err(), "{bad}");
        }
        let error =
            Row::parse_at(r#"{"rollout":{"completion":"x","sampel":0}}"#, 3).unwrap().rollout().unwrap_err();
        assert!(error.to_string().starts_with("3:"), "{error}");
        assert!(error.to_string().contains("`sampel`"), "{error}");
    }
}
