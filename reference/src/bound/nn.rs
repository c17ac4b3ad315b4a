//! Bounds for the layers of [`crate::nn`], forward and backward.
//!
//! Each function has the name and arguments of the layer it bounds, on [`Tracked`](crate::bound::Tracked) arrays.
//! It follows every way in which the layer is commonly evaluated, operation by operation: a fused kernel with the
//! closed form of the gradient, and the chain of elementary operations that an automatic differentiation of the
//! composed layer performs. Where they differ, the bound has room for both
//! ([`either`](crate::bound::Tracked::either)).
//! Outside it are algorithms that trade accuracy for speed: Fourier convolution, the variance as `E x² − (E x)²`. Winograd's
//! convolution has a bound of its own, [`conv2d_winograd`].
//!
//! Shapes are checked by the layer itself, so errors are its errors.

mod activation;
mod attention;
mod conv2d;
mod cross_entropy;
mod embedding;
mod fir;
mod frozen;
mod linear;
mod norm;
mod resample;
mod second_moment;
mod winograd;

pub use activation::{gelu, gelu_vjp, leaky_relu, leaky_relu_vjp, silu, silu_vjp};
pub use attention::{AttentionBound, attention, attention_vjp, softmax, softmax_vjp};
pub use conv2d::{conv2d, conv2d_vjp};
pub use cross_entropy::{CrossEntropyBound, cross_entropy};
pub use embedding::{
    embedding, embedding_vjp, fourier_features, positional_features, step_features, time_features,
};
pub use fir::{fir_down, fir_down_vjp, fir_up, fir_up_vjp};
pub use frozen::{avg_pool3, conv2d_batch_norm, interpolate};
pub use linear::{AffineBound, linear, linear_vjp};
pub use norm::{NormBound, group_norm, group_norm_vjp, layer_norm, layer_norm_vjp};
pub use resample::{
    avg_pool2x, avg_pool2x_vjp, global_avg_pool, global_avg_pool_vjp, upsample_nearest2x,
    upsample_nearest2x_vjp,
};
pub use second_moment::{second_moment_norm, second_moment_norm_vjp};
pub use winograd::{conv2d_winograd, conv2d_winograd_vjp};
