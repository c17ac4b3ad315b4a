//! Bounds for the division by the root of the mean square.

use crate::bound::{Precision, Tracked};
use crate::nn::{self, NnError, SECOND_MOMENT_EPS};

/// [`nn::second_moment_norm`] in precision `p`.
///
/// # Errors
/// Those of [`nn::second_moment_norm`].
pub fn second_moment_norm(x: &Tracked, p: Precision) -> Result<Tracked, NnError> {
    nn::second_moment_norm(&x.value)?;
    Ok(x.div(&root(x, p), p)
        .either(&x.mul(&root(x, p).recip(p), p)))
}

/// [`nn::second_moment_norm_vjp`] in precision `p`: the closed form, or back through quotient, root and mean.
///
/// # Errors
/// Those of [`nn::second_moment_norm_vjp`].
pub fn second_moment_norm_vjp(
    x: &Tracked,
    grad: &Tracked,
    p: Precision,
) -> Result<Tracked, NnError> {
    nn::second_moment_norm_vjp(&x.value, &grad.value)?;
    let last = x.shape().len() - 1;
    let (root, y) = (root(x, p), second_moment_norm(x, p)?);
    let radial = grad.mul(&y, p).mean_axis(last, true, p);
    let closed = grad.sub(&y.mul(&radial, p), p).div(&root, p);
    // ∂/∂root = −Σ g x/root², from there 1/(2 root) and 2x/d.
    let count = x.shape()[last] as f64;
    let of_root = (grad.mul(x, p).div(&root.square(p), p)).sum_axis(last, true, p);
    let of_mean = of_root.div(&root.scale(2.0, p), p).scale(1.0 / count, p);
    let chained = (grad.div(&root, p)).sub(&x.mul(&of_mean.scale(2.0, p), p), p);
    Ok(closed.either(&chained))
}

/// √(m + ε), with a last axis of length 1.
fn root(x: &Tracked, p: Precision) -> Tracked {
    let last = x.shape().len() - 1;
    let squares = x.square(p).mean_axis(last, true, p);
    squares.add_scalar(SECOND_MOMENT_EPS, p).sqrt(p)
}
