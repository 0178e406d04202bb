//! Normal forms as text, for reports and as the names of opaque generators.

use super::bounds::{Budget, Rational};
use super::canon::{Reading, canon};
use super::compare::infinite;
use super::expr::{Constant, Delimiter, Expr};
use super::poly::{Exponent, Fraction, Generator, Poly};
use num_traits::{One, Signed};
use std::cell::RefCell;

/// Longest number shown whole, in bits.
const SHOWN_BITS: u64 = 400;

/// A fraction in plain notation.
pub(super) fn fraction(f: &Fraction) -> String {
    match f.as_poly() {
        Some(above) => poly(above),
        None => format!("({})/({})", poly(&f.above), poly(&f.below)),
    }
}

/// A sum, highest monomials first.
pub(super) fn poly(p: &Poly) -> String {
    if p.is_zero() {
        return "0".to_string();
    }
    let mut out = String::new();
    for (i, (monomial, c)) in p.terms.iter().rev().enumerate() {
        let magnitude = c.abs();
        match (i, c.is_negative()) {
            (0, false) => {}
            (0, true) => out.push('-'),
            (_, false) => out.push_str(" + "),
            (_, true) => out.push_str(" - "),
        }
        let factors: Vec<String> = monomial.iter().map(|(g, e)| power(g, e)).collect();
        if factors.is_empty() {
            out.push_str(&rational(&magnitude));
        } else {
            if !magnitude.is_one() {
                out.push_str(&rational(&magnitude));
                out.push('*');
            }
            out.push_str(&factors.join("*"));
        }
    }
    out
}

fn power(g: &Generator, e: &Exponent) -> String {
    let name = match g {
        Generator::Surd { base, .. } if e == &Exponent::new(1, 2) => return format!("sqrt({base})"),
        Generator::Surd { base, .. } => base.to_string(),
        Generator::Imaginary => "i".to_string(),
        Generator::Pi => "pi".to_string(),
        Generator::Euler => "e".to_string(),
        Generator::Symbol(name) | Generator::Opaque(name) => name.clone(),
    };
    if e.is_one() {
        name
    } else if e.is_integer() && !e.is_negative() {
        format!("{name}^{e}")
    } else {
        format!("{name}^({e})")
    }
}

/// A rational number: `n` or `n/d`; a long one in hexadecimal.
pub(super) fn rational(r: &Rational) -> String {
    if r.numer().bits() + r.denom().bits() <= SHOWN_BITS {
        return if r.is_integer() { r.numer().to_string() } else { format!("{}/{}", r.numer(), r.denom()) };
    }
    // Not in decimal, which would cost the square of the length.
    if r.is_integer() { format!("0x{:x}", r.numer()) } else { format!("0x{:x}/0x{:x}", r.numer(), r.denom()) }
}

/// An expression: its scalars in canonical form, everything else around them.
pub(super) fn expr(e: &Expr) -> String {
    within(e, &mut Budget::full())
}

/// [`expr`] with what is left of a budget; when it is used up the rest is shown as written.
fn within(e: &Expr, budget: &mut Budget) -> String {
    if let Ok(f) = canon(e, Reading { natural_log: false }, budget) {
        return fraction(&f);
    }
    let budget = RefCell::new(budget);
    let expr = |e: &Expr| within(e, &mut budget.borrow_mut());
    let join = |items: &[Expr], by: &str| items.iter().map(expr).collect::<Vec<_>>().join(by);
    match e {
        Expr::Number(n) => rational(n),
        Expr::Symbol(name) => name.clone(),
        Expr::Constant(Constant::Infinity) => "oo".into(),
        Expr::Constant(c) => format!("{c:?}").to_lowercase(),
        Expr::Sum(parts) => join(parts, " + "),
        Expr::Product(parts) => match infinite(e) {
            Some(true) => "oo".into(),
            Some(false) => "-oo".into(),
            None => join(parts, "*"),
        },
        Expr::Quotient(a, b) => format!("({})/({})", expr(a), expr(b)),
        Expr::Power(a, b) => format!("({})^({})", expr(a), expr(b)),
        Expr::Call(f, parts) => format!("{}({})", f.name(), join(parts, ", ")),
        Expr::PlusMinus(inner) => format!("±({})", expr(inner)),
        Expr::Percent(inner) => format!("{}%", expr(inner)),
        Expr::InBase { digits, base } => format!("{digits}_{base}"),
        Expr::Measured(value, unit) => format!("{} [{}]", expr(value), unit.name()),
        Expr::Ratio(parts) => join(parts, " : "),
        Expr::Bracket { open, close, items } => {
            let (open, close) = (delimiters(*open).0, delimiters(*close).1);
            format!("{open}{}{close}", join(items, ", "))
        }
        Expr::List(items) => join(items, ", "),
        Expr::Relation { sides, operators } => {
            let mut out = sides.first().map(expr).unwrap_or_default();
            for (operator, side) in operators.iter().zip(sides.iter().skip(1)) {
                out.push_str(&format!(" {} {}", operator.sign(), expr(side)));
            }
            out
        }
        Expr::Union(parts) => join(parts, " ∪ "),
        Expr::Intersection(parts) => join(parts, " ∩ "),
        Expr::Difference(a, b) => format!("{} ∖ {}", expr(a), expr(b)),
        Expr::Matrix(rows) => {
            let rows: Vec<String> = rows.iter().map(|row| format!("[{}]", join(row, ", "))).collect();
            format!("[{}]", rows.join(", "))
        }
        Expr::EmptySet => "∅".into(),
        Expr::NumberSet(letter) => letter.to_string(),
    }
}

fn delimiters(d: Delimiter) -> (char, char) {
    match d {
        Delimiter::Round => ('(', ')'),
        Delimiter::Square => ('[', ']'),
        Delimiter::Curly => ('{', '}'),
        Delimiter::Angle => ('⟨', '⟩'),
    }
}
