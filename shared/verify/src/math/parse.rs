//! From tokens to an [`Expr`]: a recursive-descent parser whose depth is bounded.
//!
//! From loose to tight: items separated by `,` `;` `and` `or`; relations; ∪ ∩ ∖; sums; products (a factor next to
//! another is a product); signs; powers and postfixes; atoms. Quotients associate to the left, so `1/2x` is `x/2`.

use super::atom::starts_atom;
use super::bounds::{MAX_DEPTH, Stop, int};
use super::command;
use super::expr::{Constant, Expr, Function, Relation};
use super::token::{Lexeme, Token, tokens};

/// Reads a text as one mathematical object.
pub(super) fn parse(text: &str, decimal_comma: bool) -> Result<Expr, Stop> {
    let lexemes = tokens(text, decimal_comma)?;
    let mut parser = Parser { lexemes: &lexemes, at: 0, depth: 0, bars: 0 };
    let expr = parser.items()?;
    // A full stop or comma at the end is the sentence's.
    while matches!(parser.peek(), Some(Token::Comma | Token::Semicolon)) {
        parser.at += 1;
    }
    if parser.at < lexemes.len() { Err(Stop::Unread) } else { Ok(expr) }
}

pub(super) struct Parser<'t> {
    pub lexemes: &'t [Lexeme],
    pub at: usize,
    depth: usize,
    /// How many `|` are open, so that the next one closes.
    pub bars: usize,
}

impl<'t> Parser<'t> {
    pub(super) fn peek(&self) -> Option<&'t Token> {
        self.lexemes.get(self.at).map(|l| &l.token)
    }

    pub(super) fn peek_at(&self, ahead: usize) -> Option<&'t Token> {
        self.lexemes.get(self.at + ahead).map(|l| &l.token)
    }

    pub(super) fn take(&mut self, token: &Token) -> bool {
        let there = self.peek() == Some(token);
        self.at += usize::from(there);
        there
    }

    /// Runs one level deeper, refusing what is nested too deep.
    pub(super) fn nested<T>(&mut self, f: impl FnOnce(&mut Self) -> Result<T, Stop>) -> Result<T, Stop> {
        if self.depth >= MAX_DEPTH {
            return Err(Stop::Bound("nested too deep"));
        }
        self.depth += 1;
        let result = f(self);
        self.depth -= 1;
        result
    }

    /// Items without delimiters: one stands for itself, several are a list.
    pub(super) fn items(&mut self) -> Result<Expr, Stop> {
        self.nested(|p| {
            let mut items = vec![p.relation()?];
            let (mut and, mut or) = (0, 0);
            loop {
                let mut separated = false;
                while let Some(token @ (Token::Comma | Token::Semicolon | Token::And | Token::Or)) = p.peek()
                {
                    and += usize::from(*token == Token::And);
                    or += usize::from(*token == Token::Or);
                    p.at += 1;
                    separated = true;
                }
                if !separated || p.peek().is_none() {
                    break;
                }
                items.push(p.relation()?);
            }
            // "x < 1 or x > 2", "x > 1 and x < 2"
            let inequalities = items.iter().all(is_inequality);
            Ok(match (items.len(), and, or) {
                (1, ..) => items.remove(0),
                (_, 0, 1..) if inequalities => Expr::Union(items),
                (_, 1.., 0) if inequalities => Expr::Intersection(items),
                _ => Expr::List(items),
            })
        })
    }

    /// `a < b ≤ c`, or one side alone. A name in words before `=` or `:` is a symbol.
    pub(super) fn relation(&mut self) -> Result<Expr, Stop> {
        let mut sides = Vec::new();
        let mut operators = Vec::new();
        if let Some((name, operator)) = self.label() {
            match operator {
                Some(operator) => {
                    sides.push(Expr::Symbol(name));
                    operators.push(operator);
                }
                None => return self.relation(), // "Answer: 5"
            }
        }
        sides.push(self.measured()?);
        while let Some(Token::Relation(operator)) = self.peek() {
            self.at += 1;
            operators.push(*operator);
            sides.push(self.measured()?);
        }
        if operators.is_empty() {
            return Ok(sides.remove(0));
        }
        Ok(Expr::Relation { sides, operators })
    }

    /// Unions, intersections and differences of sets, left to right.
    pub(super) fn union(&mut self) -> Result<Expr, Stop> {
        let mut left = self.sum()?;
        loop {
            let is_u = matches!(self.peek(), Some(Token::Letter(u)) if u == "U")
                && matches!(left, Expr::Bracket { .. } | Expr::Union(_))
                && matches!(self.peek_at(1), Some(Token::Open(_)));
            match self.peek() {
                Some(Token::Union) => {}
                Some(Token::Intersection) => {
                    self.at += 1;
                    left = Expr::Intersection(vec![left, self.sum()?]);
                    continue;
                }
                Some(Token::Difference) => {
                    self.at += 1;
                    left = Expr::Difference(Box::new(left), Box::new(self.sum()?));
                    continue;
                }
                _ if is_u => {}
                _ => return Ok(left),
            }
            self.at += 1;
            let right = self.sum()?;
            left = match left {
                Expr::Union(mut parts) => {
                    parts.push(right);
                    Expr::Union(parts)
                }
                other => Expr::Union(vec![other, right]),
            };
        }
    }

    pub(super) fn sum(&mut self) -> Result<Expr, Stop> {
        self.nested(|p| {
            let mut terms = Vec::new();
            // The first term may have a sign; ± before it is either sign.
            terms.push(p.product()?);
            loop {
                let sign = match p.peek() {
                    Some(Token::Plus) => 1,
                    Some(Token::Minus) => -1,
                    Some(Token::PlusMinus) => 0,
                    _ => break,
                };
                p.at += 1;
                let term = p.product()?;
                terms.push(match sign {
                    1 => term,
                    -1 => negated(term),
                    _ => Expr::PlusMinus(Box::new(term)),
                });
            }
            Ok(if terms.len() == 1 { terms.remove(0) } else { Expr::Sum(terms) })
        })
    }

    fn product(&mut self) -> Result<Expr, Stop> {
        let mut left = vec![self.signed()?];
        loop {
            match self.peek() {
                Some(Token::Times) => {
                    self.at += 1;
                    left.push(self.signed()?);
                }
                Some(Token::Slash) => {
                    self.at += 1;
                    let below = self.signed()?;
                    let above = one_or_product(std::mem::take(&mut left));
                    // "1/2 %" is half of one per cent.
                    left.push(match (above, below) {
                        (above @ Expr::Number(_), Expr::Percent(inner)) => {
                            Expr::Percent(Box::new(Expr::Quotient(Box::new(above), inner)))
                        }
                        (above, below) => Expr::Quotient(Box::new(above), Box::new(below)),
                    });
                }
                // Two numerals next to each other are no product; "1 3/4" is a mixed number.
                Some(Token::Number { .. }) if self.after_number() => {
                    let whole = left.pop().ok_or(Stop::Unread)?;
                    let fraction = self.plain_fraction().ok_or(Stop::Unread)?;
                    let sum = mixed(&whole, fraction).ok_or(Stop::Unread)?;
                    left.push(self.postfix(sum)?);
                }
                Some(token) if self.starts_factor(token) => {
                    let fraction = matches!(token, Token::Frac | Token::Vulgar(_));
                    let factor = self.power()?;
                    let joined = left.last().filter(|_| fraction).and_then(|w| mixed(w, factor.clone()));
                    match (joined, left.last_mut()) {
                        (Some(sum), Some(last)) => *last = sum,
                        _ => left.push(factor),
                    }
                }
                _ => return Ok(one_or_product(left)),
            }
        }
    }

    /// Whether a factor begins here. A bar begins one only where none is open.
    fn starts_factor(&self, token: &Token) -> bool {
        let is_union = matches!(token, Token::Letter(u) if u == "U")
            && self.at > 0
            && matches!(self.lexemes[self.at - 1].token, Token::Close(_))
            && matches!(self.peek_at(1), Some(Token::Open(_)));
        (starts_atom(token) && !is_union && !self.is_unit_here()) || (*token == Token::Bar && self.bars == 0)
    }

    /// Whether the token before this one is a numeral.
    pub(super) fn after_number(&self) -> bool {
        self.at > 0 && matches!(self.lexemes[self.at - 1].token, Token::Number { .. })
    }

    /// A factor with signs before it.
    pub(super) fn signed(&mut self) -> Result<Expr, Stop> {
        match self.peek() {
            Some(Token::Plus) => {
                self.at += 1;
                self.nested(Self::signed)
            }
            Some(Token::Minus) => {
                self.at += 1;
                Ok(negated(self.nested(Self::signed)?))
            }
            Some(Token::PlusMinus) => {
                self.at += 1;
                Ok(Expr::PlusMinus(Box::new(self.nested(Self::signed)?)))
            }
            _ => self.power(),
        }
    }

    /// An atom with its postfixes and exponents. In `ab^2` they are the last letter's.
    pub(super) fn power(&mut self) -> Result<Expr, Stop> {
        let letters = matches!(self.peek(), Some(Token::Word(_)));
        match self.atom()? {
            Expr::Product(mut factors) if letters => {
                let last = factors.pop().ok_or(Stop::Unread)?;
                factors.push(self.postfix(last)?);
                Ok(Expr::Product(factors))
            }
            base => self.postfix(base),
        }
    }

    pub(super) fn postfix(&mut self, mut base: Expr) -> Result<Expr, Stop> {
        for _ in 0..MAX_DEPTH / 4 {
            match self.peek() {
                Some(Token::Caret) => {
                    self.at += 1;
                    if self.degree_exponent() {
                        base = degrees(base);
                        continue;
                    }
                    let exponent = self.nested(|p| p.exponent())?;
                    base = Expr::Power(Box::new(base), Box::new(exponent));
                }
                Some(Token::Bang) => {
                    self.at += 1;
                    base = Expr::Call(Function::Factorial, vec![base]);
                }
                Some(Token::Percent) => {
                    self.at += 1;
                    base = Expr::Percent(Box::new(base));
                }
                Some(Token::Degree) if !matches!(self.peek_at(1), Some(Token::Letter(l)) if l == "C" || l == "F") =>
                {
                    self.at += 1;
                    base = degrees(base);
                }
                _ => return Ok(base),
            }
        }
        Err(Stop::Bound("nested too deep"))
    }

    /// `^\circ` and `^{\circ}`.
    fn degree_exponent(&mut self) -> bool {
        if self.take(&Token::Degree) {
            return true;
        }
        let braced = self.peek() == Some(&Token::GroupOpen)
            && self.peek_at(1) == Some(&Token::Degree)
            && self.peek_at(2) == Some(&Token::GroupClose);
        self.at += if braced { 3 } else { 0 };
        braced
    }

    /// What follows `^`: a sign, an atom, and its own exponent (powers associate to the right).
    fn exponent(&mut self) -> Result<Expr, Stop> {
        match self.peek() {
            Some(Token::Minus) => {
                self.at += 1;
                Ok(negated(self.nested(Self::exponent)?))
            }
            Some(Token::Plus) => {
                self.at += 1;
                self.nested(Self::exponent)
            }
            _ => {
                let base = self.atom()?;
                if self.take(&Token::Caret) {
                    let exponent = self.nested(Self::exponent)?;
                    return Ok(Expr::Power(Box::new(base), Box::new(exponent)));
                }
                if self.take(&Token::Bang) {
                    return Ok(Expr::Call(Function::Factorial, vec![base]));
                }
                Ok(base)
            }
        }
    }

    /// Letters of a word that is no name: a product of variables.
    pub(super) fn letters_of(&self, word: &str) -> Result<Expr, Stop> {
        if word.len() > 3 || !word.is_ascii() || command::is_english(word) {
            return Err(Stop::Unread);
        }
        let letters = word.chars().map(|c| match command::named(&c.to_string()) {
            Token::Constant(constant) => Expr::Constant(constant),
            _ => Expr::Symbol(c.to_string()),
        });
        Ok(Expr::Product(letters.collect()))
    }
}

fn is_inequality(e: &Expr) -> bool {
    matches!(e, Expr::Relation { operators, .. }
        if operators.iter().all(|o| !matches!(o, Relation::Equal | Relation::In)))
}

/// `e °`.
fn degrees(e: Expr) -> Expr {
    Expr::Product(vec![e, Expr::Constant(Constant::Degree)])
}

/// The expression with the other sign; a number keeps being a number.
pub(super) fn negated(e: Expr) -> Expr {
    match e {
        Expr::Number(n) => Expr::Number(-n),
        Expr::PlusMinus(e) => Expr::PlusMinus(e),
        e => Expr::Product(vec![Expr::Number(int(-1)), e]),
    }
}

fn one_or_product(mut factors: Vec<Expr>) -> Expr {
    if factors.len() == 1 { factors.remove(0) } else { Expr::Product(factors) }
}

/// `2 \frac{1}{2}`: an integer before a proper fraction of natural numbers is their sum; the sign is that of the whole.
fn mixed(whole: &Expr, fraction: Expr) -> Option<Expr> {
    let Expr::Number(w) = whole else { return None };
    // What follows the fraction belongs to the whole: "7\\frac12 %", "7\\frac12 °".
    let fraction = match fraction {
        Expr::Percent(inner) => return Some(Expr::Percent(Box::new(mixed(whole, *inner)?))),
        Expr::Product(factors) => match factors.as_slice() {
            [inner, Expr::Constant(Constant::Degree)] => return Some(degrees(mixed(whole, inner.clone())?)),
            _ => return None,
        },
        fraction => fraction,
    };
    let proper = match &fraction {
        Expr::Quotient(n, d) => match (n.as_ref(), d.as_ref()) {
            (Expr::Number(n), Expr::Number(d)) => n.is_integer() && d.is_integer() && *n > int(0) && n < d,
            _ => false,
        },
        Expr::Number(n) => *n > int(0) && *n < int(1),
        _ => false,
    };
    if !proper || !w.is_integer() {
        return None;
    }
    let fraction = if *w < int(0) { negated(fraction) } else { fraction };
    Some(Expr::Sum(vec![whole.clone(), fraction]))
}
