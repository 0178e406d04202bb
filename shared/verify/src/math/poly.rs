//! Sums of products of generators with exact coefficients, and fractions of such sums.
//!
//! A generator is anything that is not rational: a variable, π, e, i, a prime under a root, or an application that
//! cannot be simplified. Exponents are rational. Two relations are kept: i² = −1, and n^(1/2)·n^(1/2) = n.

use super::bounds::{Budget, MAX_TERMS, Rational, Stop, fit, int, product, size, sum};
use num_bigint::BigInt;
use num_rational::Ratio;
use num_traits::{One, Signed, ToPrimitive, Zero};
use std::cmp::Ordering;

/// An exponent.
pub(super) type Exponent = Ratio<i64>;

/// Something that is no rational number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Generator {
    /// A positive integer under a root; exponents between 0 and 1. `exact` where it is known to be prime.
    Surd { base: BigInt, exact: bool },
    /// i
    Imaginary,
    /// π
    Pi,
    /// e
    Euler,
    /// A variable.
    Symbol(String),
    /// An application, by its normal form.
    Opaque(String),
}

/// A product of generators, each once, sorted.
pub(super) type Monomial = Vec<(Generator, Exponent)>;

/// A sum of monomials with coefficients other than zero, sorted by monomial: most sums have one term or two, for which a
/// sorted list costs less than a tree.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Poly {
    pub terms: Vec<(Monomial, Rational)>,
}

impl Poly {
    pub(super) fn constant(r: Rational) -> Poly {
        Poly { terms: if r.is_zero() { Vec::new() } else { vec![(Vec::new(), r)] } }
    }

    pub(super) fn generator(g: Generator, exponent: Exponent) -> Poly {
        Poly { terms: vec![(vec![(g, exponent)], int(1))] }
    }

    pub(super) fn is_zero(&self) -> bool {
        self.terms.is_empty()
    }

    /// The value, where no generator is in it.
    pub(super) fn as_rational(&self) -> Option<Rational> {
        if self.is_zero() { Some(int(0)) } else { self.as_constant().cloned() }
    }

    /// The value, where it is a rational number other than zero.
    fn as_constant(&self) -> Option<&Rational> {
        match self.terms.as_slice() {
            [(monomial, c)] if monomial.is_empty() => Some(c),
            _ => None,
        }
    }

    fn is_one(&self) -> bool {
        self.as_constant().is_some_and(One::is_one)
    }

    /// The only term, where there is one.
    pub(super) fn single(&self) -> Option<(&Monomial, &Rational)> {
        match self.terms.as_slice() {
            [(monomial, c)] => Some((monomial, c)),
            _ => None,
        }
    }

    pub(super) fn add(mut self, other: &Poly, budget: &mut Budget) -> Result<Poly, Stop> {
        budget.spend(other.terms.len() as u64 * 8)?;
        for (monomial, c) in &other.terms {
            self.accumulate(monomial.clone(), c.clone(), budget)?;
        }
        Ok(self)
    }

    pub(super) fn scale(mut self, by: &Rational, budget: &mut Budget) -> Result<Poly, Stop> {
        if by.is_zero() {
            return Ok(Poly::default());
        }
        for (_, c) in &mut self.terms {
            budget.spend_on(c, by)?;
            *c = fit(product(c, by))?;
        }
        Ok(self)
    }

    pub(super) fn mul(&self, other: &Poly, budget: &mut Budget) -> Result<Poly, Stop> {
        let mut result = Poly::default();
        for (m, a) in &self.terms {
            for (n, b) in &other.terms {
                budget.spend(500 + 60 * (m.len() + n.len()) as u64)?;
                budget.spend_on(a, b)?;
                let (monomial, factor) = multiply(m, n)?;
                budget.spend(size(&factor))?;
                result.accumulate(monomial, product(&product(a, b), &factor), budget)?;
            }
        }
        Ok(result)
    }

    pub(super) fn pow(&self, n: u32, budget: &mut Budget) -> Result<Poly, Stop> {
        let mut result = Poly::constant(int(1));
        let mut square = self.clone();
        let mut left = n;
        while left > 0 {
            if left & 1 == 1 {
                result = result.mul(&square, budget)?;
            }
            left >>= 1;
            if left > 0 {
                square = square.mul(&square, budget)?;
            }
        }
        Ok(result)
    }

    fn accumulate(&mut self, monomial: Monomial, c: Rational, budget: &mut Budget) -> Result<(), Stop> {
        if c.is_zero() {
            return Ok(());
        }
        match self.terms.binary_search_by(|(known, _)| known.cmp(&monomial)) {
            Ok(at) => {
                let there = &mut self.terms[at].1;
                budget.spend_on(there, &c)?;
                *there = sum(there, &c);
                if there.is_zero() {
                    self.terms.remove(at);
                } else if size(there) > super::bounds::MAX_BITS {
                    return Err(Stop::Bound("a number is too long"));
                }
            }
            Err(at) => {
                if self.terms.len() >= MAX_TERMS {
                    return Err(Stop::Bound("too many terms"));
                }
                self.terms.insert(at, (monomial, fit(c)?));
            }
        }
        Ok(())
    }

    /// Whether distinct monomials are known to be linearly independent over the rationals, so that a sum with a term
    /// is not zero: variables, primes under roots and i are; π or e alone beside them is; anything else may not be.
    pub(super) fn is_independent(&self) -> bool {
        let generators = || self.terms.iter().flat_map(|(monomial, _)| monomial).map(|(g, _)| g);
        let has = |wanted: Generator| generators().any(|g| *g == wanted);
        generators().all(|g| !matches!(g, Generator::Opaque(_) | Generator::Surd { exact: false, .. }))
            && !(has(Generator::Pi) && has(Generator::Euler))
    }
}

/// The product of two monomials and the rational factor that comes out of roots and i².
fn multiply(a: &Monomial, b: &Monomial) -> Result<(Monomial, Rational), Stop> {
    if a.is_empty() || b.is_empty() {
        return Ok((if a.is_empty() { b.clone() } else { a.clone() }, int(1)));
    }
    let mut merged = Vec::with_capacity(a.len() + b.len());
    let (mut a, mut b) = (a.as_slice(), b.as_slice());
    while let (Some((g, e)), Some((h, f))) = (a.first(), b.first()) {
        let order = g.cmp(h);
        merged.push(match order {
            Ordering::Less => (g.clone(), *e),
            Ordering::Greater => (h.clone(), *f),
            Ordering::Equal => (g.clone(), checked_sum(*e, *f)?),
        });
        a = &a[usize::from(order.is_le())..];
        b = &b[usize::from(order.is_ge())..];
    }
    merged.extend_from_slice(a);
    merged.extend_from_slice(b);
    normalize(merged)
}

/// Exponents into their ranges: roots between 0 and 1, i either 0 or 1, none zero. Takes each generator once, sorted.
pub(super) fn normalize(exponents: Monomial) -> Result<(Monomial, Rational), Stop> {
    let mut factor = int(1);
    let mut monomial = Vec::with_capacity(exponents.len());
    for (g, e) in exponents {
        if e.is_zero() {
            continue;
        }
        match &g {
            Generator::Surd { base, .. } => {
                let whole = e.floor();
                let n = whole.to_integer();
                if n.unsigned_abs().saturating_mul(base.bits()) > super::bounds::MAX_BITS {
                    return Err(Stop::Bound("a number is too long"));
                }
                factor *= Rational::from(base.clone()).pow(n as i32);
                let rest = e - whole;
                if !rest.is_zero() {
                    monomial.push((g, rest));
                }
            }
            Generator::Imaginary if e.is_integer() => match e.to_integer().rem_euclid(4) {
                0 => {}
                1 => monomial.push((g, Exponent::one())),
                2 => factor = -factor,
                _ => {
                    factor = -factor;
                    monomial.push((g, Exponent::one()));
                }
            },
            _ => monomial.push((g, e)),
        }
    }
    Ok((monomial, factor))
}

/// The sum of two exponents, as long as it stays small.
pub(super) fn checked_sum(a: Exponent, b: Exponent) -> Result<Exponent, Stop> {
    use num_traits::CheckedAdd;
    a.checked_add(&b)
        .filter(|e| e.numer().abs() < 1 << 40 && *e.denom() < 1 << 40)
        .ok_or(Stop::Bound("an exponent is too large"))
}

/// The product of two exponents, as long as it stays small.
pub(super) fn checked_product(a: Exponent, b: Exponent) -> Result<Exponent, Stop> {
    use num_traits::CheckedMul;
    a.checked_mul(&b)
        .filter(|e| e.numer().abs() < 1 << 40 && *e.denom() < 1 << 40)
        .ok_or(Stop::Bound("an exponent is too large"))
}

/// A rational as an exponent, where it is small enough.
pub(super) fn small(r: &Rational) -> Option<Exponent> {
    let (n, d) = (r.numer().to_i64()?, r.denom().to_i64()?);
    (n.abs() < 1 << 40 && d < 1 << 40).then(|| Exponent::new(n, d))
}

/// A fraction of two sums. The denominator has at least two terms, or is 1.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fraction {
    pub above: Poly,
    pub below: Poly,
}

impl Fraction {
    pub(super) fn from_poly(above: Poly) -> Fraction {
        Fraction { above, below: Poly::constant(int(1)) }
    }

    pub(super) fn constant(r: Rational) -> Fraction {
        Fraction::from_poly(Poly::constant(r))
    }

    /// The value, where it is a rational number.
    pub(super) fn as_rational(&self) -> Option<Rational> {
        let above = self.above.as_rational()?;
        if self.below.is_one() {
            return Some(above);
        }
        let below = self.below.as_rational()?;
        (!below.is_zero()).then(|| above / below)
    }

    /// The value, where it is a rational number other than zero over 1, as most parts of most answers are.
    fn as_constant(&self) -> Option<&Rational> {
        self.above.as_constant().filter(|_| self.below.is_one())
    }

    /// The sum it is, where the denominator is 1.
    pub(super) fn as_poly(&self) -> Option<&Poly> {
        self.below.is_one().then_some(&self.above)
    }

    pub(super) fn add(&self, other: &Fraction, budget: &mut Budget) -> Result<Fraction, Stop> {
        if let (Some(a), Some(b)) = (self.as_constant(), other.as_constant()) {
            budget.spend_on(a, b)?;
            return Ok(Fraction::constant(fit(sum(a, b))?));
        }
        if self.below == other.below {
            return Fraction::reduced(
                self.above.clone().add(&other.above, budget)?,
                self.below.clone(),
                budget,
            );
        }
        let left = self.above.mul(&other.below, budget)?;
        let right = other.above.mul(&self.below, budget)?;
        Fraction::reduced(left.add(&right, budget)?, self.below.mul(&other.below, budget)?, budget)
    }

    pub(super) fn mul(&self, other: &Fraction, budget: &mut Budget) -> Result<Fraction, Stop> {
        if let (Some(a), Some(b)) = (self.as_constant(), other.as_constant()) {
            budget.spend_on(a, b)?;
            return Ok(Fraction::constant(fit(product(a, b))?));
        }
        if self.below.is_one() && other.below.is_one() {
            return Ok(Fraction::from_poly(self.above.mul(&other.above, budget)?));
        }
        Fraction::reduced(
            self.above.mul(&other.above, budget)?,
            self.below.mul(&other.below, budget)?,
            budget,
        )
    }

    pub(super) fn inverse(&self, budget: &mut Budget) -> Result<Fraction, Stop> {
        if self.above.is_zero() {
            return Err(Stop::Undefined);
        }
        if let Some(c) = self.as_constant() {
            return Ok(Fraction::constant(c.recip()));
        }
        Fraction::reduced(self.below.clone(), self.above.clone(), budget)
    }

    pub(super) fn pow(&self, n: i64, budget: &mut Budget) -> Result<Fraction, Stop> {
        let base = if n < 0 { self.inverse(budget)? } else { self.clone() };
        let n = u32::try_from(n.unsigned_abs()).map_err(|_| Stop::Bound("an exponent is too large"))?;
        // A rational to the n has n times as many bits; say so before it is computed.
        let coefficients = || base.above.terms.iter().chain(&base.below.terms).map(|(_, c)| c);
        let longest = coefficients().map(size).max().unwrap_or(0);
        let trivial = |r: &Rational| r.numer().abs().is_one() && r.denom().is_one();
        let units = coefficients().all(trivial);
        if !units && longest.saturating_sub(1).saturating_mul(u64::from(n)) > 2 * super::bounds::MAX_BITS {
            return Err(Stop::Bound("a power is too large"));
        }
        Fraction::reduced(base.above.pow(n, budget)?, base.below.pow(n, budget)?, budget)
    }

    /// A denominator of one term is multiplied into the numerator.
    pub(super) fn reduced(above: Poly, below: Poly, budget: &mut Budget) -> Result<Fraction, Stop> {
        if below.is_zero() {
            return Err(Stop::Undefined);
        }
        if let Some((monomial, c)) = below.single() {
            if monomial.is_empty() && c.is_one() {
                return Ok(Fraction { above, below });
            }
            let (monomial, factor) = normalize(monomial.iter().map(|(g, e)| (g.clone(), -e)).collect())?;
            let inverse = Poly { terms: vec![(monomial, factor / c)] };
            return Ok(Fraction::from_poly(above.mul(&inverse, budget)?));
        }
        if above.is_zero() {
            return Ok(Fraction::constant(int(0)));
        }
        // The same sum above and below, up to a factor: x-free quotients such as (2 + 2√2)/(1 + √2).
        if above.terms.len() == below.terms.len()
            && let (Some((m, a)), Some((n, b))) = (above.terms.first(), below.terms.first())
            && m == n
        {
            let ratio = a / b;
            budget.spend(size(&ratio) * below.terms.len() as u64 / 8)?;
            if above.terms.iter().zip(&below.terms).all(|((m, a), (n, b))| m == n && *a == b * &ratio) {
                return Ok(Fraction::constant(ratio));
            }
        }
        Ok(Fraction { above, below })
    }
}

/// Whether two fractions are the same, by cross-multiplication; absent where that cannot tell them apart for certain.
pub(super) fn same(a: &Fraction, b: &Fraction, budget: &mut Budget) -> Result<Option<bool>, Stop> {
    if a == b {
        return Ok(Some(true));
    }
    let minus = int(-1);
    let difference =
        a.above.mul(&b.below, budget)?.add(&b.above.mul(&a.below, budget)?.scale(&minus, budget)?, budget)?;
    if difference.is_zero() {
        return Ok(Some(true));
    }
    Ok(difference.is_independent().then_some(false))
}
