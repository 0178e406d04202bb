//! Whether two objects are the same.

use super::Policy;
use super::apart::apart;
use super::bounds::{Budget, Rational, Stop, int};
use super::canon::{Reading, canon};
use super::expr::{Constant, Delimiter, Expr, Function, Relation};
use super::numeric;
use super::object::{Object, name_of, object};
use super::poly::{self, Fraction};
use super::unit::Unit;
use crate::Judgement;
use num_traits::One;

/// One comparison: its policy, and what is left of its budget.
pub(super) struct Comparison<'p> {
    pub policy: &'p Policy,
    pub reading: Reading,
    pub budget: Budget,
    /// Whether what is compared is one of several values.
    pub in_list: bool,
}

type Judged = Result<Judgement, Stop>;

impl Comparison<'_> {
    /// Compares two objects; symmetric.
    pub(super) fn objects(&mut self, a: &Object, b: &Object) -> Judged {
        self.budget.spend(64)?;
        use Object::*;
        match (a, b) {
            (Named(..), _) | (_, Named(..)) => self.named(a, b),
            (Other(_), _) | (_, Other(_)) => self.sets(a, b),
            (Scalar(x), Scalar(y)) => self.scalars(x, y),
            (Quantity(x, u), Quantity(y, v)) => self.quantities(x, u, y, v),
            (Quantity(..), Scalar(_)) | (Scalar(_), Quantity(..)) if !self.policy.drop_units => {
                Ok(Judgement::unequal("unit missing"))
            }
            (Quantity(x, _), Scalar(y)) | (Scalar(y), Quantity(x, _)) => self.scalars(x, y),
            (Values { items: x, braces: p }, Values { items: y, braces: q }) => {
                if *p != *q && (x.is_empty() || y.is_empty()) {
                    return Ok(Judgement::unequal("set"));
                }
                self.unordered(x, y)
            }
            (Values { items, braces: false }, Tuple { items: tuple, open: Delimiter::Round, .. })
            | (Tuple { items: tuple, open: Delimiter::Round, .. }, Values { items, braces: false }) => {
                // A point written without its parentheses.
                let values: Vec<Object> = items.iter().map(unnamed).collect();
                self.ordered(&values, tuple)
            }
            (Values { items, .. }, other) | (other, Values { items, .. }) => match items.as_slice() {
                [one] => self.objects(one, other),
                _ => Ok(Judgement::unequal("number of values")),
            },
            (Tuple { items: x, open: o, close: c }, Tuple { items: y, open: p, close: d }) => {
                let vector = |o: Delimiter| matches!(o, Delimiter::Round | Delimiter::Angle);
                // (1, 2) and [1, 2] are different intervals; longer ones are no intervals.
                let same = (o == p && c == d) || (vector(*o) && vector(*p) && vector(*c) && vector(*d));
                if !same && (x.len() == 2 || o != c || p != d) {
                    return Ok(Judgement::unequal("delimiters"));
                }
                if self.policy.any_order && vector(*o) && vector(*c) {
                    return if x.len() == y.len() {
                        self.unordered(x, y)
                    } else {
                        Ok(Judgement::unequal("number of values"))
                    };
                }
                self.ordered(x, y)
            }
            (Matrix(x), Matrix(y)) => self.matrices(x, y),
            (Matrix(rows), Tuple { items, .. }) | (Tuple { items, .. }, Matrix(rows)) => {
                // A matrix of one row or one column is a vector.
                if rows.len() != 1 && rows.iter().any(|r| r.len() != 1) {
                    return Ok(Judgement::unequal("shape"));
                }
                let entries = rows.iter().flatten().cloned().map(object).collect::<Result<Vec<_>, _>>()?;
                self.ordered(&entries, items)
            }
            (Ratio(x), Ratio(y)) => self.ratios(x, y),
            (Ratio(parts), Scalar(y)) | (Scalar(y), Ratio(parts)) => match parts.as_slice() {
                [p, q] => {
                    let quotient = Expr::Quotient(Box::new(p.clone()), Box::new(q.clone()));
                    self.scalars(&quotient, y)
                }
                _ => Ok(Judgement::unequal("kind")),
            },
            _ => Ok(Judgement::unequal("kind")),
        }
    }

    /// Compares two objects of which at least one has a name.
    fn named(&mut self, a: &Object, b: &Object) -> Judged {
        match (a, b) {
            (Object::Named(m, x), Object::Named(n, y)) => {
                let letters = |name: &str| name.chars().count() <= 2;
                match (x.as_ref(), y.as_ref()) {
                    // "y = 2x + 1" and "x = (y − 1)/2"
                    (Object::Scalar(p), Object::Scalar(q)) if m != n && letters(m) && letters(n) => {
                        let equation = |name: &str, e: &Expr| [Expr::Symbol(name.to_string()), e.clone()];
                        let equals = [Relation::Equal];
                        self.relations(&equation(m, p), &equals, &equation(n, q), &equals)
                    }
                    _ if m != n && letters(m) && letters(n) => Ok(Judgement::unequal("name")),
                    _ => self.objects(x, y),
                }
            }
            (Object::Named(name, x), Object::Other(Expr::Relation { sides, operators }))
            | (Object::Other(Expr::Relation { sides, operators }), Object::Named(name, x)) => {
                match x.as_ref() {
                    Object::Scalar(e) => {
                        let equation = [Expr::Symbol(name.clone()), e.clone()];
                        self.relations(&equation, &[Relation::Equal], sides, operators)
                    }
                    _ => self.objects(x, if matches!(a, Object::Other(_)) { a } else { b }),
                }
            }
            (Object::Named(name, x), y) | (y, Object::Named(name, x)) => match y {
                // A name alone is not its value: "x" and "x = 3".
                Object::Scalar(e) if name_of(e).as_ref() == Some(name) => Ok(Judgement::unequal("name")),
                y => self.objects(x, y),
            },
            _ => self.objects(a, b),
        }
    }

    /// Compares two numbers or formulas.
    pub(super) fn scalars(&mut self, a: &Expr, b: &Expr) -> Judged {
        let (signed_a, signed_b) = (infinite(a), infinite(b));
        if signed_a.is_some() || signed_b.is_some() {
            return Ok(Judgement::of(signed_a == signed_b, "infinity"));
        }
        let first = self.exactly(a, b)?;
        if first.is_equal() {
            return Ok(first);
        }
        // A per cent sign on one side only: the number before it counts as well.
        if !self.policy.strict_percent {
            let bare = match (a, b) {
                (Expr::Percent(inner), other) if !matches!(other, Expr::Percent(_)) => {
                    Some((inner.as_ref(), other))
                }
                (other, Expr::Percent(inner)) if !matches!(other, Expr::Percent(_)) => {
                    Some((other, inner.as_ref()))
                }
                _ => None,
            };
            if let Some((x, y)) = bare
                && self.exactly(x, y)?.is_equal()
            {
                return Ok(Judgement::equal("percent"));
            }
        }
        // So does the number before a degree sign, and the digits before a base.
        for (x, y) in [(a, b), (b, a)] {
            if let Some(bare) = without_degree(x)
                && without_degree(y).is_none()
                && self.exactly(&bare, y)?.is_equal()
            {
                return Ok(Judgement::equal("degrees"));
            }
            if let (Expr::InBase { digits, .. }, Expr::Number(n)) = (x, y)
                && n.is_integer()
                && n.numer().to_string() == *digits
            {
                return Ok(Judgement::equal("digits"));
            }
        }
        Ok(first)
    }

    /// Compares two formulas by algebra.
    fn exactly(&mut self, a: &Expr, b: &Expr) -> Judged {
        if apart(a, b, self.reading.natural_log, &mut self.budget)? {
            return Ok(Judgement::unequal("numeric"));
        }
        let x = self.canonical(a)?;
        let y = self.canonical(b)?;
        if let (Some(x), Some(y)) = (x.as_rational(), y.as_rational()) {
            return Ok(Judgement::of(x == y, "rational"));
        }
        match poly::same(&x, &y, &mut self.budget)? {
            Some(same) => Ok(Judgement::of(same, "identity")),
            None => numeric::judge(a, b, self.reading.natural_log, &mut self.budget),
        }
    }

    pub(super) fn canonical(&mut self, e: &Expr) -> Result<Fraction, Stop> {
        canon(e, self.reading, &mut self.budget)
    }

    fn quantities(&mut self, x: &Expr, u: &Unit, y: &Expr, v: &Unit) -> Judged {
        match (u, v) {
            (Unit::Known { dimension: d, factor: f, .. }, Unit::Known { dimension: e, factor: g, .. }) => {
                if d != e {
                    return Ok(Judgement::unequal("unit"));
                }
                if f == g {
                    return self.scalars(x, y);
                }
                let scaled =
                    |e: &Expr, by: &Rational| Expr::Product(vec![Expr::Number(by.clone()), e.clone()]);
                self.scalars(&scaled(x, f), &scaled(y, g))
            }
            // Several counts of several things: the things tell them apart.
            (Unit::Noun(m), Unit::Noun(n)) if self.in_list && !same_noun(m, n) => {
                Ok(Judgement::unequal("noun"))
            }
            _ => self.scalars(x, y),
        }
    }

    /// Elementwise.
    fn ordered(&mut self, x: &[Object], y: &[Object]) -> Judged {
        if x.len() != y.len() {
            return Ok(Judgement::unequal("number of values"));
        }
        let mut undecided = None;
        for (a, b) in x.iter().zip(y) {
            let judged = self.objects(a, b)?;
            match judged.verdict {
                crate::Verdict::Equal => {}
                crate::Verdict::Unequal => return Ok(judged),
                crate::Verdict::Undecided => undecided = Some(judged),
            }
        }
        Ok(undecided.unwrap_or(Judgement::equal("elements")))
    }

    /// Each value of one side has an equal on the other.
    fn unordered(&mut self, x: &[Object], y: &[Object]) -> Judged {
        self.in_list = x.len() > 1 && y.len() > 1;
        let mut undecided = None;
        for (these, those) in [(x, y), (y, x)] {
            for a in these {
                let mut found = false;
                let mut doubt = None;
                for b in those {
                    let judged = self.objects(a, b)?;
                    match judged.verdict {
                        crate::Verdict::Equal => {
                            found = true;
                            break;
                        }
                        crate::Verdict::Undecided => doubt = Some(judged),
                        crate::Verdict::Unequal => {}
                    }
                }
                if !found {
                    match doubt {
                        Some(judged) => undecided = Some(judged),
                        None => return Ok(Judgement::unequal("set")),
                    }
                }
            }
        }
        Ok(undecided.unwrap_or(Judgement::equal("set")))
    }

    fn matrices(&mut self, x: &[Vec<Expr>], y: &[Vec<Expr>]) -> Judged {
        let shape = |m: &[Vec<Expr>]| (m.len(), m.first().map_or(0, Vec::len));
        if shape(x) != shape(y) {
            return Ok(Judgement::unequal("shape"));
        }
        let flat = |m: &[Vec<Expr>]| m.iter().flatten().cloned().map(object).collect::<Result<Vec<_>, _>>();
        self.ordered(&flat(x)?, &flat(y)?)
    }

    /// Ratios are equal up to a factor.
    fn ratios(&mut self, x: &[Expr], y: &[Expr]) -> Judged {
        if x.len() != y.len() {
            return Ok(Judgement::unequal("number of values"));
        }
        let product = |a: &Expr, b: &Expr| Expr::Product(vec![a.clone(), b.clone()]);
        for (p, q) in x.iter().zip(y).skip(1) {
            let judged = self.exactly(&product(p, &y[0]), &product(q, &x[0]))?;
            if !judged.is_equal() {
                return Ok(judged);
            }
        }
        Ok(Judgement::equal("ratio"))
    }
}

/// Whether two nouns end in the same word, in the singular or plural.
fn same_noun(m: &str, n: &str) -> bool {
    let last =
        |noun: &str| noun.rsplit(' ').next().unwrap_or("").to_lowercase().trim_end_matches('s').to_string();
    last(m) == last(n)
}

fn unnamed(o: &Object) -> Object {
    match o {
        Object::Named(_, inner) => (**inner).clone(),
        other => other.clone(),
    }
}

/// `Some(true)` for ∞, `Some(false)` for −∞.
pub(super) fn infinite(e: &Expr) -> Option<bool> {
    match e {
        Expr::Constant(Constant::Infinity) => Some(true),
        Expr::Product(factors) => match factors.as_slice() {
            [Expr::Number(n), rest] if *n == int(-1) => infinite(rest).map(|sign| !sign),
            _ => None,
        },
        _ => None,
    }
}

/// The number before a degree sign.
fn without_degree(e: &Expr) -> Option<Expr> {
    match e {
        Expr::Product(factors) => match factors.as_slice() {
            [inner, Expr::Constant(Constant::Degree)] => Some(inner.clone()),
            [Expr::Number(n), inner] => {
                let inner = without_degree(inner)?;
                Some(if n.is_one() { inner } else { Expr::Product(vec![Expr::Number(n.clone()), inner]) })
            }
            _ => None,
        },
        _ => None,
    }
}

/// Whether a logarithm without a base is in it.
pub(super) fn has_log(e: &Expr) -> bool {
    match e {
        Expr::Call(Function::Log, _) => true,
        Expr::Sum(parts) | Expr::Product(parts) | Expr::Call(_, parts) => parts.iter().any(has_log),
        Expr::Quotient(a, b) | Expr::Power(a, b) => has_log(a) || has_log(b),
        Expr::Percent(inner) | Expr::PlusMinus(inner) | Expr::Measured(inner, _) => has_log(inner),
        Expr::List(items) | Expr::Bracket { items, .. } => items.iter().any(has_log),
        Expr::Relation { sides, .. } => sides.iter().any(has_log),
        _ => false,
    }
}
