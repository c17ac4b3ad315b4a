//! The networks: two denoisers and the encoder Ψ.
//!
//! Parameters are named as in `sadm-reference`, which implements the same networks independently:
//! a linear map or convolution `x` has `x.weight` and `x.bias`, a group norm as well.

pub(crate) mod blocks;
mod dit;
mod precision;
mod unet;

use candle_core::Tensor;

pub use dit::{Dit, DitConfig};
pub use precision::{Compute, MixedPrecision};
pub use unet::{UNet, UNetConfig};

use crate::Result;

/// A network that predicts from a noisy image, as [`Parametrisation`](crate::objective::parametrisation)
/// states what.
pub trait Denoiser: Send + Sync {
    /// The raw prediction F.
    ///
    /// # Shapes
    /// `x: [B, C, H, W]` (scaled by c_in), `c_noise`: B values of ln(σ')/4 → `[B, C, H, W]`.
    /// `labels`: B class indices; an index equal to the number of classes, or `None` for all, is
    /// "no class", the last row of the class table.
    ///
    /// # Errors
    /// Shapes that do not fit, labels out of range, labels for a network without classes.
    fn forward(&self, x: &Tensor, c_noise: &[f64], labels: Option<&[u32]>) -> Result<Tensor>;
}

impl<D: Denoiser + ?Sized> Denoiser for Box<D> {
    fn forward(&self, x: &Tensor, c_noise: &[f64], labels: Option<&[u32]>) -> Result<Tensor> {
        self.as_ref().forward(x, c_noise, labels)
    }
}

/// Whether a dimension is left to the data.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
pub(crate) fn is_zero(dimension: &usize) -> bool {
    *dimension == 0
}
