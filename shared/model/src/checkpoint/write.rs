//! Weights to disk.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::{Context, Result, bail};
use half::bf16;
use serde_json::{Map, Value, json};

use super::{INDEX, WEIGHTS};
use crate::directory::{write_file, write_json};

/// Element type of saved weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaveDtype {
    /// 4 bytes: the master weights as they are
    F32,
    /// 2 bytes, rounded to nearest even
    Bf16,
}

impl SaveDtype {
    /// The name that `config.json` has for it (`dtype`, before transformers 5 `torch_dtype`).
    pub fn name(self) -> &'static str {
        match self {
            SaveDtype::F32 => "float32",
            SaveDtype::Bf16 => "bfloat16",
        }
    }

    /// The router's correction bias stays f32: it chooses between nearly equal experts, and published checkpoints
    /// keep it so.
    fn of(self, name: &str) -> SaveDtype {
        if name.ends_with("e_score_correction_bias") { SaveDtype::F32 } else { self }
    }

    fn bytes(self) -> usize {
        match self {
            SaveDtype::F32 => 4,
            SaveDtype::Bf16 => 2,
        }
    }

    fn tag(self) -> &'static str {
        match self {
            SaveDtype::F32 => "F32",
            SaveDtype::Bf16 => "BF16",
        }
    }
}

/// A tensor's name and shape.
pub type Shape = (String, Vec<usize>);

/// Bytes of tensors that go into one weight file; a checkpoint with more has several and an index.
pub const SHARD_BYTES: usize = 5_000_000_000;

/// Writes tensors (name, shape, row-major values) as one safetensors file, atomically and with the same bytes for the
/// same values: f32 tensors first, then by name, header padded with blanks to 8 bytes.
///
/// `metadata` goes into the header beside the `"format": "pt"` that transformers looks for.
///
/// # Errors
/// A value that is not finite (before or after rounding), a shape that does not fit its values, a name given twice,
/// a disk that is full.
pub fn save_tensors(
    file: &Path,
    tensors: &[(String, Vec<usize>, &[f32])],
    dtype: SaveDtype,
    metadata: &[(&str, String)],
) -> Result<()> {
    let mut values: HashMap<&str, &[f32]> = HashMap::new();
    for (name, _, v) in tensors {
        if values.insert(name, v).is_some() {
            bail!("{}: tensor {name} is given twice", file.display());
        }
    }
    let shapes: Vec<Shape> = tensors.iter().map(|(n, s, _)| (n.clone(), s.clone())).collect();
    save_one_by_one(file, &shapes, dtype, metadata, |name| {
        Ok(Cow::Borrowed(values.get(name).copied().unwrap_or_default()))
    })
}

/// Writes a checkpoint's weights into `dir`: `model.safetensors`, or where the tensors take more than `most` bytes
/// (see [`SHARD_BYTES`]) `model-00001-of-0000N.safetensors` … and last `model.safetensors.index.json`, as transformers
/// names and fills them. `values` is asked for one tensor at a time.
///
/// # Errors
/// Those of [`save_tensors`].
pub fn save_checkpoint<'v>(
    dir: &Path,
    shapes: &[Shape],
    dtype: SaveDtype,
    metadata: &[(&str, String)],
    most: usize,
    mut values: impl FnMut(&str) -> Result<Cow<'v, [f32]>>,
) -> Result<()> {
    let count = |shape: &Shape| shape.1.iter().product::<usize>();
    let bytes = |shape: &Shape| count(shape) * dtype.of(&shape.0).bytes();
    let mut shards: Vec<Vec<Shape>> = vec![Vec::new()];
    let mut room = most;
    for shape in shapes {
        let size = bytes(shape);
        if size > room && shards.last().is_some_and(|shard| !shard.is_empty()) {
            shards.push(Vec::new());
            room = most;
        }
        room = room.saturating_sub(size);
        if let Some(shard) = shards.last_mut() {
            shard.push(shape.clone());
        }
    }
    if let [all] = shards.as_slice() {
        return save_one_by_one(&dir.join(WEIGHTS), all, dtype, metadata, &mut values);
    }
    let mut files = BTreeMap::new();
    for (i, shard) in shards.iter().enumerate() {
        let file = format!("model-{:05}-of-{:05}.safetensors", i + 1, shards.len());
        save_one_by_one(&dir.join(&file), shard, dtype, metadata, &mut values)?;
        files.extend(shard.iter().map(|(name, _)| (name.clone(), Value::from(file.as_str()))));
    }
    let (total, size): (usize, usize) = (shapes.iter().map(count).sum(), shapes.iter().map(bytes).sum());
    let index = json!({"metadata": {"total_parameters": total, "total_size": size},
        "weight_map": files.into_iter().collect::<Map<String, Value>>()});
    write_json(&dir.join(INDEX), &index)
}

/// [`save_tensors`] for weights that do not all fit into memory: `values` is asked for one tensor at a time.
fn save_one_by_one<'v>(
    file: &Path,
    shapes: &[Shape],
    dtype: SaveDtype,
    metadata: &[(&str, String)],
    mut values: impl FnMut(&str) -> Result<Cow<'v, [f32]>>,
) -> Result<()> {
    let place = file.display();
    let mut order: Vec<&Shape> = shapes.iter().collect();
    order.sort_by_key(|(name, _)| (std::cmp::Reverse(dtype.of(name).bytes()), name.as_str()));

    let mut header = Map::new();
    let mut about = Map::new();
    about.insert("format".into(), "pt".into());
    for (key, value) in metadata {
        about.insert((*key).into(), value.as_str().into());
    }
    header.insert("__metadata__".into(), Value::Object(about));
    let mut offset = 0;
    for (name, shape) in &order {
        let kind = dtype.of(name);
        let end = offset + shape.iter().product::<usize>() * kind.bytes();
        let entry = json!({"dtype": kind.tag(), "shape": shape, "data_offsets": [offset, end]});
        if header.insert(name.clone(), entry).is_some() {
            bail!("{place}: tensor {name} is given twice");
        }
        offset = end;
    }
    let mut header = serde_json::to_vec(&Value::Object(header))?;
    header.resize(header.len().next_multiple_of(8), b' ');

    write_file(file, |out| {
        let full = || format!("{place}");
        out.write_all(&(header.len() as u64).to_le_bytes()).with_context(full)?;
        out.write_all(&header).with_context(full)?;
        let mut bytes = Vec::new();
        for (name, shape) in &order {
            let values = values(name)?;
            if shape.iter().product::<usize>() != values.len() {
                bail!("{place}: tensor {name}: {} values do not fill shape {shape:?}", values.len());
            }
            // In pieces, so that a large tensor is never held twice.
            for piece in values.chunks(1 << 18) {
                bytes.clear();
                encode(piece, dtype.of(name), &mut bytes)
                    .map_err(|x| anyhow::anyhow!("{place}: tensor {name} holds {x}, which is not saved"))?;
                out.write_all(&bytes).with_context(full)?;
            }
        }
        Ok(())
    })
}

/// Appends the values' bytes; a value that is not finite is the error.
fn encode(values: &[f32], dtype: SaveDtype, bytes: &mut Vec<u8>) -> Result<(), f32> {
    let first = |is_bad: fn(&f32) -> bool| values.iter().copied().find(is_bad).map_or(Ok(()), Err);
    match dtype {
        SaveDtype::F32 => {
            // Without a way out of the loop, so that it runs on lanes.
            if !values.iter().fold(true, |all, x| all & x.is_finite()) {
                return first(|x| !x.is_finite());
            }
            let start = bytes.len();
            bytes.resize(start + 4 * values.len(), 0);
            bytes[start..]
                .chunks_exact_mut(4)
                .zip(values)
                .for_each(|(to, x)| to.copy_from_slice(&x.to_le_bytes()));
        }
        SaveDtype::Bf16 => {
            first(|x| !bf16::from_f32(*x).is_finite())?;
            bytes.extend(values.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()));
        }
    }
    Ok(())
}
