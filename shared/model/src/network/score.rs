//! A classifier's head: a reward model's scores, forward and backward.
//!
//! `scores[i, l] = Σ_c score.weight[l, c] · normed[i, c]`, where `normed` is the final norm's output at the row where sequence i
//! is scored ([`Packed::scored`]): transformers' `…ForSequenceClassification`.

use std::path::Path;

use anyhow::{Result, bail};
use r1_kernels::{Precision, linear};

use super::{Gradients, LoadOptions, Policy, Recompute, Tape};
use crate::batch::Packed;
use crate::checkpoint::Tensors;
use crate::config::{Config, Head};
use crate::parameters::{self, SCORE};
use crate::random::{Stream, hash};

impl Policy {
    /// Reads a directory whose config names a `…ForSequenceClassification`.
    ///
    /// # Errors
    /// Those of [`Policy::load`], and a directory that holds no classifier.
    pub fn load_scorer(dir: &Path, options: LoadOptions) -> Result<Policy> {
        let config = Config::load(dir)?;
        if config.head == Head::Vocabulary {
            bail!(
                "{}: architectures: not a reward model (…ForSequenceClassification); r1-prefer trains one",
                dir.join("config.json").display()
            );
        }
        Policy::read(dir, config, options)
    }

    /// Puts a fresh head (normal with the config's `initializer_range`, as transformers has it) on the network of a policy
    /// directory. `pad` is the padding token where its config names none.
    ///
    /// # Errors
    /// Those of [`Policy::load`].
    pub fn scorer_on(
        dir: &Path,
        labels: &[&str],
        pad: Option<u32>,
        seed: u64,
        options: LoadOptions,
    ) -> Result<Policy> {
        let config = Config::load(dir)?.with_score_head(labels, pad)?;
        let tensors = Tensors::open(dir)?;
        let mut specification = parameters::specification(&config);
        specification.retain(|s| s.name != SCORE);
        tensors.check(&specification, &config)?;
        let range = config.initializer_range;
        Policy::assemble(config, options, |parameter| {
            let mut value = Vec::with_capacity(parameter.len);
            for piece in &parameter.pieces {
                if piece.name == SCORE {
                    let stream = Stream::of(seed, hash(SCORE), 0);
                    value.extend((0..piece.len() as u64).map(|i| (stream.normal(i) * range) as f32));
                } else {
                    value.extend_from_slice(&tensors.read_f32(&piece.name, &piece.shape)?);
                }
            }
            Ok(value)
        })
    }

    /// Scores of every sequence of a batch made by [`Packed::scored`]: [sequences, labels].
    ///
    /// # Errors
    /// A device's.
    ///
    /// # Panics
    /// When the policy has no classifier's head.
    pub fn scores(&self, batch: &Packed) -> Result<Vec<f32>> {
        match &self.device {
            Some(network) => network.scores(batch),
            None => Ok(self.score(&self.before_head(batch))),
        }
    }

    /// As [`Policy::scores`], keeping what the backward pass needs.
    ///
    /// # Errors
    /// A device's.
    ///
    /// # Panics
    /// When the policy has no classifier's head.
    pub fn forward_scores(&self, batch: &Packed, recompute: Recompute) -> Result<(Vec<f32>, Tape)> {
        if let Some(network) = &self.device {
            return network.forward_scores(batch, recompute);
        }
        let tape = self.tape(batch, recompute);
        Ok((self.score(tape.normed()), tape))
    }

    fn score(&self, normed: &[f32]) -> Vec<f32> {
        let labels = self.config.labels().len();
        assert!(labels > 0, "score: this policy continues text and scores none");
        let mut out = vec![0.0; normed.len() / self.config.hidden_size * labels];
        linear::forward(normed, self.weight(self.head()), None, &mut out);
        out
    }

    /// Adds to `grads` the gradient of a loss given by d(loss)/d(score): [sequences, labels].
    ///
    /// # Errors
    /// A device's.
    ///
    /// # Panics
    /// When the policy was loaded frozen.
    pub fn backward_scores(
        &self,
        batch: &Packed,
        tape: Tape,
        dscores: &[f32],
        grads: &mut Gradients,
    ) -> Result<()> {
        if let Some(network) = &self.device {
            return network.backward_scores(batch, tape.of_device(), dscores, grads.on_device());
        }
        let (labels, c) = (self.config.labels().len(), self.config.hidden_size);
        self.backward_through(batch, tape, grads, |normed, w, dnormed, dw| {
            linear::backward_input(dscores, w, dnormed, false);
            if let Some(dw) = dw {
                linear::backward_weight(dscores, normed, labels, c, Precision::F32, dw);
            }
        });
        Ok(())
    }
}
