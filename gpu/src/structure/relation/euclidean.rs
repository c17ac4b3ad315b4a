//! `euclidean`: ‖ψ_i − ψ_j‖; zero subgradient at coincident points.

use super::{Kind, Relation, squared_distances};
use crate::choice::Entry;
use crate::error::Result;
use candle_core::Tensor;

impl Relation {
    /// ‖ψ_i − ψ_j‖; zero subgradient at coincident points.
    pub const EUCLIDEAN: Self = Self::new(&Entry::new("euclidean", Euclidean));
}

struct Euclidean;

impl Kind for Euclidean {
    fn affinity(&self, psi: &Tensor, _: f64) -> Result<Tensor> {
        safe_sqrt(&squared_distances(psi)?)
    }
}

/// √q with gradient 0 (not ∞) where q = 0.
fn safe_sqrt(q: &Tensor) -> Result<Tensor> {
    let positive = q.gt(0.0)?;
    let root = positive.where_cond(q, &q.ones_like()?)?.sqrt()?;
    Ok((root * positive.to_dtype(q.dtype())?)?)
}
