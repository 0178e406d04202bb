//! What a server answered. Servers differ in where they put token ids and log-probabilities; all known places are looked at.

use serde_json::Value;

/// Why a completion ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    /// by itself, or at a stop text
    Stop,
    /// at the token limit
    Length,
}

/// One completion as a server gives it.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// what it says; empty where a reasoning model ran out of tokens before it said anything
    pub text: String,
    /// what it thought, where the server keeps that apart
    pub reasoning: Option<String>,
    /// why it ended, where the server says one of the two
    pub finish: Option<Finish>,
    /// the prompt's tokens
    pub prompt_ids: Option<Vec<u32>>,
    /// its tokens
    pub ids: Option<Vec<u32>>,
    /// at temperature 1, one for each id
    pub logprobs: Option<Vec<f32>>,
    /// tokens, where anything tells their number
    pub tokens: usize,
}

/// The choices of an answer, in the order of their `index`.
///
/// # Errors
/// What is missing or malformed, in words.
pub fn choices(answer: &Value) -> Result<Vec<Choice>, String> {
    let list = answer["choices"].as_array().ok_or("the answer has no `choices`")?;
    if list.is_empty() {
        return Err("the answer has no choice in `choices`".to_string());
    }
    let mut list: Vec<&Value> = list.iter().collect();
    list.sort_by_key(|c| c["index"].as_u64().unwrap_or(0));
    let counted = answer["usage"]["completion_tokens"].as_u64().unwrap_or(0) as usize / list.len();
    list.into_iter()
        .map(|c| {
            let message = &c["message"];
            let silent = (message.is_object() && message["content"].is_null()).then_some("");
            let text = c["text"].as_str().or_else(|| message["content"].as_str()).or(silent);
            let text = text.ok_or("a choice has neither `text` nor `message.content`")?.to_string();
            // DeepSeek, SGLang and vLLM; newer vLLM.
            let reasoning = message["reasoning_content"].as_str().or_else(|| message["reasoning"].as_str());
            let reasoning = reasoning.filter(|said| !said.trim().is_empty()).map(str::to_string);
            let finish = match c["finish_reason"].as_str() {
                Some("stop") => Some(Finish::Stop),
                Some("length") => Some(Finish::Length),
                Some("abort" | "error") => return Err("the server gave a completion up".to_string()),
                _ => None,
            };
            let ids = numbers(&c["token_ids"]).or_else(|| ids_among(&c["logprobs"]));
            let logprobs =
                logprobs(&c["logprobs"]).filter(|l| ids.as_ref().is_some_and(|ids| ids.len() == l.len()));
            let prompt_ids = numbers(&c["prompt_token_ids"]).or_else(|| numbers(&answer["prompt_token_ids"]));
            let tokens = ids.as_ref().map_or(counted, Vec::len);
            Ok(Choice { text, reasoning, finish, prompt_ids, ids, logprobs, tokens })
        })
        .collect()
}

/// A list of token ids.
fn numbers(list: &Value) -> Option<Vec<u32>> {
    let ids = list.as_array()?.iter().map(|id| u32::try_from(id.as_u64()?).ok());
    ids.collect::<Option<Vec<u32>>>().filter(|ids| !ids.is_empty())
}

/// Ids beside the log-probabilities: `id` of each entry (llama.cpp), or tokens spelled `token_id:7` (vLLM).
fn ids_among(logprobs: &Value) -> Option<Vec<u32>> {
    let spelled = |token: &Value| token.as_str()?.strip_prefix("token_id:")?.parse().ok();
    let ids: Option<Vec<u32>> = match (logprobs["content"].as_array(), logprobs["tokens"].as_array()) {
        (Some(entries), _) => entries
            .iter()
            .map(|e| e["id"].as_u64().and_then(|id| u32::try_from(id).ok()).or_else(|| spelled(&e["token"])))
            .collect(),
        (None, Some(tokens)) => tokens.iter().map(spelled).collect(),
        (None, None) => None,
    };
    ids.filter(|ids| !ids.is_empty())
}

/// Finite log-probabilities, one a token, of either form.
fn logprobs(logprobs: &Value) -> Option<Vec<f32>> {
    let list: Option<Vec<f32>> = match (logprobs["content"].as_array(), logprobs["token_logprobs"].as_array())
    {
        (Some(entries), _) => entries.iter().map(|e| Some(e["logprob"].as_f64()? as f32)).collect(),
        (None, Some(list)) => list.iter().map(|l| Some(l.as_f64()? as f32)).collect(),
        (None, None) => None,
    };
    list.filter(|list| list.iter().all(|l| l.is_finite()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_servers_form_is_read() {
        let vllm = json!({"choices": [
            {"index": 1, "text": "b", "finish_reason": "length", "token_ids": [5], "prompt_token_ids": [1, 2],
             "logprobs": {"tokens": ["b"], "token_logprobs": [-0.5]}},
            {"index": 0, "text": "a", "finish_reason": "stop",
             "logprobs": {"tokens": ["token_id:7", "token_id:2"], "token_logprobs": [-0.25, -1.0]}}]});
        let read = choices(&vllm).unwrap();
        assert_eq!(
            (read[0].text.as_str(), &read[0].ids, &read[0].logprobs),
            ("a", &Some(vec![7, 2]), &Some(vec![-0.25, -1.0]))
        );
        assert_eq!(
            (&read[1].ids, &read[1].prompt_ids, read[1].finish),
            (&Some(vec![5]), &Some(vec![1, 2]), Some(Finish::Length))
        );
        let llama = json!({"choices": [{"message": {"content": "x"}, "finish_reason": "stop",
            "logprobs": {"content": [{"id": 9, "token": "x", "logprob": -0.125}]}}]});
        assert_eq!(choices(&llama).unwrap()[0].ids, Some(vec![9]));
        let apart = json!({"choices": [{"message": {"content": null, "reasoning_content": "hm"}, "finish_reason": "length"}]});
        let read = &choices(&apart).unwrap()[0];
        assert_eq!((read.text.as_str(), read.reasoning.as_deref()), ("", Some("hm")));
        // Text alone; log-probabilities of unknown tokens are of no use.
        let plain = json!({"choices": [{"text": "x", "logprobs": {"tokens": ["x"], "token_logprobs": [-1.0]}}],
            "usage": {"completion_tokens": 4}});
        let read = &choices(&plain).unwrap()[0];
        assert_eq!((&read.ids, &read.logprobs, read.tokens), (&None, &None, 4));
    }

    #[test]
    fn what_is_malformed_is_named() {
        for (bad, word) in [
            (json!({"object": "error"}), "choices"),
            (json!({"choices": []}), "no choice"),
            (json!({"choices": [{"index": 0}]}), "text"),
            (json!({"choices": [{"text": "x", "finish_reason": "abort"}]}), "gave a completion up"),
        ] {
            assert!(choices(&bad).unwrap_err().contains(word));
        }
    }
}
