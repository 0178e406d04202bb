//! Imitation: the loop that r1-sft and r1-distill share.
//!
//! The loss of an update is the mean negative log-likelihood of the batch's completion tokens; prompts are given and not
//! learned. Examples are never padded and never see each other. Every update is a function of the weights before it, the seed
//! and its number, so a run that was killed anywhere and is started again ends with the bytes of an unbroken one.

mod before;
mod objective;
mod run;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use r1_kernels::Precision;
use r1_records::{RecordError, Row};
use serde_json::{Map, Value, json};

use before::tell_lengths;
pub use objective::{Imitation, Loss, Objective};
pub use run::{Outcome, Run, mean_loss};

use crate::checkpoint::{self, Start, State};
use crate::corpus::Corpus;
use crate::examples::{self, Example, Examples, Words};
use crate::flags::{Before, Compute, Optimization, load_config, not_negative, positive, share};
use crate::lora;
use crate::optimizer;
use crate::schedule::Shape;

/// What r1-sft and r1-distill are asked in the same words.
#[derive(clap::Args, Clone, Debug)]
pub struct Flags {
    /// Passes over the examples [default: the paper's, 1 for r1-prefer, else 2 (of 2-3); or as many as --max-steps takes]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub epochs: Option<u32>,
    /// Most updates
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_steps: Option<u64>,
    /// Examples of one update [default: the paper's, 128 for r1-sft, 64 for r1-distill, 256 for r1-prefer]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub batch_size: Option<usize>,
    /// Highest learning rate [default: the paper's, 5e-5 for r1-sft, 1e-4 for r1-distill, 6e-6 for r1-prefer]
    #[arg(long, value_name = "X", value_parser = not_negative)]
    pub lr: Option<f64>,
    /// How the learning rate falls
    #[arg(long, value_enum, default_value_t = Shape::Cosine)]
    pub schedule: Shape,
    /// Updates over which the learning rate rises from 0
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub warmup: u64,
    /// Where the learning rate ends, as a share of the highest (the paper: 0.1)
    #[arg(long, value_name = "X", default_value_t = 0.1, value_parser = share)]
    pub min_lr_ratio: f64,
    /// Longest example in tokens; longer ones are left out and counted [default: as long as the policy allows]
    #[arg(long, value_name = "N", value_parser = positive)]
    pub max_length: Option<usize>,
    /// NEFTune: noise of this α on the embedded tokens while training (the paper: 5 to 15)
    #[arg(long, value_name = "ALPHA", value_parser = not_negative)]
    pub neftune: Option<f64>,
    /// γ of the router's bias update after every step (mixture-of-experts policies only); 0 freezes it, as an adapter does
    #[arg(long, value_name = "X", default_value_t = 0.001, value_parser = not_negative)]
    pub router_bias_rate: f64,
    /// Updates between two checkpoints; 0 saves at the end and on SIGINT or SIGTERM only
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub checkpoint_every: u64,
    /// Held-out examples: their loss is told before, during and after training
    #[arg(long, value_name = "FILE")]
    pub eval: Option<PathBuf>,
    /// Updates between two held-out losses [default: once an epoch]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), requires = "eval")]
    pub eval_every: Option<u64>,
    /// how the optimizer steps
    #[command(flatten)]
    pub optimization: Optimization,
    /// how the machine is used
    #[command(flatten)]
    pub compute: Compute,
    /// where the order of the examples comes from
    #[command(flatten)]
    pub seed: r1_cli::Seed,
    /// where metrics go
    #[command(flatten)]
    pub metrics: r1_cli::MetricsFile,
    /// Go on with the optimizer's moments that lie beside the given policy, if any do, and leave them beside the new one: for
    /// runs that are rounds of one training
    #[arg(long)]
    pub keep_optimizer: bool,
    /// and for TensorBoard
    #[command(flatten)]
    pub tensorboard: r1_cli::TensorBoard,
    /// what is asked before a run
    #[command(flatten)]
    pub before: Before,
}

/// Where the two tools differ: the paper's settings of either.
#[derive(Clone, Copy, Debug)]
pub struct Defaults {
    /// examples of one update
    pub batch_size: usize,
    /// highest learning rate
    pub lr: f64,
}

/// Passes over the examples where neither --epochs nor --max-steps says.
const EPOCHS: u32 = 2;

impl Flags {
    /// Examples of one update.
    pub fn batch_size(&self, defaults: Defaults) -> usize {
        self.batch_size.unwrap_or(defaults.batch_size)
    }

    /// Highest learning rate.
    pub fn lr(&self, defaults: Defaults) -> f64 {
        self.lr.unwrap_or(defaults.lr)
    }

    /// Every flag that decides the result, settled, for `train.json`.
    pub fn command(
        &self,
        defaults: Defaults,
        precision: Precision,
        micro_tokens: usize,
    ) -> Map<String, Value> {
        let mut command = Map::new();
        let epochs = self.epochs.or(self.max_steps.is_none().then_some(EPOCHS));
        for (name, value) in [
            ("epochs", epochs.map(u64::from)),
            ("max-steps", self.max_steps),
            ("max-length", self.max_length.map(|n| n as u64)),
        ] {
            if let Some(value) = value {
                command.insert(name.into(), value.into());
            }
        }
        command.insert("batch-size".into(), self.batch_size(defaults).into());
        command.insert("lr".into(), self.lr(defaults).into());
        command.insert("schedule".into(), json!(self.schedule));
        command.insert("warmup".into(), self.warmup.into());
        command.insert("min-lr-ratio".into(), self.min_lr_ratio.into());
        command.insert("router-bias-rate".into(), self.router_bias_rate.into());
        command.insert("seed".into(), self.seed.seed.into());
        if self.keep_optimizer {
            command.insert("keep-optimizer".into(), true.into());
        }
        if let Some(alpha) = self.neftune {
            command.insert("neftune".into(), alpha.into());
        }
        self.optimization.record(&mut command);
        self.compute.record(precision, micro_tokens, &mut command);
        command
    }

    /// Updates of the whole run over `examples`.
    pub fn total(&self, examples: usize, batch_size: usize) -> u64 {
        let epoch = examples.div_ceil(batch_size) as u64;
        let by_epochs = match (self.epochs, self.max_steps) {
            (Some(n), _) => epoch * u64::from(n),
            (None, None) => epoch * u64::from(EPOCHS),
            (None, Some(_)) => u64::MAX,
        };
        by_epochs.min(self.max_steps.unwrap_or(u64::MAX))
    }
}

/// A supervised tool before its run: what it was told, nothing loaded yet.
pub struct Preparation<'a> {
    /// the tool's name
    pub tool: &'a str,
    /// directory of the policy that is trained
    pub policy: &'a Path,
    /// directory that is written
    pub out: &'a Path,
    /// the flag `--template`
    pub template: &'a str,
    /// where the examples come from
    pub input: &'a r1_cli::Input,
    /// the flags
    pub flags: &'a Flags,
    /// whether an adapter is trained
    pub lora: &'a lora::Flags,
    /// the tool's own settings
    pub defaults: Defaults,
    /// the tool's own flags that decide the result
    pub extra: Map<String, Value>,
    /// hashes of the tool's own inputs
    pub inputs: Map<String, Value>,
}

/// What a run learns from, and by which loss.
pub struct Lesson<'a> {
    /// examples in tokens
    pub corpus: Corpus,
    /// the loss
    pub objective: Box<dyn Objective + 'a>,
}

impl Preparation<'_> {
    /// Sets threads and settles the compute type.
    ///
    /// # Errors
    /// Exit 2: the machine lacks what was asked for, or policy and output are one directory.
    pub fn begin(&self) -> Result<Precision> {
        if self.out.exists()
            && self.policy.exists()
            && self.out.canonicalize()? == self.policy.canonicalize()?
        {
            let fact = format!("-o {} is the policy that it would start from", self.out.display());
            return Err(r1_cli::misuse(
                fact,
                "give another -o: a run must find its beginning when it goes on",
            ));
        }
        self.flags.compute.begin()
    }

    /// The adapter that is to be trained, where it is not the policy itself.
    fn plan(&self) -> Result<Option<lora::Plan>> {
        let plan = self.lora.settle(self.policy, self.out, self.flags.seed.seed)?;
        if let Some(adapter) = plan.as_ref().and_then(lora::Plan::adapter)
            && self.out.exists()
            && adapter.exists()
            && self.out.canonicalize()? == adapter.canonicalize()?
        {
            let fact = format!("-o {} is the adapter that it would start from", self.out.display());
            return Err(r1_cli::misuse(
                fact,
                "give another -o: a run must find its beginning when it goes on",
            ));
        }
        Ok(plan)
    }

    /// Imitates the examples: [`Preparation::learn`] with the loss of text.
    ///
    /// # Errors
    /// Those of [`Preparation::learn`].
    pub fn run<I: IntoIterator<Item = Example>>(
        &self,
        precision: Precision,
        examples: &Examples,
        loss: Imitation,
        held_out: impl FnMut(&Row) -> Result<I, RecordError>,
    ) -> Result<()> {
        let lesson = |words: &Words| {
            let (corpus, _) = words.corpus(examples, self.input, self.flags.max_length)?;
            Ok(Lesson { corpus, objective: Box::new(loss) })
        };
        self.learn(precision, &examples.hash, lesson, held_out)
    }

    /// Finds out where the run begins, asks for the lesson, trains, and says what came of it. `hash` is that of the examples'
    /// input; `held_out` makes a row of `--eval` an example.
    ///
    /// # Errors
    /// As [`Run::train`], and exit 2 for input that cannot be used.
    pub fn learn<'l, I: IntoIterator<Item = Example>>(
        &self,
        precision: Precision,
        hash: &str,
        lesson: impl FnOnce(&Words) -> Result<Lesson<'l>>,
        held_out: impl FnMut(&Row) -> Result<I, RecordError>,
    ) -> Result<()> {
        if self.flags.before.asks() {
            let words = Words::load(self.policy, self.template)?;
            return self.before(precision, &words, &lesson(&words)?.corpus);
        }
        let micro_tokens = self.flags.compute.micro_tokens(&load_config(self.policy)?, precision)?;
        let mut command = self.flags.command(self.defaults, precision, micro_tokens);
        command.insert("template".into(), self.template.into());
        command.extend(self.extra.clone());
        let plan = self.plan()?;
        if let Some(plan) = &plan {
            // The router stays as it is.
            command.insert("router-bias-rate".into(), json!(0.0));
            plan.record(&mut command);
        }
        let mut inputs = Map::new();
        lora::inputs(self.policy, plan.as_ref(), &mut inputs)?;
        inputs.insert("examples".into(), hash.into());
        inputs.extend(self.inputs.clone());
        let moments = lora::trained(self.policy, plan.as_ref()).map(|dir| dir.join(optimizer::FILE));
        if let Some(moments) = moments.filter(|file| self.flags.keep_optimizer && file.exists()) {
            inputs.insert("optimizer".into(), checkpoint::hash_of(&moments)?.into());
        }
        let eval = self.flags.eval.as_ref().map(r1_cli::Input::of);
        let held_out = eval.as_ref().map(|input| examples::read(input, held_out)).transpose()?;
        let planned = State::planned(self.tool, command, inputs);
        let start = checkpoint::settle(self.out, &planned)?;
        match &start {
            Start::Finished(_) => {
                r1_cli::note(&format!("{} is finished: nothing to do", self.out.display()));
                return Ok(());
            }
            Start::Resume(state) => {
                r1_cli::note(&format!("{} goes on after step {}", self.out.display(), state.step));
            }
            Start::Fresh => {}
        }
        let words = Words::load(self.policy, self.template)?;
        let Lesson { corpus, objective } = lesson(&words)?;
        let held_out = match (&held_out, &eval) {
            (Some(examples), Some(input)) => Some(words.corpus(examples, input, self.flags.max_length)?.0),
            _ => None,
        };
        tell_lengths(&corpus);
        let began = Instant::now();
        let run = Run {
            policy: self.policy,
            out: self.out,
            flags: self.flags,
            plan,
            defaults: self.defaults,
            precision,
            planned,
            start,
            corpus,
            objective: &*objective,
            held_out,
            micro_tokens,
        };
        let outcome = run.train()?;
        let held_out =
            outcome.held_out_loss.map_or(String::new(), |loss| format!(", held-out loss {loss:.4}"));
        r1_cli::note(&format!(
            "{} steps, last loss {:.4}{held_out}, {:.1} s: {}",
            outcome.steps,
            outcome.loss,
            began.elapsed().as_secs_f64(),
            self.out.display()
        ));
        Ok(())
    }
}
