//! What kind of thing an expression is, once labels, ± and lists are settled.

use super::bounds::{MAX_VALUES, Stop};
use super::expr::{Delimiter, Expr, Relation};
use super::numeric::collect;
use super::unit::Unit;
use std::collections::BTreeSet;

/// A thing that answers can be.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Object {
    /// A number or a formula.
    Scalar(Expr),
    /// A quantity with a unit.
    Quantity(Expr, Unit),
    /// `name = object`.
    Named(String, Box<Object>),
    /// Values without order: a set in braces, several answers, ±.
    Values {
        items: Vec<Object>,
        braces: bool,
    },
    /// Values in order: a point, a vector, a sequence. The delimiters tell an interval from a point.
    Tuple {
        items: Vec<Object>,
        open: Delimiter,
        close: Delimiter,
    },
    Matrix(Vec<Vec<Expr>>),
    /// `a : b`.
    Ratio(Vec<Expr>),
    /// Any other relation or set expression.
    Other(Expr),
}

/// Sorts an expression into its kind.
pub(super) fn object(e: Expr) -> Result<Object, Stop> {
    Ok(match e {
        Expr::Measured(value, unit) => match object(*value)? {
            Object::Scalar(value) => Object::Quantity(value, unit),
            Object::Values { items, braces } => Object::Values {
                items: items
                    .into_iter()
                    .map(|item| match item {
                        Object::Scalar(value) => Object::Quantity(value, unit.clone()),
                        other => other,
                    })
                    .collect(),
                braces,
            },
            other => other,
        },
        Expr::List(items) => values(items, false)?,
        Expr::Bracket { open: Delimiter::Curly, items, .. } => values(items, true)?,
        Expr::Bracket { open, close, items } => bracket(open, close, items)?,
        Expr::EmptySet => Object::Values { items: Vec::new(), braces: true },
        Expr::Matrix(rows) => Object::Matrix(rows),
        Expr::Ratio(parts) => Object::Ratio(parts),
        Expr::Relation { sides, operators } => relation(sides, operators)?,
        e @ (Expr::Union(_) | Expr::Intersection(_) | Expr::Difference(..) | Expr::NumberSet(_)) => {
            Object::Other(e)
        }
        scalar => {
            let mut signs = spread(&scalar)?;
            if signs.len() == 1 {
                Object::Scalar(signs.remove(0))
            } else {
                Object::Values { items: signs.into_iter().map(Object::Scalar).collect(), braces: false }
            }
        }
    })
}

/// Several values; lists within lists are one list, and `x = 1, x = 2` are values of x.
fn values(items: Vec<Expr>, braces: bool) -> Result<Object, Stop> {
    let mut flat = Vec::new();
    for item in items {
        match object(item)? {
            Object::Values { items, braces: false } => flat.extend(items),
            other => flat.push(other),
        }
    }
    // "x = 1, 2" and "x = 1 or x = 2" name the same unknown.
    if !braces
        && let Some(Object::Named(name, _)) = flat.first()
        && flat.iter().all(|o| match o {
            Object::Named(other, _) => other == name,
            Object::Scalar(_) | Object::Quantity(..) => true,
            _ => false,
        })
    {
        let name = name.clone();
        let items =
            flat.into_iter().map(|o| if let Object::Named(_, inner) = o { *inner } else { o }).collect();
        return Ok(Object::Named(name, Box::new(Object::Values { items, braces: false })));
    }
    Ok(Object::Values { items: flat, braces })
}

/// Items between parentheses or square brackets; rows of equal length in square brackets are a matrix.
fn bracket(open: Delimiter, close: Delimiter, items: Vec<Expr>) -> Result<Object, Stop> {
    let row = |e: &Expr| match e {
        Expr::Bracket { open: Delimiter::Square, close: Delimiter::Square, items } => Some(items.clone()),
        _ => None,
    };
    if open == Delimiter::Square
        && close == Delimiter::Square
        && let Some(rows) = items.iter().map(row).collect::<Option<Vec<_>>>()
        && rows.iter().all(|r| r.len() == rows[0].len())
    {
        return Ok(Object::Matrix(rows));
    }
    let items = items.into_iter().map(object).collect::<Result<_, _>>()?;
    Ok(Object::Tuple { items, open, close })
}

/// A relation whose left (or right) side is only a name stands for its other side.
fn relation(mut sides: Vec<Expr>, operators: Vec<Relation>) -> Result<Object, Stop> {
    if operators == [Relation::Equal] || operators == [Relation::In] {
        if let Some(name) = name_of(&sides[0]) {
            return Ok(Object::Named(name, Box::new(object(sides.remove(1))?)));
        }
        if operators == [Relation::Equal]
            && let Some(name) = name_of(&sides[1])
        {
            return Ok(Object::Named(name, Box::new(object(sides.remove(0))?)));
        }
    }
    // "x = 2 + 3 = 5": the last side is the answer.
    if operators.len() > 1
        && operators.iter().all(|o| *o == Relation::Equal)
        && let Some(name) = name_of(&sides[0])
    {
        let last = sides.pop().ok_or(Stop::Unread)?;
        return Ok(Object::Named(name, Box::new(object(last)?)));
    }
    // "2 + 3 = 5": likewise, where there is no unknown.
    if operators.iter().all(|o| *o == Relation::Equal) {
        let mut symbols = BTreeSet::new();
        sides.iter().for_each(|side| collect(side, &mut symbols, &mut false));
        if symbols.is_empty()
            && let Some(last) = sides.pop()
        {
            return object(last);
        }
    }
    Ok(Object::Other(Expr::Relation { sides, operators }))
}

/// The name an expression is: a variable, or a function of one (`f(x)`).
pub(super) fn name_of(e: &Expr) -> Option<String> {
    match e {
        Expr::Symbol(name) => Some(name.clone()),
        Expr::Product(factors) => match factors.as_slice() {
            [Expr::Symbol(f), Expr::Symbol(x)]
                if matches!(f.trim_end_matches('\''), "f" | "g" | "h" | "p" | "P") =>
            {
                Some(format!("{f}({x})"))
            }
            _ => None,
        },
        _ => None,
    }
}

/// Every choice of signs: `a ± b` becomes `a + b` and `a − b`. The first choice takes all the upper signs.
fn spread(e: &Expr) -> Result<Vec<Expr>, Stop> {
    if !has_sign(e) {
        return Ok(vec![e.clone()]);
    }
    let many = |parts: &[Expr], build: &dyn Fn(Vec<Expr>) -> Expr| -> Result<Vec<Expr>, Stop> {
        let mut combined: Vec<Vec<Expr>> = vec![Vec::new()];
        for part in parts {
            let choices = spread(part)?;
            if combined.len() * choices.len() > MAX_VALUES {
                return Err(Stop::Bound("too many values"));
            }
            combined = combined
                .iter()
                .flat_map(|done| {
                    choices.iter().map(move |c| done.iter().cloned().chain([c.clone()]).collect())
                })
                .collect();
        }
        Ok(combined.into_iter().map(build).collect())
    };
    let two = |a: &Expr, b: &Expr, build: &dyn Fn(Box<Expr>, Box<Expr>) -> Expr| {
        many(&[a.clone(), b.clone()], &|mut parts| {
            let b = parts.pop().unwrap_or(Expr::EmptySet);
            let a = parts.pop().unwrap_or(Expr::EmptySet);
            build(Box::new(a), Box::new(b))
        })
    };
    match e {
        Expr::PlusMinus(inner) => {
            let inner = spread(inner)?;
            if 2 * inner.len() > MAX_VALUES {
                return Err(Stop::Bound("too many values"));
            }
            let minus: Vec<Expr> = inner.iter().cloned().map(super::parse::negated).collect();
            Ok(inner.into_iter().chain(minus).collect())
        }
        Expr::Sum(parts) => many(parts, &Expr::Sum),
        Expr::Product(parts) => many(parts, &Expr::Product),
        Expr::Call(f, parts) => many(parts, &|parts| Expr::Call(*f, parts)),
        Expr::Quotient(a, b) => two(a, b, &Expr::Quotient),
        Expr::Power(a, b) => two(a, b, &Expr::Power),
        Expr::Percent(inner) => many(&[(**inner).clone()], &|mut parts| {
            Expr::Percent(Box::new(parts.pop().unwrap_or(Expr::EmptySet)))
        }),
        _ => Err(Stop::Unread),
    }
}

fn has_sign(e: &Expr) -> bool {
    match e {
        Expr::PlusMinus(_) => true,
        Expr::Sum(parts) | Expr::Product(parts) | Expr::Call(_, parts) => parts.iter().any(has_sign),
        Expr::Quotient(a, b) | Expr::Power(a, b) => has_sign(a) || has_sign(b),
        Expr::Percent(inner) => has_sign(inner),
        _ => false,
    }
}
