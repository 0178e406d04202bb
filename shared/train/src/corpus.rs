//! Tokenized examples, and the order in which an epoch shows them.

use anyhow::Result;
use r1_kernels::threads;
use r1_model::random::{Stream, hash};

use crate::update::Row;

/// A prompt and what to say to it, in tokens.
pub type Ids = (Vec<u32>, Vec<u32>);

/// Tokenized examples, one after the other in one piece of memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Corpus {
    tokens: Vec<u32>,
    spans: Vec<Span>,
}

/// Where one example lies: `prompt` tokens at `start`, then `completion` tokens.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Span {
    start: usize,
    prompt: u32,
    completion: u32,
    line: usize,
}

/// Examples that one task tokenizes.
const RUN: usize = 64;

impl Corpus {
    /// Appends an example that stood in `line` of its file.
    pub fn push(&mut self, prompt: &[u32], completion: &[u32], line: usize) {
        let start = self.tokens.len();
        self.tokens.extend_from_slice(prompt);
        self.tokens.extend_from_slice(completion);
        self.spans.push(Span {
            start,
            prompt: prompt.len() as u32,
            completion: completion.len() as u32,
            line,
        });
    }

    /// Tokenizes `count` examples on all threads; `ids(i)` gives the i-th, and results come back in order.
    ///
    /// # Errors
    /// The error of the first example that has one, with its index.
    pub fn tokenize<T: Send>(
        count: usize,
        ids: impl Fn(usize) -> Result<T> + Sync,
    ) -> Result<Vec<T>, (usize, anyhow::Error)> {
        let parts: Vec<std::sync::Mutex<Vec<Result<T>>>> =
            (0..count.div_ceil(RUN)).map(|_| Default::default()).collect();
        threads::parallel(parts.len(), |task| {
            let own = (task * RUN..count.min((task + 1) * RUN)).map(&ids).collect();
            *parts[task].lock().unwrap_or_else(|e| e.into_inner()) = own;
        });
        parts
            .into_iter()
            .flat_map(|part| part.into_inner().unwrap_or_else(|e| e.into_inner()))
            .enumerate()
            .map(|(i, result)| result.map_err(|e| (i, e)))
            .collect()
    }

    /// Number of examples.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is no example.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Line of the i-th example in its file.
    pub fn line(&self, i: usize) -> usize {
        self.spans[i].line
    }

    /// The i-th example as a row of a batch, with a gradient and at temperature 1.
    pub fn row(&self, i: usize) -> Row<'_> {
        let span = &self.spans[i];
        let middle = span.start + span.prompt as usize;
        Row {
            prompt: &self.tokens[span.start..middle],
            completion: &self.tokens[middle..middle + span.completion as usize],
            inv_temperature: 1.0,
            gradient: true,
        }
    }

    /// Prompt and completion tokens of every example.
    pub fn lengths(&self) -> Vec<(usize, usize)> {
        self.spans.iter().map(|s| (s.prompt as usize, s.completion as usize)).collect()
    }

    /// Completion tokens of all examples.
    pub fn completion_tokens(&self) -> u64 {
        self.spans.iter().map(|s| u64::from(s.completion)).sum()
    }

    /// Tokens of the longest example.
    pub fn longest(&self) -> usize {
        self.spans.iter().map(|s| (s.prompt + s.completion) as usize).max().unwrap_or(0)
    }
}

/// The numbers 0..n in the order of one epoch: sorted by a random number that depends on seed, epoch and number alone, so that
/// any step of any epoch can be found again without replaying the ones before.
pub fn order(seed: u64, epoch: u64, n: usize) -> Vec<u32> {
    let stream = Stream::of(seed, hash("order of an epoch"), epoch);
    let mut keyed: Vec<(u64, u32)> = (0..n as u32).map(|i| (stream.bits(u64::from(i)), i)).collect();
    keyed.sort_unstable();
    keyed.into_iter().map(|(_, i)| i).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_shows_every_example_once_in_an_order_of_its_own() {
        let (a, b, c) = (order(7, 0, 1000), order(7, 1, 1000), order(8, 0, 1000));
        assert_eq!(a, order(7, 0, 1000));
        assert!(a != b && a != c && b != c);
        for list in [&a, &b, &c] {
            let mut sorted = list.clone();
            sorted.sort_unstable();
            assert!(sorted.iter().enumerate().all(|(i, x)| i as u32 == *x));
        }
        // Displacement of a random permutation is n/3 on average.
        let moved: f64 =
            a.iter().enumerate().map(|(i, x)| (i as f64 - f64::from(*x)).abs()).sum::<f64>() / 1000.0;
        assert!((moved - 333.0).abs() < 40.0, "{moved}");
    }

    #[test]
    fn examples_come_back_in_order_and_the_first_error_wins() {
        let ids = |i: usize| Ok((vec![i as u32], vec![1, 2, i as u32]));
        let all = Corpus::tokenize(1000, ids).unwrap();
        let mut corpus = Corpus::default();
        all.iter().enumerate().for_each(|(i, (p, c))| corpus.push(p, c, i + 1));
        assert_eq!((corpus.len(), corpus.longest(), corpus.completion_tokens()), (1000, 4, 3000));
        assert_eq!((corpus.row(777).prompt, corpus.row(777).completion), (&[777][..], &[1, 2, 777][..]));
        assert_eq!(corpus.line(777), 778);
        let bad = |i: usize| if i % 300 == 299 { anyhow::bail!("bad {i}") } else { ids(i) };
        assert_eq!(Corpus::tokenize(1000, bad).unwrap_err().0, 299);
    }
}
