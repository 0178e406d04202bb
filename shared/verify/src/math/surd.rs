//! Exact values that need factoring: roots of rational numbers, and trigonometric values at simple fractions of π.

use super::bounds::{Budget, Rational, Stop, int};
use super::expr::Function;
use super::poly::{Exponent, Fraction, Generator, Poly, normalize};
use num_bigint::BigInt;
use num_integer::Integer;
use num_traits::{One, Signed, ToPrimitive, Zero};
use std::collections::BTreeMap;

/// Primes up to this are divided out.
const TRIAL: u32 = 10_000;

/// A factorization.
pub(super) struct Factors {
    /// Prime (or unfactored) bases and their powers.
    pub powers: BTreeMap<BigInt, u32>,
    /// The unfactored bases among them: products of primes above the trial bound.
    pub unfactored: Option<BigInt>,
}

/// Factors |n| by trial division; what is left is kept whole, as the root it is a perfect power of.
pub(super) fn factors(n: &BigInt, budget: &mut Budget) -> Result<Factors, Stop> {
    if let Some(n) = n.abs().to_u32().filter(|n| *n < TRIAL * TRIAL) {
        return small_factors(n, budget);
    }
    let mut left = n.abs();
    let mut powers = BTreeMap::new();
    let mut p = 2u32;
    while p <= TRIAL && !left.is_one() && !left.is_zero() {
        if BigInt::from(p) * p > left {
            break; // what is left is prime
        }
        budget.spend(1 + left.bits() / 64)?;
        while (&left % p).is_zero() {
            left /= p;
            *powers.entry(BigInt::from(p)).or_insert(0) += 1;
        }
        p += if p == 2 { 1 } else { 2 };
    }
    let mut unfactored = None;
    if left > BigInt::one() {
        let prime = left < BigInt::from(u64::from(TRIAL) * u64::from(TRIAL));
        let mut power = 1;
        if !prime {
            for k in [2u32, 3, 5, 7] {
                budget.spend(left.bits() * 8)?;
                loop {
                    let root = left.nth_root(k);
                    if root.pow(k) != left {
                        break;
                    }
                    left = root;
                    power *= k;
                }
            }
        }
        if left >= BigInt::from(u64::from(TRIAL) * u64::from(TRIAL)) {
            unfactored = Some(left.clone());
        }
        *powers.entry(left).or_insert(0) += power;
    }
    Ok(Factors { powers, unfactored })
}

/// Factors a number below the square of the trial bound, of which nothing is left unfactored.
fn small_factors(mut left: u32, budget: &mut Budget) -> Result<Factors, Stop> {
    let mut powers = BTreeMap::new();
    let mut p = 2u32;
    while left > 1 {
        budget.spend(1)?;
        // What no prime up to its root divides is prime itself.
        let prime = if p * p > left { left } else { p };
        let mut power = 0;
        while left.is_multiple_of(prime) {
            left /= prime;
            power += 1;
        }
        if power > 0 {
            powers.insert(BigInt::from(prime), power);
        }
        p += if p == 2 { 1 } else { 2 };
    }
    Ok(Factors { powers, unfactored: None })
}

/// `r ^ e` for a positive rational `r`: a rational times roots of primes.
pub(super) fn power_of_rational(r: &Rational, e: Exponent, budget: &mut Budget) -> Result<Poly, Stop> {
    let mut exponents: BTreeMap<Generator, Exponent> = BTreeMap::new();
    for (n, sign) in [(r.numer(), 1i64), (r.denom(), -1)] {
        let found = factors(n, budget)?;
        for (base, power) in found.powers {
            let exact = found.unfactored.as_ref() != Some(&base);
            let by = super::poly::checked_product(Exponent::from(sign * i64::from(power)), e)?;
            let sum = exponents.entry(Generator::Surd { base, exact }).or_insert_with(Exponent::zero);
            *sum = super::poly::checked_sum(*sum, by)?;
        }
    }
    let (monomial, factor) = normalize(exponents.into_iter().collect())?;
    Ok(Poly { terms: vec![(monomial, factor)] })
}

/// The exact value at a multiple of π/12; absent at any other argument.
pub(super) fn trigonometric(
    f: Function,
    x: &Fraction,
    budget: &mut Budget,
) -> Result<Option<Fraction>, Stop> {
    // x = π · (k / 12)
    let Some(poly) = x.as_poly() else { return Ok(None) };
    let twelfths = if poly.is_zero() {
        int(0)
    } else {
        match poly.single() {
            Some((m, c)) if m.as_slice() == [(Generator::Pi, Exponent::one())] => c * int(12),
            _ => return Ok(None),
        }
    };
    if !twelfths.is_integer() {
        return Ok(None);
    }
    let k = twelfths.to_integer().mod_floor(&BigInt::from(24)).to_i64().unwrap_or(0);
    let (sine, cosine) = (sine(k, budget)?, sine((k + 6) % 24, budget)?);
    let over = |a: &Fraction, b: &Fraction, budget: &mut Budget| a.mul(&b.inverse(budget)?, budget);
    let one = Fraction::constant(int(1));
    Ok(Some(match f {
        Function::Sin => sine,
        Function::Cos => cosine,
        Function::Tan => over(&sine, &cosine, budget)?,
        Function::Cot => over(&cosine, &sine, budget)?,
        Function::Sec => over(&one, &cosine, budget)?,
        Function::Csc => over(&one, &sine, budget)?,
        _ => return Ok(None),
    }))
}

/// sin(k·15°) for 0 ≤ k < 24.
fn sine(k: i64, budget: &mut Budget) -> Result<Fraction, Stop> {
    let (k, sign) = if k >= 12 { (k - 12, -1) } else { (k, 1) };
    let k = if k > 6 { 12 - k } else { k };
    let root = |n: i64, over: i64, budget: &mut Budget| {
        power_of_rational(&int(n), Exponent::new(1, 2), budget)?
            .scale(&Rational::new(sign.into(), over.into()), budget)
    };
    let value = match k {
        0 => Poly::default(),
        // (√6 − √2)/4
        1 => {
            let minus = root(2, 4, budget)?.scale(&int(-1), budget)?;
            root(6, 4, budget)?.add(&minus, budget)?
        }
        2 => Poly::constant(Rational::new(sign.into(), 2.into())),
        3 => root(2, 2, budget)?,
        4 => root(3, 2, budget)?,
        // (√6 + √2)/4
        5 => {
            let plus = root(2, 4, budget)?;
            root(6, 4, budget)?.add(&plus, budget)?
        }
        _ => Poly::constant(int(sign)),
    };
    Ok(Fraction::from_poly(value))
}
