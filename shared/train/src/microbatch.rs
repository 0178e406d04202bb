//! Cutting a batch into micro-batches by a token budget.
//!
//! Rows with one prompt stand together, so that the prompt is computed once. The plan depends on the rows and the budget and
//! on nothing else, and so does every sum of gradients that follows it. The largest unit comes first: what does not fit into
//! memory fails at once and not after an hour.

use crate::update::Row;

/// A shared header shorter than this is not shared by the packing either.
const SHORTEST_HEADER: usize = 4;

/// Rows (indices into the batch) that are computed together; `tokens` of them at most, unless one row alone is longer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MicroBatch {
    /// indices of the rows, ascending
    pub rows: Vec<usize>,
    /// an upper bound of the packed tokens
    pub tokens: usize,
}

/// Tokens that every prompt begins with, one short of the shortest prompt.
fn header(rows: &[Row], chosen: &[usize]) -> usize {
    let Some((&first, rest)) = chosen.split_first() else { return 0 };
    let mut common = rows[first].prompt.len().saturating_sub(1);
    let mut differ = false;
    for &i in rest {
        let prompt = rows[i].prompt;
        differ |= prompt != rows[first].prompt;
        let same = prompt.iter().zip(rows[first].prompt).take_while(|(a, b)| a == b).count();
        common = common.min(same).min(prompt.len().saturating_sub(1));
    }
    if differ && common >= SHORTEST_HEADER { common } else { 0 }
}

/// Cuts the rows `chosen` (ascending) into micro-batches of at most `budget` packed tokens each: units of one prompt, largest
/// first, each into the first micro-batch that has room.
pub fn plan(rows: &[Row], chosen: &[usize], budget: usize) -> Vec<MicroBatch> {
    let header = header(rows, chosen);
    // Consecutive rows of one prompt are one unit, as long as it fits.
    let mut units: Vec<MicroBatch> = Vec::new();
    for &i in chosen {
        let own = rows[i].completion.len().saturating_sub(1);
        let prompt = rows[i].prompt.len() - header;
        match units.last_mut() {
            Some(unit)
                if rows[unit.rows[0]].prompt == rows[i].prompt && header + unit.tokens + own <= budget =>
            {
                unit.rows.push(i);
                unit.tokens += own;
            }
            _ => units.push(MicroBatch { rows: vec![i], tokens: prompt + own }),
        }
    }
    // A stable sort: equal units keep the order of the rows.
    units.sort_by_key(|unit| std::cmp::Reverse(unit.tokens));
    let mut plan: Vec<MicroBatch> = Vec::new();
    for unit in units {
        match plan.iter_mut().find(|micro| micro.tokens + unit.tokens <= budget) {
            Some(micro) => {
                micro.rows.extend(&unit.rows);
                micro.tokens += unit.tokens;
            }
            None => plan.push(MicroBatch { tokens: header + unit.tokens, rows: unit.rows }),
        }
    }
    for micro in &mut plan {
        micro.rows.sort_unstable();
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row<'a>(prompt: &'a [u32], completion: &'a [u32]) -> Row<'a> {
        Row { prompt, completion, inv_temperature: 1.0, gradient: true }
    }

    #[test]
    fn groups_stay_together_and_the_budget_holds() {
        let (a, b, c) = ([1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 7, 8], [1, 2, 3, 4, 5, 9]);
        let long = [7; 11];
        let rows = [row(&a, &[1, 2, 3]), row(&a, &[1; 4]), row(&b, &long), row(&c, &[1]), row(&a, &[])];
        let all: Vec<usize> = (0..rows.len()).collect();
        // header 5; units: a a = 1 + 2 + 3, b = 2 + 10, c = 1 + 0, a = 1 + 0
        let cut = plan(&rows, &all, 17);
        assert_eq!(cut[0], MicroBatch { rows: vec![2], tokens: 17 });
        assert_eq!(cut[1], MicroBatch { rows: vec![0, 1, 3, 4], tokens: 13 });
        assert_eq!(cut.len(), 2);
        assert_eq!(plan(&rows, &all, 1000).len(), 1);
        // A row longer than the budget stands alone; nothing is lost.
        let tiny = plan(&rows, &all, 1);
        assert_eq!(tiny.len(), 5);
        let mut seen: Vec<usize> = tiny.iter().flat_map(|m| m.rows.clone()).collect();
        seen.sort_unstable();
        assert_eq!(seen, all);
    }

    #[test]
    fn the_bound_is_an_upper_bound_of_the_packed_tokens() {
        use r1_model::batch::{Packed, Sequence};
        let prompts: Vec<Vec<u32>> =
            (0..12u32).map(|i| [vec![5; 9], vec![i / 3; 1 + (i as usize / 3)]].concat()).collect();
        let completions: Vec<Vec<u32>> = (0..12).map(|i| vec![3; 1 + (i * 7) % 11]).collect();
        let rows: Vec<Row> = prompts.iter().zip(&completions).map(|(p, c)| row(p, c)).collect();
        let all: Vec<usize> = (0..rows.len()).collect();
        for budget in [20, 33, 64, 500] {
            for micro in plan(&rows, &all, budget) {
                let sequences: Vec<Sequence> = micro
                    .rows
                    .iter()
                    .map(|&i| Sequence { prompt: rows[i].prompt, completion: rows[i].completion })
                    .collect();
                let packed = Packed::pack(&sequences).rows();
                assert!(packed <= micro.tokens && (micro.tokens <= budget || micro.rows.len() == 1));
            }
        }
    }
}
