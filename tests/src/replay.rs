//! Replay of failures: a failure as a file, and the file as a check.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{
    case::Case,
    engine::{Place, judge_once},
    error::{Error, Result},
    registry::find,
    report::CheckReport,
};

/// A case that failed, with everything needed to run it again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counterexample {
    /// Name of the check.
    pub check: String,
    /// Where it failed: `cpu` or `cuda:N`.
    pub device: String,
    /// In which element type.
    pub dtype: String,
    /// What was wrong.
    pub message: String,
    /// The input, after shrinking.
    pub case: Case,
}

impl Counterexample {
    /// Writes the case to a file that [`replay`] reads.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).map_err(|source| Error::Json {
            path: path.to_owned(),
            source,
        })?;
        std::fs::write(path, text + "\n").map_err(|source| Error::Io {
            path: path.to_owned(),
            source,
        })
    }

    /// Reads what [`Counterexample::write`] wrote.
    ///
    /// # Errors
    /// When the file cannot be read or is something else.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::Io {
            path: path.to_owned(),
            source,
        })?;
        serde_json::from_str(&text).map_err(|source| Error::Json {
            path: path.to_owned(),
            source,
        })
    }
}

/// Runs the case of a file again, where and as it failed or on another device or in another element type.
///
/// # Errors
/// When the file is none of ours, its check no longer exists, or the device cannot be opened.
pub fn replay(path: &Path, device: Option<&str>, dtype: Option<&str>) -> Result<CheckReport> {
    let found = Counterexample::read(path)?;
    let place = Place::open(
        device.unwrap_or(&found.device),
        dtype.unwrap_or(&found.dtype),
    )?;
    judge_once(find(&found.check)?.as_ref(), &found.case, &place)
}
