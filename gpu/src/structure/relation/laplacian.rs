//! `laplacian`: exp(−‖ψ_i − ψ_j‖₁ / bandwidth); zero subgradient in a component in which two points agree.

use super::{Kind, Relation, differences};
use crate::choice::Entry;
use crate::error::Result;
use candle_core::Tensor;

impl Relation {
    /// exp(−‖ψ_i − ψ_j‖₁ / bandwidth); zero subgradient in a component in which two points agree.
    pub const LAPLACIAN: Self = Self::new(&Entry::with("laplacian", "bandwidth", 1.0, Laplacian));
}

struct Laplacian;

impl Kind for Laplacian {
    fn affinity(&self, psi: &Tensor, bandwidth: f64) -> Result<Tensor> {
        let differences = differences(psi)?;
        // Not `abs`, whose gradient candle has at 1 where the difference is 0.
        let sizes = (differences.detach().sign()? * differences)?;
        Ok(sizes.sum(2)?.affine(-1.0 / bandwidth, 0.0)?.exp()?)
    }
}
