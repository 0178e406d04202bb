//! Quantities: numbers with units, currencies and words for large counts, and the labels before them.

use super::bounds::{Stop, int};
use super::expr::{Expr, Relation};
use super::parse::Parser;
use super::token::Token;
use super::unit::{self, Unit};

impl Parser<'_> {
    /// Words that name what follows: `Area =`, `the total is`, `Answer:`. Taken only where one of these joins follows.
    pub(super) fn label(&mut self) -> Option<(String, Option<Relation>)> {
        let mut name = Vec::new();
        let mut ahead = 0;
        while let Some(Token::Word(word)) = self.peek_at(ahead) {
            ahead += 1;
            if matches!(word.as_str(), "is" | "are" | "equals") && !name.is_empty() {
                self.at += ahead;
                return Some((name.join(" "), Some(Relation::Equal)));
            }
            name.push(word.clone());
        }
        if name.is_empty() || (name.len() == 1 && name[0].chars().count() <= 3 && name[0].is_ascii()) {
            return None;
        }
        let joined = match self.peek_at(ahead)? {
            Token::Relation(Relation::Equal) => Some(Relation::Equal),
            Token::Colon => None,
            _ => return None,
        };
        self.at += ahead + 1;
        Some((name.join(" "), joined))
    }

    /// A union, with a unit after it or a currency before it.
    pub(super) fn measured(&mut self) -> Result<Expr, Stop> {
        let mut currency = None;
        if let Some(Token::Currency(code)) = self.peek() {
            self.at += 1;
            currency = Some(*code);
        } else if let (Some(Token::Minus), Some(Token::Currency(code))) = (self.peek(), self.peek_at(1)) {
            // "-$5"
            self.at += 2;
            let value = Expr::Product(vec![Expr::Number(int(-1)), self.union()?]);
            return Ok(Expr::Measured(Box::new(self.scaled(value)), unit::compose(&[(code.to_string(), 1)])));
        }
        let value = self.union()?;
        let value = self.scaled(value);
        let value = self.ratio(value)?;
        let written = match self.peek() {
            Some(Token::Currency(code)) => {
                self.at += 1;
                Some(unit::compose(&[(code.to_string(), 1)]))
            }
            _ => self.unit(),
        };
        let unit = match (currency, written) {
            (Some(code), None) => Some(unit::compose(&[(code.to_string(), 1)])),
            (Some(code), Some(written)) => match &written {
                // "$18 dollars", "$18 per day".
                Unit::Known { .. } => Some(written),
                Unit::Noun(_) => Some(unit::compose(&[(code.to_string(), 1)])),
            },
            (None, written) => written,
        };
        match unit {
            // Words after anything but a number are a sentence.
            Some(Unit::Noun(_)) if !has_number(&value) => Err(Stop::Unread),
            Some(unit) => Ok(Expr::Measured(Box::new(value), unit)),
            None => Ok(value),
        }
    }

    /// `2 million`.
    fn scaled(&mut self, value: Expr) -> Expr {
        match self.peek() {
            Some(Token::Word(word)) => match unit::scale_word(word) {
                Some(scale) => {
                    self.at += 1;
                    Expr::Product(vec![value, Expr::Number(scale)])
                }
                None => value,
            },
            _ => value,
        }
    }

    /// `3/4`, taken only where both are numerals.
    pub(super) fn plain_fraction(&mut self) -> Option<Expr> {
        let (Token::Number { value: n, .. }, Token::Slash, Token::Number { value: d, .. }) =
            (self.peek()?, self.peek_at(1)?, self.peek_at(2)?)
        else {
            return None;
        };
        self.at += 3;
        Some(Expr::Quotient(Box::new(Expr::Number(n.clone())), Box::new(Expr::Number(d.clone()))))
    }

    /// `3 : 4`.
    fn ratio(&mut self, first: Expr) -> Result<Expr, Stop> {
        if self.peek() != Some(&Token::Colon) {
            return Ok(first);
        }
        let mut parts = vec![first];
        while self.take(&Token::Colon) {
            parts.push(self.sum()?);
        }
        Ok(Expr::Ratio(parts))
    }

    /// The unit that stands here, up to the end of the item.
    fn unit(&mut self) -> Option<Unit> {
        let mut parts: Vec<(String, i8)> = Vec::new();
        let mut sign = 1i8;
        let start = self.at;
        loop {
            match self.peek() {
                Some(Token::Word(text)) => {
                    for word in text.split([' ', '-', '/']).filter(|w| !w.is_empty()) {
                        match word {
                            "per" => sign = -1,
                            "of" | "the" | "a" | "an" if parts.is_empty() => {}
                            _ => parts.push((word.trim_end_matches('.').to_string(), sign)),
                        }
                    }
                    // "km/h" within one \text{…}
                    if let Some((_, after)) = text.split_once('/') {
                        let below = after.split([' ', '-', '/']).filter(|w| !w.is_empty()).count();
                        let from = parts.len().saturating_sub(below);
                        parts[from..].iter_mut().for_each(|(_, power)| *power = -power.abs());
                    }
                    self.at += 1;
                }
                Some(Token::Letter(letter)) => {
                    parts.push((letter.clone(), sign));
                    self.at += 1;
                }
                Some(Token::Slash) if !parts.is_empty() => {
                    sign = -1;
                    self.at += 1;
                }
                Some(Token::Times) if !parts.is_empty() => self.at += 1,
                Some(Token::Caret) if !parts.is_empty() => {
                    self.at += 1;
                    let power = self.small_power();
                    match (power, parts.last_mut()) {
                        (Some(power), Some((_, p))) => *p = p.saturating_mul(power),
                        _ => {
                            self.at = start;
                            return None;
                        }
                    }
                }
                Some(Token::Degree) if parts.is_empty() => match self.peek_at(1) {
                    // "°C"
                    Some(Token::Letter(letter)) if matches!(letter.as_str(), "C" | "F") => {
                        let name = if letter == "C" { "celsius" } else { "fahrenheit" };
                        self.at += 2;
                        parts.push((name.to_string(), 1));
                    }
                    _ => break,
                },
                _ => break,
            }
        }
        if parts.is_empty() {
            self.at = start;
            return None;
        }
        Some(unit::compose(&parts))
    }

    /// Whether what stands here is a unit and not a factor.
    pub(super) fn is_unit_here(&self) -> bool {
        let after_number = self.after_number();
        match self.peek() {
            // "5 cat" is a noun, "5 ab" and "5abc" are products.
            Some(Token::Word(word)) => {
                let noun = word.len() == 3 && self.lexemes[self.at].spaced && after_number;
                noun || !word.is_ascii() || word.len() > 3 || unit::lookup(word).is_some()
            }
            // "5 m": a number, a space, one letter that names a unit, and no more.
            Some(Token::Letter(letter)) => {
                let ends = matches!(self.peek_at(1), None | Some(Token::Slash | Token::Comma | Token::Caret));
                self.lexemes[self.at].spaced && after_number && ends && unit::lookup(letter).is_some()
            }
            _ => false,
        }
    }

    /// The exponent of a unit: a small integer, bare or in braces.
    fn small_power(&mut self) -> Option<i8> {
        let braced = self.take(&Token::GroupOpen);
        let negative = self.take(&Token::Minus);
        let Some(Token::Number { value, .. }) = self.peek() else { return None };
        let power: i8 = value.is_integer().then(|| value.to_integer().try_into().ok()).flatten()?;
        self.at += 1;
        if braced && !self.take(&Token::GroupClose) {
            return None;
        }
        Some(if negative { -power } else { power })
    }
}

/// Whether a numeral is in it.
fn has_number(e: &Expr) -> bool {
    match e {
        Expr::Number(_) | Expr::InBase { .. } => true,
        Expr::Sum(parts) | Expr::Product(parts) | Expr::Call(_, parts) | Expr::Ratio(parts) => {
            parts.iter().any(has_number)
        }
        Expr::Quotient(a, b) | Expr::Power(a, b) => has_number(a) || has_number(b),
        Expr::Percent(inner) | Expr::PlusMinus(inner) => has_number(inner),
        _ => false,
    }
}
