//! Groups: consecutive rows with one id, which are samples of one prompt.

use crate::{RecordError, Row};
use std::collections::HashMap;

/// The completions of one prompt, in the order of the file.
#[derive(Clone, Debug)]
pub struct Group {
    /// The rows' id, or the one they would be given.
    pub id: String,
    /// The rows; at least one.
    pub rows: Vec<Row>,
}

impl Group {
    /// Refuses what group statistics must not be computed over: rows with one id but different prompts or answers, a
    /// `rollout.sample` that comes twice, a group in which some rows have a sample number and others none, and (unless `partial`)
    /// a sample number that is missing below the greatest one. Rows of token ids alone, without a prompt or a `rollout`, pass as
    /// far as they can be compared.
    pub fn check(&self, partial: bool) -> Result<(), RecordError> {
        let whole =
            |error: RecordError| RecordError::new(error.fact, error.remedy).at_line(error.line.unwrap_or(0));
        let first = &self.rows[0];
        let prompt = identity(first)?;
        let mut samples: Vec<(u32, usize)> = Vec::with_capacity(self.rows.len());
        for row in &self.rows {
            if identity(row)? != prompt {
                return Err(whole(row.error(
                    format!("`{}` has another prompt or answer than on line {}", self.id, first.line()),
                    "give each prompt its own id",
                )));
            }
            if !row.has("rollout") {
                continue;
            }
            let Some(sample) = row.outline()?.sample else { continue };
            if let Some((_, line)) = samples.iter().find(|(known, _)| *known == sample) {
                return Err(whole(row.error(
                    format!("`{}` has sample {sample} twice, first on line {line}", self.id),
                    "keep one row a sample",
                )));
            }
            samples.push((sample, row.line()));
        }
        if samples.is_empty() {
            return Ok(());
        }
        if samples.len() != self.rows.len() {
            return Err(whole(first.error(
                format!(
                    "`{}` has a sample number on {} of its {} rows",
                    self.id,
                    samples.len(),
                    self.rows.len()
                ),
                "number all samples of a group, or none",
            )));
        }
        let missing =
            (0..self.rows.len() as u32).find(|sample| samples.iter().all(|(known, _)| known != sample));
        match missing {
            Some(sample) if !partial => Err(whole(first.error(
                format!("`{}` lacks sample {sample} of its {} rows", self.id, self.rows.len()),
                "pass whole groups, or allow partial ones",
            ))),
            _ => Ok(()),
        }
    }
}

/// The fingerprint of prompt and answer, where the row has a prompt.
fn identity(row: &Row) -> Result<Option<u64>, RecordError> {
    if row.prompt_column().is_some() { row.fingerprint().map(Some) } else { Ok(None) }
}

/// Cuts a stream of rows into groups. An id that comes back after another one is an error that names both lines: half a group
/// has other statistics than the whole.
pub struct Groups<I> {
    rows: I,
    next: Option<(String, Row)>,
    /// Id and last line of every group that is complete.
    closed: HashMap<String, usize>,
    over: bool,
}

impl<I: Iterator<Item = Result<Row, RecordError>>> Groups<I> {
    /// Groups of the rows that `rows` yields.
    pub fn new(rows: I) -> Self {
        Self { rows, next: None, closed: HashMap::new(), over: false }
    }
}

impl<I: Iterator<Item = Result<Row, RecordError>>> Iterator for Groups<I> {
    type Item = Result<Group, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let mut group = self.next.take().map(|(id, row)| Group { id, rows: vec![row] });
        loop {
            let row = match self.rows.next() {
                None => {
                    self.over = true;
                    return group.map(Ok);
                }
                Some(row) => row.and_then(|row| Ok((row.group_id()?, row))),
            };
            let (id, row) = match row {
                Ok(found) => found,
                Err(error) => {
                    self.over = true;
                    return Some(Err(error));
                }
            };
            match &mut group {
                Some(group) if group.id == id => group.rows.push(row),
                _ => {
                    if let Some(line) = self.closed.get(&id) {
                        self.over = true;
                        return Some(Err(RecordError::new(
                            format!("the group `{id}` is split in two: its first part ended on line {line}"),
                            "sort the rows by id",
                        )
                        .at_line(row.line())));
                    }
                    let Some(done) = group.take() else {
                        group = Some(Group { id, rows: vec![row] });
                        continue;
                    };
                    self.closed.insert(done.id.clone(), done.rows.last().map_or(0, Row::line));
                    self.next = Some((id, row));
                    return Some(Ok(done));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reader;

    fn groups(file: &str) -> Vec<Result<Group, RecordError>> {
        Groups::new(Reader::new(file.as_bytes())).collect()
    }

    #[test]
    fn consecutive_rows_form_groups() {
        let found = groups(
            "{\"id\":\"a\"}\n{\"id\":\"a\"}\n{\"id\":\"b\"}\n{\"prompt\":\"x\"}\n{\"prompt\":\"x\",\"n\":1}\n",
        );
        let sizes: Vec<(String, usize)> =
            found.into_iter().map(Result::unwrap).map(|group| (group.id, group.rows.len())).collect();
        assert_eq!((sizes[0].clone(), sizes[1].clone()), (("a".into(), 2), ("b".into(), 1)));
        assert!(sizes[2].0.starts_with("row-") && sizes[2].1 == 2 && sizes.len() == 3);
    }

    #[test]
    fn a_group_split_in_two_names_both_lines() {
        let found =
            groups("{\"id\":\"a\"}\n{\"id\":\"a\"}\n{\"id\":\"b\"}\n{\"id\":\"a\"}\n{\"id\":\"c\"}\n");
        assert_eq!(
            found.len(),
            2,
            "the second group is not given out once it is known to be followed by a broken one"
        );
        let error = found[1].as_ref().unwrap_err();
        assert_eq!(error.line, Some(4));
        assert!(error.fact.contains("line 2") && error.bad_line().is_none(), "{error}");
    }

    #[test]
    fn a_bad_row_ends_the_groups() {
        let found = groups("{\"id\":\"a\"}\n{\"id\":\n{\"id\":\"b\"}\n");
        assert!(found.len() == 1 && found[0].is_err());
    }

    #[test]
    fn integrity() {
        let check = |rows: &[(&str, &str)], partial: bool| {
            let file: String = rows
                .iter()
                .map(|(prompt, sample)| {
                    format!("{{\"id\":\"a\",\"prompt\":\"{prompt}\",\"rollout\":{{\"completion\":\"\"{sample}}}}}\n")
                })
                .collect();
            let group = groups(&file).remove(0).unwrap();
            group.check(partial).map_err(|error| error.to_string())
        };
        let (zero, one, two) = (",\"sample\":0", ",\"sample\":1", ",\"sample\":2");
        assert!(check(&[("x", zero), ("x", one)], false).is_ok());
        assert!(check(&[("x", two), ("x", zero), ("x", one)], false).is_ok());
        assert!(check(&[("x", ""), ("x", "")], false).is_ok());
        assert!(
            check(&[("x", zero), ("y", one)], true).unwrap_err().starts_with("2: `a` has another prompt")
        );
        assert!(
            check(&[("x", zero), ("x", zero)], true).unwrap_err().contains("sample 0 twice, first on line 1")
        );
        assert!(check(&[("x", zero), ("x", "")], true).unwrap_err().contains("on 1 of its 2 rows"));
        assert!(check(&[("x", zero), ("x", two)], false).unwrap_err().contains("lacks sample 1"));
        assert!(check(&[("x", zero), ("x", two)], true).is_ok());
    }
}
