//! Where the server is, and how patient we are with it.

use std::time::Duration;

use anyhow::Result;

use crate::client::Client;
use crate::wire::Wire;

/// Where a key is looked for unless `--api-key-env` says otherwise.
const KEY: &str = "OPENAI_API_KEY";

/// The flags of every tool that asks a server. Flattened last: clap puts whatever comes after them under their heading.
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Server")]
pub struct Flags {
    /// Ask an OpenAI-compatible server, such as http://localhost:8000/v1; https trusts Mozilla's authorities, or those in
    /// the file that SSL_CERT_FILE names
    #[arg(long, value_name = "URL")]
    pub endpoint: Option<String>,
    /// The server's name of the model [default: the only one it has]
    #[arg(long, value_name = "NAME", requires = "endpoint")]
    pub model: Option<String>,
    /// Environment variable that holds the server's key [default: OPENAI_API_KEY, where it is set]
    #[arg(long, value_name = "NAME", requires = "endpoint")]
    pub api_key_env: Option<String>,
    /// Requests in flight
    #[arg(long, default_value_t = 16, value_name = "N", requires = "endpoint", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub concurrency: u32,
    /// Seconds to wait for an answer
    #[arg(long, default_value_t = 600, value_name = "SECONDS", requires = "endpoint", value_parser = clap::value_parser!(u64).range(1..))]
    pub timeout: u64,
    /// Times to ask again after a failure that may pass; each wait is twice the last one, or what the server asks for
    #[arg(long, default_value_t = 6, value_name = "N", requires = "endpoint")]
    pub retries: u32,
}

/// Names of the flags, for one that conflicts with `--endpoint`: clap lets a flag whose `requires` is in conflict pass unseen.
pub const FLAGS: [&str; 6] = ["endpoint", "model", "api_key_env", "concurrency", "timeout", "retries"];

impl Flags {
    /// The server at `url` (the value of `--endpoint`). Finds the model's name where none is given, which also shows that the
    /// server is there.
    ///
    /// # Errors
    /// Exit 2: not an address, no such environment variable, no certificates in SSL_CERT_FILE. Exit 1: the server does not
    /// answer, or has several models.
    pub fn connect(&self, url: &str) -> Result<Client> {
        let wire = Wire::open(url, self.key()?, Duration::from_secs(self.timeout))?;
        Client::of(wire, self.model.as_deref(), self.retries)
    }

    fn key(&self) -> Result<Option<String>> {
        let named = self.api_key_env.as_deref();
        match std::env::var(named.unwrap_or(KEY)) {
            Ok(key) if !key.trim().is_empty() => Ok(Some(key.trim().to_string())),
            _ => match named {
                None => Ok(None),
                Some(name) => Err(r1_cli::misuse(
                    format!("--api-key-env {name}: no such variable, or nothing in it"),
                    "export it, or leave the flag away",
                )),
            },
        }
    }
}
