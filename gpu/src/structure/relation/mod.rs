//! Relations R between the features of two samples: one file each.

mod cosine;
mod euclidean;
mod inner_product;
mod laplacian;
mod rbf;
mod squared_euclidean;

use crate::choice::{Choice, Slot};
use crate::error::Result;
use candle_core::{D, Tensor};

/// The relation R(ψ_i, ψ_j) between two feature vectors, by name; as text `rbf`, or with its bandwidth `rbf(0.5)`.
pub type Relation = Choice<dyn Kind>;

/// A relation.
pub trait Kind: Send + Sync {
    /// The affinity matrix of features `[B, d]` in the precision of losses; `number` is the parameter's value.
    fn affinity(&self, psi: &Tensor, number: f64) -> Result<Tensor>;

    /// The rows whose inner products the affinities are: the loss of such a relation is polarised, and fused where the distance
    /// is squared. None for a relation that is no inner product.
    fn rows(&self) -> Option<Rows> {
        None
    }
}

impl Slot for dyn Kind {
    const NAME: &'static str = "relation";
    const ALL: &'static [Choice<Self>] = &[
        Relation::COSINE,
        Relation::INNER_PRODUCT,
        Relation::SQUARED_EUCLIDEAN,
        Relation::EUCLIDEAN,
        Relation::RBF,
        Relation::LAPLACIAN,
    ];
}

/// Rows whose inner products are a relation's affinities.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// The features' own.
    Plain,
    /// Those of the features divided by their norms; a zero row gives NaN.
    Unit,
}

impl Rows {
    /// The rows of features, in their precision.
    pub(super) fn of(self, psi: &Tensor) -> Result<Tensor> {
        match self {
            Self::Plain => Ok(psi.clone()),
            Self::Unit => {
                let norms = psi.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?;
                Ok(psi.broadcast_div(&norms)?)
            }
        }
    }
}

/// X Xᵀ.
fn gram(x: &Tensor) -> Result<Tensor> {
    Ok(x.matmul(&x.t()?)?)
}

/// ψ_i − ψ_j, `[B, B, d]`.
fn differences(psi: &Tensor) -> Result<Tensor> {
    Ok(psi.unsqueeze(1)?.broadcast_sub(&psi.unsqueeze(0)?)?)
}

/// ‖ψ_i − ψ_j‖², from the differences.
fn squared_distances(psi: &Tensor) -> Result<Tensor> {
    Ok(differences(psi)?.sqr()?.sum(2)?)
}
