//! One request after the other, with patience: what may pass is tried again after a growing wait, what a server does not
//! understand is left out for good, anything else is an error in the server's words.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail};
use r1_model::random::mix;
use serde_json::{Value, json};

use super::answer::{self, Choice};

/// The first wait before a request is tried again.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The longest.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// Largest answer that is read.
const LARGEST: u64 = 1 << 28;

/// What is asked.
pub struct Question {
    /// sampling fields
    pub body: Value,
    /// the prompt's tokens and its text
    pub prompt_ids: Option<(Vec<u32>, String)>,
    /// or a conversation
    pub messages: Option<Value>,
}

/// What this server was found not to understand.
#[derive(Default)]
struct Lacks {
    ids: AtomicBool,
    logprobs: AtomicBool,
    many: AtomicBool,
    text_only: AtomicBool,
}

/// A server.
pub struct Client {
    agent: ureq::Agent,
    url: String,
    key: Option<String>,
    model: String,
    retries: u32,
    lacks: Lacks,
    retried: AtomicUsize,
}

/// How a request failed.
enum Failure {
    /// it may pass
    Passing(String, Option<Duration>),
    /// the server refused it: status and words
    Refused(u16, String),
}

impl Client {
    /// Finds the model's name where none is given, which also shows that the server is there. The key comes from
    /// `OPENAI_API_KEY`, where that is set.
    pub fn connect(url: &str, model: Option<&str>, timeout: Duration, retries: u32) -> Result<Client> {
        let url = url.trim_end_matches('/').to_string();
        if !url.starts_with("http://") {
            return Err(r1_cli::misuse(
                format!("--endpoint {url}: not an http:// address (TLS is not built in)"),
                "name it as http://host:port/v1, through a tunnel where it is far away",
            ));
        }
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(timeout))
            .timeout_connect(Some(timeout.min(Duration::from_secs(20))))
            .build();
        let key = std::env::var("OPENAI_API_KEY").ok().filter(|key| !key.is_empty());
        let mut client = Client {
            agent: config.into(),
            url,
            key,
            model: String::new(),
            retries,
            lacks: Lacks::default(),
            retried: AtomicUsize::new(0),
        };
        client.model = match model {
            Some(name) => name.to_string(),
            None => client.only_model()?,
        };
        Ok(client)
    }

    /// The model's name.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// Requests that were tried again.
    pub fn retried(&self) -> usize {
        self.retried.load(Ordering::Relaxed)
    }

    fn only_model(&self) -> Result<String> {
        let answer = self.patiently(&AtomicBool::new(false), || self.send("models", None))?;
        let answer =
            answer.map_err(|(status, words)| anyhow!("{}/models: status {status}: {words}", self.url))?;
        let names: Vec<&str> =
            answer["data"].as_array().into_iter().flatten().filter_map(|m| m["id"].as_str()).collect();
        match names.as_slice() {
            [one] => Ok((*one).to_string()),
            [] => bail!("{}/models names no model; name one with --model", self.url),
            many => bail!("{}/models names {}; choose with --model", self.url, many.join(", ")),
        }
    }

    /// The choices that the server gives, at least one.
    ///
    /// # Errors
    /// The server's refusal, or the last failure when patience ends.
    pub fn ask(&self, question: &Question, over: &AtomicBool) -> Result<Vec<Choice>> {
        let path = if question.messages.is_some() { "chat/completions" } else { "completions" };
        loop {
            let body = self.body(question);
            let once = || {
                let answer = self.send(path, Some(&body))?;
                answer::choices(&answer).map_err(|fact| Failure::Passing(fact, None))
            };
            match self.patiently(over, once)? {
                Ok(choices) => return Ok(choices),
                Err((status, words)) if self.learn(&body, &words) => {
                    r1_cli::note(&format!(
                        "the server refuses a part of the request (status {status}), going on without it"
                    ));
                }
                Err((status, words)) => bail!("status {status}: {words}"),
            }
        }
    }

    /// A question in the words that this server understands.
    fn body(&self, question: &Question) -> Value {
        let mut body = question.body.clone();
        body["model"] = json!(self.model);
        if !self.lacks.ids.load(Ordering::SeqCst) {
            body["return_token_ids"] = json!(true);
        }
        if self.lacks.many.load(Ordering::SeqCst) {
            body["n"] = json!(1);
        }
        let logprobs = !self.lacks.logprobs.load(Ordering::SeqCst);
        match (&question.messages, &question.prompt_ids) {
            (Some(messages), _) => {
                body["messages"] = messages.clone();
                if logprobs {
                    body["logprobs"] = json!(true);
                }
            }
            (None, Some((ids, text))) => {
                let text_only = self.lacks.text_only.load(Ordering::SeqCst);
                body["prompt"] = if text_only { json!(text) } else { json!(ids) };
                if logprobs {
                    body["logprobs"] = json!(1);
                }
            }
            (None, None) => unreachable!("a question has a prompt"),
        }
        body
    }

    /// Whether a refusal names something that can be left out, which is then left out of every request.
    fn learn(&self, body: &Value, words: &str) -> bool {
        let words = words.to_lowercase();
        let drop = |named: bool, there: bool, lack: &AtomicBool| {
            named && there && !lack.swap(true, Ordering::SeqCst)
        };
        drop(words.contains("logprob"), body.get("logprobs").is_some(), &self.lacks.logprobs)
            || drop(
                words.contains("return_token_ids"),
                body.get("return_token_ids").is_some(),
                &self.lacks.ids,
            )
            || drop(words.contains("prompt"), body["prompt"].is_array(), &self.lacks.text_only)
            || drop(
                words.contains("`n`")
                    || words.contains("'n'")
                    || words.contains("\"n\"")
                    || words.contains("n must"),
                body["n"] != json!(1),
                &self.lacks.many,
            )
    }

    /// Tries until it succeeds, is refused, or patience ends.
    fn patiently<T>(
        &self,
        over: &AtomicBool,
        mut once: impl FnMut() -> Result<T, Failure>,
    ) -> Result<Result<T, (u16, String)>> {
        let mut wait = FIRST_WAIT;
        for attempt in 0.. {
            let (fact, asked) = match once() {
                Ok(found) => return Ok(Ok(found)),
                Err(Failure::Refused(status, words)) => return Ok(Err((status, words))),
                Err(Failure::Passing(fact, asked)) => (fact, asked),
            };
            if attempt >= self.retries {
                bail!(
                    "{fact}; {} attempts failed, see that the server is well, or raise --retries",
                    attempt + 1
                );
            }
            let turn = self.retried.fetch_add(1, Ordering::Relaxed) as u64;
            // Half of the wait is jittered, so that many requests do not come back together.
            let jitter = 0.5 + 0.5 * (mix(turn) >> 11) as f64 / (1u64 << 53) as f64;
            sleep(asked.unwrap_or_else(|| wait.mul_f64(jitter)).min(LONGEST_WAIT), over)?;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
        unreachable!("the loop ends in a return")
    }

    /// One request, one answer.
    fn send(&self, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
        let passing = |fact: String| Failure::Passing(fact, None);
        let url = format!("{}/{path}", self.url);
        let key = self.key.as_ref().map(|key| format!("Bearer {key}"));
        let sent = match body {
            Some(body) => {
                let mut request = self.agent.post(&url).header("content-type", "application/json");
                if let Some(key) = &key {
                    request = request.header("authorization", key);
                }
                request.send(body.to_string())
            }
            None => {
                let mut request = self.agent.get(&url);
                if let Some(key) = &key {
                    request = request.header("authorization", key);
                }
                request.call()
            }
        };
        let mut response = sent.map_err(|e| passing(format!("{url}: {e}")))?;
        let status = response.status().as_u16();
        let header = |name: &str| response.headers().get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
        let asked = header("retry-after")
            .filter(|s| *s >= 0.0 && s.is_finite())
            .map(|s| Duration::from_secs_f64(s.min(60.0)));
        let text = response.body_mut().with_config().limit(LARGEST).read_to_string();
        let text = text.map_err(|e| passing(format!("{url}: the answer broke off: {e}")))?;
        match status {
            200..=299 => {
                serde_json::from_str(&text).map_err(|e| passing(format!("{url}: the answer is no JSON: {e}")))
            }
            // Some servers call a request that they do not understand a failure of their own.
            500..=599 if ["validation error", "not supported"].iter().any(|w| text.contains(w)) => {
                Err(Failure::Refused(status, words_of(&text)))
            }
            408 | 409 | 425 | 429 | 500..=599 => {
                Err(Failure::Passing(format!("{url}: status {status}: {}", words_of(&text)), asked))
            }
            _ => Err(Failure::Refused(status, words_of(&text))),
        }
    }
}

/// The server's words, on one line.
fn words_of(text: &str) -> String {
    let parsed: Option<Value> = serde_json::from_str(text).ok();
    let message = parsed.as_ref().and_then(|v| {
        [&v["error"]["message"], &v["message"], &v["error"], &v["detail"]]
            .into_iter()
            .find(|m| !m.is_null())
            .cloned()
    });
    let words = message
        .map_or_else(|| text.to_string(), |m| m.as_str().map_or_else(|| m.to_string(), str::to_string));
    words.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(300).collect()
}

/// Waits, unless the run ends.
fn sleep(time: Duration, over: &AtomicBool) -> Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < time {
        if over.load(Ordering::SeqCst) || r1_cli::signals::stop_requested() {
            bail!("stopped");
        }
        std::thread::sleep(Duration::from_millis(20).min(time));
    }
    Ok(())
}
