//! From an [`Expr`] to a [`Fraction`]: the exact part of algebra.

use super::bounds::{Budget, MAX_BITS, Rational, Stop, fit, int};
use super::expr::{Constant, Expr, Function};
use super::poly::{Exponent, Fraction, Generator, Poly, checked_product, normalize, small};
use super::show;
use super::surd;
use num_bigint::BigInt;
use num_integer::Integer;
use num_traits::{One, Signed, ToPrimitive, Zero};

/// What is settled before algebra begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    /// `log` without a base is the natural logarithm, else the decimal one.
    pub natural_log: bool,
}

/// The canonical fraction of a scalar expression.
pub(super) fn canon(e: &Expr, reading: Reading, budget: &mut Budget) -> Result<Fraction, Stop> {
    budget.spend(32)?;
    let mut go = |e: &Expr| canon(e, reading, budget);
    match e {
        Expr::Number(n) => Ok(Fraction::constant(fit(n.clone())?)),
        Expr::Symbol(name) => Ok(generator(Generator::Symbol(name.clone()))),
        Expr::Constant(c) => Ok(match c {
            Constant::Pi => generator(Generator::Pi),
            Constant::E => generator(Generator::Euler),
            Constant::I => generator(Generator::Imaginary),
            Constant::Degree => generator(Generator::Pi)
                .mul(&Fraction::constant(Rational::new(1.into(), 180.into())), budget)?,
            Constant::Infinity => return Err(Stop::Unread),
        }),
        Expr::Sum(terms) => {
            let mut sum = Fraction::constant(int(0));
            for term in terms {
                let term = canon(term, reading, budget)?;
                sum = sum.add(&term, budget)?;
            }
            Ok(sum)
        }
        Expr::Product(factors) => {
            let mut product = Fraction::constant(int(1));
            for factor in factors {
                let factor = canon(factor, reading, budget)?;
                product = product.mul(&factor, budget)?;
            }
            Ok(product)
        }
        Expr::Quotient(above, below) => {
            let (above, below) = (go(above)?, go(below)?);
            above.mul(&below.inverse(budget)?, budget)
        }
        Expr::Percent(e) => {
            let value = go(e)?;
            value.mul(&Fraction::constant(Rational::new(1.into(), 100.into())), budget)
        }
        Expr::InBase { digits, base } => {
            let n = BigInt::parse_bytes(digits.as_bytes(), *base).ok_or(Stop::Unread)?;
            Ok(Fraction::constant(Rational::from(n)))
        }
        Expr::Power(base, exponent) => {
            let (base, exponent) = (go(base)?, go(exponent)?);
            power(&base, &exponent, budget)
        }
        Expr::Call(function, arguments) => {
            let arguments = arguments.iter().map(go).collect::<Result<Vec<_>, _>>()?;
            call(*function, &arguments, reading, budget)
        }
        _ => Err(Stop::Unread),
    }
}

fn generator(g: Generator) -> Fraction {
    Fraction::from_poly(Poly::generator(g, Exponent::one()))
}

/// An application that is left as it is.
fn opaque(function: Function, arguments: &[Fraction]) -> Fraction {
    let inner: Vec<String> = arguments.iter().map(show::fraction).collect();
    generator(Generator::Opaque(format!("{}({})", function.name(), inner.join(", "))))
}

/// `base ^ exponent`.
fn power(base: &Fraction, exponent: &Fraction, budget: &mut Budget) -> Result<Fraction, Stop> {
    let Some(e) = exponent.as_rational() else {
        if let Some(b) = base.as_rational() {
            if b.is_one() {
                return Ok(Fraction::constant(int(1)));
            }
            // 2^(n+1) is 2·2^n: the whole number among the terms of an exponent is a factor.
            if let Some((whole, rest)) = exponent.as_poly().and_then(whole_and_rest)
                && !b.is_zero()
            {
                let factor = power(base, &Fraction::constant(whole), budget)?;
                return factor.mul(&power(base, &Fraction::from_poly(rest), budget)?, budget);
            }
        }
        return Ok(generator(Generator::Opaque(format!(
            "({})^({})",
            show::fraction(base),
            show::fraction(exponent)
        ))));
    };
    if e.is_integer() {
        if e.is_zero() {
            return Ok(Fraction::constant(int(1)));
        }
        if let Some(b) = base.as_rational()
            && (b.is_zero() || b.abs().is_one())
        {
            let odd = e.to_integer().is_odd();
            return match (b.is_zero(), e.is_negative()) {
                (true, true) => Err(Stop::Undefined),
                (true, false) => Ok(Fraction::constant(int(0))),
                _ => Ok(Fraction::constant(if odd { b } else { int(1) })),
            };
        }
        let n = e.to_integer().to_i64().ok_or(Stop::Bound("a power is too large"))?;
        return base.pow(n, budget);
    }
    let Some(e) = small(&e) else { return Err(Stop::Bound("an exponent is too large")) };
    fractional_power(base, e, budget)
}

/// A sum as the integer among its terms, a small one that is not zero, and the other terms.
fn whole_and_rest(sum: &Poly) -> Option<(Rational, Poly)> {
    // Monomials are sorted: the empty one comes first.
    match sum.terms.as_slice() {
        [(monomial, whole), rest @ ..]
            if monomial.is_empty() && whole.is_integer() && whole.numer().bits() < 7 && !rest.is_empty() =>
        {
            Some((whole.clone(), Poly { terms: rest.to_vec() }))
        }
        _ => None,
    }
}

/// `base ^ e` for a fraction `e`: roots are taken of rational numbers and of single terms, else left.
fn fractional_power(base: &Fraction, e: Exponent, budget: &mut Budget) -> Result<Fraction, Stop> {
    if base.above.is_zero() {
        return if e.is_negative() { Err(Stop::Undefined) } else { Ok(Fraction::constant(int(0))) };
    }
    let left = || {
        let name = format!("({})", show::fraction(base));
        Fraction::from_poly(Poly::generator(Generator::Opaque(name), e))
    };
    let Some((monomial, c)) = base.as_poly().and_then(Poly::single) else { return Ok(left()) };
    // Only what is positive in itself may go through a root: roots of primes, π, e.
    let positive = |g: &Generator| matches!(g, Generator::Surd { .. } | Generator::Pi | Generator::Euler);
    if !monomial.iter().all(|(g, _)| positive(g)) {
        return Ok(left());
    }
    let mut root = surd::power_of_rational(&c.abs(), e, budget)?;
    let exponents = monomial.iter().map(|(g, inner)| Ok((g.clone(), checked_product(*inner, e)?)));
    let (monomial, factor) = normalize(exponents.collect::<Result<_, Stop>>()?)?;
    let through = Poly { terms: vec![(monomial, factor)] };
    root = root.mul(&through, budget)?;
    if c.is_negative() {
        // Odd roots of negative numbers are real, square roots are imaginary.
        if e.denom().is_odd() {
            if e.numer().is_odd() {
                root = root.scale(&int(-1), budget)?;
            }
        } else if *e.denom() == 2 {
            let (monomial, factor) = normalize(vec![(Generator::Imaginary, Exponent::from(*e.numer()))])?;
            root = root.mul(&Poly { terms: vec![(monomial, factor)] }, budget)?;
        } else {
            return Ok(left());
        }
    }
    Ok(Fraction::from_poly(root))
}

/// A function of canonical arguments.
fn call(f: Function, x: &[Fraction], reading: Reading, budget: &mut Budget) -> Result<Fraction, Stop> {
    let rational = |i: usize| x.get(i).and_then(Fraction::as_rational);
    let integer = |i: usize| rational(i).filter(|r| r.is_integer()).map(|r| r.to_integer());
    let first = x.first().ok_or(Stop::Unread)?;
    Ok(match f {
        Function::Root => {
            let index = integer(1).and_then(|n| n.to_i64()).filter(|n| *n > 0 && *n < 1 << 20);
            match index {
                Some(1) => first.clone(),
                Some(n) => fractional_power(first, Exponent::new(1, n), budget)?,
                None => {
                    let index = x.get(1).ok_or(Stop::Unread)?.inverse(budget)?;
                    power(first, &index, budget)?
                }
            }
        }
        Function::Abs => match rational(0) {
            Some(r) => Fraction::constant(r.abs()),
            None => opaque(f, x),
        },
        Function::Exp => power(&generator(Generator::Euler), first, budget)?,
        Function::Ln => logarithm(first, budget)?,
        Function::Log if reading.natural_log => logarithm(first, budget)?,
        Function::Log => {
            let base = logarithm(&Fraction::constant(int(10)), budget)?;
            logarithm(first, budget)?.mul(&base.inverse(budget)?, budget)?
        }
        Function::LogBase => {
            let base = logarithm(x.get(1).ok_or(Stop::Unread)?, budget)?;
            logarithm(first, budget)?.mul(&base.inverse(budget)?, budget)?
        }
        Function::Sin | Function::Cos | Function::Tan | Function::Cot | Function::Sec | Function::Csc => {
            match surd::trigonometric(f, first, budget)? {
                Some(value) => value,
                None => opaque(f, x),
            }
        }
        Function::Factorial => match integer(0) {
            Some(n) if n.is_negative() => return Err(Stop::Undefined),
            Some(n) => Fraction::constant(factorial(&n, budget)?),
            None => opaque(f, x),
        },
        Function::Binomial => match (integer(0), integer(1)) {
            (Some(n), Some(k)) => Fraction::constant(binomial(&n, &k, budget)?),
            _ => opaque(f, x),
        },
        Function::Floor => rational(0).map_or_else(|| opaque(f, x), |r| Fraction::constant(r.floor())),
        Function::Ceil => rational(0).map_or_else(|| opaque(f, x), |r| Fraction::constant(r.ceil())),
        Function::Gcd | Function::Lcm => {
            let Some(all) = (0..x.len()).map(integer).collect::<Option<Vec<BigInt>>>() else {
                return Ok(opaque(f, x));
            };
            let mut value = all[0].abs();
            for n in &all[1..] {
                let bits = value.bits() + n.bits();
                if bits > MAX_BITS {
                    return Err(Stop::Bound("a number is too long"));
                }
                budget.spend(bits * bits / 64)?;
                value = if f == Function::Gcd { value.gcd(n) } else { value.lcm(n) };
            }
            Fraction::constant(Rational::from(value))
        }
        Function::Max | Function::Min => {
            let Some(all) = (0..x.len()).map(rational).collect::<Option<Vec<Rational>>>() else {
                return Ok(opaque(f, x));
            };
            let value = if f == Function::Max { all.into_iter().max() } else { all.into_iter().min() };
            Fraction::constant(value.ok_or(Stop::Unread)?)
        }
        Function::Asin
        | Function::Acos
        | Function::Atan
        | Function::Sinh
        | Function::Cosh
        | Function::Tanh => opaque(f, x),
    })
}

/// The natural logarithm: of a rational number the sum over its primes, of e and its powers the exponent.
fn logarithm(x: &Fraction, budget: &mut Budget) -> Result<Fraction, Stop> {
    if x.above.is_zero() {
        return Err(Stop::Undefined);
    }
    let Some((monomial, c)) = x.as_poly().and_then(Poly::single) else {
        return Ok(opaque(Function::Ln, std::slice::from_ref(x)));
    };
    let plain = |g: &Generator| matches!(g, Generator::Surd { .. } | Generator::Pi | Generator::Euler);
    if c.is_negative() || !monomial.iter().all(|(g, _)| plain(g)) {
        return Ok(opaque(Function::Ln, std::slice::from_ref(x)));
    }
    let mut sum = Poly::default();
    let log_of = |n: &BigInt| Poly::generator(Generator::Opaque(format!("ln({n})")), Exponent::one());
    for (n, sign) in [(c.numer(), 1), (c.denom(), -1)] {
        for (prime, power) in surd::factors(n, budget)?.powers {
            sum = sum.add(&log_of(&prime).scale(&int(sign * i64::from(power)), budget)?, budget)?;
        }
    }
    for (g, e) in monomial {
        let e = Rational::new((*e.numer()).into(), (*e.denom()).into());
        let log = match g {
            Generator::Surd { base, .. } => log_of(base),
            Generator::Euler => Poly::constant(int(1)),
            _ => Poly::generator(Generator::Opaque("ln(pi)".into()), Exponent::one()),
        };
        sum = sum.add(&log.scale(&e, budget)?, budget)?;
    }
    Ok(Fraction::from_poly(sum))
}

fn factorial(n: &BigInt, budget: &mut Budget) -> Result<Rational, Stop> {
    let too_large = Stop::Bound("a factorial is too large");
    let n = n.to_u32().filter(|&n| n <= 3_000).ok_or(too_large)?;
    budget.spend(u64::from(n) * u64::from(n) / 4)?;
    let mut product = BigInt::one();
    for k in 2..=n {
        product *= k;
    }
    fit(Rational::from(product))
}

fn binomial(n: &BigInt, k: &BigInt, budget: &mut Budget) -> Result<Rational, Stop> {
    if k.is_negative() || n.is_negative() || k > n {
        return if n.is_negative() { Err(Stop::Unread) } else { Ok(int(0)) };
    }
    let k = std::cmp::min(k.clone(), n - k);
    let k = k.to_u32().filter(|&k| k <= 3_000).ok_or(Stop::Bound("a binomial is too large"))?;
    if n.bits() * u64::from(k) > MAX_BITS {
        return Err(Stop::Bound("a binomial is too large"));
    }
    let mut value = BigInt::one();
    for i in 0..k {
        budget.spend(1 + value.bits() / 16)?;
        value = value * (n - i) / (i + 1);
    }
    fit(Rational::from(value))
}
