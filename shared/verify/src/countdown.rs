//! The countdown game: reach a target with given numbers, `+`, `−`, `×`, `÷` and parentheses.

use crate::Judgement;
use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{Signed, Zero};
use std::collections::BTreeMap;

/// How often the given numbers must be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Use {
    /// Each given number exactly once.
    #[default]
    All,
    /// Each given number at most once.
    Some,
}

/// Longest expression that is read, in bytes.
const MAX_BYTES: usize = 1_000;
/// Deepest nesting that is read.
const MAX_DEPTH: usize = 64;
/// Longest number that is read, in digits.
const MAX_DIGITS: usize = 18;

/// Judges an expression: its numbers must be among `numbers` and its exact value `target`.
///
/// The expression may end in `= target`. Only integer literals, the four operations, unary minus and parentheses are
/// an expression; powers, decimals and joined digits are not. Intermediate values may be fractions.
///
/// ```
/// use r1_verify::countdown::{Use, judge};
/// assert!(judge("10*72 - 98 + 95", &[10, 98, 72, 95], 717, Use::All).is_equal());
/// ```
pub fn judge(expression: &str, numbers: &[i64], target: i64, usage: Use) -> Judgement {
    let Some(read) = evaluate(expression) else { return Judgement::unequal("not an expression") };
    let mut left: BTreeMap<BigInt, i64> = BTreeMap::new();
    for &n in numbers {
        // A given negative number is written with a unary minus: its magnitude is what the expression shows.
        *left.entry(BigInt::from(n).abs()).or_default() += 1;
    }
    for used in read.literals {
        let count = left.entry(used).or_default();
        *count -= 1;
        if *count < 0 {
            return Judgement::unequal("a number that is not given");
        }
    }
    if usage == Use::All && left.values().any(|&count| count > 0) {
        return Judgement::unequal("a number left unused");
    }
    Judgement::of(read.value == BigRational::from(BigInt::from(target)), "value")
}

struct Read {
    value: BigRational,
    literals: Vec<BigInt>,
}

/// The exact value of an expression and the literals in it; absent where it is not one, or divides by zero.
fn evaluate(text: &str) -> Option<Read> {
    if text.len() > MAX_BYTES {
        return None;
    }
    let mut plain = text.replace("\\times", "*").replace("\\cdot", "*").replace("\\div", "/");
    plain = plain.replace("\\left", "").replace("\\right", "").replace("\\(", "").replace("\\)", "");
    let plain: Vec<char> = plain
        .chars()
        .filter(|c| !matches!(c, '$' | '`' | ','))
        .map(|c| match c {
            '×' | '·' | '∗' => '*',
            '÷' | '∕' => '/',
            '−' | '–' => '-',
            '[' | '{' => '(',
            ']' | '}' => ')',
            c => c,
        })
        .collect();
    let stated = plain.iter().position(|&c| c == '=').unwrap_or(plain.len());
    // What follows "=" must be one number, and it must be the value.
    let claimed = match plain.get(stated + 1..) {
        None => None,
        Some(rest) => Some(rest.iter().collect::<String>().trim().trim_end_matches('.').parse::<i64>().ok()?),
    };
    let mut parser = Parser { chars: &plain[..stated], at: 0, literals: Vec::new() };
    let value = parser.sum(0)?;
    parser.blank();
    if parser.at < parser.chars.len() {
        return None;
    }
    if claimed.is_some_and(|c| value != BigRational::from(BigInt::from(c))) {
        return None;
    }
    Some(Read { value, literals: parser.literals })
}

struct Parser<'c> {
    chars: &'c [char],
    at: usize,
    literals: Vec<BigInt>,
}

impl Parser<'_> {
    fn blank(&mut self) {
        while self.chars.get(self.at).is_some_and(|c| c.is_whitespace()) {
            self.at += 1;
        }
    }

    fn take(&mut self, wanted: &[char]) -> Option<char> {
        self.blank();
        let c = *self.chars.get(self.at)?;
        wanted.contains(&c).then(|| {
            self.at += 1;
            c
        })
    }

    fn sum(&mut self, depth: usize) -> Option<BigRational> {
        if depth > MAX_DEPTH {
            return None;
        }
        let mut value = self.product(depth)?;
        while let Some(op) = self.take(&['+', '-']) {
            let right = self.product(depth)?;
            value = if op == '+' { value + right } else { value - right };
        }
        Some(value)
    }

    fn product(&mut self, depth: usize) -> Option<BigRational> {
        let mut value = self.factor(depth)?;
        while let Some(op) = self.take(&['*', '/']) {
            let right = self.factor(depth)?;
            if op == '*' {
                value *= right;
            } else if right.is_zero() {
                return None;
            } else {
                value /= right;
            }
        }
        Some(value)
    }

    fn factor(&mut self, depth: usize) -> Option<BigRational> {
        if depth > MAX_DEPTH {
            return None;
        }
        if self.take(&['-']).is_some() {
            return Some(-self.factor(depth + 1)?);
        }
        if self.take(&['(']).is_some() {
            let value = self.sum(depth + 1)?;
            self.take(&[')'])?;
            return Some(value);
        }
        self.blank();
        let digits: String = self.chars[self.at..].iter().take_while(|c| c.is_ascii_digit()).collect();
        if digits.is_empty() || digits.len() > MAX_DIGITS {
            return None;
        }
        self.at += digits.len();
        let n: BigInt = digits.parse().ok()?;
        self.literals.push(n.clone());
        Some(BigRational::from(n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_and_numbers_both_count() {
        let given = [10, 98, 72, 95];
        let rule = |text| judge(text, &given, 717, Use::All);
        assert!(rule("10*72 - 98 + 95").is_equal());
        assert!(rule("$10 \\times 72 - 98 + 95 = 717$").is_equal());
        assert!(rule("(95 - 98) + 72 × 10 = 717.").is_equal());
        assert_eq!(rule("10*72 - 98 + 95 = 718").rule, "not an expression");
        assert_eq!(rule("717").rule, "a number that is not given");
        assert_eq!(rule("10*72 - 3").rule, "a number that is not given");
        assert_eq!(rule("10*72").rule, "a number left unused");
        assert_eq!(rule("10*72 - 95 + 98").rule, "value");
        assert!(judge("10*72", &given, 720, Use::Some).is_equal());
        assert_eq!(judge("10*10", &given, 100, Use::Some).rule, "a number that is not given");
    }

    #[test]
    fn nothing_but_the_game() {
        for text in ["", "1+", "2**3", "2^3", "1.0", "1/0", "(1", "1)", "a", "1e3", "1 2", "--", "0x10"] {
            assert_eq!(judge(text, &[1, 2, 3], 8, Use::Some).rule, "not an expression", "{text}");
        }
        assert!(judge("8/(3-8/3)", &[8, 3, 8, 3], 24, Use::All).is_equal());
        assert!(!judge(&"(".repeat(900), &[1], 1, Use::All).is_equal());
        assert!(!judge(&"-".repeat(900), &[1], 1, Use::All).is_equal());
        assert!(!judge(&"1*".repeat(5_000_000), &[1], 1, Use::All).is_equal());
        assert!(judge("-(-5)", &[-5], 5, Use::All).is_equal());
    }
}
