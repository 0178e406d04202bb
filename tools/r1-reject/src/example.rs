//! From a judged row to a row to imitate, or to prefer.

use r1_records::{RecordError, Row};

/// What the stages added: an example is a row of the data set again.
const SECTIONS: [&str; 6] = ["rollout", "reference", "teacher", "judgement", "reward", "advantage"];

/// `{"id","prompt"}`, these texts, and then the row's other columns as they are, without the stages' sections. A `label` is the
/// answer of a row that has none.
pub fn example(id: &str, row: &Row, texts: &[(&str, &str)], label: Option<&str>) -> Result<Row, RecordError> {
    row.prompt()?;
    let prompt = row.prompt_column().unwrap_or("prompt");
    let mut example = Row::default();
    match row.raw("id") {
        Some(raw) if raw != "null" => example.set_raw("id", raw)?,
        _ => example.set("id", id)?,
    }
    example.set_raw("prompt", row.raw(prompt).unwrap_or("\"\""))?;
    for (name, text) in texts {
        example.set(name, text)?;
    }
    for name in row.names() {
        let written = matches!(name, "id" | "completion") || texts.iter().any(|(known, _)| *known == name);
        let taken = written || name == prompt || SECTIONS.contains(&name);
        if let (false, Some(raw)) = (taken, row.raw(name)) {
            example.set_raw(name, raw)?;
        }
    }
    if let Some(label) = label {
        example.set("answer", label)?;
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
        let row = Row::parse(text).unwrap();
        let made = example("row-1", &row, &[("completion", "4")], None).unwrap();
        assert_eq!(
            made.text(),
            r#"{"id":"row-1","prompt":"2\u002b2?","completion":"4","level":1.50,"answer":"4"}"#
        );
        assert_eq!(made.example().unwrap().completion, "4");
        let pair = example("row-1", &row, &[("chosen", "4"), ("rejected", "5")], None).unwrap();
        assert_eq!(pair.preference().unwrap().rejected, "5");
        assert!(example("x", &Row::parse(r#"{"rollout":{"completion":"4"}}"#).unwrap(), &[], None).is_err());
    }

    #[test]
    fn the_majoritys_answer_is_a_label() {
        let row = Row::parse(r#"{"prompt":"x","answer":null}"#).unwrap();
        let made = example("a", &row, &[("completion", "so 4")], Some("4")).unwrap();
        assert_eq!(made.text(), r#"{"id":"a","prompt":"x","completion":"so 4","answer":"4"}"#);
    }
}
