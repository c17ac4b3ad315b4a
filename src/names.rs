//! Names in messages.

use std::borrow::Cow;
use std::path::Path;

pub use sadm_oracle::naming::{nearest, quoted, unknown};

/// A path as a shell reads it back, for commands that a message suggests.
pub fn typed(path: &Path) -> String {
    let path = path.display().to_string();
    shlex::try_quote(&path).map_or_else(|_| path.clone(), Cow::into_owned)
}
