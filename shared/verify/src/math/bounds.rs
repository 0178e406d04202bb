//! What a comparison may cost. Every loop that input can lengthen draws on these numbers.

use num_bigint::BigInt;
use num_rational::BigRational;

/// A number with arbitrary numerator and denominator.
pub(super) type Rational = BigRational;

/// Longest text that is read as mathematics, in bytes.
pub(super) const MAX_BYTES: usize = 8_192;
/// Deepest nesting of an expression.
pub(super) const MAX_DEPTH: usize = 80;
/// Longest integer kept, in bits. 2006! has 19,127.
pub(super) const MAX_BITS: u64 = 32_768;
/// Most terms of a polynomial.
pub(super) const MAX_TERMS: usize = 600;
/// Most values an expression with several ± may stand for.
pub(super) const MAX_VALUES: usize = 64;
/// Work allowed per comparison, in units of one machine-word multiplication.
pub(super) const WORK: u64 = 12_000_000;

/// Why something was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    /// It is not mathematics that is understood here.
    Unread,
    /// It is, but a bound was hit. The clause says which.
    Bound(&'static str),
    /// It has no value: a division by zero, a logarithm of zero.
    Undefined,
}

/// The work left for one comparison.
#[derive(Debug)]
pub(super) struct Budget {
    left: u64,
}

impl Budget {
    /// The whole allowance.
    pub(super) fn full() -> Self {
        Budget { left: WORK }
    }

    /// Draws `amount`; fails when it is used up.
    pub(super) fn spend(&mut self, amount: u64) -> Result<(), Stop> {
        match self.left.checked_sub(amount) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.left = 0;
                Err(Stop::Bound("too much work"))
            }
        }
    }

    /// Draws what an operation on these two rationals costs: multiplication, and the reduction after it, are
    /// quadratic in the number of words.
    pub(super) fn spend_on(&mut self, a: &Rational, b: &Rational) -> Result<(), Stop> {
        let bits = size(a) + size(b);
        if bits > 4 * MAX_BITS {
            return Err(Stop::Bound("a number is too long"));
        }
        // Reduction takes a step per bit, each over all words.
        self.spend(8 + bits * bits / 1024)
    }
}

/// Bits of numerator and denominator together.
pub(super) fn size(r: &Rational) -> u64 {
    r.numer().bits() + r.denom().bits()
}

/// The number, if it is not too long to keep.
pub(super) fn fit(r: Rational) -> Result<Rational, Stop> {
    if size(&r) > MAX_BITS { Err(Stop::Bound("a number is too long")) } else { Ok(r) }
}

/// An integer as a rational.
pub(super) fn int(n: i64) -> Rational {
    Rational::from(BigInt::from(n))
}

/// The product of two rationals; of two integers without the reduction that is nothing to them.
pub(super) fn product(a: &Rational, b: &Rational) -> Rational {
    if a.is_integer() && b.is_integer() { Rational::from(a.numer() * b.numer()) } else { a * b }
}

/// The sum of two rationals, likewise.
pub(super) fn sum(a: &Rational, b: &Rational) -> Rational {
    if a.is_integer() && b.is_integer() { Rational::from(a.numer() + b.numer()) } else { a + b }
}
