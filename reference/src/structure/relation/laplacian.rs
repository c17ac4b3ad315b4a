//! `laplacian`: exp(−‖ψ_i − ψ_j‖₁/b) with bandwidth b, and the zero subgradient in a component in which two points agree.

use ndarray::{Array2, ArrayRef2, ArrayView1, Axis, Zip};

use super::radial::{differences, pulled};
use super::{Kind, Relation, pairwise};
use crate::bound::{Precision, Tracked};
use crate::choice::Entry;

impl Relation {
    /// `laplacian`: exp(−‖ψ_i − ψ_j‖₁/b) with bandwidth b. `[eq:laplacian]`
    ///
    /// ```text
    /// ∂⟨g, M⟩/∂ψ_i = −1/b Σ_j H_ij M_ij sign(ψ_i − ψ_j),   H = g + gᵀ,   sign 0 = 0
    /// ```
    pub const LAPLACIAN: Self = Self::new(&Entry::with("laplacian", "bandwidth", 1.0, Laplacian));
}

struct Laplacian;

impl Kind for Laplacian {
    fn affinity(&self, psi: &ArrayRef2<f64>, bandwidth: f64) -> Array2<f64> {
        pairwise(psi, |a, b| (-manhattan(a, b) / bandwidth).exp())
    }

    fn vjp(
        &self,
        psi: &ArrayRef2<f64>,
        m: &Array2<f64>,
        h: &Array2<f64>,
        bandwidth: f64,
    ) -> Array2<f64> {
        let slope = h * m / -bandwidth;
        let mut grad = Array2::zeros(psi.dim());
        for (i, mut row) in grad.axis_iter_mut(Axis(0)).enumerate() {
            for (j, other) in psi.rows().into_iter().enumerate() {
                Zip::from(&mut row)
                    .and(psi.row(i))
                    .and(other)
                    .for_each(|g, &a, &b| *g += slope[[i, j]] * sign(a - b));
            }
        }
        grad
    }

    fn affinity_bound(&self, psi: &Tracked, bandwidth: f64, p: Precision) -> Tracked {
        let distances = differences(psi, p).abs().sum_axis(2, false, p);
        over_width(&distances, bandwidth, p).exp(p)
    }

    fn vjp_bound(
        &self,
        psi: &Tracked,
        m: &Tracked,
        g: &Tracked,
        bandwidth: f64,
        p: Precision,
    ) -> Tracked {
        let slope = over_width(&g.mul(m, p), bandwidth, p);
        pulled(&slope, &differences(psi, p).sign(), p)
    }
}

/// ‖a − b‖₁.
fn manhattan(a: ArrayView1<f64>, b: ArrayView1<f64>) -> f64 {
    Zip::from(a)
        .and(b)
        .fold(0.0, |sum, &a, &b| sum + (a - b).abs())
}

/// −1, 0 or 1.
fn sign(x: f64) -> f64 {
    if x == 0.0 { 0.0 } else { x.signum() }
}

/// `−x/b`: b rounded, its reciprocal, the product.
fn over_width(x: &Tracked, bandwidth: f64, p: Precision) -> Tracked {
    x.mul(&Tracked::scalar(bandwidth, p).recip(p), p).neg()
}
