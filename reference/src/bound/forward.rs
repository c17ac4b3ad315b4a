//! Bounds for the forward process.

use ndarray::{Array1, ArrayD};

use super::{Precision, Tracked};
use crate::forward::{ForwardError, diffuse_batch};

/// Numbers computed on the host, one per sample, rounded to `p` and shaped to multiply `[N, …]` arrays of `rank` axes.
pub(crate) fn per_sample(values: &[f64], rank: usize, p: Precision) -> Tracked {
    let mut shape = vec![1; rank.max(1)];
    shape[0] = values.len();
    Tracked::rounded(Array1::from(values.to_vec()).into_dyn(), p).reshape(&shape)
}

/// Bound for [`diffuse_batch`]: two products and a sum, the levels rounded to `p`.
///
/// # Errors
/// As the quantity itself.
pub fn diffuse(
    x0: &ArrayD<f64>,
    eps: &ArrayD<f64>,
    alpha: &[f64],
    sigma: &[f64],
    p: Precision,
) -> Result<Tracked, ForwardError> {
    let value = diffuse_batch(x0, eps, alpha, sigma)?;
    let term = |levels, x: &ArrayD<f64>| {
        Tracked::exact(x.clone()).mul(&per_sample(levels, x.ndim(), p), p)
    };
    Ok(term(alpha, x0).add(&term(sigma, eps), p).recentred(value))
}
