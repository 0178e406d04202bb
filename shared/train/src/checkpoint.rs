//! A training state on disk: a plain Hugging Face directory, and beside the weights `optimizer.safetensors` and `train.json`.
//! Where an adapter is trained, PEFT's two files stand in for the policy's.
//!
//! The directory is published whole by one swap, so that at every moment the name holds one consistent
//! state. `train.json` holds what the run was told and what it was fed (hashes); the same command finds its own state and goes
//! on from it, another command is refused. Nothing in it depends on the clock: the same run leaves the same bytes.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, BufRead, Read};
use std::path::Path;

use anyhow::{Context, Result};
use r1_model::checkpoint::SaveDtype;
use r1_model::directory::{DirectoryWriter, carry_files, recover, write_json};
use r1_model::{LoadOptions, Policy, Precision};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::update::Trainer;

/// File name of the training state in a policy directory.
pub const FILE: &str = "train.json";

/// File name of the old policy's log-probabilities beside the state of a round that stopped on the way.
pub const OLD: &str = "old.json";

/// Whether the run that wrote the state has more to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// a checkpoint on the way
    Running,
    /// the end of the run
    Done,
}

/// `train.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// the tool that wrote it
    pub tool: String,
    /// whether its run is over
    pub status: Status,
    /// optimizer updates behind the weights, over all rounds of this tool
    pub step: u64,
    /// rounds begun (r1-grpo); absent for one long run
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round: Option<u64>,
    /// updates of this run that are done: where the batches go on
    pub cursor: u64,
    /// trained tokens so far, over all rounds
    pub tokens: u64,
    /// every flag that decides the result, settled
    pub command: Map<String, Value>,
    /// `sha256:…` of every input: the starting weights, the rows
    pub inputs: Map<String, Value>,
    /// what the tool measured and needs again at its next update; absent where nothing
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub memory: Map<String, Value>,
}

impl State {
    /// The state of a run that has done nothing yet.
    pub fn planned(tool: &str, command: Map<String, Value>, inputs: Map<String, Value>) -> State {
        let tool = tool.to_string();
        let memory = Map::new();
        State {
            tool,
            status: Status::Running,
            step: 0,
            round: None,
            cursor: 0,
            tokens: 0,
            command,
            inputs,
            memory,
        }
    }

    /// Reads `train.json` of a directory; `None` where there is none.
    ///
    /// # Errors
    /// When the file is there and is not what a training tool writes.
    pub fn load(dir: &Path) -> Result<Option<State>> {
        let file = dir.join(FILE);
        match fs::read(&file) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e).with_context(|| format!("{}", file.display())),
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| {
                r1_cli::bad_input(
                    file.display(),
                    format!("no training state: {e}"),
                    "remove its directory to start over",
                )
            }),
        }
    }

    /// What differs between this state's run and a planned one, in words; empty where they are the same run. Keys in
    /// `except` are not compared.
    pub fn differences(&self, planned: &State, except: &[&str]) -> Vec<String> {
        let mut found = Vec::new();
        if self.tool != planned.tool {
            found.push(format!("it was written by {}", self.tool));
        }
        for (of, is_input) in
            [(&State::command as &dyn Fn(&State) -> &Map<String, Value>, false), (&State::inputs, true)]
        {
            let (old, new) = (of(self), of(planned));
            let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
            for key in keys.into_iter().filter(|k| !except.contains(&k.as_str())) {
                match (old.get(key), new.get(key)) {
                    (a, b) if a == b => {}
                    (Some(_), Some(_)) if is_input => found.push(format!("another {key}")),
                    (Some(a), Some(b)) => found.push(format!("--{key} was {a}, now {b}")),
                    (Some(a), None) if !is_input => found.push(format!("--{key} was {a}, now not given")),
                    (None, Some(b)) if !is_input => found.push(format!("--{key} was not given, now {b}")),
                    (Some(_), None) => found.push(format!("{key} was given, now not")),
                    _ => found.push(format!("{key} was not given before")),
                }
            }
        }
        found
    }

    fn command(&self) -> &Map<String, Value> {
        &self.command
    }

    fn inputs(&self) -> &Map<String, Value> {
        &self.inputs
    }
}

/// Where a run begins.
#[derive(Clone, Debug, PartialEq)]
pub enum Start {
    /// nothing is there yet
    Fresh,
    /// this very run stopped on the way
    Resume(State),
    /// this very run is over
    Finished(State),
}

/// Finds out where a run that writes to `out` begins, after putting right what a killed run left.
///
/// # Errors
/// Exit 2: `out` holds something else than a state of this run; the message says what differs and how to start over.
pub fn settle(out: &Path, planned: &State) -> Result<Start> {
    recover(out)?;
    let name = out.display();
    if !out.exists() || (out.is_dir() && fs::read_dir(out).is_ok_and(|mut d| d.next().is_none())) {
        return Ok(Start::Fresh);
    }
    let start_over = format!("give another -o, or remove {name} to start over");
    let Some(state) = State::load(out)? else {
        return Err(r1_cli::bad_input(name, "is there and holds no training state", start_over));
    };
    let differences = state.differences(planned, &[]);
    if !differences.is_empty() {
        let fact = format!("holds another run: {}", differences.join(", "));
        return Err(r1_cli::bad_input(name, fact, start_over));
    }
    if state.status == Status::Done {
        return Ok(Start::Finished(state));
    }
    check_replaceable(out)?;
    Ok(Start::Resume(state))
}

/// [`r1_model::directory::check_replaceable`], with the exit code of a misuse.
///
/// # Errors
/// Exit 2, naming the files that would be lost.
pub fn check_replaceable(dir: &Path) -> Result<()> {
    r1_model::directory::check_replaceable(dir)
        .map_err(|e| r1_cli::misuse(format!("{e:#}"), "move them elsewhere, or give another -o"))
}

/// Where a run keeps the reference that it refreshes, inside its policy directory: a policy of its own.
pub const REFERENCE: &str = "reference";

/// Publishes the trainer's policy as directory `out`: files of `from` (config, tokenizer), the optimizer where the run goes on,
/// the state, the weights in f32, moved there whole by one swap; where the policy `from` is trained through an adapter, the adapter instead.
///
/// # Errors
/// When something cannot be written; `out` is then as it was.
pub fn publish(
    out: &Path,
    from: &Path,
    trainer: &Trainer,
    state: &State,
    with_optimizer: bool,
) -> Result<()> {
    publish_with(out, from, trainer, state, with_optimizer, &[], None)
}

/// What becomes of the reference when a policy is published.
#[derive(Clone, Copy, Debug)]
pub enum Reference<'a> {
    /// the one in this directory goes along
    Kept(&'a Path),
    /// share · policy + (1 − share) · the one in this directory: at 1 the policy itself
    Moved(&'a Path, f64),
}

/// Writes the reference's directory.
fn keep_reference(to: &Path, config: &Path, trainer: &Trainer, reference: &Reference) -> Result<()> {
    fs::create_dir(to).with_context(|| format!("{}", to.display()))?;
    let weights = |dir: &Path| dir.join("model.safetensors");
    match reference {
        Reference::Kept(old) => {
            for (from, to) in [(weights(old), weights(to)), (old.join("config.json"), to.join("config.json"))]
            {
                // Both are never changed, only replaced: one copy on the disk serves both names.
                if fs::hard_link(&from, &to).is_err() {
                    fs::copy(&from, &to).with_context(|| format!("{}", from.display()))?;
                }
            }
            Ok(())
        }
        Reference::Moved(old, share) => {
            fs::copy(config, to.join("config.json")).with_context(|| format!("{}", config.display()))?;
            if *share == 1.0 {
                return trainer.policy.save_weights(to, SaveDtype::F32);
            }
            let here = LoadOptions::trainable(Some(Precision::F32)).on(None);
            let mut mixed = Policy::load(old, here)?;
            for (i, own) in mixed.parameters_mut().iter_mut().enumerate() {
                for (a, b) in own.value.iter_mut().zip(trainer.policy.values(i)?.iter()) {
                    *a = (share * f64::from(*b) + (1.0 - share) * f64::from(*a)) as f32;
                }
            }
            mixed.save_weights(to, SaveDtype::F32)
        }
    }
}

/// [`publish`] with further JSON files, by name, that the run needs to go on, and its reference.
///
/// # Errors
/// Those of [`publish`].
pub fn publish_with(
    out: &Path,
    from: &Path,
    trainer: &Trainer,
    state: &State,
    with_optimizer: bool,
    beside: &[(&str, Value)],
    reference: Option<&Reference>,
) -> Result<()> {
    let writer = DirectoryWriter::create(out)?;
    let dir = writer.path();
    let adapted = trainer.policy.adapter().is_some();
    if !adapted {
        carry_files(from, dir)?;
        // A classifier's config is not that of the policy whose network it began with.
        if !trainer.policy.config.labels().is_empty() {
            write_json(&dir.join("config.json"), &trainer.policy.config.raw)?;
        }
        settle_config(&dir.join("config.json"))?;
    }
    if let Some(reference) = reference {
        keep_reference(&dir.join(REFERENCE), &dir.join("config.json"), trainer, reference)?;
    }
    for (name, value) in beside {
        write_json(&dir.join(name), value)?;
    }
    write_json(&dir.join(FILE), &serde_json::to_value(state)?)?;
    // Moments and weights side by side: a disk takes both sooner than one after the other.
    std::thread::scope(|scope| {
        let moments = with_optimizer.then(|| scope.spawn(|| trainer.optimizer.save(&trainer.policy, dir)));
        let weights = if adapted {
            trainer.policy.save_adapter(dir, from)
        } else {
            trainer.policy.save_weights(dir, SaveDtype::F32)
        };
        let moments = moments.map(|writer| writer.join().unwrap_or_else(|e| std::panic::resume_unwind(e)));
        moments.unwrap_or(Ok(())).and(weights)
    })?;
    writer.publish()
}

/// Makes config.json say what the weights beside it are: f32, not quantized.
fn settle_config(file: &Path) -> Result<()> {
    let place = || format!("{}", file.display());
    let mut config: Value =
        serde_json::from_slice(&fs::read(file).with_context(place)?).with_context(place)?;
    let before = config.clone();
    if let Some(fields) = config.as_object_mut() {
        for key in ["dtype", "torch_dtype"] {
            if let Some(value) = fields.get_mut(key) {
                *value = SaveDtype::F32.name().into();
            }
        }
        fields.remove("quantization_config");
    }
    if config != before { write_json(file, &config) } else { Ok(()) }
}

/// `sha256:…` of a file.
///
/// # Errors
/// When it cannot be read.
pub fn hash_of(file: &Path) -> Result<String> {
    let place = || format!("{}", file.display());
    let mut bytes = Hashing::new(io::BufReader::new(fs::File::open(file).with_context(place)?));
    io::copy(&mut bytes, &mut io::sink()).with_context(place)?;
    Ok(bytes.finish())
}

/// Reads on, hashing what passes: the name of an input in `train.json`.
pub struct Hashing<R> {
    input: R,
    hash: Sha256,
}

impl<R: BufRead> Hashing<R> {
    /// Begins to hash at the first byte that is read.
    pub fn new(input: R) -> Hashing<R> {
        Hashing { input, hash: Sha256::new() }
    }

    /// `sha256:` and the hash of everything read, once the input was read to its end.
    pub fn finish(self) -> String {
        let hex: String = self.hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
        format!("sha256:{hex}")
    }
}

impl<R: BufRead> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.input.read(buffer)?;
        self.hash.update(&buffer[..n]);
        Ok(n)
    }
}

impl<R: BufRead> BufRead for Hashing<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.input.fill_buf()
    }

    fn consume(&mut self, n: usize) {
        // Bytes in the buffer are there already: this reads nothing and cannot fail.
        if let Ok(buffer) = self.input.fill_buf() {
            self.hash.update(&buffer[..n.min(buffer.len())]);
        }
        self.input.consume(n);
    }
}

#[cfg(test)]
mod tests;
