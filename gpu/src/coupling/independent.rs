//! Independent coupling: each image keeps the noise that was drawn with it.

use super::{Coupling, Entry};
use crate::error::Result;
use candle_core::Tensor;

pub(super) const ENTRY: Entry = Entry {
    name: "independent",
    build: |_| Box::new(Independent),
};

/// π(i) = i.
struct Independent;

impl Coupling for Independent {
    fn assign(&self, x0: &Tensor, _: &Tensor, _: Option<&[u32]>) -> Result<Vec<usize>> {
        Ok((0..x0.dim(0)?).collect())
    }
}
