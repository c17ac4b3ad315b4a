//! `inner-product`: ⟨ψ_i, ψ_j⟩.

use super::{Kind, Relation, Rows, gram};
use crate::choice::Entry;
use crate::error::Result;
use candle_core::Tensor;

impl Relation {
    /// ⟨ψ_i, ψ_j⟩.
    pub const INNER_PRODUCT: Self = Self::new(&Entry::new("inner-product", InnerProduct));
}

struct InnerProduct;

impl Kind for InnerProduct {
    fn affinity(&self, psi: &Tensor, _: f64) -> Result<Tensor> {
        gram(psi)
    }

    fn rows(&self) -> Option<Rows> {
        Some(Rows::Plain)
    }
}
