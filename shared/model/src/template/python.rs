//! What chat templates take for granted about Python: methods of `str` and `dict`, and `json.dumps`.

use minijinja::value::{Value, ValueKind, from_args};
use minijinja::{Error, ErrorKind, State};
use serde_json::Value as Json;

/// Methods that minijinja does not have itself.
pub(super) fn method(_state: &mut State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::String => string_method(value.as_str().unwrap_or_default(), name, args),
        ValueKind::Map => map_method(value, name, args),
        _ => Err(ErrorKind::UnknownMethod.into()),
    }
}

fn string_method(text: &str, name: &str, args: &[Value]) -> Result<Value, Error> {
    let matching = |letters: &Option<String>, c: char| match letters {
        Some(set) => set.contains(c),
        None => c.is_whitespace(),
    };
    Ok(match name {
        "strip" | "lstrip" | "rstrip" => {
            let (letters,): (Option<String>,) = from_args(args)?;
            let mut cut = text;
            if name != "rstrip" {
                cut = cut.trim_start_matches(|c| matching(&letters, c));
            }
            if name != "lstrip" {
                cut = cut.trim_end_matches(|c| matching(&letters, c));
            }
            cut.into()
        }
        "startswith" | "endswith" => {
            let (wanted,): (Value,) = from_args(args)?;
            let holds = |w: &str| if name == "startswith" { text.starts_with(w) } else { text.ends_with(w) };
            match wanted.as_str() {
                Some(w) => holds(w).into(),
                None => wanted.try_iter()?.any(|w| w.as_str().is_some_and(holds)).into(),
            }
        }
        "split" | "rsplit" => {
            let (separator, limit): (Option<String>, Option<i64>) = from_args(args)?;
            let limit = limit.and_then(|n| usize::try_from(n).ok());
            split(text, separator.as_deref(), limit, name == "rsplit")?.into_iter().collect()
        }
        "splitlines" => {
            let () = from_args(args)?;
            text.lines().collect()
        }
        "replace" => {
            let (from, to, limit): (String, String, Option<i64>) = from_args(args)?;
            match limit.and_then(|n| usize::try_from(n).ok()) {
                Some(n) => text.replacen(&from, &to, n).into(),
                None => text.replace(&from, &to).into(),
            }
        }
        "removeprefix" | "removesuffix" => {
            let (part,): (String,) = from_args(args)?;
            let cut =
                if name == "removeprefix" { text.strip_prefix(&part) } else { text.strip_suffix(&part) };
            cut.unwrap_or(text).into()
        }
        "find" | "count" => {
            let (part,): (String,) = from_args(args)?;
            match (name, text.find(&part)) {
                ("count", _) => text.matches(&part).count().into(),
                (_, Some(at)) => text[..at].chars().count().into(),
                (_, None) => (-1).into(),
            }
        }
        "join" => {
            let (list,): (Value,) = from_args(args)?;
            list.try_iter()?.map(|v| v.to_string()).collect::<Vec<_>>().join(text).into()
        }
        "upper" | "lower" | "capitalize" | "title" | "isdigit" | "isalpha" | "isspace" => {
            let () = from_args(args)?;
            let every = |test: fn(char) -> bool| (!text.is_empty() && text.chars().all(test)).into();
            match name {
                "upper" => text.to_uppercase().into(),
                "lower" => text.to_lowercase().into(),
                "capitalize" => capitals(text, false).into(),
                "title" => capitals(text, true).into(),
                "isdigit" => every(char::is_numeric),
                "isalpha" => every(char::is_alphabetic),
                _ => every(char::is_whitespace),
            }
        }
        _ => return Err(ErrorKind::UnknownMethod.into()),
    })
}

/// A large first letter and small ones behind it, of the text or of each run of letters.
fn capitals(text: &str, each_word: bool) -> String {
    let mut inside = false;
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if inside {
            out.extend(c.to_lowercase())
        } else {
            out.extend(c.to_uppercase())
        }
        inside = if each_word { c.is_alphabetic() } else { true };
    }
    out
}

fn split(
    text: &str,
    separator: Option<&str>,
    limit: Option<usize>,
    from_right: bool,
) -> Result<Vec<String>, Error> {
    let limit = limit.map_or(usize::MAX, |n| n.saturating_add(1));
    let own = |parts: Vec<&str>| parts.into_iter().map(str::to_owned).collect::<Vec<_>>();
    Ok(match (separator, from_right) {
        (Some(""), _) => return Err(Error::new(ErrorKind::InvalidOperation, "empty separator")),
        (Some(s), false) => own(text.splitn(limit, s).collect()),
        (Some(s), true) => {
            let mut parts = own(text.rsplitn(limit, s).collect());
            parts.reverse();
            parts
        }
        (None, _) if limit == usize::MAX => own(text.split_whitespace().collect()),
        (None, _) => {
            return Err(Error::new(
                ErrorKind::InvalidOperation,
                "split() with a limit needs a separator here",
            ));
        }
    })
}

fn map_method(map: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    match name {
        "items" => {
            let () = from_args(args)?;
            let pairs = map.try_iter()?.map(|k| Ok(Value::from(vec![k.clone(), map.get_item(&k)?])));
            pairs.collect::<Result<Vec<Value>, Error>>().map(Value::from)
        }
        "keys" => {
            let () = from_args(args)?;
            Ok(map.try_iter()?.collect())
        }
        "values" => {
            let () = from_args(args)?;
            map.try_iter()?.map(|k| map.get_item(&k)).collect::<Result<Vec<Value>, Error>>().map(Value::from)
        }
        "get" => {
            let (key, otherwise): (Value, Option<Value>) = from_args(args)?;
            let found = map.get_item(&key)?;
            Ok(if found.is_undefined() { otherwise.unwrap_or(Value::from(())) } else { found })
        }
        _ => Err(ErrorKind::UnknownMethod.into()),
    }
}

/// JSON as a template's value.
pub(super) fn value(json: &Json) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(b) => (*b).into(),
        Json::Number(n) => match (n.as_i64(), n.as_u64()) {
            (Some(n), _) => n.into(),
            (None, Some(n)) => n.into(),
            (None, None) => n.as_f64().unwrap_or_default().into(),
        },
        Json::String(text) => text.as_str().into(),
        Json::Array(list) => list.iter().map(value).collect(),
        Json::Object(map) => Value::from_pairs(map.iter().map(|(k, v)| (k.as_str(), value(v)))),
    }
}

/// A template's value as JSON.
pub(super) fn json(value: &Value) -> Result<Json, Error> {
    Ok(match value.kind() {
        ValueKind::Undefined | ValueKind::None => Json::Null,
        ValueKind::Bool => value.is_true().into(),
        ValueKind::Number => match value.as_i64() {
            Some(n) if value.is_integer() => n.into(),
            _ => f64::try_from(value.clone())?.into(),
        },
        ValueKind::String => value.as_str().unwrap_or_default().into(),
        ValueKind::Seq | ValueKind::Iterable => {
            value.try_iter()?.map(|v| json(&v)).collect::<Result<Vec<Json>, Error>>()?.into()
        }
        ValueKind::Map => {
            let entries = value.try_iter()?.map(|k| Ok((k.to_string(), json(&value.get_item(&k)?)?)));
            Json::Object(entries.collect::<Result<_, Error>>()?)
        }
        kind => {
            let message = format!("tojson: a value of kind {kind} is no JSON");
            return Err(Error::new(ErrorKind::BadSerialization, message));
        }
    })
}

/// `json.dumps` with the options that templates pass.
pub(super) struct Dumps {
    /// one level of indentation; `None` is one line
    pub indent: Option<String>,
    /// between items
    pub item: String,
    /// between key and value
    pub key: String,
    /// write everything beyond ASCII as `\uXXXX`
    pub ascii: bool,
    /// keys in order
    pub sort: bool,
}

impl Dumps {
    /// Appends `json` at nesting depth `depth`.
    pub fn write(&self, json: &Json, depth: usize, out: &mut String) {
        match json {
            Json::String(text) => self.string(text, out),
            Json::Array(list) => {
                self.sequence(['[', ']'], list.iter().map(|v| (None, v)).collect(), depth, out);
            }
            Json::Object(map) => {
                let mut entries: Vec<_> = map.iter().map(|(k, v)| (Some(k), v)).collect();
                if self.sort {
                    entries.sort_by_key(|(k, _)| *k);
                }
                self.sequence(['{', '}'], entries, depth, out);
            }
            other => out.push_str(&other.to_string()),
        }
    }

    fn sequence(
        &self,
        around: [char; 2],
        entries: Vec<(Option<&String>, &Json)>,
        depth: usize,
        out: &mut String,
    ) {
        out.push(around[0]);
        let line = |out: &mut String, depth: usize| {
            if let Some(indent) = &self.indent {
                out.push('\n');
                out.push_str(&indent.repeat(depth));
            }
        };
        let empty = entries.is_empty();
        for (i, (key, value)) in entries.into_iter().enumerate() {
            if i > 0 {
                out.push_str(&self.item);
            }
            line(out, depth + 1);
            if let Some(key) = key {
                self.string(key, out);
                out.push_str(&self.key);
            }
            self.write(value, depth + 1, out);
        }
        if !empty {
            line(out, depth);
        }
        out.push(around[1]);
    }

    fn string(&self, text: &str, out: &mut String) {
        let quoted = Json::from(text).to_string();
        if !self.ascii {
            out.push_str(&quoted);
            return;
        }
        for c in quoted.chars() {
            if c.is_ascii() {
                out.push(c);
            } else {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    out.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
}
