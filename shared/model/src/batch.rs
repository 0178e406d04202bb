//! Packed batches: a forest of token sequences without padding, where what sequences share is computed once.
//!
//! A group's completions share their prompt, and prompts share their template's header; each shared stretch is one
//! [`Segment`] whose rows every descendant attends to. Because each row's arithmetic is the same alone or in company,
//! sharing changes the cost and not a bit of the result.

use std::collections::HashMap;

use r1_kernels::attention::Segment;

/// A header shorter than this is not worth a segment of its own.
const SHORTEST_HEADER: usize = 4;

/// A batch of T rows (tokens), ready for one forward pass.
#[derive(Clone, Debug, Default)]
pub struct Packed {
    /// token id of each row
    pub tokens: Vec<u32>,
    /// position of each row in its sequence, from 0
    pub positions: Vec<u32>,
    /// who attends to whom
    pub segments: Vec<Segment>,
    /// row whose hidden state predicts each target
    pub target_rows: Vec<u32>,
    /// token that is predicted
    pub target_tokens: Vec<u32>,
    /// what a forward pass that is trained on adds to the embedded tokens [T, C]; empty for nothing
    pub noise: Vec<f32>,
}

/// One sequence to pack: what is given and what is predicted.
#[derive(Clone, Copy, Debug)]
pub struct Sequence<'a> {
    /// given tokens, at least one
    pub prompt: &'a [u32],
    /// predicted tokens; the last one is only ever a target
    pub completion: &'a [u32],
}

/// Number of leading tokens two sequences have in common.
pub(crate) fn common_prefix(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(x, y)| x == y).count()
}

/// Length of the header that all of several prompts begin with; one token short of the shortest, so that every prompt
/// keeps a row of its own, and 0 where sharing would not pay.
fn header_length(prompts: &[&[u32]]) -> usize {
    let Some((first, rest)) = prompts.split_first() else { return 0 };
    if rest.is_empty() {
        return 0;
    }
    let shortest = prompts.iter().map(|p| p.len()).min().unwrap_or(0);
    let common = rest.iter().map(|p| common_prefix(first, p)).min().unwrap_or(0);
    let header = common.min(shortest - 1);
    if header >= SHORTEST_HEADER { header } else { 0 }
}

impl Packed {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.tokens.len()
    }

    /// Appends a segment that continues `parent` (an index that this returned before) and returns its index.
    pub fn push(&mut self, parent: Option<usize>, tokens: &[u32]) -> usize {
        let mut path = parent.map_or_else(Vec::new, |p| self.segments[p].path.clone());
        let start = self.tokens.len();
        for &token in tokens {
            self.positions.push(path.len() as u32);
            path.push(self.tokens.len() as u32);
            self.tokens.push(token);
        }
        self.segments.push(Segment { queries: start..self.tokens.len(), path });
        self.segments.len() - 1
    }

    /// Makes every token of `completion` a target of the rows on `segment`'s path from position `first - 1` on.
    fn add_targets(&mut self, segment: usize, first: usize, completion: &[u32]) {
        for (i, &token) in completion.iter().enumerate() {
            self.target_rows.push(self.segments[segment].path[first - 1 + i]);
            self.target_tokens.push(token);
        }
    }

    /// Packs sequences so that equal prompts, and the header that all prompts begin with, stand in the batch once.
    /// Targets follow in the order of `sequences`, each completion's tokens in order.
    ///
    /// # Panics
    /// When a prompt is empty: its first completion token would have nothing to be predicted from.
    pub fn pack(sequences: &[Sequence]) -> Packed {
        let inputs = |s: &Sequence| s.completion.len().saturating_sub(1);
        let (mut batch, leaves) = Packed::forest(sequences, inputs);
        for (s, leaf) in sequences.iter().zip(leaves) {
            batch.add_targets(leaf, s.prompt.len(), s.completion);
        }
        batch
    }

    /// Packs sequences whole, to be scored by a classifier: as [`Packed::pack`], but every token is an input, nothing is
    /// predicted, and the one target row of each sequence is its last token that is not `pad` (transformers' convention; its
    /// first token where all are).
    ///
    /// # Panics
    /// When a prompt is empty.
    pub fn scored(sequences: &[Sequence], pad: Option<u32>) -> Packed {
        let (mut batch, leaves) = Packed::forest(sequences, |s| s.completion.len());
        for (s, leaf) in sequences.iter().zip(leaves) {
            let tokens = s.prompt.iter().chain(s.completion).enumerate();
            let last = tokens.filter(|(_, token)| Some(**token) != pad).last().map_or(0, |(i, _)| i);
            batch.target_rows.push(batch.segments[leaf].path[last]);
        }
        batch
    }

    /// Rows of all sequences, each with as many tokens of its completion as `inputs` says; the segment where each ends.
    fn forest(sequences: &[Sequence], inputs: impl Fn(&Sequence) -> usize) -> (Packed, Vec<usize>) {
        let mut batch = Packed::default();
        let mut uses: HashMap<&[u32], usize> = HashMap::new();
        for s in sequences {
            assert!(!s.prompt.is_empty(), "pack: a prompt needs at least one token");
            *uses.entry(s.prompt).or_default() += 1;
        }
        let distinct: Vec<&[u32]> = uses.keys().copied().collect();
        let header = header_length(&distinct);
        let root = (header > 0).then(|| batch.push(None, &sequences[0].prompt[..header]));
        let mut prompts: HashMap<&[u32], usize> = HashMap::new();
        let mut leaves = Vec::with_capacity(sequences.len());
        for s in sequences {
            let inputs = &s.completion[..inputs(s)];
            leaves.push(if uses[s.prompt] == 1 {
                let own: Vec<u32> = s.prompt[header..].iter().chain(inputs).copied().collect();
                batch.push(root, &own)
            } else {
                let parent = match prompts.get(s.prompt) {
                    Some(&p) => p,
                    None => {
                        let p = batch.push(root, &s.prompt[header..]);
                        prompts.insert(s.prompt, p);
                        p
                    }
                };
                if inputs.is_empty() { parent } else { batch.push(Some(parent), inputs) }
            });
        }
        (batch, leaves)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_shares_its_prompt_and_prompts_share_their_header() {
        let (a, b) = ([1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 5, 7, 8]);
        let packed = Packed::pack(&[
            Sequence { prompt: &a, completion: &[10, 11, 12] },
            Sequence { prompt: &a, completion: &[20] },
            Sequence { prompt: &b, completion: &[30, 31] },
        ]);
        // header 1..5 | 6 | 10 11 | 7 8 30: the last token of a completion is never an input
        assert_eq!(packed.tokens, [1, 2, 3, 4, 5, 6, 10, 11, 7, 8, 30]);
        assert_eq!(packed.positions, [0, 1, 2, 3, 4, 5, 6, 7, 5, 6, 7]);
        assert_eq!(packed.target_tokens, [10, 11, 12, 20, 30, 31]);
        assert_eq!(packed.target_rows, [5, 6, 7, 5, 9, 10]);
        assert_eq!(packed.segments[3].path, [0, 1, 2, 3, 4, 8, 9, 10]);
    }

    #[test]
    fn sequences_are_scored_at_their_last_token_that_is_no_padding() {
        let a = [1, 2, 3];
        let packed = Packed::scored(
            &[
                Sequence { prompt: &a, completion: &[10, 11, 0, 0] },
                Sequence { prompt: &a, completion: &[20] },
                Sequence { prompt: &a, completion: &[] },
                Sequence { prompt: &[0], completion: &[0, 0] },
            ],
            Some(0),
        );
        assert_eq!(packed.tokens, [1, 2, 3, 10, 11, 0, 0, 20, 0, 0, 0]);
        assert_eq!(packed.target_rows, [4, 7, 2, 8]);
        assert!(packed.target_tokens.is_empty());
        let whole = Packed::scored(&[Sequence { prompt: &a, completion: &[10, 0] }], None);
        assert_eq!(whole.target_rows, [4]);
    }

    #[test]
    fn one_prompt_alone_is_one_segment() {
        let packed = Packed::pack(&[Sequence { prompt: &[1, 2], completion: &[3, 4] }]);
        assert_eq!((packed.tokens, packed.segments.len()), (vec![1, 2, 3], 1));
        assert_eq!(packed.target_rows, [1, 2]);
    }
}
