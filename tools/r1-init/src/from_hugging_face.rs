//! A Hugging Face directory, checked and copied; with `--dtype`, its weights as one file of that type; with `--merge`, an
//! adapter added to them.

use std::borrow::Cow;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use r1_cli::Progress;
use r1_model::checkpoint::{
    INDEX, SHARD_BYTES, SaveDtype, Shape, Tensors, WEIGHTS, save_checkpoint, sha256_of_weights,
};
use r1_model::directory::{carry_files, write_json};
use r1_model::lora::{self, Saved};
use r1_model::parameters::specification;
use r1_model::{Config, Tokenizer};

use crate::run::{bad, check_stop, report, writer};

/// Writes a checked copy of a policy directory.
pub fn import(from: &Path, merge: Option<&Path>, dtype: Option<SaveDtype>, target: &Path) -> Result<()> {
    let config =
        Config::load(from).map_err(bad("name a Hugging Face directory of a supported architecture"))?;
    let damaged = "download the directory again";
    let tensors = Tensors::open(from).map_err(bad(damaged))?;
    let wanted = specification(&config);
    tensors.check(&wanted, &config).map_err(bad(damaged))?;
    if from.join("tokenizer.json").exists() {
        let tokenizer = Tokenizer::load(from).map_err(bad(damaged))?;
        tokenizer.check_fits(&config).map_err(bad(damaged))?;
    } else {
        r1_cli::warn(&format!("{}: no tokenizer.json; rows with token ids only", from.display()));
    }

    let adapter = merge.map(|dir| adapter(dir, from, &config)).transpose()?;
    let dtype = dtype.or(adapter.as_ref().map(|_| SaveDtype::F32));
    let out = writer(target)?;
    let dir = out.path();
    carry_files(from, dir)?;
    let beside = tensors.prediction_layers(&config);
    let mut progress = Progress::new("tensors", Some((wanted.len() + beside.len()) as u64));
    let mut read = |name: &str, shape: &[usize]| -> Result<Vec<f32>> {
        check_stop()?;
        progress.add(1);
        let mut values = tensors.read_f32(name, shape).map_err(bad(damaged))?;
        if let Some(adapter) = &adapter {
            adapter.merge(name, shape, &mut values).map_err(bad(UNFIT))?;
        }
        Ok(values)
    };
    match dtype {
        Some(dtype) => {
            write_json(&dir.join("config.json"), &retyped(config.raw.clone(), dtype))?;
            // What the weights came from goes along in their header.
            let source = sha256_of_weights(from)?;
            let mut shapes: Vec<Shape> = wanted.iter().map(|s| (s.name.clone(), s.shape.clone())).collect();
            shapes.extend(beside);
            let mut index = shapes.iter().map(|(n, s)| (n.as_str(), s.as_slice())).collect::<Vec<_>>();
            index.sort_unstable();
            save_checkpoint(dir, &shapes, dtype, &[("source", source)], SHARD_BYTES, |name| {
                let shape = index.binary_search_by_key(&name, |(n, _)| n).map_or(&[][..], |i| index[i].1);
                read(name, shape).map(Cow::Owned)
            })?;
        }
        None => {
            // Every value is looked at before the bytes are copied.
            for spec in &wanted {
                read(&spec.name, &spec.shape)?;
            }
            for (name, shape) in &beside {
                read(name, shape)?;
            }
            for file in tensors.paths() {
                let name = file.file_name().unwrap_or_default();
                fs::copy(file, dir.join(name)).with_context(|| format!("{}", file.display()))?;
            }
            if !from.join(WEIGHTS).exists() {
                fs::copy(from.join(INDEX), dir.join(INDEX)).with_context(|| format!("{}", from.display()))?;
            }
        }
    }
    progress.finish();
    out.publish()?;
    let count = wanted.iter().map(|s| s.shape.iter().product::<usize>()).sum();
    let done = if adapter.is_some() { "merged" } else { "checked" };
    report(target, &format!("{:?}, {done}", config.architecture), count);
    Ok(())
}

/// What to do about an adapter that does not fit.
const UNFIT: &str = "name an adapter directory that was made for this policy";

/// The adapter that is to be merged.
fn adapter(dir: &Path, from: &Path, config: &Config) -> Result<Saved> {
    let saved = Saved::open(dir, config).map_err(bad(UNFIT))?;
    // One that was trained here says over which policy.
    lora::identify(from, Some(dir)).map_err(bad(UNFIT))?;
    Ok(saved)
}

/// The config of converted weights: their type, and no word of how they were quantized.
fn retyped(mut raw: serde_json::Value, dtype: SaveDtype) -> serde_json::Value {
    let field = if raw.get("dtype").is_some() { "dtype" } else { "torch_dtype" };
    raw[field] = dtype.name().into();
    if let Some(fields) = raw.as_object_mut() {
        fields.remove("quantization_config");
    }
    raw
}
