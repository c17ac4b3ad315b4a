//! Observation of a pair, and its density.

use ndarray::Array2;
use sadm_reference::relation::{Relation, affinity};

use super::{LawError, log_normal_density, normal_density};
use crate::laws::relation::{relation, relation_grad};
use crate::rounding::Rounded;

/// What is observed of a pair: a relation R(x^i, x^j), its value r, and the standard deviation γ of the observation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observation {
    /// The relation R.
    pub relation: Relation,
    /// Its observed value r.
    pub r: f64,
    /// Standard deviation γ > 0.
    pub gamma: f64,
}

impl Observation {
    /// Refuses an r that is not finite and a γ that is not finite and positive.
    pub(crate) fn check(&self) -> Result<(), LawError> {
        check_gamma(self.gamma)?;
        if self.r.is_finite() {
            Ok(())
        } else {
            Err(LawError::Observed {
                index: 0,
                got: self.r,
            })
        }
    }

    /// ln g(r | R = m).
    pub fn log_density(&self, m: Rounded) -> Rounded {
        log_normal_density(self.r, m, self.gamma)
    }

    /// g(r | R = m).
    pub fn density(&self, m: Rounded) -> Rounded {
        normal_density(self.r, m, self.gamma)
    }

    /// ∂ ln g(r | R(a, b))/∂a = (r − R)/γ² · ∂R/∂a.
    pub(crate) fn log_grad(&self, a: &[Rounded], b: &[Rounded]) -> Vec<Rounded> {
        let misfit = Rounded::exact(self.r) - relation(self.relation, a, b);
        let factor = misfit / Rounded::exact(self.gamma).square();
        relation_grad(self.relation, a, b)
            .into_iter()
            .map(|g| factor * g)
            .collect()
    }
}

pub(crate) fn check_gamma(gamma: f64) -> Result<(), LawError> {
    if gamma.is_finite() && gamma > 0.0 {
        Ok(())
    } else {
        Err(LawError::Gamma { got: gamma })
    }
}

/// Refuses two vectors between which the reference does not take this relation.
pub(crate) fn check_vectors(kind: Relation, a: &[Rounded], b: &[Rounded]) -> Result<(), LawError> {
    let both = [a, b];
    let vectors = Array2::from_shape_fn((2, a.len()), |(row, i)| both[row][i].value);
    affinity(kind, &vectors)?;
    Ok(())
}
