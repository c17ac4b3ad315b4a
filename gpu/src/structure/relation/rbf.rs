//! `rbf`: exp(−‖ψ_i − ψ_j‖² / (2·bandwidth²)).

use super::{Kind, Relation, squared_distances};
use crate::choice::Entry;
use crate::error::Result;
use candle_core::Tensor;

impl Relation {
    /// exp(−‖ψ_i − ψ_j‖² / (2·bandwidth²)).
    pub const RBF: Self = Self::new(&Entry::with("rbf", "bandwidth", 1.0, Rbf));
}

struct Rbf;

impl Kind for Rbf {
    fn affinity(&self, psi: &Tensor, bandwidth: f64) -> Result<Tensor> {
        let scale = -0.5 * bandwidth.powi(-2);
        Ok(squared_distances(psi)?.affine(scale, 0.0)?.exp()?)
    }
}
