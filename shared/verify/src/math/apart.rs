//! A first look in double precision that can only tell formulas apart: most wrong answers are wrong by far, and for those
//! neither algebra nor long numbers are needed.
//!
//! Every value is a ball, a centre and a radius that no rounding leaves; two balls that do not meet are different numbers.
//! What has no certain real value here (a root of a negative number, i, a division by what may be zero) is left to the others.

use super::bounds::{Budget, Rational, Stop};
use super::compare::infinite;
use super::expr::{Constant, Expr, Function};
use num_traits::ToPrimitive;
use std::f64::consts::{E, PI};

/// Relative error of one operation. The operations of f64 round to 2^−53 and the functions of the system's library to a few
/// times that; this is some hundred times as much.
const ERROR: f64 = 1.0 / (1u64 << 46) as f64;
/// Centres outside of these bounds are not trusted: nothing may overflow, and nothing vanish.
const SIZE: std::ops::Range<f64> = 1e-200..1e200;
/// Most operations, so that a long formula costs no more here than it saves.
const OPERATIONS: u32 = 2_000;

/// The numbers `centre ± radius`.
#[derive(Debug, Clone, Copy)]
struct Ball {
    centre: f64,
    radius: f64,
}

/// Whether two formulas certainly have different values: at a point with all variables positive, where there are any.
/// `natural_log` says what `log` is.
pub(super) fn apart(a: &Expr, b: &Expr, natural_log: bool, budget: &mut Budget) -> Result<bool, Stop> {
    let mut look = Look { natural_log, left: OPERATIONS };
    let values = (look.value(a), look.value(b));
    budget.spend(4 * u64::from(OPERATIONS - look.left))?;
    let (Some(x), Some(y)) = values else { return Ok(false) };
    Ok((x.centre - y.centre).abs() > (x.radius + y.radius) * (1.0 + ERROR))
}

struct Look {
    natural_log: bool,
    left: u32,
}

impl Look {
    /// The value of a formula; absent where it is not certain to be real, or not finite.
    fn value(&mut self, e: &Expr) -> Option<Ball> {
        self.left = self.left.checked_sub(1)?;
        match e {
            Expr::Number(n) => rational(n),
            Expr::Symbol(name) => Some(Ball::of(point(name))),
            Expr::Constant(Constant::Pi) => Some(Ball::of(PI)),
            Expr::Constant(Constant::E) => Some(Ball::of(E)),
            Expr::Constant(Constant::Degree) => Some(Ball::of(PI / 180.0)),
            Expr::Constant(Constant::I | Constant::Infinity) => None,
            Expr::Sum(parts) => {
                parts.iter().try_fold(Ball::exactly(0.0), |sum, part| sum.plus(self.value(part)?))
            }
            Expr::Product(_) if infinite(e).is_some() => None,
            Expr::Product(parts) => {
                parts.iter().try_fold(Ball::exactly(1.0), |product, part| product.times(self.value(part)?))
            }
            Expr::Quotient(a, b) => {
                let above = self.value(a)?;
                above.times(self.value(b)?.inverse()?)
            }
            Expr::Percent(inner) => self.value(inner)?.times(Ball::of(0.01)),
            Expr::InBase { digits, base } => {
                let n = u64::from_str_radix(digits, *base).ok().filter(|n| *n < 1 << 53)?;
                Some(Ball::exactly(n as f64))
            }
            Expr::Power(base, exponent) => {
                let base = self.value(base)?;
                match exponent.as_ref() {
                    Expr::Number(n) if n.is_integer() => base.to_the(n.numer().to_i32()?),
                    exponent => base.ln()?.times(self.value(exponent)?)?.exp(),
                }
            }
            Expr::Call(function, arguments) => self.call(*function, arguments),
            _ => None,
        }
    }

    fn call(&mut self, function: Function, arguments: &[Expr]) -> Option<Ball> {
        let x = self.value(arguments.first()?)?;
        match function {
            Function::Root => {
                let index = self.value(arguments.get(1)?)?;
                x.ln()?.times(index.inverse()?)?.exp()
            }
            Function::Abs => Some(Ball { centre: x.centre.abs(), ..x }),
            Function::Exp => x.exp(),
            Function::Ln => x.ln(),
            Function::Log if self.natural_log => x.ln(),
            Function::Log => x.ln()?.times(Ball::of(10f64.ln()).inverse()?),
            Function::LogBase => x.ln()?.times(self.value(arguments.get(1)?)?.ln()?.inverse()?),
            Function::Sin => Some(x.sine()),
            Function::Cos => Some(x.cosine()),
            Function::Tan => x.sine().times(x.cosine().inverse()?),
            Function::Cot => x.cosine().times(x.sine().inverse()?),
            Function::Sec => x.cosine().inverse(),
            Function::Csc => x.sine().inverse(),
            Function::Atan => Some(Ball::near(x.centre.atan(), x.radius)),
            Function::Factorial
                if x.radius == 0.0 && (0.0..=20.0).contains(&x.centre) && x.centre.fract() == 0.0 =>
            {
                Some(Ball::of((1..=x.centre as u64).product::<u64>() as f64))
            }
            _ => None,
        }
    }
}

impl Ball {
    fn exactly(centre: f64) -> Ball {
        Ball { centre, radius: 0.0 }
    }

    /// A number that f64 holds only nearly.
    fn of(centre: f64) -> Ball {
        Ball::near(centre, 0.0)
    }

    /// What is within `radius` of a result that was rounded.
    fn near(centre: f64, radius: f64) -> Ball {
        Ball { centre, radius: (radius + centre.abs() * ERROR) * (1.0 + ERROR) }
    }

    /// A ball whose numbers are neither too large nor so small that roundings are no longer relative.
    fn sound(self) -> Option<Ball> {
        (self.centre == 0.0 || SIZE.contains(&self.centre.abs()))
            .then_some(self)
            .filter(|ball| ball.radius < SIZE.end)
    }

    fn plus(self, other: Ball) -> Option<Ball> {
        // A sum may be small against what it is the sum of, but its rounding is relative to itself.
        Ball::near(self.centre + other.centre, self.radius + other.radius).sound()
    }

    fn times(self, other: Ball) -> Option<Ball> {
        let centre = self.centre * other.centre;
        if centre == 0.0 && self.centre != 0.0 && other.centre != 0.0 {
            return None; // too small for f64
        }
        let radius =
            self.centre.abs() * other.radius + other.centre.abs() * self.radius + self.radius * other.radius;
        Ball::near(centre, radius * (1.0 + 4.0 * ERROR)).sound()
    }

    /// The reciprocal; absent where the ball comes near zero.
    fn inverse(self) -> Option<Ball> {
        let least = self.centre.abs() - self.radius;
        if least <= self.centre.abs() / 2.0 {
            return None;
        }
        let radius = self.radius / (self.centre.abs() * least);
        Ball::near(1.0 / self.centre, radius * (1.0 + 4.0 * ERROR)).sound()
    }

    fn to_the(self, n: i32) -> Option<Ball> {
        let base = if n < 0 { self.inverse()? } else { self };
        let (mut result, mut square, mut left) = (Ball::exactly(1.0), base, n.unsigned_abs());
        while left > 0 {
            if left & 1 == 1 {
                result = result.times(square)?;
            }
            left >>= 1;
            if left > 0 {
                square = square.times(square)?;
            }
        }
        Some(result)
    }

    /// The logarithm of what is certainly positive.
    fn ln(self) -> Option<Ball> {
        let least = self.centre - self.radius;
        if least <= self.centre / 2.0 {
            return None;
        }
        // Near one the logarithm is small and its error is not relative to it.
        Some(Ball::near(self.centre.ln(), self.radius / least * (1.0 + 4.0 * ERROR) + ERROR))
    }

    fn exp(self) -> Option<Ball> {
        if self.centre.abs() > 400.0 || self.radius > 0.1 {
            return None;
        }
        let centre = self.centre.exp();
        // |e^(x+r) − e^x| ≤ e^x · 2r for r below a tenth.
        Ball::near(centre, centre * 2.0 * self.radius).sound()
    }

    fn sine(self) -> Ball {
        Ball::near(self.centre.sin(), self.radius + ERROR)
    }

    fn cosine(self) -> Ball {
        Ball::near(self.centre.cos(), self.radius + ERROR)
    }
}

/// A rational number whose parts f64 holds exactly.
fn rational(n: &Rational) -> Option<Ball> {
    let exact = |n: &num_bigint::BigInt| n.to_i64().filter(|n| n.unsigned_abs() < 1 << 53).map(|n| n as f64);
    let numerator = exact(n.numer())?;
    if n.is_integer() {
        Some(Ball::exactly(numerator))
    } else {
        Some(Ball::of(numerator / exact(n.denom())?))
    }
}

/// Where a variable is looked at: a number between one half and three halves that its name alone gives.
fn point(name: &str) -> f64 {
    // FNV-1a, of which the upper bits are well mixed.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    0.5 + (hash >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether two texts are told apart.
    fn told(a: &str, b: &str) -> bool {
        let read = |text: &str| super::super::parse::parse(text, false).expect("read");
        apart(&read(a), &read(b), true, &mut Budget::full()).expect("within the budget")
    }

    #[test]
    fn what_differs_is_told_apart_and_what_is_equal_never() {
        let different = [
            ("2\\sqrt{3}", "2\\sqrt{5}"),
            ("x^2-1", "x^2+1"),
            ("\\sin 1", "\\cos 1"),
            ("\\ln 2", "0.693147"),
            ("5!", "121"),
            ("29\\pi", "91.106187"),
            ("1010_2", "9"),
            ("2^{n+1}", "3^n"),
            ("\\arctan 2", "1"),
            ("x/y", "y/x"),
        ];
        for (a, b) in different {
            assert!(told(a, b), "{a} and {b}");
            assert!(!told(a, a) && !told(b, b), "{a}, {b}");
        }
        let equal = [
            ("\\sqrt{12}", "2\\sqrt{3}"),
            ("(x+1)^2", "x^2+2x+1"),
            ("\\sin^2 x", "1-\\cos^2 x"),
            ("\\frac{1}{3}", "1-\\frac{2}{3}"),
            ("\\ln 8", "3\\ln 2"),
            ("\\tan\\frac{\\pi}{4}", "1"),
            ("(1+10^{-9}-1)\\cdot 10^9", "1"),
            ("\\sqrt{2+\\sqrt{3}}", "\\frac{\\sqrt{6}+\\sqrt{2}}{2}"),
            ("e^{\\ln 5}", "5"),
            ("2^{n+1}-2^n", "2^n"),
            ("\\sin(10^9\\pi)", "0"),
        ];
        for (a, b) in equal {
            assert!(!told(a, b), "{a} and {b}");
        }
    }

    /// A formula and another way to write the same number, `depth` operations deep; `draw` gives a number below its argument.
    fn twins(depth: u32, draw: &mut impl FnMut(usize) -> usize) -> (String, String) {
        if depth == 0 {
            let atoms = ["2", "7", "0.3", "x", "y", "\\pi", "e", "12", "5/8"];
            let atom = atoms[draw(atoms.len())];
            return (format!("({atom})"), format!("(1\\cdot {atom})"));
        }
        let ((a, b), (c, d)) = (twins(depth - 1, draw), twins(draw(depth as usize) as u32, draw));
        let (one, other) = match draw(10) {
            0 => (format!("{a}+{c}"), format!("{d}+{b}")),
            1 => (format!("{a}-{c}"), format!("-({d}-{b})")),
            2 => (format!("{a}\\cdot {c}"), format!("{d}\\cdot {b}")),
            3 => (format!("\\frac{{{a}}}{{{c}}}"), format!("{b}\\cdot {d}^{{-1}}")),
            4 => (format!("{a}^2"), format!("{b}\\cdot {b}")),
            5 => (format!("\\sqrt{{{a}}}"), format!("{b}^{{1/2}}")),
            6 => (format!("\\ln({a})"), format!("\\frac{{\\ln({b}^2)}}{{2}}")),
            7 => (format!("\\sin({a})"), format!("-\\sin(-{b})")),
            8 => (format!("\\cos({a})"), format!("\\cos(-{b})")),
            _ => (format!("e^{{{a}}}"), format!("e\\cdot e^{{{b}-1}}")),
        };
        (format!("({one})"), format!("({other})"))
    }

    #[test]
    fn no_rewriting_is_told_from_what_it_rewrites() {
        let mut state = 7u64;
        let mut draw = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below.max(1)
        };
        let (mut seen, mut last) = (0, String::from("1"));
        for n in 0..20_000 {
            let (a, b) = twins(1 + n % 5, &mut draw);
            assert!(!told(&a, &b), "{a} and {b}");
            seen += usize::from(told(&a, &last));
            last = b;
        }
        // It is of use: most formulas are told from the one before.
        assert!(seen > 10_000, "{seen}");
    }

    #[test]
    fn what_has_no_certain_real_value_is_left_alone() {
        for (a, b) in [
            ("\\sqrt{-4}", "3"),
            ("i", "2"),
            ("1/(x-x)", "5"),
            ("\\ln 0", "1"),
            ("10^{500}", "1"),
            ("10^{-150}\\cdot 10^{-150}", "0"),
            ("\\infty", "2"),
        ] {
            assert!(!told(a, b), "{a}");
        }
    }
}
