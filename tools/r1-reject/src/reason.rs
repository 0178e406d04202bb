//! Why a completion is refused.

/// The reasons, in the order in which they are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Nothing but white space.
    Empty,
    /// `--correct`, and nothing tells whether it is.
    Unjudged,
    /// `--correct` or `--majority`, and the answer is another.
    Wrong,
    /// `--majority`, and no answer has enough votes.
    NoMajority,
    /// `--judgement`, and the model thinks otherwise or said nothing.
    Judgement,
    /// `--finished`, and the token limit ended it.
    Unfinished,
    /// `--format`, and the format part is not 1 or not there.
    Format,
    /// `--language`, and the language part is below the share or not there.
    Language,
    /// `--max-paragraph`, and the reasoning has a longer one.
    LongParagraph,
    /// `--no-code`, and the reasoning has a fenced block.
    CodeBlock,
    /// `--max-repetition`, and more of the n-grams are repeats.
    Repetition,
    /// `--tokens` or `--chars`, and the length is outside.
    Length,
    /// `--form`, and there is no reasoning and answer to rewrite.
    Form,
    /// `--decontaminate`, and it shares words with an evaluation.
    Contaminated,
    /// `--pass-rate`, and the prompt is outside.
    PassRate,
    /// `--dedup`, and an earlier completion of the prompt is the same.
    Duplicate,
    /// `--near-dup`, and a kept completion is nearly the same.
    NearDuplicate,
    /// `--best`, and others of the prompt are better.
    NotBest,
    /// `--reviewed`, and the reader dropped it.
    Dropped,
}

impl Reason {
    /// The word for reports.
    pub fn name(self) -> &'static str {
        match self {
            Reason::Empty => "empty",
            Reason::Unjudged => "unjudged",
            Reason::Wrong => "wrong",
            Reason::NoMajority => "no-majority",
            Reason::Judgement => "judgement",
            Reason::Unfinished => "unfinished",
            Reason::Format => "format",
            Reason::Language => "language",
            Reason::LongParagraph => "long-paragraph",
            Reason::CodeBlock => "code-block",
            Reason::Repetition => "repetition",
            Reason::Length => "length",
            Reason::Form => "form",
            Reason::Contaminated => "contaminated",
            Reason::PassRate => "pass-rate",
            Reason::Duplicate => "duplicate",
            Reason::NearDuplicate => "near-duplicate",
            Reason::NotBest => "not-best",
            Reason::Dropped => "dropped",
        }
    }
}

/// A reason with what was found.
pub type Refusal = (Reason, String);
