//! `--follow DIR`: round after round, each drawn from the policy that r1-grpo has published as DIR after the round before.
//!
//! DIR is replaced whole, in one step, and the `round` in its `train.json` says how many rounds are behind it: that file is all
//! that is watched. Round k takes the k-th `--prompts` tasks of the input, so that the same command, started again after
//! anything, passes over the tasks of the rounds that DIR has behind it, and goes on with the bytes of an unbroken run. Where DIR is
//! POLICY itself, the input is that of all of the policy's rounds; else that of the rounds since POLICY.
//!
//! A form feed on a line of its own ends each round on the way to r1-grpo; two of them say that no round was left to draw.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use r1_cli::signals;
use r1_model::directory::Claim;
use r1_model::{Policy, device, lora};
use serde::Deserialize;
use serde_json::json;

use crate::Args;
use crate::draw::{self, Drawing};
use crate::resume::Outlet;
use crate::tasks::{self, Loaded, Stream};

/// How often DIR is looked at.
const GLANCE: Duration = Duration::from_millis(10);

/// How long r1-grpo may take to begin.
const GRACE: Duration = Duration::from_secs(60);

/// Flags of other modes. All of this one's conflict with them: clap lets a flag whose `requires` is in conflict pass unseen.
const OTHERS: [&str; 5] = ["score", "adapter", "resume", "show_tokens", "output_file"];

/// What is followed, and how closely.
#[derive(clap::Args, Clone, Debug)]
pub struct Flags {
    /// Stay: draw round after round, each from the policy that r1-grpo --follow has published as DIR (POLICY until there is one)
    #[arg(long, value_name = "DIR", requires = "prompts", conflicts_with_all = OTHERS.iter().chain(&r1_endpoint::FLAGS))]
    pub follow: Option<PathBuf>,
    /// Tasks of a round
    #[arg(long, value_name = "N", requires = "follow", conflicts_with_all = OTHERS.iter().chain(&r1_endpoint::FLAGS),
          value_parser = clap::value_parser!(u32).range(1..))]
    prompts: Option<u32>,
    /// Rounds that may be drawn ahead of the published policy; at 0 every round is drawn from the policy that it trains
    #[arg(long, value_name = "N", default_value_t = 0, requires = "follow", conflicts_with_all = OTHERS.iter().chain(&r1_endpoint::FLAGS))]
    max_lag: u64,
}

/// What the tool reads of `train.json`.
#[derive(Deserialize, PartialEq, Debug)]
struct Published {
    tool: String,
    status: String,
    #[serde(default)]
    round: u64,
}

impl Published {
    /// The state of a directory; none where there is none, or where another tool made the policy.
    fn of(dir: &Path) -> Result<Option<Published>> {
        let file = dir.join("train.json");
        let remedy = "name the directory that r1-grpo writes";
        let bytes = match fs::read(&file) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|e| r1_cli::bad_input(file.display(), e, remedy))?,
        };
        let state: Published = serde_json::from_slice(&bytes)
            .map_err(|e| r1_cli::bad_input(file.display(), format!("no training state: {e}"), remedy))?;
        if state.tool == "r1-grpo" && state.status != "done" {
            let remedy = "run that round's command again first";
            return Err(r1_cli::bad_input(dir.display(), "stopped in the middle of a round", remedy));
        }
        Ok((state.tool == "r1-grpo").then_some(state))
    }
}

/// The directory that is followed, and the rounds that count.
struct Trail<'a> {
    args: &'a Args,
    dir: &'a Path,
    /// rounds behind POLICY, which the input does not have
    before: u64,
    in_place: bool,
}

impl Trail<'_> {
    fn of<'a>(args: &'a Args, dir: &'a Path) -> Result<Trail<'a>> {
        let settled = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let in_place = settled(&args.policy) == settled(dir);
        let before = if in_place { 0 } else { Published::of(&args.policy)?.map_or(0, |state| state.round) };
        let trail = Trail { args, dir, before, in_place };
        if !in_place && dir.exists() && fs::read_dir(dir).is_ok_and(|mut files| files.next().is_some()) {
            let state = Published::of(dir)?;
            if state.is_none_or(|state| state.round < before) {
                let fact = "is there, and is not what r1-grpo made of POLICY";
                return Err(r1_cli::bad_input(
                    dir.display(),
                    fact,
                    "name another directory, here and for r1-grpo",
                ));
            }
        }
        Ok(trail)
    }

    /// Rounds of the input that are behind a published policy.
    fn behind(&self, state: Option<&Published>) -> u64 {
        state.map_or(0, |state| state.round.saturating_sub(self.before))
    }

    /// Those behind the one that is published now.
    fn rounds(&self) -> Result<u64> {
        Ok(self.behind(Published::of(self.dir)?.as_ref()))
    }

    /// The published policy, which has at least `rounds` rounds behind it, and how many; read so that no publication falls in
    /// between.
    fn load(&self, rounds: u64) -> Result<(u64, (Policy, String))> {
        loop {
            let state = Published::of(self.dir)?;
            if self.behind(state.as_ref()) < rounds {
                // Where the system cannot exchange two names, DIR is not there for a moment.
                sleep(GLANCE);
                continue;
            }
            let (dir, adapter) = match &state {
                // An adapter lies over the policy that stays as it is.
                Some(_) if self.dir.join(lora::CONFIG).exists() => {
                    (self.args.policy.as_path(), Some(self.dir))
                }
                Some(_) => (self.dir, None),
                None => (self.args.policy.as_path(), None),
            };
            let loaded = tasks::weights(self.args, dir, adapter);
            if Published::of(self.dir)? == state {
                return Ok((self.behind(state.as_ref()), loaded?));
            }
        }
    }

    /// Waits until `rounds` rounds are behind the published policy. `seen` remembers whether a trainer was there.
    ///
    /// # Errors
    /// A signal; or the trainer is gone, or nobody reads what was written: nothing would ever be published.
    fn wait(&self, rounds: u64, seen: &mut bool, out: &Outlet) -> Result<()> {
        let began = Instant::now();
        while self.rounds()? < rounds {
            if signals::stop_requested() {
                return Err(r1_cli::stopped());
            }
            out.check_reader()?;
            let held = Claim::is_held(self.dir)?;
            *seen |= held;
            if !held && (*seen || began.elapsed() > GRACE) && self.rounds()? < rounds {
                bail!(
                    "{}: no r1-grpo --follow trains it (any more); run the same command again",
                    self.dir.display()
                );
            }
            sleep(GLANCE);
        }
        Ok(())
    }
}

/// Runs the mode.
pub fn run(args: &Args, dir: &Path) -> Result<()> {
    let flags = &args.draw;
    flags.check()?;
    let size = flags.follow.prompts.unwrap_or(1) as usize;
    let mut metrics = args.metrics.open()?;
    let trail = Trail::of(args, dir)?;
    let (mut published, policy) = trail.load(0)?;
    tasks::need_words(args, args.policy.join("tokenizer.json").exists().then_some(()))?;
    let mut loaded = tasks::fit(policy, Some(tasks::words(args)?))?;
    tasks::lint(&loaded);
    let mut stream = Stream::open(args, loaded.words.as_ref(), flags.limit)?;
    let mut round = published;
    let begun = round;
    if round > 0 {
        let tasks = round as usize * size;
        let from = if trail.in_place { "its" } else { "the input's" };
        let then = if stream.skip(tasks)? < tasks { ", which are more than the input has" } else { "" };
        r1_cli::note(&format!("{}: going on after {round} of {from} rounds{then}", dir.display()));
    }
    let mut out = Outlet::Sink(args.output.create()?);
    signals::watch();
    let mut seen = false;
    loop {
        let tasks = stream.next(size, loaded.words.as_ref())?;
        if tasks.is_empty() {
            if round > 0 && round == begun {
                out.no_round()?;
            }
            return out.finish();
        }
        let began = Instant::now();
        trail.wait(round.saturating_sub(flags.follow.max_lag), &mut seen, &out)?;
        let waited = began.elapsed().as_secs_f64();
        if trail.rounds()? != published {
            // The old weights go before the new ones come.
            let Loaded { words, .. } = loaded;
            let policy;
            (published, policy) = trail.load(published)?;
            loaded = tasks::fit(policy, words)?;
        }
        let mut progress = draw::progress(args, &tasks);
        let summary = Drawing::plan(args, &loaded, &tasks)?.draw(0, &mut progress, &mut out)?;
        progress.finish();
        // The trainer, on the same GPU perhaps, begins when the round ends.
        device::release()?;
        out.end_round()?;
        let mut line = json!(summary);
        round += 1;
        line["round"] = json!(trail.before + round);
        line["rounds_ahead"] = json!((round - 1).saturating_sub(published));
        line["wait_seconds"] = json!(waited);
        metrics.write(&line)?;
        r1_cli::note(&format!("round {}: {}", trail.before + round, summary.words()));
    }
}
