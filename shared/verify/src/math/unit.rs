//! Units: what a quantity is measured in, and how many base units that is.

use super::bounds::{Rational, int};

/// A unit as read: a product of powers of base dimensions with an exact factor, or words that are no known unit.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Unit {
    Known {
        /// The unit as written, for reports.
        name: String,
        /// Exponents of the base dimensions.
        dimension: Dimension,
        /// How many base units one of it is.
        factor: Rational,
    },
    /// A noun: `eggs`, `pieces of pizza`.
    Noun(String),
}

/// Exponents of length, mass, time, temperature, money (one kind each), angle, current, amount, and bytes.
pub(super) type Dimension = [i8; 16];

const LENGTH: usize = 0;
const MASS: usize = 1;
const TIME: usize = 2;
const KELVIN: usize = 3;
const CELSIUS: usize = 4;
const FAHRENHEIT: usize = 5;
const CURRENT: usize = 6;
const BYTE: usize = 7;
const RADIAN: usize = 8;
const MOLE: usize = 9;
const USD: usize = 10;
const EUR: usize = 11;
const GBP: usize = 12;
const JPY: usize = 13;
const INR: usize = 14;
const RUB: usize = 15;

/// Dimensions and their exponents.
type Powers = &'static [(usize, i8)];
/// Symbol, and names in the singular.
type Names = &'static [&'static str];

/// Symbols and names: dimension, exponent, factor as a fraction.
const TABLE: &[(Names, usize, i8, (i64, i64))] = &[
    (&["m", "meter", "metre"], LENGTH, 1, (1, 1)),
    (&["km", "kilometer", "kilometre"], LENGTH, 1, (1000, 1)),
    (&["dm", "decimeter", "decimetre"], LENGTH, 1, (1, 10)),
    (&["cm", "centimeter", "centimetre"], LENGTH, 1, (1, 100)),
    (&["mm", "millimeter", "millimetre"], LENGTH, 1, (1, 1000)),
    (&["in", "inch", "inche"], LENGTH, 1, (254, 10_000)),
    (&["ft", "foot", "feet"], LENGTH, 1, (3048, 10_000)),
    (&["yd", "yard"], LENGTH, 1, (9144, 10_000)),
    (&["mi", "mile"], LENGTH, 1, (1_609_344, 1000)),
    (&["g", "gram"], MASS, 1, (1, 1000)),
    (&["kg", "kilogram"], MASS, 1, (1, 1)),
    (&["mg", "milligram"], MASS, 1, (1, 1_000_000)),
    (&["ton", "tonne"], MASS, 1, (1000, 1)),
    (&["lb", "pound"], MASS, 1, (45_359_237, 100_000_000)),
    (&["oz", "ounce"], MASS, 1, (45_359_237, 1_600_000_000)),
    (&["s", "sec", "second"], TIME, 1, (1, 1)),
    (&["ms", "millisecond"], TIME, 1, (1, 1000)),
    (&["min", "minute"], TIME, 1, (60, 1)),
    (&["h", "hr", "hour"], TIME, 1, (3600, 1)),
    (&["day"], TIME, 1, (86_400, 1)),
    (&["week", "wk"], TIME, 1, (604_800, 1)),
    (&["K", "kelvin"], KELVIN, 1, (1, 1)),
    (&["celsius"], CELSIUS, 1, (1, 1)),
    (&["fahrenheit"], FAHRENHEIT, 1, (1, 1)),
    (&["A", "ampere", "amp"], CURRENT, 1, (1, 1)),
    (&["byte"], BYTE, 1, (1, 1)),
    (&["kB", "kilobyte"], BYTE, 1, (1000, 1)),
    (&["MB", "megabyte"], BYTE, 1, (1_000_000, 1)),
    (&["GB", "gigabyte"], BYTE, 1, (1_000_000_000, 1)),
    (&["radian", "rad"], RADIAN, 1, (1, 1)),
    (&["mol", "mole"], MOLE, 1, (1, 1)),
    (&["L", "l", "liter", "litre"], LENGTH, 3, (1, 1000)),
    (&["mL", "ml", "milliliter", "millilitre"], LENGTH, 3, (1, 1_000_000)),
    (&["ha", "hectare"], LENGTH, 2, (10_000, 1)),
    (&["USD", "dollar", "buck"], USD, 1, (1, 1)),
    (&["cent"], USD, 1, (1, 100)),
    (&["EUR", "euro"], EUR, 1, (1, 1)),
    (&["GBP"], GBP, 1, (1, 1)),
    (&["JPY", "yen"], JPY, 1, (1, 1)),
    (&["INR", "rupee"], INR, 1, (1, 1)),
    (&["RUB", "ruble", "rouble"], RUB, 1, (1, 1)),
];

/// Units that are products of base units: exponents and factor.
const COMPOSED: &[(Names, Powers, (i64, i64))] = &[
    (&["mph"], &[(LENGTH, 1), (TIME, -1)], (1_609_344, 3_600_000)),
    (&["kph"], &[(LENGTH, 1), (TIME, -1)], (1000, 3600)),
    (&["N", "newton"], &[(MASS, 1), (LENGTH, 1), (TIME, -2)], (1, 1)),
    (&["J", "joule"], &[(MASS, 1), (LENGTH, 2), (TIME, -2)], (1, 1)),
    (&["kJ", "kilojoule"], &[(MASS, 1), (LENGTH, 2), (TIME, -2)], (1000, 1)),
    (&["W", "watt"], &[(MASS, 1), (LENGTH, 2), (TIME, -3)], (1, 1)),
    (&["kW", "kilowatt"], &[(MASS, 1), (LENGTH, 2), (TIME, -3)], (1000, 1)),
    (&["V", "volt"], &[(MASS, 1), (LENGTH, 2), (TIME, -3), (CURRENT, -1)], (1, 1)),
    (&["Pa", "pascal"], &[(MASS, 1), (LENGTH, -1), (TIME, -2)], (1, 1)),
    (&["Hz", "hertz"], &[(TIME, -1)], (1, 1)),
];

/// Words for large counts, and the number they multiply by.
pub(super) fn scale_word(word: &str) -> Option<Rational> {
    Some(int(match word.to_ascii_lowercase().trim_end_matches('s') {
        "hundred" => 100,
        "thousand" => 1_000,
        "million" => 1_000_000,
        "billion" => 1_000_000_000,
        "trillion" => 1_000_000_000_000,
        "dozen" => 12,
        "万" => 10_000,
        "亿" => 100_000_000,
        _ => return None,
    }))
}

/// The unit one word names, in the singular or plural.
pub(super) fn lookup(word: &str) -> Option<(Dimension, Rational)> {
    let named = |names: &[&str], word: &str| {
        names.iter().any(|n| *n == word || (n.len() > 2 && n.eq_ignore_ascii_case(word)))
    };
    let find = |word: &str| {
        if let Some(&(_, kind, power, (n, d))) = TABLE.iter().find(|(names, ..)| named(names, word)) {
            let mut dimension = [0; 16];
            dimension[kind] = power;
            return Some((dimension, Rational::new(n.into(), d.into())));
        }
        let &(_, kinds, (n, d)) = COMPOSED.iter().find(|(names, ..)| named(names, word))?;
        let mut dimension = [0; 16];
        for &(kind, power) in kinds {
            dimension[kind] = power;
        }
        Some((dimension, Rational::new(n.into(), d.into())))
    };
    find(word).or_else(|| word.strip_suffix('s').filter(|w| w.len() > 1).and_then(find))
}

/// Reads a unit phrase: words, powers, products and quotients, already cut into parts.
///
/// A part is a word and its exponent. Where any word is no unit, the whole is a noun.
pub(super) fn compose(parts: &[(String, i8)]) -> Unit {
    let name = parts
        .iter()
        .map(|(word, power)| if *power == 1 { word.clone() } else { format!("{word}^{power}") })
        .collect::<Vec<_>>()
        .join(" ");
    let mut dimension: Dimension = [0; 16];
    let mut factor = int(1);
    let mut power_of_next = 1;
    for (word, power) in parts {
        match word.to_ascii_lowercase().as_str() {
            "square" | "sq" => power_of_next *= 2,
            "cubic" | "cu" => power_of_next *= 3,
            _ => {
                let Some((d, f)) = lookup(word) else { return Unit::Noun(name) };
                let power = power.saturating_mul(power_of_next);
                power_of_next = 1;
                if power.unsigned_abs() > 6 {
                    return Unit::Noun(name);
                }
                for (sum, each) in dimension.iter_mut().zip(d) {
                    *sum = sum.saturating_add(each.saturating_mul(power));
                }
                factor *= f.pow(i32::from(power));
            }
        }
    }
    Unit::Known { name, dimension, factor }
}

impl Unit {
    /// The unit as written.
    pub(super) fn name(&self) -> &str {
        match self {
            Unit::Known { name, .. } | Unit::Noun(name) => name,
        }
    }
}
