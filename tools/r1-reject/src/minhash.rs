//! `--near-dup`: completions that are nearly one that was kept, by MinHash (Broder 1997) with banding (Leskovec, Rajaraman and
//! Ullman, Mining of Massive Datasets, section 3.4).
//!
//! A text is the set of its runs of five words. The similarity of two texts is that of their sets, |A ∩ B| / |A ∪ B|. For each of
//! 128 hash functions two sets have the same smallest hash with just that probability, so the share of equal entries of two
//! signatures estimates it, with a standard error of at most 0.045. Signatures are compared only where all four entries of one
//! of 32 bands are equal: a pair of similarity 0.8 is missed with probability 6e-8, one of 0.5 with 0.13.

use crate::reading::{hash, units};
use std::collections::HashMap;

/// Words in a shingle.
const SHINGLE: usize = 5;
/// Hash functions.
const HASHES: usize = 128;
/// Entries of a signature that must all be equal for a pair to be compared.
const ROWS: usize = 4;

/// The smallest hash of a text's shingles under each function.
pub type Signature = Box<[u32; HASHES]>;

/// The signature of a text. One shorter than a shingle is a single one.
pub fn signature(text: &str) -> Signature {
    let units = units(text);
    let mut smallest = Box::new([u32::MAX; HASHES]);
    let whole = units.len().clamp(1, SHINGLE);
    for shingle in units.windows(whole) {
        let shingle = hash(shingle);
        for (at, least) in smallest.iter_mut().enumerate() {
            *least = (*least).min((mix(shingle ^ mix(at as u64 + 1)) >> 32) as u32);
        }
    }
    smallest
}

/// The finalizer of splitmix64.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The share of equal entries: an estimate of the similarity.
pub fn similarity(a: &Signature, b: &Signature) -> f64 {
    a.iter().zip(b.iter()).filter(|(a, b)| a == b).count() as f64 / HASHES as f64
}

/// The kept completions.
#[derive(Debug, Default)]
pub struct Kept {
    signatures: Vec<(Signature, String)>,
    /// For a band and the hash of its entries, who has them.
    bands: HashMap<(u8, u64), Vec<u32>>,
}

impl Kept {
    /// The kept completion that is most similar, where one is at least `least` similar: its name and the similarity. Of equally
    /// similar ones, the first.
    pub fn nearest(&self, signature: &Signature, least: f64) -> Option<(&str, f64)> {
        let mut close: Vec<u32> =
            bands(signature).filter_map(|band| self.bands.get(&band)).flatten().copied().collect();
        close.sort_unstable();
        close.dedup();
        let mut best: Option<(&str, f64)> = None;
        for at in close {
            let (known, name) = &self.signatures[at as usize];
            let found = similarity(known, signature);
            if found >= least && best.is_none_or(|(_, most)| found > most) {
                best = Some((name, found));
            }
        }
        best
    }

    /// One more is kept.
    pub fn add(&mut self, signature: Signature, name: String) {
        let at = self.signatures.len() as u32;
        for band in bands(&signature) {
            self.bands.entry(band).or_default().push(at);
        }
        self.signatures.push((signature, name));
    }
}

fn bands(signature: &Signature) -> impl Iterator<Item = (u8, u64)> {
    signature.chunks(ROWS).enumerate().map(|(band, entries)| {
        let key = entries.iter().fold(0, |key, entry| mix(key ^ u64::from(*entry)).wrapping_add(1));
        (band as u8, key)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// The definition.
    fn jaccard(a: &str, b: &str) -> f64 {
        let set = |text: &str| units(text).windows(SHINGLE).map(hash).collect::<HashSet<u64>>();
        let (a, b) = (set(a), set(b));
        a.intersection(&b).count() as f64 / a.union(&b).count() as f64
    }

    /// 200 words of which those from `from` on are others.
    fn text(from: usize, seed: u64) -> String {
        let word = |at: usize| mix(at as u64 + if at < from { 0 } else { seed << 32 });
        (0..200).map(|at| format!("w{} ", word(at) % 10_000)).collect()
    }

    #[test]
    fn signatures_estimate_the_similarity() {
        for from in [20, 60, 100, 140, 170, 190, 200] {
            for seed in 1..6 {
                let (a, b) = (text(200, 0), text(from, seed));
                let (exact, found) = (jaccard(&a, &b), similarity(&signature(&a), &signature(&b)));
                // Five standard errors.
                let error = 5.0 * (exact * (1.0 - exact) / HASHES as f64).sqrt() + 1e-9;
                assert!((exact - found).abs() <= error, "{exact} {found}");
            }
        }
    }

    #[test]
    fn near_ones_are_found() {
        let mut kept = Kept::default();
        for seed in 1..200 {
            kept.add(signature(&text(0, seed)), format!("far {seed}"));
        }
        kept.add(signature(&text(200, 0)), "near".to_string());
        assert_eq!(kept.nearest(&signature(&text(195, 7)), 0.8).map(|(name, _)| name), Some("near"));
        assert!(kept.nearest(&signature(&text(100, 7)), 0.8).is_none());
        assert_eq!(kept.nearest(&signature(&text(200, 0)), 1.0), Some(("near", 1.0)));
        // Short texts are one shingle: equal or not.
        kept.add(signature("so it is 4"), "short".to_string());
        assert_eq!(kept.nearest(&signature("So it is  4"), 0.5).map(|(name, _)| name), Some("short"));
        assert!(kept.nearest(&signature("so it is 5"), 0.5).is_none());
    }
}
