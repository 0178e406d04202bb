//! From flags to one of the four things that this tool does.

use std::fmt::Display;
use std::path::Path;

use anyhow::Result;
use r1_model::checkpoint::SaveDtype;
use r1_model::directory::DirectoryWriter;

use crate::{Args, describe, from_gguf, from_hugging_face, from_nothing, hub};

/// Element type of saved weights.
#[derive(Clone, Copy, clap::ValueEnum)]
pub enum Dtype {
    F32,
    Bf16,
}

/// Does what the flags ask.
pub fn run(args: Args) -> Result<()> {
    if let Some(dir) = &args.describe {
        return describe::describe(dir);
    }
    let Some(target) = &args.output else {
        return Err(r1_cli::misuse("no directory to make", "name it with -o DIR"));
    };
    let dtype = args.dtype.map(|dtype| match dtype {
        Dtype::F32 => SaveDtype::F32,
        Dtype::Bf16 => SaveDtype::Bf16,
    });
    r1_cli::signals::watch();
    if let Some(preset) = &args.preset {
        from_nothing::make(preset, &args, dtype.unwrap_or(SaveDtype::F32), target)
    } else if let Some(file) = &args.from_gguf {
        from_gguf::import(file, dtype.unwrap_or(SaveDtype::F32), target)
    } else if let Some(name) = &args.from_hf {
        let dir = match Path::new(name) {
            dir if dir.is_dir() => dir.to_owned(),
            _ => hub::directory(&hub::Id::parse(name)?)?,
        };
        from_hugging_face::import(&dir, args.merge.as_deref(), dtype, target)
    } else {
        Err(r1_cli::misuse("nothing to start from", "give --preset, --from-gguf, --from-hf or --describe"))
    }
}

/// Bad input (exit 2), with a remedy that fits whatever is wrong with it.
pub fn bad(remedy: impl Display) -> impl Fn(anyhow::Error) -> anyhow::Error {
    move |error| r1_cli::misuse(format!("{error:#}"), &remedy)
}

/// The directory to write into; a target that must not be replaced is misuse.
pub fn writer(target: &Path) -> Result<DirectoryWriter> {
    DirectoryWriter::create(target).map_err(bad("name another directory with -o"))
}

/// Says what was made.
pub fn report(target: &Path, what: &str, parameters: usize) {
    r1_cli::note(&format!("{}: {what}, {:.2} million parameters", target.display(), parameters as f64 / 1e6));
}

/// Stops between two tensors when the user asked for it; what is half made goes away.
pub fn check_stop() -> Result<()> {
    if r1_cli::signals::stop_requested() { Err(r1_cli::stopped()) } else { Ok(()) }
}
