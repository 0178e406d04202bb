//! `--metrics FILE`: one JSON object a line, appended, so that a run that goes on goes on in the same file.

use crate::events::Events;
use crate::exit::bad_input;
use crate::output::{AtomicFile, write_atomically};
use anyhow::anyhow;
use serde::Serialize;
use serde_json::ser::Formatter;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// `--metrics FILE`.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct MetricsFile {
    /// Append metrics to FILE, one JSON object a line
    #[arg(long = "metrics", value_name = "FILE")]
    metrics_file: Option<PathBuf>,
}

/// The open file, or nothing where none was asked for; TensorBoard's events beside it.
#[derive(Debug)]
pub struct Metrics {
    file: Option<(PathBuf, File)>,
    events: Option<Events>,
}

impl MetricsFile {
    /// Opens it for appending.
    pub fn open(&self) -> anyhow::Result<Metrics> {
        let Some(path) = &self.metrics_file else { return Ok(Metrics { file: None, events: None }) };
        cut_torn_line(path)?;
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(|error| {
            bad_input(path.display(), error, "see that its directory is there and writable")
        })?;
        Ok(Metrics { file: Some((path.clone(), file)), events: None })
    }

    /// Opens it for a run of `tool` that goes on from a checkpoint: the tool's own lines (their `"tool"` says so) whose `"step"` is
    /// after `step` were written by the part that is run again, and are taken out. Other tools' lines in the same file stay.
    pub fn resume(&self, tool: &str, step: u64) -> anyhow::Result<Metrics> {
        if let Some(path) = &self.metrics_file
            && path.is_file()
            && let Ok(text) = fs::read_to_string(path)
        {
            let stays = |line: &&str| {
                let value: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
                let at = value.get("step").and_then(serde_json::Value::as_u64);
                value.get("tool").and_then(serde_json::Value::as_str) != Some(tool)
                    || at.is_none_or(|at| at <= step)
            };
            let kept: String = text.split_inclusive('\n').filter(stays).collect();
            if kept.len() != text.len() {
                write_atomically(path, kept.as_bytes())?;
            }
        }
        self.open()
    }
}

impl Metrics {
    /// Every line goes to `events`, too.
    pub fn and(self, events: Option<Events>) -> Metrics {
        Metrics { events, ..self }
    }

    /// Whether anybody asked for metrics.
    pub fn wanted(&self) -> bool {
        self.file.is_some() || self.events.is_some()
    }

    /// Appends one object as one line with one write, so that several tools may share a file. A number that is not finite, and
    /// anything that would be a null, is refused: a metric that does not exist has no key.
    pub fn write<T: Serialize + ?Sized>(&mut self, line: &T) -> anyhow::Result<()> {
        if let Some(events) = &mut self.events {
            events.write(&serde_json::to_value(line)?)?;
        }
        let Some((path, file)) = &mut self.file else { return Ok(()) };
        let mut bytes = Vec::with_capacity(256);
        line.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, NoNull))
            .map_err(|error| anyhow!("{}: a metric cannot be written: {error}", path.display()))?;
        bytes.push(b'\n');
        file.write_all(&bytes).map_err(|error| {
            anyhow!("{}: cannot be written: {error}; make room and run again", path.display())
        })
    }
}

/// Compact JSON that refuses null, which is also what serde_json makes of a NaN or an infinity.
struct NoNull;

impl Formatter for NoNull {
    fn write_null<W: ?Sized + io::Write>(&mut self, _: &mut W) -> io::Result<()> {
        Err(io::Error::other("a number that is not finite, or a null"))
    }
}

/// A line without its end is what a run that was killed left of its last metric.
fn cut_torn_line(path: &Path) -> anyhow::Result<()> {
    // A pipe or a device has no past, and some of them never stop to be read.
    if !path.is_file() {
        return Ok(());
    }
    let Ok(bytes) = fs::read(path) else { return Ok(()) };
    if bytes.is_empty() || bytes.ends_with(b"\n") {
        return Ok(());
    }
    let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let mut file = AtomicFile::create(path)?;
    file.write_all(&bytes[..whole]).map_err(|error| file.failure(error))?;
    file.publish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn lines_are_appended_and_only_finite_ones() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("metrics.jsonl");
        let flag = MetricsFile { metrics_file: Some(path.clone()) };
        let mut metrics = flag.open().unwrap();
        metrics.write(&json!({"step": 1, "loss": 0.5})).unwrap();
        assert!(metrics.write(&[f64::NAN]).is_err() && metrics.write(&json!({"loss": null})).is_err());
        drop(metrics);
        flag.open().unwrap().write(&json!({"step": 2})).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"step\":1,\"loss\":0.5}\n{\"step\":2}\n");
        assert!(!MetricsFile::default().open().unwrap().wanted());
    }

    #[test]
    fn a_run_that_goes_on_writes_no_step_twice() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("metrics.jsonl");
        let own = |step: u64| format!("{{\"tool\":\"sft\",\"step\":{step}}}\n");
        let others = "{\"tool\":\"grpo\",\"step\":7}\n{\"note\":\"x\"}\n{\"step\":9}\n";
        fs::write(&path, own(1) + &own(2) + others + &own(3) + "{\"st").unwrap();
        let flag = MetricsFile { metrics_file: Some(path.clone()) };
        flag.resume("sft", 2).unwrap().write(&json!({"tool": "sft", "step": 3, "again": true})).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let again = "{\"tool\":\"sft\",\"step\":3,\"again\":true}\n";
        assert_eq!(text, own(1) + &own(2) + others + again);
    }
}
