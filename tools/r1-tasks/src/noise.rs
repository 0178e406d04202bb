//! The kinds of noise in an imitation corpus, and how much there is of each.

use std::str::FromStr;

/// One way in which an example is spoilt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Noise {
    /// Computed from left to right: no precedence, no parentheses (o1 of the worked example).
    Precedence,
    /// One operation has a wrong result, and the rest goes on from it.
    Fact,
    /// The answer is not the one that the reasoning arrives at.
    Slip,
    /// No reasoning (o3).
    NoThink,
    /// The answer stands without its tags.
    NoAnswerTag,
    /// The answer alone, without any tag.
    Bare,
    /// Part of the reasoning is in the other language.
    MixedLanguage,
    /// The reasoning is no reasoning, and the answer is wrong (o4).
    Gibberish,
    /// The closing answer tag lacks its slash (as o4 is printed).
    Unclosed,
    /// The reply to a general request is one that `--pairs` rejects: of no use, rude, untrue, or willing to harm.
    Unkind,
}

impl Noise {
    /// All kinds, in the order in which they are drawn and written.
    pub const ALL: [Noise; 10] = [
        Noise::Precedence,
        Noise::Fact,
        Noise::Slip,
        Noise::NoThink,
        Noise::NoAnswerTag,
        Noise::Bare,
        Noise::MixedLanguage,
        Noise::Gibberish,
        Noise::Unclosed,
        Noise::Unkind,
    ];

    /// The name in the flag and in the `noise` column.
    pub fn name(self) -> &'static str {
        match self {
            Noise::Precedence => "precedence",
            Noise::Fact => "fact",
            Noise::Slip => "slip",
            Noise::NoThink => "no-think",
            Noise::NoAnswerTag => "no-answer-tag",
            Noise::Bare => "bare",
            Noise::MixedLanguage => "mixed-language",
            Noise::Gibberish => "gibberish",
            Noise::Unclosed => "unclosed",
            Noise::Unkind => "unkind",
        }
    }
}

/// The probability of each kind, in the order of [`Noise::ALL`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shares(pub [f64; Noise::ALL.len()]);

impl Shares {
    /// No noise.
    pub const NONE: Shares = Shares([0.0; Noise::ALL.len()]);

    /// The corpus of a base policy that is right in part: half of the order of operations wrong, 15 % slips, 20 % without
    /// reasoning, 15 % without answer tags, 10 % bare, 10 % in mixed languages, 5 % gibberish.
    pub const DEFAULT: Shares = Shares([0.5, 0.0, 0.15, 0.2, 0.15, 0.1, 0.1, 0.05, 0.0, 0.0]);

    /// The probability of one kind.
    pub fn of(&self, noise: Noise) -> f64 {
        self.0[noise as usize]
    }
}

impl FromStr for Shares {
    type Err = String;

    /// Reads `none`, `default`, or `KIND=P,KIND=P,…`; kinds that are not named have no share, or, after a leading
    /// `default`, their default share.
    fn from_str(text: &str) -> Result<Shares, String> {
        let mut shares = Shares::NONE;
        let mut named = [false; Noise::ALL.len()];
        for (place, part) in text.split(',').enumerate() {
            match part.split_once('=') {
                None if place == 0 && part == "none" && text == "none" => {}
                None if place == 0 && part == "default" => shares = Shares::DEFAULT,
                None => {
                    return Err(format!("`{part}` has no share (KIND=P; or `none`, or `default` in front)"));
                }
                Some((name, share)) => {
                    let Some(kind) = Noise::ALL.into_iter().find(|kind| kind.name() == name) else {
                        let names: Vec<&str> = Noise::ALL.into_iter().map(Noise::name).collect();
                        return Err(format!("no kind of noise is called `{name}` ({})", names.join(", ")));
                    };
                    if std::mem::replace(&mut named[kind as usize], true) {
                        return Err(format!("`{name}` is given twice"));
                    }
                    shares.0[kind as usize] = crate::range::share(share)?;
                }
            }
        }
        Ok(shares)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_as_written() {
        assert_eq!("none".parse(), Ok(Shares::NONE));
        assert_eq!("default".parse(), Ok(Shares::DEFAULT));
        let some: Shares = "slip=0.3,bare=1".parse().unwrap();
        assert_eq!((some.of(Noise::Slip), some.of(Noise::Bare), some.of(Noise::Precedence)), (0.3, 1.0, 0.0));
        let changed: Shares = "default,slip=0".parse().unwrap();
        assert_eq!((changed.of(Noise::Slip), changed.of(Noise::Precedence)), (0.0, 0.5));
        for bad in
            ["", "none,slip=1", "slip", "slip=2", "slip=a", "slip=0,slip=1", "slip=1,default", "noise=1"]
        {
            assert!(bad.parse::<Shares>().is_err(), "{bad}");
        }
        for (place, kind) in Noise::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, place);
        }
    }
}
