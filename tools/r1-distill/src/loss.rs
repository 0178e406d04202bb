//! Which loss, and what it needs: the flags, settled.

use std::path::PathBuf;

use anyhow::Result;
use r1_train::flags::{not_negative, share};
use serde_json::{Map, Value, json};

use crate::teach::{Lesson, Thinking};

/// What is minimized, a mean over completion tokens. p is the teacher's distribution of the next token, q the student's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// -ln q of the teacher's text (the paper); the only one that crosses tokenizers
    Text,
    /// KL(p‖q)
    ForwardKl,
    /// KL(q‖p); on rows that the student sampled: on-policy distillation in closed form
    ReverseKl,
    /// Generalized Jensen-Shannon: β KL(p‖m) + (1-β) KL(q‖m), m = βp + (1-β)q
    Jsd,
    /// Reverse KL by policy gradient on rows that the student sampled: the log-ratio ln q - ln p of the drawn tokens alone
    PolicyGradient,
}

/// The flags of the loss.
#[derive(clap::Args, Clone, Debug)]
pub struct Flags {
    /// What is minimized
    #[arg(long, value_enum, default_value_t = Loss::Text)]
    pub loss: Loss,
    /// A teacher with the student's tokenizer, whole distributions; without it they come from the rows' section `teacher`
    /// (r1-rollout --score teacher --top N), all tokens beyond the N as one more outcome
    #[arg(long, value_name = "DIR")]
    pub teacher: Option<PathBuf>,
    /// β of --loss jsd: near 0 as forward KL, near 1 as reverse KL [default: 0.5]
    #[arg(long, value_name = "X", value_parser = share)]
    pub beta: Option<f64>,
    /// Temperature of both distributions [default: 1; scores in the rows have that of the rows]
    #[arg(long, value_name = "T", value_parser = not_negative)]
    pub temperature: Option<f64>,
    /// Share of the text loss: α·(-ln q of the token, at temperature 1) + (1-α)·divergence [default: 0]
    #[arg(long, value_name = "X", value_parser = share)]
    pub alpha: Option<f64>,
    /// ε of --loss policy-gradient: where a row is used again, a token's ratio counts within 1 ± ε (PPO's clip) [default: as it is]
    #[arg(long, value_name = "X", value_parser = share)]
    pub clip: Option<f64>,
}

impl Flags {
    /// Whether distributions, or at least log-probabilities, of the teacher are needed.
    pub fn is_of_logprobs(&self) -> bool {
        self.loss != Loss::Text
    }

    /// β as the kernel takes it: 0 forward, 1 reverse.
    pub fn beta(&self) -> f64 {
        match self.loss {
            Loss::ForwardKl => 0.0,
            Loss::Jsd => self.beta.unwrap_or(0.5),
            _ => 1.0,
        }
    }

    /// The loss's name on the command line.
    pub fn name(&self) -> String {
        use clap::ValueEnum;
        self.loss.to_possible_value().map_or(String::new(), |v| v.get_name().to_string())
    }

    /// Refuses flags that the loss would ignore.
    ///
    /// # Errors
    /// Exit 2.
    pub fn check(&self, lesson: &Lesson) -> Result<()> {
        let name = self.name();
        let is_divergence = self.is_of_logprobs() && self.loss != Loss::PolicyGradient;
        for (flag, given, useful) in [
            ("--teacher", self.teacher.is_some(), is_divergence),
            ("--alpha", self.alpha.is_some(), is_divergence),
            ("--temperature", self.temperature.is_some(), is_divergence),
            ("--beta", self.beta.is_some(), self.loss == Loss::Jsd),
            ("--clip", self.clip.is_some(), self.loss == Loss::PolicyGradient),
            ("--thinking strip", lesson.thinking == Thinking::Strip, !self.is_of_logprobs()),
        ] {
            if given && !useful {
                let fact = format!("--loss {name} has no use for {flag}");
                return Err(r1_cli::misuse(fact, "leave it out, or see --help for the losses"));
            }
        }
        if self.beta == Some(0.0) {
            return Err(r1_cli::misuse("--beta 0 is no mixture", "use --loss forward-kl"));
        }
        if self.temperature == Some(0.0) {
            return Err(r1_cli::misuse("--temperature 0 has no distribution", "ask for more than 0"));
        }
        Ok(())
    }

    /// What decides the result, for `train.json`; nothing where the loss is the usual one.
    pub fn record(&self, command: &mut Map<String, Value>) {
        if !self.is_of_logprobs() {
            return;
        }
        command.insert("loss".into(), json!(self.loss));
        if self.loss == Loss::PolicyGradient {
            if let Some(clip) = self.clip {
                command.insert("clip".into(), clip.into());
            }
            return;
        }
        command.insert("beta".into(), self.beta().into());
        command.insert("alpha".into(), self.alpha.unwrap_or(0.0).into());
        command.insert("temperature".into(), json!(self.temperature));
    }
}
