//! Questions in the words that a server understands.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, anyhow, bail};
use serde_json::{Value, json};

use crate::answer::{self, Choice};
use crate::patience::{Failure, Patience, Refusal};
use crate::wire::Wire;

/// What a completion follows.
#[derive(Clone, Debug)]
pub enum Prompt {
    /// its tokens, and its text for servers that take no ids
    Tokens(Vec<u32>, String),
    /// a conversation, which the server's chat template renders
    Messages(Value),
}

/// What is asked.
#[derive(Clone, Debug)]
pub struct Question {
    /// the prompt
    pub prompt: Prompt,
    /// sampling fields
    pub body: Value,
    /// whether token ids and log-probabilities are wanted beside the text
    pub tokens: bool,
}

/// Sampling fields that servers have defaults of their own for, which change what is drawn (llama-cpp-python a penalty of 1.1, vLLM
/// whatever the model's generation_config.json says): where the question does not ask for one, the value that changes
/// nothing is sent, as far as the server understands it.
const NEUTRAL: [(&str, f64); 4] =
    [("top_k", 0.0), ("min_p", 0.0), ("repetition_penalty", 1.0), ("repeat_penalty", 1.0)];

/// What this server was found not to understand.
#[derive(Default)]
struct Lacks {
    ids: AtomicBool,
    logprobs: AtomicBool,
    many: AtomicBool,
    text_only: AtomicBool,
    /// for each of [`NEUTRAL`]
    neutral: [AtomicBool; NEUTRAL.len()],
}

/// A server.
pub struct Client {
    wire: Wire,
    model: String,
    patience: Patience,
    lacks: Lacks,
}

impl Client {
    pub(crate) fn of(wire: Wire, model: Option<&str>, retries: u32) -> Result<Client> {
        let patience = Patience::of(retries);
        let mut client = Client { wire, model: String::new(), patience, lacks: Lacks::default() };
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

    /// The address, without a slash at its end.
    pub fn url(&self) -> &str {
        self.wire.url()
    }

    /// Requests that were tried again.
    pub fn retried(&self) -> usize {
        self.patience.retried()
    }

    fn only_model(&self) -> Result<String> {
        let url = format!("{}/models", self.url());
        let answer = self.patience.try_until(&AtomicBool::new(false), || self.wire.send("models", None))?;
        let answer = answer.map_err(|refusal| refused(&url, refusal))?;
        let names: Vec<&str> =
            answer["data"].as_array().into_iter().flatten().filter_map(|m| m["id"].as_str()).collect();
        match names.as_slice() {
            [one] => Ok((*one).to_string()),
            [] => bail!("{url} names no model; name one with --model"),
            many => {
                let more = if many.len() > 5 { ", …" } else { "" };
                bail!("{url} names {}{more}; choose with --model", many[..many.len().min(5)].join(", "))
            }
        }
    }

    /// The choices that the server gives, at least one. A set `over` ends the waiting between attempts.
    ///
    /// # Errors
    /// The server's refusal, or the last failure when patience ends.
    pub fn ask(&self, question: &Question, over: &AtomicBool) -> Result<Vec<Choice>> {
        let path = match question.prompt {
            Prompt::Messages(_) => "chat/completions",
            Prompt::Tokens(..) => "completions",
        };
        loop {
            let body = self.body(question);
            let once = || {
                let answer = self.wire.send(path, Some(&body))?;
                answer::choices(&answer)
                    .map_err(|fact| Failure::Passing(format!("{}/{path}: {fact}", self.url()), None))
            };
            match self.patience.try_until(over, once)? {
                Ok(choices) => return Ok(choices),
                Err((status, words)) => match self.learn(&body, &words) {
                    Some(name) => {
                        r1_cli::note(&format!(
                            "the server refuses {name} (status {status}): going on without"
                        ));
                    }
                    None => return Err(refused(&format!("{}/{path}", self.url()), (status, words))),
                },
            }
        }
    }

    /// A question in the words that this server understands.
    fn body(&self, question: &Question) -> Value {
        let lacks = |lack: &AtomicBool| lack.load(Ordering::SeqCst);
        let mut body = question.body.clone();
        body["model"] = json!(self.model);
        if lacks(&self.lacks.many) && body.get("n").is_some() {
            body["n"] = json!(1);
        }
        for ((name, value), lack) in NEUTRAL.iter().zip(&self.lacks.neutral) {
            if body.get(*name).is_none() && !lacks(lack) {
                body[*name] = neutral(*value);
            }
        }
        let logprobs = question.tokens && !lacks(&self.lacks.logprobs);
        if question.tokens && !lacks(&self.lacks.ids) {
            body["return_token_ids"] = json!(true);
        }
        match &question.prompt {
            Prompt::Messages(messages) => {
                body["messages"] = messages.clone();
                if logprobs {
                    body["logprobs"] = json!(true);
                    // llama-cpp-python gives none otherwise.
                    body["top_logprobs"] = json!(1);
                }
            }
            Prompt::Tokens(ids, text) => {
                body["prompt"] = if lacks(&self.lacks.text_only) { json!(text) } else { json!(ids) };
                if logprobs {
                    body["logprobs"] = json!(1);
                }
            }
        }
        body
    }

    /// What a refusal names that can be left out, which is then left out of every request.
    fn learn(&self, body: &Value, words: &str) -> Option<&'static str> {
        let words = words.to_lowercase();
        let names_n = ["`n`", "'n'", "\"n\"", "n must"].iter().any(|name| words.contains(name));
        let has = |key: &str| body.get(key).is_some();
        let lacks = &self.lacks;
        let own = [
            ("logprobs", words.contains("logprob") && has("logprobs"), &lacks.logprobs),
            ("return_token_ids", words.contains("return_token_ids") && has("return_token_ids"), &lacks.ids),
            (
                "a prompt of token ids",
                words.contains("prompt") && body["prompt"].is_array(),
                &lacks.text_only,
            ),
            ("n", names_n && body["n"].as_u64().is_some_and(|n| n > 1), &lacks.many),
        ];
        let ours = |(name, value): &(&str, f64)| words.contains(name) && body[*name] == neutral(*value);
        let fields = NEUTRAL.iter().zip(&lacks.neutral).map(|(field, lack)| (field.0, ours(field), lack));
        let (name, _, lack) = fields.chain(own).find(|(_, meant, _)| *meant)?;
        lack.store(true, Ordering::SeqCst);
        Some(name)
    }
}

/// As JSON, whole where it is.
fn neutral(value: f64) -> Value {
    if value == 0.0 { json!(0) } else { json!(value) }
}

/// A refusal as an error. Status 0 is one that did not come from the server but from us.
fn refused(url: &str, (status, words): Refusal) -> anyhow::Error {
    if status == 0 { anyhow!("{words}") } else { anyhow!("{url}: status {status}: {words}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn client() -> Client {
        let wire = Wire::open("http://localhost:1/v1", None, Duration::from_secs(1)).unwrap();
        Client::of(wire, Some("m"), 0).unwrap()
    }

    #[test]
    fn what_a_refusal_names_is_left_out_of_the_next_request() {
        let client = client();
        let question = Question {
            prompt: Prompt::Tokens(vec![1, 2], "ab".into()),
            body: json!({"n": 4, "top_p": 1.0}),
            tokens: true,
        };
        let whole = client.body(&question);
        assert_eq!(
            whole,
            json!({"n": 4, "top_p": 1.0, "model": "m", "return_token_ids": true, "prompt": [1, 2], "logprobs": 1,
                "top_k": 0, "min_p": 0, "repetition_penalty": 1.0, "repeat_penalty": 1.0})
        );
        for name in NEUTRAL.map(|(name, _)| name) {
            assert_eq!(
                client.learn(&client.body(&question), &format!("Unknown parameter: '{name}'.")),
                Some(name)
            );
            assert!(client.body(&question).get(name).is_none());
        }
        // What was asked for is not left out.
        let asked = json!({"top_k": 5, "repeat_penalty": 1.2});
        let asked = Question { body: asked, ..question.clone() };
        assert_eq!(client.learn(&client.body(&asked), "Unknown parameter: 'top_k'"), None);
        assert_eq!(client.body(&asked)["repeat_penalty"], 1.2);
        for (words, left) in [
            ("logprobs is not supported", json!({"n": 4, "return_token_ids": true, "prompt": [1, 2]})),
            ("unknown field return_token_ids", json!({"n": 4, "prompt": [1, 2]})),
            ("`n` must be 1", json!({"n": 1, "prompt": [1, 2]})),
            ("prompt: Input should be a valid string", json!({"n": 1, "prompt": "ab"})),
        ] {
            assert!(client.learn(&client.body(&question), words).is_some(), "{words}");
            let mut body = client.body(&question);
            ["model", "top_p"].iter().for_each(|key| drop(body.as_object_mut().unwrap().remove(*key)));
            assert_eq!(body, left, "{words}");
            // Refused for the same thing again: there is nothing left to leave out.
            assert_eq!(client.learn(&client.body(&question), words), None, "{words}");
        }
        assert_eq!(client.learn(&client.body(&question), "the model is not loaded"), None);
    }

    #[test]
    fn two_requests_that_are_refused_at_once_both_learn() {
        let client = client();
        let question = Question { prompt: Prompt::Messages(json!([])), body: json!({"n": 2}), tokens: true };
        let both = client.body(&question);
        assert_eq!([(); 2].map(|()| client.learn(&both, "logprobs")), [Some("logprobs"); 2]);
    }
}
