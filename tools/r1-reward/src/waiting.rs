//! Judged rows as bytes, for the queue in which they wait for a program's answer.

use crate::accuracy::CLASSES;
use crate::judge::Rewarded;
use crate::run::Item;
use r1_records::{RecordError, Row};
use serde::{Deserialize, Serialize};

/// Everything about a row but what its text tells.
#[derive(Serialize, Deserialize)]
enum Waiting {
    Good {
        text: String,
        task: String,
        line: usize,
        class: usize,
        right: Option<bool>,
        closes_unopened: bool,
        length: usize,
        group: Option<String>,
        why: Option<String>,
    },
    Bad {
        line: Option<usize>,
        column: Option<usize>,
        fact: String,
        remedy: String,
        bad_line: Option<Vec<u8>>,
    },
}

/// A row as bytes.
pub fn write(item: &Item) -> anyhow::Result<Vec<u8>> {
    let waiting = match item {
        Ok(rewarded) => Waiting::Good {
            text: rewarded.row.text().to_string(),
            task: rewarded.task.clone(),
            line: rewarded.line,
            class: CLASSES.iter().position(|class| *class == rewarded.class).unwrap_or(0),
            right: rewarded.right,
            closes_unopened: rewarded.closes_unopened,
            length: rewarded.length,
            group: rewarded.group.clone(),
            why: rewarded.why.clone(),
        },
        Err(error) => Waiting::Bad {
            line: error.line,
            column: error.column,
            fact: error.fact.clone(),
            remedy: error.remedy.clone(),
            bad_line: error.bad_line().map(<[u8]>::to_vec),
        },
    };
    Ok(serde_json::to_vec(&waiting)?)
}

/// What [`write`] has written.
pub fn read(bytes: &[u8]) -> anyhow::Result<Item> {
    Ok(match serde_json::from_slice(bytes)? {
        Waiting::Good { text, task, line, class, right, closes_unopened, length, group, why } => {
            let row = Row::parse(&text)?;
            let reward = row.reward()?;
            let class = CLASSES[class.min(CLASSES.len() - 1)];
            Ok(Rewarded { row, reward, task, line, class, right, closes_unopened, length, group, why })
        }
        Waiting::Bad { line, column, fact, remedy, bad_line } => {
            let mut error = RecordError::new(fact, remedy);
            (error.line, error.column) = (line, column);
            Err(match bad_line {
                Some(bytes) => error.with_bad_line(&bytes),
                None => error,
            })
        }
    })
}
