//! `inner-product`: ψ_i·ψ_j.

use ndarray::{Array2, ArrayRef2};

use super::{Kind, Relation, Rows, both_sides, pairwise};
use crate::bound::{Precision, Tracked};
use crate::choice::Entry;

impl Relation {
    /// `inner-product`: ψ_i·ψ_j.
    pub const INNER_PRODUCT: Self = Self::new(&Entry::new("inner-product", InnerProduct));
}

struct InnerProduct;

impl Kind for InnerProduct {
    fn affinity(&self, psi: &ArrayRef2<f64>, _: f64) -> Array2<f64> {
        pairwise(psi, |a, b| a.dot(&b))
    }

    fn vjp(&self, psi: &ArrayRef2<f64>, _: &Array2<f64>, h: &Array2<f64>, _: f64) -> Array2<f64> {
        h.dot(psi)
    }

    fn affinity_bound(&self, psi: &Tracked, _: f64, p: Precision) -> Tracked {
        psi.matmul(&psi.transpose(), p)
    }

    fn vjp_bound(&self, psi: &Tracked, _: &Tracked, g: &Tracked, _: f64, p: Precision) -> Tracked {
        both_sides(g, psi, p)
    }

    fn rows(&self) -> Option<Rows> {
        Some(Rows::Plain)
    }
}
