//! `rbf`: exp(−‖ψ_i − ψ_j‖²/(2 b²)) with bandwidth b.

use ndarray::{Array2, ArrayRef2};

use super::radial::{differences, pulled, radial_vjp, squared_distance, squared_distances};
use super::{Kind, Relation, pairwise};
use crate::bound::{Precision, Tracked};
use crate::choice::Entry;

impl Relation {
    /// `rbf`: exp(−‖ψ_i − ψ_j‖²/(2 b²)) with bandwidth b.
    pub const RBF: Self = Self::new(&Entry::with("rbf", "bandwidth", 1.0, Rbf));
}

struct Rbf;

impl Kind for Rbf {
    fn affinity(&self, psi: &ArrayRef2<f64>, number: f64) -> Array2<f64> {
        let gaussian = |squared: f64| (-0.5 * squared / number.powi(2)).exp();
        pairwise(psi, |a, b| gaussian(squared_distance(a, b)))
    }

    fn vjp(
        &self,
        psi: &ArrayRef2<f64>,
        m: &Array2<f64>,
        h: &Array2<f64>,
        number: f64,
    ) -> Array2<f64> {
        radial_vjp(psi, &(h * m / -number.powi(2)))
    }

    fn affinity_bound(&self, psi: &Tracked, number: f64, p: Precision) -> Tracked {
        over_width(&squared_distances(psi, p), -0.5, number, p).exp(p)
    }

    fn vjp_bound(
        &self,
        psi: &Tracked,
        m: &Tracked,
        g: &Tracked,
        number: f64,
        p: Precision,
    ) -> Tracked {
        let slope = over_width(&g.mul(m, p), -1.0, number, p);
        pulled(&slope, &differences(psi, p), p)
    }
}

/// `factor x/b²`: b rounded, squared, its reciprocal, the products.
fn over_width(x: &Tracked, factor: f64, bandwidth: f64, p: Precision) -> Tracked {
    let reciprocal = Tracked::scalar(bandwidth, p).square(p).recip(p);
    x.mul(&reciprocal, p).scale(factor, p)
}
