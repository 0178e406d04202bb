//! The innermost parts of an expression: numerals, names, calls, brackets, fractions, roots, matrices.

use super::bounds::{Rational, Stop, int};
use super::expr::{Delimiter, Expr, Function, Relation};
use super::parse::Parser;
use super::token::Token;

/// Whether a token can begin a factor that stands next to another.
pub(super) fn starts_atom(token: &Token) -> bool {
    matches!(
        token,
        Token::Number { .. }
            | Token::Vulgar(_)
            | Token::Letter(_)
            | Token::Word(_)
            | Token::Constant(_)
            | Token::Function(_)
            | Token::Frac
            | Token::Sqrt
            | Token::Binom
            | Token::Open(Delimiter::Round | Delimiter::Square)
            | Token::GroupOpen
            | Token::Floor(true)
            | Token::Ceil(true)
            | Token::Begin(_)
    )
}

impl Parser<'_> {
    /// One atom.
    pub(super) fn atom(&mut self) -> Result<Expr, Stop> {
        let token = self.peek().ok_or(Stop::Unread)?;
        self.at += 1;
        match token {
            Token::Number { value, digits } => self.based(value, digits.as_deref()),
            Token::Vulgar(value) => Ok(Expr::Number(value.clone())),
            Token::Constant(constant) => Ok(Expr::Constant(*constant)),
            Token::Letter(name) => self.symbol(name),
            Token::Word(word) => self.letters_of(word),
            Token::Frac => {
                let above = self.argument()?;
                let below = self.argument()?;
                Ok(Expr::Quotient(Box::new(above), Box::new(below)))
            }
            Token::Sqrt => {
                let mut index = Expr::Number(int(2));
                if self.peek() == Some(&Token::Open(Delimiter::Square)) {
                    self.at += 1;
                    index = self.sum()?;
                    self.close(&Token::Close(Delimiter::Square))?;
                }
                let radicand = self.argument()?;
                Ok(Expr::Call(Function::Root, vec![radicand, index]))
            }
            Token::Binom => Ok(Expr::Call(Function::Binomial, vec![self.argument()?, self.argument()?])),
            Token::Function(function) => self.call(*function),
            Token::Open(delimiter) => self.bracket(*delimiter),
            Token::GroupOpen => {
                let inner = self.items()?;
                self.close(&Token::GroupClose)?;
                // "{1, 2}" in plain text is a set; "{x}" only groups.
                Ok(match inner {
                    Expr::List(items) => {
                        Expr::Bracket { open: Delimiter::Curly, close: Delimiter::Curly, items }
                    }
                    one => one,
                })
            }
            Token::Bar => {
                self.bars += 1;
                let inner = self.sum()?;
                self.bars -= 1;
                self.close(&Token::Bar)?;
                Ok(Expr::Call(Function::Abs, vec![inner]))
            }
            Token::Floor(true) => self.enclosed(Function::Floor, &Token::Floor(false)),
            Token::Ceil(true) => self.enclosed(Function::Ceil, &Token::Ceil(false)),
            Token::EmptySet => Ok(Expr::EmptySet),
            Token::NumberSet(letter) => Ok(Expr::NumberSet(*letter)),
            Token::Begin(environment) => self.matrix(environment),
            _ => Err(Stop::Unread),
        }
    }

    fn close(&mut self, token: &Token) -> Result<(), Stop> {
        if self.take(token) { Ok(()) } else { Err(Stop::Unread) }
    }

    fn enclosed(&mut self, function: Function, close: &Token) -> Result<Expr, Stop> {
        let inner = self.sum()?;
        self.close(close)?;
        Ok(Expr::Call(function, vec![inner]))
    }

    /// The argument of `\frac` and its like: a group, a parenthesis, or one atom.
    fn argument(&mut self) -> Result<Expr, Stop> {
        self.nested(|p| {
            if p.take(&Token::GroupOpen) {
                let inner = p.sum()?;
                p.close(&Token::GroupClose)?;
                return Ok(inner);
            }
            p.atom()
        })
    }

    /// A numeral with an optional base as subscript.
    fn based(&mut self, value: &Rational, digits: Option<&str>) -> Result<Expr, Stop> {
        if let (Some(digits), Some(Token::Underscore)) = (digits, self.peek()) {
            self.at += 1;
            let braced = self.take(&Token::GroupOpen);
            let base = match self.peek() {
                Some(Token::Number { value, .. }) if value.is_integer() => value.to_integer().try_into().ok(),
                Some(Token::Word(word)) => match word.to_ascii_lowercase().as_str() {
                    "two" => Some(2),
                    "eight" => Some(8),
                    "ten" => Some(10),
                    "sixteen" => Some(16),
                    _ => None,
                },
                _ => None,
            };
            let base: u32 = base.filter(|b| (2..=36).contains(b)).ok_or(Stop::Unread)?;
            self.at += 1;
            if braced {
                self.close(&Token::GroupClose)?;
            }
            if !digits.chars().all(|c| c.is_digit(base)) {
                return Err(Stop::Unread);
            }
            return Ok(Expr::InBase { digits: digits.to_string(), base });
        }
        Ok(Expr::Number(value.clone()))
    }

    /// A variable with its subscript and primes: `x`, `x_1`, `a_{n+1}`, `f'`.
    fn symbol(&mut self, name: &str) -> Result<Expr, Stop> {
        let mut name = name.to_string();
        if self.take(&Token::Underscore) {
            name.push('_');
            if self.take(&Token::GroupOpen) {
                let mut depth = 1;
                while depth > 0 {
                    let token = self.peek().ok_or(Stop::Unread)?;
                    self.at += 1;
                    match token {
                        Token::GroupOpen => depth += 1,
                        Token::GroupClose => depth -= 1,
                        _ => {}
                    }
                    if depth > 0 {
                        name.push_str(&subscript(token).ok_or(Stop::Unread)?);
                    }
                }
            } else {
                let token = self.peek().ok_or(Stop::Unread)?;
                name.push_str(&subscript(token).ok_or(Stop::Unread)?);
                self.at += 1;
            }
        }
        while self.take(&Token::Prime) {
            name.push('\'');
        }
        Ok(Expr::Symbol(name))
    }

    /// A function with its power and argument: `\sin^2 x`, `log_2 8`, `f(x, y)`.
    fn call(&mut self, function: Function) -> Result<Expr, Stop> {
        let mut function = function;
        let mut base = None;
        let mut power = None;
        for _ in 0..2 {
            if self.take(&Token::Underscore) {
                base = Some(self.argument()?);
            }
            if self.take(&Token::Caret) {
                power = Some(self.nested(|p| {
                    if p.take(&Token::Minus) {
                        Ok(super::parse::negated(p.argument()?))
                    } else {
                        p.argument()
                    }
                })?);
            }
        }
        // sin^{-1} is the inverse function, not the reciprocal.
        if power == Some(Expr::Number(int(-1)))
            && let Some(inverse) = inverse(function)
        {
            function = inverse;
            power = None;
        }
        let mut arguments = self.arguments()?;
        if let Some(base) = base {
            if !matches!(function, Function::Log) {
                return Err(Stop::Unread);
            }
            function = Function::LogBase;
            arguments.push(base);
        }
        let arity = match function {
            Function::Gcd | Function::Lcm | Function::Max | Function::Min => arguments.len().max(1),
            Function::LogBase | Function::Binomial => 2,
            _ => 1,
        };
        if arguments.len() != arity {
            return Err(Stop::Unread);
        }
        let value = Expr::Call(function, arguments);
        Ok(match power {
            Some(power) => Expr::Power(Box::new(value), Box::new(power)),
            None => value,
        })
    }

    /// The arguments of a function: in parentheses, or the factors that follow (`sin 2x`).
    fn arguments(&mut self) -> Result<Vec<Expr>, Stop> {
        if self.take(&Token::Open(Delimiter::Round)) {
            let inner = self.items()?;
            self.close(&Token::Close(Delimiter::Round))?;
            return Ok(match inner {
                Expr::List(items) => items,
                one => vec![one],
            });
        }
        if self.take(&Token::GroupOpen) {
            let inner = self.items()?;
            self.close(&Token::GroupClose)?;
            return Ok(vec![inner]);
        }
        self.nested(|p| {
            let mut factors = vec![p.signed()?];
            while let Some(token) = p.peek()
                && matches!(token, Token::Letter(_) | Token::Constant(_) | Token::Frac | Token::Sqrt)
            {
                factors.push(p.power()?);
            }
            if p.peek() == Some(&Token::Slash) && matches!(p.peek_at(1), Some(Token::Number { .. })) {
                // "sin pi/6"
                p.at += 1;
                let below = p.power()?;
                let above = if factors.len() == 1 { factors.remove(0) } else { Expr::Product(factors) };
                return Ok(vec![Expr::Quotient(Box::new(above), Box::new(below))]);
            }
            Ok(vec![if factors.len() == 1 { factors.remove(0) } else { Expr::Product(factors) }])
        })
    }

    /// What stands between two delimiters.
    fn bracket(&mut self, open: Delimiter) -> Result<Expr, Stop> {
        let closing = |token: Option<&Token>| match token {
            Some(Token::Close(close)) => Some(*close),
            _ => None,
        };
        if open == Delimiter::Curly && closing(self.peek()) == Some(Delimiter::Curly) {
            self.at += 1;
            return Ok(Expr::EmptySet);
        }
        // {x | condition}, {x ∈ ℝ : condition}: the condition stands for the set.
        if open == Delimiter::Curly && matches!(self.peek(), Some(Token::Letter(_))) {
            let real = self.peek_at(1) == Some(&Token::Relation(Relation::In))
                && self.peek_at(2) == Some(&Token::NumberSet('R'));
            let bar = if real { 3 } else { 1 };
            if matches!(self.peek_at(bar), Some(Token::Bar | Token::Colon)) {
                self.at += bar + 1;
                let condition = self.items()?;
                self.close(&Token::Close(Delimiter::Curly))?;
                return Ok(condition);
            }
        }
        // A bar inside a bracket opens a new absolute value; in a set it begins the condition.
        let bars = std::mem::replace(&mut self.bars, usize::from(open == Delimiter::Curly));
        let inner = self.items()?;
        self.bars = bars;
        let close = closing(self.peek()).ok_or(Stop::Unread)?;
        self.at += 1;
        let curly = |d| d == Delimiter::Curly;
        let angle = |d| d == Delimiter::Angle;
        if curly(open) != curly(close) || angle(open) != angle(close) {
            return Err(Stop::Unread);
        }
        Ok(match inner {
            Expr::List(items) => Expr::Bracket { open, close, items },
            one if open == Delimiter::Round && close == Delimiter::Round => one,
            one if open == Delimiter::Square && close == Delimiter::Square => match one {
                // [[1, 2]] is a row; [5] only groups.
                Expr::Bracket { .. } => Expr::Bracket { open, close, items: vec![one] },
                one => one,
            },
            one => Expr::Bracket { open, close, items: vec![one] },
        })
    }

    /// The rows of a matrix environment.
    fn matrix(&mut self, environment: &str) -> Result<Expr, Stop> {
        const PLAIN: &[&str] = &["matrix", "pmatrix", "bmatrix", "Bmatrix", "smallmatrix", "array"];
        if !PLAIN.contains(&environment) {
            return Err(Stop::Unread);
        }
        let mut rows = vec![Vec::new()];
        loop {
            match self.peek() {
                Some(Token::End(name)) if name == environment => {
                    self.at += 1;
                    break;
                }
                Some(Token::Ampersand) => self.at += 1,
                Some(Token::RowBreak) => {
                    self.at += 1;
                    rows.push(Vec::new());
                }
                _ => {
                    let entry = self.sum()?;
                    rows.last_mut().ok_or(Stop::Unread)?.push(entry);
                }
            }
        }
        if rows.last().is_some_and(Vec::is_empty) {
            rows.pop();
        }
        let width = rows.first().map_or(0, Vec::len);
        if width == 0 || rows.iter().any(|row| row.len() != width) {
            return Err(Stop::Unread);
        }
        Ok(Expr::Matrix(rows))
    }
}

/// The text of a token inside a subscript.
fn subscript(token: &Token) -> Option<String> {
    Some(match token {
        Token::Number { value, .. } => value.to_string(),
        Token::Letter(name) | Token::Word(name) => name.clone(),
        Token::Constant(constant) => format!("{constant:?}").to_lowercase(),
        Token::Plus => "+".into(),
        Token::Minus => "-".into(),
        Token::Comma => ",".into(),
        _ => return None,
    })
}

/// The inverse of a trigonometric function.
fn inverse(function: Function) -> Option<Function> {
    match function {
        Function::Sin => Some(Function::Asin),
        Function::Cos => Some(Function::Acos),
        Function::Tan => Some(Function::Atan),
        _ => None,
    }
}
