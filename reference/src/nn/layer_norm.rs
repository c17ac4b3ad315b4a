//! Layer normalisation of the last axis.

use super::normalise::{normalise, normalise_vjp};
use super::{NnError, require_shape, reshaped, to_rows};
use ndarray::{Array2, ArrayD, Axis};

const LAYER: &str = "layer_norm";

/// The ε of every layer norm in this project.
pub const LAYER_NORM_EPS: f64 = 1e-6;

/// Gradients of [`layer_norm`].
#[derive(Debug, Clone, PartialEq)]
pub struct LayerNormGrad {
    /// With respect to the input, `[…, D]`.
    pub x: ArrayD<f64>,
    /// With respect to gain and offset, `[D]` each; present if they were given.
    pub affine: Option<(ArrayD<f64>, ArrayD<f64>)>,
}

/// Normalises the last axis, then scales each coordinate if gain and offset are given. `[eq:layer-norm]`
///
/// # Formula
/// ```text
/// y = γ (x − μ)/√(var + ε) + β,   μ, var (divisor D) over the last axis
/// ```
/// # Shapes
/// `x: […, D]`, `affine = (gamma, beta): [D]` each → `[…, D]`.
///
/// # Errors
/// [`NnError::Shape`] naming the argument that does not fit.
///
/// # Source
/// Ba, Kiros and Hinton 2016 (arXiv:1607.06450), Eq. 4.
pub fn layer_norm(
    x: &ArrayD<f64>,
    affine: Option<(&ArrayD<f64>, &ArrayD<f64>)>,
    eps: f64,
) -> Result<ArrayD<f64>, NnError> {
    let mut rows = to_rows(LAYER, "x", x)?;
    for mut row in rows.rows_mut() {
        let value = normalise(row.view(), eps).value;
        row.assign(&value);
    }
    let mut y = rows.into_dyn();
    if let Some((gamma, beta)) = affine {
        require_shape(LAYER, "gamma", gamma, &[y.shape()[1]])?;
        require_shape(LAYER, "beta", beta, &[y.shape()[1]])?;
        y = y * gamma + beta;
    }
    reshaped(&y, x.raw_dim())
}

/// Gradients of `⟨grad, layer_norm(x)⟩`; `gamma` is the gain if there is one.
///
/// # Formula
/// ```text
/// ∂β = Σ_n g,   ∂γ = Σ_n g x̂,   ∂x = r (h − mean(h) − x̂ mean(h x̂)),   h = γ g,  r = 1/√(var + ε)
/// ```
/// # Shapes
/// As [`layer_norm`]; `grad` as `x`.
///
/// # Errors
/// [`NnError::Shape`] naming the argument that does not fit.
pub fn layer_norm_vjp(
    x: &ArrayD<f64>,
    gamma: Option<&ArrayD<f64>>,
    grad: &ArrayD<f64>,
    eps: f64,
) -> Result<LayerNormGrad, NnError> {
    let rows = to_rows(LAYER, "x", x)?;
    require_shape(LAYER, "grad", grad, x.shape())?;
    let g = to_rows(LAYER, "grad", grad)?;
    let h = match gamma {
        Some(gamma) => {
            require_shape(LAYER, "gamma", gamma, &[rows.ncols()])?;
            g.clone().into_dyn() * gamma
        }
        None => g.clone().into_dyn(),
    };
    let h = to_rows(LAYER, "grad", &h)?;
    let mut d_x = Array2::zeros(rows.raw_dim());
    let mut x_hat = Array2::zeros(rows.raw_dim());
    for (n, row) in rows.rows().into_iter().enumerate() {
        let normalised = normalise(row, eps);
        d_x.row_mut(n).assign(&normalise_vjp(&normalised, h.row(n)));
        x_hat.row_mut(n).assign(&normalised.value);
    }
    Ok(LayerNormGrad {
        x: reshaped(&d_x.into_dyn(), x.raw_dim())?,
        affine: gamma.map(|_| {
            let d_gamma = (&g * &x_hat).sum_axis(Axis(0)).into_dyn();
            (d_gamma, g.sum_axis(Axis(0)).into_dyn())
        }),
    })
}
