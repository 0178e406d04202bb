//! The columns that data sets come with, understood as they are: prompt, answer, task, language and id.

use crate::{RecordError, Row};
use serde::de::{Deserializer, Error as _};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant`, `tool` … as the chat template knows it.
    pub role: String,
    /// The text of the turn. `null` (OpenAI's turn that only calls tools) is read as an empty text, and a list of parts of
    /// type `text` as their texts joined.
    #[serde(default, deserialize_with = "content")]
    pub content: String,
    /// Whatever else the turn carries (`name`, `tool_calls` …), for chat templates that read it.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Message {
    /// A turn with a role and a text.
    pub fn new(role: impl Into<String>, content: impl Into<String>) -> Self {
        Self { role: role.into(), content: content.into(), extra: Map::new() }
    }
}

/// What the policy is asked: plain text, or the turns of a conversation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Prompt {
    /// A question, to be put into a template.
    Text(String),
    /// Chat messages, to be rendered by the tokenizer's chat template.
    Messages(Vec<Message>),
}

impl Prompt {
    /// The text a person asked: the text itself, or the content of the last user turn (of the last turn where none is the
    /// user's). What language detection and reports read.
    pub fn question(&self) -> &str {
        match self {
            Prompt::Text(text) => text,
            Prompt::Messages(turns) => turns
                .iter()
                .rfind(|turn| turn.role == "user")
                .or(turns.last())
                .map_or("", |turn| turn.content.as_str()),
        }
    }
}

/// Columns that hold the prompt, in order of precedence.
const PROMPT_COLUMNS: [&str; 5] = ["prompt", "question", "problem", "messages", CONVERSATIONS];
/// The column of ShareGPT's form: turns `{"from", "value"}` (OpenThoughts, Bespoke-Stratos), with the system's words in a
/// column of their own.
pub(crate) const CONVERSATIONS: &str = "conversations";
/// Columns that hold the expected answer, in order of precedence.
const ANSWER_COLUMNS: [&str; 3] = ["answer", "ground_truth", "solution"];
/// verl's: an object that holds the answer as `ground_truth`.
const ANSWER_OBJECT: &str = "reward_model";

/// A turn's content: a text, null, or parts of which each is a text.
fn content<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Content {
        Text(String),
        Parts(Vec<Part>),
    }
    #[derive(Deserialize)]
    struct Part {
        r#type: String,
        #[serde(default)]
        text: String,
    }
    match Option::<Content>::deserialize(deserializer)? {
        None => Ok(String::new()),
        Some(Content::Text(text)) => Ok(text),
        Some(Content::Parts(parts)) => match parts.iter().find(|part| part.r#type != "text") {
            None => Ok(parts.into_iter().map(|part| part.text).collect()),
            Some(part) => Err(D::Error::custom(format!("a part of type `{}` is not a text", part.r#type))),
        },
    }
}

/// One turn of ShareGPT's form.
#[derive(Deserialize)]
struct Said {
    from: String,
    value: String,
}

/// Tags around thought and solution (Bespoke-Stratos, OpenThoughts), and what they are here.
const THOUGHT_TAGS: [(&str, &str); 4] = [
    ("<|begin_of_thought|>", "<think>"),
    ("<|end_of_thought|>", "</think>"),
    ("<|begin_of_solution|>", ""),
    ("<|end_of_solution|>", ""),
];

impl Row {
    /// The prompt: the first of the columns `prompt`, `question`, `problem`, `messages`, `conversations` that the row has; a
    /// string, or chat messages that do not end with the assistant's turn.
    pub fn prompt(&self) -> Result<Prompt, RecordError> {
        let Some(name) = self.prompt_column() else {
            return Err(self.error("no prompt", "name the column `prompt` (or question, problem, messages)"));
        };
        let turns: Vec<Message> = match self.raw(name).and_then(|raw| raw.bytes().next()) {
            Some(b'"') => return Ok(Prompt::Text(self.require(name)?)),
            Some(b'[') => self.turns(name)?,
            _ => {
                return Err(self.error_in(
                    name,
                    format!("`{name}` is neither a string nor chat messages"),
                    "give one of the two",
                ));
            }
        };
        match turns.last() {
            None => {
                Err(self.error_in(name, format!("`{name}` has no turns"), "give at least the user's turn"))
            }
            Some(turn) if turn.role == "assistant" => Err(self.error_in(
                name,
                format!("`{name}` ends with the assistant's turn"),
                "a prompt ends with the user's turn; a row to be imitated belongs to r1-sft",
            )),
            Some(_) => Ok(Prompt::Messages(turns)),
        }
    }

    /// The turns in a column: chat messages, or in `conversations` ShareGPT's form with the column `system` in front and the
    /// thought tags of those data sets as `<think>` and `</think>`.
    pub(crate) fn turns(&self, name: &str) -> Result<Vec<Message>, RecordError> {
        if name != CONVERSATIONS || !self.raw(name).is_some_and(|raw| raw.contains("\"from\"")) {
            let turns: Vec<Message> = self.require(name)?;
            if let Some(i) = turns.iter().position(|turn| turn.content.is_empty() && turn.role == "user") {
                let fact = format!("turn {} of `{name}` is the user's and has no content", i + 1);
                return Err(self.error_in(name, fact, "give it what the user says"));
            }
            return Ok(turns);
        }
        let said: Vec<Said> = self.require(name)?;
        let system = self.get::<Option<String>>("system")?.flatten().filter(|text| !text.is_empty());
        let has_own = said.first().is_some_and(|turn| turn.from == "system");
        let mut turns: Vec<Message> =
            system.filter(|_| !has_own).map(|text| Message::new("system", text)).into_iter().collect();
        for turn in said {
            let role = match turn.from.as_str() {
                "human" => "user",
                "gpt" => "assistant",
                other => other,
            };
            let mut text = turn.value;
            if role == "assistant" && THOUGHT_TAGS.iter().all(|(tag, _)| text.matches(tag).count() == 1) {
                for (tag, ours) in THOUGHT_TAGS {
                    text = text.replace(tag, ours);
                }
            }
            turns.push(Message::new(role, text));
        }
        Ok(turns)
    }

    /// The name of the column that holds the prompt, where the row has one.
    pub fn prompt_column(&self) -> Option<&'static str> {
        PROMPT_COLUMNS.into_iter().find(|name| self.has(name))
    }

    /// The expected answer: the first of `answer`, `ground_truth`, `solution` that the row has and that is not null, else
    /// verl's `reward_model.ground_truth`; a string, a number as it is written, or a list of one of them. Of a text with a
    /// GSM8K line `#### 42`, what stands behind the last `####`.
    pub fn answer(&self) -> Result<Option<String>, RecordError> {
        let present = |name: &&str| self.raw(name).is_some_and(|raw| raw != "null");
        let text = match ANSWER_COLUMNS.into_iter().find(present) {
            Some(name) => self.one_answer(name)?,
            None => match self.get::<Option<Judge>>(ANSWER_OBJECT) {
                // A row of another kind may use the name for something else.
                Err(_) | Ok(None | Some(None)) => return Ok(None),
                Ok(Some(Some(Judge { ground_truth }))) => {
                    Cow::Owned(ground_truth.as_str().map_or_else(|| ground_truth.to_string(), str::to_owned))
                }
            },
        };
        Ok(Some(match text.rfind("####") {
            Some(at) => text[at + 4..].lines().next().unwrap_or("").trim().to_string(),
            None => text.into_owned(),
        }))
    }

    /// The verifier that judges the row: the column `task`, by default `math` where there is an answer and `general` where
    /// there is none.
    pub fn task(&self) -> Result<String, RecordError> {
        match self.get::<Option<String>>("task")?.flatten() {
            Some(task) => Ok(task),
            None => Ok(if self.answer()?.is_some() { "math" } else { "general" }.to_string()),
        }
    }

    /// The language that the row says it is in (`en`, `zh` …), where it says so.
    pub fn language(&self) -> Result<Option<String>, RecordError> {
        Ok(self.get::<Option<String>>("language")?.flatten())
    }

    /// The row's own `id` (a string, or a number as it is written), where it has one.
    pub fn id(&self) -> Result<Option<String>, RecordError> {
        match self.raw("id") {
            None | Some("null") => Ok(None),
            Some(_) => {
                let id = self.text_or_number("id")?;
                if id.is_empty() {
                    return Err(self.error_in("id", "`id` is empty", "give it a text, or leave it out"));
                }
                Ok(Some(id.into_owned()))
            }
        }
    }

    /// The row's `id`, or the one it would be given: `row-` and 16 hexadecimal digits of a 64-bit FNV-1a hash of the prompt
    /// and the answer (see [`Row::fingerprint`]). Rows of one prompt and answer so form one group.
    pub fn group_id(&self) -> Result<String, RecordError> {
        match self.id()? {
            Some(id) => Ok(id),
            None => Ok(format!("row-{:016x}", self.fingerprint()?)),
        }
    }

    /// 64-bit FNV-1a over the prompt (its text; or for each turn its role, a unit separator U+001F, its content, a record
    /// separator U+001E), a group separator U+001D, and the answer where there is one. Independent of the columns' order and
    /// of how their text is escaped.
    pub fn fingerprint(&self) -> Result<u64, RecordError> {
        let mut hash = Fnv::new();
        match self.prompt()? {
            Prompt::Text(text) => hash.add(&text),
            Prompt::Messages(turns) => {
                for turn in &turns {
                    hash.add(&turn.role);
                    hash.add("\u{1f}");
                    hash.add(&turn.content);
                    hash.add("\u{1e}");
                }
            }
        }
        hash.add("\u{1d}");
        if let Some(answer) = self.answer()? {
            hash.add(&answer);
        }
        Ok(hash.0)
    }

    /// [`Row::text_or_number`], or a list with one of the two (open-instruct's `ground_truth`).
    fn one_answer(&self, name: &str) -> Result<Cow<'_, str>, RecordError> {
        match self.raw(name).unwrap_or("null").starts_with('[') {
            false => self.text_or_number(name),
            true => match self.require::<Vec<Value>>(name)?.as_slice() {
                [Value::String(text)] => Ok(Cow::Owned(text.clone())),
                [Value::Number(number)] => Ok(Cow::Owned(number.to_string())),
                list => Err(self.error_in(
                    name,
                    format!("`{name}` is a list of {} values, not of one answer", list.len()),
                    "write the one answer as a string",
                )),
            },
        }
    }

    /// A column that is a string, or a number in the words of the file.
    fn text_or_number(&self, name: &str) -> Result<Cow<'_, str>, RecordError> {
        let raw = self.raw(name).unwrap_or("null");
        match raw.bytes().next() {
            Some(b'"') => Ok(Cow::Owned(self.require(name)?)),
            Some(b'-' | b'0'..=b'9') => Ok(Cow::Borrowed(raw)),
            _ => Err(self.error_in(
                name,
                format!("`{name}` is neither a string nor a number"),
                "write it as a string",
            )),
        }
    }
}

/// What verl keeps beside a row's prompt.
#[derive(Deserialize)]
struct Judge {
    ground_truth: Value,
}

/// The 64-bit Fowler–Noll–Vo hash, variant 1a.
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, text: &str) {
        for byte in text.bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(text: &str) -> Row {
        Row::parse(text).unwrap()
    }

    #[test]
    fn fnv_gives_the_published_values() {
        // Test vectors of the FNV authors: the offset basis itself, "a" and "foobar".
        for (text, expected) in
            [("", 0xcbf29ce484222325), ("a", 0xaf63dc4c8601ec8c), ("foobar", 0x85944171f73967e8)]
        {
            let mut hash = Fnv::new();
            hash.add(text);
            assert_eq!(hash.0, expected, "{text}");
        }
    }

    #[test]
    fn common_columns_are_understood() {
        for name in ["prompt", "question", "problem"] {
            assert_eq!(
                row(&format!(r#"{{"{name}":"2+2?"}}"#)).prompt().unwrap(),
                Prompt::Text("2+2?".into())
            );
        }
        let chat =
            row(r#"{"messages":[{"role":"system","content":"s"},{"role":"user","content":"u","name":"x"}]}"#);
        let Prompt::Messages(turns) = chat.prompt().unwrap() else { panic!("messages expected") };
        assert_eq!((turns[1].role.as_str(), turns[1].extra["name"].as_str()), ("user", Some("x")));
        assert_eq!(Prompt::Messages(turns).question(), "u");
        assert!(row(r#"{"messages":[{"role":"assistant","content":"u"}]}"#).prompt().is_err());
        assert!(row(r#"{"prompt":7}"#).prompt().is_err());
        assert!(row(r#"{"prompt":[]}"#).prompt().is_err());
    }

    #[test]
    fn answers_come_as_they_are_written() {
        let answer = |text: &str| row(text).answer().unwrap();
        assert_eq!(answer(r#"{"answer":"14"}"#).as_deref(), Some("14"));
        assert_eq!(answer(r#"{"answer":14.50}"#).as_deref(), Some("14.50"));
        assert_eq!(answer(r#"{"answer":"She sold 48/2 = 24.\n#### 1,072\n"}"#).as_deref(), Some("1,072"));
        assert_eq!(answer(r#"{"solution":"so\n#### 72"}"#).as_deref(), Some("72"));
        assert_eq!(answer(r#"{"solution":"x","answer":null,"ground_truth":"7"}"#).as_deref(), Some("7"));
        assert_eq!(answer(r#"{"prompt":"x"}"#), None);
        assert!(row(r#"{"answer":["7","8"]}"#).answer().is_err());
    }

    #[test]
    fn data_sets_are_read_as_they_come() {
        // verl
        let verl = row(concat!(
            r#"{"data_source":"openai/gsm8k","prompt":[{"role":"user","content":"2+2?"}],"ability":"math","#,
            r#""reward_model":{"style":"rule","ground_truth":"4"},"extra_info":{"split":"train","index":0}}"#
        ));
        assert_eq!(verl.answer().unwrap().as_deref(), Some("4"));
        assert_eq!(verl.task().unwrap(), "math");
        let number = row(r#"{"prompt":"x","reward_model":{"ground_truth":4.0}}"#);
        assert_eq!(number.answer().unwrap().as_deref(), Some("4.0"));
        assert_eq!(row(r#"{"prompt":"x","reward_model":"a name"}"#).answer().unwrap(), None);
        // open-instruct
        let open =
            row(r#"{"messages":[{"role":"user","content":"2+2?"}],"ground_truth":["4"],"dataset":"gsm8k"}"#);
        assert_eq!(open.answer().unwrap().as_deref(), Some("4"));
        // OpenR1-Math
        let math =
            row(r#"{"problem":"2+2?","solution":"long","answer":"4","generations":["a","b"],"messages":[]}"#);
        assert_eq!(math.prompt().unwrap(), Prompt::Text("2+2?".into()));
        assert_eq!(math.answer().unwrap().as_deref(), Some("4"));
        // OpenThoughts, Bespoke-Stratos
        let thought = row(concat!(
            r#"{"system":"S","conversations":[{"from":"user","value":"q"},{"from":"assistant","value":"#,
            r#""<|begin_of_thought|>\n\nhm\n\n<|end_of_thought|>\n\n<|begin_of_solution|>\n\n4\n\n<|end_of_solution|>"}]}"#
        ));
        assert!(thought.prompt().is_err());
        let example = thought.example().unwrap();
        assert_eq!(example.completion, "<think>\n\nhm\n\n</think>\n\n\n\n4\n\n");
        assert_eq!(
            example.prompt,
            Prompt::Messages(vec![Message::new("system", "S"), Message::new("user", "q")])
        );
        let share = row(r#"{"conversations":[{"from":"human","value":"q"}]}"#).prompt().unwrap();
        assert_eq!(share, Prompt::Messages(vec![Message::new("user", "q")]));
        // minimind puts roles and contents under the same name
        let roles =
            row(r#"{"conversations":[{"role":"user","content":"q"},{"role":"assistant","content":"a"}]}"#);
        assert_eq!(roles.example().unwrap().completion, "a");
    }

    #[test]
    fn a_turn_keeps_what_stands_beside_its_text() {
        let chat = row(concat!(
            r#"{"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},"#,
            r#"{"role":"assistant","content":null,"tool_calls":[{"id":"1"}]},{"role":"tool","content":"c"}]}"#
        ));
        let Prompt::Messages(turns) = chat.prompt().unwrap() else { panic!("messages expected") };
        assert_eq!((turns[0].content.as_str(), turns[1].content.as_str()), ("ab", ""));
        assert_eq!(turns[1].extra["tool_calls"][0]["id"], "1");
        let picture = row(r#"{"messages":[{"role":"user","content":[{"type":"image_url"}]}]}"#);
        assert!(picture.prompt().is_err());
    }

    #[test]
    fn task_defaults_by_the_answer() {
        assert_eq!(row(r#"{"answer":"14"}"#).task().unwrap(), "math");
        assert_eq!(row(r#"{"prompt":"hello"}"#).task().unwrap(), "general");
        assert_eq!(row(r#"{"answer":"14","task":"countdown"}"#).task().unwrap(), "countdown");
        assert!(row(r#"{"task":3}"#).task().is_err());
    }

    #[test]
    fn the_filled_in_id_depends_on_prompt_and_answer_only() {
        let id = |text: &str| row(text).group_id().unwrap();
        let first = id(r#"{"prompt":"What is 2 + 3 * 4?","answer":"14"}"#);
        assert_eq!(first, id(r#"{"n":1,"answer":14,"question":"What is 2 \u002b 3 * 4?"}"#));
        assert_ne!(first, id(r#"{"prompt":"What is 2 + 3 * 4?","answer":"15"}"#));
        assert_ne!(first, id(r#"{"prompt":"What is 2 + 3 * 4?"}"#));
        assert!(first.len() == 20 && first.starts_with("row-"));
        assert_eq!(id(r#"{"id":"a","prompt":"x"}"#), "a");
        assert_eq!(id(r#"{"id":7,"prompt":"x"}"#), "7");
        assert!(row(r#"{"id":""}"#).id().is_err() && row(r#"{"id":[1]}"#).id().is_err());
    }
}
