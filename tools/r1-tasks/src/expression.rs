//! Whole-number expressions: drawing, writing with the parentheses that are needed, and computing step by step.

use std::fmt;

/// One of the four operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`, exact only
    Divide,
}

impl Operation {
    /// All four, in the order `+ - * /`.
    pub const ALL: [Operation; 4] =
        [Operation::Add, Operation::Subtract, Operation::Multiply, Operation::Divide];

    /// Its sign.
    pub fn sign(self) -> char {
        match self {
            Operation::Add => '+',
            Operation::Subtract => '-',
            Operation::Multiply => '*',
            Operation::Divide => '/',
        }
    }

    /// 1 for sums, 2 for products.
    pub fn rank(self) -> u8 {
        match self {
            Operation::Add | Operation::Subtract => 1,
            Operation::Multiply | Operation::Divide => 2,
        }
    }

    /// The result; none where it overflows, where the divisor is 0, or where the division leaves a remainder.
    pub fn apply(self, left: i64, right: i64) -> Option<i64> {
        match self {
            Operation::Divide if left.checked_rem(right)? != 0 => None,
            _ => self.apply_cutting(left, right),
        }
    }

    /// As [`Operation::apply`], but a division drops its remainder: what someone writes who divided what
    /// should not have been divided.
    pub fn apply_cutting(self, left: i64, right: i64) -> Option<i64> {
        match self {
            Operation::Add => left.checked_add(right),
            Operation::Subtract => left.checked_sub(right),
            Operation::Multiply => left.checked_mul(right),
            Operation::Divide => left.checked_div(right),
        }
    }
}

/// An expression over whole numbers.
#[derive(Clone, Debug, PartialEq)]
pub enum Expression {
    /// A number.
    Number(i64),
    /// An operation on two expressions.
    Binary(Box<Expression>, Operation, Box<Expression>),
}

/// One operation carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// Left operand.
    pub left: i64,
    /// What is done.
    pub operation: Operation,
    /// Right operand.
    pub right: i64,
    /// The result as written down (in spoilt examples not always the right one).
    pub result: i64,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} = {}", self.left, self.operation.sign(), Operand(self.right), self.result)
    }
}

impl Step {
    /// The inverse operation, which leads back to an operand exactly if the result is right: `14 - 12 = 2`
    /// for `2 + 12 = 14`.
    pub fn check(&self) -> String {
        let Step { left, operation, right, result } = *self;
        let undo = |from: i64, operation: Operation, by: i64, back: i64| {
            Step { left: from, operation, right: by, result: back }.to_string()
        };
        match operation {
            Operation::Add => undo(result, Operation::Subtract, right, left),
            Operation::Subtract => undo(result, Operation::Add, right, left),
            Operation::Multiply if right != 0 => undo(result, Operation::Divide, right, left),
            Operation::Multiply if left != 0 => undo(result, Operation::Divide, left, right),
            // 0 * 0 has no inverse; the same product the other way round says as much as there is to say.
            Operation::Multiply => undo(right, Operation::Multiply, left, result),
            Operation::Divide => undo(result, Operation::Multiply, right, left),
        }
    }
}

/// A number to the right of a sign: negative ones stand in parentheses.
struct Operand(i64);

impl fmt::Display for Operand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 0 { write!(f, "({})", self.0) } else { write!(f, "{}", self.0) }
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, true)
    }
}

impl Expression {
    /// `left operation right`.
    pub fn binary(left: Expression, operation: Operation, right: Expression) -> Expression {
        Expression::Binary(Box::new(left), operation, Box::new(right))
    }

    /// Reads operands and operations from left to right, products before sums, as everyone does.
    /// There is one operand more than operations.
    pub fn of_flat(operands: &[i64], operations: &[Operation]) -> Expression {
        assert_eq!(operands.len(), operations.len() + 1);
        let mut sum: Option<(Expression, Operation)> = None;
        let mut product = Expression::Number(operands[0]);
        for (&operation, &operand) in operations.iter().zip(&operands[1..]) {
            let operand = Expression::Number(operand);
            if operation.rank() == 2 {
                product = Expression::binary(product, operation, operand);
            } else {
                let finished = std::mem::replace(&mut product, operand);
                let so_far = match sum.take() {
                    Some((left, before)) => Expression::binary(left, before, finished),
                    None => finished,
                };
                sum = Some((so_far, operation));
            }
        }
        match sum {
            Some((left, operation)) => Expression::binary(left, operation, product),
            None => product,
        }
    }

    /// The value; none where an operation overflows or a division is not exact.
    pub fn value(&self) -> Option<i64> {
        match self {
            Expression::Number(number) => Some(*number),
            Expression::Binary(left, operation, right) => operation.apply(left.value()?, right.value()?),
        }
    }

    /// The operations in the order in which they are carried out, each operand before what needs it.
    pub fn steps(&self) -> Option<Vec<Step>> {
        self.steps_with(None)
    }

    /// As [`Expression::steps`], but at the step with the given index the result is off by the given amount, and
    /// everything after it goes on from there.
    pub fn steps_with(&self, mistake: Option<(usize, i64)>) -> Option<Vec<Step>> {
        let mut steps = Vec::new();
        self.walk(mistake, &mut steps)?;
        Some(steps)
    }

    fn walk(&self, mistake: Option<(usize, i64)>, steps: &mut Vec<Step>) -> Option<i64> {
        match self {
            Expression::Number(number) => Some(*number),
            Expression::Binary(left, operation, right) => {
                let left = left.walk(mistake, steps)?;
                let right = right.walk(mistake, steps)?;
                // After a mistake a division may have a remainder, which is dropped.
                let result = match mistake {
                    Some((index, by)) if index == steps.len() => {
                        operation.apply_cutting(left, right)?.checked_add(by)?
                    }
                    Some((index, _)) if index < steps.len() => operation.apply_cutting(left, right)?,
                    _ => operation.apply(left, right)?,
                };
                steps.push(Step { left, operation: *operation, right, result });
                Some(result)
            }
        }
    }

    /// The steps of someone who computes from left to right and minds neither precedence nor parentheses.
    pub fn left_to_right(&self) -> Option<Vec<Step>> {
        let (mut operands, mut operations) = (Vec::new(), Vec::new());
        self.flatten(&mut operands, &mut operations);
        let mut left = operands[0];
        let mut steps = Vec::with_capacity(operations.len());
        for (&operation, &right) in operations.iter().zip(&operands[1..]) {
            let result = operation.apply_cutting(left, right)?;
            steps.push(Step { left, operation, right, result });
            left = result;
        }
        Some(steps)
    }

    fn flatten(&self, operands: &mut Vec<i64>, operations: &mut Vec<Operation>) {
        match self {
            Expression::Number(number) => operands.push(*number),
            Expression::Binary(left, operation, right) => {
                left.flatten(operands, operations);
                operations.push(*operation);
                right.flatten(operands, operations);
            }
        }
    }

    /// How many pairs of parentheses around operations the written form needs.
    pub fn parentheses(&self) -> usize {
        let Expression::Binary(left, operation, right) = self else { return 0 };
        let wrapped =
            usize::from(left.rank() < operation.rank()) + usize::from(right.rank() <= operation.rank());
        wrapped + left.parentheses() + right.parentheses()
    }

    /// Sums and products stand side by side, so that precedence matters.
    pub fn mixes_ranks(&self) -> bool {
        let (mut operands, mut operations) = (Vec::new(), Vec::new());
        self.flatten(&mut operands, &mut operations);
        operations.iter().any(|operation| operation.rank() != operations[0].rank())
    }

    /// The operands in reading order.
    pub fn operands(&self) -> Vec<i64> {
        let (mut operands, mut operations) = (Vec::new(), Vec::new());
        self.flatten(&mut operands, &mut operations);
        operands
    }

    fn rank(&self) -> u8 {
        match self {
            Expression::Number(_) => 3,
            Expression::Binary(_, operation, _) => operation.rank(),
        }
    }

    /// Writes the expression; only its very first number may be a bare negative one.
    fn write(&self, f: &mut fmt::Formatter<'_>, first: bool) -> fmt::Result {
        match self {
            Expression::Number(number) if first => write!(f, "{number}"),
            Expression::Number(number) => write!(f, "{}", Operand(*number)),
            Expression::Binary(left, operation, right) => {
                left.write_within(f, left.rank() < operation.rank(), first)?;
                write!(f, " {} ", operation.sign())?;
                // The right side keeps its parentheses at equal rank too: the text then shows the order of the steps.
                right.write_within(f, right.rank() <= operation.rank(), false)
            }
        }
    }

    fn write_within(&self, f: &mut fmt::Formatter<'_>, parentheses: bool, first: bool) -> fmt::Result {
        if !parentheses {
            return self.write(f, first);
        }
        write!(f, "(")?;
        self.write(f, true)?;
        write!(f, ")")
    }
}

#[cfg(test)]
mod tests {
    use super::Operation::{Add, Divide, Multiply, Subtract};
    use super::*;

    fn text(steps: &[Step]) -> String {
        steps.iter().map(Step::to_string).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn the_worked_example_both_ways() {
        let expression = Expression::of_flat(&[2, 3, 4], &[Add, Multiply]);
        assert_eq!(expression.to_string(), "2 + 3 * 4");
        assert_eq!(text(&expression.steps().unwrap()), "3 * 4 = 12, 2 + 12 = 14");
        assert_eq!(text(&expression.left_to_right().unwrap()), "2 + 3 = 5, 5 * 4 = 20");
        assert_eq!(text(&expression.steps_with(Some((0, -1))).unwrap()), "3 * 4 = 11, 2 + 11 = 13");
        assert_eq!(expression.steps().unwrap()[1].check(), "14 - 12 = 2");
    }

    #[test]
    fn flat_readings_follow_precedence_and_association() {
        let flat =
            |operands: &[i64], operations: &[Operation]| Expression::of_flat(operands, operations).value();
        assert_eq!(flat(&[10, 4, 3], &[Subtract, Subtract]), Some(3));
        assert_eq!(flat(&[24, 4, 3], &[Divide, Divide]), Some(2));
        assert_eq!(flat(&[2, 3, 4, 5], &[Multiply, Subtract, Multiply]), Some(-14));
        assert_eq!(flat(&[7, 2], &[Divide]), None);
        assert_eq!(flat(&[7, 0], &[Divide]), None);
        assert_eq!(flat(&[i64::MAX, 2], &[Multiply]), None);
        assert_eq!(flat(&[i64::MIN, -1], &[Divide]), None);
    }

    #[test]
    fn parentheses_stand_where_they_are_needed() {
        let number = Expression::Number;
        let sum = Expression::binary(number(2), Add, number(3));
        let product = Expression::binary(sum.clone(), Multiply, number(4));
        assert_eq!((product.to_string().as_str(), product.parentheses()), ("(2 + 3) * 4", 1));
        let nested =
            Expression::binary(number(9), Subtract, Expression::binary(number(-5), Subtract, number(-1)));
        assert_eq!((nested.to_string().as_str(), nested.parentheses()), ("9 - (-5 - (-1))", 1));
        assert_eq!(nested.value(), Some(13));
        assert_eq!(text(&nested.steps().unwrap()), "-5 - (-1) = -4, 9 - (-4) = 13");
    }

    #[test]
    fn every_check_undoes_its_step() {
        for operation in Operation::ALL {
            for left in -12..=12 {
                for right in -12..=12 {
                    let Some(result) = operation.apply(left, right) else { continue };
                    let check = Step { left, operation, right, result }.check();
                    let (formula, claimed) = check.split_once(" = ").unwrap();
                    let mut parts = formula.split(' ').map(|part| part.trim_matches(['(', ')']));
                    let a: i64 = parts.next().unwrap().parse().unwrap();
                    let sign = parts.next().unwrap();
                    let b: i64 = parts.next().unwrap().parse().unwrap();
                    let value = match sign {
                        "+" => a + b,
                        "-" => a - b,
                        "*" => a * b,
                        _ => a / b,
                    };
                    assert_eq!(value, claimed.parse::<i64>().unwrap(), "{check}");
                }
            }
        }
    }
}
