//! Chain sums: additions and subtractions in a row, `12 + 7 - 5 + 30`.

use super::arithmetic::{worked, worked_wrongly};
use super::{Mistake, Problem, columns, expression_phrasings, near};
use crate::draw::Draw;
use crate::expression::{Expression, Operation};
use crate::language::Language;
use crate::range::Range;
use crate::worked::Worked;
use serde_json::{Map, Value};

/// How hard the sums are.
#[derive(Clone, Debug)]
pub struct Difficulty {
    /// How many numbers.
    pub terms: Range,
    /// Between which bounds the numbers lie.
    pub addends: Range,
    /// No sum on the way is negative.
    pub non_negative: bool,
}

/// One sum to compute.
#[derive(Clone, Debug, PartialEq)]
pub struct ChainSum {
    expression: Expression,
    terms: usize,
}

impl ChainSum {
    /// Draws a sum; none where the difficulty allows none.
    pub fn draw(difficulty: &Difficulty, draw: &mut Draw) -> Option<ChainSum> {
        for _ in 0..2000 {
            let terms = draw.between(difficulty.terms.low, difficulty.terms.high) as usize;
            let numbers: Vec<i64> =
                (0..terms).map(|_| draw.between(difficulty.addends.low, difficulty.addends.high)).collect();
            let operations: Vec<Operation> =
                (1..terms).map(|_| *draw.pick(&[Operation::Add, Operation::Subtract])).collect();
            let expression = Expression::of_flat(&numbers, &operations);
            let Some(steps) = expression.steps() else { continue };
            if difficulty.non_negative && steps.iter().any(|step| step.result < 0) {
                continue;
            }
            return Some(ChainSum { expression, terms });
        }
        None
    }
}

impl Problem for ChainSum {
    // The same form as an arithmetic expression has: `2 + 3` is one problem, whichever family drew it.
    fn canonical(&self) -> String {
        self.expression.to_string()
    }

    fn task(&self) -> &'static str {
        "math"
    }

    fn difficulty(&self) -> Map<String, Value> {
        let largest = self.expression.operands().iter().map(|operand| operand.abs()).max().unwrap_or(0);
        columns([("terms", self.terms.into()), ("largest", largest.into())])
    }

    fn phrasings(&self, language: Language) -> Vec<String> {
        expression_phrasings(&self.expression.to_string(), language)
    }

    fn work(&self, _language: Language) -> Worked {
        worked(&self.expression, &self.expression.steps().expect("only sums with a value are drawn"))
    }

    fn work_wrongly(&self, mistakes: &[Mistake], draw: &mut Draw) -> Option<Worked> {
        worked_wrongly(&self.expression, mistakes, draw)
    }

    fn wrong_answer(&self, _language: Language, draw: &mut Draw) -> String {
        near(self.expression.value().expect("only sums with a value are drawn"), draw).to_string()
    }
}
