//! Arithmetic expressions: `2 + 3 * 4`, with precedence, parentheses where drawn, and exact division.

use super::{Mistake, Problem, columns, expression_phrasings, near};
use crate::draw::Draw;
use crate::expression::{Expression, Operation, Step};
use crate::language::Language;
use crate::range::Range;
use crate::worked::{Hint, Worked};
use serde_json::{Map, Value};

/// How hard the expressions are.
#[derive(Clone, Debug)]
pub struct Difficulty {
    /// How many operations.
    pub operators: Range,
    /// Between which bounds the numbers lie.
    pub operands: Range,
    /// Which operations, each as likely as the other.
    pub operations: Vec<Operation>,
    /// Share of the problems whose order of operations is drawn freely and written with parentheses.
    pub parentheses: f64,
    /// Share of the problems in which computing from left to right gives another value.
    pub order_matters: f64,
    /// No number on the way is negative.
    pub non_negative: bool,
}

/// One expression to compute.
#[derive(Clone, Debug, PartialEq)]
pub struct Arithmetic {
    expression: Expression,
    operations: usize,
}

/// How often an expression is drawn again that divides with a remainder, overflows or is not as asked.
const TRIES: usize = 2000;

impl Arithmetic {
    /// Draws an expression; none where the difficulty allows none (or next to none).
    pub fn draw(difficulty: &Difficulty, draw: &mut Draw) -> Option<Arithmetic> {
        let parentheses = draw.chance(difficulty.parentheses);
        let order_matters = draw.chance(difficulty.order_matters);
        for _ in 0..TRIES {
            let count = draw.between(difficulty.operators.low, difficulty.operators.high) as usize;
            let expression = if parentheses {
                // One operation alone has no order to choose; with --operators 1-3 such draws stay flat.
                let tree = grow(count, difficulty, draw);
                if count > 1 && tree.parentheses() == 0 {
                    continue;
                }
                tree
            } else {
                let operands: Vec<i64> = (0..=count).map(|_| operand(difficulty, draw)).collect();
                let operations: Vec<Operation> =
                    (0..count).map(|_| *draw.pick(&difficulty.operations)).collect();
                Expression::of_flat(&operands, &operations)
            };
            let Some(expression) = divide_exactly(expression, difficulty.operands, draw) else { continue };
            let Some(steps) = expression.steps() else { continue };
            if difficulty.non_negative && steps.iter().any(|step| step.result < 0) {
                continue;
            }
            let last = |steps: &[Step]| steps.last().map(|step| step.result);
            if order_matters && expression.left_to_right().is_none_or(|wrong| last(&wrong) == last(&steps)) {
                continue;
            }
            return Some(Arithmetic { expression, operations: count });
        }
        None
    }

    fn value(&self) -> i64 {
        self.expression.value().expect("only expressions with a value are drawn")
    }
}

fn operand(difficulty: &Difficulty, draw: &mut Draw) -> i64 {
    draw.between(difficulty.operands.low, difficulty.operands.high)
}

/// A tree of `count` operations, every split as likely as the other.
fn grow(count: usize, difficulty: &Difficulty, draw: &mut Draw) -> Expression {
    if count == 0 {
        return Expression::Number(operand(difficulty, draw));
    }
    let before = draw.below(count as u64) as usize;
    let left = grow(before, difficulty, draw);
    let right = grow(count - 1 - before, difficulty, draw);
    Expression::binary(left, *draw.pick(&difficulty.operations), right)
}

/// Redraws operands of divisions so that no remainder is left: a number to the left becomes a multiple of the divisor, or
/// else a number to the right becomes a divisor, within the range. None where neither side is a number that fits.
fn divide_exactly(expression: Expression, range: Range, draw: &mut Draw) -> Option<Expression> {
    let Expression::Binary(left, operation, right) = expression else { return Some(expression) };
    let mut left = divide_exactly(*left, range, draw)?;
    let mut right = divide_exactly(*right, range, draw)?;
    if operation == Operation::Divide {
        let divisor = right.value()?;
        if let (Expression::Number(number), true) = (&mut left, divisor != 0) {
            // The multiples q · |divisor| within the range; the sign of the divisor does not matter for that.
            let size = divisor.checked_abs()?;
            let (low, high) = (
                range.low.div_euclid(size) + i64::from(range.low.rem_euclid(size) != 0),
                range.high.div_euclid(size),
            );
            if low > high {
                return None;
            }
            *number = draw.between(low, high) * size;
        } else if let Expression::Number(number) = &mut right {
            let dividend = left.value()?;
            // Wide ranges are searched where the draw falls first, so that the search stays short.
            let width = (range.high - range.low + 1).min(10_000);
            let start = draw.between(range.low, range.high);
            let candidates =
                (0..width).map(|i| range.low + (start - range.low + i) % (range.high - range.low + 1));
            *number = candidates.into_iter().find(|&c| c != 0 && dividend.checked_rem(c) == Some(0))?;
        }
    }
    Some(Expression::binary(left, operation, right))
}

/// The worked solution that the steps make.
pub fn worked(expression: &Expression, steps: &[Step]) -> Worked {
    let hint = match () {
        () if expression.parentheses() > 0 => Hint::Parentheses,
        () if expression.mixes_ranks() => Hint::Precedence,
        () => Hint::Nothing,
    };
    let last = steps.last().expect("an expression has an operation");
    Worked {
        hint,
        steps: steps.iter().map(Step::to_string).collect(),
        running: false,
        check: last.check(),
        answer: last.result.to_string(),
    }
}

/// The solution with mistakes in it; none where the mistakes leave it as it was.
pub fn worked_wrongly(expression: &Expression, mistakes: &[Mistake], draw: &mut Draw) -> Option<Worked> {
    let right = expression.steps()?;
    let mut steps = right.clone();
    if mistakes.contains(&Mistake::Precedence) {
        steps = expression.left_to_right().unwrap_or(steps);
    }
    if mistakes.contains(&Mistake::Fact) {
        let index = draw.below(steps.len() as u64) as usize;
        let by = near(0, draw);
        let flat = steps != right;
        steps =
            if flat { go_on_from(steps, index, by)? } else { expression.steps_with(Some((index, by)))? };
    }
    if steps == right {
        return None;
    }
    let mut wrong = worked(expression, &steps);
    // Who computes from left to right does not say that products come first.
    if mistakes.contains(&Mistake::Precedence) {
        wrong.hint = Hint::Nothing;
    }
    Some(wrong)
}

/// A chain in which each step starts from the result before it, with one result changed.
fn go_on_from(mut steps: Vec<Step>, index: usize, by: i64) -> Option<Vec<Step>> {
    steps[index].result = steps[index].result.checked_add(by)?;
    for i in index + 1..steps.len() {
        let Step { operation, right, .. } = steps[i];
        let left = steps[i - 1].result;
        steps[i] = Step { left, operation, right, result: operation.apply_cutting(left, right)? };
    }
    Some(steps)
}

impl Problem for Arithmetic {
    fn canonical(&self) -> String {
        self.expression.to_string()
    }

    fn task(&self) -> &'static str {
        "math"
    }

    fn difficulty(&self) -> Map<String, Value> {
        let largest = self.expression.operands().iter().map(|operand| operand.abs()).max().unwrap_or(0);
        columns([
            ("operators", self.operations.into()),
            ("largest", largest.into()),
            ("parentheses", self.expression.parentheses().into()),
        ])
    }

    fn phrasings(&self, language: Language) -> Vec<String> {
        expression_phrasings(&self.expression.to_string(), language)
    }

    fn work(&self, _language: Language) -> Worked {
        worked(&self.expression, &self.expression.steps().expect("only expressions with a value are drawn"))
    }

    fn work_wrongly(&self, mistakes: &[Mistake], draw: &mut Draw) -> Option<Worked> {
        worked_wrongly(&self.expression, mistakes, draw)
    }

    fn wrong_answer(&self, _language: Language, draw: &mut Draw) -> String {
        near(self.value(), draw).to_string()
    }
}
