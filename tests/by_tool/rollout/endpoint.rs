//! `--endpoint`: an OpenAI-compatible server that this test plays, well and badly.

use super::*;
use serde_json::json;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What the server does with a request.
enum Act {
    /// a status and a body
    Say(u16, String),
    /// nothing: the connection ends
    Drop,
    /// the beginning of an answer, then the connection ends
    Break,
    /// silence, longer than the client waits
    Sleep,
}

type Asked = Arc<Mutex<Vec<(String, Value)>>>;

/// Serves until the test process ends; returns the URL and what was asked.
fn serve(act: impl Fn(usize, &str, &Value) -> Act + Send + Sync + 'static) -> (String, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let url = format!("http://{}/v1", listener.local_addr().expect("it has an address"));
    let asked: Asked = Arc::default();
    let (log, act) = (asked.clone(), Arc::new(act));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (log, act) = (log.clone(), act.clone());
            std::thread::spawn(move || while answer(&stream, &log, &*act).is_some() {});
        }
    });
    (url, asked)
}

/// One request of a connection; nothing when it is over.
fn answer(stream: &TcpStream, log: &Asked, act: &dyn Fn(usize, &str, &Value) -> Act) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first).ok().filter(|n| *n > 0)?;
    let path = first.split(' ').nth(1)?.to_string();
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(n) = line.to_lowercase().strip_prefix("content-length:") {
            length = n.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let turn = {
        let mut log = log.lock().unwrap();
        log.push((path.clone(), body.clone()));
        log.iter().filter(|(p, _)| *p != "/v1/models").count()
    };
    let mut stream = stream;
    match act(turn, &path, &body) {
        Act::Say(status, text) => {
            let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n\r\n", text.len());
            stream.write_all((head + &text).as_bytes()).ok()
        }
        Act::Drop => {
            let _ = stream.shutdown(std::net::Shutdown::Both);
            None
        }
        Act::Break => {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n{\"choices\":");
            let _ = stream.shutdown(std::net::Shutdown::Both);
            None
        }
        Act::Sleep => {
            std::thread::sleep(Duration::from_secs(4));
            None
        }
    }
}

fn models() -> Act {
    Act::Say(200, json!({"data": [{"id": "stub"}]}).to_string())
}

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
    let (path, body) = &asked.lock().unwrap()[1].clone();
    assert_eq!((path.as_str(), &body["n"], &body["top_k"]), ("/v1/completions", &json!(3), &json!(5)));
    assert!(body.get("min_p").is_none() && body["model"] == "stub", "{body}");
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
    let (bad, asked) = serve(|turn, path, body| match (path, turn) {
        ("/v1/models", _) => models(),
        (_, 1) => Act::Drop,
        (_, 2) => Act::Say(500, "{\"error\":{\"message\":\"out of memory\"}}".into()),
        (_, 3) => Act::Break,
        (_, 4) => Act::Say(200, "<html>busy</html>".into()),
        (_, 5) => Act::Say(200, "{\"choices\":[]}".into()),
        (_, 6) => Act::Sleep,
        (_, 7) => Act::Say(429, "slow down".into()),
        _ => well(body),
    });
    let made = draw(&bad, qwen(), "--samples 2 --timeout 1 --concurrency 2", &given);
    assert_eq!(made.success(), whole);
    assert_eq!(asked.lock().unwrap().len(), 1 + 9 + 7);
}

#[test]
fn servers_that_understand_less_are_understood() {
    let given = tasks(3);
    // Text prompts, one choice a time, no log-probabilities, no ids.
    let (url, _) = serve(|_, path, body| {
        let refuse = |words: &str| Act::Say(400, json!({"error": {"message": words}}).to_string());
        if path == "/v1/models" {
            models()
        } else if body["prompt"].is_array() {
            // As llama-cpp-python has it: a failure of its own.
            let words = "1 validation errors: {'loc': ('body', 'prompt', 'str'), 'msg': 'Input should be a valid string'}";
            Act::Say(500, json!({"error": {"message": words}}).to_string())
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
    let (path, body) = asked.lock().unwrap()[1].clone();
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
        .refused(1, &["status 503: loading", "3 attempts failed", "--retries"]);
    assert!(begun.elapsed() < Duration::from_secs(20) && fs::read_dir(dir.path()).unwrap().next().is_none());
    let (url, _) = serve(|_, _, _| Act::Say(200, json!({"data": [{"id": "a"}, {"id": "b"}]}).to_string()));
    draw(&url, qwen(), "", &given).refused(1, &["names a, b", "--model"]);
    draw("http://127.0.0.1:9/v1", qwen(), "--retries 0", &given).refused(1, &["127.0.0.1:9"]);
    draw("https://localhost/v1", qwen(), "", &given).refused(2, &["TLS is not built in"]);
    draw(&url, qwen(), "--kv-memory 4", &given).refused(2, &["--kv-memory"]);
    rollout(qwen(), "--model x", &given).refused(2, &["--endpoint"]);
    draw(&url, "-", "--template r1-zero", &given).refused(2, &["without a tokenizer"]);
}
