//! Which implementation of an operation runs.

use candle_core::Tensor;

#[cfg(feature = "cuda")]
use super::cuda;

/// Which implementation of an operation runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// One custom operation with its own backward: the CPU, and on GPUs what has a [kernel](super::Layers).
    Fused,
    /// A chain of candle operations: everything else.
    Composed,
}

impl Path {
    /// The path of operations on `x` that have no kernel for GPUs.
    pub fn of(x: &Tensor) -> Self {
        if x.device().is_cpu() {
            Self::Fused
        } else {
            Self::Composed
        }
    }

    /// The path of an operation that has a kernel for GPUs, on tensors one of which is on its device.
    pub(crate) fn with_kernel<'a>(
        tensors: impl IntoIterator<Item = &'a Tensor, IntoIter: Clone>,
    ) -> Self {
        let mut tensors = tensors.into_iter();
        #[cfg(feature = "cuda")]
        if cuda::serve(tensors.clone()) {
            return Self::Fused;
        }
        tensors.next().map_or(Self::Composed, Self::of)
    }
}
