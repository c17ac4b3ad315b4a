//! History of a run's changes: one JSON object a line in `history.jsonl`.

use super::checkpoint::write_atomically;
use crate::train::begin_with::File;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// A change in a run's life.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// When, in UTC, as in `2026-11-30T17:05:00Z`.
    pub at: String,
    /// Steps done by then.
    pub step: usize,
    /// Version of the program.
    pub version: String,
    /// Where its first weights come from, for a run that began from another's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Origin>,
    /// The file that its first weights were read from, for a run that began with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<File>,
    /// Keys of the configuration that were given other values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<Change>,
    /// SHA-256 of the configuration's text before and after.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub config_sha256: Vec<String>,
}

/// The run that another began from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// Its folder.
    pub run: PathBuf,
    /// Steps of its checkpoint.
    pub step: usize,
    /// SHA-256 of that checkpoint's file of averaged parameters.
    pub ema_sha256: String,
}

/// A key with its values, as TOML writes them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The dotted key.
    pub key: String,
    /// Before.
    pub from: String,
    /// After.
    pub to: String,
}

/// The history of the run in `folder`; empty where nothing was ever changed.
///
/// # Errors
/// A file that cannot be read, or a line that is no event.
pub fn read(folder: &Path) -> Result<Vec<Event>> {
    let path = file(folder);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::io("read", path, error)),
    };
    let event = |(number, line): (usize, &str)| {
        serde_json::from_str(line).map_err(|e| {
            let problem = format!("line {} is no event of a run's history: {e}", number + 1);
            Error::file(&path, problem)
        })
    };
    text.lines().enumerate().map(event).collect()
}

/// Adds an event, now.
pub(crate) fn add(folder: &Path, mut event: Event) -> Result<()> {
    event.at = now();
    let mut events = read(folder)?;
    events.push(event);
    let lines = events.iter().map(|event| {
        let line = serde_json::to_string(event);
        line.map(|line| line + "\n")
            .map_err(|e| Error::invalid("a run's history", "be writable as JSON", e))
    });
    let text = lines.collect::<Result<String>>()?;
    write_atomically(&file(folder), text.as_bytes())
}

/// The digests of every configuration that the run has had before or after a change.
pub(crate) fn configurations(folder: &Path) -> Result<BTreeSet<String>> {
    let events = read(folder)?.into_iter();
    Ok(events.flat_map(|event| event.config_sha256).collect())
}

fn file(folder: &Path) -> PathBuf {
    folder.join("history.jsonl")
}

/// This second in UTC.
fn now() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    utc(since.map_or(0, |since| since.as_secs()))
}

/// A second after the beginning of 1970 in UTC, which has no leap seconds in this count.
fn utc(seconds: u64) -> String {
    let (mut days, second) = (seconds / 86_400, seconds % 86_400);
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!(
        "{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{:02}Z",
        days + 1,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_dates() {
        // From `date -u -d @N`.
        for (seconds, date) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (1_796_057_471, "2026-11-30T16:51:11Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(utc(seconds), date);
        }
    }

    #[test]
    fn events_are_read_as_they_were_added() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(read(folder.path()).expect("no history").is_empty());
        let event = |step: usize| Event {
            at: String::new(),
            step,
            version: "1".to_owned(),
            from: None,
            weights: None,
            changes: vec![Change {
                key: "train.steps".to_owned(),
                from: "9".to_owned(),
                to: "18".to_owned(),
            }],
            config_sha256: vec![format!("a{step}"), "b".to_owned()],
        };
        for step in [9, 12] {
            add(folder.path(), event(step)).expect("writable");
        }
        let events = read(folder.path()).expect("a history");
        assert_eq!(events.iter().map(|e| e.step).collect::<Vec<_>>(), [9, 12]);
        assert_eq!(events[0].changes, event(9).changes);
        assert!(events[0].at.ends_with('Z'), "{events:?}");
        let known = configurations(folder.path()).expect("a history");
        assert_eq!(known.into_iter().collect::<Vec<_>>(), ["a12", "a9", "b"]);
        fs::write(file(folder.path()), "{}\n").expect("writable");
        let message = read(folder.path()).expect_err("no event").to_string();
        assert!(
            message.contains("history.jsonl") && message.contains("line 1"),
            "{message}"
        );
    }
}
