//! The problem families: what every one of them can do, and their names.

pub mod arithmetic;
pub mod calendar;
pub mod chain_sum;
pub mod comparison;
pub mod countdown;
pub mod counting;
pub mod date_time;

use crate::draw::Draw;
use crate::language::Language;
use crate::worked::Worked;
use serde_json::{Map, Value};

/// A mistake in the reasoning, carried through to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mistake {
    /// Computing from left to right, without precedence or parentheses.
    Precedence,
    /// One operation with a wrong result.
    Fact,
}

/// A problem with an answer that can be verified.
pub trait Problem {
    /// The problem itself, without wording or language: two problems are the same exactly if this is the same.
    fn canonical(&self) -> String;

    /// The verifier that judges answers: the `task` column.
    fn task(&self) -> &'static str;

    /// What makes it hard, in numbers: the `difficulty` column.
    fn difficulty(&self) -> Map<String, Value>;

    /// Columns of its own beside those that every row has.
    fn columns(&self) -> Map<String, Value> {
        Map::new()
    }

    /// Every way to ask it, the plainest first.
    fn phrasings(&self, language: Language) -> Vec<String>;

    /// The right solution.
    fn work(&self, language: Language) -> Worked;

    /// A solution with the mistakes in it; none where they can make no difference here.
    fn work_wrongly(&self, _mistakes: &[Mistake], _draw: &mut Draw) -> Option<Worked> {
        None
    }

    /// A wrong answer of the right kind, near the right one: what a slip of the pen leaves.
    fn wrong_answer(&self, language: Language, draw: &mut Draw) -> String;
}

/// A whole number near another and different from it.
pub fn near(number: i64, draw: &mut Draw) -> i64 {
    let by = *draw.pick(&[1, 1, 2, 10]);
    if draw.chance(0.5) { number.saturating_add(by) } else { number.saturating_sub(by) }
}

/// The columns of a `difficulty` object.
pub fn columns<const N: usize>(pairs: [(&str, Value); N]) -> Map<String, Value> {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Asks how to compute an expression.
pub fn expression_phrasings(expression: &str, language: Language) -> Vec<String> {
    match language {
        Language::English => vec![
            format!("What is {expression}?"),
            format!("Calculate {expression}."),
            format!("Work out {expression}."),
            format!("{expression} = ?"),
            format!("Find the value of {expression}."),
        ],
        Language::Chinese => vec![
            format!("{expression} 等于多少？"),
            format!("计算 {expression}。"),
            format!("{expression} 的结果是多少？"),
            format!("{expression} = ？"),
            format!("请算出 {expression} 的值。"),
        ],
    }
}
