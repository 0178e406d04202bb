//! One line of a file: its text as it came, and where its columns are.

use crate::number::to_json;
use crate::{Judgement, Outline, RecordError, Reward, Rollout, Scores};
use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error as _, MapAccess, Visitor};
use serde::ser::Serialize;
use serde_json::value::RawValue;
use std::fmt;
use std::io::{self, Write};
use std::ops::Range;

/// A JSON object on one line. Columns keep their order and their bytes; only [`Row::set`] and [`Row::set_raw`] change the
/// line, and only in the one column they name.
#[derive(Clone, Debug)]
pub struct Row {
    text: String,
    columns: Vec<Column>,
    line: usize,
}

/// A top-level key with the byte range of its value in the text.
#[derive(Clone, Debug)]
struct Column {
    name: String,
    value: Range<usize>,
}

impl Default for Row {
    fn default() -> Self {
        Self { text: "{}".to_string(), columns: Vec::new(), line: 0 }
    }
}

impl Row {
    /// Reads one line (without its line end). The whole line is checked to be JSON; the values are not interpreted yet.
    /// Errors: not an object, malformed JSON (with the column), a key that comes twice.
    pub fn parse(line: &str) -> Result<Row, RecordError> {
        Self::parse_at(line, 0)
    }

    /// [`Row::parse`] for line `number` (from 1) of a file: the row and all its errors know their line.
    pub fn parse_at(line: &str, number: usize) -> Result<Row, RecordError> {
        let text = line.trim_matches([' ', '\t', '\r', '\n']);
        let lead = line.len() - line.trim_start_matches([' ', '\t', '\r', '\n']).len();
        let bad = |error: serde_json::Error| {
            RecordError::from_json(&error, line, lead, text).at_line(number).with_bad_line(line.as_bytes())
        };
        if text.contains('\n') {
            return Err(
                RecordError::new("a row of several lines", "write each row on one line").at_line(number)
            );
        }
        let Object(found) = serde_json::from_str(text).map_err(bad)?;
        let columns = found
            .into_iter()
            .map(|(name, raw)| {
                let start = raw.get().as_ptr().addr() - text.as_ptr().addr();
                Column { name, value: start..start + raw.get().len() }
            })
            .collect();
        Ok(Row { text: text.to_string(), columns, line: number })
    }

    /// Where the row stood in its file, from 1; 0 for a row that came from none.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The line as it will be written, without a line end.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The names of the columns, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().map(|column| column.name.as_str())
    }

    /// Whether the row has the column (which may be null).
    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// The JSON text of a column, exactly as it stands in the line.
    pub fn raw(&self, name: &str) -> Option<&str> {
        self.find(name).map(|index| &self.text[self.columns[index].value.clone()])
    }

    /// A column as a type, where the row has it. A value that does not fit is an error with its place.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<Option<T>, RecordError> {
        let Some(index) = self.find(name) else { return Ok(None) };
        let start = self.columns[index].value.start;
        let value = &self.text[self.columns[index].value.clone()];
        serde_json::from_str(value).map(Some).map_err(|error| {
            let mut bad = RecordError::from_json(&error, &self.text, start, value)
                .at_line(self.line)
                .with_bad_line(self.text.as_bytes());
            bad.fact = format!("`{name}`: {}", bad.fact);
            bad
        })
    }

    /// A column as a type; a missing one is an error.
    pub fn require<T: DeserializeOwned>(&self, name: &str) -> Result<T, RecordError> {
        self.get(name)?
            .ok_or_else(|| self.error(format!("no `{name}`"), "see the record format in README.md"))
    }

    /// A stage's section; a missing one is an error that names the stage that writes it.
    pub fn require_from<T: DeserializeOwned>(&self, name: &str, tool: &str) -> Result<T, RecordError> {
        self.get(name)?.ok_or_else(|| self.error(format!("no `{name}`"), format!("run {tool} first")))
    }

    /// The section `rollout`, whole and consistent (as many logprobs as completion ids).
    pub fn rollout(&self) -> Result<Rollout, RecordError> {
        let rollout: Rollout = self.require_from("rollout", "r1-rollout")?;
        rollout.check().map_err(|fact| self.error_in("rollout", fact, "sample the row again"))?;
        Ok(rollout)
    }

    /// The section `rollout` without its arrays: what a stage that only reads the text needs, several times faster to read.
    pub fn outline(&self) -> Result<Outline, RecordError> {
        self.require_from("rollout", "r1-rollout")
    }

    /// Scores of the completion under another policy, from the section `key` that `r1-rollout --score key` writes.
    pub fn scores(&self, key: &str) -> Result<Option<Scores>, RecordError> {
        let Some(scores) = self.get::<Scores>(key)? else { return Ok(None) };
        scores.check().map_err(|fact| self.error_in(key, fact, "score the row again"))?;
        Ok(Some(scores))
    }

    /// The section `reference`: scores of the completion under the frozen reference policy.
    pub fn reference(&self) -> Result<Option<Scores>, RecordError> {
        self.scores("reference")
    }

    /// The section `judgement`, where a model has judged the row.
    pub fn judgement(&self) -> Result<Option<Judgement>, RecordError> {
        self.get("judgement")
    }

    /// The section `reward`.
    pub fn reward(&self) -> Result<Reward, RecordError> {
        self.require_from("reward", "r1-reward")
    }

    /// The column `advantage`: a finite number.
    pub fn advantage(&self) -> Result<f64, RecordError> {
        self.require_from("advantage", "r1-advantage")
    }

    /// Writes a column: in place where the row has it, at the end where it has not; every other byte stays. A NaN, an infinity
    /// or a null anywhere in `value` is refused, and the row is then unchanged.
    pub fn set<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), RecordError> {
        let json = to_json(value).map_err(|error| {
            self.error(
                format!("`{name}` cannot be written: {error}"),
                "every number must be finite, and nothing null",
            )
        })?;
        self.splice(name, &json);
        Ok(())
    }

    /// [`Row::set`] with JSON text that is already written, for instance the [`Row::raw`] of another row. Errors: the text is
    /// not one JSON value on one line.
    pub fn set_raw(&mut self, name: &str, json: &str) -> Result<(), RecordError> {
        let checked: Result<&RawValue, _> = serde_json::from_str(json);
        match checked {
            Ok(raw) if !json.contains('\n') => {
                let raw = raw.get().to_string();
                self.splice(name, &raw);
                Ok(())
            }
            _ => Err(self.error(
                format!("`{name}` cannot be written: not one JSON value on one line"),
                "this is a defect",
            )),
        }
    }

    /// Writes the line and its end.
    pub fn write_line<W: Write + ?Sized>(&self, out: &mut W) -> io::Result<()> {
        out.write_all(self.text.as_bytes())?;
        out.write_all(b"\n")
    }

    /// An error about this row.
    pub fn error(&self, fact: impl Into<String>, remedy: impl Into<String>) -> RecordError {
        RecordError::new(fact, remedy).at_line(self.line).with_bad_line(self.text.as_bytes())
    }

    /// An error about a column of this row, placed at its value.
    pub fn error_in(&self, name: &str, fact: impl Into<String>, remedy: impl Into<String>) -> RecordError {
        let error = self.error(fact, remedy);
        match self.find(name) {
            Some(index) => {
                let before = &self.text[..self.columns[index].value.start];
                error.at_column(before.chars().count() + 1)
            }
            None => error,
        }
    }

    fn find(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }

    /// Replaces or appends a value that is known to be JSON.
    fn splice(&mut self, name: &str, json: &str) {
        if let Some(index) = self.find(name) {
            let old = self.columns[index].value.clone();
            self.text.replace_range(old.clone(), json);
            self.columns[index].value.end = old.start + json.len();
            for column in &mut self.columns[index + 1..] {
                column.value =
                    column.value.start - old.len() + json.len()..column.value.end - old.len() + json.len();
            }
            return;
        }
        // Behind the last value, or behind the opening brace: white space before the closing brace stays where it was.
        let end = self.columns.last().map_or(1, |column| column.value.end);
        // A JSON string never contains a raw character that a key of ours would need escaped, but a caller's name may.
        let key = serde_json::Value::from(name).to_string();
        let lead = if self.columns.is_empty() { format!("{key}:") } else { format!(",{key}:") };
        let start = end + lead.len();
        self.text.insert_str(end, &(lead + json));
        self.columns.push(Column { name: name.to_string(), value: start..start + json.len() });
    }
}

/// The top level of a line: keys decoded, values as slices of the line.
struct Object<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut columns: Vec<(String, &'de RawValue)> = Vec::with_capacity(8);
                while let Some(name) = map.next_key::<String>()? {
                    if columns.iter().any(|(known, _)| *known == name) {
                        return Err(M::Error::custom(format!("the key `{name}` comes twice")));
                    }
                    columns.push((name, map.next_value()?));
                }
                Ok(Object(columns))
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_touches_only_its_key() {
        let line = r#"{ "z" : [1, 2.50 ,1e3] ,"é":"\u00e9\/", "reward":{"total": 0.10}, "n":null }"#;
        let mut row = Row::parse(line).unwrap();
        assert_eq!(row.text(), line);
        row.set("advantage", &-0.5f64).unwrap();
        assert_eq!(row.text(), line.replace("null }", r#"null,"advantage":-0.5 }"#));
        row.set("reward", &Reward { total: Some(1.0), ..Reward::default() }).unwrap();
        row.set("advantage", &12.25f64).unwrap();
        let expected = line.replace(r#"{"total": 0.10}"#, r#"{"total":1.0}"#);
        assert_eq!(row.text(), expected.replace("null }", r#"null,"advantage":12.25 }"#));
        assert_eq!(
            (row.raw("é"), row.raw("n"), row.raw("none")),
            (Some(r#""\u00e9\/""#), Some("null"), None)
        );
        assert_eq!(row.advantage().unwrap(), 12.25);
    }

    #[test]
    fn an_empty_object_grows() {
        let mut row = Row::default();
        row.set("a", &1).unwrap();
        row.set_raw("b\"", "[1, 2]").unwrap();
        assert_eq!(row.text(), r#"{"a":1,"b\"":[1, 2]}"#);
        assert!(row.set_raw("c", "[1").is_err() && row.set_raw("c", "[1,\n2]").is_err());
        let mut out = Vec::new();
        row.write_line(&mut out).unwrap();
        assert_eq!(out, b"{\"a\":1,\"b\\\"\":[1, 2]}\n");
        let again = Row::parse(row.text()).unwrap();
        assert_eq!(again.names().collect::<Vec<_>>(), ["a", "b\""]);
    }

    #[test]
    fn malformed_lines_say_where() {
        let place = |text: &str| {
            let error = Row::parse_at(text, 17).unwrap_err();
            assert_eq!(error.bad_line(), Some(text.as_bytes()));
            (error.line, error.column, error.to_string())
        };
        // The position is where the reader knew that it could not go on: 1-based characters, not bytes.
        let (line, column, text) = place(r#"{"a": 1,, "b": 2}"#);
        assert_eq!((line, column), (Some(17), Some(9)), "{text}");
        let (_, column, text) = place(r#"{"ééé": nope}"#);
        assert_eq!(column, Some(10), "{text}");
        let (_, column, text) = place(r#"{"x": {"y": [1, NaN]}}"#);
        assert_eq!(column, Some(17), "{text}");
        assert!(text.starts_with("17:17: NaN is not a number"), "{text}");
        for infinite in ["Infinity", "-Infinity"] {
            let (_, _, text) = place(&format!(r#"{{"x": {infinite}}}"#));
            assert!(text.contains(&format!("{infinite} is not a number")), "{text}");
        }
        assert!(place(r#"{"a": "cut"#).2.contains("cut short"));
        assert!(place("[1]").2.contains("expected a JSON object"));
        assert!(place(r#"{"a":1,"b":2,"a":3}"#).2.contains("`a` comes twice"));
        assert!(place(r#"{"a":1} {"a":1}"#).2.contains("trailing"));
    }

    #[test]
    fn no_input_is_beyond_an_error() {
        // One row with everything in it, of which bytes are overwritten, taken out and put in at every place.
        let whole = concat!(
            r#"{"id":"é","prompt":[{"role":"user","content":"\u00e9"}],"answer":1.5e-3,"messages":[],"rollout":{"sample":0,"#,
            r#""completion":"x","completion_ids":[1],"logprobs":[-0.5]},"reward":{"total":1,"answer":"7"},"judgement":{"a":"b"}}"#
        );
        let mut refused = 0;
        for at in 0..whole.len() {
            for byte in *b"\"\\{}[],:0-eEnN \xff\xc3" {
                for (cut, put) in [(1, 1), (1, 0), (0, 1)] {
                    let mut bytes = whole.as_bytes().to_vec();
                    bytes.splice(at..at + cut, std::iter::repeat_n(byte, put));
                    for row in crate::Reader::new(&bytes[..]) {
                        let Ok(row) = row else {
                            refused += 1;
                            continue;
                        };
                        assert_eq!(Row::parse(row.text()).unwrap().text(), row.text());
                        let _ = (
                            row.prompt(),
                            row.answer(),
                            row.task(),
                            row.group_id(),
                            row.rollout(),
                            row.outline(),
                        );
                        let _ =
                            (row.reward(), row.judgement(), row.reference(), row.advantage(), row.example());
                    }
                }
            }
        }
        assert!(refused > 1000);
        assert!(Row::parse("{\"a\":\n1}").is_err());
    }

    #[test]
    fn numbers_that_are_not_finite_are_refused() {
        let mut row = Row::parse(r#"{"a":1}"#).unwrap();
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert!(row.set("advantage", &bad).is_err());
            assert!(
                row.set("reference", &Scores { logprobs: vec![bad as f32], ..Scores::default() }).is_err()
            );
            assert!(row.set("reward", &Reward { total: Some(bad), ..Reward::default() }).is_err());
        }
        assert_eq!(row.text(), r#"{"a":1}"#);
        let error = Row::parse(r#"{"advantage": 1e999}"#).unwrap().advantage().unwrap_err();
        assert!(error.to_string().contains("out of range"), "{error}");
    }
}
