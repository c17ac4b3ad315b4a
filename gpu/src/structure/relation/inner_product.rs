//! `inner-product`: ⟨ψ_i, ψ_j⟩.

use super::{Kind, Relation, Rows, gram};
use crate::choice::Named;
use crate::error::Result;
use candle_core::Tensor;

pub(super) struct InnerProduct;

impl Relation {
    /// ⟨ψ_i, ψ_j⟩.
    pub const INNER_PRODUCT: Self = Self::new(&InnerProduct);
}

impl Named for InnerProduct {
    fn name(&self) -> &'static str {
        "inner-product"
    }
}

impl Kind for InnerProduct {
    fn affinity(&self, psi: &Tensor, _: f64) -> Result<Tensor> {
        gram(psi)
    }

    fn rows(&self) -> Option<Rows> {
        Some(Rows::Plain)
    }
}
