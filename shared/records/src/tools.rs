//! What the policy may call, in the column `tools`.

use crate::{RecordError, Row};
use serde_json::Value;

impl Row {
    /// The functions that the policy may call (TRL's `tools`): JSON schemas, as a list or as a string that holds one; empty
    /// where there is none.
    pub fn tools(&self) -> Result<Vec<Value>, RecordError> {
        let wrong = |fact: String| {
            self.error_in("tools", fact, "give a list of JSON schemas, or a string that holds one")
        };
        let list = match self.get::<Value>("tools")?.unwrap_or_default() {
            Value::String(text) => serde_json::from_str(&text)
                .map_err(|e| wrong(format!("`tools` is a string that is no JSON: {e}")))?,
            other => other,
        };
        match list {
            Value::Null => Ok(Vec::new()),
            Value::Array(tools) => Ok(tools),
            _ => Err(wrong("`tools` is no list".to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::Row;

    #[test]
    fn tools_are_a_list_or_a_string_of_one() {
        let of = |column: &str| Row::parse(&format!(r#"{{"prompt":"x"{column}}}"#)).unwrap().tools();
        for none in ["", r#","tools":null"#, r#","tools":[]"#, r#","tools":"[]""#] {
            assert!(of(none).unwrap().is_empty(), "{none}");
        }
        for one in [r#","tools":[{"name":"add"}]"#, r#","tools":"[{\"name\": \"add\"}]""#] {
            assert_eq!(of(one).unwrap()[0]["name"], "add", "{one}");
        }
        for bad in [r#","tools":7"#, r#","tools":{"name":"add"}"#, r#","tools":"add""#, r#","tools":"{}""#] {
            let error = of(bad).unwrap_err().to_string();
            assert!(error.contains("`tools`") && error.contains("list of JSON schemas"), "{bad}: {error}");
        }
    }
}
