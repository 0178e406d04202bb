//! The file that a tool reads, or standard input; compressed ones as they come.

use crate::exit::{bad_input, nothing_given};
use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::path::{Path, PathBuf};

use ruzstd::decoding::errors::FrameDecoderError;
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

/// `[FILE]`: a file, or standard input.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Input {
    /// File to read; `-` or nothing is standard input
    #[arg(value_name = "FILE")]
    input_file: Option<PathBuf>,
}

impl Input {
    /// For a file that another flag names.
    pub fn of(file: impl Into<PathBuf>) -> Self {
        Self { input_file: Some(file.into()) }
    }

    /// The file, unless it is standard input.
    pub fn path(&self) -> Option<&Path> {
        self.input_file.as_deref().filter(|file| *file != Path::new("-"))
    }

    /// What errors call it: the file as it was given, or `stdin`.
    pub fn name(&self) -> String {
        self.path().map_or_else(|| "stdin".to_string(), |file| file.display().to_string())
    }

    /// Opens it; gzip and zstd, told by their first bytes, are unpacked on the way, and the rows of a Parquet file become lines
    /// (with the cargo feature `parquet`). Errors (exit 2): no such file, a directory, Parquet from a pipe, or a terminal as
    /// standard input, which prints the usage.
    pub fn open(&self) -> anyhow::Result<Box<dyn BufRead + Send>> {
        let Some(path) = self.path() else {
            if io::stdin().is_terminal() {
                return Err(nothing_given());
            }
            return self.unpacked(BufReader::with_capacity(1 << 16, Awake(io::stdin())));
        };
        let file =
            File::open(path).map_err(|error| bad_input(self.name(), error, "see that the path is right"))?;
        if file.metadata().is_ok_and(|meta| meta.is_dir()) {
            return Err(bad_input(self.name(), "is a directory", "name a file"));
        }
        self.unpacked(BufReader::with_capacity(1 << 16, file))
    }

    /// The bytes of a plain, gzip or zstd stream.
    fn unpacked(&self, mut input: impl BufRead + Send + 'static) -> anyhow::Result<Box<dyn BufRead + Send>> {
        let wrong = |error: &dyn Display| bad_input(self.name(), error, "see that the file is whole");
        let start = input.fill_buf().map_err(|error| wrong(&error))?;
        if start.starts_with(&[0x1f, 0x8b]) {
            // Several members in a row are one file, as gzip has it.
            let plain = flate2::bufread::MultiGzDecoder::new(input);
            return Ok(Box::new(BufReader::with_capacity(1 << 16, plain)));
        }
        if start.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            return Ok(Box::new(BufReader::with_capacity(
                1 << 16,
                Frames::open(input).map_err(|e| wrong(&e))?,
            )));
        }
        if start.starts_with(b"PAR1") {
            return self.rows_of_parquet();
        }
        Ok(Box::new(input))
    }

    /// The stream broke off (exit 2).
    pub fn unread(&self, error: io::Error) -> anyhow::Error {
        bad_input(self.name(), format!("cannot be read: {error}"), "see that the file is whole")
    }

    #[cfg(feature = "parquet")]
    fn rows_of_parquet(&self) -> anyhow::Result<Box<dyn BufRead + Send>> {
        let Some(path) = self.path() else {
            let remedy = "give the file by its name";
            return Err(bad_input(
                self.name(),
                "Parquet is read from its end, which a pipe has not yet",
                remedy,
            ));
        };
        let lines = crate::parquet::Lines::open(path);
        let lines = lines.map_err(|fact| bad_input(self.name(), fact, "see that the file is whole"))?;
        Ok(Box::new(BufReader::with_capacity(1 << 16, lines)))
    }

    #[cfg(not(feature = "parquet"))]
    fn rows_of_parquet(&self) -> anyhow::Result<Box<dyn BufRead + Send>> {
        let remedy = "build with `--features r1-cli/parquet`, or write it as JSON lines (datasets: load_dataset(…).to_json(…))";
        Err(bad_input(self.name(), "is a Parquet file, which this build does not read", remedy))
    }

    /// Bad input (exit 2) in this file: puts its name before an error that begins with `line:column: ` (as the errors of
    /// r1-records display) or with the fact.
    pub fn blame(&self, error: impl Display) -> anyhow::Error {
        let text = error.to_string();
        let placed = text.bytes().next().is_some_and(|byte| byte.is_ascii_digit());
        crate::exit::wrong(format!("{}:{}{text}", self.name(), if placed { "" } else { " " }))
    }
}

/// Standard input that sees, while it waits for more, what a blocked read would not: a signal that asks the tool to stop, and
/// that whoever reads our own standard output has left. Reads must ask for more than the 8 KiB that `Stdin` would keep.
struct Awake(io::Stdin);

impl Read for Awake {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        crate::pipes::wait_for_input()?;
        self.0.read(buffer)
    }
}

/// The plain bytes of a zstd stream: one frame after the other.
struct Frames<R: BufRead> {
    frame: Option<StreamingDecoder<R, FrameDecoder>>,
}

impl<R: BufRead> Frames<R> {
    fn open(input: R) -> Result<Frames<R>, FrameDecoderError> {
        Ok(Frames { frame: Some(StreamingDecoder::new(input)?) })
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(frame) = &mut self.frame {
            match frame.read(buffer)? {
                0 if !buffer.is_empty() => {
                    let Some((mut input, decoder)) = self.frame.take().map(StreamingDecoder::into_parts)
                    else {
                        return Ok(0);
                    };
                    if input.fill_buf()?.is_empty() {
                        return Ok(0);
                    }
                    self.frame = Some(
                        StreamingDecoder::new_with_decoder(input, decoder)
                            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?,
                    );
                }
                n => return Ok(n),
            }
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn read(bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), bytes)?;
        let mut out = Vec::new();
        Input::of(file.path()).open()?.read_to_end(&mut out)?;
        Ok(out)
    }

    fn gzip(text: &str) -> Vec<u8> {
        let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(text.as_bytes()).unwrap();
        out.finish().unwrap()
    }

    fn zstd(text: &str) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(text.as_bytes(), ruzstd::encoding::CompressionLevel::Fastest)
    }

    #[test]
    fn compressed_files_are_read_as_they_come() {
        let text = "{\"a\": 1}\n".repeat(50_000);
        assert_eq!(read(text.as_bytes()).unwrap(), text.as_bytes());
        for packed in [gzip(&text), zstd(&text)] {
            assert!(packed.len() < text.len() / 10);
            assert_eq!(read(&packed).unwrap(), text.as_bytes());
            // Two files put together are one.
            assert_eq!(read(&packed.repeat(2)).unwrap(), text.repeat(2).as_bytes());
            // One that is cut short, or has garbage behind it, is no shorter file.
            assert!(read(&packed[..packed.len() - 9]).is_err());
            assert!(read(&[&packed[..], b"garbage"].concat()).is_err());
        }
        assert_eq!(read(b"").unwrap(), b"");
        #[cfg(not(feature = "parquet"))]
        {
            let error = read(b"PAR1....").unwrap_err().to_string();
            assert!(error.contains("is a Parquet file") && error.contains("r1-cli/parquet"), "{error}");
        }
    }
}
