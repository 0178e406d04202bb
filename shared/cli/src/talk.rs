//! What a tool says on stderr: notes, warnings, tables, progress. Never data.

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::json;
use std::io::{self, IsTerminal, Write};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How much a tool says, and in what form.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Talk {
    /// Say nothing on stderr but errors
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Say it as JSON lines on stderr
    #[arg(long, global = true)]
    pub log_json: bool,
}

static TOOL: OnceLock<String> = OnceLock::new();
static QUIET: AtomicBool = AtomicBool::new(false);
static JSON: AtomicBool = AtomicBool::new(false);
static BARS: OnceLock<MultiProgress> = OnceLock::new();

/// How often progress is told where no bar can be drawn.
const INTERVAL: Duration = Duration::from_secs(10);

pub(crate) fn set_tool(name: &str) {
    let _ = TOOL.set(name.to_string());
}

pub(crate) fn tool() -> &'static str {
    TOOL.get().map_or("r1", String::as_str)
}

pub(crate) fn set_manner(quiet: bool, json: bool) {
    QUIET.store(quiet, Ordering::Relaxed);
    JSON.store(json, Ordering::Relaxed);
}

/// One line for a person (`r1-reward: text`); silent under `--quiet`, JSON under `--log-json`.
pub fn note(text: &str) {
    if !QUIET.load(Ordering::Relaxed) {
        say("note", text);
    }
}

/// Like [`note`], for something that the user should mend although the tool goes on.
pub fn warn(text: &str) {
    if !QUIET.load(Ordering::Relaxed) {
        say("warning", text);
    }
}

/// Lines of a table, without the tool's name before each; silent under `--quiet` and, since its numbers then belong into
/// `--metrics` or a report, under `--log-json` one JSON line with the whole text.
pub fn table(text: &str) {
    if QUIET.load(Ordering::Relaxed) {
        return;
    }
    if JSON.load(Ordering::Relaxed) {
        say("table", text);
    } else {
        print(text.trim_end_matches('\n'));
    }
}

pub(crate) fn error(text: &str) {
    say("error", text);
}

fn say(level: &str, text: &str) {
    if JSON.load(Ordering::Relaxed) {
        print(&json!({"level": level, "tool": tool(), "message": text}).to_string());
    } else if level == "warning" {
        print(&format!("{}: warning: {text}", tool()));
    } else {
        print(&format!("{}: {text}", tool()));
    }
}

/// Prints above the bars where there are any. A closed stderr is no failure.
fn print(text: &str) {
    let write = || {
        let _ = io::stderr().write_all(format!("{text}\n").as_bytes());
    };
    match BARS.get() {
        Some(bars) => bars.suspend(write),
        None => write(),
    }
}

/// How far the work is: a bar on a terminal, else a line every ten seconds (the first after ten), nothing under `--quiet`.
#[derive(Debug)]
pub struct Progress {
    unit: &'static str,
    total: Option<u64>,
    done: u64,
    began: Instant,
    told: Instant,
    message: String,
    bar: Option<ProgressBar>,
    silent: bool,
}

impl Progress {
    /// Progress in `unit`s ("rows", "steps"), of `total` where it is known.
    pub fn new(unit: &'static str, total: Option<u64>) -> Self {
        let silent = QUIET.load(Ordering::Relaxed);
        let draw = !silent && !JSON.load(Ordering::Relaxed) && io::stderr().is_terminal();
        let bar = draw.then(|| {
            let bars = BARS.get_or_init(MultiProgress::new);
            let (bar, form) = match total {
                Some(total) => (
                    ProgressBar::new(total),
                    "{prefix} {bar:30} {human_pos}/{human_len} {msg} [{elapsed}, {eta} left]",
                ),
                None => (ProgressBar::new_spinner(), "{prefix} {spinner} {human_pos} {msg} [{elapsed}]"),
            };
            let style = ProgressStyle::with_template(form).unwrap_or_else(|_| ProgressStyle::default_bar());
            bars.add(bar.with_style(style).with_prefix(tool()).with_message(unit))
        });
        let now = Instant::now();
        Self { unit, total, done: 0, began: now, told: now, message: String::new(), bar, silent }
    }

    /// So many more are done.
    pub fn add(&mut self, count: u64) {
        self.set(self.done + count);
    }

    /// So many are done in all.
    pub fn set(&mut self, done: u64) {
        self.done = done;
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        } else if !self.silent && self.told.elapsed() >= INTERVAL {
            self.told = Instant::now();
            self.tell();
        }
    }

    /// A few words beside the numbers ("loss 0.41").
    pub fn message(&mut self, text: &str) {
        self.message = text.to_string();
        if let Some(bar) = &self.bar {
            bar.set_message(format!("{} {text}", self.unit));
        }
    }

    /// The work is over: the bar goes away.
    pub fn finish(self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn tell(&self) {
        let rate = self.done as f64 / self.began.elapsed().as_secs_f64().max(1e-9);
        if JSON.load(Ordering::Relaxed) {
            let line = json!({"level": "progress", "tool": tool(), "unit": self.unit, "done": self.done, "total": self.total,
                "per_second": rate, "message": self.message});
            print(&line.to_string());
        } else {
            let total = self.total.map_or(String::new(), |total| format!("/{total}"));
            let words = if self.message.is_empty() { String::new() } else { format!(", {}", self.message) };
            print(&format!("{}: {}{total} {}, {rate:.1} a second{words}", tool(), self.done, self.unit));
        }
    }
}
