//! `--exec PROGRAM`: any executable as a reward. It is started once, is given every row as a line (with the `reward` so
//! far), and answers each with a line: a number, `null`, or an object with the number under its name or `reward`.

use crate::judge::Rewarded;
use crate::part::Part;
use crate::run::{Batch, Batches};
use crate::settings::Settings;
use crate::spool::Spool;
use crate::waiting;
use r1_records::ROUND_END;
use serde_json::Value;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// A program and the name of its part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    pub name: String,
    pub path: PathBuf,
}

/// Bytes of rows that wait in memory for their answer; what is beyond waits in a file.
const WAITING: usize = 16 << 20;
/// Bytes an answer may have.
const LONGEST: u64 = 1 << 20;

/// Starts the program and sends the rows through it. Errors: it cannot be started (exit 2).
pub fn through(batches: Batches, program: &Program, settings: Arc<Settings>) -> anyhow::Result<Batches> {
    let mut child =
        Command::new(&program.path).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().map_err(
            |error| {
                r1_cli::misuse(
                    format!("--exec {}: {error}", program.path.display()),
                    "give an executable file, or a name that PATH finds",
                )
            },
        )?;
    let (input, output) = (child.stdin.take(), child.stdout.take());
    let spool = Arc::new(Spool::new(WAITING));
    let feeder = thread::spawn({
        let spool = Arc::clone(&spool);
        move || {
            let result = feed(batches, input.map(BufWriter::new), &spool);
            spool.close();
            result
        }
    });
    let answers = Answers {
        program: program.clone(),
        part: Part::Program(program.name.clone()),
        child,
        output: output.map(BufReader::new),
        feeder: Some(feeder),
        spool,
        settings,
        answered: 0,
        over: false,
    };
    Ok(Box::new(answers))
}

/// Gives each good row to the program, and queues all.
fn feed(batches: Batches, mut input: Option<BufWriter<impl Write>>, spool: &Spool) -> anyhow::Result<()> {
    for batch in batches {
        let Batch { items, ends_round } = batch?;
        for item in items {
            if let (Ok(rewarded), Some(to)) = (&item, &mut input)
                && rewarded.row.write_line(to).is_err()
            {
                // It has closed its input or died: whoever reads its answers will see.
                input = None;
            }
            spool.push(waiting::write(&item)?)?;
        }
        if ends_round {
            spool.push(ROUND_END.into())?;
        }
        // What is there to be answered is answered before more comes.
        if input.as_mut().is_some_and(|to| to.flush().is_err()) {
            input = None;
        }
    }
    Ok(())
}

/// The rows with the program's answers, in order.
struct Answers {
    program: Program,
    part: Part,
    child: Child,
    output: Option<BufReader<ChildStdout>>,
    feeder: Option<JoinHandle<anyhow::Result<()>>>,
    spool: Arc<Spool>,
    settings: Arc<Settings>,
    answered: u64,
    over: bool,
}

impl Answers {
    /// The next row with its answer, or the end of a round; none at the end.
    fn step(&mut self) -> anyhow::Result<Option<Batch>> {
        let Some(waiting) = self.spool.pop()? else {
            if let Some(feeder) = self.feeder.take() {
                feeder.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            }
            return self.end().map(|()| None);
        };
        if waiting == ROUND_END.as_bytes() {
            return Ok(Some(Batch { items: Vec::new(), ends_round: true }));
        }
        let item = match waiting::read(&waiting)? {
            Ok(mut rewarded) => {
                let value = self.answer()?;
                self.add(&mut rewarded, value).map(|()| rewarded)
            }
            bad => bad,
        };
        Ok(Some(Batch { items: vec![item], ends_round: false }))
    }

    fn add(&self, rewarded: &mut Rewarded, value: Option<f64>) -> Result<(), r1_records::RecordError> {
        match value {
            Some(value) => rewarded.add(&self.part, value, &self.settings),
            None => Ok(()),
        }
    }

    /// Reads one line of the program.
    fn answer(&mut self) -> anyhow::Result<Option<f64>> {
        let mut line = Vec::new();
        if let Some(output) = &mut self.output {
            output.take(LONGEST).read_until(b'\n', &mut line)?;
        }
        if line.is_empty() {
            let status = self.child.wait()?;
            anyhow::bail!(
                "--exec {}: it ended ({status}) after {} answers, and more rows wait; it must answer every row with a line",
                self.program.path.display(),
                self.answered
            );
        }
        self.answered += 1;
        value(&line, &self.program.name).map_err(|fact| {
            let shown: String = String::from_utf8_lossy(&line).trim().chars().take(60).collect();
            anyhow::anyhow!(
                "--exec {}: line {} of its answers, {shown:?}, {fact}; answer with a number, null, or {{\"reward\": number}}",
                self.program.path.display(),
                self.answered
            )
        })
    }

    /// All rows are answered: the program must say nothing more, and end well.
    fn end(&mut self) -> anyhow::Result<()> {
        let name = self.program.path.display();
        if let Some(mut output) = self.output.take()
            && !output.fill_buf()?.is_empty()
        {
            anyhow::bail!(
                "--exec {name}: it has answered {} rows and goes on; it must answer every row with one line",
                self.answered
            );
        }
        let status = self.child.wait()?;
        anyhow::ensure!(status.success(), "--exec {name}: it has answered all rows but failed ({status})");
        Ok(())
    }
}

impl Iterator for Answers {
    type Item = anyhow::Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let step = self.step().transpose();
        self.over = !matches!(step, Some(Ok(_)));
        step
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        // After an error elsewhere it would work for nobody.
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The number in a line of answers; none where the program gives no reward.
fn value(line: &[u8], name: &str) -> Result<Option<f64>, &'static str> {
    let answer: Value = serde_json::from_slice(line).map_err(|_| "is not JSON")?;
    let value = match &answer {
        Value::Object(keys) => keys.get(name).or_else(|| keys.get("reward")).unwrap_or(&Value::Null),
        plain => plain,
    };
    match value {
        Value::Null => Ok(None),
        Value::Number(number) => {
            number.as_f64().filter(|number| number.is_finite()).map(Some).ok_or("is not a finite number")
        }
        _ => Err("holds no number"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_number_null_or_an_object() {
        let value = |text: &str| value(text.as_bytes(), "mine");
        assert_eq!(value("0.5\n"), Ok(Some(0.5)));
        assert_eq!(value("-3"), Ok(Some(-3.0)));
        assert_eq!(value("null"), Ok(None));
        assert_eq!(value("{}"), Ok(None));
        assert_eq!(value(r#"{"reward": 1}"#), Ok(Some(1.0)));
        assert_eq!(value(r#"{"reward": 1, "mine": 2}"#), Ok(Some(2.0)));
        assert_eq!(value(r#"{"mine": null}"#), Ok(None));
        for bad in ["", "NaN", "1e999", "true", "\"1\"", "[1]", "1 2", r#"{"reward": "1"}"#] {
            assert!(value(bad).is_err(), "{bad}");
        }
    }
}
