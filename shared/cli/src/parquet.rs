//! Parquet files as JSON lines: one row a line, columns in the file's order, lists and structs nested, bytes as base64.
//!
//! A thread of its own decodes one row group after the other and hands the lines on, so memory is that of a few pages, whatever
//! the file's size. What a page says of itself is checked before it is unpacked ([`pages`]).

mod pages;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Once;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::reader::RowIter;

/// The decoding thread's name.
const THREAD: &str = "parquet";
/// Bytes of lines that are handed on together.
const BLOCK: usize = 1 << 16;

/// A block of lines, or what ended them.
type Sent = Result<Vec<u8>, String>;

/// The lines of a Parquet file.
pub struct Lines {
    receiver: Receiver<Sent>,
    block: Vec<u8>,
    at: usize,
}

impl Lines {
    /// Opens a file and reads its footer.
    ///
    /// # Errors
    /// What is wrong with the footer.
    pub fn open(path: &Path) -> Result<Lines, String> {
        let file = File::open(path).map_err(|e| e.to_string())?;
        let copy = file.try_clone().map_err(|e| e.to_string())?;
        let (sender, receiver) = sync_channel(4);
        quiet_when_it_panics();
        let decode = move || {
            // The decoder has places where it gives up by a panic: a broken file is an error all the same.
            let decoded =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| decode(file, copy, &sender)));
            match decoded {
                Ok(Ok(())) => {}
                // A reader that left early does not want the error.
                Ok(Err(fact)) => drop(sender.send(Err(fact))),
                Err(_) => drop(sender.send(Err("is damaged: its pages cannot be decoded".to_owned()))),
            }
        };
        let spawned = std::thread::Builder::new().name(THREAD.to_owned()).spawn(decode);
        spawned.map_err(|e| e.to_string())?;
        Ok(Lines { receiver, block: Vec::new(), at: 0 })
    }
}

impl Read for Lines {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.block.len() {
            match self.receiver.recv() {
                Ok(Ok(block)) => (self.block, self.at) = (block, 0),
                Ok(Err(fact)) => return Err(io::Error::new(io::ErrorKind::InvalidData, fact)),
                Err(_) => return Ok(0),
            }
        }
        let count = buffer.len().min(self.block.len() - self.at);
        buffer[..count].copy_from_slice(&self.block[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

fn decode(file: File, mut bytes: File, sender: &SyncSender<Sent>) -> Result<(), String> {
    let reader = SerializedFileReader::new(file).map_err(|e| format!("no whole Parquet file: {e}"))?;
    let mut block = Vec::with_capacity(2 * BLOCK);
    for group in 0..reader.num_row_groups() {
        pages::check(reader.metadata().row_group(group), &mut bytes)?;
        let place = |e| format!("row group {group}: {e}");
        let rows = reader.get_row_group(group).map_err(|e| place(e.to_string()))?;
        for row in RowIter::from_row_group(None, &*rows).map_err(|e| place(e.to_string()))? {
            let row = row.map_err(|e| place(e.to_string()))?;
            serde_json::to_writer(&mut block, &row.to_json_value()).map_err(|e| place(e.to_string()))?;
            block.push(b'\n');
            if block.len() >= BLOCK && sender.send(Ok(std::mem::take(&mut block))).is_err() {
                return Ok(());
            }
        }
    }
    let _ = sender.send(Ok(block));
    Ok(())
}

/// The decoding thread's panics become errors; they are not told beside them.
fn quiet_when_it_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if std::thread::current().name() != Some(THREAD) {
                before(panic);
            }
        }));
    });
}

#[cfg(test)]
mod tests;
