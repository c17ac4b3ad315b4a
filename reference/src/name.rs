//! The names under which choices appear in configuration files and on the command line.

use std::fmt::Display;

/// A name that is not among the known ones.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} must be one of {known}, got `{got}`")]
pub struct UnknownName {
    /// What was to be named.
    pub what: &'static str,
    /// The known names, separated by commas.
    pub known: String,
    /// The refused name.
    pub got: String,
}

/// The member of `all` whose `Display` form is `got`.
pub(crate) fn parse<T: Copy + Display>(
    what: &'static str,
    all: &[T],
    got: &str,
) -> Result<T, UnknownName> {
    let names: Vec<String> = all.iter().map(T::to_string).collect();
    match names.iter().position(|name| name == got) {
        Some(at) => Ok(all[at]),
        None => Err(UnknownName {
            what,
            known: names.join(", "),
            got: got.to_owned(),
        }),
    }
}
