//! Distillation on log-probabilities: rows in tokens, a teacher live or in the rows.

use anyhow::Result;
use r1_model::checkpoint::sha256_of_weights;
use r1_model::{LoadOptions, Policy, Tokenizer};
use r1_train::examples::Words;
use r1_train::supervised::{Lesson, Objective, Preparation};

use crate::Args;
use crate::loss::Loss;
use crate::objective::{PolicyGradient, Toward};
use crate::teach::{Count, said, taught};
use crate::tokens::{Reading, Rows, blame, check_one_tokenizer, read};

/// Runs the tool with a loss on log-probabilities.
pub fn run(args: &Args, mut preparation: Preparation) -> Result<()> {
    let precision = preparation.begin()?;
    let not_a_policy =
        |e: anyhow::Error| r1_cli::misuse(format!("{e:#}"), "name the teacher's policy directory");
    if let Some(dir) = &args.loss.teacher {
        let weights = sha256_of_weights(dir).map_err(not_a_policy)?;
        preparation.inputs.insert("teacher".into(), weights.into());
    }
    let (rows, hash) = read(&args.input)?;
    let lesson = |words: &Words| {
        let teacher = match &args.loss.teacher {
            None => None,
            Some(dir) => {
                let tokenizer = Tokenizer::load(dir).map_err(not_a_policy)?;
                check_one_tokenizer(&tokenizer, &words.tokenizer)?;
                Some(Policy::load(dir, LoadOptions::frozen(Some(precision))).map_err(not_a_policy)?)
            }
        };
        let config = teacher.as_ref().map(|t| &t.config);
        let positions = [Some(&words.config), config].into_iter().flatten();
        let longest = positions.map(|c| c.max_position_embeddings).min().unwrap_or(0);
        let reading = Reading {
            flags: &args.loss,
            lesson: &args.lesson,
            words,
            teacher: config,
            max_length: args.training.max_length.unwrap_or(longest).min(longest),
        };
        let mut count = Count::default();
        let Rows { corpus, known } = reading.take(&rows, &mut count).map_err(blame(&args.input))?;
        said(&count, args)?;
        let objective: Box<dyn Objective> = match args.loss.loss {
            Loss::PolicyGradient => Box::new(PolicyGradient { known, clip: args.loss.clip }),
            _ => Box::new(Toward {
                inv_temperature: match (&teacher, args.loss.temperature) {
                    (None, _) => None,
                    (Some(_), t) => Some((1.0 / t.unwrap_or(1.0)) as f32),
                },
                teacher,
                known,
                beta: args.loss.beta() as f32,
                alpha: args.loss.alpha.unwrap_or(0.0),
            }),
        };
        Ok(Lesson { corpus, objective })
    };
    preparation.learn(precision, &hash, lesson, |row| taught(row, &args.lesson, &mut Count::default()))
}
