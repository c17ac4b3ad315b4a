//! Shared parts of the relations that depend on ψ_i − ψ_j.

use ndarray::{Array2, ArrayRef2, ArrayView1, Axis, Zip};

use crate::bound::{Precision, Tracked};

/// ‖a − b‖².
pub(super) fn squared_distance(a: ArrayView1<f64>, b: ArrayView1<f64>) -> f64 {
    Zip::from(a)
        .and(b)
        .fold(0.0, |sum, &a, &b| sum + (a - b) * (a - b))
}

/// `Σ_j c_ij (ψ_i − ψ_j)` by rows.
pub(super) fn radial_vjp(psi: &ArrayRef2<f64>, c: &Array2<f64>) -> Array2<f64> {
    let mut grad = Array2::zeros(psi.dim());
    for (i, mut row) in grad.axis_iter_mut(Axis(0)).enumerate() {
        for (j, other) in psi.rows().into_iter().enumerate() {
            Zip::from(&mut row)
                .and(psi.row(i))
                .and(other)
                .for_each(|g, &a, &b| *g += c[[i, j]] * (a - b));
        }
    }
    grad
}

/// Bound for `ψ_i − ψ_j`, shape `[B, B, d]`.
pub(super) fn differences(psi: &Tracked, p: Precision) -> Tracked {
    psi.insert_axis(1).sub(&psi.insert_axis(0), p)
}

/// Bound for ‖ψ_i − ψ_j‖², shape `[B, B]`.
pub(super) fn squared_distances(psi: &Tracked, p: Precision) -> Tracked {
    differences(psi, p).square(p).sum_axis(2, false, p)
}

/// Bound for `Σ_j c_ij v_ij − Σ_j c_ji v_ji`, v `[B, B, d]`: the backward pass of what is made of the differences.
pub(super) fn pulled(c: &Tracked, v: &Tracked, p: Precision) -> Tracked {
    let pulls = c.insert_axis(2).mul(v, p);
    pulls
        .sum_axis(1, false, p)
        .sub(&pulls.sum_axis(0, false, p), p)
}
