//! Certified complex arithmetic on [`Interval`]s. `None` is "no value, or none that is certain".

use super::real::{Interval, Precision};
use num_bigint::BigInt;
use num_traits::{Signed, Zero};

/// A rectangle that holds the true value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Complex {
    pub re: Interval,
    pub im: Interval,
}

impl Complex {
    pub(super) fn real(p: &Precision, re: Interval) -> Complex {
        Complex { re, im: p.integer(0) }
    }

    /// Whether the imaginary part is exactly 0.
    pub(super) fn is_real(&self) -> bool {
        self.im.is_zero()
    }

    pub(super) fn neg(&self) -> Complex {
        Complex { re: self.re.neg(), im: self.im.neg() }
    }

    pub(super) fn add(&self, other: &Complex) -> Complex {
        Complex { re: self.re.add(&other.re), im: self.im.add(&other.im) }
    }

    pub(super) fn sub(&self, other: &Complex) -> Complex {
        Complex { re: self.re.sub(&other.re), im: self.im.sub(&other.im) }
    }

    pub(super) fn mul(&self, other: &Complex, p: &Precision) -> Option<Complex> {
        if self.is_real() && other.is_real() {
            return Some(Complex::real(p, p.sane(p.mul(&self.re, &other.re))?));
        }
        let re = p.mul(&self.re, &other.re).sub(&p.mul(&self.im, &other.im));
        let im = p.mul(&self.re, &other.im).add(&p.mul(&self.im, &other.re));
        Some(Complex { re: p.sane(re)?, im: p.sane(im)? })
    }

    /// |z|²
    fn norm(&self, p: &Precision) -> Interval {
        p.mul(&self.re.abs(), &self.re.abs()).add(&p.mul(&self.im.abs(), &self.im.abs()))
    }

    pub(super) fn abs(&self, p: &Precision) -> Option<Interval> {
        if self.is_real() { Some(self.re.abs()) } else { p.root(&self.norm(p), 2) }
    }

    pub(super) fn inverse(&self, p: &Precision) -> Option<Complex> {
        if self.is_real() {
            return Some(Complex::real(p, p.sane(p.div(&p.integer(1), &self.re)?)?));
        }
        let norm = self.norm(p);
        Some(Complex { re: p.sane(p.div(&self.re, &norm)?)?, im: p.sane(p.div(&self.im.neg(), &norm)?)? })
    }

    pub(super) fn exp(&self, p: &Precision) -> Option<Complex> {
        let size = p.exp(&self.re)?;
        if self.is_real() {
            return Some(Complex::real(p, size));
        }
        let (sine, cosine) = p.sin_cos(&self.im)?;
        Some(Complex { re: p.mul(&size, &cosine), im: p.mul(&size, &sine) })
    }

    /// The principal logarithm; absent on the branch cut unless the number is exactly real.
    pub(super) fn ln(&self, p: &Precision) -> Option<Complex> {
        if self.is_real() {
            if self.re.lo.is_positive() {
                return Some(Complex::real(p, p.ln(&self.re)?));
            }
            if self.re.hi.is_negative() {
                return Some(Complex { re: p.ln(&self.re.neg())?, im: p.pi() });
            }
            return None;
        }
        let twice = p.ln(&self.norm(p))?;
        Some(Complex { re: twice.half(), im: self.argument(p)? })
    }

    fn argument(&self, p: &Precision) -> Option<Interval> {
        let pi = p.pi();
        let half_pi = pi.half();
        if self.re.lo.is_positive() {
            p.atan(&p.div(&self.im, &self.re)?)
        } else if self.im.lo.is_positive() {
            Some(half_pi.sub(&p.atan(&p.div(&self.re, &self.im)?)?))
        } else if self.im.hi.is_negative() {
            Some(half_pi.neg().sub(&p.atan(&p.div(&self.re, &self.im)?)?))
        } else {
            None
        }
    }

    /// The principal n-th root; of a real number the real root where n is odd.
    pub(super) fn root(&self, n: u32, p: &Precision) -> Option<Complex> {
        if self.is_real() {
            let positive = || p.root(&self.re, n);
            let negative = || p.root(&self.re.neg(), n);
            if !self.re.lo.is_negative() {
                return Some(Complex::real(p, positive()?));
            }
            if n % 2 == 1 {
                // The two halves of an interval around zero: from −root(−lo) to root(hi).
                let lo = negative()?.hi;
                let hi =
                    if self.re.hi.is_negative() { -p.root(&self.re.neg(), n)?.lo } else { positive()?.hi };
                return Some(Complex::real(p, Interval { lo: -lo, hi }));
            }
            if n == 2 {
                let zero = BigInt::zero();
                let re = if self.re.hi.is_negative() {
                    p.integer(0)
                } else {
                    Interval { lo: zero, hi: positive()?.hi }
                };
                let im = if self.re.hi.is_negative() {
                    negative()?
                } else {
                    Interval { lo: BigInt::zero(), hi: negative()?.hi }
                };
                return Some(Complex { re, im });
            }
        }
        let log = self.ln(p)?;
        let part = Complex {
            re: p.div(&log.re, &p.integer(i64::from(n)))?,
            im: p.div(&log.im, &p.integer(i64::from(n)))?,
        };
        part.exp(p)
    }

    pub(super) fn powi(&self, n: i64, p: &Precision) -> Option<Complex> {
        let mut left = n.unsigned_abs();
        let mut result = Complex::real(p, p.integer(1));
        let mut square = if n < 0 { self.inverse(p)? } else { self.clone() };
        while left > 0 {
            if left & 1 == 1 {
                result = result.mul(&square, p)?;
            }
            left >>= 1;
            if left > 0 {
                square = square.mul(&square, p)?;
            }
        }
        Some(result)
    }

    /// Sine and cosine, through exponentials where the number is not real.
    pub(super) fn sin_cos(&self, p: &Precision) -> Option<(Complex, Complex)> {
        if self.is_real() {
            let (sine, cosine) = p.sin_cos(&self.re)?;
            return Some((Complex::real(p, sine), Complex::real(p, cosine)));
        }
        // e^(iz) and e^(−iz)
        let turned = Complex { re: self.im.neg(), im: self.re.clone() };
        let (up, down) = (turned.exp(p)?, turned.neg().exp(p)?);
        let sum = up.add(&down);
        let difference = up.sub(&down);
        let cosine = Complex { re: sum.re.half(), im: sum.im.half() };
        // (u − d) / 2i = (im − i·re)/2
        let sine = Complex { re: difference.im.half(), im: difference.re.half().neg() };
        Some((sine, cosine))
    }
}
