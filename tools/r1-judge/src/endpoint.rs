//! A server as judge: OpenAI's chat completions, as vLLM, SGLang and llama.cpp serve them. Several questions are under way at
//! once; replies come back in the order of the questions.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use r1_cli::signals;
use r1_model::random::hash;
use serde_json::{Value, json};

use crate::Args;
use crate::judge::{Question, Replies};

/// Attempts at one request, with a growing pause between them.
const ATTEMPTS: u32 = 5;
/// First pause; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(500);
/// A reply that takes longer is a failed attempt.
const PATIENCE: Duration = Duration::from_secs(600);

/// The server and how it is asked.
pub struct Endpoint {
    url: String,
    model: String,
    key: Option<String>,
    concurrency: usize,
    temperature: f32,
    top_p: f32,
    max_tokens: usize,
    seed: u64,
    agent: ureq::Agent,
}

/// Why an attempt failed, and whether another may succeed.
struct Failure {
    fact: String,
    again: bool,
}

impl Endpoint {
    /// Settles the flags; nothing is sent yet.
    ///
    /// # Errors
    /// Exit 2: `--model` is missing, an address that is not http, or no such environment variable.
    pub fn new(args: &Args, url: &str) -> Result<Endpoint> {
        let ask = &args.ask;
        if !url.starts_with("http://") {
            return Err(r1_cli::misuse(
                format!("--endpoint {url}: only http:// is spoken here"),
                "give http://HOST:PORT/v1; for https put a local proxy between",
            ));
        }
        let Some(model) = ask.model.clone() else {
            return Err(r1_cli::misuse("--endpoint needs --model", "name the model that the server has"));
        };
        let key = match &ask.api_key_env {
            None => None,
            Some(name) => Some(std::env::var(name).map_err(|_| {
                r1_cli::misuse(
                    format!("--api-key-env {name}: no such variable"),
                    "export it, or leave the flag away",
                )
            })?),
        };
        let config =
            ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).http_status_as_error(false).build();
        Ok(Endpoint {
            url: format!("{}/chat/completions", url.trim_end_matches('/')),
            model,
            key,
            concurrency: ask.concurrency,
            temperature: ask.temperature,
            top_p: ask.top_p,
            max_tokens: ask.max_tokens,
            seed: args.seed.seed,
            agent: config.into(),
        })
    }

    /// Replies to every question, as often as each asks.
    ///
    /// # Errors
    /// The first failure that further attempts did not mend, or a signal.
    pub fn ask(&self, questions: &[Question]) -> Result<Vec<Replies>> {
        let jobs: Vec<(&Question, usize)> =
            questions.iter().flat_map(|q| (0..q.times).map(move |k| (q, k))).collect();
        let done: Vec<Mutex<Option<Result<String>>>> = jobs.iter().map(|_| Mutex::new(None)).collect();
        let next = AtomicUsize::new(0);
        let work = || {
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some((question, k)) = jobs.get(at) else { return };
                let reply = self.reply(question, *k);
                // What is left would be thrown away.
                if reply.is_err() {
                    next.store(jobs.len(), Ordering::Relaxed);
                }
                *done[at].lock().unwrap_or_else(|e| e.into_inner()) = Some(reply);
            }
        };
        thread::scope(|scope| {
            for _ in 0..self.concurrency.min(jobs.len()) {
                scope.spawn(work);
            }
        });
        let mut replies = Vec::with_capacity(jobs.len());
        let mut unasked = false;
        for slot in done {
            match slot.into_inner().unwrap_or_else(|e| e.into_inner()) {
                Some(reply) => replies.push(reply?),
                None => unasked = true,
            }
        }
        if unasked {
            return Err(r1_cli::stopped());
        }
        let mut replies = replies.into_iter();
        Ok(questions.iter().map(|q| Some(replies.by_ref().take(q.times).collect())).collect())
    }

    /// One reply, with several attempts.
    fn reply(&self, question: &Question, k: usize) -> Result<String> {
        let seed = hash(&format!("{}#{}#{k}", self.seed, question.key)) >> 33;
        let body = json!({
            "model": self.model,
            "messages": [{"role": "user", "content": question.text}],
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_tokens": self.max_tokens,
            "seed": seed,
        });
        let body = body.to_string();
        let mut pause = PAUSE;
        for attempt in 1..=ATTEMPTS {
            if signals::stop_requested() {
                return Err(r1_cli::stopped());
            }
            match self.attempt(&body) {
                Ok(reply) => return Ok(reply),
                Err(Failure { fact, again }) if !again || attempt == ATTEMPTS => {
                    let tries = if attempt > 1 { format!(" ({attempt} attempts)") } else { String::new() };
                    return Err(anyhow!(
                        "{}: {fact}{tries}; see that the server is well and run again",
                        self.url
                    ));
                }
                Err(_) => thread::sleep(pause),
            }
            pause *= 2;
        }
        unreachable!("the last attempt returns")
    }

    fn attempt(&self, body: &str) -> Result<String, Failure> {
        let mut request = self.agent.post(&self.url).header("Content-Type", "application/json");
        if let Some(key) = &self.key {
            request = request.header("Authorization", format!("Bearer {key}"));
        }
        let mut response = request.send(body).map_err(|e| Failure { fact: e.to_string(), again: true })?;
        let status = response.status().as_u16();
        let text = response.body_mut().read_to_string();
        let text = text.map_err(|e| Failure { fact: e.to_string(), again: true })?;
        if status != 200 {
            let said: String =
                text.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(200).collect();
            let again = matches!(status, 408 | 429) || status >= 500;
            return Err(Failure { fact: format!("status {status}: {said}"), again });
        }
        content(&text).map_err(|e| Failure { fact: format!("{e:#}"), again: false })
    }
}

/// `choices[0].message.content` of a reply.
fn content(text: &str) -> Result<String> {
    let reply: Value = serde_json::from_str(text).context("the reply is not JSON")?;
    match &reply["choices"][0]["message"]["content"] {
        Value::String(content) => Ok(content.clone()),
        // A reasoning model that ran out of tokens before it said anything.
        Value::Null if reply["choices"][0]["message"].is_object() => Ok(String::new()),
        _ => Err(anyhow!("the reply has no choices[0].message.content")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_found_where_openai_puts_them() {
        assert_eq!(
            content(r#"{"choices":[{"message":{"role":"assistant","content":"hi"}}]}"#).unwrap(),
            "hi"
        );
        assert_eq!(content(r#"{"choices":[{"message":{"content":null}}]}"#).unwrap(), "");
        for bad in ["", "{}", r#"{"choices":[]}"#, r#"{"choices":[{"text":"hi"}]}"#] {
            assert!(content(bad).is_err(), "{bad}");
        }
    }
}
