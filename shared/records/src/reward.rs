//! The sections whose fields are named by rewards and by judging models: `reward` and `judgement`.

use crate::number::finite;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `reward`: the weighted total, the raw parts it was made of, and the answer that was found in the completion.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reward {
    /// Weighted sum of the parts; absent where no part could be judged, and the completion then counts for nothing.
    pub total: Option<f64>,
    /// Raw, unweighted parts in the order in which they were written: `accuracy`, `format`, `language` … A part that could not
    /// be judged is absent.
    pub parts: Vec<(String, f64)>,
    /// The final answer that the verifier found in the completion.
    pub answer: Option<String>,
}

impl Reward {
    /// A raw part by its name, where it is there.
    pub fn part(&self, name: &str) -> Option<f64> {
        self.parts.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
    }
}

impl Serialize for Reward {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(total) = self.total {
            map.serialize_entry("total", &Finite(total))?;
        }
        for (name, value) in &self.parts {
            map.serialize_entry(name, &Finite(*value))?;
        }
        if let Some(answer) = &self.answer {
            map.serialize_entry("answer", answer)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Reward {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Reward;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of numbers, with `total` and perhaps the text `answer`")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Reward, M::Error> {
                let mut reward = Reward::default();
                let mut seen: Vec<String> = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if seen.contains(&name) {
                        return Err(M::Error::custom(format!("the key `{name}` comes twice")));
                    }
                    match name.as_str() {
                        "total" => reward.total = map.next_value()?,
                        "answer" => reward.answer = map.next_value()?,
                        _ => reward.parts.push((name.clone(), map.next_value()?)),
                    }
                    seen.push(name);
                }
                Ok(reward)
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

/// One opinion of a judging model.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum Opinion {
    /// A score.
    Number(f64),
    /// A verdict or its reason.
    Text(String),
}

impl Serialize for Opinion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Opinion::Number(value) => finite(*value, serializer),
            Opinion::Text(text) => serializer.serialize_str(text),
        }
    }
}

/// `judgement`: what models think of a completion, each opinion under its name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judgement {
    /// Names and opinions, in the order in which they were written.
    pub opinions: Vec<(String, Opinion)>,
}

impl Judgement {
    /// The number under a name, where there is one.
    pub fn number(&self, name: &str) -> Option<f64> {
        match self.opinions.iter().find(|(known, _)| known == name) {
            Some((_, Opinion::Number(value))) => Some(*value),
            _ => None,
        }
    }

    /// The text under a name, where there is one.
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.opinions.iter().find(|(known, _)| known == name) {
            Some((_, Opinion::Text(text))) => Some(text),
            _ => None,
        }
    }
}

impl Serialize for Judgement {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.opinions.iter().map(|(name, opinion)| (name, opinion)))
    }
}

impl<'de> Deserialize<'de> for Judgement {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Judgement;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of numbers and texts")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Judgement, M::Error> {
                let mut judgement = Judgement::default();
                while let Some(name) = map.next_key::<String>()? {
                    if judgement.opinions.iter().any(|(known, _)| *known == name) {
                        return Err(M::Error::custom(format!("the key `{name}` comes twice")));
                    }
                    judgement.opinions.push((name, map.next_value()?));
                }
                Ok(judgement)
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

/// An f64 that refuses to be written when it is not finite, naming the number.
struct Finite(f64);

impl Serialize for Finite {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        finite(self.0, serializer)
    }
}

#[cfg(test)]
mod tests {
    use crate::{Row, to_json};

    #[test]
    fn rewards_keep_the_order_of_their_parts() {
        let row = Row::parse(r#"{"reward":{"format":1,"total":1.1,"accuracy":1.0,"answer":"14"}}"#).unwrap();
        let reward = row.reward().unwrap();
        assert_eq!(reward.part("accuracy"), Some(1.0));
        assert_eq!(to_json(&reward).unwrap(), r#"{"total":1.1,"format":1.0,"accuracy":1.0,"answer":"14"}"#);
        assert_eq!(Row::parse(r#"{"reward":{"total":null}}"#).unwrap().reward().unwrap().total, None);
        for bad in
            [r#"{"reward":{"accuracy":"1"}}"#, r#"{"reward":{"a":1,"a":2}}"#, r#"{"reward":{"answer":14}}"#]
        {
            assert!(Row::parse(bad).unwrap().reward().is_err(), "{bad}");
        }
    }

    #[test]
    fn judgements_hold_numbers_and_texts() {
        let text = r#"{"judgement":{"helpful":0.7,"verdict":"correct"}}"#;
        let judgement = Row::parse(text).unwrap().judgement().unwrap().unwrap();
        assert_eq!((judgement.number("helpful"), judgement.text("verdict")), (Some(0.7), Some("correct")));
        assert_eq!(to_json(&judgement).unwrap(), r#"{"helpful":0.7,"verdict":"correct"}"#);
        assert!(Row::parse(r#"{"judgement":{"helpful":[1]}}"#).unwrap().judgement().is_err());
    }
}
