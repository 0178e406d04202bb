//! Certified arithmetic: every number is an interval that holds the true value, with ends that are multiples of 2⁻ᴾ.
//!
//! Rounding is outward in every operation, so what two intervals exclude is excluded for certain.

use super::bounds::Rational;
use num_bigint::BigInt;
use num_integer::Integer;
use num_traits::{One, Signed, ToPrimitive, Zero};

/// Largest magnitude kept: numbers of more bits before the point are given up.
const MAX_WHOLE_BITS: u64 = 8_192;

/// `[lo, hi] · 2⁻ᴾ`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Interval {
    pub lo: BigInt,
    pub hi: BigInt,
}

/// A precision, and the constants at it.
pub(super) struct Precision {
    bits: u32,
    pi: Interval,
    ln2: Interval,
}

impl Interval {
    pub(super) fn is_zero(&self) -> bool {
        self.lo.is_zero() && self.hi.is_zero()
    }

    pub(super) fn has_zero(&self) -> bool {
        !self.lo.is_positive() && !self.hi.is_negative()
    }

    pub(super) fn neg(&self) -> Interval {
        Interval { lo: -&self.hi, hi: -&self.lo }
    }

    pub(super) fn add(&self, other: &Interval) -> Interval {
        Interval { lo: &self.lo + &other.lo, hi: &self.hi + &other.hi }
    }

    pub(super) fn sub(&self, other: &Interval) -> Interval {
        Interval { lo: &self.lo - &other.hi, hi: &self.hi - &other.lo }
    }

    /// Magnitudes: the absolute value of everything in it.
    pub(super) fn abs(&self) -> Interval {
        if !self.lo.is_negative() {
            self.clone()
        } else if !self.hi.is_positive() {
            self.neg()
        } else {
            Interval { lo: BigInt::zero(), hi: std::cmp::max(-&self.lo, self.hi.clone()) }
        }
    }

    /// The bits of the distance between the ends, in units of 2⁻ᴾ.
    pub(super) fn width_bits(&self) -> u64 {
        (&self.hi - &self.lo).bits()
    }

    pub(super) fn half(&self) -> Interval {
        Interval { lo: &self.lo >> 1, hi: shift_up(self.hi.clone(), 1) }
    }

    fn widen(&self, by: &BigInt) -> Interval {
        Interval { lo: &self.lo - by, hi: &self.hi + by }
    }

    fn exactly(n: BigInt) -> Interval {
        Interval { lo: n.clone(), hi: n }
    }
}

/// ⌈n / 2^bits⌉
fn shift_up(n: BigInt, bits: u32) -> BigInt {
    -((-n) >> bits)
}

impl Precision {
    /// `bits` after the binary point.
    pub(super) fn new(bits: u32) -> Precision {
        let zero = || Interval::exactly(BigInt::zero());
        let mut precision = Precision { bits, pi: zero(), ln2: zero() };
        // Machin: π = 16 arctan(1/5) − 4 arctan(1/239); ln 2 = 2 artanh(1/3).
        let fifth = precision.inverse_series(5, -1);
        let small = precision.inverse_series(239, -1);
        precision.pi = precision.times(&fifth, 16).sub(&precision.times(&small, 4));
        precision.ln2 = precision.times(&precision.inverse_series(3, 1), 2);
        precision
    }

    pub(super) fn bits(&self) -> u32 {
        self.bits
    }

    pub(super) fn pi(&self) -> Interval {
        self.pi.clone()
    }

    pub(super) fn integer(&self, n: i64) -> Interval {
        Interval::exactly(BigInt::from(n) << self.bits)
    }

    pub(super) fn rational(&self, r: &Rational) -> Interval {
        let scaled = r.numer() << self.bits;
        let lo = scaled.div_floor(r.denom());
        let exact = (&lo * r.denom()) == scaled;
        Interval { hi: if exact { lo.clone() } else { &lo + 1 }, lo }
    }

    /// Whether the number is still small enough to go on with.
    pub(super) fn sane(&self, x: Interval) -> Option<Interval> {
        let limit = MAX_WHOLE_BITS + u64::from(self.bits);
        (x.lo.bits() <= limit && x.hi.bits() <= limit).then_some(x)
    }

    /// Product with a small integer.
    pub(super) fn times(&self, x: &Interval, n: i64) -> Interval {
        let (a, b) = (&x.lo * n, &x.hi * n);
        if n < 0 { Interval { lo: b, hi: a } } else { Interval { lo: a, hi: b } }
    }

    pub(super) fn mul(&self, x: &Interval, y: &Interval) -> Interval {
        let products = [&x.lo * &y.lo, &x.lo * &y.hi, &x.hi * &y.lo, &x.hi * &y.hi];
        let lo = products.iter().min().cloned().unwrap_or_default() >> self.bits;
        let hi = shift_up(products.into_iter().max().unwrap_or_default(), self.bits);
        Interval { lo, hi }
    }

    /// Quotient; absent where the divisor may be zero.
    pub(super) fn div(&self, x: &Interval, y: &Interval) -> Option<Interval> {
        if y.has_zero() {
            return None;
        }
        let quotients = [(&x.lo, &y.lo), (&x.lo, &y.hi), (&x.hi, &y.lo), (&x.hi, &y.hi)];
        let below = quotients.iter().map(|(n, d)| (*n << self.bits).div_floor(d)).min();
        let above = quotients.iter().map(|(n, d)| (*n << self.bits).div_floor(d) + 1).max();
        Some(Interval { lo: below?, hi: above? })
    }

    /// The n-th root of what is not negative; negative parts of the interval count as zero.
    pub(super) fn root(&self, x: &Interval, n: u32) -> Option<Interval> {
        if x.hi.is_negative() || n == 0 {
            return None;
        }
        let zero = BigInt::zero();
        // Found by fuzzing: x · 2^(P(n−1)) grows with n.
        if n > 8 {
            return if x.is_zero() {
                Some(x.clone())
            } else {
                self.exp(&self.div(&self.ln(x)?, &self.integer(n.into()))?)
            };
        }
        // (v · 2⁻ᴾ)^(1/n) · 2ᴾ = (v · 2^(P(n−1)))^(1/n)
        let shift = self.bits.checked_mul(n - 1).filter(|&s| s < 1 << 20)?;
        let root = |v: &BigInt| (std::cmp::max(v, &zero) << shift).nth_root(n);
        Some(Interval { lo: root(&x.lo), hi: root(&x.hi) + 1 })
    }

    /// `Σ sign^k / ((2k+1) n^(2k+1))`: arctan(1/n) for sign −1, artanh(1/n) for 1.
    fn inverse_series(&self, n: i64, sign: i64) -> Interval {
        let mut power = BigInt::one() << self.bits;
        power /= n;
        let mut sum = power.clone();
        let mut k = 1i64;
        while !power.is_zero() {
            power /= n * n;
            let term = &power / (2 * k + 1);
            sum += if sign < 0 && k % 2 == 1 { -term } else { term };
            k += 1;
        }
        // Each of the k terms is off by less than two units, and so is what follows them.
        Interval::exactly(sum).widen(&BigInt::from(3 * k + 4))
    }

    pub(super) fn exp(&self, x: &Interval) -> Option<Interval> {
        let magnitude = std::cmp::max(x.lo.bits(), x.hi.bits()).saturating_sub(u64::from(self.bits));
        if magnitude > 13 {
            return None;
        }
        if x.hi.is_negative() {
            return self.div(&self.integer(1), &self.exp(&x.neg())?);
        }
        // exp(x) = exp(x / 2^s)^(2^s), with x / 2^s below 2⁻⁸.
        let halvings = magnitude as u32 + 8;
        let small = Interval { lo: &x.lo >> halvings, hi: shift_up(x.hi.clone(), halvings) };
        let mut sum = self.integer(1);
        let mut term = self.integer(1);
        let mut k = 1i64;
        loop {
            term = self.mul(&term, &small);
            term = Interval { lo: term.lo.div_floor(&k.into()), hi: -(-term.hi).div_floor(&k.into()) };
            sum = sum.add(&term);
            k += 1;
            if term.abs().hi <= BigInt::from(2) {
                break;
            }
        }
        // The terms that follow fall by more than half each.
        let mut power = sum.widen(&BigInt::from(4));
        for _ in 0..halvings {
            power = self.mul(&power, &power);
        }
        self.sane(power)
    }

    /// Natural logarithm of what is certainly positive.
    pub(super) fn ln(&self, x: &Interval) -> Option<Interval> {
        if !x.lo.is_positive() {
            return None;
        }
        let (below, above) = (self.ln_of(&x.lo)?, self.ln_of(&x.hi)?);
        Some(Interval { lo: below.lo, hi: above.hi })
    }

    fn ln_of(&self, v: &BigInt) -> Option<Interval> {
        // v · 2⁻ᴾ = m · 2^k with m in [1/2, 1); ln m = −2 artanh((1 − m)/(1 + m)).
        let k = i64::try_from(v.bits()).ok()? - i64::from(self.bits);
        let m = if k >= 0 {
            Interval { lo: v >> k as u32, hi: (v >> k as u32) + 1 }
        } else {
            Interval::exactly(v << (-k) as u32)
        };
        let one = self.integer(1);
        let t = self.div(&one.sub(&m), &one.add(&m))?;
        let square = self.mul(&t, &t);
        let mut power = t.clone();
        let mut sum = t;
        let mut n = 3i64;
        while power.abs().hi > BigInt::from(2) {
            power = self.mul(&power, &square);
            sum = sum
                .add(&Interval { lo: power.lo.div_floor(&n.into()), hi: -(-&power.hi).div_floor(&n.into()) });
            n += 2;
        }
        let log = self.times(&sum.widen(&BigInt::from(4)), -2);
        Some(log.add(&self.times(&self.ln2, k)))
    }

    /// Sine and cosine.
    pub(super) fn sin_cos(&self, x: &Interval) -> Option<(Interval, Interval)> {
        let middle: BigInt = (&x.lo + &x.hi) >> 1;
        let radius = (&x.hi - &x.lo) + 1;
        // Quarter turns, then what is left of the angle, at most about π/4.
        let half_pi: BigInt = (&self.pi.lo + &self.pi.hi) >> 2;
        let sought: BigInt = &middle * 2 + &half_pi;
        let quarters = sought.div_floor(&(&half_pi * 2));
        let quarters = quarters.to_i64().filter(|q| q.abs() < 1 << 40)?;
        let turned = self.times(&self.pi, quarters).half();
        let r = Interval::exactly(middle).sub(&turned);
        let square = self.mul(&r, &r);
        let series = |first: Interval, start: i64| {
            let mut term = first.clone();
            let mut sum = first;
            let mut n = start;
            while term.abs().hi > BigInt::from(2) {
                term = self.mul(&term, &square).neg();
                let by = BigInt::from((n + 1) * (n + 2));
                term = Interval { lo: term.lo.div_floor(&by), hi: -(-term.hi).div_floor(&by) };
                sum = sum.add(&term);
                n += 2;
            }
            sum.widen(&(BigInt::from(4) + &radius))
        };
        let (sine, cosine) = (series(r.clone(), 1), series(self.integer(1), 0));
        Some(match quarters.rem_euclid(4) {
            0 => (sine, cosine),
            1 => (cosine, sine.neg()),
            2 => (sine.neg(), cosine.neg()),
            _ => (cosine.neg(), sine),
        })
    }

    pub(super) fn atan(&self, x: &Interval) -> Option<Interval> {
        // arctan x = 2 arctan(x / (1 + √(1 + x²))), four times over.
        let one = self.integer(1);
        let mut small = x.clone();
        for _ in 0..4 {
            let root = self.root(&one.add(&self.mul(&small, &small)), 2)?;
            small = self.div(&small, &one.add(&root))?;
        }
        let square = self.mul(&small, &small);
        let mut power = small.clone();
        let mut sum = small;
        let mut n = 3i64;
        while power.abs().hi > BigInt::from(2) {
            power = self.mul(&power, &square).neg();
            sum = sum
                .add(&Interval { lo: power.lo.div_floor(&n.into()), hi: -(-&power.hi).div_floor(&n.into()) });
            n += 2;
        }
        Some(self.times(&sum.widen(&BigInt::from(4)), 16))
    }

    /// The integer that everything in the interval rounds down to; absent where they differ.
    pub(super) fn floor(&self, x: &Interval) -> Option<Interval> {
        let (below, above): (BigInt, BigInt) = (&x.lo >> self.bits, &x.hi >> self.bits);
        (below == above).then(|| Interval::exactly(below << self.bits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first 60 decimals of a number, as far as the interval settles them.
    fn decimals(p: &Precision, x: &Interval) -> String {
        let scale = BigInt::from(10).pow(50);
        let (lo, hi): (BigInt, BigInt) = ((&x.lo * &scale) >> p.bits, (&x.hi * &scale) >> p.bits);
        assert_eq!(lo, hi, "wider than 50 decimals");
        lo.to_string()
    }

    #[test]
    fn constants_and_functions_to_fifty_decimals() {
        // From published tables (OEIS A000796, A001113, A002162, A002392, A002193, A049469, A049470, A003881).
        let p = Precision::new(256);
        let one = p.integer(1);
        assert_eq!(decimals(&p, &p.pi()), "314159265358979323846264338327950288419716939937510");
        assert_eq!(
            decimals(&p, &p.exp(&one).unwrap()),
            "271828182845904523536028747135266249775724709369995"
        );
        assert_eq!(
            decimals(&p, &p.ln(&p.integer(2)).unwrap()),
            "69314718055994530941723212145817656807550013436025"
        );
        assert_eq!(
            decimals(&p, &p.ln(&p.integer(10)).unwrap()),
            "230258509299404568401799145468436420760110148862877"
        );
        assert_eq!(
            decimals(&p, &p.root(&p.integer(2), 2).unwrap()),
            "141421356237309504880168872420969807856967187537694"
        );
        let (sine, cosine) = p.sin_cos(&one).unwrap();
        assert_eq!(decimals(&p, &sine), "84147098480789650665250232163029899962256306079837");
        assert_eq!(decimals(&p, &cosine), "54030230586813971740093660744297660373231042061792");
        assert_eq!(
            decimals(&p, &p.atan(&one).unwrap()),
            "78539816339744830961566084581987572104929234984377"
        );
    }

    #[test]
    fn inverses_come_back() {
        let p = Precision::new(320);
        for (n, d) in [(1, 3), (-7, 2), (22, 7), (1, 1000), (19, 1), (-1, 64)] {
            let x = p.rational(&Rational::new(n.into(), d.into()));
            let holds = |y: &Interval| {
                assert!(y.lo <= x.lo && x.hi <= y.hi, "{n}/{d}");
                assert!(y.width_bits() < 100, "{n}/{d}: {}", y.width_bits());
            };
            holds(&p.ln(&p.exp(&x).unwrap()).unwrap());
            let (sine, cosine) = p.sin_cos(&x).unwrap();
            let one = p.mul(&sine, &sine).add(&p.mul(&cosine, &cosine));
            assert!(one.lo <= p.integer(1).lo && p.integer(1).hi <= one.hi && one.width_bits() < 60);
            let tangent = p.div(&sine, &cosine).unwrap();
            if n.abs() < d {
                holds(&p.atan(&tangent).unwrap());
            }
        }
        assert!(p.exp(&p.integer(1 << 20)).is_none() && p.ln(&p.integer(0)).is_none());
    }
}
