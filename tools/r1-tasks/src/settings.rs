//! The flags that say what is drawn, and what they settle to.

use crate::expression::Operation;
use crate::families::{arithmetic, chain_sum, comparison, countdown, counting, date_time};
use crate::language::Language;
use crate::range::{Range, Weighted, share};
use r1_cli::misuse;
use std::str::FromStr;

/// A family of problems.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Expressions: `2 + 3 * 4`.
    Arithmetic,
    /// Sums and differences in a row.
    ChainSum,
    /// Reach a target from given numbers.
    Countdown,
    /// The largest or smallest of some numbers.
    Comparison,
    /// Clocks, weekdays, dates.
    DateTime,
    /// Letters, digits, things of a kind.
    Counting,
    /// Requests without a verifiable answer.
    General,
}

impl Family {
    /// All families.
    pub const ALL: [Family; 7] = [
        Family::Arithmetic,
        Family::ChainSum,
        Family::Countdown,
        Family::Comparison,
        Family::DateTime,
        Family::Counting,
        Family::General,
    ];

    /// The name in the flag, in the `family` column and in front of the `id`.
    pub fn name(self) -> &'static str {
        match self {
            Family::Arithmetic => "arithmetic",
            Family::ChainSum => "chain-sum",
            Family::Countdown => "countdown",
            Family::Comparison => "comparison",
            Family::DateTime => "date-time",
            Family::Counting => "counting",
            Family::General => "general",
        }
    }
}

impl FromStr for Family {
    type Err = String;

    fn from_str(text: &str) -> Result<Family, String> {
        Family::ALL.into_iter().find(|family| family.name() == text).ok_or_else(|| {
            let names: Vec<&str> = Family::ALL.into_iter().map(Family::name).collect();
            format!("no family is called `{text}` ({})", names.join(", "))
        })
    }
}

impl FromStr for Language {
    type Err = String;

    fn from_str(text: &str) -> Result<Language, String> {
        Language::of_code(text).ok_or_else(|| format!("`{text}` is not spoken here (en, zh)"))
    }
}

/// The difficulty flags. Each belongs to one family, and is refused where that family is not drawn.
#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Difficulty")]
pub struct DifficultyFlags {
    /// arithmetic: operations in an expression [default: 1-3]
    #[arg(long, value_name = "RANGE")]
    operators: Option<Range>,
    /// arithmetic: bounds of the numbers, e.g. 1-9 or -20-20 [default: 1-9]
    #[arg(long, value_name = "RANGE", allow_hyphen_values = true)]
    operands: Option<Range>,
    /// arithmetic: which operations; `/` is always exact [default: +-*]
    #[arg(long, value_name = "SIGNS", value_parser = operations, allow_hyphen_values = true)]
    operations: Option<Operations>,
    /// arithmetic: share of the expressions with parentheses [default: 0]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    parentheses: Option<f64>,
    /// arithmetic: share of the expressions that are wrong when computed from left to right; the others are as they come [default: 0]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    order_matters: Option<f64>,
    /// chain-sum: how many numbers [default: 3-5]
    #[arg(long, value_name = "RANGE")]
    terms: Option<Range>,
    /// chain-sum: bounds of the numbers [default: 1-20]
    #[arg(long, value_name = "RANGE", allow_hyphen_values = true)]
    addends: Option<Range>,
    /// arithmetic, chain-sum: no result on the way is negative
    #[arg(long)]
    non_negative: bool,
    /// countdown: how many numbers are given [default: 3-4]
    #[arg(long, value_name = "RANGE")]
    tiles: Option<Range>,
    /// countdown: bounds of the given numbers [default: 1-25]
    #[arg(long, value_name = "RANGE")]
    tile_values: Option<Range>,
    /// countdown: bounds of the target [default: 10-99]
    #[arg(long, value_name = "RANGE")]
    targets: Option<Range>,
    /// comparison: how many numbers [default: 2-3]
    #[arg(long, value_name = "RANGE")]
    compared: Option<Range>,
    /// comparison: bounds of the numbers, their whole parts, or numerators and denominators [default: 1-99]
    #[arg(long, value_name = "RANGE", allow_hyphen_values = true)]
    sizes: Option<Range>,
    /// comparison: kinds of numbers [default: all]
    #[arg(long, value_name = "KINDS", value_delimiter = ',')]
    number_kinds: Option<Vec<comparison::Kind>>,
    /// date-time: kinds of questions [default: all]
    #[arg(long, value_name = "KINDS", value_delimiter = ',')]
    time_kinds: Option<Vec<date_time::Kind>>,
    /// date-time: minutes that pass on a clock [default: 5-180]
    #[arg(long, value_name = "RANGE")]
    minutes: Option<Range>,
    /// date-time: days that pass [default: 1-60]
    #[arg(long, value_name = "RANGE")]
    span: Option<Range>,
    /// date-time: years of the dates [default: 2000-2030]
    #[arg(long, value_name = "RANGE")]
    years: Option<Range>,
    /// counting: what is counted [default: all]
    #[arg(long, value_name = "KINDS", value_delimiter = ',')]
    count_kinds: Option<Vec<counting::Kind>>,
    /// counting: letters, digits or things to look at [default: 4-8]
    #[arg(long, value_name = "RANGE")]
    length: Option<Range>,
}

/// A set of operations as a flag.
#[derive(Clone, Debug)]
struct Operations(Vec<Operation>);

fn operations(text: &str) -> Result<Operations, String> {
    let mut operations = Vec::new();
    for sign in text.chars() {
        let operation = Operation::ALL.into_iter().find(|operation| operation.sign() == sign);
        let operation = operation.ok_or_else(|| format!("`{sign}` is none of + - * /"))?;
        if operations.contains(&operation) {
            return Err(format!("`{sign}` is given twice"));
        }
        operations.push(operation);
    }
    if operations.is_empty() { Err("no operation is given".to_owned()) } else { Ok(Operations(operations)) }
}

/// How hard the problems of each family are.
#[derive(Clone, Debug)]
pub struct Difficulty {
    /// Of expressions.
    pub arithmetic: arithmetic::Difficulty,
    /// Of chain sums.
    pub chain_sum: chain_sum::Difficulty,
    /// Of countdown puzzles.
    pub countdown: countdown::Difficulty,
    /// Of comparisons.
    pub comparison: comparison::Difficulty,
    /// Of dates and times.
    pub date_time: date_time::Difficulty,
    /// Of counting.
    pub counting: counting::Difficulty,
}

impl DifficultyFlags {
    /// The difficulty that the flags ask for. Errors (misuse): a range outside what its family can do, or a flag
    /// of a family that is not drawn.
    pub fn settle(&self, families: &[Family]) -> anyhow::Result<Difficulty> {
        use Family::{Arithmetic, ChainSum, Comparison, Countdown, Counting, DateTime};
        let given: [(&str, bool, &[Family]); 20] = [
            ("--operators", self.operators.is_some(), &[Arithmetic]),
            ("--operands", self.operands.is_some(), &[Arithmetic]),
            ("--operations", self.operations.is_some(), &[Arithmetic]),
            ("--parentheses", self.parentheses.is_some(), &[Arithmetic]),
            ("--order-matters", self.order_matters.is_some(), &[Arithmetic]),
            ("--terms", self.terms.is_some(), &[ChainSum]),
            ("--addends", self.addends.is_some(), &[ChainSum]),
            ("--non-negative", self.non_negative, &[Arithmetic, ChainSum]),
            ("--tiles", self.tiles.is_some(), &[Countdown]),
            ("--tile-values", self.tile_values.is_some(), &[Countdown]),
            ("--targets", self.targets.is_some(), &[Countdown]),
            ("--compared", self.compared.is_some(), &[Comparison]),
            ("--sizes", self.sizes.is_some(), &[Comparison]),
            ("--number-kinds", self.number_kinds.is_some(), &[Comparison]),
            ("--time-kinds", self.time_kinds.is_some(), &[DateTime]),
            ("--minutes", self.minutes.is_some(), &[DateTime]),
            ("--span", self.span.is_some(), &[DateTime]),
            ("--years", self.years.is_some(), &[DateTime]),
            ("--count-kinds", self.count_kinds.is_some(), &[Counting]),
            ("--length", self.length.is_some(), &[Counting]),
        ];
        for (flag, given, of) in given {
            if given && !of.iter().any(|family| families.contains(family)) {
                let names: Vec<&str> = of.iter().map(|family| family.name()).collect();
                return Err(misuse(
                    format!("{flag} has no effect without --family {}", names.join(" or ")),
                    "add the family, or leave the flag away",
                ));
            }
        }
        let within = |flag: &str, range: Option<Range>, default: Range, bounds: Range| {
            let range = range.unwrap_or(default);
            if range.low < bounds.low || range.high > bounds.high {
                return Err(misuse(format!("{flag} {range} is outside {bounds}"), "give a range within it"));
            }
            Ok(range)
        };
        let any = Range::of(-1_000_000_000_000, 1_000_000_000_000);
        // Values that are multiplied crosswise, or that make words out of digits, stay small enough for a person.
        let small = Range::of(-1_000_000, 1_000_000);
        Ok(Difficulty {
            arithmetic: arithmetic::Difficulty {
                operators: within("--operators", self.operators, Range::of(1, 3), Range::of(1, 20))?,
                operands: within("--operands", self.operands, Range::of(1, 9), any)?,
                operations: match &self.operations {
                    Some(Operations(operations)) => operations.clone(),
                    None => vec![Operation::Add, Operation::Subtract, Operation::Multiply],
                },
                parentheses: self.parentheses.unwrap_or(0.0),
                order_matters: self.order_matters.unwrap_or(0.0),
                non_negative: self.non_negative,
            },
            chain_sum: chain_sum::Difficulty {
                terms: within("--terms", self.terms, Range::of(3, 5), Range::of(2, 50))?,
                addends: within("--addends", self.addends, Range::of(1, 20), any)?,
                non_negative: self.non_negative,
            },
            countdown: countdown::Difficulty {
                tiles: within("--tiles", self.tiles, Range::of(3, 4), Range::of(2, 8))?,
                tile_values: within(
                    "--tile-values",
                    self.tile_values,
                    Range::of(1, 25),
                    Range::of(1, 1_000_000),
                )?,
                targets: within("--targets", self.targets, Range::of(10, 99), Range::of(1, 1_000_000_000))?,
            },
            comparison: comparison::Difficulty {
                compared: within("--compared", self.compared, Range::of(2, 3), Range::of(2, 20))?,
                sizes: within("--sizes", self.sizes, Range::of(1, 99), small)?,
                kinds: kinds(&self.number_kinds),
            },
            date_time: date_time::Difficulty {
                kinds: kinds(&self.time_kinds),
                minutes: within("--minutes", self.minutes, Range::of(5, 180), Range::of(1, 1439))?,
                span: within("--span", self.span, Range::of(1, 60), Range::of(1, 100_000))?,
                years: within("--years", self.years, Range::of(2000, 2030), Range::of(1583, 9000))?,
            },
            counting: counting::Difficulty {
                kinds: kinds(&self.count_kinds),
                length: within("--length", self.length, Range::of(4, 8), Range::of(1, 200))?,
            },
        })
    }
}

/// The kinds asked for, or all of them.
fn kinds<K: clap::ValueEnum + Copy>(asked: &Option<Vec<K>>) -> Vec<K> {
    asked.clone().unwrap_or_else(|| K::value_variants().to_vec())
}

/// The weights of a repeated `NAME[=WEIGHT]` flag, or the default alone. Errors (misuse): a name given twice.
pub fn weights<T: Copy + PartialEq>(
    flag: &str,
    asked: &[Weighted<T>],
    default: T,
) -> anyhow::Result<Vec<(T, f64)>> {
    for (place, one) in asked.iter().enumerate() {
        if asked[..place].iter().any(|other| other.item == one.item) {
            return Err(misuse(format!("{flag} names the same twice"), "give each once, with its weight"));
        }
    }
    if asked.is_empty() {
        return Ok(vec![(default, 1.0)]);
    }
    Ok(asked.iter().map(|one| (one.item, one.weight)).collect())
}
