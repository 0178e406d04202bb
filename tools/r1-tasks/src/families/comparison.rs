//! Comparison: the largest or smallest of whole numbers, decimals or fractions.

use super::{Problem, columns};
use crate::draw::Draw;
use crate::language::{Language, list};
use crate::range::Range;
use crate::worked::{Hint, Worked};
use serde_json::{Map, Value};

/// What kind of numbers are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// Whole numbers: 37 and 5.
    Integer,
    /// Numbers with one or two places: 9.11 and 9.9.
    Decimal,
    /// Fractions: 3/4 and 5/7.
    Fraction,
}

/// How hard the comparisons are.
#[derive(Clone, Debug)]
pub struct Difficulty {
    /// How many numbers are compared.
    pub compared: Range,
    /// Between which bounds they lie (the whole part of a decimal; numerator and denominator of a fraction).
    pub sizes: Range,
    /// Which kinds, each as likely as the other.
    pub kinds: Vec<Kind>,
}

/// A number as it is written, with its value as a fraction in whole numbers (denominator positive).
#[derive(Clone, Debug, PartialEq)]
struct Number {
    text: String,
    numerator: i128,
    denominator: i128,
}

impl Number {
    fn draw(kind: Kind, sizes: Range, draw: &mut Draw) -> Number {
        let size = draw.between(sizes.low, sizes.high);
        match kind {
            Kind::Integer => Number { text: size.to_string(), numerator: size.into(), denominator: 1 },
            Kind::Decimal => {
                let places = draw.between(1, 2) as u32;
                let unit = 10i64.pow(places);
                let rest = draw.between(1, unit - 1);
                let sign = if size < 0 { -1 } else { 1 };
                let numerator = i128::from(size) * i128::from(unit) + sign * i128::from(rest);
                let text = format!("{size}.{rest:0width$}", width = places as usize);
                Number { text, numerator, denominator: unit.into() }
            }
            Kind::Fraction => {
                // A denominator of at least 2: anything over 1 would be a whole number in disguise.
                let denominator = draw.between(sizes.low.max(2), sizes.high.max(2));
                let text = format!("{size}/{denominator}");
                Number { text, numerator: size.into(), denominator: denominator.into() }
            }
        }
    }

    fn order(&self, other: &Number) -> std::cmp::Ordering {
        (self.numerator * other.denominator).cmp(&(other.numerator * self.denominator))
    }
}

/// One question: which number is the largest (or smallest).
#[derive(Clone, Debug, PartialEq)]
pub struct Comparison {
    kind: Kind,
    numbers: Vec<Number>,
    largest: bool,
}

impl Comparison {
    /// Draws numbers of different values; none where the difficulty does not have that many.
    pub fn draw(difficulty: &Difficulty, draw: &mut Draw) -> Option<Comparison> {
        for _ in 0..500 {
            let kind = *draw.pick(&difficulty.kinds);
            let count = draw.between(difficulty.compared.low, difficulty.compared.high) as usize;
            let numbers: Vec<Number> =
                (0..count).map(|_| Number::draw(kind, difficulty.sizes, draw)).collect();
            let largest = draw.chance(0.5);
            let alike = |i: usize| numbers[..i].iter().any(|other| other.order(&numbers[i]).is_eq());
            if !(1..count).any(alike) {
                return Some(Comparison { kind, numbers, largest });
            }
        }
        None
    }

    fn sorted(&self) -> Vec<&Number> {
        let mut sorted: Vec<&Number> = self.numbers.iter().collect();
        sorted.sort_by(|a, b| a.order(b));
        sorted
    }

    fn best(&self) -> &Number {
        let sorted = self.sorted();
        if self.largest { sorted[sorted.len() - 1] } else { sorted[0] }
    }

    /// The comparison of two numbers in steps that only compare whole numbers or equally long decimals.
    fn compare(&self, a: &Number, b: &Number, steps: &mut Vec<String>) {
        let sign = if a.order(b).is_gt() { '>' } else { '<' };
        match self.kind {
            Kind::Integer => steps.push(format!("{} {sign} {}", a.text, b.text)),
            Kind::Decimal => {
                let places =
                    |number: &Number| number.text.len() - number.text.find('.').map_or(0, |dot| dot + 1);
                let most = places(a).max(places(b));
                let pad = |number: &Number| format!("{}{}", number.text, "0".repeat(most - places(number)));
                steps.push(format!("{} {sign} {}", pad(a), pad(b)));
            }
            Kind::Fraction => {
                let (left, right) = (a.numerator * b.denominator, b.numerator * a.denominator);
                steps.push(format!("{} * {} = {left}", a.numerator, b.denominator));
                steps.push(format!("{} * {} = {right}", b.numerator, a.denominator));
                steps.push(format!("{left} {sign} {right}"));
            }
        }
    }
}

impl Problem for Comparison {
    fn canonical(&self) -> String {
        let sorted: Vec<&str> = self.sorted().into_iter().map(|number| number.text.as_str()).collect();
        format!("compare {}", sorted.join(", "))
    }

    fn task(&self) -> &'static str {
        "math"
    }

    fn difficulty(&self) -> Map<String, Value> {
        let kind = match self.kind {
            Kind::Integer => "integer",
            Kind::Decimal => "decimal",
            Kind::Fraction => "fraction",
        };
        columns([("kind", kind.into()), ("compared", self.numbers.len().into())])
    }

    fn phrasings(&self, language: Language) -> Vec<String> {
        let texts: Vec<&str> = self.numbers.iter().map(|number| number.text.as_str()).collect();
        let numbers = list(&texts, language);
        match (language, &texts[..]) {
            (Language::English, [a, b]) => {
                let word = if self.largest { "larger" } else { "smaller" };
                vec![
                    format!("Which number is {word}: {a} or {b}?"),
                    format!("Which is {word}, {a} or {b}?"),
                    format!("Name the {word} one of {a} and {b}."),
                ]
            }
            (Language::English, _) => {
                let word = if self.largest { "largest" } else { "smallest" };
                vec![
                    format!("Which number is the {word}: {numbers}?"),
                    format!("Find the {word} of these numbers: {numbers}."),
                    format!("Name the {word} among {numbers}."),
                ]
            }
            (Language::Chinese, [a, b]) => {
                let word = if self.largest { "大" } else { "小" };
                vec![
                    format!("{a} 和 {b} 哪个更{word}？"),
                    format!("比较 {a} 和 {b}，较{word}的数是哪个？"),
                    format!("请说出 {a} 和 {b} 中较{word}的数。"),
                ]
            }
            (Language::Chinese, _) => {
                let word = if self.largest { "大" } else { "小" };
                vec![
                    format!("{numbers} 中哪个数最{word}？"),
                    format!("找出最{word}的数：{numbers}。"),
                    format!("请说出 {numbers} 中最{word}的数。"),
                ]
            }
        }
    }

    fn work(&self, _language: Language) -> Worked {
        let mut steps = Vec::new();
        let mut best = &self.numbers[0];
        for number in &self.numbers[1..] {
            self.compare(best, number, &mut steps);
            if number.order(best).is_gt() == self.largest {
                best = number;
            }
        }
        let sorted: Vec<&str> = self.sorted().into_iter().map(|number| number.text.as_str()).collect();
        Worked {
            hint: Hint::Nothing,
            steps,
            running: false,
            check: sorted.join(" < "),
            answer: best.text.clone(),
        }
    }

    fn wrong_answer(&self, _language: Language, draw: &mut Draw) -> String {
        let others: Vec<&Number> = self.numbers.iter().filter(|number| *number != self.best()).collect();
        draw.pick(&others).text.clone()
    }
}
