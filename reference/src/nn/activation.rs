//! Elementwise non-linearities.

use super::{NnError, require_shape};
use ndarray::{ArrayD, Zip};
use std::f64::consts::FRAC_2_PI;

/// The cubic coefficient of the tanh form of GELU.
pub(crate) const GELU_CUBIC: f64 = 0.044_715;

/// SiLU (swish), `x s(x)` with the logistic `s(x) = 1/(1 + e^{−x})`. `[eq:silu]`
///
/// # Range
/// ≥ −0.2785; → x as x → ∞, → 0 as x → −∞.
///
/// # Source
/// Elfwing, Uchibe and Doya 2017 (arXiv:1702.03118), Eq. 8.
pub fn silu(x: &ArrayD<f64>) -> ArrayD<f64> {
    x.mapv(|x| x * logistic(x))
}

/// Gradient of `⟨grad, silu(x)⟩`: `g s (1 + x (1 − s))`.
///
/// # Errors
/// [`NnError::Shape`] if `grad` is not shaped like `x`.
pub fn silu_vjp(x: &ArrayD<f64>, grad: &ArrayD<f64>) -> Result<ArrayD<f64>, NnError> {
    require_shape("silu", "grad", grad, x.shape())?;
    Ok(elementwise_vjp(x, grad, |x| {
        let s = logistic(x);
        s * (1.0 + x * (1.0 - s))
    }))
}

/// GELU in its tanh form, `½ x (1 + tanh u)` with `u = √(2/π) (x + 0.044715 x³)`. `[eq:gelu]`
///
/// # Range
/// ≥ −0.171; → x as x → ∞, → 0 as x → −∞. Within 5e-4 of the exact `x Φ(x)`.
///
/// # Source
/// Hendrycks and Gimpel 2016 (arXiv:1606.08415), §2.
pub fn gelu(x: &ArrayD<f64>) -> ArrayD<f64> {
    x.mapv(|x| 0.5 * x * (1.0 + gelu_argument(x).tanh()))
}

/// Gradient of `⟨grad, gelu(x)⟩`: `g [½ (1 + T) + ½ x (1 − T²) u']`, `T = tanh u`, `u' = √(2/π) (1 + 3·0.044715 x²)`.
///
/// # Errors
/// [`NnError::Shape`] if `grad` is not shaped like `x`.
pub fn gelu_vjp(x: &ArrayD<f64>, grad: &ArrayD<f64>) -> Result<ArrayD<f64>, NnError> {
    require_shape("gelu", "grad", grad, x.shape())?;
    Ok(elementwise_vjp(x, grad, |x| {
        let tanh = gelu_argument(x).tanh();
        let slope = FRAC_2_PI.sqrt() * (1.0 + 3.0 * GELU_CUBIC * x * x);
        0.5 * (1.0 + tanh) + 0.5 * x * (1.0 - tanh * tanh) * slope
    }))
}

/// Slope of [`leaky_relu`] below 0: that of StyleGAN2 and of most discriminators.
pub const LEAKY_SLOPE: f64 = 0.2;

/// Leaky ReLU, `x` above 0 and `0.2 x` elsewhere. `[eq:leaky-relu]`
///
/// # Source
/// Maas, Hannun and Ng 2013, §2.
pub fn leaky_relu(x: &ArrayD<f64>) -> ArrayD<f64> {
    x.mapv(|x| if x > 0.0 { x } else { LEAKY_SLOPE * x })
}

/// Gradient of `⟨grad, leaky_relu(x)⟩`: `g` above 0 and `0.2 g` elsewhere, at 0 too.
///
/// # Errors
/// [`NnError::Shape`] if `grad` is not shaped like `x`.
pub fn leaky_relu_vjp(x: &ArrayD<f64>, grad: &ArrayD<f64>) -> Result<ArrayD<f64>, NnError> {
    require_shape("leaky_relu", "grad", grad, x.shape())?;
    Ok(elementwise_vjp(x, grad, |x| {
        if x > 0.0 { 1.0 } else { LEAKY_SLOPE }
    }))
}

/// The rectifier, `max(x, 0)`. `[eq:relu]`
///
/// # Range
/// ≥ 0.
///
/// # Source
/// Nair and Hinton 2010.
pub fn relu(x: &ArrayD<f64>) -> ArrayD<f64> {
    // NaN stays NaN.
    x.mapv(|x| if x <= 0.0 { 0.0 } else { x })
}

/// Gradient of `⟨grad, relu(x)⟩`: `g` where x > 0, and 0 elsewhere, also at the kink.
///
/// # Errors
/// [`NnError::Shape`] if `grad` is not shaped like `x`.
pub fn relu_vjp(x: &ArrayD<f64>, grad: &ArrayD<f64>) -> Result<ArrayD<f64>, NnError> {
    require_shape("relu", "grad", grad, x.shape())?;
    Ok(elementwise_vjp(
        x,
        grad,
        |x| if x > 0.0 { 1.0 } else { 0.0 },
    ))
}

/// A clamp without a kink, `c tanh(x/c)` for c > 0. `[eq:soft-clamp]`
///
/// # Range
/// (−c, c); → x as x → 0, with slope 1.
pub fn soft_clamp(x: &ArrayD<f64>, c: f64) -> ArrayD<f64> {
    x.mapv(|x| c * (x / c).tanh())
}

/// Gradient of `⟨grad, c tanh(x/c)⟩`: `g (1 − tanh²(x/c))`.
///
/// # Errors
/// [`NnError::Shape`] if `grad` is not shaped like `x`.
pub fn soft_clamp_vjp(x: &ArrayD<f64>, c: f64, grad: &ArrayD<f64>) -> Result<ArrayD<f64>, NnError> {
    require_shape("soft-clamp", "grad", grad, x.shape())?;
    Ok(elementwise_vjp(x, grad, |x| 1.0 - (x / c).tanh().powi(2)))
}

fn gelu_argument(x: f64) -> f64 {
    FRAC_2_PI.sqrt() * (x + GELU_CUBIC * x * x * x)
}

/// `1/(1 + e^{−x})`; `e^{−x}` may overflow to ∞, which gives the right limit 0.
fn logistic(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn elementwise_vjp(
    x: &ArrayD<f64>,
    grad: &ArrayD<f64>,
    derivative: impl Fn(f64) -> f64,
) -> ArrayD<f64> {
    Zip::from(x)
        .and(grad)
        .map_collect(|&x, &g| g * derivative(x))
}
