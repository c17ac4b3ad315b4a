//! `euclidean`: ‖ψ_i − ψ_j‖, with the zero subgradient where two points coincide.

use ndarray::{Array2, ArrayD, ArrayRef2, Zip};

use super::radial::{differences, pulled, radial_vjp, squared_distance, squared_distances};
use super::{Kind, Relation, pairwise};
use crate::bound::{Precision, Tracked};
use crate::choice::Entry;

impl Relation {
    /// `euclidean`: ‖ψ_i − ψ_j‖.
    pub const EUCLIDEAN: Self = Self::new(&Entry::new("euclidean", Euclidean));
}

struct Euclidean;

impl Kind for Euclidean {
    fn affinity(&self, psi: &ArrayRef2<f64>, _: f64) -> Array2<f64> {
        pairwise(psi, |a, b| squared_distance(a, b).sqrt())
    }

    fn vjp(&self, psi: &ArrayRef2<f64>, m: &Array2<f64>, h: &Array2<f64>, _: f64) -> Array2<f64> {
        let over = |&h: &f64, &m: &f64| if m == 0.0 { 0.0 } else { h / m };
        radial_vjp(psi, &Zip::from(h).and(m).map_collect(over))
    }

    fn affinity_bound(&self, psi: &Tracked, _: f64, p: Precision) -> Tracked {
        squared_distances(psi, p).sqrt_of_nonnegative(p)
    }

    fn vjp_bound(&self, psi: &Tracked, m: &Tracked, g: &Tracked, _: f64, p: Precision) -> Tracked {
        let coincident = m.value.mapv(|m| m == 0.0);
        let zero = Tracked::exact(ArrayD::zeros(g.value.raw_dim()));
        let slope = g.mul(&m.recip(p), p);
        let slope = Tracked::select(&coincident, &zero, &slope);
        pulled(&slope, &differences(psi, p), p)
    }
}
