//! Layers with gradients that can be trusted, fast on the CPU.
//!
//! Every function has two paths with the same formula. [`Path::Fused`], on the CPU, is one pass per
//! operation with a hand-written backward; on cards, of [some](Layers), a kernel or two. [`Path::Composed`], elsewhere, is the
//! operation spelled in candle operations whose gradients are right (several of candle's own layers
//! train silently wrong or not at all, see the book's chapter on candle); it can be called directly
//! as [`composed`], on the CPU too, which is how the two are tested against each other.
//!
//! f64 and f32 are computed as they are; bf16 and f16 in f32, rounded once at the end (on cards the products of
//! linear layers and convolutions once more, before their bias is added). Inputs may have any strides. Results do not depend on the number of threads.

#![expect(
    clippy::inline_always,
    reason = "kernels must be inlined into `real::vectorised` to be compiled for AVX2"
)]

mod activation;
mod attention;
mod backend;
pub mod composed;
mod conv2d;
pub(crate) mod cpu;
#[cfg(feature = "cuda")]
pub(crate) mod cuda;
mod embedding;
#[cfg(any(feature = "cuda", test))]
mod failures;
mod gated_sum;
mod group_norm;
mod layer_norm;
mod linear;
mod loss;
mod resample;
mod softmax;

use candle_core::Tensor;

pub use activation::{gelu, silu};
pub use attention::{Packing, attention, self_attention};
pub use backend::Layers;
pub use conv2d::{Convolutions, conv2d, conv2d_strided};
pub(crate) use cpu::buffer::{CHUNK, are_apart, with, with_variables};
pub(crate) use cpu::real::{Real, vectorised};
pub(crate) use cpu::reduce::{scaled, sum_of_squares};
pub(crate) use embedding::from_f64;
pub use embedding::{embedding, time_features};
pub use gated_sum::gated_sum;
pub use group_norm::{GROUP_NORM_EPS, group_norm, group_norm_silu};
pub use layer_norm::{LAYER_NORM_EPS, layer_norm};
pub use linear::linear;
pub use loss::cross_entropy;
pub use resample::{avg_pool2x, concat_channels, global_avg_pool, upsample_nearest2x};
pub use softmax::softmax_last;

/// Which implementation of an operation runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Path {
    /// One custom operation with its own backward: the CPU, and on cards what has a [kernel](Layers).
    Fused,
    /// A chain of candle operations: everything else.
    Composed,
}

impl Path {
    /// The path of operations on `x` that have no kernel for cards.
    pub fn of(x: &Tensor) -> Self {
        if x.device().is_cpu() {
            Self::Fused
        } else {
            Self::Composed
        }
    }

    /// The path of an operation that has a kernel for cards, on tensors one of which is on its device.
    fn with_kernel<'a>(tensors: impl IntoIterator<Item = &'a Tensor, IntoIter: Clone>) -> Self {
        let mut tensors = tensors.into_iter();
        #[cfg(feature = "cuda")]
        if cuda::serve(tensors.clone()) {
            return Self::Fused;
        }
        tensors.next().map_or(Self::Composed, Self::of)
    }
}
