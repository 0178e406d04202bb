//! What the pages of a row group say of themselves, read before any of them is unpacked: a page header of a few bytes can ask for
//! gigabytes.
//!
//! Headers are structs in Thrift's compact protocol (Parquet format, `parquet.thrift`: `PageHeader`); of them only the sizes and
//! the numbers of values are looked at.

use std::io::{BufReader, Read, Seek, SeekFrom};

use parquet::file::metadata::RowGroupMetaData;

/// Bytes of the largest pages of all columns together, unpacked: what is in memory at once.
const PAGES: u64 = 1 << 30;
/// Values of a repeated column in one row group; they may all belong to one row.
const REPEATED: u64 = 1 << 25;
/// Bytes of one header, statistics included.
const HEADER: u64 = 1 << 20;
/// Structs within each other.
const DEPTH: usize = 8;

/// The numbers of a page header.
#[derive(Debug, Default, PartialEq)]
struct Header {
    unpacked: i64,
    packed: i64,
    /// values of a data page
    values: i64,
    /// values of a dictionary page
    words: i64,
}

/// Checks the pages of a row group against what this machine should have to bear.
pub fn check(group: &RowGroupMetaData, file: &mut (impl Read + Seek)) -> Result<(), String> {
    let length = file.seek(SeekFrom::End(0)).map_err(|e| e.to_string())?;
    let mut together = 0u64;
    for column in group.columns() {
        let name = column.column_path().string();
        let wrong = |fact: String| format!("column {name}: {fact}");
        let (start, packed) = (
            column
                .dictionary_page_offset()
                .unwrap_or(column.data_page_offset())
                .min(column.data_page_offset()),
            column.compressed_size(),
        );
        let end =
            u64::try_from(start).ok().zip(u64::try_from(packed).ok()).and_then(|(a, b)| a.checked_add(b));
        let Some(end) = end.filter(|end| *end <= length) else {
            return Err(wrong(format!("its {packed} bytes from {start} on are not all in the file")));
        };
        let mut at = start as u64;
        let (mut largest, mut values) = (0, 0u64);
        while at < end {
            file.seek(SeekFrom::Start(at)).map_err(|e| e.to_string())?;
            let mut bytes =
                Bytes { input: BufReader::with_capacity(256, &mut *file), left: HEADER.min(end - at) };
            let before = bytes.left;
            let header = header(&mut bytes).map_err(|fact| wrong(format!("page at byte {at}: {fact}")))?;
            at += before - bytes.left;
            let unpacked = u64::try_from(header.unpacked).unwrap_or(u64::MAX);
            let packed = u64::try_from(header.packed).unwrap_or(u64::MAX);
            if packed > end - at {
                return Err(wrong(format!("a page of {} bytes at byte {at} is cut short", header.packed)));
            }
            // A value of a dictionary has at least one byte.
            if header.values < 0 || header.words < 0 || header.words as u64 > unpacked {
                return Err(wrong(format!("a page at byte {at} cannot hold the values it says")));
            }
            at += packed;
            largest = unpacked.max(largest);
            if together.saturating_add(largest) > PAGES {
                return Err(wrong(format!(
                    "its pages of up to {largest} bytes, with those of the columns before it, take more than {PAGES}"
                )));
            }
            values = values.saturating_add(header.values as u64);
        }
        together += largest;
        if column.column_descr().max_rep_level() > 0 && values > REPEATED {
            return Err(wrong(format!("{values} values of a list in one row group, more than {REPEATED}")));
        }
    }
    Ok(())
}

/// The bytes of a header, counted.
struct Bytes<R> {
    input: R,
    left: u64,
}

impl<R: Read> Bytes<R> {
    fn byte(&mut self) -> Result<u8, String> {
        let mut byte = [0];
        self.left = self.left.checked_sub(1).ok_or("its header does not end")?;
        self.input.read_exact(&mut byte).map_err(|e| e.to_string())?;
        Ok(byte[0])
    }

    fn varint(&mut self) -> Result<u64, String> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err("a number of its header does not end".into())
    }

    /// A signed number.
    fn number(&mut self) -> Result<i64, String> {
        let value = self.varint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    fn leave_out(&mut self, count: u64) -> Result<(), String> {
        for _ in 0..count {
            self.byte()?;
        }
        Ok(())
    }
}

/// Reads a page header.
fn header<R: Read>(bytes: &mut Bytes<R>) -> Result<Header, String> {
    let mut header = Header { unpacked: -1, packed: -1, ..Header::default() };
    fields(bytes, 0, &mut |bytes, id, kind, depth| {
        match (id, kind) {
            (2, 5) => header.unpacked = bytes.number()?,
            (3, 5) => header.packed = bytes.number()?,
            // DataPageHeader, DictionaryPageHeader, DataPageHeaderV2: the first field is the number of values.
            (5 | 7 | 8, 12) => {
                let count = if id == 7 { &mut header.words } else { &mut header.values };
                fields(bytes, depth + 1, &mut |bytes, id, kind, depth| {
                    if (id, kind) == (1, 5) {
                        *count = bytes.number()?;
                        return Ok(());
                    }
                    leave_out(bytes, kind, depth)
                })?;
            }
            _ => leave_out(bytes, kind, depth)?,
        }
        Ok(())
    })?;
    Ok(header)
}

/// What is done with a field: its id, its type, how deep it lies.
type Visit<'v, R> = &'v mut dyn FnMut(&mut Bytes<R>, i64, u8, usize) -> Result<(), String>;

/// Goes through the fields of a struct.
fn fields<R: Read>(bytes: &mut Bytes<R>, depth: usize, visit: Visit<R>) -> Result<(), String> {
    if depth > DEPTH {
        return Err("its header is nested too deeply".into());
    }
    let mut id = 0;
    loop {
        let byte = bytes.byte()?;
        if byte == 0 {
            return Ok(());
        }
        id = match i64::from(byte >> 4) {
            0 => bytes.number()?,
            step => id + step,
        };
        visit(bytes, id, byte & 0xf, depth)?;
    }
}

/// Passes over a value.
fn leave_out<R: Read>(bytes: &mut Bytes<R>, kind: u8, depth: usize) -> Result<(), String> {
    if depth > DEPTH {
        return Err("its header is nested too deeply".into());
    }
    match kind {
        1 | 2 => Ok(()),
        3 => bytes.byte().map(drop),
        4..=6 => bytes.varint().map(drop),
        7 => bytes.leave_out(8),
        8 => {
            let count = bytes.varint()?;
            bytes.leave_out(count)
        }
        9 | 10 => {
            let byte = bytes.byte()?;
            let count = if byte >> 4 == 15 { bytes.varint()? } else { u64::from(byte >> 4) };
            for _ in 0..count {
                match byte & 0xf {
                    1 | 2 => bytes.byte().map(drop)?,
                    kind => leave_out(bytes, kind, depth + 1)?,
                }
            }
            Ok(())
        }
        12 => fields(bytes, depth + 1, &mut |bytes, _, kind, depth| leave_out(bytes, kind, depth)),
        _ => Err(format!("its header has a field of type {kind}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Header, String> {
        header(&mut Bytes { input: bytes, left: bytes.len() as u64 })
    }

    #[test]
    fn headers_are_read_or_refused() {
        // type 0, 300 bytes unpacked, 7 packed, a data page of 5 values with an encoding behind, then the end.
        let whole = [0x15, 0, 0x15, 0xd8, 4, 0x15, 14, 0x2c, 0x15, 10, 0x15, 0, 0, 0];
        assert_eq!(read(&whole).unwrap(), Header { unpacked: 300, packed: 7, values: 5, words: 0 });
        for cut in 0..whole.len() {
            assert!(read(&whole[..cut]).is_err());
        }
        // Lists in lists without end, a text longer than any file, a number of ten bytes and more, a type that is none.
        let deep = [vec![0x19], vec![0x19; 1 << 16]].concat();
        for bad in [
            &deep[..],
            &[0x18, 0xff, 0xff, 0xff, 0xff, 0x7f],
            &[0x15; 1],
            &[&[0x16u8][..], &[0xff; 20]].concat(),
            &[0x1e, 0],
        ] {
            assert!(read(bad).is_err());
        }
        let structs = vec![0x1c; 1 << 16];
        assert!(read(&structs).unwrap_err().contains("nested"));
    }
}
