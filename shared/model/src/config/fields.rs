//! Typed access to the fields of a JSON object, with errors that name the field.

use anyhow::{Result, anyhow, bail};
use serde_json::Value;

/// No size in a config is anywhere near this; larger ones are damage that would exhaust memory later.
const LARGEST: u64 = 1 << 24;

/// A JSON object and the words its errors start with (`""` for the file itself, `"rope_scaling."` inside it).
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    object: &'a Value,
    prefix: &'a str,
}

impl<'a> Fields<'a> {
    /// Wraps `value`, which must be an object.
    pub fn of(value: &'a Value, prefix: &'a str) -> Result<Fields<'a>> {
        if !value.is_object() {
            let place = if prefix.is_empty() {
                String::new()
            } else {
                format!("{}: ", prefix.trim_end_matches(['.', ' ']))
            };
            bail!("{place}expected a JSON object, found {}", kind(value));
        }
        Ok(Fields { object: value, prefix })
    }

    /// The field's value; `None` where it is absent or null.
    pub fn get(&self, name: &str) -> Option<&'a Value> {
        self.object.get(name).filter(|v| !v.is_null())
    }

    /// Whether the field is there, be it null.
    pub fn has(&self, name: &str) -> bool {
        self.object.get(name).is_some()
    }

    /// Name of the field as errors print it.
    pub fn name(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    fn wrong(&self, name: &str, expected: &str, value: &Value) -> anyhow::Error {
        anyhow!("{}: expected {expected}, found {}", self.name(name), shown(value))
    }

    fn missing(&self, name: &str) -> anyhow::Error {
        anyhow!("{}: the field is missing", self.name(name))
    }

    /// A whole number below [`LARGEST`], if present.
    pub fn count(&self, name: &str) -> Result<Option<usize>> {
        match self.get(name) {
            None => Ok(None),
            Some(v) => match v.as_u64() {
                Some(n) if n < LARGEST => Ok(Some(n as usize)),
                _ => Err(self.wrong(name, "a whole number below 16777216", v)),
            },
        }
    }

    /// A whole number of at least 1; missing is an error.
    pub fn size(&self, name: &str) -> Result<usize> {
        match self.count(name)? {
            None => Err(self.missing(name)),
            Some(0) => bail!("{}: must be at least 1", self.name(name)),
            Some(n) => Ok(n),
        }
    }

    /// A finite number, if present.
    pub fn number(&self, name: &str) -> Result<Option<f64>> {
        match self.get(name) {
            None => Ok(None),
            Some(v) => match v.as_f64() {
                Some(x) if x.is_finite() => Ok(Some(x)),
                _ => Err(self.wrong(name, "a finite number", v)),
            },
        }
    }

    /// A finite number above 0; missing is an error.
    pub fn positive(&self, name: &str) -> Result<f64> {
        match self.number(name)? {
            None => Err(self.missing(name)),
            Some(x) if x > 0.0 => Ok(x),
            Some(x) => bail!("{}: must be above 0, found {x}", self.name(name)),
        }
    }

    /// true or false; `otherwise` where it is absent.
    pub fn flag(&self, name: &str, otherwise: bool) -> Result<bool> {
        match self.get(name) {
            None => Ok(otherwise),
            Some(v) => v.as_bool().ok_or_else(|| self.wrong(name, "true or false", v)),
        }
    }

    /// true or false; missing is an error.
    pub fn required_flag(&self, name: &str) -> Result<bool> {
        match self.get(name) {
            None => Err(self.missing(name)),
            Some(v) => v.as_bool().ok_or_else(|| self.wrong(name, "true or false", v)),
        }
    }

    /// A string, if present.
    pub fn text(&self, name: &str) -> Result<Option<&'a str>> {
        match self.get(name) {
            None => Ok(None),
            Some(v) => v.as_str().map(Some).ok_or_else(|| self.wrong(name, "a string", v)),
        }
    }

    /// A list, if present.
    pub fn list(&self, name: &str) -> Result<Option<&'a Vec<Value>>> {
        match self.get(name) {
            None => Ok(None),
            Some(v) => v.as_array().map(Some).ok_or_else(|| self.wrong(name, "a list", v)),
        }
    }

    /// One token id or a list of them; empty where the field is absent.
    pub fn token_ids(&self, name: &str) -> Result<Vec<u32>> {
        let one = |v: &Value| {
            v.as_u64()
                .and_then(|n| u32::try_from(n).ok())
                .ok_or_else(|| self.wrong(name, "a token id or a list of token ids", v))
        };
        match self.get(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(list)) => list.iter().map(one).collect(),
            Some(v) => Ok(vec![one(v)?]),
        }
    }

    /// Errors unless the field is absent or equals `only`.
    pub fn must_be(&self, name: &str, only: &Value) -> Result<()> {
        match self.get(name) {
            Some(v) if v != only => {
                bail!("{}: {} is not supported, only {}", self.name(name), shown(v), shown(only))
            }
            _ => Ok(()),
        }
    }
}

/// The value as errors show it, cut where it is long.
pub(super) fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= 60 {
        text
    } else {
        format!("{}…", text.chars().take(60).collect::<String>())
    }
}

/// The JSON kind of a value.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
