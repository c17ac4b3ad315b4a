//! Division by the root of the mean square, as StyleGAN's mapping networks do it.

use super::{NnError, require_shape};
use ndarray::{ArrayD, Axis, Zip};

/// Added to the mean square, as published.
pub const SECOND_MOMENT_EPS: f64 = 1e-8;

/// x over the root of its mean square in the last axis. `[eq:second-moment]`
///
/// # Formula
/// ```text
/// y = x/√(m + 10⁻⁸),   m = (1/d) Σ_k x_k²
/// ```
/// # Shapes
/// `[…, d]` → the same.
///
/// # Errors
/// [`NnError::Shape`] for a number without an axis.
///
/// # Source
/// Karras et al. 2018 (arXiv:1710.10196), §4.2, over features as in StyleGAN2's published code.
pub fn second_moment_norm(x: &ArrayD<f64>) -> Result<ArrayD<f64>, NnError> {
    let inverse = inverse_roots(x)?;
    Ok(x * &inverse)
}

/// Gradient of `⟨grad, second_moment_norm(x)⟩`: `r (g − y · mean(g y))`, `r = 1/√(m + 10⁻⁸)`.
///
/// # Errors
/// [`NnError::Shape`] if `grad` is not shaped like `x`.
pub fn second_moment_norm_vjp(x: &ArrayD<f64>, grad: &ArrayD<f64>) -> Result<ArrayD<f64>, NnError> {
    require_shape("second_moment_norm", "grad", grad, x.shape())?;
    let inverse = inverse_roots(x)?;
    let y = x * &inverse;
    let radial = mean_last(&(grad * &y));
    Ok((grad - &(&y * &radial)) * &inverse)
}

/// 1/√(m + ε), with a last axis of length 1.
fn inverse_roots(x: &ArrayD<f64>) -> Result<ArrayD<f64>, NnError> {
    if x.ndim() == 0 || x.is_empty() {
        return Err(NnError::Shape {
            layer: "second_moment_norm",
            argument: "x",
            must: "[…, d] with d ≥ 1".to_owned(),
            got: x.shape().to_vec(),
        });
    }
    let squares = mean_last(&Zip::from(x).map_collect(|x| x * x));
    Ok(squares.mapv(|m| (m + SECOND_MOMENT_EPS).sqrt().recip()))
}

fn mean_last(x: &ArrayD<f64>) -> ArrayD<f64> {
    let last = Axis(x.ndim() - 1);
    (x.sum_axis(last) / x.len_of(last) as f64).insert_axis(last)
}
