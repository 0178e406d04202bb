//! Sets of real numbers as unions of intervals, and relations between formulas.

use super::bounds::{Rational, Stop, int};
use super::canon::canon;
use super::compare::{Comparison, infinite};
use super::expr::{Delimiter, Expr, Relation};
use super::numeric;
use super::object::{Object, name_of};
use super::poly::{Exponent, Fraction, Generator, Poly};
use crate::{Judgement, Verdict};
use num_traits::{One, Signed, Zero};
use std::cmp::Ordering;

/// Most intervals of one set.
const MAX_SPANS: usize = 64;

/// One end of an interval.
#[derive(Debug, Clone, PartialEq)]
enum End {
    Below,
    At(Expr),
    Above,
}

/// An interval; an end is inside or not.
#[derive(Debug, Clone, PartialEq)]
struct Span {
    lo: End,
    lo_in: bool,
    hi: End,
    hi_in: bool,
}

/// A union of intervals: in order, apart, none empty.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Region {
    spans: Vec<Span>,
}

impl Comparison<'_> {
    /// Judges two objects of which at least one is a relation or a set expression.
    pub(super) fn sets(&mut self, a: &Object, b: &Object) -> Result<Judgement, Stop> {
        if let (Some(x), Some(y)) = (self.region(a)?, self.region(b)?) {
            return self.regions(&x, &y);
        }
        match (a, b) {
            (
                Object::Other(Expr::Relation { sides: s, operators: o }),
                Object::Other(Expr::Relation { sides: t, operators: p }),
            ) => self.relations(s, o, t, p),
            (Object::Other(x), Object::Other(y)) if x == y => Ok(Judgement::equal("same form")),
            _ => Ok(Judgement::unequal("kind")),
        }
    }

    /// The set of real numbers an object is, where it is one.
    fn region(&mut self, o: &Object) -> Result<Option<Region>, Stop> {
        self.budget.spend(64)?;
        let spans = match o {
            Object::Tuple { items, open, close } => {
                let [Object::Scalar(lo), Object::Scalar(hi)] = items.as_slice() else { return Ok(None) };
                let inside = |d: &Delimiter| *d == Delimiter::Square;
                let span = Span { lo: end(lo), lo_in: inside(open), hi: end(hi), hi_in: inside(close) };
                vec![span]
            }
            Object::Values { items, .. } if items.iter().any(|i| matches!(i, Object::Other(_))) => {
                // "x > 1, x < 2": both hold where both can, else either.
                let Some(parts) =
                    items.iter().map(|i| self.region(i)).collect::<Result<Option<Vec<_>>, _>>()?
                else {
                    return Ok(None);
                };
                let both = self.intersection(&parts)?;
                if !both.spans.is_empty() {
                    return Ok(Some(both));
                }
                parts.into_iter().flat_map(|r| r.spans).collect()
            }
            Object::Values { items, .. } => {
                let mut points = Vec::new();
                for item in items {
                    let Object::Scalar(e) = item else { return Ok(None) };
                    points.push(Span { lo: end(e), lo_in: true, hi: end(e), hi_in: true });
                }
                points
            }
            Object::Other(e) => return self.region_of(e),
            _ => return Ok(None),
        };
        self.ordered_spans(spans).map(Some)
    }

    fn region_of(&mut self, e: &Expr) -> Result<Option<Region>, Stop> {
        match e {
            Expr::NumberSet('R') => {
                let all = Span { lo: End::Below, lo_in: false, hi: End::Above, hi_in: false };
                Ok(Some(Region { spans: vec![all] }))
            }
            Expr::Union(parts) | Expr::Intersection(parts) => {
                let mut regions = Vec::new();
                for part in parts {
                    let Some(region) = self.region(&super::object::object(part.clone())?)? else {
                        return Ok(None);
                    };
                    regions.push(region);
                }
                if matches!(e, Expr::Intersection(_)) {
                    return self.intersection(&regions).map(Some);
                }
                self.ordered_spans(regions.into_iter().flat_map(|r| r.spans).collect()).map(Some)
            }
            Expr::Difference(a, b) => {
                let a = self.region(&super::object::object((**a).clone())?)?;
                let b = self.region(&super::object::object((**b).clone())?)?;
                let (Some(a), Some(b)) = (a, b) else { return Ok(None) };
                let rest = complement(&b);
                self.intersection(&[a, rest]).map(Some)
            }
            Expr::Relation { sides, operators } => {
                let mut parts = Vec::new();
                for (pair, operator) in sides.windows(2).zip(operators) {
                    let Some(region) = self.half_line(&pair[0], *operator, &pair[1])? else {
                        return Ok(None);
                    };
                    parts.push(region);
                }
                // All sides must speak of one variable.
                let mut symbols = std::collections::BTreeSet::new();
                sides.iter().for_each(|side| numeric::collect(side, &mut symbols, &mut false));
                if symbols.len() != 1 {
                    return Ok(None);
                }
                self.intersection(&parts).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// `a < b`, where it is linear in one variable: a half-line, or all but a point.
    fn half_line(&mut self, a: &Expr, operator: Relation, b: &Expr) -> Result<Option<Region>, Stop> {
        let (operator, bound) = if name_of(a).is_some() {
            (operator, b.clone())
        } else if name_of(b).is_some() {
            (operator.reversed(), a.clone())
        } else {
            let Some((slope, bound)) = self.linear(a, b)? else { return Ok(None) };
            (if slope.is_negative() { operator.reversed() } else { operator }, Expr::Number(bound))
        };
        let at = end(&bound);
        let span = |lo, lo_in, hi, hi_in| Span { lo, lo_in, hi, hi_in };
        let spans = match operator {
            Relation::Less => vec![span(End::Below, false, at, false)],
            Relation::LessEqual => vec![span(End::Below, false, at, true)],
            Relation::Greater => vec![span(at, false, End::Above, false)],
            Relation::GreaterEqual => vec![span(at, true, End::Above, false)],
            Relation::NotEqual => {
                vec![span(End::Below, false, at.clone(), false), span(at, false, End::Above, false)]
            }
            Relation::Equal => vec![span(at.clone(), true, at, true)],
            Relation::In => return Ok(None),
        };
        Ok(Some(Region { spans }))
    }

    /// `a − b = m·x + c` with rational m ≠ 0 and c: m, and the zero −c/m.
    fn linear(&mut self, a: &Expr, b: &Expr) -> Result<Option<(Rational, Rational)>, Stop> {
        let difference = self.difference(a, b)?;
        let Some(poly) = difference.as_poly() else { return Ok(None) };
        let (mut slope, mut constant) = (int(0), int(0));
        for (monomial, c) in &poly.terms {
            match monomial.as_slice() {
                [] => constant = c.clone(),
                [(Generator::Symbol(_), e)] if *e == Exponent::one() && slope.is_zero() => slope = c.clone(),
                _ => return Ok(None),
            }
        }
        Ok((!slope.is_zero()).then(|| (slope.clone(), -constant / slope)))
    }

    fn difference(&mut self, a: &Expr, b: &Expr) -> Result<Fraction, Stop> {
        let minus = Expr::Product(vec![Expr::Number(int(-1)), b.clone()]);
        canon(&Expr::Sum(vec![a.clone(), minus]), self.reading, &mut self.budget)
    }

    /// The order of two ends. Both at the same place compare as equal.
    fn order(&mut self, a: &End, b: &End) -> Result<Ordering, Stop> {
        let unclear = Stop::Bound("ends cannot be ordered");
        Ok(match (a, b) {
            (End::Below, End::Below) | (End::Above, End::Above) => Ordering::Equal,
            (End::Below, _) | (_, End::Above) => Ordering::Less,
            (_, End::Below) | (End::Above, _) => Ordering::Greater,
            (End::At(x), End::At(y)) => {
                let (p, q) = (self.canonical(x)?, self.canonical(y)?);
                if let (Some(p), Some(q)) = (p.as_rational(), q.as_rational()) {
                    return Ok(p.cmp(&q));
                }
                if self.scalars(x, y)?.verdict == Verdict::Equal {
                    return Ok(Ordering::Equal);
                }
                numeric::order(x, y, &mut self.budget)?.ok_or(unclear)?
            }
        })
    }

    /// Sorts intervals, drops empty ones and joins those that touch.
    fn ordered_spans(&mut self, spans: Vec<Span>) -> Result<Region, Stop> {
        if spans.len() > MAX_SPANS {
            return Err(Stop::Bound("too many intervals"));
        }
        let mut sorted: Vec<Span> = Vec::new();
        for span in spans {
            let empty = match self.order(&span.lo, &span.hi)? {
                Ordering::Less => false,
                Ordering::Equal => !(span.lo_in && span.hi_in),
                Ordering::Greater => true,
            };
            if empty {
                continue;
            }
            let mut at = sorted.len();
            while at > 0 {
                let before = match self.order(&sorted[at - 1].lo, &span.lo)? {
                    Ordering::Less => true,
                    Ordering::Equal => sorted[at - 1].lo_in >= span.lo_in,
                    Ordering::Greater => false,
                };
                if before {
                    break;
                }
                at -= 1;
            }
            sorted.insert(at, span);
        }
        let mut joined: Vec<Span> = Vec::new();
        for span in sorted {
            if let Some(last) = joined.last_mut() {
                let touches = match self.order(&span.lo, &last.hi)? {
                    Ordering::Less => true,
                    Ordering::Equal => span.lo_in || last.hi_in,
                    Ordering::Greater => false,
                };
                if touches {
                    match self.order(&last.hi, &span.hi)? {
                        Ordering::Less => {
                            last.hi = span.hi;
                            last.hi_in = span.hi_in;
                        }
                        Ordering::Equal => last.hi_in |= span.hi_in,
                        Ordering::Greater => {}
                    }
                    continue;
                }
            }
            joined.push(span);
        }
        Ok(Region { spans: joined })
    }

    fn intersection(&mut self, regions: &[Region]) -> Result<Region, Stop> {
        let all = Span { lo: End::Below, lo_in: false, hi: End::Above, hi_in: false };
        let mut result = Region { spans: vec![all] };
        for region in regions {
            let mut spans = Vec::new();
            for a in &result.spans {
                for b in &region.spans {
                    let (lo, lo_in) = match self.order(&a.lo, &b.lo)? {
                        Ordering::Less => (&b.lo, b.lo_in),
                        Ordering::Equal => (&a.lo, a.lo_in && b.lo_in),
                        Ordering::Greater => (&a.lo, a.lo_in),
                    };
                    let (hi, hi_in) = match self.order(&a.hi, &b.hi)? {
                        Ordering::Less => (&a.hi, a.hi_in),
                        Ordering::Equal => (&a.hi, a.hi_in && b.hi_in),
                        Ordering::Greater => (&b.hi, b.hi_in),
                    };
                    spans.push(Span { lo: lo.clone(), lo_in, hi: hi.clone(), hi_in });
                }
            }
            result = self.ordered_spans(spans)?;
        }
        Ok(result)
    }

    fn regions(&mut self, x: &Region, y: &Region) -> Result<Judgement, Stop> {
        let different = Ok(Judgement::unequal("interval"));
        if x.spans.len() != y.spans.len() {
            return different;
        }
        for (a, b) in x.spans.iter().zip(&y.spans) {
            if a.lo_in != b.lo_in
                || a.hi_in != b.hi_in
                || self.order(&a.lo, &b.lo)? != Ordering::Equal
                || self.order(&a.hi, &b.hi)? != Ordering::Equal
            {
                return different;
            }
        }
        Ok(Judgement::equal("interval"))
    }

    /// Relations of several variables: equal where the differences of their sides are proportional (for an order, by
    /// a factor whose sign agrees with its direction).
    pub(super) fn relations(
        &mut self,
        s: &[Expr],
        o: &[Relation],
        t: &[Expr],
        p: &[Relation],
    ) -> Result<Judgement, Stop> {
        let ([a, b], [c, d], [o], [p]) = (s, t, o, p) else { return Ok(Judgement::unequal("kind")) };
        if *o == Relation::In || *p == Relation::In {
            return Ok(Judgement::unequal("kind"));
        }
        let (x, y) = (self.difference(a, b)?, self.difference(c, d)?);
        let Some(factor) = ratio(&x.above, &y.above) else {
            let certain = x.above.is_independent() && y.above.is_independent();
            return Ok(if certain {
                Judgement::unequal("equation")
            } else {
                Judgement::undecided("equation")
            });
        };
        let ordered = |r: &Relation| !matches!(r, Relation::Equal | Relation::NotEqual);
        if ordered(o) && x.below != y.below {
            return Ok(Judgement::undecided("equation"));
        }
        let p = if ordered(p) && factor.is_negative() { p.reversed() } else { *p };
        Ok(Judgement::of(*o == p, "equation"))
    }
}

/// The rational factor between two sums, where there is one.
fn ratio(x: &Poly, y: &Poly) -> Option<Rational> {
    let ((m, a), (n, b)) = (x.terms.first()?, y.terms.first()?);
    if m != n || x.terms.len() != y.terms.len() {
        return None;
    }
    let factor = a / b;
    x.terms.iter().zip(&y.terms).all(|((m, a), (n, b))| m == n && *a == b * &factor).then_some(factor)
}

fn end(e: &Expr) -> End {
    match infinite(e) {
        Some(true) => End::Above,
        Some(false) => End::Below,
        None => End::At(e.clone()),
    }
}

/// What a set of intervals in order leaves out.
fn complement(region: &Region) -> Region {
    let mut spans = Vec::new();
    let (mut lo, mut lo_in) = (End::Below, false);
    for span in &region.spans {
        spans.push(Span { lo, lo_in, hi: span.lo.clone(), hi_in: !span.lo_in });
        lo = span.hi.clone();
        lo_in = !span.hi_in;
    }
    spans.push(Span { lo, lo_in, hi: End::Above, hi_in: false });
    // Ends at infinity are outside; what begins or ends there is empty and dropped by the next intersection.
    for span in &mut spans {
        span.lo_in &= matches!(span.lo, End::At(_));
        span.hi_in &= matches!(span.hi, End::At(_));
    }
    Region { spans }
}
