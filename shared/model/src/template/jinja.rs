//! Chat templates: jinja as transformers runs it, through minijinja.
//!
//! Same settings (`trim_blocks`, `lstrip_blocks`), same extras (`raise_exception`, `strftime_now`, a `tojson` that escapes
//! no HTML, loop controls, `{% generation %}` blocks), Python's methods on strings and dictionaries. A template comes with a
//! checkpoint and is not trusted: it reaches no file, and runs out of fuel instead of running for ever.

use std::ops::Range;
use std::sync::{Arc, LazyLock};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, anyhow};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, Output, State};

use super::{Message, generation, python};
use crate::tokenizer::Tokenizer;

/// Instructions that one rendering may take; the largest published templates take a few hundred per message.
const FUEL: u64 = 5_000_000;

/// A parsed template.
#[derive(Clone, Debug)]
pub struct Jinja {
    environment: Arc<Environment<'static>>,
    name: String,
    marks_generation: bool,
    /// what the policy may call, as the template sees it
    tools: Value,
}

impl Jinja {
    /// Parses a template; `name` stands in its errors.
    pub(super) fn parse(name: &str, source: &str) -> Result<Jinja> {
        let mut environment = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|e| anyhow!("{name}: {e}"))?);
        environment.set_fuel(Some(FUEL));
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_formatter(print_as_python);
        environment.set_unknown_method_callback(python::method);
        environment.add_filter("tojson", to_json);
        environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_function("strftime_now", |format: String| strftime(&format, seconds_now()));
        generation::add_functions(&mut environment);
        let (source, marks_generation) = generation::with_known_tags(source);
        let added = environment.add_template_owned("template", source);
        added.map_err(|e| error(name, &e))?;
        let environment = Arc::new(environment);
        Ok(Jinja { environment, name: name.to_owned(), marks_generation, tools: Value::from(()) })
    }

    /// The same template for a policy that may call `tools` (JSON schemas of functions).
    pub(super) fn with_tools(&self, tools: &[serde_json::Value]) -> Jinja {
        Jinja { tools: tools.iter().map(python::value).collect(), ..self.clone() }
    }

    /// The text of a conversation that the assistant ends, and the spans of it, in characters, that its `generation` blocks
    /// mark; `None` where it has no such blocks.
    pub(super) fn marked(
        &self,
        messages: &[Message],
        tokenizer: &Tokenizer,
    ) -> Result<Option<(String, Vec<Range<usize>>)>> {
        if !self.marks_generation {
            return Ok(None);
        }
        let rendered = self.fill(messages, tokenizer, false, Some(generation::wanted()))?;
        let (text, spans) = generation::spans(&rendered).map_err(|e| anyhow!("{}: {e}", self.name))?;
        if spans.is_empty() {
            return Err(anyhow!("{}: marks nothing in this conversation as the assistant's", self.name));
        }
        Ok(Some((text, spans)))
    }

    /// Renders a conversation. `prompt` is defined where there is one question.
    pub(super) fn render(
        &self,
        prompt: Option<&str>,
        messages: &[Message],
        tokenizer: &Tokenizer,
        add_generation_prompt: bool,
    ) -> Result<String> {
        self.fill(messages, tokenizer, add_generation_prompt, prompt.map(|p| ("prompt", p.into())))
    }

    fn fill(
        &self,
        messages: &[Message],
        tokenizer: &Tokenizer,
        add_generation_prompt: bool,
        more: Option<(&str, Value)>,
    ) -> Result<String> {
        // With whatever else a turn carries: names, tool calls, reasoning.
        let messages: Vec<Value> = messages
            .iter()
            .map(|m| {
                let own = [("role", m.role.as_str().into()), ("content", m.content.as_str().into())];
                let beside = m.extra.iter().map(|(name, value)| (name.as_str(), python::value(value)));
                Value::from_pairs(own.into_iter().chain(beside))
            })
            .collect();
        let mut context: Vec<(&str, Value)> = vec![
            ("messages", messages.into()),
            ("add_generation_prompt", add_generation_prompt.into()),
            ("tools", self.tools.clone()),
            ("documents", Value::from(())),
        ];
        context.extend(more);
        context.extend(tokenizer.roles().map(|(name, text)| (name, text.into())));
        let context = Value::from_pairs(context);
        let template = self.environment.get_template("template").map_err(|e| error(&self.name, &e))?;
        template.render(context).map_err(|e| error(&self.name, &e))
    }
}

/// One line: whose template, where, what.
fn error(name: &str, error: &Error) -> anyhow::Error {
    let line = error.line().map(|n| format!(" line {n}")).unwrap_or_default();
    let what = match (error.kind(), error.detail()) {
        (ErrorKind::OutOfFuel, _) => "does not end".to_owned(),
        (ErrorKind::InvalidOperation, Some(detail)) => detail.to_owned(),
        (kind, Some(detail)) => format!("{kind}: {detail}"),
        (kind, None) => kind.to_string(),
    };
    anyhow!("{name}{line}: {}", what.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Python prints `True`, `False` and `None` where minijinja would print them in small letters.
fn print_as_python(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    let word = match value.kind() {
        ValueKind::Bool if value.is_true() => "True",
        ValueKind::Bool => "False",
        ValueKind::None => "None",
        _ => return minijinja::escape_formatter(out, state, value),
    };
    Ok(out.write_str(word)?)
}

/// `tojson` with the arguments of Python's `json.dumps`, which transformers puts in jinja's place.
fn to_json(value: Value, options: Kwargs) -> Result<Value, Error> {
    let indent = options.get::<Option<Value>>("indent")?;
    let ascii = options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false);
    let sort = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    let separators = options.get::<Option<Vec<String>>>("separators")?;
    options.assert_all_used()?;
    let indent = match indent {
        None => None,
        Some(v) if v.kind() == ValueKind::None => None,
        Some(v) => Some(match v.as_str() {
            Some(text) => text.to_owned(),
            None => " ".repeat(v.as_usize().unwrap_or(0).min(64)),
        }),
    };
    let [item, key] = match separators.as_deref() {
        Some([item, key]) => [item.clone(), key.clone()],
        Some(_) => {
            return Err(Error::new(ErrorKind::InvalidOperation, "tojson: separators must be two strings"));
        }
        None if indent.is_some() => [",".into(), ": ".into()],
        None => [", ".into(), ": ".into()],
    };
    let json = python::json(&value)?;
    let mut out = String::new();
    python::Dumps { indent, item, key, ascii, sort }.write(&json, 0, &mut out);
    Ok(Value::from_safe_string(out))
}

fn seconds_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

static MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
static DAYS: LazyLock<[&str; 7]> =
    LazyLock::new(|| ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"]);

/// The directives of C's `strftime` that chat templates use, for a moment in UTC.
pub(super) fn strftime(format: &str, seconds: u64) -> Result<String, Error> {
    let (days, clock) = ((seconds / 86_400) as i64, seconds % 86_400);
    // Days since 1970 to a date of the proleptic Gregorian calendar (Hinnant, chrono-compatible date algorithms).
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 { month_index + 3 } else { month_index - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (clock / 3600, clock / 60 % 60, clock % 60);
    let month_name = MONTHS[(month - 1) as usize];
    let weekday = DAYS[(days + 4).rem_euclid(7) as usize];

    let mut out = String::new();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            out.push(letter);
            continue;
        }
        out += &match letters.next() {
            Some('Y') => year.to_string(),
            Some('y') => format!("{:02}", year % 100),
            Some('m') => format!("{month:02}"),
            Some('d') => format!("{day:02}"),
            Some('H') => format!("{hour:02}"),
            Some('I') => format!("{:02}", (hour + 11) % 12 + 1),
            Some('M') => format!("{minute:02}"),
            Some('S') => format!("{second:02}"),
            Some('p') => if hour < 12 { "AM" } else { "PM" }.to_owned(),
            Some('B') => month_name.to_owned(),
            Some('b') => month_name[..3].to_owned(),
            Some('A') => weekday.to_owned(),
            Some('a') => weekday[..3].to_owned(),
            Some('%') => "%".to_owned(),
            other => {
                let shown = other.map(String::from).unwrap_or_default();
                return Err(Error::new(
                    ErrorKind::InvalidOperation,
                    format!("strftime_now: %{shown} is not known"),
                ));
            }
        };
    }
    Ok(out)
}
