//! Computes what r1-tasks claims, by other means: a shunting yard over fractions for expressions, Julian day numbers for dates.

use std::iter::Peekable;
use std::str::Chars;

/// An exact fraction; the denominator is positive.
#[derive(Clone, Copy, Debug)]
pub struct Fraction(pub i128, pub i128);

impl PartialEq for Fraction {
    fn eq(&self, other: &Fraction) -> bool {
        self.0 * other.1 == other.0 * self.1
    }
}

impl Fraction {
    fn apply(self, sign: char, other: Fraction) -> Option<Fraction> {
        Some(match sign {
            '+' => Fraction(self.0 * other.1 + other.0 * self.1, self.1 * other.1),
            '-' => Fraction(self.0 * other.1 - other.0 * self.1, self.1 * other.1),
            '*' => Fraction(self.0 * other.0, self.1 * other.1),
            '/' if other.0 == 0 => return None,
            '/' => Fraction(self.0 * other.1 * other.0.signum(), self.1 * other.0.abs()),
            _ => return None,
        })
    }
}

/// A number, a sign (`+ - * /`) or a parenthesis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Token {
    Number(i128),
    Sign(char),
    Open,
    Close,
}

/// Cuts an expression into tokens; a minus where a number must begin belongs to the number.
pub fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut tokens: Vec<Token> = Vec::new();
    let mut chars = text.chars().peekable();
    while let Some(&c) = chars.peek() {
        let number_next = !matches!(tokens.last(), Some(Token::Number(_) | Token::Close));
        match c {
            ' ' => {
                chars.next();
            }
            '(' | ')' => {
                chars.next();
                tokens.push(if c == '(' { Token::Open } else { Token::Close });
            }
            '-' if number_next => {
                chars.next();
                tokens.push(Token::Number(-digits(&mut chars)?));
            }
            '+' | '-' | '*' | '/' => {
                chars.next();
                tokens.push(Token::Sign(c));
            }
            _ => tokens.push(Token::Number(digits(&mut chars)?)),
        }
    }
    Some(tokens)
}

fn digits(chars: &mut Peekable<Chars>) -> Option<i128> {
    let mut text = String::new();
    while let Some(c) = chars.next_if(char::is_ascii_digit) {
        text.push(c);
    }
    text.parse().ok()
}

/// The exact value, by Dijkstra's shunting yard. None for what is no expression, and for division by zero.
pub fn value(text: &str) -> Option<Fraction> {
    fn reduce(values: &mut Vec<Fraction>, sign: char) -> Option<()> {
        let (right, left) = (values.pop()?, values.pop()?);
        values.push(left.apply(sign, right)?);
        Some(())
    }
    let rank = |sign: char| if "*/".contains(sign) { 2 } else { 1 };
    let mut values = Vec::new();
    let mut waiting: Vec<char> = Vec::new();
    for token in tokens(text)? {
        match token {
            Token::Number(number) => values.push(Fraction(number, 1)),
            Token::Open => waiting.push('('),
            Token::Close => loop {
                match waiting.pop()? {
                    '(' => break,
                    sign => reduce(&mut values, sign)?,
                }
            },
            Token::Sign(sign) => {
                while let Some(&top) = waiting.last().filter(|&&top| top != '(' && rank(top) >= rank(sign)) {
                    waiting.pop();
                    reduce(&mut values, top)?;
                }
                waiting.push(sign);
            }
        }
    }
    while let Some(sign) = waiting.pop() {
        reduce(&mut values, sign)?;
    }
    values.pop().filter(|_| values.is_empty())
}

/// What comes out if one reads from left to right and minds nothing (divisions drop their remainder).
pub fn left_to_right(text: &str) -> Option<i128> {
    let tokens: Vec<Token> =
        tokens(text)?.into_iter().filter(|t| !matches!(t, Token::Open | Token::Close)).collect();
    let Some(Token::Number(mut value)) = tokens.first().copied() else { return None };
    for pair in tokens[1..].chunks(2) {
        let [Token::Sign(sign), Token::Number(number)] = *pair else { return None };
        value = match sign {
            '+' => value + number,
            '-' => value - number,
            '*' => value * number,
            _ => value.checked_div(number)?,
        };
    }
    Some(value)
}

/// Whether every part of `a op b = c, d op e = f` holds; gives the last result.
pub fn steps_hold(steps: &str) -> Result<i128, String> {
    let mut last = None;
    for step in steps.split(", ") {
        let (formula, result) = step.rsplit_once(" = ").ok_or_else(|| format!("no step: {step}"))?;
        let result: i128 = result.parse().map_err(|_| format!("no result: {step}"))?;
        let signs =
            tokens(formula).unwrap_or_default().into_iter().filter(|t| matches!(t, Token::Sign(_))).count();
        if signs != 1 || value(formula) != Some(Fraction(result, 1)) {
            return Err(format!("wrong: {step}"));
        }
        last = Some(result);
    }
    last.ok_or_else(|| "no steps".to_owned())
}

/// The Julian day number of a Gregorian date (Fliegel and Van Flandern, 1968); divisions truncate.
pub fn julian_day(year: i64, month: i64, day: i64) -> i64 {
    let a = (month - 14) / 12;
    (1461 * (year + 4800 + a)) / 4 + (367 * (month - 2 - 12 * a)) / 12 - (3 * ((year + 4900 + a) / 100)) / 4
        + day
        - 32075
}

/// The Julian day number of `YYYY-MM-DD`.
pub fn julian_day_of(date: &str) -> i64 {
    let parts: Vec<i64> = date.split('-').map(|part| part.parse().expect("a date")).collect();
    julian_day(parts[0], parts[1], parts[2])
}

/// Minutes since midnight of `HH:MM`.
pub fn minutes_of(time: &str) -> i64 {
    let (hours, minutes) = time.split_once(':').expect("a time");
    60 * hours.parse::<i64>().expect("hours") + minutes.parse::<i64>().expect("minutes")
}

/// The pieces of a text that consist of digits and the given characters, without those that hold no digit and without
/// such characters at their ends.
pub fn pieces<'a>(text: &'a str, also: &str) -> Vec<&'a str> {
    text.split(|c: char| !c.is_ascii_digit() && !also.contains(c))
        .map(|piece| {
            piece.trim_matches(|c: char| !c.is_ascii_digit() && c != '-' && c != '(' && c != ')').trim()
        })
        .filter(|piece| piece.chars().any(|c| c.is_ascii_digit()))
        .collect()
}

/// The one expression in a question.
pub fn expression(prompt: &str) -> &str {
    let found = pieces(prompt, "+-*/() ");
    assert_eq!(found.len(), 1, "not one expression: {prompt}");
    found[0]
}

#[test]
fn the_oracle_itself() {
    let is = |text: &str, number: i128| assert_eq!(value(text), Some(Fraction(number, 1)), "{text}");
    is("2 + 3 * 4", 14);
    is("(2 + 3) * 4", 20);
    is("10 - 4 - 3", 3);
    is("-3 * (-4) - (1 - (-2))", 9);
    assert_eq!(value("7 / 2 * 2"), Some(Fraction(7, 1)));
    assert_eq!(value("1 / (2 - 2)"), None);
    assert_eq!(value("1 +"), None);
    assert_eq!(left_to_right("2 + 3 * 4"), Some(20));
    assert_eq!(steps_hold("3 * 4 = 12, 2 + 12 = 14"), Ok(14));
    assert!(steps_hold("3 * 4 = 13").is_err());
    assert_eq!(julian_day(2000, 1, 1), 2_451_545);
    assert_eq!(julian_day_of("1970-01-01") % 7, 3, "a Thursday; Monday is 0");
    assert_eq!(expression("What is 2 + 3 * 4?"), "2 + 3 * 4");
    assert_eq!(expression("2 * (3 - 5) = ?"), "2 * (3 - 5)");
}
