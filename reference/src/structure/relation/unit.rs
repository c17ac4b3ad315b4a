//! Rows of length 1, as values and with their rounding bound.

use ndarray::{Array1, Array2, ArrayRef2};

use crate::bound::{Precision, Tracked};

/// Rows of length 1, and their lengths before. Each row is divided by its largest element first, so that no
/// square over- or underflows.
pub(crate) fn unit_rows(psi: &ArrayRef2<f64>) -> (Array2<f64>, Array1<f64>) {
    let mut u = psi.to_owned();
    let mut norms = Array1::zeros(psi.nrows());
    for (mut row, norm) in u.rows_mut().into_iter().zip(&mut norms) {
        let largest = row.fold(0.0_f64, |m, x| m.max(x.abs()));
        row /= largest;
        let length = row.dot(&row).sqrt();
        row /= length;
        *norm = largest * length;
    }
    (u, norms)
}

/// From the gradient v with respect to unit rows to that with respect to ψ: `(I − u uᵀ) v/‖ψ‖` by rows.
pub(crate) fn through_normalisation(
    u: &Array2<f64>,
    norms: &Array1<f64>,
    mut v: Array2<f64>,
) -> Array2<f64> {
    for ((mut v, u), &norm) in v.rows_mut().into_iter().zip(u.rows()).zip(norms) {
        let along = v.dot(&u);
        v.zip_mut_with(&u, |v, &u| *v = (*v - along * u) / norm);
    }
    v
}

/// Bounds for the rows of length 1 and for their lengths before, `[B, d]` and `[B, 1]`.
pub(crate) struct UnitRows {
    pub(crate) rows: Tracked,
    psi: Tracked,
    norm: Tracked,
}

impl UnitRows {
    pub(crate) fn new(psi: &Tracked, p: Precision) -> Self {
        let norm = psi.square(p).sum_axis(1, true, p).sqrt(p);
        Self {
            // A quotient, or a product with the reciprocal: one rounding more.
            rows: psi.mul(&norm.recip(p), p),
            psi: psi.to_owned(),
            norm,
        }
    }

    /// Through the normalisation of rows, by the projection or by the chain rule of ψ/‖ψ‖.
    pub(crate) fn unnormalise(&self, v: &Tracked, p: Precision) -> Tracked {
        let Self { rows, psi, norm } = self;
        let along = v.mul(rows, p).sum_axis(1, true, p);
        let projected = v.sub(&along.mul(rows, p), p).mul(&norm.recip(p), p);

        let direct = v.mul(&norm.recip(p), p);
        let through_norm = v
            .mul(psi, p)
            .sum_axis(1, true, p)
            .div(&norm.square(p), p)
            .div(norm, p);
        let chained = direct.sub(&psi.mul(&through_norm, p), p);
        projected.either(&chained)
    }
}
