//! Draws against their definitions.

use super::*;

fn plain() -> Sampling {
    Sampling::default()
}

fn before(banned: &[u32]) -> Before<'_> {
    Before { banned, ..Before::default() }
}

fn frequencies(s: &Sampling, logits: &[f32], banned: &[u32]) -> Vec<f64> {
    let mut counts = vec![0.0; logits.len()];
    let mut scratch = Scratch::default();
    let n = 20_000;
    for i in 0..n {
        let (t, _) = s.draw(logits, (i as f64 + 0.5) / n as f64, before(banned), &mut scratch);
        counts[t as usize] += 1.0 / n as f64;
    }
    counts
}

#[test]
fn draws_follow_the_tempered_distribution() {
    let logits = [0.0f32, 1.0, -1.0, 2.0];
    let s = Sampling { temperature: 0.5, ..plain() };
    let weights: Vec<f64> = logits.iter().map(|&l| f64::from(2.0 * l).exp()).collect();
    let total: f64 = weights.iter().sum();
    for (f, w) in frequencies(&s, &logits, &[]).iter().zip(&weights) {
        assert!((f - w / total).abs() < 2e-4);
    }
}

#[test]
fn cuts_keep_what_they_say() {
    let logits = [3.0f32, 1.0, 3.0, 2.0, -4.0];
    let kept = |s: &Sampling| -> Vec<usize> {
        frequencies(s, &logits, &[]).iter().enumerate().filter(|f| *f.1 > 0.0).map(|f| f.0).collect()
    };
    assert_eq!(kept(&Sampling { top_k: 1, ..plain() }), [0]);
    assert_eq!(kept(&Sampling { top_k: 3, ..plain() }), [0, 2, 3]);
    assert_eq!(kept(&Sampling { top_p: 0.5, ..plain() }), [0, 2]);
    assert_eq!(kept(&Sampling { min_p: 0.3, ..plain() }), [0, 2, 3]);
    assert!(frequencies(&plain(), &logits, &[0, 2])[0] == 0.0);
}

/// However peaked or flat a distribution is, top-p keeps the shortest prefix of the sorted tokens.
#[test]
fn top_p_keeps_what_a_whole_sort_would() {
    let n = 3000;
    for (sharpness, top_p) in
        [(0.0, 0.5), (0.001, 0.95), (1.0, 0.9), (6.0, 0.99), (30.0, 0.3), (2.0, 0.999999)]
    {
        let logits: Vec<f32> = (0..n).map(|i| ((i * 7919) % n) as f32 / n as f32 * sharpness).collect();
        let (s, mut scratch) = (Sampling { top_p, ..plain() }, Scratch::default());
        s.draw_tempered(&logits, 0.5, &[7, 8], 1.0, &mut scratch);
        let mut sorted: Vec<(u32, f64)> =
            scratch.row.iter().map(|&w| f64::from(w)).zip(0..).map(|(w, i)| (i, w)).collect();
        sorted.sort_by(more_probable);
        let total: f64 = scratch.row.iter().map(|&w| f64::from(w)).sum();
        let mut mass = 0.0;
        let mut want: Vec<u32> = Vec::new();
        for (i, w) in sorted {
            if mass < f64::from(top_p) * total {
                mass += w;
                want.push(i);
            }
        }
        want.sort_unstable();
        let kept: Vec<u32> = scratch.kept.iter().map(|t| t.0).collect();
        assert!(kept == want, "sharpness {sharpness}, top-p {top_p}: {} and {}", kept.len(), want.len());
    }
}

#[test]
fn the_recorded_logprob_is_of_the_whole_distribution() {
    let logits = [0.5f32, -0.25, 1.5];
    let s = Sampling { temperature: 0.7, top_k: 1, ..plain() };
    let (t, lp) = s.draw(&logits, 0.3, before(&[]), &mut Scratch::default());
    let z: f64 = logits.iter().map(|&l| (f64::from(l) / 0.7).exp()).sum();
    assert_eq!(t, 2);
    assert!((f64::from(lp) - (1.5 / 0.7 - z.ln())).abs() < 1e-6);
}

#[test]
fn greedy_takes_the_first_of_equals() {
    let s = Sampling { temperature: 0.0, ..plain() };
    assert_eq!(s.draw(&[1.0, 2.0, 2.0], 0.9, before(&[]), &mut Scratch::default()).0, 1);
}

#[test]
fn penalties_lower_what_was_there_and_are_not_recorded() {
    let logits = [2.0f32, 1.5, -1.0, 0.5];
    let s = Sampling { temperature: 0.0, ..plain() };
    let draw = |s: &Sampling, prompt: &[u32], drawn: &[u32]| {
        s.draw(&logits, 0.0, Before { prompt, drawn, banned: &[] }, &mut Scratch::default())
    };
    let total = f64::from(logits.iter().map(|l| l.exp()).sum::<f32>()).ln();
    let recorded = |token: u32| (f64::from(logits[token as usize]) - total) as f32;
    for (s, prompt, drawn, want) in [
        (Sampling { repetition_penalty: 1.5, ..s.clone() }, &[0][..], &[][..], 1),
        (Sampling { repetition_penalty: 1.2, ..s.clone() }, &[0][..], &[0, 0][..], 0),
        (Sampling { presence_penalty: 0.6, ..s.clone() }, &[0][..], &[][..], 0),
        (Sampling { presence_penalty: 0.6, ..s.clone() }, &[][..], &[0, 0][..], 1),
        (Sampling { frequency_penalty: 0.4, ..s.clone() }, &[][..], &[0][..], 0),
        (Sampling { frequency_penalty: 0.4, ..s.clone() }, &[][..], &[0, 0][..], 1),
        (Sampling { frequency_penalty: -9.0, ..s.clone() }, &[][..], &[2][..], 2),
    ] {
        let (token, logprob) = draw(&s, prompt, drawn);
        assert_eq!(token, want, "{s:?} {drawn:?}");
        assert!((logprob - recorded(token)).abs() < 1e-6);
    }
    // A negative logit moves away from 0.
    let mut to = Vec::new();
    let s = Sampling { repetition_penalty: 2.0, ..s };
    s.penalize(&logits, Before { prompt: &[2, 0, 2], ..Before::default() }, &mut to, &mut Vec::new());
    assert_eq!(to, [1.0, 1.5, -2.0, 0.5]);
}

#[test]
fn forbidden_words_are_never_completed() {
    let s = Sampling { temperature: 0.0, forbidden: vec![vec![1], vec![3, 0], vec![0, 3, 2]], ..plain() };
    let draw = |logits: &[f32], drawn: &[u32]| {
        s.draw(logits, 0.0, Before { drawn, ..Before::default() }, &mut Scratch::default()).0
    };
    assert_eq!(draw(&[1.0, 9.0, 0.0, 0.0], &[]), 0);
    assert_eq!(draw(&[5.0, 9.0, 0.0, 1.0], &[3]), 3);
    assert_eq!(draw(&[5.0, 0.0, 0.0, 1.0], &[3, 2]), 0);
    assert_eq!(draw(&[0.0, 0.0, 5.0, 1.0], &[0, 3]), 3);
    assert_eq!(draw(&[0.0, 0.0, 5.0, 1.0], &[3]), 2);
}
