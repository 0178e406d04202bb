//! Byte-pair encoding (Sennrich et al., 2016) learned from counted words, the same every time.
//!
//! The `tokenizers` crate has a trainer too, but the order in which it meets equal counts depends on its hash maps'
//! seeds; here ties go to the pair with the smaller ids, so one corpus has one vocabulary.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

/// Two neighbouring token ids.
type Pair = (u32, u32);

/// The byte-level alphabet of GPT-2: every byte as a printable character.
pub(super) fn byte_alphabet() -> [char; 256] {
    let printable =
        |b: u32| (0x21..=0x7E).contains(&b) || (0xA1..=0xAC).contains(&b) || (0xAE..=0xFF).contains(&b);
    let mut next = 0x100;
    std::array::from_fn(|b| {
        let code = if printable(b as u32) {
            b as u32
        } else {
            next += 1;
            next - 1
        };
        char::from_u32(code).unwrap_or('\u{FFFD}')
    })
}

/// Learns merges until the vocabulary has `size` tokens or no pair occurs twice.
///
/// `vocabulary` comes in with the alphabet at its end and goes out with the merged tokens appended, in order of rank.
/// `words` are in the byte-level alphabet, with their counts.
pub(super) fn learn(
    words: &BTreeMap<String, u64>,
    vocabulary: &mut Vec<String>,
    size: usize,
) -> Vec<(String, String)> {
    let mut ids: HashMap<String, u32> =
        vocabulary.iter().enumerate().map(|(i, t)| (t.clone(), i as u32)).collect();
    let mut words: Vec<(Vec<u32>, u64)> = words
        .iter()
        .map(|(word, n)| {
            (word.chars().filter_map(|c| ids.get(c.to_string().as_str()).copied()).collect(), *n)
        })
        .collect();

    let mut counts: HashMap<Pair, u64> = HashMap::new();
    let mut places: HashMap<Pair, BTreeSet<usize>> = HashMap::new();
    for (place, (word, n)) in words.iter().enumerate() {
        for pair in word.windows(2).map(|w| (w[0], w[1])) {
            *counts.entry(pair).or_default() += n;
            places.entry(pair).or_default().insert(place);
        }
    }
    // Highest count first, then smallest pair.
    let mut queue: BTreeSet<(std::cmp::Reverse<u64>, Pair)> =
        counts.iter().map(|(pair, n)| (std::cmp::Reverse(*n), *pair)).collect();

    let (mut merges, mut merged_pairs) = (Vec::new(), HashSet::new());
    while vocabulary.len() < size {
        let Some((std::cmp::Reverse(count), pair)) = queue.pop_first() else { break };
        if count < 2 {
            break;
        }
        let (left, right) = (vocabulary[pair.0 as usize].clone(), vocabulary[pair.1 as usize].clone());
        let joined = format!("{left}{right}");
        // The same text can be reached by two ways; it stays one token.
        let id = *ids.entry(joined.clone()).or_insert(vocabulary.len() as u32);
        if id as usize == vocabulary.len() {
            vocabulary.push(joined);
        }
        // A pair that comes back (its parts were reached by another way) keeps its first rank.
        if merged_pairs.insert(pair) {
            merges.push((left, right));
        }
        counts.remove(&pair);

        for place in places.remove(&pair).unwrap_or_default() {
            let (word, n) = &mut words[place];
            let n = *n;
            let merged = merge(word, pair, id);
            for (old, sign) in word
                .windows(2)
                .map(|w| ((w[0], w[1]), false))
                .chain(merged.windows(2).map(|w| ((w[0], w[1]), true)))
            {
                // The merged pair itself is gone and is not counted down.
                let Some(count) =
                    (if sign { Some(counts.entry(old).or_default()) } else { counts.get_mut(&old) })
                else {
                    continue;
                };
                queue.remove(&(std::cmp::Reverse(*count), old));
                *count = if sign { *count + n } else { *count - n };
                if *count > 0 {
                    queue.insert((std::cmp::Reverse(*count), old));
                }
                if sign {
                    places.entry(old).or_default().insert(place);
                }
            }
            *word = merged;
        }
    }
    merges
}

/// Replaces every occurrence of `pair`, from the left, by `id`.
fn merge(word: &[u32], pair: Pair, id: u32) -> Vec<u32> {
    let mut merged = Vec::with_capacity(word.len());
    let mut i = 0;
    while i < word.len() {
        if i + 1 < word.len() && (word[i], word[i + 1]) == pair {
            merged.push(id);
            i += 2;
        } else {
            merged.push(word[i]);
            i += 1;
        }
    }
    merged
}
