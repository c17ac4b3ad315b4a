//! `metrics.jsonl`: one JSON object a line, appended as the run goes.

use crate::run::checkpoint::write_atomically;
use crate::{Error, Result};
use serde_json::Value;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// The open log of a run.
#[derive(Debug)]
pub struct Metrics {
    path: PathBuf,
    file: File,
}

impl Metrics {
    /// Opens the log, keeping only the lines of the first `done` steps: later ones are about to be done again.
    pub fn open(path: &Path, done: usize) -> Result<Self> {
        if path.exists() {
            let text = fs::read_to_string(path).map_err(|e| Error::io("read", path, e))?;
            write_atomically(path, kept(&text, done).as_bytes())?;
        }
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map_err(|e| Error::io("open", path, e))?;
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    /// Appends one line.
    pub fn write(&mut self, line: &Value) -> Result<()> {
        self.file
            .write_all(format!("{line}\n").as_bytes())
            .map_err(|e| Error::io("write", &self.path, e))
    }
}

/// The complete lines of `text` whose `step` is at most `done`; a line cut by a kill is dropped.
fn kept(text: &str, done: usize) -> String {
    text.split_inclusive('\n')
        .filter(|line| line.ends_with('\n'))
        .filter(|line| {
            serde_json::from_str::<Value>(line)
                .ok()
                .and_then(|v| v.get("step").and_then(Value::as_u64))
                .is_some_and(|s| s <= done as u64)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::kept;

    #[test]
    fn lines_to_be_redone_and_torn_lines_are_dropped() {
        let text = "{\"step\":1}\n{\"step\":2}\n{\"step\":3}\n{\"st";
        assert_eq!(kept(text, 2), "{\"step\":1}\n{\"step\":2}\n");
        assert_eq!(kept(text, 0), "");
    }
}
