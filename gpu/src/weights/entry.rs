//! What a name in a file of weights stands for.

use candle_core::Tensor;

use super::storage::Storage;
use super::view::View;

/// Meaning of a name in a file.
#[derive(Debug, Clone)]
pub(super) enum Entry {
    /// A tensor, and where its elements are.
    Tensor(View, Storage),
    /// Something that is not read, and why: said when it is asked for.
    Unread(String),
    /// A tensor that was made, not read.
    Made(Tensor),
}

impl Entry {
    pub(super) fn is_tensor(&self) -> bool {
        !matches!(self, Self::Unread(_))
    }
}
