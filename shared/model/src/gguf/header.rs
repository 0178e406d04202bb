//! The GGUF container (llama.cpp's file format, versions 2 and 3, little endian): metadata, then tensors.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use candle_core::Device;
use candle_core::quantized::GgmlDType;
use candle_core::quantized::ggml_file::qtensor_from_ggml;
use memmap2::Mmap;

/// A metadata value.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Bool(bool),
    Text(String),
    List(Vec<Value>),
}

/// Where a tensor lies: its shape as Hugging Face writes it (`[out, in]`), its type, its first byte.
#[derive(Debug)]
struct Place {
    shape: Vec<usize>,
    kind: u32,
    start: usize,
}

/// A memory-mapped GGUF file.
#[derive(Debug)]
pub(super) struct Gguf {
    pub path: PathBuf,
    map: Mmap,
    values: BTreeMap<String, Value>,
    tensors: BTreeMap<String, Place>,
}

/// Element types by llama.cpp's numbers; only those that candle dequantizes.
fn element_type(kind: u32) -> Option<GgmlDType> {
    use GgmlDType::*;
    Some(match kind {
        0 => F32,
        1 => F16,
        2 => Q4_0,
        3 => Q4_1,
        6 => Q5_0,
        7 => Q5_1,
        8 => Q8_0,
        10 => Q2K,
        11 => Q3K,
        12 => Q4K,
        13 => Q5K,
        14 => Q6K,
        30 => BF16,
        _ => return None,
    })
}

/// Reads little-endian fields one after the other; never past the end.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, n: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(n).filter(|end| *end <= self.bytes.len());
        let taken =
            end.map(|end| &self.bytes[self.at..end]).ok_or_else(|| anyhow!("the header is cut short"))?;
        self.at += n;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn text(&mut self) -> Result<String> {
        let n = self.u64()?;
        let bytes = self.take(usize::try_from(n)?)?;
        String::from_utf8(bytes.to_vec()).map_err(|_| anyhow!("a text in the header is not UTF-8"))
    }

    fn value(&mut self, kind: u32, depth: usize) -> Result<Value> {
        Ok(match kind {
            0 => Value::Unsigned(u64::from(self.array::<1>()?[0])),
            1 => Value::Signed(i64::from(i8::from_le_bytes(self.array()?))),
            2 => Value::Unsigned(u64::from(u16::from_le_bytes(self.array()?))),
            3 => Value::Signed(i64::from(i16::from_le_bytes(self.array()?))),
            4 => Value::Unsigned(u64::from(self.u32()?)),
            5 => Value::Signed(i64::from(i32::from_le_bytes(self.array()?))),
            6 => Value::Float(f64::from(f32::from_le_bytes(self.array()?))),
            7 => Value::Bool(self.array::<1>()?[0] != 0),
            8 => Value::Text(self.text()?),
            9 if depth < 4 => {
                let (kind, n) = (self.u32()?, self.u64()?);
                // Every element has at least one byte, so a count beyond the file is found before memory is taken.
                if n > (self.bytes.len() - self.at) as u64 {
                    bail!("the header is cut short");
                }
                Value::List((0..n).map(|_| self.value(kind, depth + 1)).collect::<Result<_>>()?)
            }
            10 => Value::Unsigned(self.u64()?),
            11 => Value::Signed(i64::from_le_bytes(self.array()?)),
            12 => Value::Float(f64::from_le_bytes(self.array()?)),
            other => bail!("the header holds a value of unknown type {other}"),
        })
    }
}

impl Gguf {
    /// Opens a file and reads its header.
    pub fn open(path: &Path) -> Result<Gguf> {
        let place = || format!("{}", path.display());
        let file = File::open(path).with_context(place)?;
        if file.metadata().with_context(place)?.len() < 24 {
            bail!("{}: too short for a GGUF file", path.display());
        }
        // SAFETY: the map is only read; a foreign program that cuts the file meanwhile is outside what can be promised.
        let map = unsafe { Mmap::map(&file) }.with_context(place)?;
        let (values, tensors) = read_header(&map).map_err(|e| anyhow!("{}: {e}", path.display()))?;
        Ok(Gguf { path: path.to_owned(), map, values, tensors })
    }

    fn fail(&self, what: &str) -> anyhow::Error {
        anyhow!("{}: {what}", self.path.display())
    }

    /// A metadata value.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    /// A whole number, if present.
    pub fn count(&self, key: &str) -> Result<Option<usize>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Unsigned(n)) if *n < 1 << 32 => Ok(Some(*n as usize)),
            Some(Value::Signed(n)) if (0..1 << 32).contains(n) => Ok(Some(*n as usize)),
            Some(_) => Err(self.fail(&format!("{key}: expected one whole number"))),
        }
    }

    /// A number, if present.
    pub fn number(&self, key: &str) -> Result<Option<f64>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Float(x)) if x.is_finite() => Ok(Some(*x)),
            Some(Value::Unsigned(n)) => Ok(Some(*n as f64)),
            Some(Value::Signed(n)) => Ok(Some(*n as f64)),
            Some(_) => Err(self.fail(&format!("{key}: expected a finite number"))),
        }
    }

    /// A text, if present.
    pub fn text(&self, key: &str) -> Result<Option<&str>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Text(text)) => Ok(Some(text)),
            Some(_) => Err(self.fail(&format!("{key}: expected a text"))),
        }
    }

    /// true or false, if present.
    pub fn flag(&self, key: &str) -> Result<Option<bool>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(b)) => Ok(Some(*b)),
            Some(_) => Err(self.fail(&format!("{key}: expected true or false"))),
        }
    }

    /// A list; missing is an error.
    pub fn list(&self, key: &str) -> Result<&[Value]> {
        match self.get(key) {
            Some(Value::List(list)) => Ok(list),
            Some(_) => Err(self.fail(&format!("{key}: expected a list"))),
            None => Err(self.fail(&format!("{key}: the field is missing"))),
        }
    }

    /// Names of all tensors.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Shape of a tensor, `[out, in]`.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|t| t.shape.as_slice())
    }

    /// Values of a tensor, dequantized to f32, row-major in its shape.
    pub fn dequantize(&self, name: &str) -> Result<Vec<f32>> {
        let place = self.tensors.get(name).ok_or_else(|| self.fail(&format!("tensor {name} is missing")))?;
        let kind = element_type(place.kind).ok_or_else(|| {
            let known = "F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K to Q6_K";
            self.fail(&format!("tensor {name} has llama.cpp's type {}; only {known} are read", place.kind))
        })?;
        let count = place.shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d));
        // Blocks lie along the last dimension.
        let whole_blocks = place.shape.last().is_some_and(|n| n.is_multiple_of(kind.block_size()));
        let size = count
            .filter(|_| whole_blocks)
            .and_then(|n| (n / kind.block_size()).checked_mul(kind.type_size()))
            .ok_or_else(|| {
                self.fail(&format!("tensor {name}: shape {:?} does not fit its type", place.shape))
            })?;
        let end = place.start.checked_add(size).filter(|end| *end <= self.map.len()).ok_or_else(|| {
            self.fail(&format!("cut short: tensor {name} ends beyond the file's {} bytes", self.map.len()))
        })?;
        // Copied, since blocks must be aligned in memory and need not be in the file.
        let bytes = self.map[place.start..end].to_vec();
        let values = qtensor_from_ggml(kind, &bytes, place.shape.clone(), &Device::Cpu)
            .and_then(|t| t.dequantize(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>())
            .map_err(|e| self.fail(&format!("tensor {name}: {e}")))?;
        match values.iter().find(|x| !x.is_finite()) {
            Some(x) => Err(self.fail(&format!("tensor {name} holds {x}"))),
            None => Ok(values),
        }
    }
}

type Header = (BTreeMap<String, Value>, BTreeMap<String, Place>);

fn read_header(bytes: &[u8]) -> Result<Header> {
    let mut cursor = Cursor { bytes, at: 0 };
    if cursor.take(4)? != b"GGUF" {
        bail!("not a GGUF file");
    }
    let version = cursor.u32()?;
    if !(2..=3).contains(&version) {
        bail!("GGUF version {version} is not read, only 2 and 3 (little endian)");
    }
    let (tensor_count, value_count) = (cursor.u64()?, cursor.u64()?);
    let mut values = BTreeMap::new();
    for _ in 0..value_count {
        let key = cursor.text()?;
        let kind = cursor.u32()?;
        let value = cursor.value(kind, 0).map_err(|e| anyhow!("{key}: {e}"))?;
        values.insert(key, value);
    }
    let mut tensors = BTreeMap::new();
    for _ in 0..tensor_count {
        let name = cursor.text()?;
        let dimensions = cursor.u32()?;
        if !(1..=4).contains(&dimensions) {
            bail!("tensor {name} has {dimensions} dimensions");
        }
        let mut shape =
            (0..dimensions).map(|_| Ok(usize::try_from(cursor.u64()?)?)).collect::<Result<Vec<usize>>>()?;
        // llama.cpp counts the innermost dimension first.
        shape.reverse();
        let kind = cursor.u32()?;
        let start = usize::try_from(cursor.u64()?)?;
        if tensors.insert(name.clone(), Place { shape, kind, start }).is_some() {
            bail!("tensor {name} is there twice");
        }
    }
    let alignment = match values.get("general.alignment") {
        None => 32,
        Some(Value::Unsigned(n @ 1..=1_048_576)) => *n as usize,
        Some(_) => bail!("general.alignment: expected a number from 1 to 1048576"),
    };
    let base = cursor.at.next_multiple_of(alignment);
    for (name, tensor) in &mut tensors {
        tensor.start =
            tensor.start.checked_add(base).ok_or_else(|| anyhow!("tensor {name}: offset out of range"))?;
    }
    Ok((values, tensors))
}
