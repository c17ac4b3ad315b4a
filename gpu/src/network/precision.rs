//! Mixed precision: networks that compute in a narrower type than their parameters are kept in.

use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};

use super::{Condition, Mode, Network};
use crate::Result;

/// The element type in which networks compute.
///
/// Parameters, losses, the structure term and the optimiser stay in f32, and so do sums within the layers; with `f64` all of
/// them, and the batches, are f64. With `bf16` each parameter is rounded where it is used, the input where it enters, the output is widened, and
/// gradients are widened where they reach a parameter. No loss scaling is needed: bf16 has the range of f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compute {
    /// f32.
    #[default]
    F32,
    /// f64, for runs whose numbers are to be checked: rounding is then 2⁻⁵³.
    F64,
    /// bf16: 8 bits of significand, for GPUs that multiply it faster.
    Bf16,
}

impl Compute {
    /// The type that parameters and batches are kept in.
    pub fn kept(self) -> DType {
        match self {
            Self::F64 => DType::F64,
            Self::F32 | Self::Bf16 => DType::F32,
        }
    }

    /// `f(x)` with `x` rounded to this type, the result in the type of `x`.
    ///
    /// # Errors
    /// Those of `f`.
    pub fn within(self, x: &Tensor, f: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
        match self {
            Self::F32 | Self::F64 => f(x),
            Self::Bf16 => Ok(f(&x.to_dtype(DType::BF16)?)?.to_dtype(x.dtype())?),
        }
    }
}

/// A denoiser that computes in another type than that of its input and its parameters.
#[derive(Debug, Clone)]
pub struct MixedPrecision<N> {
    /// The denoiser.
    pub inner: N,
    /// What it computes in.
    pub compute: Compute,
}

impl<N: Network> Network for MixedPrecision<N> {
    fn forward(&self, x: &Tensor, at: &Condition<'_>, mode: Mode<'_>) -> Result<Tensor> {
        self.compute.within(x, |x| self.inner.forward(x, at, mode))
    }
}
