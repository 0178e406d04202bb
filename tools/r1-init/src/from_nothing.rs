//! A fresh policy: a preset's shape, a tokenizer, random weights.

use std::path::Path;

use anyhow::Result;
use r1_model::checkpoint::SaveDtype;
use r1_model::directory::{TOKENIZER, copy_files, write_json};
use r1_model::template::Template;
use r1_model::{LoadOptions, Policy, Precision, Tokenizer, presets, tokenizer};

use crate::run::{bad, report, writer};
use crate::{Args, corpus};

/// Tokens to learn where `--vocab` does not say: enough for the words of the tasks and of the template.
const VOCABULARY: usize = 1024;
/// How often the template's words count: they stand before every prompt.
const TEMPLATE_WEIGHT: usize = 1000;

/// Writes the policy of a preset.
pub fn make(preset: &str, args: &Args, dtype: SaveDtype, target: &Path) -> Result<()> {
    let (tokenizer, learned) = match (&args.corpus, &args.tokenizer) {
        (Some(path), _) => {
            let texts = corpus::read(path)?;
            let words = Template::r1_zero_words();
            let all = texts.iter().map(String::as_str);
            let weighted = all.chain(std::iter::repeat_n(words.as_str(), TEMPLATE_WEIGHT));
            let remedy = format!("{}: give more text, or another --vocab", path.display());
            let learned = tokenizer::train(weighted, args.vocab.unwrap_or(VOCABULARY), presets::CONTEXT)
                .map_err(bad(remedy))?;
            (learned.build()?, Some(learned))
        }
        (None, Some(dir)) => (Tokenizer::load(dir).map_err(bad("name a policy directory"))?, None),
        (None, None) => {
            let remedy = "give --corpus FILE to learn one, or --tokenizer DIR to take one";
            return Err(r1_cli::misuse("a preset needs a tokenizer", remedy));
        }
    };
    let mut config = presets::config(preset, &tokenizer)?;
    config.raw["torch_dtype"] = dtype.name().into();
    let generation = presets::generation_config(&config);

    let out = writer(target)?;
    let dir = out.path();
    write_json(&dir.join("config.json"), &config.raw)?;
    write_json(&dir.join("generation_config.json"), &generation)?;
    match (&learned, &args.tokenizer) {
        (Some(learned), _) => learned.write(dir)?,
        (None, Some(from)) => copy_files(TOKENIZER, from, dir)?,
        (None, None) => {}
    }
    let options = LoadOptions::trainable(Some(Precision::F32));
    let policy = Policy::initialize(config, args.seed.unwrap_or(0), options)?;
    policy.save_weights(dir, dtype)?;
    out.publish()?;
    let count = policy.parameters().iter().map(|p| p.len).sum();
    report(target, &format!("{preset} with {} tokens", tokenizer.vocab_size()), count);
    Ok(())
}
