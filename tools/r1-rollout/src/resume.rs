//! Rows on their way out: to standard output or a file that appears whole, or, with `--resume`, to a part that outlives a
//! kill and is gone on with.
//!
//! The part stands beside the output as `.NAME.part-SETTINGS`; SETTINGS names the flags that decide what is drawn, so
//! other flags find no part. A group in it counts when its lines are what this run would write for that task: the task's
//! row, the same prompt, policy and seed.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use r1_records::{NO_ROUND, ROUND_END, Row};

use crate::Args;
use crate::tasks::Task;

/// Where rows go.
pub enum Outlet {
    /// as every tool does it
    Sink(r1_cli::Sink),
    /// to a part
    Part(Part),
}

/// The file of an unfinished run.
pub struct Part {
    path: PathBuf,
    target: PathBuf,
    out: BufWriter<File>,
}

impl Outlet {
    /// Opens it; also returns how many groups are there already.
    pub fn open(args: &Args, policy: &str, tasks: &[Task], settings: u64) -> Result<(Outlet, usize)> {
        if !args.draw.resume {
            return Ok((Outlet::Sink(args.output.create()?), 0));
        }
        let Some(target) = args.output.path() else {
            return Err(r1_cli::misuse(
                "--resume without -o has nothing to go on from",
                "name a file with -o",
            ));
        };
        let (part, groups) = Part::open(target, args, policy, tasks, settings)?;
        Ok((Outlet::Part(part), groups))
    }

    /// [`r1_cli::Sink::check_reader`].
    pub fn check_reader(&self) -> Result<()> {
        match self {
            Outlet::Sink(sink) => sink.check_reader(),
            Outlet::Part(_) => Ok(()),
        }
    }

    /// A round is over: whoever holds rows back may begin.
    pub fn end_round(&mut self) -> Result<()> {
        match self {
            Outlet::Sink(sink) => sink.line(ROUND_END).and_then(|()| sink.flush_group()),
            Outlet::Part(part) => Err(anyhow!(part.failed())),
        }
    }

    /// All rounds were behind at the start: nobody has anything to do.
    pub fn no_round(&mut self) -> Result<()> {
        match self {
            Outlet::Sink(sink) => sink.line(NO_ROUND),
            Outlet::Part(part) => Err(anyhow!(part.failed())),
        }
    }

    /// Writes one row.
    pub fn row(&mut self, row: &Row) -> Result<()> {
        match self {
            Outlet::Sink(sink) => sink.line(row.text()),
            Outlet::Part(part) => {
                let written = row.write_line(&mut part.out);
                written.with_context(|| part.failed())
            }
        }
    }

    /// A group is complete: whoever reads may begin, and a kill does not take it.
    pub fn flush_group(&mut self) -> Result<()> {
        match self {
            Outlet::Sink(sink) => sink.flush_group(),
            Outlet::Part(part) => part.out.flush().with_context(|| part.failed()),
        }
    }

    /// All rows are written.
    pub fn finish(self) -> Result<()> {
        match self {
            Outlet::Sink(sink) => sink.finish(),
            Outlet::Part(part) => part.publish(),
        }
    }
}

impl Part {
    fn open(
        target: &Path,
        args: &Args,
        policy: &str,
        tasks: &[Task],
        settings: u64,
    ) -> Result<(Part, usize)> {
        let refuse = |e: std::io::Error| {
            r1_cli::bad_input(target.display(), e, "see that its directory is there and writable")
        };
        if target.exists() && !target.is_file() {
            return Err(r1_cli::misuse(
                format!("--resume: {} is not a plain file", target.display()),
                "name a file, or leave --resume out",
            ));
        }
        let path = target.with_file_name(format!("{}{settings:016x}", prefix(target)));
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(refuse)?;
        if file.try_lock().is_err() {
            return Err(r1_cli::bad_input(
                path.display(),
                "another run is writing it",
                "wait for that run, or name another file with -o",
            ));
        }
        let (groups, end) = complete_groups(&file, args, policy, tasks).map_err(refuse)?;
        file.set_len(end).map_err(refuse)?;
        file.seek(SeekFrom::End(0)).map_err(refuse)?;
        let part = Part { path, target: target.to_owned(), out: BufWriter::with_capacity(1 << 16, file) };
        Ok((part, groups))
    }

    fn failed(&self) -> String {
        format!("{}: cannot be written; make room and run the same command again", self.path.display())
    }

    /// Gives the part its name, and removes parts of other settings.
    fn publish(mut self) -> Result<()> {
        self.out.flush().with_context(|| self.failed())?;
        self.out.get_ref().sync_all().with_context(|| self.failed())?;
        fs::rename(&self.path, &self.target).with_context(|| self.failed())?;
        let (prefix, parent) = (prefix(&self.target), self.target.parent().unwrap_or(Path::new("")));
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        // Leftovers are untidy, no failure.
        for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(&prefix) {
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(())
    }
}

/// What the names of all parts of a file begin with.
fn prefix(target: &Path) -> String {
    format!(".{}.part-", target.file_name().unwrap_or_default().to_string_lossy())
}

/// How many groups of the tasks a part holds from its start on, and where they end.
fn complete_groups(part: &File, args: &Args, policy: &str, tasks: &[Task]) -> std::io::Result<(usize, u64)> {
    let mut lines = BufReader::new(part);
    let (mut end, mut at) = (0u64, 0u64);
    for (groups, task) in tasks.iter().enumerate() {
        for sample in 0..args.draw.samples {
            let mut line = Vec::new();
            at += lines.read_until(b'\n', &mut line)? as u64;
            if !is_row_of(&line, sample, args, policy, task) {
                return Ok((groups, end));
            }
        }
        end = at;
    }
    Ok((tasks.len(), end))
}

/// Whether a line is what this run would write for a sample of a task.
fn is_row_of(line: &[u8], sample: usize, args: &Args, policy: &str, task: &Task) -> bool {
    let Some(text) = line.strip_suffix(b"\n").and_then(|line| std::str::from_utf8(line).ok()) else {
        return false;
    };
    let Ok(row) = Row::parse(text) else { return false };
    let (Ok(rollout), Some(raw)) = (row.rollout(), row.raw("rollout")) else { return false };
    let mut again = task.row.clone();
    again.set_raw("rollout", raw).is_ok()
        && again.text() == row.text()
        && rollout.sample == Some(sample as u32)
        && rollout.prompt_ids.is_none_or(|ids| task.prompt_ids.is_empty() || ids == task.prompt_ids)
        && rollout.policy.as_deref() == Some(policy)
        && rollout.seed == Some(args.seed.seed)
}
