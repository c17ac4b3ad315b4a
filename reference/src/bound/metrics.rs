//! Bounds for [`crate::metrics`].

use ndarray::{Array1, Array2, ArrayView2, Axis};

use super::{Precision, Tracked};

/// Mean and covariance with bounds.
#[derive(Debug, Clone, PartialEq)]
pub struct MomentsBound {
    /// μ, shape `[d]`.
    pub mean: Tracked,
    /// Σ, shape `[d, d]`.
    pub covariance: Tracked,
}

/// [`crate::metrics::moments`] by any blocks of rows, each centred by its own mean, merged in any order that takes
/// smaller parts into larger ones.
///
/// # Bound
/// With E_j = max_i |x_ij| and R_j the range of column j, which bounds every centred row and every difference of two
/// means: a block's mean errs by n·u·E_j, a merge adds u(3R_j + E_j), and there are at most n of them. As R ≤ 2E,
/// ```text
/// e_j = 9 n u E_j
/// ```
/// bounds every mean's error. A scatter of n rows is a sum of centred products, n² u R_j R_k for the inner products and
/// 2n u R_j R_k for the centring; of merge terms with weights that add up to at most 2n, each of two factors that
/// err by 2e + uR and three roundings; and of at most 2n additions to sums below n R_j R_k:
/// ```text
/// u R_j R_k (5n² + 12n) + 4n (R_j e_k + R_k e_j) + 4n e_j e_k
/// ```
/// The errors of a centring mean itself drop out to first order, because centred rows sum to zero. All of it counts
/// twice: the value here is a computation as well.
pub fn moments(x: ArrayView2<f64>, p: Precision) -> MomentsBound {
    let (rows, d) = x.dim();
    let n = rows as f64;
    let extreme = |start: f64, pick: fn(f64, f64) -> f64| {
        x.fold_axis(Axis(0), start, |most, v| pick(*most, *v))
    };
    let (low, high) = (
        extreme(f64::INFINITY, f64::min),
        extreme(f64::NEG_INFINITY, f64::max),
    );
    let range = &high - &low;
    let largest = x
        .mapv(f64::abs)
        .fold_axis(Axis(0), 0.0, |m: &f64, v| m.max(*v));
    let e = largest * (9.0 * n * p.unit);

    let mean = x.sum_axis(Axis(0)) / n;
    let centred = &x - &mean;
    let covariance = centred.t().dot(&centred) / (n - 1.0);
    let error = Array2::from_shape_fn((d, d), |(j, k)| {
        let (rj, rk, ej, ek) = (range[j], range[k], e[j], e[k]);
        let scatter =
            p.unit * rj * rk * (5.0 * n * n + 12.0 * n) + 4.0 * n * (rj * ek + rk * ej + ej * ek);
        2.0 * (scatter / (n - 1.0) + p.unit * covariance[[j, k]].abs())
    });
    let tracked = |value: ndarray::ArrayD<f64>, error| Tracked::exact(value).widened(&error);
    let mean_error: Array1<f64> = e * 2.0;
    MomentsBound {
        mean: tracked(mean.into_dyn(), mean_error.into_dyn()),
        covariance: tracked(covariance.into_dyn(), error.into_dyn()),
    }
}
