//! Which language of a script a sentence is in: a unigram model over small words. A language's n-th commonest word has the
//! probability [`SHARE`]`/ (n + 2)` (Zipf), any word that only others list has [`UNLISTED`]; words that nobody lists say nothing.
//! A letter that a language does not write costs it [`STRANGE`]. The evidence of a sentence is the difference of the
//! log-likelihoods of the best other language and the target.

use super::Script;
use super::profile::PROFILES;
use std::collections::HashMap;
use std::sync::OnceLock;

/// Of running text, what its commonest word would be, twice over.
const SHARE: f32 = 0.08;
/// Probability of a word that a language does not list.
const UNLISTED: f32 = 5e-5;
/// Log-probability of a word with a letter that the language does not write.
const STRANGE: f32 = -5.0;
/// Evidence from which a sentence is taken to be in the other language: more than any one word gives.
pub(super) const CERTAIN: f32 = 8.5;

/// A score for each profile.
pub(super) type Scores = [f32; COUNT];
const COUNT: usize = PROFILES.len();

/// Listed words: profile and log-probability above that of an unlisted word.
type Listed = HashMap<&'static str, Vec<(u8, f32)>>;

fn listed() -> &'static Listed {
    static LISTED: OnceLock<Listed> = OnceLock::new();
    LISTED.get_or_init(|| {
        let mut words: Listed = HashMap::new();
        for (at, profile) in PROFILES.iter().enumerate() {
            for (rank, word) in profile.words.split_whitespace().enumerate() {
                let gain = (SHARE / (rank as f32 + 2.0) / UNLISTED).ln();
                let known = words.entry(word).or_default();
                if known.iter().all(|(other, _)| usize::from(*other) != at) {
                    known.push((at as u8, gain));
                }
            }
        }
        words
    })
}

/// The profiles of a language, one a script that it is told apart in.
pub(super) fn profiles(language: &str) -> Vec<usize> {
    let code = language.split(['-', '_']).next().unwrap_or("").to_ascii_lowercase();
    (0..COUNT).filter(|&at| PROFILES[at].codes.contains(&code.as_str())).collect()
}

/// Adds what a word says to the scores of the languages of its script.
pub(super) fn weigh(script: Script, word: &str, scores: &mut Scores) {
    let mut room = [0u8; 24];
    let gains = match room.get_mut(..word.len()) {
        Some(lower) if word.is_ascii() => {
            lower.copy_from_slice(word.as_bytes());
            lower.make_ascii_lowercase();
            std::str::from_utf8(lower).ok().and_then(|lower| listed().get(lower))
        }
        // No small word is that long.
        None => None,
        Some(_) => listed().get(word.to_lowercase().as_str()),
    };
    for (at, gain) in gains.into_iter().flatten() {
        scores[usize::from(*at)] += gain;
    }
    if !word.is_ascii() {
        let lower = word.to_lowercase();
        // A letter that some language of the script claims as its own speaks against the others.
        for letter in lower.chars().filter(|c| !c.is_ascii()) {
            let of_script = || PROFILES.iter().enumerate().filter(|(_, p)| p.script == script);
            if of_script().any(|(_, p)| p.letters.contains(letter)) {
                for (at, _) in of_script().filter(|(_, p)| !p.letters.contains(letter)) {
                    scores[at] += STRANGE;
                }
            }
        }
    }
}

/// How much better the best other language does than the target, over the scripts of its profiles.
pub(super) fn evidence(scores: &Scores, targets: &[usize]) -> f32 {
    let in_script = |&target: &usize| {
        let others = PROFILES.iter().zip(scores).enumerate();
        others
            .filter(|(at, (profile, _))| *at != target && profile.script == PROFILES[target].script)
            .map(|(_, (_, score))| score - scores[target])
            .fold(f32::NEG_INFINITY, f32::max)
    };
    targets.iter().map(in_script).sum()
}

/// The best language of a script, where it is certainly better than all others.
pub(super) fn best(scores: &Scores, script: Script) -> Option<&'static str> {
    let of_script = || (0..COUNT).filter(|&at| PROFILES[at].script == script);
    let best = of_script().max_by(|&a, &b| scores[a].total_cmp(&scores[b]))?;
    let certain = of_script().all(|at| at == best || scores[best] - scores[at] >= CERTAIN);
    certain.then_some(PROFILES[best].codes[0])
}

/// Nothing seen yet.
pub(super) const NOTHING: Scores = [0.0; COUNT];
