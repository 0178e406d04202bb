//! The task `reasoning_gym`: which verifier each of its families asks for. The family is the row's `family`, or `source_dataset`
//! in its `metadata`.

use crate::accuracy::{Expected, puzzle};
use r1_records::{RecordError, Row};
use serde_json::Value;

/// Families whose answer is a number, a formula, or several.
const VALUES: &[&str] = &[
    "basic_arithmetic",
    "calendar_arithmetic",
    "chain_sum",
    "complex_arithmetic",
    "decimal_arithmetic",
    "gcd",
    "lcm",
    "leg_counting",
    "letter_counting",
    "maze",
    "number_sequence",
    "polynomial_equations",
    "simple_equations",
    "simple_integration",
];

/// Families that ask for a spelling of a value.
const SPELLINGS: &[&str] = &["base_conversion", "fraction_simplification", "prime_factorization"];

/// Families whose answer is a text of one form, in which only capitals and the amount of whitespace are free.
const TEXTS: &[&str] = &[
    "caesar_cipher",
    "family_relationships",
    "knights_knaves",
    "mini_sudoku",
    "spell_backward",
    "syllogism",
    "time_intervals",
    "word_sorting",
    "zebra_puzzles",
];

/// What a row of reasoning-gym expects.
pub fn of(row: &Row, answer: Option<String>) -> Result<Expected, RecordError> {
    let mut family: Option<String> = row.get("family")?;
    if family.is_none()
        && let Some(Value::Object(metadata)) = row.get::<Value>("metadata")?
    {
        family = metadata.get("source_dataset").and_then(Value::as_str).map(str::to_string);
    }
    let Some(family) = family else {
        return Err(row.error(
            "a reasoning_gym row without its family",
            "name it in `family`, or as `source_dataset` in `metadata`",
        ));
    };
    let among = |names: &[&str]| names.contains(&family.as_str());
    Ok(match answer {
        _ if family == "countdown" => puzzle(row)?,
        None => Expected::Nothing,
        Some(answer) if among(VALUES) => Expected::Math(answer),
        Some(answer) if among(SPELLINGS) => Expected::Spelled(answer),
        Some(answer) if among(TEXTS) => Expected::Text(answer),
        Some(_) => {
            let known = [VALUES, SPELLINGS, TEXTS, &["countdown"]].concat().join(", ");
            return Err(row.error_in(
                "family",
                format!("the family {family:?} has no verifier"),
                format!("use one of {known}, or another task"),
            ));
        }
    })
}
