//! Reward models: a config under a classifier's head, in transformers' words.

use anyhow::{Result, bail};
use serde_json::{Map, Value, json};

use super::fields::{Fields, shown};
use super::{Config, Head};

/// End of the architecture's name of a network that continues text.
pub(super) const GENERATES: &str = "ForCausalLM";
/// End of the architecture's name of a network that scores text.
pub(super) const CLASSIFIES: &str = "ForSequenceClassification";

/// Names of the labels: `id2label`; else `num_labels` of them, or two, called as transformers calls them.
pub(super) fn labels(top: Fields) -> Result<Vec<String>> {
    let Some(map) = top.get("id2label") else {
        let count = match top.count("num_labels")? {
            Some(0) => bail!("num_labels: must be at least 1"),
            count => count.unwrap_or(2),
        };
        return Ok((0..count).map(|i| format!("LABEL_{i}")).collect());
    };
    let wrong = || format!("id2label: expected {{\"0\": name, \"1\": name …}}, found {}", shown(map));
    let Some(map) = map.as_object().filter(|map| !map.is_empty()) else { bail!("{}", wrong()) };
    let name = |i: usize| map.get(&i.to_string()).and_then(Value::as_str).map(str::to_owned);
    match (0..map.len()).map(name).collect() {
        Some(labels) => Ok(labels),
        None => bail!("{}", wrong()),
    }
}

/// The padding token; transformers writes -1 for none in some old files.
pub(super) fn pad(top: Fields) -> Result<Option<u32>> {
    match top.get("pad_token_id").and_then(Value::as_i64) {
        Some(-1) => Ok(None),
        _ => Ok(top.token_ids("pad_token_id")?.first().copied()),
    }
}

impl Config {
    /// Names of the labels that are scored; empty for a network that continues text.
    pub fn labels(&self) -> &[String] {
        match &self.head {
            Head::Vocabulary => &[],
            Head::Score { labels } => labels,
        }
    }

    /// The same network under a classifier's head. `pad` is the padding token where the config names none: transformers
    /// scores no batch without one.
    ///
    /// # Errors
    /// When the config is a classifier's already, or there is no label.
    pub fn with_score_head(&self, labels: &[&str], pad: Option<u32>) -> Result<Config> {
        if self.head != Head::Vocabulary || labels.is_empty() {
            bail!("a classifier's head needs a network that has none, and at least one label");
        }
        let mut raw = self.raw.clone();
        let name = raw["architectures"][0].as_str().unwrap_or_default();
        raw["architectures"] = json!([name.replace(GENERATES, CLASSIFIES)]);
        let by_id: Map<String, Value> =
            labels.iter().enumerate().map(|(i, l)| (i.to_string(), json!(l))).collect();
        let by_name: Map<String, Value> =
            labels.iter().enumerate().map(|(i, l)| ((*l).to_owned(), json!(i))).collect();
        raw["id2label"] = by_id.into();
        raw["label2id"] = by_name.into();
        let pad_token_id = self.pad_token_id.or(pad);
        if let Some(pad) = pad_token_id {
            raw["pad_token_id"] = pad.into();
        }
        let labels = labels.iter().map(|l| (*l).to_owned()).collect();
        Ok(Config { head: Head::Score { labels }, pad_token_id, raw, ..self.clone() })
    }
}
