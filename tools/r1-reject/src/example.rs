//! From a judged row to a row to imitate.

use r1_records::{RecordError, Row};

/// What the stages added: an example is a row of the data set again.
const SECTIONS: [&str; 6] = ["rollout", "reference", "teacher", "judgement", "reward", "advantage"];

/// `{"id","prompt","completion"}` and then the row's other columns as they are, without the stages' sections.
pub fn example(id: &str, row: &Row) -> Result<Row, RecordError> {
    row.prompt()?;
    let prompt = row.prompt_column().unwrap_or("prompt");
    let mut example = Row::default();
    match row.raw("id") {
        Some(raw) if raw != "null" => example.set_raw("id", raw)?,
        _ => example.set("id", id)?,
    }
    example.set_raw("prompt", row.raw(prompt).unwrap_or("\"\""))?;
    example.set("completion", &row.outline()?.completion)?;
    for name in row.names() {
        let taken = name == "id" || name == "completion" || name == prompt || SECTIONS.contains(&name);
        if let (false, Some(raw)) = (taken, row.raw(name)) {
            example.set_raw(name, raw)?;
        }
    }
    Ok(example)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_columns_are_carried_and_sections_are_not() {
        let text = concat!(
            r#"{"question":"2\u002b2?","level": 1.50,"rollout":{"completion":"4"},"reward":{"total":1},"advantage":0,"#,
            r#""answer":"4"}"#
        );
        let made = example("row-1", &Row::parse(text).unwrap()).unwrap();
        assert_eq!(
            made.text(),
            r#"{"id":"row-1","prompt":"2\u002b2?","completion":"4","level":1.50,"answer":"4"}"#
        );
        assert_eq!(made.example().unwrap().completion, "4");
        assert!(example("x", &Row::parse(r#"{"rollout":{"completion":"4"}}"#).unwrap()).is_err());
    }
}
