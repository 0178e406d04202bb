//! `--endpoint`: an OpenAI-compatible server that this test plays, well and badly.

use super::*;
use crate::stub::*;
use serde_json::json;
use std::time::{Duration, Instant};

/// As vLLM answers: `n` choices with ids, a token being a function of prompt, seed and place.
fn well(body: &Value) -> Act {
    let prompt = body["prompt"].as_array().expect("token ids").len() as u64;
    let choices: Vec<Value> = (0..body["n"].as_u64().unwrap_or(1))
        .map(|i| {
            let id = (prompt + body["seed"].as_u64().unwrap() % 7 + i) % 50 + 10;
            json!({"index": i, "text": format!("t{id}"), "finish_reason": "stop", "token_ids": [id, 2],
                "prompt_token_ids": body["prompt"],
                "logprobs": {"tokens": ["a", "b"], "token_logprobs": [-0.5, -0.25]}})
        })
        .collect();
    Act::Say(200, json!({"choices": choices}).to_string())
}

fn draw(url: &str, policy: &str, flags: &str, rows: &str) -> Outcome {
    rollout(policy, &format!("--endpoint {url} --max-tokens 8 {flags}"), rows)
}

#[test]
fn a_good_server_gives_rows_with_ids_in_order() {
    let given = tasks(12);
    let (url, asked) = serve(|_, path, body| if path == "/v1/models" { models() } else { well(body) });
    let made = draw(&url, qwen(), "--samples 3 --top-k 5 --seed 3 --concurrency 5", &given).success();
    let local = rollout(qwen(), "--max-tokens 1", &given).rows();
    let read = rows(&made);
    assert_eq!(read.len(), 36);
    for (i, row) in read.iter().enumerate() {
        assert_eq!(
            (&row["id"], row["rollout"]["sample"].as_u64()),
            (&local[i / 3]["id"], Some(i as u64 % 3))
        );
        assert_eq!(row["rollout"]["prompt_ids"], local[i / 3]["rollout"]["prompt_ids"]);
        assert_eq!((ids(row, "completion_ids").len(), list(row, "logprobs").len()), (2, 2));
        assert_eq!(row["rollout"]["policy"], "model:stub");
    }
    // The same again, whatever the order in which answers come.
    assert_eq!(draw(&url, qwen(), "--samples 3 --top-k 5 --seed 3 --concurrency 1", &given).success(), made);
    let Request { path, body, .. } = &asked.lock().unwrap()[1].clone();
    assert_eq!((path.as_str(), &body["n"], &body["top_k"]), ("/v1/completions", &json!(3), &json!(5)));
    // Nothing is left to the server's own defaults, which may change what is drawn.
    assert!(body["min_p"] == 0 && body["repeat_penalty"] == 1.0 && body["model"] == "stub", "{body}");
    // At another temperature a server's log-probabilities are not those that were drawn from.
    let cold = draw(&url, qwen(), "--temperature 0.5", &given).rows();
    assert!(cold.iter().all(
        |row| row["rollout"].get("logprobs").is_none() && row["rollout"].get("completion_ids").is_some()
    ));
}

#[test]
fn what_passes_is_tried_again_and_the_rows_are_the_same() {
    let given = tasks(9);
    let (url, _) = serve(|_, path, body| if path == "/v1/models" { models() } else { well(body) });
    let whole = draw(&url, qwen(), "--samples 2", &given).success();
    let (bad, asked) = limping(well);
    let made = draw(&bad, qwen(), "--samples 2 --timeout 1 --concurrency 1 --retries 7", &given);
    assert_eq!(made.success(), whole);
    assert_eq!(asked.lock().unwrap().len(), 1 + 9 + FAULTS);
    assert!(was_left_alone(&asked));
    // Several at once share the faults.
    let (bad, asked) = limping(well);
    assert_eq!(draw(&bad, qwen(), "--samples 2 --timeout 1 --concurrency 3", &given).success(), whole);
    assert_eq!(asked.lock().unwrap().len(), 1 + 9 + FAULTS);
}

#[test]
fn a_key_and_a_certificate_are_taken_from_the_environment() {
    let (dir, given) = (scratch(), tasks(2));
    let plan = |_: usize, path: &str, body: &Value| if path == "/v1/models" { models() } else { well(body) };
    let (url, asked, authority) = serve_tls(dir.path(), plan);
    let draw = |url: &str, flags: &[&str], variables: &[(&str, &str)]| {
        let all = [&[qwen(), "-", "-q", "--endpoint", url, "--max-tokens", "8", "--retries", "0"][..], flags]
            .concat();
        let mut command = command("r1-rollout", &all);
        command.env_remove("OPENAI_API_KEY").env_remove("SSL_CERT_FILE").envs(variables.iter().copied());
        command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        wait(command.stderr(std::process::Stdio::piped()).spawn().unwrap(), given.as_bytes())
    };
    let trusted = ("SSL_CERT_FILE", authority.to_str().unwrap());
    let made = draw(&url, &[], &[trusted, ("OPENAI_API_KEY", "sk-one")]).success();
    assert!(asked.lock().unwrap().iter().all(|request| request.key.as_deref() == Some("Bearer sk-one")));
    let (plain, asked) = serve(plan);
    assert_eq!(draw(&plain, &[], &[]).success(), made, "with TLS or without, the same rows");
    assert!(asked.lock().unwrap().iter().all(|request| request.key.is_none()));
    draw(&plain, &["--api-key-env", "MINE"], &[("MINE", "sk-two"), ("OPENAI_API_KEY", "sk-one")]).success();
    assert_eq!(asked.lock().unwrap().last().unwrap().key.as_deref(), Some("Bearer sk-two"));

    let strange = draw(&url, &[], &[("OPENAI_API_KEY", "sk-one")]);
    strange.refused(1, &["certificate", "SSL_CERT_FILE"]);
    assert!(!strange.stderr.contains("sk-one"));
    draw(&plain, &["--api-key-env", "MINE"], &[]).refused(2, &["MINE", "export it"]);
    draw(&url, &[], &[("SSL_CERT_FILE", "/nowhere.pem")]).refused(2, &["SSL_CERT_FILE=/nowhere.pem"]);
    draw(&url, &[], &[("SSL_CERT_FILE", "Cargo.toml")]).refused(2, &["no certificate"]);
    draw("http://me:secret@localhost/v1", &[], &[]).refused(2, &["--api-key-env"]);
    // The key is not carried to wherever a server sends us.
    let (elsewhere, there) = serve(plan);
    let to: &'static str = Box::leak(format!("location: {elsewhere}/models").into_boxed_str());
    let (moved, _) = serve(move |_, _, _| Act::SayWith(307, to, "moved".into()));
    draw(&moved, &[], &[("OPENAI_API_KEY", "sk-one")]).refused(1, &["status 307: moved"]);
    assert!(there.lock().unwrap().is_empty());
}

#[test]
fn reasoning_that_a_server_keeps_apart_is_put_back() {
    let (url, _) = serve(|_, path, _| {
        let message = json!({"content": "\n\n14", "reasoning_content": "3 * 4 = 12\n"});
        let whole = json!({"choices": [{"message": message, "finish_reason": "stop"}]}).to_string();
        if path == "/v1/models" { models() } else { Act::Say(200, whole) }
    });
    let made = draw(&url, "-", "", r#"{"prompt":"What is 2 + 3 * 4?"}"#).rows();
    assert_eq!(made[0]["rollout"]["completion"], "<think>\n3 * 4 = 12\n</think>\n\n14");
}

#[test]
fn servers_that_understand_less_are_understood() {
    let given = tasks(3);
    // Text prompts, one choice a time, no log-probabilities, no ids, no top-k but what it is asked for.
    let (url, _) = serve(|_, path, body| {
        let refuse = |words: &str| Act::Say(400, json!({"error": {"message": words}}).to_string());
        if path == "/v1/models" {
            models()
        } else if body["prompt"].is_array() {
            // As llama-cpp-python has it: a failure of its own.
            let words = "1 validation errors: {'loc': ('body', 'prompt', 'str'), 'msg': 'Input should be a valid string'}";
            Act::Say(500, json!({"error": {"message": words}}).to_string())
        } else if body.get("top_k").is_some() {
            refuse("Unknown parameter: 'top_k'.")
        } else if body.get("logprobs").is_some() {
            refuse("logprobs is not supported for this model")
        } else if body.get("return_token_ids").is_some() {
            refuse("unknown field return_token_ids")
        } else {
            let text = format!("{} {}", body["seed"], body["prompt"].as_str().unwrap().len());
            Act::Say(200, json!({"choices": [{"text": text, "finish_reason": "length"}]}).to_string())
        }
    });
    let mut arguments = vec![qwen(), "-", "--endpoint", &url, "--samples", "3", "--concurrency", "1"];
    arguments.extend(["--max-tokens", "8"]);
    let outcome = run("r1-rollout", &arguments, &given);
    assert!(outcome.stderr.contains("9 of 9 completions came without token ids"), "{}", outcome.stderr);
    let made = outcome.rows();
    let mut texts: Vec<&str> =
        made.iter().map(|row| row["rollout"]["completion"].as_str().unwrap()).collect();
    assert!(made.iter().all(|row| row["rollout"].get("completion_ids").is_none()));
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), 9, "each sample has a seed of its own");
    // A conversation goes to the chat template of the server.
    let (url, asked) = serve(|_, path, _| {
        if path == "/v1/models" {
            return models();
        }
        Act::Say(
            200,
            json!({"choices": [{"message": {"content": "14"}, "finish_reason": "stop"}]}).to_string(),
        )
    });
    let made = draw(&url, "-", "", r#"{"prompt":"What is 2 + 3 * 4?"}"#).rows();
    assert_eq!(made[0]["rollout"]["completion"], "14");
    let Request { path, body, .. } = asked.lock().unwrap()[1].clone();
    assert_eq!(
        (path.as_str(), &body["messages"][0]["content"]),
        ("/v1/chat/completions", &json!("What is 2 + 3 * 4?"))
    );
}

#[test]
fn a_bad_server_is_told_from_a_bad_request() {
    let given = tasks(3);
    let (url, asked) = serve(|_, path, _| {
        if path == "/v1/models" {
            return models();
        }
        Act::Say(404, json!({"error": {"message": "no model of\nthis name"}}).to_string())
    });
    draw(&url, qwen(), "", &given).refused(1, &["status 404: no model of this name"]);
    assert!(asked.lock().unwrap().len() <= 1 + 3, "a refusal is not tried again");
    let (url, _) =
        serve(|_, path, _| if path == "/v1/models" { models() } else { Act::Say(503, "loading".into()) });
    let dir = scratch();
    let out = dir.path().join("rows.jsonl");
    let begun = Instant::now();
    draw(&url, qwen(), &format!("--retries 2 -o {}", out.display()), &given)
        .refused(1, &["status 503: loading", "tried 3 times", "--retries"]);
    assert!(begun.elapsed() < Duration::from_secs(20) && fs::read_dir(dir.path()).unwrap().next().is_none());
    let (url, _) = serve(|_, _, _| Act::Say(200, json!({"data": [{"id": "a"}, {"id": "b"}]}).to_string()));
    draw(&url, qwen(), "", &given).refused(1, &["names a, b", "--model"]);
    draw("http://127.0.0.1:9/v1", qwen(), "--retries 0", &given).refused(1, &["127.0.0.1:9"]);
    draw("localhost:9", qwen(), "", &given).refused(2, &["--endpoint localhost:9"]);
    for flag in ["--kv-memory 4", "--kv-cache latents", "--longest-first"] {
        draw(&url, qwen(), flag, &given).refused(2, &[flag.split(' ').next().unwrap()]);
    }
    rollout(qwen(), "--model x", &given).refused(2, &["--endpoint"]);
    draw(&url, "-", "--template r1-zero", &given).refused(2, &["without a tokenizer"]);
}
