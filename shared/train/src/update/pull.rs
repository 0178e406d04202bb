//! A loss that a teacher's distributions have a part in: every completion token of the batch is pulled toward what the teacher
//! says in its place.

use r1_kernels::{head, norm};
use r1_model::Policy;
use r1_model::batch::Packed;
use r1_model::network::Tape;
use r1_model::network::toward::{self, Toward};

use super::{Row, Scored, Trainer};
use crate::refusal::Refused;

/// What the teacher says of one row's completion tokens, at the temperature that it was asked for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Listed<'a> {
    /// ids of its most probable tokens, a list a token
    pub ids: &'a [Vec<u32>],
    /// their log-probabilities (nats)
    pub logprobs: &'a [Vec<f32>],
}

/// Where the teacher's distributions come from.
pub enum Teacher<'a> {
    /// a network with the student's tokenizer
    Live(&'a Policy),
    /// lists from a file, one for every row of the batch
    Listed(&'a [Listed<'a>]),
    /// every token of the vocabulary is as probable as every other
    Uniform,
}

/// The teacher's part in the loss of a batch.
pub struct Pull<'a> {
    /// who teaches
    pub teacher: Teacher<'a>,
    /// 0 forward KL, 1 reverse KL, between them Jensen-Shannon (see `r1_kernels::divergence`)
    pub beta: f32,
    /// 1 / temperature of both distributions, for every row of the batch
    pub inv_temperature: &'a [f32],
    /// d(loss)/d(divergence of a token)
    pub weight: f32,
    /// is given each row's index and the divergence (nats) at each of its completion tokens
    pub seen: &'a mut dyn FnMut(usize, &[f32]),
}

/// Lists of a micro-batch's tokens, one after the other.
#[derive(Default)]
struct Joined {
    ids: Vec<u32>,
    logprobs: Vec<f32>,
    starts: Vec<usize>,
}

impl Joined {
    fn of<'a>(lists: impl Iterator<Item = &'a Listed<'a>>) -> Joined {
        let mut joined = Joined { starts: vec![0], ..Joined::default() };
        for list in lists {
            for (ids, logprobs) in list.ids.iter().zip(list.logprobs) {
                joined.ids.extend_from_slice(ids);
                joined.logprobs.extend_from_slice(logprobs);
                joined.starts.push(joined.ids.len());
            }
        }
        joined
    }
}

impl Trainer {
    /// Adds the gradient of a batch whose loss is `loss` on the log-probabilities (as [`Trainer::accumulate`] takes it) plus
    /// the teacher's pull on every token.
    ///
    /// # Errors
    /// Those of [`Trainer::accumulate`], and a divergence that is not finite.
    ///
    /// # Panics
    /// Where [`Trainer::accumulate`] does, and where lists do not fit the rows.
    pub fn accumulate_toward(
        &mut self,
        rows: &[Row],
        pull: &mut Pull,
        loss: &mut dyn FnMut(usize, Scored, &mut [f32]),
    ) -> Result<(), Refused> {
        self.accumulate_all(rows, false, &mut |i, scored, d, _| loss(i, scored, d), Some(pull))
    }

    /// The backward pass of one micro-batch toward its teacher; what is refused comes back.
    pub(super) fn pull_back(
        &mut self,
        rows: &[Row],
        chosen: &[usize],
        (packed, inv_temperature, output, d): (&Packed, &[f32], &head::Output, &[f32]),
        tape: Tape,
        pull: &mut Pull,
    ) -> Option<Refused> {
        let tempered: Vec<f32> = chosen
            .iter()
            .flat_map(|&i| std::iter::repeat_n(pull.inv_temperature[i], rows[i].completion.len()))
            .collect();
        let weights = vec![pull.weight; tempered.len()];
        let joined;
        let teacher = match &pull.teacher {
            Teacher::Live(policy) => toward::Teacher::Live(policy),
            Teacher::Listed(lists) => {
                joined = Joined::of(chosen.iter().map(|&i| &lists[i]));
                let Joined { ids, logprobs, starts } = &joined;
                toward::Teacher::Listed { ids, logprobs, starts }
            }
            Teacher::Uniform => toward::Teacher::Uniform,
        };
        let toward = Toward { teacher, beta: pull.beta, inv_temperature: &tempered, weights: &weights };
        let Trainer { policy, gradients, .. } = self;
        let found = match policy.backward_toward(packed, inv_temperature, output, tape, d, &toward, gradients)
        {
            Ok(found) => found,
            Err(error) => return Some(Refused::failed(error)),
        };
        let mut left = &found[..];
        for &i in chosen {
            let (own, rest) = left.split_at(rows[i].completion.len());
            left = rest;
            if let Some(token) = norm::first_non_finite(own) {
                let fact = format!("its divergence from the teacher is {}", own[token]);
                return Some(Refused::not_finite(Some(i), Some(token), fact));
            }
            (pull.seen)(i, own);
        }
        None
    }
}
