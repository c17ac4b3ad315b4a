//! Gradient clipping: the squared norm of a gradient, and a multiple of it.

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::buffer::{CHUNK, by_dtype, tensor, with};
use super::real::{Real, vectorised};
use super::sums::sum_wide;

/// Σ x_i² of a CPU tensor, in f64 and in an order that the number of threads does not change.
///
/// # Errors
/// Another device, a type that is not a floating-point number.
pub(crate) fn sum_of_squares(x: &Tensor) -> Result<f64> {
    by_dtype!(x.dtype(), "sum_of_squares", squares(x))
}

fn squares<R: Real>(x: &Tensor) -> Result<f64> {
    with::<R, _>(x, |x| {
        let chunks = x.par_chunks(CHUNK);
        let parts: Vec<f64> = chunks
            .map(|x| {
                vectorised(
                    #[inline(always)]
                    || sum_wide(x, |x| x * x),
                )
            })
            .collect();
        Ok(parts.into_iter().sum())
    })
}

/// `factor · x` of a CPU tensor, not differentiated.
///
/// # Errors
/// Another device, a type that is not a floating-point number.
pub(crate) fn scaled(x: &Tensor, factor: f64) -> Result<Tensor> {
    by_dtype!(x.dtype(), "scaled", times(x, factor))
}

fn times<R: Real>(x: &Tensor, factor: f64) -> Result<Tensor> {
    let values = with::<R, _>(x, |x| {
        let (mut y, factor) = (x.to_vec(), R::of(factor));
        y.par_chunks_mut(CHUNK).for_each(|y| {
            vectorised(
                #[inline(always)]
                || {
                    for y in y {
                        *y = *y * factor;
                    }
                },
            );
        });
        Ok(y)
    })?;
    Ok(tensor(values, x.shape(), x.dtype()))
}
