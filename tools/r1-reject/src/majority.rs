//! `--majority`: where no answer is expected, the answer that most completions of the group give.

use r1_records::{RecordError, Reward, Row};
use r1_verify::vote::{classes, same};

/// What the group's vote means for one completion.
#[derive(Clone, Debug, PartialEq)]
pub enum Vote {
    /// It says what most say.
    Majority,
    /// It says something else, or nothing; with the majority's answer.
    Minority(String),
    /// No answer has enough votes; what was found.
    None(String),
}

impl Vote {
    /// Whether the completion counts as right; nothing where there is no majority.
    pub fn right(&self) -> Option<bool> {
        match self {
            Vote::Majority => Some(true),
            Vote::Minority(_) => Some(false),
            Vote::None(_) => None,
        }
    }
}

/// The vote on each completion, and the label: the majority's answer as it was first written. Mathematically equal answers vote
/// together (the rows' task says how answers are compared); completions without an answer count in the share but vote for
/// nobody; a tie for the first place is no majority.
pub fn vote(
    share: f64,
    rows: &[Row],
    rewards: &[&Reward],
) -> Result<(Vec<Vote>, Option<String>), RecordError> {
    let answers: Vec<Option<&str>> = rewards.iter().map(|reward| reward.answer.as_deref()).collect();
    let task = rows[0].task()?;
    // Without an expected answer the task is `general` by default, and what was extracted is compared as mathematics.
    let mut classes = classes(&answers, same(&task));
    classes.sort_by_key(|class| std::cmp::Reverse(class.len()));
    let (count, all) = (classes.first().map_or(0, Vec::len), rows.len());
    let tied = classes.get(1).is_some_and(|second| second.len() == count);
    if count == 0 || tied || (count as f64) < share * all as f64 {
        let tie = if tied { ", tied" } else { "" };
        return Ok((vec![Vote::None(format!("{count} of {all} completions agree{tie}")); all], None));
    }
    let winners = &classes[0];
    let label = answers[winners[0]].unwrap_or_default().to_string();
    let vote = |at: usize| match winners.contains(&at) {
        true => Vote::Majority,
        false => Vote::Minority(label.clone()),
    };
    Ok(((0..all).map(vote).collect(), Some(label)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn votes(share: f64, answers: &[&str]) -> (String, Option<String>) {
        let rewards: Vec<Reward> = answers
            .iter()
            .map(|a| Reward { answer: (!a.is_empty()).then(|| a.to_string()), ..Reward::default() })
            .collect();
        let rows: Vec<Row> = answers.iter().map(|_| Row::parse("{\"prompt\":\"x\"}").unwrap()).collect();
        let (votes, label) = vote(share, &rows, &rewards.iter().collect::<Vec<_>>()).unwrap();
        let letter = |vote: &Vote| match vote {
            Vote::Majority => 'm',
            Vote::Minority(_) => '-',
            Vote::None(_) => 'n',
        };
        (votes.iter().map(letter).collect(), label)
    }

    #[test]
    fn most_decide() {
        assert_eq!(votes(0.5, &["0.5", "3", "1/2", ""]), ("m-m-".into(), Some("0.5".into())));
        assert_eq!(votes(0.6, &["0.5", "3", "1/2", ""]), ("nnnn".into(), None));
        assert_eq!(votes(0.1, &["1", "2"]), ("nn".into(), None), "a tie is no majority");
        assert_eq!(votes(0.0, &["", ""]), ("nn".into(), None));
    }
}
