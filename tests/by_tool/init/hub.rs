//! `r1-init --from-hf ORG/NAME` against a server on this machine that answers as the Hugging Face hub does.

use crate::harness::*;
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What the hub holds, and what it was asked.
struct Hub {
    address: String,
    asked: Arc<Mutex<Vec<String>>>,
}

/// How the hub behaves.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    Good,
    /// sends half of the weights and hangs up
    Broken,
    /// sends other weights than it promised
    False,
    /// wants a token
    Gated,
}

impl Hub {
    /// Serves the files of a directory as `org/name`; weights lie behind a redirect, as the hub's do.
    fn of(directory: &Path, manner: Manner) -> Hub {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let files: BTreeMap<String, Vec<u8>> = fs::read_dir(directory)
            .expect("the directory is there")
            .map(|entry| entry.expect("listed").path())
            .map(|path| {
                (path.file_name().unwrap().to_str().unwrap().to_string(), fs::read(&path).expect("readable"))
            })
            .collect();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (log, own) = (asked.clone(), address.clone());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                answer(stream, &files, manner, &own, &log);
            }
        });
        Hub { address, asked }
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }
}

/// Answers one request and closes.
fn answer(
    mut stream: TcpStream,
    files: &BTreeMap<String, Vec<u8>>,
    manner: Manner,
    own: &str,
    log: &Mutex<Vec<String>>,
) {
    let mut lines =
        BufReader::new(stream.try_clone().expect("a second handle")).lines().map_while(Result::ok);
    let Some(request) = lines.next() else { return };
    let path = request.split(' ').nth(1).unwrap_or("").to_string();
    let token = lines
        .by_ref()
        .take_while(|line| !line.is_empty())
        .find_map(|line| line.to_lowercase().strip_prefix("authorization: ").map(str::to_string))
        .unwrap_or_default();
    log.lock().unwrap().push(format!("{path} {token}").trim().to_string());
    let mut reply = |status: &str, headers: &[String], body: &[u8], sent: usize| {
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{}\r\n",
            body.len(),
            headers.iter().map(|h| format!("{h}\r\n")).collect::<String>()
        );
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&body[..sent]));
    };
    if manner == Manner::Gated && token != "bearer secret" && !path.starts_with("/cdn/") {
        return reply("401 Unauthorized", &[], b"", 0);
    }
    let resolved = path.strip_prefix(&format!("/org/name/resolve/{COMMIT}/"));
    if path == "/api/models/org/name/revision/main" {
        let siblings: Vec<_> = files.keys().map(|name| json!({"rfilename": name})).collect();
        let body = json!({"sha": COMMIT, "siblings": siblings}).to_string();
        reply("200 OK", &[], body.as_bytes(), body.len())
    } else if let Some(name) = resolved.filter(|name| files.contains_key(*name)) {
        let body = &files[name];
        if name.ends_with(".safetensors") {
            let promised = if manner == Manner::False { "0".repeat(64) } else { sha256(body) };
            let headers = [
                format!("Location: {own}/cdn/{name}"),
                format!("X-Linked-ETag: \"{promised}\""),
                format!("X-Linked-Size: {}", body.len()),
            ];
            reply("302 Found", &headers, b"elsewhere", 9)
        } else {
            reply("200 OK", &[format!("ETag: \"{:040x}\"", body.len())], body, body.len())
        }
    } else if let Some(body) = path.strip_prefix("/cdn/").and_then(|name| files.get(name)) {
        let sent = if manner == Manner::Broken { body.len() / 2 } else { body.len() };
        reply("200 OK", &["ETag: \"cdn\"".into()], body, sent)
    } else {
        reply("404 Not Found", &[], b"", 0)
    }
}

/// The system's own hash.
fn sha256(bytes: &[u8]) -> String {
    let scratch = scratch();
    let file = scratch.path().join("x");
    fs::write(&file, bytes).expect("writable");
    let out = std::process::Command::new("sha256sum").arg(&file).output().expect("sha256sum is there");
    String::from_utf8_lossy(&out.stdout)[..64].to_string()
}

/// Runs r1-init with a cache of its own.
fn import(home: &Path, hub: &str, id: &str, target: &Path, more: &[(&str, &str)]) -> Outcome {
    let mut command = command("r1-init", &["--from-hf", id, "-o", target.to_str().expect("UTF-8")]);
    for variable in [
        "HF_HUB_CACHE",
        "HF_TOKEN",
        "HF_TOKEN_PATH",
        "HF_HUB_OFFLINE",
        "http_proxy",
        "HTTP_PROXY",
        "ALL_PROXY",
    ] {
        command.env_remove(variable);
    }
    command.env("HF_HOME", home).env("HF_ENDPOINT", hub).envs(more.iter().copied());
    command.stdin(std::process::Stdio::null());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    wait(command.spawn().expect("r1-init starts"), b"")
}

fn checkpoint(name: &str) -> PathBuf {
    root().join("tests/golden/checkpoints").join(name)
}

/// Files under a folder, without links.
fn blobs(home: &Path) -> usize {
    fs::read_dir(home.join("hub/models--org--name/blobs")).map_or(0, Iterator::count)
}

#[test]
fn a_repository_is_downloaded_once_and_then_found() {
    for name in ["llama", "llama-bf16-sharded"] {
        let scratch = scratch();
        let (home, target) = (scratch.path().join("home"), scratch.path().join("policy"));
        let hub = Hub::of(&checkpoint(name), Manner::Good);
        import(&home, &hub.address, "org/name", &target, &[("HF_TOKEN", "secret")]).success();
        let asked = hub.asked();
        assert_eq!(asked[0], "/api/models/org/name/revision/main bearer secret");
        assert!(asked.iter().any(|line| line.starts_with("/cdn/")), "{asked:?}");
        assert!(
            !asked.iter().any(|line| line.contains("golden")),
            "what no policy needs stays there: {asked:?}"
        );
        for entry in fs::read_dir(checkpoint(name)).unwrap() {
            let file = entry.unwrap().path();
            let here = target.join(file.file_name().unwrap());
            if file.extension().is_some_and(|e| e == "safetensors") && !file.ends_with("golden.safetensors") {
                assert_eq!(fs::read(&file).unwrap(), fs::read(here).unwrap(), "{}", file.display());
            }
        }
        let snapshot = home.join("hub/models--org--name/snapshots").join(COMMIT);
        assert!(snapshot.join("config.json").is_symlink());
        assert_eq!(fs::read_to_string(home.join("hub/models--org--name/refs/main")).unwrap(), COMMIT);

        // The second time nobody is asked, with a network or without.
        for more in [&[][..], &[("HF_HUB_OFFLINE", "1")]] {
            import(&home, &hub.address, "org/name", &scratch.path().join("again"), more).success();
            assert_eq!(hub.asked(), Vec::<String>::new());
        }
    }
}

#[test]
fn what_goes_wrong_is_named_and_leaves_nothing() {
    let scratch = scratch();
    let target = scratch.path().join("policy");
    let refused = |manner: Manner, id: &str, more: &[(&str, &str)], code: i32, words: &[&str]| {
        let home = scratch.path().join(format!("home-{code}-{}", words[0].len()));
        let hub = Hub::of(&checkpoint("llama"), manner);
        import(&home, &hub.address, id, &target, more).refused(code, words);
        assert!(!target.exists());
        let part = fs::read_dir(home.join("hub/models--org--name/blobs")).into_iter().flatten().flatten();
        assert!(part.into_iter().all(|file| !file.file_name().to_string_lossy().contains("incomplete")));
        assert!(!home.join("hub/models--org--name/refs/main").exists());
        blobs(&home)
    };
    refused(Manner::Good, "org/other", &[], 2, &["org/other", "404"]);
    refused(Manner::Good, "org/name@none", &[], 2, &["revision/none", "404"]);
    assert_eq!(
        refused(Manner::Good, "org/name", &[("HF_HUB_OFFLINE", "1")], 2, &["HF_HUB_OFFLINE is set"]),
        0
    );
    refused(Manner::Gated, "org/name", &[], 2, &["401", "HF_TOKEN"]);
    refused(Manner::Broken, "org/name", &[], 1, &["model.safetensors"]);
    refused(Manner::False, "org/name", &[], 1, &["the server promised 0000"]);
    refused(Manner::Good, "./org/name", &[], 2, &["no such directory"]);
    // Nobody listens.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let home = scratch.path().join("silent");
    import(&home, &format!("http://{silent}"), "org/name", &target, &[]).refused(1, &["org/name"]);
}

#[test]
fn a_token_in_the_users_file_is_used() {
    let scratch = scratch();
    let home = scratch.path().join("home");
    fs::create_dir_all(&home).unwrap();
    fs::write(home.join("token"), "secret\n").unwrap();
    let hub = Hub::of(&checkpoint("qwen2"), Manner::Gated);
    import(&home, &hub.address, "org/name", &scratch.path().join("policy"), &[]).success();
}
