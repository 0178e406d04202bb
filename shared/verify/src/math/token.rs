//! From characters to tokens: one alphabet for LaTeX and plain notation.

use super::bounds::{Rational, Stop};
use super::command::{self, Meaning};
use super::expr::{Constant, Delimiter, Function, Relation};
use super::numeral::{self, Separators};
use super::unit;

/// The smallest part that means something.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// A numeral; `digits` holds its characters where it is plain and an underscore follows, since it may carry a base.
    Number {
        value: Rational,
        digits: Option<String>,
    },
    /// `½` and the like.
    Vulgar(Rational),
    /// One letter, or a named one such as `alpha`.
    Letter(String),
    /// A run of letters that is no known name, or the content of `\text{…}`.
    Word(String),
    Constant(Constant),
    Function(Function),
    Frac,
    Sqrt,
    Binom,
    Plus,
    Minus,
    PlusMinus,
    Times,
    Slash,
    Caret,
    Underscore,
    Bang,
    Percent,
    Degree,
    Prime,
    Comma,
    Semicolon,
    Colon,
    And,
    Or,
    Currency(&'static str),
    Relation(Relation),
    Union,
    Intersection,
    Difference,
    EmptySet,
    NumberSet(char),
    Bar,
    Open(Delimiter),
    Close(Delimiter),
    /// `{` and `}` of LaTeX.
    GroupOpen,
    GroupClose,
    Floor(bool),
    Ceil(bool),
    Begin(String),
    End(String),
    Ampersand,
    RowBreak,
}

/// A token and whether whitespace stood before it.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Lexeme {
    pub token: Token,
    pub spaced: bool,
}

/// Most tokens of one answer.
const MAX_TOKENS: usize = 4_000;

/// Splits a text into tokens.
pub(super) fn tokens(text: &str, decimal_comma: bool) -> Result<Vec<Lexeme>, Stop> {
    let chars: Vec<char> = text.chars().map(command::ascii_of).collect();
    let mut lexer =
        Lexer { chars: &chars, at: 0, depth: 0, out: Vec::new(), spaced: false, single: Vec::new() };
    while lexer.at < chars.len() {
        if lexer.out.len() > MAX_TOKENS {
            return Err(Stop::Bound("too many tokens"));
        }
        lexer.step(decimal_comma)?;
    }
    Ok(lexer.out)
}

struct Lexer<'c> {
    chars: &'c [char],
    at: usize,
    /// Open brackets, inside which a comma separates items.
    depth: usize,
    out: Vec<Lexeme>,
    spaced: bool,
    /// Positions where LaTeX takes one digit only: the bare arguments of `\frac`, `\sqrt`, `\binom`.
    single: Vec<usize>,
}

impl Lexer<'_> {
    fn push(&mut self, token: Token) {
        let spaced = std::mem::take(&mut self.spaced);
        self.out.push(Lexeme { token, spaced });
    }

    fn step(&mut self, decimal_comma: bool) -> Result<(), Stop> {
        let c = self.chars[self.at];
        let next = self.chars.get(self.at + 1).copied();
        if c.is_whitespace() || matches!(c, '~' | '\u{200b}' | '\u{feff}') {
            self.spaced = true;
            self.at += 1;
            return Ok(());
        }
        let starts_number = numeral::digit_value(c).is_some()
            || (matches!(c, '.' | ',' | '٫') && next.is_some_and(|n| numeral::digit_value(n).is_some()));
        if starts_number {
            let separators = Separators { decimal_comma, in_list: self.depth > 0 };
            let single = self.single.contains(&self.at);
            if let Some(n) = numeral::read(&self.chars[self.at..], separators, single)? {
                let after = self.chars[self.at + n.len..].iter().find(|c| !c.is_whitespace());
                let digits = (n.plain && after == Some(&'_'))
                    .then(|| self.chars[self.at..self.at + n.len].iter().collect());
                self.at += n.len;
                self.push(Token::Number { value: n.value, digits });
                return Ok(());
            }
        }
        if c == '\\' {
            return self.command();
        }
        if let Some((n, d)) = numeral::vulgar_fraction(c) {
            self.at += 1;
            self.push(Token::Vulgar(Rational::new(n.into(), d.into())));
            return Ok(());
        }
        if command::superscript(c).is_some() {
            return self.superscripts();
        }
        if c.is_alphabetic() && command::sign(c).is_none_or(|t| matches!(t, Token::NumberSet(_))) {
            self.letters();
            return Ok(());
        }
        let two: Option<Token> = match (c, next) {
            ('<', Some('=')) | ('=', Some('<')) => Some(Token::Relation(Relation::LessEqual)),
            ('>', Some('=')) | ('=', Some('>')) => Some(Token::Relation(Relation::GreaterEqual)),
            ('!', Some('=')) => Some(Token::Relation(Relation::NotEqual)),
            ('=', Some('=')) => Some(Token::Relation(Relation::Equal)),
            ('+', Some('-')) => Some(Token::PlusMinus)
                .filter(|_| self.chars.get(self.at + 2) != Some(&'-') && !self.after_operand()),
            ('*', Some('*')) => Some(Token::Caret),
            _ => None,
        };
        if let Some(token) = two {
            self.at += 2;
            self.push(token);
            return Ok(());
        }
        self.at += 1;
        let token = command::sign(c).ok_or(Stop::Unread)?;
        match token {
            Token::Open(_) => self.depth += 1,
            Token::Close(_) => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        self.push(token);
        Ok(())
    }

    /// Whether the last token ends an operand, so that `+-` is a sum of a negative and not ±.
    fn after_operand(&self) -> bool {
        matches!(
            self.out.last().map(|l| &l.token),
            Some(
                Token::Number { .. }
                    | Token::Letter(_)
                    | Token::Close(_)
                    | Token::GroupClose
                    | Token::Constant(_)
                    | Token::Bang
                    | Token::Percent
            )
        )
    }

    /// `²`, `⁻¹`: an exponent in superscript characters.
    fn superscripts(&mut self) -> Result<(), Stop> {
        let start = self.at;
        let plain: Vec<char> = self.chars[start..].iter().map_while(|&c| command::superscript(c)).collect();
        self.at += plain.len();
        self.push(Token::Caret);
        self.push(Token::GroupOpen);
        for c in plain {
            let token = match c {
                '-' => Token::Minus,
                '+' => Token::Plus,
                'n' => Token::Letter("n".into()),
                // Digits that follow each other are one number.
                d => {
                    let d = Rational::from(num_bigint::BigInt::from(d.to_digit(10).unwrap_or(0)));
                    if let Some(Lexeme { token: Token::Number { value, .. }, .. }) = self.out.last_mut() {
                        *value = &*value * Rational::from(num_bigint::BigInt::from(10)) + d;
                        continue;
                    }
                    Token::Number { value: d, digits: None }
                }
            };
            self.push(token);
        }
        self.push(Token::GroupClose);
        Ok(())
    }

    /// A run of letters: a known name, a word, or one letter.
    fn letters(&mut self) {
        let start = self.at;
        let greek = command::greek(self.chars[start]);
        if let Some(name) = greek {
            self.at += 1;
            self.push(command::named(name));
            return;
        }
        let len = self.chars[start..]
            .iter()
            .take_while(|&&c| {
                c.is_alphabetic() && command::greek(c).is_none() && command::superscript(c).is_none()
            })
            .count();
        let run: String = self.chars[start..start + len].iter().collect();
        self.at += len;
        let token = match command::word(&run) {
            Some(token) => token,
            None if len == 1 && run.is_ascii() => command::named(&run),
            None => Token::Word(run),
        };
        self.push(token);
    }

    /// A LaTeX command or an escaped character.
    fn command(&mut self) -> Result<(), Stop> {
        let start = self.at + 1;
        let len = self.chars[start..].iter().take_while(|c| c.is_ascii_alphabetic()).count();
        if len == 0 {
            let Some(&c) = self.chars.get(start) else {
                self.at = start;
                return Ok(());
            };
            self.at = start + 1;
            match c {
                ',' | ';' | ':' | '!' | ' ' | '\n' | '(' | ')' | '[' | ']' => self.spaced = true,
                '{' => {
                    self.depth += 1;
                    self.push(Token::Open(Delimiter::Curly));
                }
                '}' => {
                    self.depth = self.depth.saturating_sub(1);
                    self.push(Token::Close(Delimiter::Curly));
                }
                '\\' => self.push(Token::RowBreak),
                '|' => self.push(Token::Bar),
                '%' => self.push(Token::Percent),
                '$' => self.push(Token::Currency("USD")),
                '&' => self.push(Token::And),
                '#' | '_' => {}
                _ => return Err(Stop::Unread),
            }
            return Ok(());
        }
        let name: String = self.chars[start..start + len].iter().collect();
        self.at = start + len;
        match command::meaning(&name).ok_or(Stop::Unread)? {
            Meaning::Token(token) => {
                match token {
                    Token::Frac | Token::Binom => self.mark_single(2),
                    Token::Sqrt => self.mark_single(1),
                    Token::Open(_) => self.depth += 1,
                    Token::Close(_) => self.depth = self.depth.saturating_sub(1),
                    _ => {}
                }
                self.push(token);
            }
            Meaning::Space => self.spaced = true,
            Meaning::Skip => {}
            Meaning::Text => {
                let content = self.braced().ok_or(Stop::Unread)?;
                self.text(content.trim());
            }
            Meaning::NumberSet => {
                let content = self.braced().or_else(|| {
                    let c = *self.chars.get(self.at)?;
                    self.at += 1;
                    Some(c.to_string())
                });
                let content = content.ok_or(Stop::Unread)?;
                let mut letters = content.trim().chars();
                match (letters.next(), letters.next()) {
                    (Some(c @ ('R' | 'Z' | 'Q' | 'N' | 'C')), None) => self.push(Token::NumberSet(c)),
                    (Some(c), None) => self.push(command::named(&c.to_string())),
                    _ => return Err(Stop::Unread),
                }
            }
            Meaning::Environment(begins) => {
                let content = self.braced().ok_or(Stop::Unread)?;
                let name = content.trim().trim_end_matches('*').to_string();
                if begins && matches!(name.as_str(), "array" | "tabular") {
                    let _columns = self.braced();
                }
                self.depth = if begins { self.depth + 1 } else { self.depth.saturating_sub(1) };
                self.push(if begins { Token::Begin(name) } else { Token::End(name) });
            }
        }
        Ok(())
    }

    /// The content of `\text{…}`: a joining word, a name, or a word.
    fn text(&mut self, content: &str) {
        let bare = content.trim_matches(|c: char| c.is_whitespace() || c == '~').trim_end_matches(['.', ',']);
        if bare.is_empty() {
            if content.ends_with(',') {
                self.push(Token::Comma);
            }
            self.spaced = true;
            return;
        }
        let mut letters = bare.chars();
        let token = match (letters.next(), letters.next()) {
            // "8\text{ m}" is a length, "\text{m}" alone a name.
            (Some(_), None) if unit::lookup(bare).is_some() && self.after_operand() => {
                Token::Word(bare.to_string())
            }
            (Some(c), None) if c.is_alphabetic() => command::named(bare),
            _ => command::word(bare).unwrap_or_else(|| Token::Word(bare.to_string())),
        };
        // A number or formula inside \text{…} is read as if it stood outside.
        if let Token::Word(w) = &token
            && w.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '(' | '-' | '$'))
            && let Ok(inner) = tokens(w, false)
        {
            self.out.extend(inner);
            return;
        }
        self.push(token);
        self.spaced = true;
    }

    /// The content of the group that starts here, taken; absent where no group starts.
    fn braced(&mut self) -> Option<String> {
        let mut open = self.at;
        while self.chars.get(open)?.is_whitespace() {
            open += 1;
        }
        if self.chars[open] != '{' {
            return None;
        }
        let close = command::closing(self.chars, open)?;
        self.at = close + 1;
        Some(self.chars[open + 1..close].iter().collect())
    }

    /// Marks the bare one-digit arguments that follow.
    fn mark_single(&mut self, arguments: usize) {
        let mut at = self.at;
        for _ in 0..arguments {
            while self.chars.get(at).is_some_and(|c| c.is_whitespace()) {
                at += 1;
            }
            match self.chars.get(at) {
                Some('{') => match command::closing(self.chars, at) {
                    Some(close) => at = close + 1,
                    None => return,
                },
                Some('[') => return,
                Some(c) if numeral::digit_value(*c).is_some() => {
                    self.single.push(at);
                    at += 1;
                }
                Some(_) => at += 1,
                None => return,
            }
        }
    }
}
