//! The affine map of the last axis.

use super::{NnError, require_shape, reshaped, rows_and_last, to_rows};
use ndarray::{Array2, ArrayD, Axis};

const LAYER: &str = "linear";

/// Gradients of [`linear`].
#[derive(Debug, Clone, PartialEq)]
pub struct LinearGrad {
    /// With respect to the input, `[…, in]`.
    pub x: ArrayD<f64>,
    /// With respect to the weight, `[out, in]`.
    pub weight: ArrayD<f64>,
    /// With respect to the bias, `[out]`.
    pub bias: ArrayD<f64>,
}

/// Affine map of the last axis. `[eq:linear]`
///
/// # Formula
/// ```text
/// y = x Wᵀ + b
/// ```
/// # Shapes
/// `x: […, in]`, `weight: [out, in]`, `bias: [out]` → `[…, out]`.
///
/// # Errors
/// [`NnError::Shape`] naming the argument that does not fit.
pub fn linear(
    x: &ArrayD<f64>,
    weight: &ArrayD<f64>,
    bias: &ArrayD<f64>,
) -> Result<ArrayD<f64>, NnError> {
    let rows = to_rows(LAYER, "x", x)?;
    let w = matrix(weight, rows.ncols())?;
    require_shape(LAYER, "bias", bias, &[w.nrows()])?;
    let mut y = rows.dot(&w.t()).into_dyn();
    y += bias;
    reshaped(&y, with_last(x, w.nrows()))
}

/// Gradients of `⟨grad, linear(x)⟩`.
///
/// # Formula
/// ```text
/// ∂x = g W,   ∂W = gᵀ x,   ∂b = Σ_n g_n
/// ```
/// # Shapes
/// As [`linear`]; `grad: […, out]`.
///
/// # Errors
/// [`NnError::Shape`] naming the argument that does not fit.
pub fn linear_vjp(
    x: &ArrayD<f64>,
    weight: &ArrayD<f64>,
    grad: &ArrayD<f64>,
) -> Result<LinearGrad, NnError> {
    let rows = to_rows(LAYER, "x", x)?;
    let w = matrix(weight, rows.ncols())?;
    require_shape(LAYER, "grad", grad, &with_last(x, w.nrows()))?;
    let g = to_rows(LAYER, "grad", grad)?;
    Ok(LinearGrad {
        x: reshaped(&g.dot(&w).into_dyn(), x.raw_dim())?,
        weight: g.t().dot(&rows).into_dyn(),
        bias: g.sum_axis(Axis(0)).into_dyn(),
    })
}

/// The weight as `[out, in]` with the input's width.
fn matrix(weight: &ArrayD<f64>, width: usize) -> Result<Array2<f64>, NnError> {
    let (out, _) = rows_and_last(LAYER, "weight", weight)?;
    require_shape(LAYER, "weight", weight, &[out, width])?;
    to_rows(LAYER, "weight", weight)
}

/// The shape of `x` with another last axis.
fn with_last(x: &ArrayD<f64>, last: usize) -> Vec<usize> {
    let mut shape = x.shape().to_vec();
    if let Some(d) = shape.last_mut() {
        *d = last;
    }
    shape
}
