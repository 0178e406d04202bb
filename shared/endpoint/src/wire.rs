//! One request, one answer: HTTP, TLS, the key, and what a status means.

use std::time::Duration;

use anyhow::Result;
use serde_json::Value;
use ureq::http::{HeaderMap, Uri};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use crate::patience::Failure;

/// Largest answer that is read.
const LARGEST: u64 = 1 << 28;
/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(20);
/// Names a file of certificates to trust instead of the built-in ones, as OpenSSL and curl have it.
const AUTHORITIES: &str = "SSL_CERT_FILE";

/// A server and how it is reached.
pub struct Wire {
    agent: ureq::Agent,
    url: String,
    key: Option<String>,
}

impl Wire {
    /// Settles address, key and certificates; nothing is sent yet.
    ///
    /// # Errors
    /// Exit 2: not an http or https address, or no certificates where SSL_CERT_FILE points.
    pub fn open(url: &str, key: Option<String>, timeout: Duration) -> Result<Wire> {
        let wrong = |fact: &str| {
            r1_cli::misuse(
                format!("--endpoint {url}: {fact}"),
                "name it as https://HOST/v1 or http://HOST:PORT/v1",
            )
        };
        let parsed: Uri = url.parse().map_err(|_| wrong("not an address"))?;
        let authority = parsed.authority().ok_or_else(|| wrong("no host in the address"))?;
        if authority.as_str().contains('@') {
            // The command line is for everybody to read, and so is this error.
            let fact =
                "--endpoint: a name or password in the address would show to every user of the machine";
            return Err(r1_cli::misuse(fact, "put the key into an environment variable (--api-key-env)"));
        }
        if parsed.query().is_some() {
            return Err(wrong("a query in the address"));
        }
        let host = authority.host().trim_matches(['[', ']']);
        let local = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
        let roots = match parsed.scheme_str() {
            Some("https") => authorities()?,
            Some("http") => {
                if key.is_some() && !local {
                    r1_cli::warn(&format!(
                        "the key goes to {host} over http, for everybody on the way to read"
                    ));
                }
                None
            }
            _ => return Err(wrong("neither http nor https")),
        };
        let mut config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(timeout))
            .timeout_connect(Some(timeout.min(CONNECT)))
            .user_agent(concat!("r1/", env!("CARGO_PKG_VERSION")));
        if let Some(roots) = roots {
            config = config.tls_config(TlsConfig::builder().root_certs(roots).build());
        }
        Ok(Wire { agent: config.build().into(), url: url.trim_end_matches('/').to_string(), key })
    }

    /// The address, without a slash at its end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Posts `body`, or gets without one; the answer is JSON.
    ///
    /// # Errors
    /// What failed, and whether it may pass.
    pub fn send(&self, path: &str, body: Option<&Value>) -> Result<Value, Failure> {
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
        let mut response = sent.map_err(|e| failed(&url, e))?;
        let status = response.status().as_u16();
        let asked = asked_wait(response.headers());
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

/// What a failure of the connection means: a certificate that is not trusted will not be trusted the next time.
fn failed(url: &str, error: ureq::Error) -> Failure {
    let words = error.to_string();
    if words.contains("certificate") {
        let remedy = format!("let {AUTHORITIES} name a file with its authority's certificate");
        return Failure::Refused(0, format!("{url}: {words}; {remedy}"));
    }
    Failure::Passing(format!("{url}: {words}"), None)
}

/// The certificates in the file that `SSL_CERT_FILE` names, where it names one.
fn authorities() -> Result<Option<RootCerts>> {
    let Some(file) = std::env::var_os(AUTHORITIES).filter(|file| !file.is_empty()) else { return Ok(None) };
    let place = format!("{AUTHORITIES}={}", file.display());
    let remedy = "name a PEM file of certificates, or unset the variable";
    let pem = std::fs::read(&file).map_err(|e| r1_cli::bad_input(&place, e, remedy))?;
    let found: Vec<Certificate<'static>> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if found.is_empty() {
        return Err(r1_cli::bad_input(place, "no certificate in it", remedy));
    }
    Ok(Some(RootCerts::new_with_certs(&found)))
}

/// How long the server asks to be left alone: `retry-after-ms`, or seconds in `retry-after`. A date is not understood, and our
/// own wait taken.
fn asked_wait(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    let seconds = number("retry-after-ms").map(|ms| ms / 1000.0).or_else(|| number("retry-after"))?;
    Duration::try_from_secs_f64(seconds).ok()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_words_are_found_and_put_on_one_line() {
        assert_eq!(words_of("{\"error\": {\"message\": \"no\\nroom\"}}"), "no room");
        assert_eq!(words_of("{\"error\": \"no room\"}"), "no room");
        assert_eq!(words_of("{\"detail\": [{\"loc\": 1}]}"), "[{\"loc\":1}]");
        assert_eq!(words_of("<html>\n busy </html>"), "<html> busy </html>");
        assert_eq!(words_of(&"x".repeat(1000)).len(), 300);
    }

    #[test]
    fn waits_are_read_in_seconds_or_milliseconds() {
        let of = |name: &'static str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            asked_wait(&headers)
        };
        assert_eq!(of("retry-after", "3"), Some(Duration::from_secs(3)));
        assert_eq!(of("retry-after-ms", "250"), Some(Duration::from_millis(250)));
        for odd in ["-1", "inf", "NaN", "soon", "Wed, 21 Oct 2026 07:28:00 GMT", "1e300"] {
            assert_eq!(of("retry-after", odd), None, "{odd}");
        }
    }

    #[test]
    fn addresses_that_cannot_be_asked_are_refused() {
        let refused = |url: &str| Wire::open(url, None, CONNECT).err().expect(url).to_string();
        assert!(refused("ftp://x/v1").contains("neither http nor https"));
        assert!(refused("localhost:8000").contains("--endpoint localhost:8000"));
        assert!(refused("not an address").contains("not an address"));
        assert!(refused("http://x/v1?key=1").contains("query"));
        let secret = refused("https://me:hunter2@x/v1");
        assert!(secret.contains("--api-key-env") && !secret.contains("hunter2"), "{secret}");
        assert_eq!(Wire::open("https://x/v1/", None, CONNECT).unwrap().url(), "https://x/v1");
    }
}
