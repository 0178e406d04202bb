//! Files by pyarrow (recipe: scripts/golden/parquet_rows.py), damaged ones and hostile ones.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::*;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/parquet").join(name)
}

fn lines(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    Lines::open(path)?.read_to_string(&mut text).map_err(|e| e.to_string())?;
    Ok(text)
}

#[test]
fn rows_are_those_that_pyarrow_reads() {
    let parsed = |text: &str| -> Vec<serde_json::Value> {
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let wanted = std::fs::read_to_string(golden("rows.jsonl")).unwrap();
    for name in [
        "chat.snappy.parquet",
        "chat.zstd.parquet",
        "chat.gzip.parquet",
        "chat.none.parquet",
        "plain.parquet",
    ] {
        let text = lines(&golden(name)).unwrap();
        assert_eq!(text.lines().count(), 60);
        for (row, wanted) in parsed(&text).iter().zip(parsed(&wanted)) {
            assert_eq!(*row, wanted, "{name}");
        }
        // Columns stay in the file's order.
        assert!(text.starts_with(r#"{"prompt":"#), "{text}");
    }
}

/// One byte changed anywhere, or the end cut off: rows or an error, soon, and never a panic or gigabytes.
#[test]
fn damaged_files_are_read_or_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("damaged.parquet");
    for name in ["chat.snappy.parquet", "plain.parquet"] {
        let whole = std::fs::read(golden(name)).unwrap();
        let started = Instant::now();
        let mut refused = 0;
        for at in (0..whole.len()).step_by(7).take_while(|_| started.elapsed() < Duration::from_secs(5)) {
            for byte in [whole[at] ^ 1, whole[at] ^ 0x80, 0xff, 0] {
                let mut bytes = whole.clone();
                bytes[at] = byte;
                std::fs::write(&path, &bytes).unwrap();
                let asked = Instant::now();
                refused += usize::from(lines(&path).is_err());
                assert!(asked.elapsed() < Duration::from_secs(5), "{name}: byte {at} = {byte}");
            }
            std::fs::write(&path, &whole[..at]).unwrap();
            assert!(lines(&path).is_err(), "{name}: cut at {at}");
        }
        assert!(refused > 5, "{name}: {refused}");
    }
}

/// A header of a few bytes that asks for two gigabytes is refused before anything is unpacked.
#[test]
fn pages_that_ask_for_too_much_are_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("large.parquet");
    let mut bytes = std::fs::read(golden("chat.none.parquet")).unwrap();
    // The first page's header stands behind the magic: type (2 bytes), then its size unpacked, a varint, here of two bytes.
    let (at, size) = (6, 2);
    assert_eq!(
        (bytes[at] >> 4, bytes[at] & 0xf, bytes[at + 1] >= 0x80, bytes[at + 2] < 0x80),
        (1, 5, true, true)
    );
    let two_gigabytes = [0xfe, 0xff, 0xff, 0xff, 0x0f];
    bytes.splice(at + 1..at + 1 + size, two_gigabytes);
    // What lies behind moves by three bytes; the first page is met before any of it.
    std::fs::write(&path, &bytes).unwrap();
    let error = lines(&path).unwrap_err();
    assert!(error.contains("take more than"), "{error}");
}
