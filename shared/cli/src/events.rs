//! `--tensorboard DIR`: metrics as TensorBoard reads them, in one file of event records.
//!
//! A record is a length (u64, little-endian), its checksum, the bytes of one event, their checksum (CRC-32C, rotated and shifted as
//! TensorFlow's `record_writer` does). An event is a protocol buffer: wall time, step, and a summary of (tag, number) pairs. The first
//! event names the format. A run that goes on cuts off what was torn, and the steps that it is going to write again.

use crate::exit::bad_input;
use crate::output::write_atomically;
use anyhow::anyhow;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

/// `--tensorboard DIR`.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct TensorBoard {
    /// Write the metrics of every step as TensorBoard events into DIR
    #[arg(long = "tensorboard", value_name = "DIR")]
    event_directory: Option<PathBuf>,
}

/// The open file of events.
#[derive(Debug)]
pub struct Events {
    path: PathBuf,
    file: File,
}

impl TensorBoard {
    /// Opens the file of `tool` for a run that goes on after `step`; nothing where nobody asked.
    ///
    /// # Errors
    /// The directory cannot be made or written, or holds a file of this name that is no file of events.
    pub fn resume(&self, tool: &str, step: u64) -> anyhow::Result<Option<Events>> {
        let Some(directory) = &self.event_directory else { return Ok(None) };
        let fail = |error: io::Error| bad_input(directory.display(), error, "see that it is writable");
        fs::create_dir_all(directory).map_err(fail)?;
        let path = directory.join(format!("events.out.tfevents.{tool}"));
        let known = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(fail(error)),
        };
        let mut kept = Vec::with_capacity(known.len());
        for event in records(&known) {
            let bytes = &known[event.clone()];
            if step_of(&bytes[12..bytes.len() - 4]) <= step {
                kept.extend_from_slice(bytes);
            }
        }
        if kept.is_empty() {
            // Length and checksum of the first event are always the same; perhaps not all of them were written.
            let head = &record(&version(0.0))[..12];
            if !known.starts_with(&head[..known.len().min(12)]) {
                let fact = "is there and no file of events";
                return Err(bad_input(path.display(), fact, "give another directory"));
            }
            kept = record(&version(now()));
        }
        if kept != known {
            write_atomically(&path, &kept)?;
        }
        let file = OpenOptions::new().append(true).open(&path).map_err(fail)?;
        Ok(Some(Events { path, file }))
    }
}

impl Events {
    /// Appends every number of a line of metrics but its `"step"`, which it is filed under; a line without a step is left out.
    pub(crate) fn write(&mut self, line: &serde_json::Value) -> anyhow::Result<()> {
        let Some(step) = line.get("step").and_then(serde_json::Value::as_u64) else { return Ok(()) };
        let fields = line.as_object().into_iter().flatten();
        let scalars: Vec<(&str, f32)> = fields
            .filter(|(name, _)| *name != "step")
            .filter_map(|(name, value)| Some((name.as_str(), value.as_f64()?)))
            .map(|(name, value)| (name, value.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32))
            .collect();
        self.file.write_all(&record(&event(now(), step, &scalars))).map_err(|error| {
            anyhow!("{}: cannot be written: {error}; make room and run again", self.path.display())
        })
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

/// Where each whole record of a file lies; what follows a torn or damaged one is left out.
fn records(bytes: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(head) = bytes.get(at..at + 12) {
        let length =
            u64::from_le_bytes([head[0], head[1], head[2], head[3], head[4], head[5], head[6], head[7]]);
        let end = usize::try_from(length).ok().and_then(|n| at.checked_add(16)?.checked_add(n));
        let Some(whole) = end.and_then(|end| bytes.get(at..end)) else { break };
        let data = &whole[12..whole.len() - 4];
        if head[8..] != checksum(&head[..8]) || whole[whole.len() - 4..] != checksum(data) {
            break;
        }
        found.push(at..at + whole.len());
        at += whole.len();
    }
    found
}

/// A record around these bytes.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    [&length[..], &checksum(&length), data, &checksum(data)].concat()
}

/// TensorFlow's masked CRC-32C.
fn checksum(data: &[u8]) -> [u8; 4] {
    let mut crc = !0u32;
    for byte in data {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            // Castagnoli's polynomial, bits reversed.
            crc = (crc >> 1) ^ (0x82f6_3b78 & 0u32.wrapping_sub(crc & 1));
        }
    }
    (!crc).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}

/// A protocol buffer's integer: seven bits a byte, the lowest first.
fn varint(mut n: u64, to: &mut Vec<u8>) {
    while n >= 0x80 {
        to.push(n as u8 | 0x80);
        n >>= 7;
    }
    to.push(n as u8);
}

/// A field of bytes.
fn field(number: u8, bytes: &[u8], to: &mut Vec<u8>) {
    to.push(number << 3 | 2);
    varint(bytes.len() as u64, to);
    to.extend_from_slice(bytes);
}

/// The first event of a file.
fn version(wall_time: f64) -> Vec<u8> {
    let mut to = vec![1 << 3 | 1];
    to.extend_from_slice(&wall_time.to_le_bytes());
    field(3, b"brain.Event:2", &mut to);
    to
}

/// An event with these numbers.
fn event(wall_time: f64, step: u64, scalars: &[(&str, f32)]) -> Vec<u8> {
    let mut summary = Vec::new();
    for (tag, number) in scalars {
        let mut value = Vec::new();
        field(1, tag.as_bytes(), &mut value);
        value.push(2 << 3 | 5);
        value.extend_from_slice(&number.to_le_bytes());
        field(1, &value, &mut summary);
    }
    let mut to = vec![1 << 3 | 1];
    to.extend_from_slice(&wall_time.to_le_bytes());
    if step > 0 {
        to.push(2 << 3);
        varint(step, &mut to);
    }
    field(5, &summary, &mut to);
    to
}

/// The step of an event that we wrote: the field behind the wall time, 0 where there is none.
fn step_of(event: &[u8]) -> u64 {
    if event.get(9) != Some(&(2 << 3)) {
        return 0;
    }
    let digits = event[10..].iter().take(10).scan(true, |more, byte| {
        let take = *more;
        *more = byte & 0x80 != 0;
        take.then_some(u64::from(byte & 0x7f))
    });
    digits.enumerate().fold(0, |sum, (i, digit)| sum | digit.checked_shl(7 * i as u32).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bytes_are_those_of_tensorboard() {
        let text = include_str!("../../../tests/golden/events/events.json");
        let golden: serde_json::Value = serde_json::from_str(text).unwrap();
        let mut ours = record(&version(golden["version_wall_time"].as_f64().unwrap()));
        for line in golden["events"].as_array().unwrap() {
            let pairs = line["scalars"].as_array().unwrap();
            let scalars: Vec<(&str, f32)> =
                pairs.iter().map(|p| (p[0].as_str().unwrap(), p[1].as_f64().unwrap() as f32)).collect();
            let bytes = event(line["wall_time"].as_f64().unwrap(), line["step"].as_u64().unwrap(), &scalars);
            assert_eq!(step_of(&bytes), line["step"].as_u64().unwrap());
            ours.extend(record(&bytes));
        }
        let hex: String = ours.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, golden["file"].as_str().unwrap());
    }

    #[test]
    fn a_run_that_goes_on_writes_no_step_twice_and_leaves_nothing_torn() {
        let directory = tempfile::tempdir().unwrap();
        let flag = TensorBoard { event_directory: Some(directory.path().join("board")) };
        let mut events = flag.resume("r1-sft", 0).unwrap().unwrap();
        for step in [1, 2, 300] {
            events.write(&json!({"tool": "r1-sft", "step": step, "loss": 0.5, "ratio": 1e300})).unwrap();
        }
        events.write(&json!({"loss": 0.5})).unwrap();
        let path = directory.path().join("board/events.out.tfevents.r1-sft");
        let steps = |bytes: &[u8]| -> Vec<u64> {
            records(bytes).into_iter().map(|r| step_of(&bytes[r.start + 12..r.end - 4])).collect()
        };
        let whole = fs::read(&path).unwrap();
        assert_eq!(steps(&whole), [0, 1, 2, 300]);
        for cut in [0, 5, 40, whole.len() - 3] {
            fs::write(&path, &whole[..cut]).unwrap();
            flag.resume("r1-sft", 1).unwrap().unwrap().write(&json!({"step": 2, "loss": 1.0})).unwrap();
            let bytes = fs::read(&path).unwrap();
            let last = steps(&bytes);
            assert_eq!(records(&bytes).last().unwrap().end, bytes.len(), "{cut}");
            assert_eq!((last[0], last[last.len() - 1]), (0, 2), "{cut}");
        }
        assert_eq!(steps(&fs::read(&path).unwrap()), [0, 1, 2]);
        fs::write(&path, "something else, and longer than a record").unwrap();
        let error = flag.resume("r1-sft", 1).unwrap_err();
        assert!(error.to_string().contains("no file of events"), "{error}");
        assert!(TensorBoard::default().resume("r1-sft", 0).unwrap().is_none());
    }
}
