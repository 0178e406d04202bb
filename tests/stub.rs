//! An OpenAI-compatible server that the tests play, well and badly, over plain HTTP or TLS.
#![allow(dead_code, reason = "each tool's tests use the part they need")]

use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What the server does with a request.
pub enum Act {
    /// a status and a body
    Say(u16, String),
    /// the same with a line of the head
    SayWith(u16, &'static str, String),
    /// nothing: the connection ends
    Drop,
    /// the beginning of an answer, then the connection ends
    Break,
    /// silence, then the connection ends
    Sleep(Duration),
}

/// One request.
#[derive(Clone, Debug)]
pub struct Request {
    pub path: String,
    pub body: Value,
    /// the `authorization` of its head
    pub key: Option<String>,
    pub at: Instant,
}

/// What was asked, in the order in which it came.
pub type Asked = Arc<Mutex<Vec<Request>>>;

/// What a server does: with the n-th question (from 1; being asked for models does not count), its path and body.
type Plan = Arc<dyn Fn(usize, &str, &Value) -> Act + Send + Sync>;

/// Serves until the test process ends; returns the URL and what was asked.
pub fn serve(act: impl Fn(usize, &str, &Value) -> Act + Send + Sync + 'static) -> (String, Asked) {
    let (address, asked) = listen(Arc::new(act), Some);
    (format!("http://{address}/v1"), asked)
}

/// [`serve`] over TLS, with a certificate made for the occasion, which lies in the file that is returned last.
pub fn serve_tls(
    dir: &Path,
    act: impl Fn(usize, &str, &Value) -> Act + Send + Sync + 'static,
) -> (String, Asked, PathBuf) {
    let made =
        rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).expect("a certificate can be made");
    let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|config| {
                config.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key.into())
            })
            .expect("key and certificate belong together");
    let config = Arc::new(config);
    let (address, asked) = listen(Arc::new(act), move |stream| {
        let session = rustls::ServerConnection::new(config.clone()).ok()?;
        Some(rustls::StreamOwned::new(session, stream))
    });
    let file = dir.join("authority.pem");
    std::fs::write(&file, made.cert.pem()).expect("writable");
    (format!("https://{address}/v1"), asked, file)
}

fn listen<S: Read + Write>(
    act: Plan,
    open: impl Fn(std::net::TcpStream) -> Option<S> + Send + Sync + 'static,
) -> (String, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it has an address").to_string();
    let asked: Asked = Arc::default();
    let (log, open) = (asked.clone(), Arc::new(open));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (log, act, open) = (log.clone(), act.clone(), open.clone());
            std::thread::spawn(move || {
                let Some(stream) = open(stream) else { return };
                let mut stream = BufReader::new(stream);
                while answer(&mut stream, &log, &*act).is_some() {}
            });
        }
    });
    (address, asked)
}

/// One request of a connection; nothing when it is over.
fn answer(
    stream: &mut BufReader<impl Read + Write>,
    log: &Asked,
    act: &dyn Fn(usize, &str, &Value) -> Act,
) -> Option<()> {
    let mut first = String::new();
    stream.read_line(&mut first).ok().filter(|n| *n > 0)?;
    let path = first.split(' ').nth(1)?.to_string();
    let (mut length, mut key) = (0, None);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        match line.trim().split_once(':') {
            Some((name, n)) if name.eq_ignore_ascii_case("content-length") => {
                length = n.trim().parse().ok()?
            }
            Some((name, k)) if name.eq_ignore_ascii_case("authorization") => key = Some(k.trim().to_string()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let turn = {
        let mut log = log.lock().unwrap();
        log.push(Request { path: path.clone(), body: body.clone(), key, at: Instant::now() });
        log.iter().filter(|request| request.path != "/v1/models").count()
    };
    let mut say = |status: u16, line: &str, text: &str| {
        let head = format!("HTTP/1.1 {status} X\r\n{line}content-length: {}\r\n\r\n", text.len());
        let stream = stream.get_mut();
        stream.write_all((head + text).as_bytes()).and_then(|()| stream.flush()).ok()
    };
    match act(turn, &path, &body) {
        Act::Say(status, text) => say(status, "", &text),
        Act::SayWith(status, line, text) => say(status, &format!("{line}\r\n"), &text),
        Act::Drop => None,
        Act::Break => {
            let _ =
                stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\n{\"choices\":");
            None
        }
        Act::Sleep(time) => {
            std::thread::sleep(time);
            None
        }
    }
}

/// The answer to being asked for models.
pub fn models() -> Act {
    Act::Say(200, json!({"data": [{"id": "stub"}]}).to_string())
}

/// How many ways of failing [`limping`] has.
pub const FAULTS: usize = 7;

/// A server that fails in every way that passes, one after the other, then answers as `well` does. Ask it with `--timeout 1`.
pub fn limping(well: impl Fn(&Value) -> Act + Send + Sync + 'static) -> (String, Asked) {
    serve(move |turn, path, body| match (path, turn) {
        ("/v1/models", _) => models(),
        (_, 1) => Act::Drop,
        (_, 2) => Act::Say(500, "{\"error\":{\"message\":\"out of memory\"}}".into()),
        (_, 3) => Act::Break,
        (_, 4) => Act::Say(200, "<html>busy</html>".into()),
        (_, 5) => Act::Say(200, "{\"choices\":[]}".into()),
        (_, 6) => Act::Sleep(Duration::from_secs(4)),
        (_, 7) => Act::SayWith(429, "retry-after: 2", "slow down".into()),
        _ => well(body),
    })
}

/// Whether the server was left alone for as long as its 429 asked: where one request was under way at a time.
pub fn was_left_alone(asked: &Asked) -> bool {
    let asked = asked.lock().unwrap();
    let questions: Vec<&Request> = asked.iter().filter(|request| request.path != "/v1/models").collect();
    questions[FAULTS].at - questions[FAULTS - 1].at >= Duration::from_secs(2)
}
