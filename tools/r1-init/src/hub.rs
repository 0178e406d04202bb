//! A Hugging Face id to a directory: from the local cache, else downloaded into it.
//!
//! The cache is Hugging Face's own (`models--ORG--NAME/{refs,blobs,snapshots}`), so what transformers has fetched is found
//! here and the other way round. Read from the environment, as its tools do: `HF_HUB_CACHE`, `HF_HOME`, `HF_ENDPOINT`,
//! `HF_TOKEN` (or the token file), `HF_HUB_OFFLINE`.

mod download;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use r1_model::checkpoint::{INDEX, WEIGHTS};
use r1_model::directory::CARRIED;
use serde_json::Value;

use download::Server;

/// A repository of the hub and a revision of it.
pub struct Id {
    /// `ORG/NAME`, or the `NAME` of an old one
    name: String,
    /// branch, tag or commit
    revision: String,
}

impl Id {
    /// Reads `ORG/NAME` or `ORG/NAME@REVISION`.
    ///
    /// # Errors
    /// Exit 2: neither that nor a directory.
    pub fn parse(text: &str) -> Result<Id> {
        let (name, revision) = text.split_once('@').unwrap_or((text, "main"));
        let word = |part: &str| {
            let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
            !part.is_empty()
                && part.chars().all(fits)
                && !part.starts_with(['.', '-'])
                && !part.contains("..")
        };
        let parts: Vec<&str> = name.split('/').collect();
        if parts.len() > 2 || !parts.iter().all(|part| word(part)) || !revision.split('/').all(word) {
            return Err(r1_cli::misuse(
                format!("--from-hf {text}: no such directory, and not the form of a Hugging Face id"),
                "name a directory, or ORG/NAME, or ORG/NAME@REVISION",
            ));
        }
        Ok(Id { name: name.to_owned(), revision: revision.to_owned() })
    }
}

/// The directory of a repository's files: the cached snapshot where it is whole, else a fresh download.
///
/// # Errors
/// Exit 2: not in the cache and offline, or the server has no such repository or refuses. Exit 1: the transfer failed.
pub fn directory(id: &Id) -> Result<PathBuf> {
    let place = cache()?.join(format!("models--{}", id.name.replace('/', "--")));
    if let Some(snapshot) = cached(&place, &id.revision) {
        r1_cli::note(&format!("{}: {}", id.name, snapshot.display()));
        return Ok(snapshot);
    }
    if env::var("HF_HUB_OFFLINE")
        .is_ok_and(|on| matches!(on.to_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE"))
    {
        return Err(r1_cli::misuse(
            format!("{}: not whole in {}, and HF_HUB_OFFLINE is set", id.name, place.display()),
            "unset HF_HUB_OFFLINE, or copy the files there",
        ));
    }
    download(id, &place)
}

/// Where snapshots lie.
fn cache() -> Result<PathBuf> {
    if let Some(cache) = env::var_os("HF_HUB_CACHE") {
        return Ok(cache.into());
    }
    Ok(home()?.join("hub"))
}

/// Hugging Face's own folder.
fn home() -> Result<PathBuf> {
    if let Some(home) = env::var_os("HF_HOME") {
        return Ok(home.into());
    }
    let below = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let below = below.or_else(|| env::home_dir().map(|home| home.join(".cache")));
    let missing = || r1_cli::misuse("no home directory to find Hugging Face's cache in", "set HF_HOME");
    Ok(below.ok_or_else(missing)?.join("huggingface"))
}

/// The user's token: the variable, else the file that `hf auth login` writes.
fn token() -> Option<String> {
    let text = env::var("HF_TOKEN").ok().or_else(|| {
        let file =
            env::var_os("HF_TOKEN_PATH").map(PathBuf::from).or_else(|| Some(home().ok()?.join("token")));
        fs::read_to_string(file?).ok()
    })?;
    Some(text.trim().to_owned()).filter(|token| !token.is_empty())
}

/// A snapshot in the cache that holds a config and every weight file.
fn cached(place: &Path, revision: &str) -> Option<PathBuf> {
    let commit = fs::read_to_string(place.join("refs").join(revision));
    let snapshot = place.join("snapshots").join(commit.as_deref().unwrap_or(revision).trim());
    let whole = snapshot.join("config.json").exists()
        && (snapshot.join(WEIGHTS).exists()
            || shards(&snapshot).is_some_and(|all| all.iter().all(|file| snapshot.join(file).exists())));
    whole.then_some(snapshot)
}

/// The files that an index names.
fn shards(snapshot: &Path) -> Option<Vec<String>> {
    let index: Value = serde_json::from_slice(&fs::read(snapshot.join(INDEX)).ok()?).ok()?;
    let mut files: Vec<String> = index["weight_map"]
        .as_object()?
        .values()
        .filter_map(|file| Some(file.as_str()?.to_owned()))
        .collect();
    files.sort();
    files.dedup();
    Some(files)
}

/// Brings what a policy needs into the cache; the reference to the snapshot is written last.
fn download(id: &Id, place: &Path) -> Result<PathBuf> {
    let endpoint = env::var("HF_ENDPOINT").unwrap_or_else(|_| "https://huggingface.co".into());
    let server = Server::of(endpoint.trim_end_matches('/'), token());
    let about = server.json(&format!("/api/models/{}/revision/{}", id.name, id.revision))?;
    let foreign = |what: &str| {
        r1_cli::misuse(
            format!("{}: {endpoint} answered without {what}", id.name),
            "see that HF_ENDPOINT is a hub",
        )
    };
    let commit =
        about["sha"].as_str().filter(|sha| sha.len() == 40 && sha.bytes().all(|b| b.is_ascii_hexdigit()));
    let commit = commit.ok_or_else(|| foreign("a commit"))?;
    let there: Vec<&str> = about["siblings"]
        .as_array()
        .ok_or_else(|| foreign("a list of files"))?
        .iter()
        .filter_map(|file| file["rfilename"].as_str())
        .collect();
    let snapshot = place.join("snapshots").join(commit);
    let fetch = |file: &str| {
        server.file(&format!("/{}/resolve/{commit}/{file}", id.name), place, &snapshot.join(file))
    };

    for file in CARRIED.iter().filter(|file| there.contains(file) && !file.starts_with('.')) {
        fetch(file)?;
    }
    if there.contains(&WEIGHTS) {
        fetch(WEIGHTS)?;
    } else if there.contains(&INDEX) {
        fetch(INDEX)?;
        for file in shards(&snapshot).ok_or_else(|| foreign("a readable index"))? {
            // Only files of the repository itself: an index is not a way to write elsewhere.
            if !there.contains(&file.as_str()) || file.contains(['/', '\\']) {
                return Err(foreign(&format!("{file}, which its index names")));
            }
            fetch(&file)?;
        }
    } else {
        return Err(r1_cli::misuse(
            format!("{}: has neither {WEIGHTS} nor {INDEX}; only safetensors weights are read", id.name),
            "name another repository, or a revision that has them",
        ));
    }
    if id.revision != commit {
        let reference = place.join("refs").join(&id.revision);
        let folder = reference.parent().unwrap_or(place);
        fs::create_dir_all(folder).with_context(|| format!("{}", folder.display()))?;
        r1_cli::write_atomically(&reference, commit.as_bytes())?;
    }
    r1_cli::note(&format!("{}@{commit}: {}", id.name, snapshot.display()));
    Ok(snapshot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_told_from_paths() {
        for (text, name, revision) in [
            ("gpt2", "gpt2", "main"),
            ("Qwen/Qwen2.5-0.5B", "Qwen/Qwen2.5-0.5B", "main"),
            ("org/name@refs/pr/1", "org/name", "refs/pr/1"),
        ] {
            let id = Id::parse(text).unwrap();
            assert_eq!((id.name.as_str(), id.revision.as_str()), (name, revision));
        }
        for text in
            ["", "/abs", "a/b/c", "./a", "../a", "a/..", "org/na me", "org/", "org/name@", "org/name@../x"]
        {
            assert!(Id::parse(text).is_err(), "{text}");
        }
    }
}
