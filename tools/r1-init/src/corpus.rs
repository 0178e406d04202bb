//! The texts that a tokenizer is learned from.

use std::io::BufRead;
use std::path::Path;

use anyhow::Result;
use r1_cli::Input;
use r1_records::{Prompt, Reader};

/// All texts of a corpus: the prompts and completions of rows, or the lines of a `.txt` file.
pub fn read(path: &Path) -> Result<Vec<String>> {
    let input = Input::of(path);
    if path.extension().is_some_and(|extension| extension == "txt") {
        let mut texts = Vec::new();
        for (number, line) in input.open()?.lines().enumerate() {
            let line =
                line.map_err(|e| r1_cli::bad_input(place(&input, number + 1), e, "write the file as UTF-8"))?;
            texts.push(line);
        }
        return Ok(texts);
    }
    let mut texts = Vec::new();
    for row in Reader::new(input.open()?) {
        let row = row.map_err(|e| input.blame(e))?;
        if row.has("completion") || row.has("messages") {
            let example = row.example().map_err(|e| input.blame(e))?;
            push(&mut texts, example.prompt);
            texts.push(format!(" {}", example.completion));
        } else {
            push(&mut texts, row.prompt().map_err(|e| input.blame(e))?);
            if let Some(answer) = row.answer().map_err(|e| input.blame(e))? {
                texts.push(format!(" {answer}"));
            }
        }
    }
    Ok(texts)
}

/// A space in front, as words stand behind the template's.
fn push(texts: &mut Vec<String>, prompt: Prompt) {
    match prompt {
        Prompt::Text(text) => texts.push(format!(" {text}")),
        Prompt::Messages(turns) => texts.extend(turns.into_iter().map(|turn| turn.content)),
    }
}

fn place(input: &Input, line: usize) -> String {
    format!("{}:{line}", input.name())
}
