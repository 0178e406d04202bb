//! What is said before a run: how long the examples are; where asked, what memory they take and whether gradients are right.

use anyhow::Result;
use r1_kernels::Precision;

use super::Preparation;
use crate::corpus::{Corpus, order};
use crate::examples::Words;
use crate::flags::load_policy;
use crate::optimizer::AdamW;
use crate::update::{self, Trainer};
use crate::{memory, selftest};

impl Preparation<'_> {
    /// `--plan` and `--selftest`: answers, and neither trains nor writes.
    pub(super) fn before(&self, precision: Precision, words: &Words, corpus: &Corpus) -> Result<()> {
        tell_lengths(corpus);
        let (flags, batch) = (self.flags, self.flags.batch_size(self.defaults).min(corpus.len()));
        let micro_tokens = flags.compute.micro_tokens(&words.config, precision)?;
        let rows = |order: &[u32]| -> Vec<update::Row<'_>> {
            order.iter().map(|&i| corpus.row(i as usize)).collect()
        };
        if flags.before.plan {
            // The batch of the longest examples: no batch needs more.
            let mut longest: Vec<u32> = (0..corpus.len() as u32).collect();
            longest.sort_by_key(|&i| {
                std::cmp::Reverse(
                    corpus.row(i as usize).prompt.len() + corpus.row(i as usize).completion.len(),
                )
            });
            memory::tell(&words.config, precision, &rows(&longest[..batch]), micro_tokens)?;
        }
        if flags.before.selftest {
            let policy = load_policy(self.policy, Precision::F32)?;
            let optimizer = AdamW::fresh(&policy, flags.optimization.hyper());
            let limits = flags.optimization.limits(micro_tokens, 0.0);
            let mut trainer = Trainer::new(policy, optimizer, limits)?;
            let first = order(flags.seed.seed, 0, corpus.len());
            let rows: Vec<update::Row> =
                selftest::chosen(&rows(&first[..batch])).into_iter().map(|(_, row)| row).collect();
            let tokens: usize = rows.iter().map(|r| r.completion.len()).sum();
            let weight = -1.0 / tokens.max(1) as f32;
            let findings = selftest::measure(&mut trainer, &rows, &mut |_, _, d, _| d.fill(weight))?;
            findings.words().iter().for_each(|line| r1_cli::note(line));
            findings.settle()?;
        }
        Ok(())
    }
}

/// How long the examples are, before anything is trained on them.
pub(super) fn tell_lengths(corpus: &Corpus) {
    let lengths = corpus.lengths();
    let of = |mut list: Vec<usize>| {
        list.sort_unstable();
        let at = |share: f64| list[((list.len() - 1) as f64 * share).round() as usize];
        format!("{} to {}, median {}, 95 % up to {}", at(0.0), at(1.0), at(0.5), at(0.95))
    };
    r1_cli::note(&format!(
        "{} examples, {} completion tokens; tokens of a prompt {}; of a completion {}; of an example {}",
        corpus.len(),
        corpus.completion_tokens(),
        of(lengths.iter().map(|(p, _)| *p).collect()),
        of(lengths.iter().map(|(_, c)| *c).collect()),
        of(lengths.iter().map(|(p, c)| p + c).collect())
    ));
}
