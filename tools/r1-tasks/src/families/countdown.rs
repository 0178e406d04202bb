//! Countdown: reach a target from given numbers, each used at most once.

use super::{Problem, columns};
use crate::draw::Draw;
use crate::expression::{Expression, Operation, Step};
use crate::language::{Language, list};
use crate::range::Range;
use crate::worked::{Hint, Worked};
use serde_json::{Map, Value};

/// How hard the puzzles are.
#[derive(Clone, Debug)]
pub struct Difficulty {
    /// How many numbers are given.
    pub tiles: Range,
    /// Between which bounds they lie.
    pub tile_values: Range,
    /// Between which bounds the target lies.
    pub targets: Range,
}

/// One puzzle, with the solution it was made from.
#[derive(Clone, Debug, PartialEq)]
pub struct Countdown {
    tiles: Vec<i64>,
    target: i64,
    solution: Expression,
    used: usize,
}

impl Countdown {
    /// Draws a puzzle that has a solution with at least two numbers; none where the difficulty allows (next to) none.
    pub fn draw(difficulty: &Difficulty, draw: &mut Draw) -> Option<Countdown> {
        for _ in 0..5000 {
            let count = draw.between(difficulty.tiles.low, difficulty.tiles.high) as usize;
            let bounds = difficulty.tile_values;
            let tiles: Vec<i64> = (0..count).map(|_| draw.between(bounds.low, bounds.high)).collect();
            let used = draw.between(2, count as i64) as usize;
            let Some(solution) = combine(&tiles, used, draw) else { continue };
            let Some(target) = solution.value() else { continue };
            let within = (difficulty.targets.low..=difficulty.targets.high).contains(&target);
            if within && !tiles.contains(&target) {
                return Some(Countdown { tiles, target, solution, used });
            }
        }
        None
    }
}

/// Combines `used` of the tiles, two at a time. Every number on the way is positive, and no operation is idle
/// (`x * 1`, `x / 1`, or a difference that only gives back the number taken away).
fn combine(tiles: &[i64], used: usize, draw: &mut Draw) -> Option<Expression> {
    let mut pool: Vec<i64> = tiles.to_vec();
    draw.shuffle(&mut pool);
    let mut pool: Vec<Expression> = pool.into_iter().take(used).map(Expression::Number).collect();
    while pool.len() > 1 {
        let right = pool.swap_remove(draw.below(pool.len() as u64) as usize);
        let left = pool.swap_remove(draw.below(pool.len() as u64) as usize);
        let operation = *draw.pick(&Operation::ALL);
        let (a, b) = (left.value()?, right.value()?);
        let result = operation.apply(a, b)?;
        if result < 1 || result == a || result == b {
            return None;
        }
        pool.push(Expression::binary(left, operation, right));
    }
    pool.pop()
}

impl Problem for Countdown {
    fn canonical(&self) -> String {
        let mut sorted = self.tiles.clone();
        sorted.sort_unstable();
        format!("countdown {} -> {}", list(&sorted, Language::English), self.target)
    }

    fn task(&self) -> &'static str {
        "countdown"
    }

    fn difficulty(&self) -> Map<String, Value> {
        let largest = self.tiles.iter().max().copied().unwrap_or(0);
        columns([("tiles", self.tiles.len().into()), ("used", self.used.into()), ("largest", largest.into())])
    }

    fn columns(&self) -> Map<String, Value> {
        columns([("nums", self.tiles.clone().into()), ("target", self.target.into())])
    }

    fn phrasings(&self, language: Language) -> Vec<String> {
        let (tiles, target) = (list(&self.tiles, language), self.target);
        match language {
            Language::English => vec![
                format!("Make {target} from {tiles}. Use each number at most once."),
                format!(
                    "Write an expression with value {target}. You have the numbers {tiles}, each at most once, and + - * /."
                ),
                format!("How can you reach {target} with {tiles}, using each number once at most?"),
            ],
            Language::Chinese => vec![
                format!("用 {tiles} 算出 {target}，每个数最多用一次。"),
                format!("写一个等于 {target} 的算式，可用的数是 {tiles}，每个最多用一次，只用 + - * /。"),
                format!("怎样用 {tiles} 得到 {target}？每个数最多用一次。"),
            ],
        }
    }

    fn work(&self, _language: Language) -> Worked {
        let steps = self.solution.steps().expect("the puzzle was made from its solution");
        Worked {
            hint: Hint::Nothing,
            steps: steps.iter().map(Step::to_string).collect(),
            running: false,
            check: format!("{} = {}", self.solution, self.target),
            answer: self.solution.to_string(),
        }
    }

    /// The solution with another sign in one place, or else one of the given numbers alone (which is never the
    /// target): nothing that solves the puzzle.
    fn wrong_answer(&self, _language: Language, draw: &mut Draw) -> String {
        fn swap(expression: &Expression, at: &mut usize, operation: Operation) -> Expression {
            match expression {
                Expression::Number(number) => Expression::Number(*number),
                Expression::Binary(left, own, right) => {
                    let left = swap(left, at, operation);
                    let right = swap(right, at, operation);
                    let here = *at == 0;
                    *at = at.wrapping_sub(1);
                    Expression::binary(left, if here { operation } else { *own }, right)
                }
            }
        }
        let mut at = draw.below(self.used as u64 - 1) as usize;
        let wrong = swap(&self.solution, &mut at, *draw.pick(&Operation::ALL));
        if wrong.value() == Some(self.target) { self.tiles[0].to_string() } else { wrong.to_string() }
    }
}
