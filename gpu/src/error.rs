//! Errors of the training system: what was wrong, what it must be, what was got.

use std::fmt::Display;
use std::path::{Path, PathBuf};

/// Everything that can go wrong in this crate.
///
/// Each message is one sentence that names the quantity and the refused value, so that a command
/// line can print it as it stands.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// candle refused an operation.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
    /// A value, shape or option outside its domain.
    #[error("{what} must {must}, got {got}")]
    Invalid {
        /// The quantity, by the name the caller knows.
        what: String,
        /// Its domain, as the end of "… must …".
        must: String,
        /// The refused value.
        got: String,
    },
    /// A name that is none of the known ones.
    #[error("unknown {kind} `{got}`{}, expected one of {}", hint(nearest.as_deref()), known.join(", "))]
    UnknownName {
        /// What is named, such as "relation".
        kind: String,
        /// The refused name.
        got: String,
        /// The known name that resembles it most, if any does.
        nearest: Option<String>,
        /// Every known name.
        known: Vec<String>,
    },
    /// The operating system refused to read or write a path.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, such as "read".
        action: &'static str,
        /// The path concerned.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file that can be read but does not hold what it must.
    #[error("{}: {problem}", path.display())]
    File {
        /// The file concerned.
        path: PathBuf,
        /// What is wrong with it and what to do.
        problem: String,
    },
}

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

fn hint(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!(", did you mean `{name}`?"))
}

impl Error {
    /// An [`Error::Invalid`] whose quantity is said to be that of `when`, with `advice` at its end; any other error as it is.
    #[must_use]
    pub(crate) fn after(self, when: &str, advice: &str) -> Self {
        match self {
            Self::Invalid { what, must, got } => Self::Invalid {
                what: what + when,
                must,
                got: got + advice,
            },
            other => other,
        }
    }

    /// [`Error::Invalid`]: "`what` must `must`, got `got`".
    pub fn invalid(what: impl Into<String>, must: impl Into<String>, got: impl Display) -> Self {
        Self::Invalid {
            what: what.into(),
            must: must.into(),
            got: got.to_string(),
        }
    }

    /// [`Error::Invalid`] for a shape: "`what` must have shape `must`, got `got`".
    pub fn shape(what: impl Into<String>, must: impl Display, got: &[usize]) -> Self {
        Self::invalid(what, format!("have shape {must}"), format!("{got:?}"))
    }

    /// The same error with `network.` in the name of its quantity replaced by the section of the configuration.
    pub(crate) fn naming(mut self, section: &str) -> Self {
        if let Self::Invalid { what, .. } = &mut self {
            *what = what.replace("network.", section);
        }
        self
    }

    /// [`Error::UnknownName`] with the nearest known name (Jaro–Winkler similarity at least 0.7).
    pub fn unknown_name(kind: &str, got: &str, known: &[&str]) -> Self {
        let nearest = known
            .iter()
            .map(|name| (strsim::jaro_winkler(got, name), *name))
            .filter(|(similarity, _)| *similarity >= 0.7)
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, name)| name.to_owned());
        Self::UnknownName {
            kind: kind.to_owned(),
            got: got.to_owned(),
            nearest,
            known: known.iter().map(|&name| name.to_owned()).collect(),
        }
    }

    /// [`Error::Io`]: "cannot `action` `path`: …".
    pub fn io(action: &'static str, path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Self::Io {
            action,
            path: path.as_ref().to_owned(),
            source,
        }
    }

    /// [`Error::File`]: "`path`: `problem`".
    pub fn file(path: impl AsRef<Path>, problem: impl Into<String>) -> Self {
        Self::File {
            path: path.as_ref().to_owned(),
            problem: problem.into(),
        }
    }
}

/// Lets this crate's errors travel through closures that candle calls.
impl From<Error> for candle_core::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Candle(inner) => inner,
            other => Self::wrap(other),
        }
    }
}
