//! Backends of the layers other than convolutions.

use std::fmt;
use std::sync::Arc;

use candle_core::Device;

/// Backend of linear layers, normalisations, softmax, activations, gated sums, clipping and the optimiser's step on a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layers {
    /// This crate: the CPU, and GPUs on which its kernels passed their test.
    Own,
    /// candle, as the variable `SADM_KERNELS=off` says.
    Composed,
    /// This crate, but candle in the types of elements in which the kernels failed their test on this GPU: which, and how.
    OwnAreWrong(Arc<str>),
}

impl Layers {
    /// Those of a device; the first question about a GPU tests the kernels there.
    pub fn on(device: &Device) -> Self {
        match device {
            Device::Cpu => Self::Own,
            #[cfg(feature = "cuda")]
            Device::Cuda(device) => super::cuda::on(device),
            _ => Self::Composed,
        }
    }
}

impl fmt::Display for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => f.write_str("sadm"),
            Self::Composed => f.write_str("candle"),
            Self::OwnAreWrong(where_and_how) => write!(
                f,
                "sadm, by candle where sadm's kernels failed their test: {where_and_how}"
            ),
        }
    }
}
