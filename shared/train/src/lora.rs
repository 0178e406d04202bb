//! LoRA in a trainer: an adapter is trained and the policy under it stays as it is, on the disk too.
//!
//! `-o` is then an adapter directory in PEFT's format, with the training state beside it as in a policy directory. It
//! holds no policy: whoever uses it names both, `POLICY --adapter DIR`.

use std::path::{Path, PathBuf};

use anyhow::Result;
use r1_kernels::Precision;
use r1_model::lora::{self, Saved, Settings};
use r1_model::{Config, LoadOptions, Policy};
use serde_json::{Map, Value, json};

use crate::flags::{not_negative, positive};

/// What decides whether an adapter is trained, and which.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "LoRA")]
pub struct Flags {
    /// Train a fresh adapter of this rank and leave POLICY as it is: -o is then an adapter directory in PEFT's format
    #[arg(long, value_name = "N", value_parser = positive, conflicts_with_all = ["adapter", "router_bias_rate", "plan", "selftest"])]
    lora_rank: Option<usize>,
    /// What the adapter adds counts X / rank times [default: twice the rank]
    #[arg(long, value_name = "X", value_parser = above_zero, requires = "lora_rank")]
    lora_alpha: Option<f64>,
    /// Projections to adapt, by PEFT's names (q_proj,v_proj …, or all-linear) [default: all; of a mixture of experts attention's]
    #[arg(long, value_name = "NAMES", value_delimiter = ',', requires = "lora_rank")]
    lora_targets: Option<Vec<String>>,
    /// What the adapter adds counts X / √rank times (rank-stabilized LoRA)
    #[arg(long, requires = "lora_rank")]
    rslora: bool,
    /// Go on training this adapter over POLICY
    #[arg(long, value_name = "DIR", conflicts_with_all = ["router_bias_rate", "plan", "selftest"])]
    adapter: Option<PathBuf>,
}

/// A number above 0.
fn above_zero(text: &str) -> Result<f64, String> {
    not_negative(text).and_then(|x| if x > 0.0 { Ok(x) } else { Err("must be above 0".to_string()) })
}

/// An adapter that is to be trained.
#[derive(Clone, Debug)]
pub enum Plan {
    /// one that does not exist yet
    Fresh {
        /// what it is made with
        settings: Settings,
        /// what it adapts
        modules: Vec<String>,
        /// where A comes from
        seed: u64,
    },
    /// one that exists
    From(PathBuf),
}

impl Flags {
    /// Where an adapter is trained: from now on that in `out`. Gives whether one is.
    pub fn go_on(&mut self, out: &Path) -> bool {
        let trains = self.adapter.is_some() || self.lora_rank.is_some();
        if trains {
            *self = Flags { adapter: Some(out.to_owned()), ..Flags::default() };
        }
        trains
    }

    /// What is to be trained over `policy`; `None` where it is the policy itself.
    ///
    /// # Errors
    /// Exit 2: a projection that does not exist or is not adapted, or an output that would replace the policy.
    pub fn settle(&self, policy: &Path, out: &Path, seed: u64) -> Result<Option<Plan>> {
        let plan = match (&self.adapter, self.lora_rank) {
            (Some(dir), _) => Plan::From(dir.clone()),
            (None, Some(rank)) => {
                let config = Config::load(policy).map_err(not_a_policy)?;
                let (modules, targets) =
                    lora::choose(&config, self.lora_targets.as_deref()).map_err(|e| {
                        let remedy = format!("choose from {}", lora::names(&config).join(", "));
                        r1_cli::misuse(format!("--lora-targets {e:#}"), remedy)
                    })?;
                let alpha = self.lora_alpha.unwrap_or(2.0 * rank as f64);
                let settings = Settings { rank, alpha, rslora: self.rslora, targets, dropout: 0.0 };
                Plan::Fresh { settings, modules, seed }
            }
            (None, None) => return Ok(None),
        };
        let is_policy = out.join("config.json").exists()
            || (out.exists() && policy.exists() && out.canonicalize()? == policy.canonicalize()?);
        if is_policy {
            let fact = format!("-o {} is a policy, and an adapter is to be written", out.display());
            return Err(r1_cli::misuse(fact, "give the adapter a directory of its own"));
        }
        Ok(Some(plan))
    }
}

fn not_a_policy(error: anyhow::Error) -> anyhow::Error {
    r1_cli::misuse(format!("{error:#}"), "name a whole policy directory (see r1-init)")
}

impl Plan {
    /// The directory of an adapter that exists.
    pub fn adapter(&self) -> Option<&Path> {
        match self {
            Plan::Fresh { .. } => None,
            Plan::From(dir) => Some(dir),
        }
    }

    /// Adds what decides the result to `train.json`'s command; an adapter that exists is one of the inputs.
    pub fn record(&self, command: &mut Map<String, Value>) {
        if let Plan::Fresh { settings, .. } = self {
            command.insert("lora-rank".into(), settings.rank.into());
            command.insert("lora-alpha".into(), settings.alpha.into());
            command.insert("lora-targets".into(), json!(settings.targets));
            command.insert("rslora".into(), settings.rslora.into());
        }
    }

    /// Loads the policy, frozen, with the adapter over it: as it stands in `resumed` where a run goes on, else as planned.
    ///
    /// # Errors
    /// Exit 2, naming file and field or tensor.
    pub fn load(&self, policy: &Path, resumed: Option<&Path>, precision: Precision) -> Result<Policy> {
        let mut loaded = Policy::load(policy, LoadOptions::adapted(Some(precision))).map_err(not_a_policy)?;
        match (resumed.or(self.adapter()), self) {
            (Some(dir), _) => {
                let bad = |e: anyhow::Error| {
                    r1_cli::misuse(
                        format!("{e:#}"),
                        "name an adapter directory that was made for this policy",
                    )
                };
                let saved = Saved::open(dir, &loaded.config).map_err(bad)?;
                if saved.settings.dropout > 0.0 {
                    let fact = format!("{}: lora_dropout is {}", dir.display(), saved.settings.dropout);
                    return Err(r1_cli::misuse(fact, "set it to 0: nothing is dropped while training here"));
                }
                saved.attach(&mut loaded).map_err(bad)?;
            }
            (None, Plan::Fresh { settings, modules, seed }) => {
                lora::initialize(&mut loaded, settings.clone(), modules, *seed)?;
            }
            (None, Plan::From(_)) => unreachable!("an adapter that exists has a directory"),
        }
        Ok(loaded)
    }
}

/// The directory that training moves: the policy's, or the adapter's, `None` where that does not exist yet. What lies in it
/// beside the weights is theirs.
pub fn trained<'a>(policy: &'a Path, plan: Option<&'a Plan>) -> Option<&'a Path> {
    plan.map_or(Some(policy), Plan::adapter)
}

/// Names what training starts from in `train.json`'s inputs: `policy` as r1-rollout names it in the rows, and under an
/// adapter `base`, the policy that stays as it is.
///
/// # Errors
/// Exit 2: no policy, no adapter, or one that was trained over another policy.
pub fn inputs(policy: &Path, plan: Option<&Plan>, inputs: &mut Map<String, Value>) -> Result<()> {
    let adapter = plan.and_then(Plan::adapter);
    let identity = lora::identify(policy, adapter).map_err(|e| match adapter {
        None => not_a_policy(e),
        Some(_) => r1_cli::misuse(format!("{e:#}"), "name a policy and an adapter that was made for it"),
    })?;
    inputs.insert("policy".into(), identity.policy.into());
    if plan.is_some() {
        inputs.insert("base".into(), identity.base.into());
    }
    Ok(())
}
