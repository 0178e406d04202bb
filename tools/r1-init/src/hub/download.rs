//! Files over HTTP, into Hugging Face's cache: a blob under the name that the server gave it, and a link to it.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use r1_cli::Progress;
use serde_json::Value;
use sha2::{Digest, Sha256};
use ureq::http::Response;
use ureq::{Agent, Body};

use crate::run::check_stop;

/// Hops from the hub to where a file lies.
const HOPS: usize = 5;
/// Bytes of an answer that is no file.
const LARGEST_ANSWER: u64 = 1 << 26;

/// A hub.
pub struct Server {
    agent: Agent,
    endpoint: String,
    token: Option<String>,
}

impl Server {
    /// The hub at a URL; the token goes to it, and nowhere that it redirects to.
    pub fn of(endpoint: &str, token: Option<String>) -> Server {
        let agent = Agent::config_builder()
            .max_redirects(0)
            .max_redirects_will_error(false)
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(20)))
            .timeout_per_read(Some(Duration::from_secs(60)))
            .user_agent(concat!("r1-init/", env!("CARGO_PKG_VERSION")))
            .build();
        Server { agent: agent.into(), endpoint: endpoint.to_owned(), token }
    }

    /// Asks for a URL once.
    fn ask(&self, url: &str) -> Result<Response<Body>> {
        // As it lies there: a size that the server promises is then the size that comes.
        let mut request = self.agent.get(url).header("Accept-Encoding", "identity");
        if let Some(token) = self.token.as_ref().filter(|_| url.starts_with(&format!("{}/", self.endpoint))) {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        let answer = request.call().map_err(|error| r1_cli::exit_with(1, format!("{url}: {error}")))?;
        let fact = match answer.status().as_u16() {
            200..=399 => return Ok(answer),
            401 | 403 => "the server refuses (401, 403): a gated or private repository, or a wrong token",
            404 => "the server has no such repository, revision or file (404)",
            429 => "the server asks for patience (429)",
            code => return Err(r1_cli::exit_with(1, format!("{url}: the server answered {code}"))),
        };
        Err(r1_cli::misuse(
            format!("{url}: {fact}"),
            "see that the id is right, and that HF_TOKEN may read it",
        ))
    }

    /// Follows redirects; returns every answer's headers that matter, and the last answer.
    fn follow(&self, path: &str) -> Result<(Facts, Response<Body>)> {
        let mut url = format!("{}{path}", self.endpoint);
        let mut facts = Facts::default();
        for _ in 0..HOPS {
            let answer = self.ask(&url)?;
            facts.add(&answer);
            let Some(target) = header(&answer, "location").filter(|_| answer.status().is_redirection())
            else {
                return Ok((facts, answer));
            };
            url = match target.starts_with('/') {
                false => target,
                true => {
                    let host = url.match_indices('/').nth(2).map_or(url.len(), |(at, _)| at);
                    format!("{}{target}", &url[..host])
                }
            };
        }
        Err(r1_cli::exit_with(1, format!("{url}: more than {HOPS} redirects")))
    }

    /// An answer as JSON.
    pub fn json(&self, path: &str) -> Result<Value> {
        let (_, mut answer) = self.follow(path)?;
        let text = answer.body_mut().with_config().limit(LARGEST_ANSWER).read_to_string();
        let wrong = |error: &dyn std::fmt::Display| {
            r1_cli::exit_with(1, format!("{}{path}: not the answer of a hub: {error}", self.endpoint))
        };
        serde_json::from_str(&text.map_err(|e| wrong(&e))?).map_err(|e| wrong(&e))
    }

    /// Brings a file into `place`'s blobs and links `target` to it.
    pub fn file(&self, path: &str, place: &Path, target: &Path) -> Result<()> {
        if target.exists() {
            return Ok(());
        }
        let (facts, mut answer) = self.follow(path)?;
        let blobs = place.join("blobs");
        for folder in [blobs.as_path(), target.parent().unwrap_or(place)] {
            fs::create_dir_all(folder).with_context(|| format!("{}", folder.display()))?;
        }
        let name = target.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let part = blobs.join(format!("{name}.{}.incomplete", std::process::id()));
        let hash = receive(&mut answer, &facts, &name, &part).inspect_err(|_| {
            let _ = fs::remove_file(&part);
        })?;
        // Large files are named by their SHA-256, small ones by git's hash of them, which is no check.
        let etag = facts.etag.clone().unwrap_or_else(|| hash.clone());
        if etag.len() == 64 && etag != hash {
            let _ = fs::remove_file(&part);
            return Err(r1_cli::exit_with(
                1,
                format!("{path}: has SHA-256 {hash}, the server promised {etag}"),
            ));
        }
        let blob = blobs.join(&etag);
        fs::rename(&part, &blob).with_context(|| format!("{}", blob.display()))?;
        link(&etag, &blob, target).with_context(|| format!("{}", target.display()))
    }
}

/// What the answers on the way to a file say about it.
#[derive(Default)]
struct Facts {
    etag: Option<String>,
    size: Option<u64>,
}

impl Facts {
    fn add(&mut self, answer: &Response<Body>) {
        let first = |a: &str, b: &str| header(answer, a).or_else(|| header(answer, b));
        if self.etag.is_none() {
            self.etag = first("x-linked-etag", "etag")
                .map(|tag| tag.trim_start_matches("W/").trim_matches('"').to_owned())
                .filter(|tag| !tag.is_empty() && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'));
        }
        // The size of a redirect is that of its own text, but for the hub's word on the file behind it.
        self.size = header(answer, "x-linked-size")
            .or_else(|| header(answer, "content-length").filter(|_| !answer.status().is_redirection()))
            .and_then(|size| size.parse().ok())
            .or(self.size);
    }
}

fn header(answer: &Response<Body>, name: &str) -> Option<String> {
    Some(answer.headers().get(name)?.to_str().ok()?.to_owned())
}

/// Writes an answer to a file; returns its SHA-256.
fn receive(answer: &mut Response<Body>, facts: &Facts, name: &str, part: &Path) -> Result<String> {
    let place = || format!("{}", part.display());
    let mut progress = Progress::new("bytes", facts.size);
    progress.message(name);
    let mut input = answer.body_mut().with_config().limit(u64::MAX).reader();
    let mut out = File::create(part).with_context(place)?;
    let (mut hash, mut buffer, mut size) = (Sha256::new(), vec![0; 1 << 18], 0u64);
    loop {
        check_stop()?;
        let n = input
            .read(&mut buffer)
            .map_err(|e| r1_cli::exit_with(1, format!("{name}: the transfer broke off: {e}")))?;
        if n == 0 {
            break;
        }
        hash.update(&buffer[..n]);
        out.write_all(&buffer[..n]).with_context(place)?;
        size += n as u64;
        progress.add(n as u64);
    }
    if let Some(promised) = facts.size.filter(|promised| *promised != size) {
        let fact =
            format!("{name}: {size} bytes came, the server promised {promised}: run the command again");
        return Err(r1_cli::exit_with(1, fact));
    }
    out.sync_all().with_context(place)?;
    progress.finish();
    Ok(hash.finalize().iter().map(|b| format!("{b:02x}")).collect())
}

/// A snapshot's name for a blob.
#[cfg(unix)]
fn link(etag: &str, _blob: &Path, target: &Path) -> std::io::Result<()> {
    match std::os::unix::fs::symlink(format!("../../blobs/{etag}"), target) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        done => done,
    }
}

#[cfg(not(unix))]
fn link(_etag: &str, blob: &Path, target: &Path) -> std::io::Result<()> {
    fs::rename(blob, target)
}
