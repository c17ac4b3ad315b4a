//! Guidance of the denoiser.

use crate::error::Result;
use candle_core::Tensor;

/// Classifier-free guidance.
///
/// # Formula
/// ```text
/// x̂ = x̂_u + g (x̂_c − x̂_u)
/// ```
/// g = 0 is unconditional, g = 1 conditional, beyond it an extrapolation.
/// # Source
/// Ho and Salimans (arXiv:2207.12598).
pub fn guided(unconditional: &Tensor, conditional: &Tensor, g: f64) -> Result<Tensor> {
    Ok((unconditional + ((conditional - unconditional)? * g)?)?)
}
