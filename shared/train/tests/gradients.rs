//! The whole backward pass against finite differences, for every family of networks.

mod policies;

use policies::{configs, ids, policy};
use r1_model::Policy;
use r1_model::batch::{Packed, Sequence};
use r1_model::network::{Gradients, Recompute};
use r1_model::parameters::Kind;
use r1_model::random::{Stream, hash};

/// A loss that weighs every token differently: Σ c_i · logprob_i, in f64.
fn loss(policy: &Policy, batch: &Packed, inv: &[f32], weights: &[f32]) -> f64 {
    let out = policy.logprobs(batch, inv, false).unwrap();
    out.logprobs.iter().zip(weights).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

#[test]
fn gradients_agree_with_finite_differences() {
    for (name, config) in configs() {
        let mut policy = policy(&config, 5);
        // A group that shares its prompt, another prompt with the same header, and one completion of a single token.
        let (a, mut b) = (ids("a", 9), ids("a", 11));
        b[6..].copy_from_slice(&ids("b", 5));
        let completions = [ids("c", 7), ids("d", 5), ids("e", 9), ids("f", 1)];
        let prompts = [&a, &a, &b, &b];
        let sequences: Vec<Sequence> =
            prompts.iter().zip(&completions).map(|(p, c)| Sequence { prompt: p, completion: c }).collect();
        let batch = Packed::pack(&sequences);
        let n = batch.target_tokens.len();
        let inv: Vec<f32> = (0..n).map(|i| if i < 12 { 1.0 } else { 1.25 }).collect();
        let stream = Stream::of(1, hash(name), 0);
        let weights: Vec<f32> = (0..n as u64).map(|i| (stream.at(i) - 0.4) as f32).collect();

        let (output, tape) = policy.forward(&batch, &inv, false, Recompute::None).unwrap();
        let mut gradients = Gradients::zeros(&policy).unwrap();
        policy.backward(&batch, &inv, &output, tape, &weights, None, &mut gradients).unwrap();
        // Computing activations again changes no bit.
        let (again, tape) = policy.forward(&batch, &inv, false, Recompute::Layers).unwrap();
        let mut recomputed = Gradients::zeros(&policy).unwrap();
        policy.backward(&batch, &inv, &again, tape, &weights, None, &mut recomputed).unwrap();
        assert_eq!(output, again);
        assert!(gradients.values == recomputed.values, "{name}: recomputed gradients differ");

        let mut checked = 0;
        for i in 0..policy.parameters().len() {
            let tensor = policy.parameters()[i].pieces[0].name.clone();
            let gradient = gradients.values[i].clone();
            let norm = gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
            if policy.parameters()[i].kind == Kind::CorrectionBias {
                assert_eq!(norm, 0.0, "{name}: {tensor} has no gradient");
                continue;
            }
            let expert = tensor.contains(".experts.");
            assert!(norm > 1e-4 || expert, "{name}: {tensor} got no gradient");
            // Along the gradient, and along two random directions of ±1.
            let along: Vec<f64> = gradient.iter().map(|g| f64::from(*g) / norm.max(1e-12)).collect();
            let random = |k: u64| -> Vec<f64> {
                let stream = Stream::of(k, hash(&tensor), 1);
                let scale = 1.0 / (gradient.len() as f64).sqrt();
                (0..gradient.len() as u64).map(|j| if stream.at(j) < 0.5 { scale } else { -scale }).collect()
            };
            let start = policy.parameters()[i].value.clone();
            for direction in [along, random(1), random(2)] {
                let expected: f64 = gradient.iter().zip(&direction).map(|(g, d)| f64::from(*g) * d).sum();
                let h = 4e-3;
                let mut at = |sign: f64| {
                    let value = &mut policy.parameters_mut()[i].value;
                    for ((v, s), d) in value.iter_mut().zip(&start).zip(&direction) {
                        *v = (f64::from(*s) + sign * h * d) as f32;
                    }
                    policy.repack();
                    loss(&policy, &batch, &inv, &weights)
                };
                let numeric = (at(1.0) - at(-1.0)) / (2.0 * h);
                let tolerance = 2e-3 * norm.max(expected.abs()) + 2e-3;
                assert!(
                    (numeric - expected).abs() < tolerance,
                    "{name}: {tensor}: {numeric} by differences, {expected}"
                );
                checked += 1;
            }
            policy.parameters_mut()[i].value = start;
            policy.repack();
        }
        assert!(checked >= 50, "{name}: {checked} directions");
    }
}
