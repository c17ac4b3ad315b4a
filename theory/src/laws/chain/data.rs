//! A Gaussian law of the data of a chain.

use super::{ChainError, factor};
use crate::laws::finite::two_pi;
use crate::laws::small_matrix::{
    Matrix, Vector, apply, congruence, difference, inner, multiple_of_identity, trace,
};
use crate::rounding::Rounded;

/// A law N(m, C) of x; C = 0 stands for the point m.
#[derive(Debug, Clone, PartialEq)]
pub struct Data {
    /// m `[n]`.
    pub mean: Vector,
    /// C `[n, n]`.
    pub covariance: Matrix,
}

impl Data {
    /// The point x.
    pub fn point(x: &[f64]) -> Self {
        Self {
            mean: x.iter().map(|&v| Rounded::exact(v)).collect(),
            covariance: multiple_of_identity(0.0.into(), x.len()),
        }
    }

    /// Entropy ½(n log 2πe + log det C).
    ///
    /// # Errors
    /// [`ChainError::NotDefinite`] for a singular C.
    pub fn entropy(&self) -> Result<Rounded, ChainError> {
        let log_det = factor(&self.covariance, "the data's covariance")?.log_det();
        let per_dimension = two_pi().ln() + Rounded::exact(1.0);
        Ok((per_dimension * self.mean.len() as f64 + log_det) * 0.5)
    }

    /// E‖B x − c‖² over this law.
    pub(super) fn squared_norm(&self, b: &Matrix, c: &Vector) -> Rounded {
        let mean = difference(&apply(b, &self.mean), c);
        inner(&mean, &mean) + trace(&congruence(b, &self.covariance))
    }
}
