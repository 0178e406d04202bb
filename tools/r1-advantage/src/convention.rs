//! Whose convention: what is subtracted from a reward, what the difference is divided by, and over which rows.
//!
//! DeepSeekMath and the R1 paper do not say whether the standard deviation is the population's or the sample's, nor which eps;
//! the default is the formula as printed (population, no eps), and the presets are what others run:
//!
//! | preset | baseline | divided by | eps | over | whitened | group of one |
//! |---|---|---|---|---|---|---|
//! | r1 | mean | ddof0 | 0 | group | – | 0 |
//! | trl | mean | ddof1 | 1e-4 | group | – | 0 |
//! | verl | mean | ddof1 | 1e-6 | group | – | r / (1 + 1e-6): verl takes mean 0 and std 1 |
//! | openrlhf | mean | ddof1 | 1e-9 | group | – | 0 |
//! | dr-grpo | mean | – | – | – | – | 0 |
//! | rloo | mean of the others | – | – | – | – | 0 |
//! | opo | mean weighted by length | – | – | – | – | r |
//! | maxrl | mean | the mean | 0 | group | – | 0 |
//! | passk | second best, for the best alone | ddof1 | 1e-6 | group | – | 0 |
//! | gdpo | mean, part by part | ddof1, part by part | 1e-4 | group | rows | 0 |
//! | reinforce++ | – | – | – | – | tokens | like any other |
//! | reinforce++-baseline | mean | – | – | – | tokens | r before whitening |
//!
//! Every flag changes the preset in one point.

use clap::ValueEnum;

/// Whose convention.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Preset {
    /// The formula as printed: population standard deviation, no eps
    R1,
    /// TRL: sample standard deviation, eps 1e-4
    Trl,
    /// verl: sample standard deviation, eps 1e-6; a group of one keeps its reward
    Verl,
    /// OpenRLHF: sample standard deviation, eps 1e-9
    Openrlhf,
    /// Dr. GRPO: the mean alone, no standard deviation
    DrGrpo,
    /// REINFORCE leave-one-out: the mean of the others, no standard deviation
    Rloo,
    /// OPO: the mean weighted by completion length, no standard deviation
    Opo,
    /// MaxRL: the difference from the mean, divided by the mean
    Maxrl,
    /// Pass@k: the best alone, by how much it beats the second best
    Passk,
    /// GDPO: every --part normalized by itself, weighted, summed, and whitened over all rows
    Gdpo,
    /// REINFORCE++: no group at all, whitened over all tokens
    #[value(name = "reinforce++")]
    Reinforce,
    /// REINFORCE++ with the group's mean as baseline, whitened over all tokens
    #[value(name = "reinforce++-baseline")]
    ReinforceBaseline,
}

/// What is subtracted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Baseline {
    /// The mean of the group
    Mean,
    /// The mean of the others of the group
    Others,
    /// The mean of the group, every reward weighted by its completion's length
    Length,
    /// The second best of the group from the best; all others get 0
    Second,
    /// Nothing
    None,
}

/// What to divide by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Spread {
    /// sqrt(sum of squares / n)
    Ddof0,
    /// sqrt(sum of squares / (n - 1))
    Ddof1,
    /// The mean of the rewards, which must not be negative
    Mean,
    /// Nothing
    None,
}

/// Over which rewards the divisor is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scale {
    /// Those of the group
    Group,
    /// Those of all groups that are kept; holds the whole input in memory
    Batch,
}

/// A last normalization over all rows that are kept; holds the whole input in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Whiten {
    /// (a - mean) / (sample standard deviation + 1e-4), every row once
    Rows,
    /// (a - mean) / sqrt(sample variance + 1e-8), every row as often as it has tokens
    Tokens,
    /// No
    None,
}

/// What a group with a single judged reward gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Single {
    /// 0: there is nothing to compare with
    Zero,
    /// Its reward, as if the mean were 0 and the standard deviation 1
    Reward,
}

/// The flags.
#[derive(clap::Args, Clone, Debug)]
pub struct Flags {
    /// Whose convention to follow; the flags below change it
    #[arg(long, value_enum, default_value_t = Preset::R1)]
    pub preset: Preset,
    /// What to subtract
    #[arg(long, value_enum)]
    pub baseline: Option<Baseline>,
    /// What to divide by: the population's (ddof0) or the sample's (ddof1) standard deviation, the mean, or nothing
    #[arg(long, value_enum)]
    pub std: Option<Spread>,
    /// What to add to the divisor
    #[arg(long, value_name = "X", value_parser = not_negative)]
    pub eps: Option<f64>,
    /// Over which rewards to take the divisor
    #[arg(long, value_enum)]
    pub scale: Option<Scale>,
    /// Normalize once more over all rows
    #[arg(long, value_enum)]
    pub whiten: Option<Whiten>,
    /// What a group with one judged reward gets
    #[arg(long, value_enum)]
    pub single: Option<Single>,
    /// Normalize this part of the reward by itself and count it WEIGHT times; once for every part [default: the total]
    #[arg(long = "part", value_name = "NAME=WEIGHT", value_parser = part)]
    pub parts: Vec<(String, f64)>,
}

/// A settled convention.
#[derive(Clone, Debug, PartialEq)]
pub struct Convention {
    /// what is subtracted
    pub baseline: Baseline,
    /// what the difference is divided by
    pub spread: Spread,
    /// added to the divisor
    pub eps: f64,
    /// over which rewards the divisor is taken
    pub scale: Scale,
    /// the last normalization
    pub whiten: Whiten,
    /// what a group of one gets
    pub single: Single,
    /// parts and their weights; empty for the total
    pub parts: Vec<(String, f64)>,
}

impl Convention {
    /// The preset with what the user changed in it.
    ///
    /// # Errors
    /// Exit 2: a flag that would have no effect, or a combination without a meaning.
    pub fn settle(flags: &Flags) -> anyhow::Result<Self> {
        use {Baseline as B, Single as S, Spread as D, Whiten as W};
        let (baseline, spread, eps, whiten, single) = match flags.preset {
            Preset::R1 => (B::Mean, D::Ddof0, 0.0, W::None, S::Zero),
            Preset::Trl => (B::Mean, D::Ddof1, 1e-4, W::None, S::Zero),
            Preset::Verl => (B::Mean, D::Ddof1, 1e-6, W::None, S::Reward),
            Preset::Openrlhf => (B::Mean, D::Ddof1, 1e-9, W::None, S::Zero),
            Preset::DrGrpo => (B::Mean, D::None, 0.0, W::None, S::Zero),
            Preset::Rloo => (B::Others, D::None, 0.0, W::None, S::Zero),
            Preset::Opo => (B::Length, D::None, 0.0, W::None, S::Reward),
            Preset::Maxrl => (B::Mean, D::Mean, 0.0, W::None, S::Zero),
            Preset::Passk => (B::Second, D::Ddof1, 1e-6, W::None, S::Zero),
            Preset::Gdpo => (B::Mean, D::Ddof1, 1e-4, W::Rows, S::Zero),
            Preset::Reinforce => (B::None, D::None, 0.0, W::Tokens, S::Zero),
            Preset::ReinforceBaseline => (B::Mean, D::None, 0.0, W::Tokens, S::Reward),
        };
        let settled = Self {
            baseline: flags.baseline.unwrap_or(baseline),
            spread: flags.std.unwrap_or(spread),
            eps: flags.eps.unwrap_or(eps),
            scale: flags.scale.unwrap_or(Scale::Group),
            whiten: flags.whiten.unwrap_or(whiten),
            single: flags.single.unwrap_or(single),
            parts: flags.parts.clone(),
        };
        let nothing_divided = settled.spread == D::None;
        for (given, name) in
            [(flags.eps.is_some(), "--eps"), (flags.scale == Some(Scale::Batch), "--scale batch")]
        {
            if given && nothing_divided {
                let fact = format!("{name} has no effect where nothing is divided by");
                return Err(r1_cli::misuse(fact, "leave it out, or give --std"));
            }
        }
        if settled.baseline == B::None && flags.single.is_some() {
            return Err(r1_cli::misuse("--single has no effect without a baseline", "leave it out"));
        }
        if flags.preset == Preset::Gdpo && settled.parts.is_empty() {
            let fact = "--preset gdpo normalizes every part of the reward by itself and must be told which";
            return Err(r1_cli::misuse(fact, "give --part accuracy=1 --part format=0.1, say"));
        }
        if !settled.parts.is_empty() && settled.scale == Scale::Batch {
            let fact = "--part normalizes within the group, --scale batch over all of them";
            return Err(r1_cli::misuse(fact, "give one of the two, or --whiten"));
        }
        let repeated = settled.parts.iter().enumerate();
        if let Some((_, (name, _))) =
            repeated.into_iter().find(|(i, (name, _))| settled.parts[..*i].iter().any(|(n, _)| n == name))
        {
            return Err(r1_cli::misuse(format!("--part {name} comes twice"), "give its weight once"));
        }
        Ok(settled)
    }

    /// Whether no advantage is known before the last row was read.
    pub fn needs_all(&self) -> bool {
        self.scale == Scale::Batch || self.whiten != Whiten::None
    }

    /// Whether completion lengths count.
    pub fn needs_lengths(&self) -> bool {
        self.baseline == Baseline::Length || self.whiten == Whiten::Tokens
    }
}

/// A finite number that is not negative.
pub fn not_negative(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(eps) if eps.is_finite() && eps >= 0.0 => Ok(eps),
        _ => Err("a number from 0 on is needed".to_string()),
    }
}

/// `NAME=WEIGHT`.
fn part(text: &str) -> Result<(String, f64), String> {
    let (name, weight) = text.split_once('=').ok_or("a part is written NAME=WEIGHT")?;
    match weight.parse::<f64>() {
        Ok(weight) if weight.is_finite() && !name.is_empty() => Ok((name.to_string(), weight)),
        _ => Err("a part is written NAME=WEIGHT, the weight a number".to_string()),
    }
}
