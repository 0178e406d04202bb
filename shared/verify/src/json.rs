//! Answers in JSON: the same value as expected, or a value that a schema admits.

use crate::Judgement;
use serde_json::{Number, Value};

/// Judges an answer (JSON, perhaps within a code fence) by the expected value, the schema, or both.
///
/// Values are equal where their parts are: the order of keys does not count, that of lists does, and numbers are equal by
/// value (`1` is `1.0`). Of JSON Schema these keywords are understood: `type enum const properties required
/// additionalProperties items prefixItems minItems maxItems uniqueItems minLength maxLength minimum maximum exclusiveMinimum
/// exclusiveMaximum allOf anyOf oneOf not`; notes such as `title` say nothing, and any other makes the verdict undecided.
///
/// ```
/// use r1_verify::json::judge;
/// use serde_json::json;
/// let schema = json!({"type": "object", "required": ["age"], "properties": {"age": {"type": "integer", "minimum": 0}}});
/// assert!(judge("```json\n{\"age\": 7}\n```", None, Some(&schema)).is_equal());
/// assert!(!judge("{\"age\": -7}", None, Some(&schema)).is_equal());
/// assert!(judge("[1.0, 2]", Some(&json!([1, 2])), None).is_equal());
/// ```
pub fn judge(answer: &str, expected: Option<&Value>, schema: Option<&Value>) -> Judgement {
    // Deep nesting is refused by the parser.
    let Ok(value) = serde_json::from_str::<Value>(unfenced(answer)) else {
        return Judgement::unequal("no json");
    };
    if expected.is_some_and(|expected| !same(&value, expected)) {
        return Judgement::unequal("json value");
    }
    match schema.map(|schema| admits(schema, &value)) {
        None if expected.is_none() => Judgement::undecided("nothing to compare with"),
        None => Judgement::equal("json value"),
        Some(Some(admitted)) => Judgement::of(admitted, "schema"),
        Some(None) => Judgement::undecided("a keyword of the schema is not known"),
    }
}

/// The text without a code fence around all of it.
fn unfenced(text: &str) -> &str {
    let text = text.trim();
    let inner = text.strip_prefix("```").and_then(|rest| rest.strip_suffix("```"));
    inner.and_then(|inner| inner.split_once('\n')).map_or(text, |(_, content)| content)
}

/// Whether two values are equal.
pub fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => same_number(a, b),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        _ => a == b,
    }
}

fn same_number(a: &Number, b: &Number) -> bool {
    match (a.as_i128(), b.as_i128()) {
        (Some(a), Some(b)) => a == b,
        (None, None) => a.as_f64() == b.as_f64(),
        // Exactly, not by rounding the whole number.
        (Some(whole), None) => b.as_f64().is_some_and(|b| is_whole(b) && b as i128 == whole),
        (None, Some(whole)) => a.as_f64().is_some_and(|a| is_whole(a) && a as i128 == whole),
    }
}

fn is_whole(number: f64) -> bool {
    number.fract() == 0.0 && number.abs() < 1e30
}

/// Whether the schema admits the value; nothing where it has a keyword that is not known.
fn admits(schema: &Value, value: &Value) -> Option<bool> {
    let keywords = match schema {
        Value::Bool(all) => return Some(*all),
        Value::Object(keywords) => keywords,
        _ => return None,
    };
    let mut admitted = true;
    for (keyword, asked) in keywords {
        admitted &= match keyword.as_str() {
            "type" => match asked {
                Value::Array(types) => types.iter().any(|asked| is_of_type(value, asked)),
                one => is_of_type(value, one),
            },
            "const" => same(value, asked),
            "enum" => asked.as_array()?.iter().any(|one| same(value, one)),
            "allOf" => every(asked.as_array()?, |schema| admits(schema, value))?,
            "anyOf" => count(asked.as_array()?, value)? > 0,
            "oneOf" => count(asked.as_array()?, value)? == 1,
            "not" => !admits(asked, value)?,
            "minimum" => value.as_f64().is_none_or(|v| asked.as_f64().is_some_and(|a| v >= a)),
            "maximum" => value.as_f64().is_none_or(|v| asked.as_f64().is_some_and(|a| v <= a)),
            "exclusiveMinimum" => value.as_f64().is_none_or(|v| asked.as_f64().is_some_and(|a| v > a)),
            "exclusiveMaximum" => value.as_f64().is_none_or(|v| asked.as_f64().is_some_and(|a| v < a)),
            "minLength" => {
                value.as_str().is_none_or(|v| asked.as_u64().is_some_and(|a| v.chars().count() as u64 >= a))
            }
            "maxLength" => {
                value.as_str().is_none_or(|v| asked.as_u64().is_some_and(|a| v.chars().count() as u64 <= a))
            }
            "minItems" => {
                value.as_array().is_none_or(|v| asked.as_u64().is_some_and(|a| v.len() as u64 >= a))
            }
            "maxItems" => {
                value.as_array().is_none_or(|v| asked.as_u64().is_some_and(|a| v.len() as u64 <= a))
            }
            "uniqueItems" => {
                let distinct = |list: &Vec<Value>| {
                    list.iter().enumerate().all(|(i, a)| !list[..i].iter().any(|b| same(a, b)))
                };
                // Compared two by two: only as far as that is cheap.
                match value.as_array() {
                    Some(list) if asked == &Value::Bool(true) && list.len() > 2000 => return None,
                    Some(list) => asked != &Value::Bool(true) || distinct(list),
                    None => true,
                }
            }
            "required" => match value.as_object() {
                Some(object) => asked
                    .as_array()?
                    .iter()
                    .all(|key| key.as_str().is_some_and(|key| object.contains_key(key))),
                None => true,
            },
            "properties" => match value.as_object() {
                Some(object) => every(asked.as_object()?, |(key, schema)| match object.get(key) {
                    Some(value) => admits(schema, value),
                    None => Some(true),
                })?,
                None => true,
            },
            "additionalProperties" => match value.as_object() {
                Some(object) => {
                    let named = keywords.get("properties").and_then(Value::as_object);
                    let others =
                        object.iter().filter(|(key, _)| !named.is_some_and(|named| named.contains_key(*key)));
                    every(others, |(_, value)| admits(asked, value))?
                }
                None => true,
            },
            "items" => match value.as_array() {
                Some(list) => {
                    let before = keywords.get("prefixItems").and_then(Value::as_array).map_or(0, Vec::len);
                    every(list.iter().skip(before), |value| admits(asked, value))?
                }
                None => true,
            },
            "prefixItems" => match value.as_array() {
                Some(list) => {
                    every(asked.as_array()?.iter().zip(list), |(schema, value)| admits(schema, value))?
                }
                None => true,
            },
            "title" | "description" | "$schema" | "$id" | "$comment" | "default" | "examples"
            | "deprecated" | "readOnly" | "writeOnly" => true,
            _ => return None,
        };
    }
    Some(admitted)
}

/// Whether all are admitted; nothing where any cannot be told.
fn every<T>(of: impl IntoIterator<Item = T>, mut test: impl FnMut(T) -> Option<bool>) -> Option<bool> {
    let mut all = true;
    for one in of {
        all &= test(one)?;
    }
    Some(all)
}

/// How many of the schemas admit the value.
fn count(schemas: &[Value], value: &Value) -> Option<usize> {
    let mut count = 0;
    for schema in schemas {
        count += usize::from(admits(schema, value)?);
    }
    Some(count)
}

fn is_of_type(value: &Value, asked: &Value) -> bool {
    match asked.as_str() {
        Some("null") => value.is_null(),
        Some("boolean") => value.is_boolean(),
        Some("string") => value.is_string(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        Some("number") => value.is_number(),
        Some("integer") => match value {
            Value::Number(number) => {
                number.as_i128().is_some() || number.as_f64().is_some_and(|n| n.fract() == 0.0)
            }
            _ => false,
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Verdict;
    use serde_json::json;

    #[test]
    fn values_are_equal_by_their_parts() {
        let value = |a: &str, b: Value| judge(a, Some(&b), None).verdict;
        assert_eq!(
            value(r#"{"a": 1, "b": [true, null]}"#, json!({"b": [true, null], "a": 1.0})),
            Verdict::Equal
        );
        assert_eq!(value("[1, 2]", json!([2, 1])), Verdict::Unequal);
        assert_eq!(value("9007199254740993", json!(9007199254740992.0)), Verdict::Unequal);
        assert_eq!(value("\"1\"", json!(1)), Verdict::Unequal);
        assert_eq!(value(r#"{"a": 1}"#, json!({"a": 1, "b": null})), Verdict::Unequal);
        assert_eq!(value("{a: 1}", json!({"a": 1})), Verdict::Unequal);
        assert_eq!(value(&"[".repeat(100_000), json!([])), Verdict::Unequal);
    }

    #[test]
    fn schemas_admit_what_they_say() {
        // Admitted and refused instances for each keyword, as JSON Schema 2020-12 defines it.
        let cases = [
            (json!({"type": "integer"}), vec!["1", "1.0", "-3"], vec!["1.5", "\"1\"", "null"]),
            (json!({"type": ["string", "null"]}), vec!["\"a\"", "null"], vec!["1"]),
            (json!({"enum": [1, "a"]}), vec!["1.0", "\"a\""], vec!["2"]),
            (json!({"const": {"a": 1}}), vec!["{\"a\":1}"], vec!["{}"]),
            (json!({"required": ["a"]}), vec!["{\"a\":null}", "3"], vec!["{}"]),
            (
                json!({"properties": {"a": {"type": "string"}}}),
                vec!["{}", "{\"a\":\"\"}", "{\"b\":1}"],
                vec!["{\"a\":1}"],
            ),
            (
                json!({"properties": {"a": true}, "additionalProperties": false}),
                vec!["{\"a\":1}"],
                vec!["{\"b\":1}"],
            ),
            (json!({"items": {"minimum": 2}}), vec!["[]", "[2,\"x\"]"], vec!["[1]"]),
            (
                json!({"prefixItems": [{"const": 1}], "items": {"const": 2}}),
                vec!["[1,2,2]", "[]"],
                vec!["[1,3]", "[2]"],
            ),
            (json!({"minItems": 1, "maxItems": 2}), vec!["[1]", "\"\""], vec!["[]", "[1,2,3]"]),
            (json!({"uniqueItems": true}), vec!["[1,2]"], vec!["[1,1.0]"]),
            (json!({"minLength": 2, "maxLength": 3}), vec!["\"éé\"", "1"], vec!["\"a\"", "\"abcd\""]),
            (json!({"exclusiveMinimum": 0, "exclusiveMaximum": 1}), vec!["0.5"], vec!["0", "1"]),
            (json!({"anyOf": [{"const": 1}, {"type": "number"}]}), vec!["1", "2"], vec!["\"a\""]),
            (json!({"oneOf": [{"const": 1}, {"type": "number"}]}), vec!["2"], vec!["1", "\"a\""]),
            (json!({"allOf": [{"minimum": 1}, {"maximum": 2}]}), vec!["1"], vec!["3"]),
            (json!({"not": {"type": "null"}}), vec!["1"], vec!["null"]),
            (json!(true), vec!["1"], vec![]),
            (json!(false), vec![], vec!["1"]),
        ];
        for (schema, good, bad) in cases {
            for (texts, verdict) in [(good, Verdict::Equal), (bad, Verdict::Unequal)] {
                for text in texts {
                    assert_eq!(judge(text, None, Some(&schema)).verdict, verdict, "{text} under {schema}");
                }
            }
        }
        assert_eq!(judge("\"a\"", None, Some(&json!({"pattern": "a"}))).verdict, Verdict::Undecided);
        assert_eq!(judge("1", None, None).verdict, Verdict::Undecided);
    }
}
