//! `squared-euclidean`: ‖ψ_i − ψ_j‖².

use super::{Kind, Relation, squared_distances};
use crate::choice::Entry;
use crate::error::Result;
use candle_core::Tensor;

impl Relation {
    /// ‖ψ_i − ψ_j‖².
    pub const SQUARED_EUCLIDEAN: Self =
        Self::new(&Entry::new("squared-euclidean", SquaredEuclidean));
}

struct SquaredEuclidean;

impl Kind for SquaredEuclidean {
    fn affinity(&self, psi: &Tensor, _: f64) -> Result<Tensor> {
        squared_distances(psi)
    }
}
