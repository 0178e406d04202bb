//! A server as judge: each question is a conversation of one turn. Several are under way at once; replies come back in the order
//! of the questions.

use std::sync::Arc;

use anyhow::{Context, Result};
use r1_endpoint::{Client, Prompt, Question as Asked, in_order};
use r1_model::random::hash;
use serde_json::{Value, json};

use crate::Args;
use crate::judge::{Question, Replies};

/// The server and how it is asked.
pub struct Endpoint {
    client: Arc<Client>,
    concurrency: usize,
    /// sampling fields of every request
    sampling: Value,
    seed: u64,
}

impl Endpoint {
    /// The server at `url`.
    ///
    /// # Errors
    /// Those of [`r1_endpoint::Flags::connect`].
    pub fn connect(args: &Args, url: &str) -> Result<Endpoint> {
        let ask = &args.ask;
        Ok(Endpoint {
            client: Arc::new(args.server.connect(url)?),
            concurrency: args.server.concurrency as usize,
            sampling: json!({"temperature": ask.temperature, "top_p": ask.top_p, "max_tokens": ask.max_tokens}),
            seed: args.seed.seed,
        })
    }

    /// Replies to every question, as often as each asks.
    ///
    /// # Errors
    /// The first failure that further attempts did not mend, or a signal.
    pub fn ask(&self, questions: &[Question]) -> Result<Vec<Replies>> {
        let jobs: Vec<Asked> =
            questions.iter().flat_map(|q| (0..q.times).map(|k| self.request(q, k))).collect();
        let (client, count) = (self.client.clone(), jobs.len());
        let mut replies = Vec::with_capacity(count);
        let ask = move |i: usize, over: &_| {
            let choices = client.ask(&jobs[i], over)?;
            choices.into_iter().next().map(|choice| choice.text).context("no choice")
        };
        in_order(0..count, self.concurrency, ask, |_, reply: String| {
            replies.push(reply);
            Ok(())
        })?;
        let mut replies = replies.into_iter();
        Ok(questions.iter().map(|q| Some(replies.by_ref().take(q.times).collect())).collect())
    }

    /// The k-th time that a question is asked.
    fn request(&self, question: &Question, k: usize) -> Asked {
        let mut body = self.sampling.clone();
        body["seed"] = json!(hash(&format!("{}#{}#{k}", self.seed, question.key)) >> 33);
        let turn = json!([{"role": "user", "content": question.text}]);
        Asked { prompt: Prompt::Messages(turn), body, tokens: false }
    }
}
