//! Presets: flags by name. A flag given beside a preset wins over it; all that the run settled on is printed into `train.json`.
//!
//! | preset | from | what the source does not say, and stands here |
//! |---|---|---|
//! | r1-zero | DeepSeek-R1 2.1: β 0.001, lr 3e-6, 512 rows an update, one inner epoch, with --reference a new one every 400 updates | ε 0.2; sequence mean and a token's own ratio (DeepSeekMath) |
//! | r1-rl1 | DeepSeek-R1 3.2.1: the same with ε 10 | the same |
//! | r1-rl2 | DeepSeek-R1 3.2.2: "most parameters of the first stage" (T = 0.7 is r1-rollout's) | ε 10 |
//! | dapo | DAPO: 0.2/0.28, token mean, no KL, truncated rows masked, 512 rows an update, warm-up of 20 rounds of 16 updates | |
//! | dr-grpo | Dr. GRPO: constant length 3000, no KL, 128 rows an update | |
//! | gspo | GSPO: 3e-4/4e-4 of the sequence, no KL, 4 updates a round | lr |
//! | cispo | MiniMax-M1: held ratio, AdamW 0.9/0.95/1e-15, no KL | cap 5 (ScaleRL, TRL), lr |
//! | trl-default | TRL's GRPOConfig with its AdamW | its rate falls to 0 over the run: --schedule linear --total-updates N, as a round does not know how many follow |

use anyhow::Result;
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, Parser, ValueEnum};

use crate::Args;

/// Whose settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Preset {
    /// DeepSeek-R1-Zero
    R1Zero,
    /// DeepSeek-R1, first RL stage
    R1Rl1,
    /// DeepSeek-R1, second RL stage
    R1Rl2,
    /// DAPO
    Dapo,
    /// Dr. GRPO
    DrGrpo,
    /// GSPO
    Gspo,
    /// CISPO (MiniMax-M1)
    Cispo,
    /// TRL's GRPOTrainer as it comes
    TrlDefault,
}

/// Flags that belong to a preset's surrogate and fall away when another one is asked for.
const OF_THE_LOSS: [&str; 5] = ["loss", "clip-low", "clip-high", "cap", "generation-limit"];

impl Preset {
    /// Its flags.
    pub fn flags(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Preset::R1Zero => &[
                ("loss", "grpo"),
                ("clip-low", "0.2"),
                ("clip-high", "0.2"),
                ("kl-beta", "0.001"),
                ("reference-every", "400"),
                ("lr", "3e-6"),
                ("batch-size", "512"),
                ("epochs", "1"),
            ],
            Preset::R1Rl1 | Preset::R1Rl2 => &[
                ("loss", "grpo"),
                ("clip-low", "10"),
                ("clip-high", "10"),
                ("kl-beta", "0.001"),
                ("reference-every", "400"),
                ("lr", "3e-6"),
                ("batch-size", "512"),
                ("epochs", "1"),
            ],
            Preset::Dapo => &[
                ("loss", "dapo"),
                ("clip-low", "0.2"),
                ("clip-high", "0.28"),
                ("kl-beta", "0"),
                ("mask-truncated", "true"),
                ("lr", "1e-6"),
                ("warmup", "320"),
                ("batch-size", "512"),
                ("epochs", "1"),
            ],
            Preset::DrGrpo => &[
                ("loss", "dr_grpo"),
                ("clip-low", "0.2"),
                ("clip-high", "0.2"),
                ("generation-limit", "3000"),
                ("kl-beta", "0"),
                ("lr", "1e-6"),
                ("batch-size", "128"),
                ("epochs", "1"),
            ],
            Preset::Gspo => &[
                ("loss", "gspo"),
                ("clip-low", "3e-4"),
                ("clip-high", "4e-4"),
                ("kl-beta", "0"),
                ("lr", "1e-6"),
                ("batches", "4"),
                ("epochs", "1"),
            ],
            Preset::Cispo => &[
                ("loss", "cispo"),
                ("cap", "5"),
                ("kl-beta", "0"),
                ("lr", "1e-6"),
                ("beta1", "0.9"),
                ("beta2", "0.95"),
                ("adam-eps", "1e-15"),
                ("epochs", "1"),
            ],
            Preset::TrlDefault => &[
                ("loss", "dapo"),
                ("clip-low", "0.2"),
                ("clip-high", "0.2"),
                ("kl-beta", "0"),
                ("lr", "1e-6"),
                ("beta1", "0.9"),
                ("beta2", "0.999"),
                ("adam-eps", "1e-8"),
                ("weight-decay", "0"),
                ("clip-norm", "1"),
                ("epochs", "1"),
            ],
        }
    }
}

/// Which of a preset's flags stand, given what stood on the command line.
fn standing(preset: Preset, matches: &ArgMatches) -> Vec<String> {
    let given = |flag: &str| matches.value_source(&flag.replace('-', "_")) == Some(ValueSource::CommandLine);
    let own_loss = preset.flags().iter().find(|(flag, _)| *flag == "loss").map(|(_, value)| *value);
    let asked = matches.get_raw("loss").and_then(|mut raw| raw.next_back());
    let other_loss = given("loss") && asked.and_then(|raw| raw.to_str()) != own_loss;
    let falls_away = |flag: &str| match flag {
        "generation-limit" if given("aggregate") => true,
        // Rows that bring their reference's log-probabilities have it renewed by who scores them.
        "reference-every" if !given("reference") => true,
        "batch-size" | "batches" => given("batch-size") || given("batches"),
        flag => given(flag) || (other_loss && OF_THE_LOSS.contains(&flag)),
    };
    let flags = preset.flags().iter().filter(|(flag, _)| !falls_away(flag));
    flags.map(|(flag, value)| format!("--{flag}={value}")).collect()
}

/// The arguments with the preset's flags among them.
///
/// # Errors
/// Exit 2, should a preset's flag contradict one that was given.
pub fn settle(args: Args) -> Result<Args> {
    let Some(preset) = args.preset else { return Ok(args) };
    let line: Vec<_> = std::env::args_os().collect();
    let misuse = |e: clap::Error| {
        let text = e.to_string();
        let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_string();
        r1_cli::misuse(first, "see --help")
    };
    let matches = Args::command().try_get_matches_from(&line).map_err(misuse)?;
    let program = line.iter().take(1).cloned();
    let flags = standing(preset, &matches).into_iter().map(Into::into);
    Args::try_parse_from(program.chain(flags).chain(line.iter().skip(1).cloned())).map_err(misuse)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stands(preset: &str, more: &[&str]) -> Vec<String> {
        let line = [&["r1-grpo", "policy", "-o", "out", "--preset", preset][..], more].concat();
        let matches = Args::command().try_get_matches_from(line).unwrap();
        standing(Preset::from_str(preset, false).unwrap(), &matches)
    }

    #[test]
    fn every_preset_parses_and_settles() {
        for preset in Preset::value_variants() {
            let name = preset.to_possible_value().unwrap().get_name().to_string();
            let flags = stands(&name, &[]);
            let renews = preset.flags().iter().any(|(flag, _)| *flag == "reference-every");
            assert_eq!(flags.len() + usize::from(renews), preset.flags().len());
            assert_eq!(stands(&name, &["--reference", "ref"]).len(), preset.flags().len());
            let line = ["r1-grpo", "policy", "-o", "out"].map(String::from).into_iter().chain(flags);
            let args = Args::try_parse_from(line).unwrap();
            args.loss.settle(false).unwrap();
        }
    }

    #[test]
    fn a_flag_beside_a_preset_wins() {
        let flags = stands("r1-zero", &["--kl-beta", "0.01", "--batches", "2"]);
        assert!(flags.contains(&"--lr=3e-6".to_string()));
        assert!(!flags.iter().any(|f| f.starts_with("--kl-beta") || f.starts_with("--batch")), "{flags:?}");
        // Another surrogate does not get the clips of the preset's.
        let flags = stands("gspo", &["--loss", "cispo"]);
        assert_eq!(flags, ["--kl-beta=0", "--lr=1e-6", "--batches=4", "--epochs=1"]);
        assert_eq!(stands("gspo", &["--loss", "gspo"]).len(), Preset::Gspo.flags().len() - 1);
        assert!(!stands("dr-grpo", &["--aggregate", "group"]).iter().any(|f| f.contains("limit")));
    }
}
