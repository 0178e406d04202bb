//! A policy out of a GGUF file: dequantized weights under Hugging Face names, and the tokenizer that the file carries.

use std::borrow::Cow;
use std::path::Path;

use anyhow::Result;
use r1_cli::Progress;
use r1_model::checkpoint::{SHARD_BYTES, SaveDtype, Shape, save_checkpoint, sha256_of_files};
use r1_model::directory::write_json;
use r1_model::gguf::Import;

use crate::run::{bad, check_stop, report, writer};

/// Writes the policy of a GGUF file.
pub fn import(file: &Path, dtype: SaveDtype, target: &Path) -> Result<()> {
    let damaged = "see that the file is a whole GGUF file of a llama, qwen2 or qwen3 model";
    let import = Import::open(file).map_err(bad(damaged))?;
    let tokenizer = import.tokenizer.build().map_err(bad(format!("{}: {damaged}", file.display())))?;
    tokenizer.check_fits(&import.config).map_err(bad(damaged))?;

    let out = writer(target)?;
    let dir = out.path();
    let mut config = import.config.raw.clone();
    config["torch_dtype"] = dtype.name().into();
    write_json(&dir.join("config.json"), &config)?;
    write_json(&dir.join("generation_config.json"), &import.generation)?;
    import.tokenizer.write(dir)?;
    let shapes: Vec<Shape> = import.specification().into_iter().map(|s| (s.name, s.shape)).collect();
    // What the weights came from goes along in their header.
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let source = format!("{name} {}", sha256_of_files([file.to_owned()])?);
    let mut progress = Progress::new("tensors", Some(shapes.len() as u64));
    save_checkpoint(dir, &shapes, dtype, &[("source", source)], SHARD_BYTES, |name| {
        check_stop()?;
        progress.add(1);
        import.read_f32(name).map(Cow::Owned).map_err(bad(damaged))
    })?;
    progress.finish();
    out.publish()?;
    let count = shapes.iter().map(|(_, shape)| shape.iter().product::<usize>()).sum();
    report(target, &format!("{:?}, dequantized", import.config.architecture), count);
    Ok(())
}
