//! Whether two answers are the same mathematical object.
//!
//! Both texts, in LaTeX or plain notation, become expressions; expressions become canonical fractions of sums with
//! exact coefficients, which are compared exactly. Nothing is rounded. What is no mathematics is compared as text.
//!
//! What is ambiguous is settled by a [`Policy`]; the defaults:
//! - a unit on one side only is dropped, units on both sides must agree (`1 m` is `100 cm`, not `1 s`); a noun
//!   (`18 eggs`) is always dropped;
//! - `50 %` equals `1/2` and, where only one side has the sign, also `50`; likewise `60°` equals `π/3` and `60`,
//!   `1010_2` equals `10` and `1010`;
//! - `1,000` is a thousand, except inside brackets, where a comma separates; `3,5` is two values unless decimal commas
//!   are asked for; `1 1/2` and `1\frac12` are one and a half;
//! - letters keep their case in formulas (`3x` is not `3X`) and lose it in words; `e` and `i` are the constants;
//! - several values without delimiters have no order; in parentheses they have;
//! - `x = 3` equals `3`; `log` is decimal or natural, whichever makes the sides agree.

mod apart;
mod atom;
mod bounds;
mod canon;
mod command;
mod compare;
mod complex;
mod expr;
mod measure;
mod numeral;
mod numeric;
mod object;
mod parse;
mod poly;
mod quick;
mod real;
mod region;
mod show;
mod surd;
mod surface;
mod token;
mod unit;

#[cfg(test)]
mod tests;

use crate::Judgement;
use bounds::{Budget, MAX_BYTES, Stop};
use canon::Reading;
use compare::Comparison;
use expr::Expr;

/// How ambiguous notation is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// A unit that only one side has is dropped.
    pub drop_units: bool,
    /// `50 %` is one half and never 50.
    pub strict_percent: bool,
    /// `3,5` is three and a half, and `1.000` a thousand.
    pub decimal_comma: bool,
    /// Capital and small letters are the same variable: `3X` is `3x`, and `E` is `e`.
    pub ignore_case: bool,
    /// Values in parentheses have no order: `(1, 2)` is `(2, 1)`.
    pub any_order: bool,
}

impl Default for Policy {
    /// Units dropped, percent lenient, decimal points, letters as written, tuples in order.
    fn default() -> Self {
        Policy {
            drop_units: true,
            strict_percent: false,
            decimal_comma: false,
            ignore_case: false,
            any_order: false,
        }
    }
}

/// Compares an answer with the expected one. Symmetric, reflexive, and bounded in time and memory for any two texts.
///
/// ```
/// use r1_verify::math::{Policy, judge};
/// let p = Policy::default();
/// assert!(judge("\\frac{1}{2}", "0.5", &p).is_equal());
/// assert!(judge("1,000", "1000.0", &p).is_equal());
/// assert!(!judge("0.333333", "1/3", &p).is_equal());
/// ```
pub fn judge(answer: &str, expected: &str, policy: &Policy) -> Judgement {
    let (a, b) = (surface::strip(answer), surface::strip(expected));
    if a == b {
        return Judgement::equal("identical");
    }
    if let (Some(x), Some(y)) = (quick::read(a, policy.decimal_comma), quick::read(b, policy.decimal_comma)) {
        let rule = if x.1 == 1 && y.1 == 1 { "integer" } else { "rational" };
        return Judgement::of(quick::same(x, y), rule);
    }
    if a.len() > MAX_BYTES || b.len() > MAX_BYTES {
        return Judgement::undecided("too long");
    }
    // In one order, so that the verdict and its rule cannot depend on which side is which.
    let (a, b) = if a <= b { (a, b) } else { (b, a) };
    match (read(a, policy), read(b, policy)) {
        (Ok(x), Ok(y)) => expressions(&x, &y, policy),
        (Err(Stop::Bound(rule)), _) | (_, Err(Stop::Bound(rule))) => Judgement::undecided(rule),
        (Ok(_), Err(_)) | (Err(_), Ok(_)) => {
            Judgement::of(surface::plain(a) == surface::plain(b), "text against formula")
        }
        (Err(_), Err(_)) => Judgement::of(surface::plain(a) == surface::plain(b), "text"),
    }
}

fn expressions(x: &Expr, y: &Expr, policy: &Policy) -> Judgement {
    let mut judged = under(x, y, policy, Reading { natural_log: false });
    if !judged.is_equal() && (compare::has_log(x) || compare::has_log(y)) {
        let natural = under(x, y, policy, Reading { natural_log: true });
        if natural.is_equal() {
            judged = natural;
        }
    }
    judged
}

fn under(x: &Expr, y: &Expr, policy: &Policy, reading: Reading) -> Judgement {
    let mut comparison = Comparison { policy, reading, budget: Budget::full(), in_list: false };
    let judged = (|| {
        let (a, b) = (object::object(x.clone())?, object::object(y.clone())?);
        comparison.objects(&a, &b)
    })();
    judged.unwrap_or_else(|stop| match stop {
        Stop::Bound(rule) => Judgement::undecided(rule),
        Stop::Undefined => Judgement::of(x == y, "undefined"),
        Stop::Unread => Judgement::of(x == y, "form"),
    })
}

/// The form of an answer that is compared, for reports. A text that is no mathematics is shown as compared, in quotes.
pub fn normal_form(text: &str, policy: &Policy) -> String {
    let stripped = surface::strip(text);
    let quoted = || format!("{:?}", surface::plain(&stripped.chars().take(200).collect::<String>()));
    if stripped.len() > MAX_BYTES {
        return quoted();
    }
    match read(stripped, policy) {
        Ok(e) => show::expr(&e),
        Err(_) => quoted(),
    }
}

fn read(text: &str, policy: &Policy) -> Result<Expr, Stop> {
    let mut read = parse::parse(&surface::without_delimiters(text), policy.decimal_comma)?;
    if policy.ignore_case {
        read.fold_case();
    }
    Ok(read)
}
