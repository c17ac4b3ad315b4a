//! Bounds for changes of resolution.

use crate::bound::{Precision, Tracked};
use crate::nn::{self, NnError};
use ndarray::ArrayD;

/// Bound of [`nn::upsample_nearest2x`], which is exact.
///
/// # Errors
/// Those of [`nn::upsample_nearest2x`].
pub fn upsample_nearest2x(x: &Tracked) -> Result<Tracked, NnError> {
    moved(x, nn::upsample_nearest2x)
}

/// [`nn::upsample_nearest2x_vjp`] in precision `p`: four terms in any order.
///
/// # Errors
/// Those of [`nn::upsample_nearest2x_vjp`].
pub fn upsample_nearest2x_vjp(grad: &Tracked, p: Precision) -> Result<Tracked, NnError> {
    nn::upsample_nearest2x_vjp(&grad.value)?;
    Ok(block_sum(grad, p))
}

/// [`nn::avg_pool2x`] in precision `p`: four terms in any order; the quarter is exact.
///
/// # Errors
/// Those of [`nn::avg_pool2x`].
pub fn avg_pool2x(x: &Tracked, p: Precision) -> Result<Tracked, NnError> {
    nn::avg_pool2x(&x.value)?;
    Ok(block_sum(x, p).scale(0.25, p))
}

/// [`nn::avg_pool2x_vjp`] in precision `p`: exact but for underflow.
///
/// # Errors
/// Those of [`nn::avg_pool2x_vjp`].
pub fn avg_pool2x_vjp(grad: &Tracked, p: Precision) -> Result<Tracked, NnError> {
    Ok(moved(grad, nn::upsample_nearest2x)?.scale(0.25, p))
}

/// [`nn::global_avg_pool`] in precision `p`, dividing once by H·W or by H and by W.
///
/// # Errors
/// Those of [`nn::global_avg_pool`].
pub fn global_avg_pool(x: &Tracked, p: Precision) -> Result<Tracked, NnError> {
    nn::global_avg_pool(&x.value)?;
    let &[b, c, h, w] = x.shape() else {
        return moved(x, nn::global_avg_pool);
    };
    let sum = x.reshape(&[b, c, h * w]).sum_axis(2, false, p);
    Ok(divided(&sum, h, w, p))
}

/// [`nn::global_avg_pool_vjp`] in precision `p`.
///
/// # Errors
/// Those of [`nn::global_avg_pool_vjp`].
pub fn global_avg_pool_vjp(x: &Tracked, grad: &Tracked, p: Precision) -> Result<Tracked, NnError> {
    nn::global_avg_pool_vjp(&x.value, &grad.value)?;
    let (h, w) = (x.shape()[2], x.shape()[3]);
    let share = divided(grad, h, w, p).insert_axis(2).insert_axis(3);
    Ok(share.broadcast_to(x.shape()))
}

/// `x/(h w)` as one factor or two.
fn divided(x: &Tracked, h: usize, w: usize, p: Precision) -> Tracked {
    let once = x.scale(1.0 / (h * w) as f64, p);
    once.either(&x.scale(1.0 / h as f64, p).scale(1.0 / w as f64, p))
}

/// Sum of each 2×2 block of `[B, C, 2H, 2W]`.
fn block_sum(x: &Tracked, p: Precision) -> Tracked {
    let s = x.shape();
    let (b, c, h, w) = (s[0], s[1], s[2] / 2, s[3] / 2);
    x.reshape(&[b, c, h, 2, w, 2])
        .permute(&[0, 1, 2, 4, 3, 5])
        .reshape(&[b, c, h, w, 4])
        .sum_axis(4, false, p)
}

/// A layer that only moves numbers, on value and error alike.
fn moved(
    x: &Tracked,
    layer: fn(&ArrayD<f64>) -> Result<ArrayD<f64>, NnError>,
) -> Result<Tracked, NnError> {
    Ok(Tracked {
        value: layer(&x.value)?,
        error: layer(&x.error)?,
    })
}
