//! Numerals: digits of any script, thousands separators, decimals, repeating decimals, scientific notation.

use super::bounds::{Rational, Stop};
use num_bigint::BigInt;
use num_traits::Zero;

/// Longest numeral, in digits.
const MAX_DIGITS: usize = 4_000;
/// Largest decimal exponent.
const MAX_EXPONENT: u32 = 4_000;

/// Where decimal and thousands separators stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Separators {
    /// `3,5` is three and a half and `1.000` a thousand.
    pub decimal_comma: bool,
    /// A comma separates items here, so that it can separate thousands only where none could follow.
    pub in_list: bool,
}

/// A numeral and the characters it took.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Numeral {
    pub value: Rational,
    pub len: usize,
    /// Plain digits, no point, separator or exponent: what may carry a base or be part of a mixed number.
    pub plain: bool,
}

/// Reads a numeral at the start of `chars`; `single` takes one digit only (as `\frac12` does).
pub(super) fn read(chars: &[char], separators: Separators, single: bool) -> Result<Option<Numeral>, Stop> {
    const TOO_LONG: Stop = Stop::Bound("a number is too long");
    let digit = |i: usize| chars.get(i).and_then(|&c| digit_value(c));
    if single {
        return Ok(digit(0).map(|d| Numeral { value: Rational::from(BigInt::from(d)), len: 1, plain: true }));
    }
    let point = if separators.decimal_comma { ',' } else { '.' };
    let is_point = |i: usize| {
        chars.get(i).is_some_and(|&c| c == point || (c == '٫' && !separators.decimal_comma))
            && digit(i + 1).is_some()
    };
    let mut digits = String::new();
    let mut at = 0;
    while let Some(d) = digit(at) {
        digits.push(char::from(b'0' + d));
        at += 1;
    }
    if digits.is_empty() && !is_point(0) {
        return Ok(None);
    }
    let mut plain = true;
    // Groups of exactly three digits after a first group of one to three.
    if (1..=3).contains(&digits.len()) && !(digits.len() > 1 && digits.starts_with('0')) && digits != "0" {
        let mut separator = None;
        while let Some((kind, width)) = thousands(&chars[at..], separators)
            && separator.is_none_or(|s| s == kind)
            && (0..3).all(|k| digit(at + width + k).is_some())
            && digit(at + width + 3).is_none()
        {
            // "1 100/3" is one and a hundred thirds, and "2 100^2" no number either.
            if kind == ' ' && matches!(chars.get(at + width + 3), Some('/' | '^')) {
                break;
            }
            separator = Some(kind);
            plain = false;
            digits.extend((0..3).filter_map(|k| digit(at + width + k)).map(|d| char::from(b'0' + d)));
            at += width + 3;
        }
    }
    let mut decimals = 0usize;
    if is_point(at) {
        plain = false;
        at += 1;
        while let Some(d) = digit(at) {
            digits.push(char::from(b'0' + d));
            decimals += 1;
            at += 1;
        }
    }
    let mut repeating = 0usize;
    if let Some((cycle, len)) = overline(&chars[at..], decimals > 0) {
        plain = false;
        repeating = cycle.len();
        digits.push_str(&cycle);
        decimals += cycle.len();
        at += len;
    } else if decimals == 0 && chars.get(at) == Some(&'.') && !separators.decimal_comma {
        // "18." with nothing after it.
        let ends = chars.get(at + 1).is_none_or(|c| !c.is_alphanumeric() && *c != '.');
        if ends {
            at += 1;
            plain = false;
        }
    }
    if digits.len() > MAX_DIGITS {
        return Err(TOO_LONG);
    }
    let mut value = decimal(&digits, decimals, repeating).ok_or(TOO_LONG)?;
    if let Some((negative, size, len)) = exponent(&chars[at..]) {
        plain = false;
        at += len;
        let size = size.filter(|&n| n <= MAX_EXPONENT).ok_or(TOO_LONG)?;
        let scale = Rational::from(BigInt::from(10).pow(size));
        value = if negative { value / scale } else { value * scale };
    }
    Ok(Some(Numeral { value, len: at, plain }))
}

/// `digits` with the last `decimals` after the point, of which the last `repeating` go on for ever.
fn decimal(digits: &str, decimals: usize, repeating: usize) -> Option<Rational> {
    let all: BigInt = digits.parse().ok()?;
    let ten = BigInt::from(10);
    let scale = ten.pow(u32::try_from(decimals).ok()?);
    if repeating == 0 {
        return Some(if decimals == 0 { Rational::from(all) } else { Rational::new(all, scale) });
    }
    let head: BigInt = digits[..digits.len() - repeating].parse().unwrap_or_else(|_| BigInt::zero());
    // a.b(c) = (abc − ab) / (10^decimals − 10^(decimals − repeating))
    let less = ten.pow(u32::try_from(decimals - repeating).ok()?);
    Some(Rational::new(all - head, scale - less))
}

/// The separator of thousands at the start of `chars`: its kind and width.
fn thousands(chars: &[char], separators: Separators) -> Option<(char, usize)> {
    let starts = |s: &str| s.chars().enumerate().all(|(i, c)| chars.get(i) == Some(&c));
    if starts("{,}") {
        return Some((',', 3));
    }
    if starts("\\,") || starts("\\!") || starts("\\;") || starts("\\ ") {
        return Some(('~', 2));
    }
    if starts(",\\!") {
        return Some((',', 3));
    }
    match *chars.first()? {
        ',' if !separators.decimal_comma && !separators.in_list => Some((',', 1)),
        '.' if separators.decimal_comma => Some(('.', 1)),
        '٬' => Some(('٬', 1)),
        '\u{a0}' | '\u{2009}' | '\u{202f}' | ' ' if !separators.in_list => Some((' ', 1)),
        '\'' | '’' | '_' => Some(('\'', 1)),
        _ => None,
    }
}

/// `\overline{12}` or `\bar{3}` after a decimal point, or `.\overline{3}` with the point itself: the cycle and its width.
fn overline(chars: &[char], after_point: bool) -> Option<(String, usize)> {
    let mut at = 0;
    if !after_point {
        if chars.first() != Some(&'.') {
            return None;
        }
        at = 1;
    }
    let rest: String = chars[at..].iter().take(12).collect();
    let name = ["\\overline{", "\\bar{", "\\dot{"].into_iter().find(|n| rest.starts_with(n));
    let (start, close) = match name {
        Some(name) => (at + name.len(), '}'),
        // "0.(3)": a parenthesis directly after the point.
        None if !after_point && chars.get(at) == Some(&'(') => (at + 1, ')'),
        None => return None,
    };
    let cycle: String =
        chars[start..].iter().map_while(|&c| digit_value(c)).map(|d| char::from(b'0' + d)).collect();
    let end = start + cycle.len();
    (!cycle.is_empty() && chars.get(end) == Some(&close)).then_some((cycle, end + 1))
}

/// `e5`, `E-3`: an exponent directly after a numeral: its sign, its size where that is not absurd, its width.
fn exponent(chars: &[char]) -> Option<(bool, Option<u32>, usize)> {
    if !matches!(chars.first(), Some('e' | 'E')) {
        return None;
    }
    let (negative, start) = match chars.get(1) {
        Some('-' | '−') => (true, 2),
        Some('+') => (false, 2),
        _ => (false, 1),
    };
    let digits: String = chars[start.min(chars.len())..].iter().take_while(|c| c.is_ascii_digit()).collect();
    let after = chars.get(start + digits.len());
    if digits.is_empty() || after.is_some_and(|c| c.is_alphabetic()) {
        return None;
    }
    Some((negative, digits.parse().ok(), start + digits.len()))
}

/// The value of a decimal digit of any common script.
pub(super) fn digit_value(c: char) -> Option<u8> {
    if c.is_ascii() {
        return c.is_ascii_digit().then(|| c as u8 - b'0');
    }
    /// The zeros of scripts whose ten digits follow each other.
    const ZEROS: &[u32] = &[
        0x660, 0x6F0, 0x7C0, 0x966, 0x9E6, 0xA66, 0xAE6, 0xB66, 0xBE6, 0xC66, 0xCE6, 0xD66, 0xE50, 0xED0,
        0xF20, 0x1040, 0x17E0, 0x1810, 0xFF10,
    ];
    let point = c as u32;
    let zero = ZEROS.iter().rev().find(|&&z| z <= point)?;
    u8::try_from(point - zero).ok().filter(|&d| d < 10)
}

/// One half, a quarter and so on, where one character says it.
pub(super) fn vulgar_fraction(c: char) -> Option<(i64, i64)> {
    Some(match c {
        '½' => (1, 2),
        '⅓' => (1, 3),
        '⅔' => (2, 3),
        '¼' => (1, 4),
        '¾' => (3, 4),
        '⅕' => (1, 5),
        '⅖' => (2, 5),
        '⅗' => (3, 5),
        '⅘' => (4, 5),
        '⅙' => (1, 6),
        '⅚' => (5, 6),
        '⅐' => (1, 7),
        '⅛' => (1, 8),
        '⅜' => (3, 8),
        '⅝' => (5, 8),
        '⅞' => (7, 8),
        '⅑' => (1, 9),
        '⅒' => (1, 10),
        _ => return None,
    })
}
