//! Deciding by certified numbers: two formulas that differ at a point are different for certain; two that agree to many
//! digits at every point tried are taken to be equal.

use super::bounds::{Budget, Rational, Stop};
use super::complex::Complex;
use super::expr::{Constant, Expr, Function};
use super::real::{Interval, Precision};
use crate::Judgement;
use num_traits::{Signed, ToPrimitive};
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Bits after the point, try after try. At the first, numbers can only be shown to differ: that is what most of them do.
const PRECISIONS: [u32; 3] = [128, 384, 1536];
/// Agreement that counts: the difference is below 2^−(this share of the precision), and the numbers are not.
const AGREEMENT: u32 = 2;
/// Most variables.
const MAX_SYMBOLS: usize = 8;
/// Points tried for formulas with variables, as numerators over 997: inside (0, 1), above, and below zero.
const POINTS: [[i64; 3]; 6] = [
    [311, 577, 823],
    [1409, 2203, 1777],
    [3617, 5101, 7919],
    [-419, -683, -797],
    [-1511, -2707, -4001],
    [613, -1301, 2113],
];

/// Judges whether two formulas are equal; `natural_log` says what `log` is.
pub(super) fn judge(a: &Expr, b: &Expr, natural_log: bool, budget: &mut Budget) -> Result<Judgement, Stop> {
    let mut symbols = BTreeSet::new();
    let mut imaginary = false;
    for e in [a, b] {
        collect(e, &mut symbols, &mut imaginary);
    }
    if symbols.len() > MAX_SYMBOLS {
        return Ok(Judgement::undecided("too many variables"));
    }
    for (attempt, bits) in PRECISIONS.into_iter().enumerate() {
        budget.spend(if attempt == 0 { 20_000 } else { 200_000 })?;
        let precision = precision(attempt);
        let points = if symbols.is_empty() { 1 } else { POINTS.len() };
        // First only points at which both are real; complex values count where there are no such points.
        for real_only in [!imaginary && !symbols.is_empty(), false] {
            let mut agreed = 0;
            let mut unclear = false;
            for point in &POINTS[..points] {
                let at: BTreeMap<&str, Rational> = symbols
                    .iter()
                    .enumerate()
                    .map(|(i, name)| {
                        let n = point[i % 3] + 29 * (i / 3) as i64;
                        (name.as_str(), Rational::new(n.into(), 997.into()))
                    })
                    .collect();
                let mut evaluation = Evaluation { precision: &precision, at: &at, natural_log, budget };
                let (Some(x), Some(y)) = (evaluation.value(a)?, evaluation.value(b)?) else { continue };
                if real_only && !(x.is_real() && y.is_real()) {
                    continue;
                }
                let difference = x.sub(&y);
                if !difference.re.has_zero() || !difference.im.has_zero() {
                    return Ok(Judgement::unequal("numeric"));
                }
                let close = |d: &Interval| d.width_bits() < u64::from(bits - bits / AGREEMENT);
                let sizable = [&x, &y].iter().any(|z| {
                    z.re.abs().hi.bits().max(z.im.abs().hi.bits()) > u64::from(bits - bits / (2 * AGREEMENT))
                });
                if close(&difference.re) && close(&difference.im) && sizable {
                    agreed += 1;
                } else {
                    unclear = true;
                }
            }
            if attempt == 0 {
                break;
            }
            if !unclear && agreed >= std::cmp::min(points, 2) {
                return Ok(Judgement::equal("numeric"));
            }
            if unclear || agreed > 0 {
                break;
            }
        }
    }
    Ok(Judgement::undecided("numbers too close"))
}

/// The precision of a try. Its constants are computed once a thread.
fn precision(attempt: usize) -> Rc<Precision> {
    thread_local!(static KNOWN: [OnceCell<Rc<Precision>>; 3] = const { [const { OnceCell::new() }; 3] });
    KNOWN.with(|known| Rc::clone(known[attempt].get_or_init(|| Rc::new(Precision::new(PRECISIONS[attempt])))))
}

/// Which of two real constants is greater; absent where that is not certain.
pub(super) fn order(a: &Expr, b: &Expr, budget: &mut Budget) -> Result<Option<std::cmp::Ordering>, Stop> {
    budget.spend(200_000)?;
    let precision = precision(1);
    let at = BTreeMap::new();
    let mut evaluation = Evaluation { precision: &precision, at: &at, natural_log: false, budget };
    let (Some(x), Some(y)) = (evaluation.value(a)?, evaluation.value(b)?) else { return Ok(None) };
    if !x.is_real() || !y.is_real() {
        return Ok(None);
    }
    let difference = x.re.sub(&y.re);
    Ok(if difference.lo.is_positive() {
        Some(std::cmp::Ordering::Greater)
    } else if difference.hi.is_negative() {
        Some(std::cmp::Ordering::Less)
    } else {
        None
    })
}

/// The variables of a formula, and whether i is in it.
pub(super) fn collect(e: &Expr, symbols: &mut BTreeSet<String>, imaginary: &mut bool) {
    match e {
        Expr::Symbol(name) => {
            symbols.insert(name.clone());
        }
        Expr::Constant(Constant::I) => *imaginary = true,
        Expr::Sum(parts) | Expr::Product(parts) | Expr::Call(_, parts) => {
            parts.iter().for_each(|part| collect(part, symbols, imaginary));
        }
        Expr::Quotient(a, b) | Expr::Power(a, b) => {
            collect(a, symbols, imaginary);
            collect(b, symbols, imaginary);
        }
        Expr::Percent(inner) | Expr::PlusMinus(inner) => collect(inner, symbols, imaginary),
        _ => {}
    }
}

struct Evaluation<'e, 'b> {
    precision: &'e Precision,
    at: &'e BTreeMap<&'e str, Rational>,
    natural_log: bool,
    budget: &'b mut Budget,
}

type Value = Result<Option<Complex>, Stop>;

impl Evaluation<'_, '_> {
    /// The value of a formula at the point; absent where it has none that is certain.
    fn value(&mut self, e: &Expr) -> Value {
        let words = u64::from(self.precision.bits() / 64);
        self.budget.spend(64 + words * words)?;
        let p = self.precision;
        let real = |x: Interval| Some(Complex::real(p, x));
        Ok(match e {
            Expr::Number(n) => real(p.rational(n)).filter(|_| super::bounds::size(n) < 8_192),
            Expr::Symbol(name) => self.at.get(name.as_str()).and_then(|r| real(p.rational(r))),
            Expr::Constant(c) => match c {
                Constant::Pi => real(p.pi()),
                Constant::E => p.exp(&p.integer(1)).and_then(real),
                Constant::I => Some(Complex { re: p.integer(0), im: p.integer(1) }),
                Constant::Degree => p.div(&p.pi(), &p.integer(180)).and_then(real),
                Constant::Infinity => None,
            },
            Expr::Sum(parts) => {
                let mut sum = Complex::real(p, p.integer(0));
                for part in parts {
                    let Some(value) = self.value(part)? else { return Ok(None) };
                    sum = sum.add(&value);
                }
                Some(sum)
            }
            Expr::Product(parts) => {
                let mut product = Complex::real(p, p.integer(1));
                for part in parts {
                    let Some(value) = self.value(part)? else { return Ok(None) };
                    let Some(next) = product.mul(&value, p) else { return Ok(None) };
                    product = next;
                }
                Some(product)
            }
            Expr::Quotient(a, b) => {
                let (Some(a), Some(b)) = (self.value(a)?, self.value(b)?) else { return Ok(None) };
                b.inverse(p).and_then(|b| a.mul(&b, p))
            }
            Expr::Percent(inner) => {
                let hundredth = Complex::real(p, p.rational(&Rational::new(1.into(), 100.into())));
                self.value(inner)?.and_then(|x| x.mul(&hundredth, p))
            }
            Expr::Power(base, exponent) => self.power(base, exponent)?,
            Expr::Call(function, arguments) => {
                let mut values = Vec::with_capacity(arguments.len());
                for argument in arguments {
                    let Some(value) = self.value(argument)? else { return Ok(None) };
                    values.push(value);
                }
                self.call(*function, arguments, &values)?
            }
            _ => None,
        })
    }

    fn power(&mut self, base: &Expr, exponent: &Expr) -> Value {
        let p = self.precision;
        self.budget.spend(100_000)?;
        let Some(b) = self.value(base)? else { return Ok(None) };
        if let Some(r) = literal(exponent)
            && let (Some(n), Some(d)) = (r.numer().to_i64(), r.denom().to_u32())
            && n.unsigned_abs() < 1 << 20
            && d < 1 << 10
        {
            return Ok(if d == 1 { b.powi(n, p) } else { b.root(d, p).and_then(|root| root.powi(n, p)) });
        }
        let Some(e) = self.value(exponent)? else { return Ok(None) };
        Ok(b.ln(p).and_then(|log| log.mul(&e, p)).and_then(|z| z.exp(p)))
    }

    fn call(&mut self, function: Function, arguments: &[Expr], x: &[Complex]) -> Value {
        let p = self.precision;
        self.budget.spend(40_000)?;
        let Some(first) = x.first() else { return Ok(None) };
        let real = |x: Interval| Some(Complex::real(p, x));
        let one = Complex::real(p, p.integer(1));
        let over = |a: &Complex, b: &Complex| b.inverse(p).and_then(|b| a.mul(&b, p));
        let log_of = |x: &Complex, base: &Complex| over(&x.ln(p)?, &base.ln(p)?);
        Ok(match function {
            Function::Root => {
                match arguments
                    .get(1)
                    .and_then(literal)
                    .and_then(|n| n.to_integer().to_u32().filter(|_| n.is_integer()))
                {
                    Some(n) if (1..1 << 10).contains(&n) => first.root(n, p),
                    _ => x.get(1).and_then(|n| over(&first.ln(p)?, n)?.exp(p)),
                }
            }
            Function::Abs => first.abs(p).and_then(real),
            Function::Exp => first.exp(p),
            Function::Ln => first.ln(p),
            Function::Log if self.natural_log => first.ln(p),
            Function::Log => log_of(first, &Complex::real(p, p.integer(10))),
            Function::LogBase => x.get(1).and_then(|base| log_of(first, base)),
            Function::Sin => first.sin_cos(p).map(|(s, _)| s),
            Function::Cos => first.sin_cos(p).map(|(_, c)| c),
            Function::Tan => first.sin_cos(p).and_then(|(s, c)| over(&s, &c)),
            Function::Cot => first.sin_cos(p).and_then(|(s, c)| over(&c, &s)),
            Function::Sec => first.sin_cos(p).and_then(|(_, c)| over(&one, &c)),
            Function::Csc => first.sin_cos(p).and_then(|(s, _)| over(&one, &s)),
            Function::Atan if first.is_real() => p.atan(&first.re).and_then(real),
            Function::Asin if first.is_real() => arcsine(p, &first.re).and_then(real),
            Function::Acos if first.is_real() => arcsine(p, &first.re).and_then(|angle| {
                let pi = p.pi();
                real(pi.half().sub(&angle))
            }),
            Function::Sinh | Function::Cosh | Function::Tanh => {
                let (Some(up), Some(down)) = (first.exp(p), first.neg().exp(p)) else { return Ok(None) };
                let half = Complex::real(p, p.rational(&Rational::new(1.into(), 2.into())));
                match function {
                    Function::Sinh => up.sub(&down).mul(&half, p),
                    Function::Cosh => up.add(&down).mul(&half, p),
                    _ => over(&up.sub(&down), &up.add(&down)),
                }
            }
            Function::Floor if first.is_real() => p.floor(&first.re).and_then(real),
            Function::Ceil if first.is_real() => p.floor(&first.re.neg()).map(|f| f.neg()).and_then(real),
            Function::Max | Function::Min if x.iter().all(Complex::is_real) => {
                let ends =
                    |pick: fn(&Interval) -> &num_bigint::BigInt| x.iter().map(move |z| pick(&z.re).clone());
                let (lo, hi) = if function == Function::Max {
                    (ends(|i| &i.lo).max(), ends(|i| &i.hi).max())
                } else {
                    (ends(|i| &i.lo).min(), ends(|i| &i.hi).min())
                };
                lo.zip(hi).and_then(|(lo, hi)| real(Interval { lo, hi }))
            }
            Function::Factorial | Function::Binomial | Function::Gcd | Function::Lcm => {
                // Exact where the arguments are integers.
                let e = Expr::Call(function, arguments.to_vec());
                let reading = super::canon::Reading { natural_log: self.natural_log };
                let exact = super::canon::canon(&e, reading, self.budget)?.as_rational();
                exact.filter(|r| super::bounds::size(r) < 8_192).and_then(|r| real(p.rational(&r)))
            }
            _ => None,
        })
    }
}

/// arcsin x = 2 arctan(x / (1 + √(1 − x²))) for |x| ≤ 1.
fn arcsine(p: &Precision, x: &Interval) -> Option<Interval> {
    let one = p.integer(1);
    let square = p.mul(x, x);
    let rest = one.sub(&square);
    if rest.lo.is_negative() && x.lo != x.hi {
        return None;
    }
    let below = one.add(&p.root(&rest, 2)?);
    Some(p.times(&p.atan(&p.div(x, &below)?)?, 2))
}

/// The rational number a constant expression of numbers is.
fn literal(e: &Expr) -> Option<Rational> {
    match e {
        Expr::Number(n) => Some(n.clone()),
        Expr::Quotient(a, b) => {
            let (a, b) = (literal(a)?, literal(b)?);
            (!num_traits::Zero::is_zero(&b) && super::bounds::size(&a) + super::bounds::size(&b) < 512)
                .then(|| a / b)
        }
        Expr::Product(parts) => match parts.as_slice() {
            [Expr::Number(n), rest] => {
                let rest = literal(rest)?;
                (super::bounds::size(n) + super::bounds::size(&rest) < 512).then(|| n * rest)
            }
            _ => None,
        },
        _ => None,
    }
}
