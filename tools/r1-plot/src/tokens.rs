//! A completion token by token: its text, and how probable each token was.

use crate::markup::{escape, excerpt};
use r1_model::tokenizer::Tokenizer;
use r1_records::Rollout;
use std::fmt::Write;
use std::path::Path;

/// Tokens of a completion that are shown; of a longer one the middle is left out.
const MOST: usize = 240;
/// Characters that are shown of a completion without tokens.
const MOST_CHARACTERS: usize = 1200;

/// Text that became certain with one token (or several, where a character is spread over them), and the probability that the
/// policy gave them together.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// The text.
    pub text: String,
    /// Natural logarithm of the probability, where it is known.
    pub logprob: Option<f64>,
}

/// The tokenizer of a policy directory, where it is there and can be read.
pub fn tokenizer(policy: &Path) -> Option<Tokenizer> {
    policy.join("tokenizer.json").is_file().then(|| Tokenizer::load(policy).ok()).flatten()
}

/// The completion in pieces: nothing where it has no ids, or where these do not spell its text.
pub fn pieces(tokenizer: &Tokenizer, rollout: &Rollout) -> Option<Vec<Piece>> {
    let ids = rollout.completion_ids.as_ref()?;
    let mut decoder = tokenizer.decoder(false);
    let mut pieces: Vec<Piece> = Vec::with_capacity(ids.len());
    let mut pending: Option<f64> = None;
    for (at, id) in ids.iter().enumerate() {
        let logprob = rollout.logprobs.as_ref().and_then(|all| all.get(at)).map(|l| f64::from(*l));
        let known = match (pending, logprob) {
            (Some(before), Some(now)) => Some(before + now),
            (None, now) => now,
            (before, None) => before,
        };
        let text = decoder.push(*id).ok()?;
        if text.is_empty() {
            pending = known;
        } else {
            pending = None;
            pieces.push(Piece { text, logprob: known });
        }
    }
    let rest = decoder.finish().ok()?;
    if !rest.is_empty() {
        pieces.push(Piece { text: rest, logprob: pending });
    }
    // Some tokenizers begin every text with a space, which their decoder takes away again.
    if let Some(first) = pieces.first_mut().filter(|_| !rollout.completion.starts_with(' ')) {
        first.text = first.text.trim_start_matches(' ').to_string();
    }
    let spelled: String = pieces.iter().map(|piece| piece.text.as_str()).collect();
    spelled.contains(rollout.completion.as_str()).then_some(pieces)
}

/// The completion as HTML: each token a mark whose class says how probable it was (`p1` at least 0.9 … `p5` below 0.05; above
/// 0.99 no mark), or plain text where its tokens are not known.
pub fn html(tokenizer: Option<&Tokenizer>, rollout: &Rollout) -> String {
    let Some(pieces) = tokenizer.and_then(|tokenizer| pieces(tokenizer, rollout)) else {
        return excerpt(&rollout.completion, MOST_CHARACTERS);
    };
    let (head, tail) = match pieces.len() {
        length if length > MOST => (MOST * 2 / 3, length - MOST / 3),
        length => (length, length),
    };
    let mut html = String::new();
    for (at, piece) in pieces.iter().enumerate() {
        if at == head && tail > head {
            let _ = write!(html, "<em> … {} tokens left out … </em>", tail - head);
        }
        if at >= head && at < tail {
            continue;
        }
        let text = escape(&piece.text);
        let probability = piece.logprob.map_or(1.0, f64::exp);
        let class = match probability {
            p if p >= 0.99 => 0,
            p if p >= 0.9 => 1,
            p if p >= 0.5 => 2,
            p if p >= 0.2 => 3,
            p if p >= 0.05 => 4,
            _ => 5,
        };
        if class == 0 {
            html.push_str(&text);
        } else {
            let _ = write!(html, "<i class=p{class} title=\"p {probability:.3}\">{text}</i>");
        }
    }
    html
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_and_hostile_texts() {
        let rollout = Rollout { completion: "<script>".repeat(500), ..Rollout::default() };
        let shown = html(None, &rollout);
        assert!(!shown.contains("<script") && shown.contains("left out") && shown.len() < 20_000);
    }
}
