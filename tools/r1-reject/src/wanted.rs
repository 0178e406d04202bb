//! What a judging model must have said: `helpful=0.5` (a number, at least that) or `verdict=correct` (that text).

use r1_records::{Judgement, Opinion, Row};
use std::str::FromStr;

/// A demand on one opinion of the section `judgement`.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    name: String,
    want: Want,
}

#[derive(Clone, Debug, PartialEq)]
enum Want {
    AtLeast(f64),
    Text(String),
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, want) =
            text.split_once('=')
                .filter(|(name, want)| !name.is_empty() && !want.is_empty())
                .ok_or("a judgement is written NAME=NUMBER (at least that) or NAME=TEXT (exactly that)")?;
        let want = match want.parse::<f64>() {
            Ok(number) if number.is_finite() => Want::AtLeast(number),
            Ok(_) => return Err("the number must be finite".to_string()),
            Err(_) => Want::Text(want.to_string()),
        };
        Ok(Wanted { name: name.to_string(), want })
    }
}

impl Wanted {
    /// Whether the model said so, where it said anything under this name. Errors: it gave a text where a number is asked for, or
    /// the other way round.
    pub fn met(&self, row: &Row, judgement: &Judgement) -> Result<Option<bool>, r1_records::RecordError> {
        let said = judgement.opinions.iter().find(|(name, _)| *name == self.name).map(|(_, said)| said);
        match (said, &self.want) {
            (None, _) => Ok(None),
            (Some(Opinion::Number(said)), Want::AtLeast(least)) => Ok(Some(said >= least)),
            (Some(Opinion::Text(said)), Want::Text(want)) => Ok(Some(said.trim() == want)),
            (Some(Opinion::Number(_)), Want::Text(_)) => Err(self.mismatch(row, "a number", "NAME=NUMBER")),
            (Some(Opinion::Text(_)), Want::AtLeast(_)) => Err(self.mismatch(row, "a text", "NAME=TEXT")),
        }
    }

    fn mismatch(&self, row: &Row, is: &str, ask: &str) -> r1_records::RecordError {
        row.error_in("judgement", format!("`judgement.{}` is {is}", self.name), format!("ask for {ask}"))
    }

    /// What was found instead, in words.
    pub fn found(&self, judgement: &Judgement) -> String {
        let name = &self.name;
        match judgement.opinions.iter().find(|(known, _)| known == name).map(|(_, said)| said) {
            None => format!("no judgement.{name}"),
            Some(Opinion::Number(value)) => format!("judgement.{name} {value}"),
            Some(Opinion::Text(text)) => format!("judgement.{name} `{}`", text.trim()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_floors_and_texts_are_words() {
        let row = Row::parse(r#"{"judgement":{"helpful":0.7,"verdict":" correct\n"}}"#).unwrap();
        let judgement = row.judgement().unwrap().unwrap();
        let met = |text: &str| text.parse::<Wanted>().unwrap().met(&row, &judgement);
        assert_eq!(met("helpful=0.7").unwrap(), Some(true));
        assert_eq!(met("helpful=0.71").unwrap(), Some(false));
        assert_eq!(met("verdict=correct").unwrap(), Some(true));
        assert_eq!(met("verdict=wrong").unwrap(), Some(false));
        assert_eq!(met("harmless=1").unwrap(), None);
        assert!(met("helpful=yes").is_err() && met("verdict=1").is_err());
        for bad in ["helpful", "=1", "helpful=", "helpful=nan"] {
            assert!(bad.parse::<Wanted>().is_err(), "{bad}");
        }
    }
}
