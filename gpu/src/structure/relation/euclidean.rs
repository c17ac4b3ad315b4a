//! `euclidean`: ‖ψ_i − ψ_j‖; zero subgradient at coincident points.

use super::{Kind, Relation, squared_distances};
use crate::choice::Named;
use crate::error::Result;
use candle_core::Tensor;

pub(super) struct Euclidean;

impl Relation {
    /// ‖ψ_i − ψ_j‖; zero subgradient at coincident points.
    pub const EUCLIDEAN: Self = Self::new(&Euclidean);
}

impl Named for Euclidean {
    fn name(&self) -> &'static str {
        "euclidean"
    }
}

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
