//! The weighted denoising objective.

use crate::error::{Error, Result};
use crate::forward::{loss_dtype, per_sample};
use candle_core::Tensor;

pub use super::weight::Weight;

/// The weighted denoising loss of a batch, a scalar tensor that candle differentiates.
///
/// # Formula
/// ```text
/// L = Σ_i w_i ‖x̂_i − x_0,i‖² / B                       [SADM Eq. 4]
/// ```
/// the norm over all elements of a sample; w_i/B is formed in f64 and rounded once.
/// # Shapes
/// `x_hat`, `x0`: `[B, …]`, equal; `weights`: B numbers, or one for all → `[]`, in f32 (f64 if
/// `x_hat` is f64), the precision of every reduction.
/// # Errors
/// Different shapes, another number of weights.
pub fn denoising_loss(x_hat: &Tensor, x0: &Tensor, weights: &[f64]) -> Result<Tensor> {
    if x_hat.dims() != x0.dims() {
        let must = format!("{:?} as x0 has", x0.dims());
        return Err(Error::shape("prediction x_hat", must, x_hat.dims()));
    }
    let dtype = loss_dtype(x_hat.dtype());
    let difference = (x_hat.to_dtype(dtype)? - x0.to_dtype(dtype)?)?;
    let batch = difference.dim(0)?;
    let squares = difference.sqr()?.reshape((batch, ()))?.sum_keepdim(1)?;
    let factors: Vec<f64> = weights.iter().map(|w| w / batch as f64).collect();
    let factors = per_sample(&factors, &squares)?;
    Ok(squares.broadcast_mul(&factors)?.sum_all()?)
}
