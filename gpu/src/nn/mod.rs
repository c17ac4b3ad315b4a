//! Layers with gradients that can be trusted, fast on the CPU.
//!
//! Every function has two paths with the same formula. [`Path::Fused`], on the CPU, is one pass per
//! operation with a hand-written backward; on GPUs, of [some](Layers), a kernel or two. [`Path::Composed`], elsewhere, is the
//! operation spelled in candle operations whose gradients are right (several of candle's own layers
//! train silently wrong or not at all, see the book's chapter on candle); it can be called directly
//! as [`composed`], on the CPU too, which is how the two are tested against each other.
//!
//! f64 and f32 are computed as they are; bf16 and f16 in f32, rounded once at the end (on GPUs the products of
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
mod fir;
mod gated_sum;
mod group_norm;
mod halved;
mod layer_norm;
mod linear;
mod loss;
mod masked;
mod path;
mod resample;
mod scaled_sum;
mod second_moment;
pub(crate) mod shape;
mod softmax;

pub use activation::{gelu, leaky_relu, leaky_relu_along, relu, silu, soft_clamp};
pub use attention::{attention, self_attention};
pub use backend::Layers;
pub use conv2d::{Convolutions, conv2d, conv2d_strided};
pub(crate) use cpu::buffer::{CHUNK, are_apart, with, with_variables};
pub(crate) use cpu::real::{Real, vectorised};
pub(crate) use cpu::reduce::{scaled, sum_of_squares};
pub(crate) use embedding::from_f64;
pub use embedding::{
    embedding, fourier_features, positional_features, step_features, time_features,
};
pub use fir::{fir_down, fir_up};
pub use gated_sum::gated_sum;
pub use group_norm::{group_norm, group_norm_eps, group_norm_silu, group_norm_silu_eps};
pub use halved::conv2d_halved;
pub use layer_norm::layer_norm;
pub use linear::linear;
pub use loss::cross_entropy;
pub(crate) use masked::masked;
pub(crate) use path::note;
pub use path::{Path, traced};
pub use resample::{avg_pool2x, concat_channels, global_avg_pool, upsample_nearest2x};
pub(crate) use scaled_sum::scaled_sum;
pub use second_moment::second_moment_norm;
pub use shape::attention::Packing;
pub use shape::group_norm::GROUP_NORM_EPS;
pub use shape::layer_norm::LAYER_NORM_EPS;
pub use softmax::softmax_last;
