//! Division by the root of the mean square.

use super::composed::widened;
use candle_core::{D, Result, Tensor};

/// x over the root of its mean square in the last dimension, as StyleGAN2's mapping network has it.
///
/// # Formula `[eq:second-moment]`
/// ```text
/// y = x/√(m + 10⁻⁸),   m the mean of x² in the last dimension
/// ```
/// Composed of candle's operations.
///
/// # Shapes
/// `[…, d]` → the same.
pub fn second_moment_norm(x: &Tensor) -> Result<Tensor> {
    widened(x, |x| {
        let mean = (x.sqr()?.sum_keepdim(D::Minus1)? / x.dim(D::Minus1)? as f64)?;
        x.broadcast_div(&(mean + 1e-8)?.sqrt()?)
    })
}
