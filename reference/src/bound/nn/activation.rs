//! Bounds for the elementwise non-linearities.

use crate::bound::{Precision, Tracked};
use crate::nn::{self, GELU_CUBIC, NnError};
use std::f64::consts::FRAC_2_PI;

/// [`nn::silu`] in precision `p`: `x · s(x)`, or `x/(1 + e^{−x})` with fewer roundings.
pub fn silu(x: &Tracked, p: Precision) -> Tracked {
    x.mul(&x.sigmoid(p), p)
}

/// [`nn::silu_vjp`] in precision `p`: the slope as `s (1 + x (1 − s))` or `s + y (1 − s)`.
///
/// # Errors
/// Those of [`nn::silu_vjp`].
pub fn silu_vjp(x: &Tracked, grad: &Tracked, p: Precision) -> Result<Tracked, NnError> {
    nn::silu_vjp(&x.value, &grad.value)?;
    let s = x.sigmoid(p);
    let rest = s.neg().add_scalar(1.0, p);
    let factored = s.mul(&x.mul(&rest, p).add_scalar(1.0, p), p);
    let expanded = s.add(&silu(x, p).mul(&rest, p), p);
    Ok(grad.mul(&factored.either(&expanded), p))
}

/// [`nn::gelu`] in precision `p`.
pub fn gelu(x: &Tracked, p: Precision) -> Tracked {
    let one_plus = gelu_argument(x, p).tanh(p).add_scalar(1.0, p);
    x.scale(0.5, p).mul(&one_plus, p)
}

/// [`nn::gelu_vjp`] in precision `p`: the closed form, or backwards through
/// `½ x (1 + tanh(√(2/π) (x + a x² x)))`, one operation after the other.
///
/// # Errors
/// Those of [`nn::gelu_vjp`].
pub fn gelu_vjp(x: &Tracked, grad: &Tracked, p: Precision) -> Result<Tracked, NnError> {
    nn::gelu_vjp(&x.value, &grad.value)?;
    let tanh = gelu_argument(x, p).tanh(p);
    let half_x = x.scale(0.5, p);
    let direct = tanh.add_scalar(1.0, p).scale(0.5, p);
    let steepness = tanh.square(p).neg().add_scalar(1.0, p);

    let square = x.square(p);
    let slope = square
        .scale(3.0 * GELU_CUBIC, p)
        .add_scalar(1.0, p)
        .scale(FRAC_2_PI.sqrt(), p);
    let closed = grad.mul(&direct.add(&half_x.mul(&steepness, p).mul(&slope, p), p), p);

    let d_inner = grad
        .mul(&half_x, p)
        .mul(&steepness, p)
        .scale(FRAC_2_PI.sqrt(), p);
    let d_cube = d_inner.scale(GELU_CUBIC, p);
    let through_factor = d_cube.mul(&square, p);
    let through_square = d_cube.mul(x, p).mul(x, p).scale(2.0, p);
    let chained = grad
        .mul(&direct, p)
        .add(&d_inner, p)
        .add(&through_factor, p)
        .add(&through_square, p);
    Ok(closed.either(&chained))
}

/// [`nn::leaky_relu`] in precision `p`: where an error leaves the sign open, x and 0.2 x are no further apart than x and its error say.
pub fn leaky_relu(x: &Tracked, p: Precision) -> Tracked {
    let above = x.value.mapv(|x| x > 0.0);
    let open = ndarray::Zip::from(&x.value)
        .and(&x.error)
        .map_collect(|x, error| if x.abs() <= *error { *error } else { 0.0 });
    Tracked::select(&above, x, &x.scale(nn::LEAKY_SLOPE, p)).widened(&open)
}

/// [`nn::leaky_relu_vjp`] in precision `p`, of an x whose sign is certain; else either slope.
///
/// # Errors
/// Those of [`nn::leaky_relu_vjp`].
pub fn leaky_relu_vjp(x: &Tracked, grad: &Tracked, p: Precision) -> Result<Tracked, NnError> {
    nn::leaky_relu_vjp(&x.value, &grad.value)?;
    let low = grad.scale(nn::LEAKY_SLOPE, p);
    let above = x.value.mapv(|x| x > 0.0);
    let chosen = Tracked::select(&above, grad, &low);
    let open = ndarray::Zip::from(&x.value)
        .and(&x.error)
        .map_collect(|x, error| *error > 0.0 && x.abs() <= *error);
    Ok(Tracked::select(
        &open,
        &grad.either(&low).recentred(chosen.value.clone()),
        &chosen,
    ))
}

/// `u = √(2/π) (x + a x³)`; `√(2/π) x (1 + a x²)` has as many roundings and no other cancellation.
fn gelu_argument(x: &Tracked, p: Precision) -> Tracked {
    let cube = x.square(p).mul(x, p).scale(GELU_CUBIC, p);
    x.add(&cube, p).scale(FRAC_2_PI.sqrt(), p)
}
