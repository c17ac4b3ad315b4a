//! `cosine`: ⟨ψ_i, ψ_j⟩ / (‖ψ_i‖ ‖ψ_j‖).

use super::{Kind, Relation, Rows, gram};
use crate::choice::Entry;
use crate::error::Result;
use candle_core::Tensor;

impl Relation {
    /// ⟨ψ_i, ψ_j⟩ / (‖ψ_i‖ ‖ψ_j‖).
    pub const COSINE: Self = Self::new(&Entry::new("cosine", Cosine));
}

struct Cosine;

impl Kind for Cosine {
    fn affinity(&self, psi: &Tensor, _: f64) -> Result<Tensor> {
        gram(&Rows::Unit.of(psi)?)
    }

    fn rows(&self) -> Option<Rows> {
        Some(Rows::Unit)
    }
}
