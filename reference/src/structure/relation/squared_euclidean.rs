//! `squared-euclidean`: ‖ψ_i − ψ_j‖².

use ndarray::{Array2, ArrayRef2};

use super::radial::{differences, pulled, radial_vjp, squared_distance, squared_distances};
use super::{Kind, Relation, pairwise};
use crate::bound::{Precision, Tracked};
use crate::choice::Entry;

impl Relation {
    /// `squared-euclidean`: ‖ψ_i − ψ_j‖².
    pub const SQUARED_EUCLIDEAN: Self =
        Self::new(&Entry::new("squared-euclidean", SquaredEuclidean));
}

struct SquaredEuclidean;

impl Kind for SquaredEuclidean {
    fn affinity(&self, psi: &ArrayRef2<f64>, _: f64) -> Array2<f64> {
        pairwise(psi, squared_distance)
    }

    fn vjp(&self, psi: &ArrayRef2<f64>, _: &Array2<f64>, h: &Array2<f64>, _: f64) -> Array2<f64> {
        radial_vjp(psi, &(h * 2.0))
    }

    fn affinity_bound(&self, psi: &Tracked, _: f64, p: Precision) -> Tracked {
        squared_distances(psi, p)
    }

    fn vjp_bound(&self, psi: &Tracked, _: &Tracked, g: &Tracked, _: f64, p: Precision) -> Tracked {
        pulled(&g.scale(2.0, p), &differences(psi, p), p)
    }
}
