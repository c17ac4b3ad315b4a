//! `squared-euclidean`: ‖ψ_i − ψ_j‖².

use super::{Kind, Relation, squared_distances};
use crate::choice::Named;
use crate::error::Result;
use candle_core::Tensor;

pub(super) struct SquaredEuclidean;

impl Relation {
    /// ‖ψ_i − ψ_j‖².
    pub const SQUARED_EUCLIDEAN: Self = Self::new(&SquaredEuclidean);
}

impl Named for SquaredEuclidean {
    fn name(&self) -> &'static str {
        "squared-euclidean"
    }
}

impl Kind for SquaredEuclidean {
    fn affinity(&self, psi: &Tensor, _: f64) -> Result<Tensor> {
        squared_distances(psi)
    }
}
