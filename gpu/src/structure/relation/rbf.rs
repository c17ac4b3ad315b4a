//! `rbf`: exp(−‖ψ_i − ψ_j‖² / (2·bandwidth²)).

use super::{Kind, Relation, squared_distances};
use crate::choice::{Named, Parameter};
use crate::error::Result;
use candle_core::Tensor;

pub(super) struct Rbf;

impl Relation {
    /// exp(−‖ψ_i − ψ_j‖² / (2·bandwidth²)).
    pub const RBF: Self = Self::new(&Rbf);
}

impl Named for Rbf {
    fn name(&self) -> &'static str {
        "rbf"
    }

    fn parameter(&self) -> Option<Parameter> {
        Some(Parameter {
            name: "bandwidth",
            default: 1.0,
        })
    }
}

impl Kind for Rbf {
    fn affinity(&self, psi: &Tensor, bandwidth: f64) -> Result<Tensor> {
        let scale = -0.5 * bandwidth.powi(-2);
        Ok(squared_distances(psi)?.affine(scale, 0.0)?.exp()?)
    }
}
