//! A policy directory as judge: asked in its own chat template, all questions of a batch decoded together.

use anyhow::Result;
use r1_cli::signals;
use r1_model::engine::{Engine, Limits, Request, kv_bytes};
use r1_model::random::hash;
use r1_model::sample::Sampling;
use r1_model::template::{Message, Prompt, Template};
use r1_model::{LoadOptions, Policy, Tokenizer, device};

use crate::Args;
use crate::judge::{Question, Replies};

/// The judge, loaded.
pub struct Local {
    policy: Policy,
    tokenizer: Tokenizer,
    template: Template,
    sampling: Sampling,
    limits: Limits,
}

impl Local {
    /// Loads the policy that `--judge` names.
    ///
    /// # Errors
    /// Exit 2, naming file and field.
    pub fn load(args: &Args, dir: &std::path::Path) -> Result<Local> {
        let wrong =
            |e: anyhow::Error| r1_cli::misuse(format!("{e:#}"), "name a policy directory (see r1-init)");
        let precision = r1_model::network::precision_named(&args.dtype)?;
        device::set(args.machine.device.choose(device::BUILT, device::count, device::open)?);
        let mut policy = Policy::load(dir, LoadOptions::frozen(precision)).map_err(wrong)?;
        let tokenizer = Tokenizer::load(dir).map_err(wrong)?;
        tokenizer.check_fits(&policy.config).map_err(wrong)?;
        policy.config.eos_token_ids = tokenizer.stop_ids(&policy.config);
        let template = args.template.as_deref().unwrap_or("auto");
        let template = Template::parse(template, &tokenizer).map_err(wrong)?;
        let ask = &args.ask;
        let sampling = Sampling { temperature: ask.temperature, top_p: ask.top_p, ..Sampling::default() };
        let (sequences, prefill) = (64, args.micro_tokens as usize);
        let limits = Limits {
            max_tokens: ask.max_tokens,
            min_tokens: 0,
            max_sequences: sequences,
            prefill_tokens: prefill,
            kv_bytes: kv_bytes(&policy, ask.kv_memory, sequences, prefill, false).map_err(wrong)?,
            latents: false,
            longest_first: false,
            stop: Vec::new(),
            stop_tokens: Vec::new(),
            seed: args.seed.seed,
        };
        Engine::plan(&policy, None, sampling.clone(), limits.clone()).map_err(wrong)?;
        Ok(Local { policy, tokenizer, template, sampling, limits })
    }

    /// Replies to every question, as often as each asks; none where there is no room for it.
    ///
    /// # Errors
    /// When the template refuses, or a signal came.
    pub fn ask(&self, questions: &[Question]) -> Result<Vec<Replies>> {
        let mut engine = Engine::plan(&self.policy, None, self.sampling.clone(), self.limits.clone())?;
        engine.ask_between_steps(|_| if signals::stop_requested() { Err(r1_cli::stopped()) } else { Ok(()) });
        let mut replies: Vec<Replies> = questions.iter().map(|_| None).collect();
        let (mut requests, mut of) = (Vec::new(), Vec::new());
        for (i, question) in questions.iter().enumerate() {
            let turn = Message::new("user", question.text.clone());
            let prompt = self.template.render(&Prompt::Messages(vec![turn.clone()]), &self.tokenizer)?;
            let request = Request { prompt, key: hash(&question.key), samples: question.times };
            if engine.check(&request).is_ok() {
                let text = self.template.text(&Prompt::Messages(vec![turn]), &self.tokenizer)?;
                of.push((i, Template::prefill(&text).to_owned()));
                requests.push(request);
            }
        }
        let eos = &self.policy.config.eos_token_ids;
        engine.run(&requests, |at, group| {
            let (i, prefill) = &of[at];
            let texts = group.into_iter().map(|completion| {
                let ids = match completion.ids.split_last() {
                    Some((last, rest)) if eos.contains(last) => rest,
                    _ => &completion.ids,
                };
                // Where the template has opened the reasoning, the reply begins inside it.
                Ok(format!("{prefill}{}", self.tokenizer.decode(ids, true)?))
            });
            replies[*i] = Some(texts.collect::<Result<_>>()?);
            Ok(())
        })?;
        Ok(replies)
    }
}
