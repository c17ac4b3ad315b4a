//! Who makes the layers other than convolutions.

use std::fmt;

use candle_core::Device;

/// Who makes linear layers, normalisations, softmax, activations, gated sums, clipping and the optimiser's step on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layers {
    /// This crate: the processor, and cards on which its kernels passed their test.
    Own,
    /// candle, as the variable `SADM_KERNELS=off` says.
    Composed,
    /// candle, since the kernels failed their test on this card.
    OwnAreWrong,
}

impl Layers {
    /// Those of a device; the first question about a card tests the kernels there.
    pub fn on(device: &Device) -> Self {
        match device {
            Device::Cpu => Self::Own,
            #[cfg(feature = "cuda")]
            Device::Cuda(device) => super::kernels::on(device),
            _ => Self::Composed,
        }
    }
}

impl fmt::Display for Layers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Own => "sadm",
            Self::Composed => "candle",
            Self::OwnAreWrong => "candle, since sadm's kernels failed their test",
        })
    }
}
