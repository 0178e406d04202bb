//! Weights on disk: safetensors files, one or sharded, read into f32 and written atomically.
//!
//! Read: f32, f16, bf16, and FP8 (e4m3fn) with one f32 scale per 128×128 block as DeepSeek-V3 publishes it
//! (`X.weight_scale_inv` beside `X.weight`). Every error is one line that names the file and the tensor.

mod decode;
mod view;
mod write;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors};
use sha2::{Digest, Sha256};

use crate::config::{Config, Head, read_json};
use crate::parameters::ParameterSpec;
pub use view::{FirstBad, View};
pub use write::{SHARD_BYTES, SaveDtype, Shape, save_checkpoint, save_tensors};

/// Name of a policy directory's only weight file.
pub const WEIGHTS: &str = "model.safetensors";
/// Name of the file that says in which shard each tensor is.
pub const INDEX: &str = "model.safetensors.index.json";
/// Rows and columns that share one FP8 scale.
const BLOCK: usize = 128;

/// One memory-mapped weight file.
#[derive(Debug)]
struct Shard {
    path: PathBuf,
    map: Mmap,
}

/// Where a tensor lies.
#[derive(Debug)]
struct Entry {
    shard: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: std::ops::Range<usize>,
}

/// The tensors of a policy directory: headers read and checked, values read on demand.
#[derive(Debug)]
pub struct Tensors {
    shards: Vec<Shard>,
    entries: BTreeMap<String, Entry>,
}

impl Tensors {
    /// Opens `model.safetensors`, or the shards of `model.safetensors.index.json`, of a policy directory.
    ///
    /// # Errors
    /// No weight file; a header that is no JSON, does not cover the file exactly, or has overlapping tensors; a file
    /// cut short; an index that disagrees with its shards.
    pub fn open(dir: &Path) -> Result<Tensors> {
        let mut tensors = Tensors { shards: Vec::new(), entries: BTreeMap::new() };
        if dir.join(WEIGHTS).exists() {
            tensors.add(dir.join(WEIGHTS))?;
            return Ok(tensors);
        }
        let index = dir.join(INDEX);
        if !index.exists() {
            bail!("{}: has neither {WEIGHTS} nor {INDEX}; only safetensors weights are read", dir.display());
        }
        let map = shard_of_each_tensor(&index)?;
        let mut files: Vec<&String> = map.values().collect();
        files.sort();
        files.dedup();
        for file in files {
            tensors.add(dir.join(file))?;
        }
        for (name, file) in &map {
            match tensors.entries.get(name) {
                Some(e) if tensors.shards[e.shard].path == dir.join(file) => {}
                _ => bail!("{}: {file} does not hold tensor {name}", index.display()),
            }
        }
        if let Some((name, entry)) = tensors.entries.iter().find(|(name, _)| !map.contains_key(*name)) {
            bail!("{}: does not list tensor {name} of {}", index.display(), tensors.file(entry));
        }
        Ok(tensors)
    }

    /// Opens one safetensors file of any name.
    ///
    /// # Errors
    /// Those of [`Tensors::open`].
    pub fn open_file(file: PathBuf) -> Result<Tensors> {
        let mut tensors = Tensors { shards: Vec::new(), entries: BTreeMap::new() };
        tensors.add(file)?;
        Ok(tensors)
    }

    fn add(&mut self, path: PathBuf) -> Result<()> {
        let place = || format!("{}", path.display());
        let file = File::open(&path).with_context(place)?;
        if file.metadata().with_context(place)?.len() == 0 {
            bail!("{}: the file is empty", path.display());
        }
        // SAFETY: the map is only read. Weight files are replaced by rename, never rewritten in place, so the bytes
        // under the map stay; a foreign program that cuts the file while it is read is outside what can be promised.
        let map = unsafe { Mmap::map(&file) }.with_context(place)?;
        let (header, metadata) = SafeTensors::read_metadata(&map).map_err(|e| describe(&path, &map, &e))?;
        let start = header + size_of::<u64>();
        for (name, tensor) in metadata.tensors() {
            let (from, to) = tensor.data_offsets;
            let entry = Entry {
                shard: self.shards.len(),
                dtype: tensor.dtype,
                shape: tensor.shape.clone(),
                bytes: start + from..start + to,
            };
            if let Some(first) = self.entries.insert(name.clone(), entry) {
                bail!("{}: tensor {name} is also in {}", path.display(), self.file(&first));
            }
        }
        self.shards.push(Shard { path, map });
        Ok(())
    }

    fn file(&self, entry: &Entry) -> std::path::Display<'_> {
        // While a shard is being added its path is not in the list yet.
        self.shards.get(entry.shard).map_or(Path::new("the same file").display(), |s| s.path.display())
    }

    fn files(&self) -> String {
        match self.shards.as_slice() {
            [one] => one.path.display().to_string(),
            all => format!("{} (and {} more)", all[0].path.display(), all.len() - 1),
        }
    }

    /// Names of all tensors, in byte order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// Shape of a tensor as it lies on disk.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.entries.get(name).map(|e| e.shape.as_slice())
    }

    /// Element type of a tensor as safetensors names it (`BF16`, `F32`, `F8_E4M3` …).
    pub fn dtype(&self, name: &str) -> Option<String> {
        self.entries.get(name).map(|e| e.dtype.to_string())
    }

    /// Bytes of all weight files, headers included.
    pub fn bytes_on_disk(&self) -> usize {
        self.shards.iter().map(|s| s.map.len()).sum()
    }

    /// The weight files.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.shards.iter().map(|s| s.path.as_path())
    }

    /// Reads a tensor into row-major f32.
    ///
    /// # Errors
    /// When it is missing, has another shape than `shape` or a type that is not read, or holds a value that is not
    /// finite.
    pub fn read_f32(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let view = self.view(name, shape)?;
        let mut values = vec![0.0; view.len()];
        view.read_all(&mut values)?;
        Ok(values)
    }

    /// A tensor to be read in parts.
    ///
    /// # Errors
    /// When it is missing, or has another shape than `shape` or a type that is not read.
    pub fn view(&self, name: &str, shape: &[usize]) -> Result<View<'_>> {
        let missing = || anyhow!("{}: tensor {name} is missing", self.files());
        let (name, entry) = self.entries.get_key_value(name).ok_or_else(missing)?;
        let file = self.file(entry);
        if entry.shape != shape {
            bail!("{file}: tensor {name} has shape {:?}, config.json asks for {shape:?}", entry.shape);
        }
        if !decode::is_read(entry.dtype) {
            bail!("{file}: tensor {name} has type {}, which is not read", entry.dtype);
        }
        let scales = match (decode::is_fp8(entry.dtype), shape) {
            (false, _) => None,
            (true, &[rows, columns]) => {
                let blocks = [rows.div_ceil(BLOCK), columns.div_ceil(BLOCK)];
                Some(self.read_f32(&format!("{name}_scale_inv"), &blocks)?)
            }
            (true, _) => bail!("{file}: tensor {name} is FP8 but not a matrix"),
        };
        let shard = &self.shards[entry.shard];
        Ok(View::of(name, &entry.shape, entry.dtype, &shard.path, &shard.map[entry.bytes.clone()], scales))
    }

    /// Multi-token-prediction layers, which lie behind the network's own (`model.layers.N` with N at or above the number
    /// of layers): the forward pass does not use them, and they go along from policy to policy.
    pub fn prediction_layers(&self, config: &Config) -> Vec<Shape> {
        let beyond = |name: &&String| is_beyond_last_layer(name, config) && !name.ends_with("_scale_inv");
        self.entries
            .iter()
            .filter(|(name, _)| beyond(name))
            .map(|(name, entry)| (name.clone(), entry.shape.clone()))
            .collect()
    }

    /// Checks, from the headers alone, that the directory holds exactly the tensors of a config, in the right shapes.
    ///
    /// Allowed beside them: FP8 scales, `rotary_emb.inv_freq` buffers of old checkpoints, multi-token-prediction
    /// layers (`model.layers.N` with N at or above the number of layers), and `lm_head.weight` where it is tied or
    /// a classifier stands in its place.
    pub fn check(&self, specification: &[ParameterSpec], config: &Config) -> Result<()> {
        for wanted in specification {
            match self.entries.get(&wanted.name) {
                None => bail!("{}: tensor {} is missing", self.files(), wanted.name),
                Some(e) if e.shape != wanted.shape => bail!(
                    "{}: tensor {} has shape {:?}, config.json asks for {:?}",
                    self.file(e),
                    wanted.name,
                    e.shape,
                    wanted.shape
                ),
                Some(e) if !decode::is_read(e.dtype) => {
                    bail!("{}: tensor {} has type {}, which is not read", self.file(e), wanted.name, e.dtype)
                }
                Some(_) => {}
            }
        }
        let wanted: std::collections::HashSet<&str> = specification.iter().map(|s| s.name.as_str()).collect();
        let extra: Vec<&str> =
            self.names().filter(|n| !wanted.contains(n) && !may_be_extra(n, &wanted, config)).collect();
        if !extra.is_empty() {
            let more = if extra.len() > 3 { format!(" and {} more", extra.len() - 3) } else { String::new() };
            let shown = extra[..extra.len().min(3)].join(", ");
            bail!("{}: holds tensors that the architecture does not have: {shown}{more}", self.files());
        }
        Ok(())
    }
}

fn may_be_extra(name: &str, wanted: &std::collections::HashSet<&str>, config: &Config) -> bool {
    name.ends_with(".rotary_emb.inv_freq")
        || name.strip_suffix("_scale_inv").is_some_and(|weight| wanted.contains(weight))
        || ((config.tie_word_embeddings || config.head != Head::Vocabulary) && name == "lm_head.weight")
        || is_beyond_last_layer(name, config)
}

fn is_beyond_last_layer(name: &str, config: &Config) -> bool {
    let layer = || name.strip_prefix("model.layers.")?.split('.').next()?.parse::<usize>().ok();
    layer().is_some_and(|layer| layer >= config.layers)
}

/// `weight_map` of an index: tensor name to file name.
fn shard_of_each_tensor(index: &Path) -> Result<BTreeMap<String, String>> {
    let json = read_json(index)?;
    let map =
        json.get("weight_map").and_then(|m| m.as_object()).filter(|m| !m.is_empty()).ok_or_else(|| {
            anyhow!("{}: weight_map: expected an object with at least one tensor", index.display())
        })?;
    map.iter()
        .map(|(name, file)| match file.as_str() {
            // Only files of this directory: an index is not a way to read elsewhere.
            Some(f) if Path::new(f).file_name() == Some(std::ffi::OsStr::new(f)) => {
                Ok((name.clone(), f.to_owned()))
            }
            _ => bail!("{}: weight_map: tensor {name}: {file} is not a file name", index.display()),
        })
        .collect()
}

/// What is wrong with a safetensors file, in its user's words.
fn describe(path: &Path, map: &[u8], error: &safetensors::SafeTensorError) -> anyhow::Error {
    use safetensors::SafeTensorError as E;
    let name = path.display();
    let header = map.first_chunk::<8>().map(|n| u64::from_le_bytes(*n));
    match (error, header) {
        (E::HeaderTooSmall, _) | (_, None) => anyhow!("{name}: {} bytes are too few for a header", map.len()),
        (E::InvalidHeaderLength, Some(n)) => {
            anyhow!(
                "{name}: the header says it has {n} bytes, the file has {}: cut short, or no safetensors",
                map.len()
            )
        }
        (E::HeaderTooLarge, Some(n)) => anyhow!("{name}: a header of {n} bytes: not a safetensors file"),
        (E::MetadataIncompleteBuffer, Some(n)) => {
            let end = end_of_last_tensor(&map[8..8 + n as usize]).map(|e| e.saturating_add(8 + n));
            match end {
                Some(e) if e > map.len() as u64 => {
                    anyhow!("{name}: cut short: {} bytes, its header describes {e}", map.len())
                }
                _ => anyhow!("{name}: {} bytes, but its header describes {}", map.len(), end.unwrap_or(0)),
            }
        }
        (E::InvalidOffset(tensor), _) => {
            anyhow!("{name}: tensor {tensor}: its offsets overlap another's or leave a gap")
        }
        (E::TensorInvalidInfo, _) => anyhow!("{name}: a tensor's bytes do not fit its shape and type"),
        (e, _) => anyhow!("{name}: {e}"),
    }
}

fn end_of_last_tensor(header: &[u8]) -> Option<u64> {
    let json: serde_json::Value = serde_json::from_slice(header).ok()?;
    json.as_object()?.values().filter_map(|t| t.get("data_offsets")?.get(1)?.as_u64()).max()
}

/// `sha256:` and the hash of the bytes of a directory's weight files (of all shards, in the order of their names):
/// names a policy in the records (`rollout.policy`).
pub fn sha256_of_weights(dir: &Path) -> Result<String> {
    let mut files = vec![WEIGHTS.to_owned()];
    if !dir.join(WEIGHTS).exists() {
        if !dir.join(INDEX).exists() {
            bail!("{}: has neither {WEIGHTS} nor {INDEX}", dir.display());
        }
        files = shard_of_each_tensor(&dir.join(INDEX))?.into_values().collect();
        files.sort();
        files.dedup();
    }
    sha256_of_files(files.iter().map(|file| dir.join(file)))
}

/// `sha256:` and the hash of the bytes of files, one after the other.
///
/// # Errors
/// When one cannot be read.
pub fn sha256_of_files(files: impl IntoIterator<Item = PathBuf>) -> Result<String> {
    let mut hash = Sha256::new();
    for path in files {
        hash_file(&path, &mut hash)?;
    }
    Ok(hex(hash))
}

/// Feeds the bytes of a file to a hash.
pub(crate) fn hash_file(path: &Path, hash: &mut Sha256) -> Result<()> {
    let place = || format!("{}", path.display());
    let mut file = File::open(path).with_context(place)?;
    // Large enough that calls cost nothing, small enough that the bytes are still in the cache when they are hashed.
    let mut buffer = vec![0; 1 << 18];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => hash.update(&buffer[..n]),
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e).with_context(place),
        }
    }
}

/// A finished hash as the records have it.
pub(crate) fn hex(hash: Sha256) -> String {
    let hex: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{hex}")
}

#[cfg(test)]
mod tests;
