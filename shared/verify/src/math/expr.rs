//! What an answer is once it has been read.

use super::bounds::Rational;
use super::unit::Unit;

/// A mathematical object as written, after notation is gone but before any algebra.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expr {
    Number(Rational),
    /// A variable, or any other name: `x`, `x_1`, `alpha`.
    Symbol(String),
    Constant(Constant),
    Sum(Vec<Expr>),
    Product(Vec<Expr>),
    Quotient(Box<Expr>, Box<Expr>),
    Power(Box<Expr>, Box<Expr>),
    Call(Function, Vec<Expr>),
    /// `± e`: either sign.
    PlusMinus(Box<Expr>),
    /// `e %`: a hundredth of `e`.
    Percent(Box<Expr>),
    /// A numeral with its base as a subscript: `1010_2`.
    InBase {
        digits: String,
        base: u32,
    },
    /// A quantity with a unit.
    Measured(Box<Expr>, Unit),
    /// `a : b : …`.
    Ratio(Vec<Expr>),
    /// Items between two delimiters: tuples, intervals, sets, vectors.
    Bracket {
        open: Delimiter,
        close: Delimiter,
        items: Vec<Expr>,
    },
    /// Items separated by commas, `and` or `or`, without delimiters.
    List(Vec<Expr>),
    /// `a < b ≤ c`: one operator between each two sides.
    Relation {
        sides: Vec<Expr>,
        operators: Vec<Relation>,
    },
    Union(Vec<Expr>),
    Intersection(Vec<Expr>),
    Difference(Box<Expr>, Box<Expr>),
    Matrix(Vec<Vec<Expr>>),
    EmptySet,
    /// ℝ, ℤ, ℚ, ℕ, ℂ.
    NumberSet(char),
}

impl Expr {
    /// Makes the letters of all variables small; what is left of `E` and `I` are the constants.
    pub(super) fn fold_case(&mut self) {
        match self {
            Expr::Symbol(name) => match name.as_str() {
                "E" => *self = Expr::Constant(Constant::E),
                "I" => *self = Expr::Constant(Constant::I),
                _ => *name = name.to_lowercase(),
            },
            Expr::Sum(parts)
            | Expr::Product(parts)
            | Expr::Call(_, parts)
            | Expr::Ratio(parts)
            | Expr::List(parts)
            | Expr::Union(parts)
            | Expr::Intersection(parts)
            | Expr::Bracket { items: parts, .. }
            | Expr::Relation { sides: parts, .. } => parts.iter_mut().for_each(Expr::fold_case),
            Expr::Quotient(a, b) | Expr::Power(a, b) | Expr::Difference(a, b) => {
                a.fold_case();
                b.fold_case();
            }
            Expr::PlusMinus(inner) | Expr::Percent(inner) | Expr::Measured(inner, _) => inner.fold_case(),
            Expr::Matrix(rows) => rows.iter_mut().flatten().for_each(Expr::fold_case),
            Expr::Number(_)
            | Expr::Constant(_)
            | Expr::InBase { .. }
            | Expr::EmptySet
            | Expr::NumberSet(_) => {}
        }
    }
}

/// Numbers with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Constant {
    Pi,
    E,
    I,
    Infinity,
    /// π/180, the factor that `°` stands for inside a function.
    Degree,
}

/// Functions that are understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Function {
    /// The principal root: radicand, index.
    Root,
    Abs,
    Exp,
    /// Natural logarithm.
    Ln,
    /// Logarithm whose base is not written.
    Log,
    /// Logarithm: argument, base.
    LogBase,
    Sin,
    Cos,
    Tan,
    Cot,
    Sec,
    Csc,
    Asin,
    Acos,
    Atan,
    Sinh,
    Cosh,
    Tanh,
    Factorial,
    /// n over k.
    Binomial,
    Floor,
    Ceil,
    Gcd,
    Lcm,
    Max,
    Min,
}

impl Function {
    /// The function of that name, as written after a backslash or alone.
    pub(super) fn from_name(name: &str) -> Option<Function> {
        use Function::*;
        Some(match name {
            "abs" => Abs,
            "exp" => Exp,
            "ln" => Ln,
            "log" => Log,
            "lg" => Log,
            "sin" => Sin,
            "cos" => Cos,
            "tan" | "tg" => Tan,
            "cot" | "ctg" => Cot,
            "sec" => Sec,
            "csc" => Csc,
            "arcsin" | "asin" => Asin,
            "arccos" | "acos" => Acos,
            "arctan" | "atan" => Atan,
            "sinh" => Sinh,
            "cosh" => Cosh,
            "tanh" => Tanh,
            "floor" => Floor,
            "ceil" => Ceil,
            "gcd" => Gcd,
            "lcm" => Lcm,
            "max" => Max,
            "min" => Min,
            "factorial" => Factorial,
            "binomial" => Binomial,
            _ => return None,
        })
    }

    /// The name used in normal forms.
    pub(super) fn name(self) -> &'static str {
        use Function::*;
        match self {
            Root => "root",
            Abs => "abs",
            Exp => "exp",
            Ln => "ln",
            Log => "log",
            LogBase => "log_base",
            Sin => "sin",
            Cos => "cos",
            Tan => "tan",
            Cot => "cot",
            Sec => "sec",
            Csc => "csc",
            Asin => "arcsin",
            Acos => "arccos",
            Atan => "arctan",
            Sinh => "sinh",
            Cosh => "cosh",
            Tanh => "tanh",
            Factorial => "factorial",
            Binomial => "binomial",
            Floor => "floor",
            Ceil => "ceil",
            Gcd => "gcd",
            Lcm => "lcm",
            Max => "max",
            Min => "min",
        }
    }
}

/// What stands at either end of a list of items.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Delimiter {
    Round,
    Square,
    Curly,
    Angle,
}

/// An order or membership between two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Relation {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
    In,
}

impl Relation {
    /// The relation read from right to left.
    pub(super) fn reversed(self) -> Relation {
        match self {
            Relation::Less => Relation::Greater,
            Relation::LessEqual => Relation::GreaterEqual,
            Relation::Greater => Relation::Less,
            Relation::GreaterEqual => Relation::LessEqual,
            same => same,
        }
    }

    /// The sign used in normal forms.
    pub(super) fn sign(self) -> &'static str {
        match self {
            Relation::Equal => "=",
            Relation::NotEqual => "!=",
            Relation::Less => "<",
            Relation::LessEqual => "<=",
            Relation::Greater => ">",
            Relation::GreaterEqual => ">=",
            Relation::In => "in",
        }
    }
}
