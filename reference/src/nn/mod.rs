//! Neural-network layers with hand-derived backward passes: the oracle for the fast ones.
//!
//! Every layer is a pair of pure functions on [`ArrayD<f64>`]: `f(inputs)` and `f_vjp(inputs, grad_out)`, the
//! vector–Jacobian product, i.e. the gradient of `⟨grad_out, f(inputs)⟩` with respect to every input and parameter.
//! Images are `[B, C, H, W]`, token sequences `[B, T, C]`, all in row-major order.

use ndarray::{ArrayD, ArrayView, Dimension};

mod activation;
mod attention;
mod conv2d;
mod cross_entropy;
mod embedding;
mod fir;
mod frozen;
mod group_norm;
mod layer_norm;
mod linear;
mod normalise;
mod resample;
mod second_moment;

pub(crate) use activation::GELU_CUBIC;
pub use activation::{
    LEAKY_SLOPE, gelu, gelu_vjp, leaky_relu, leaky_relu_vjp, relu, relu_vjp, silu, silu_vjp,
    soft_clamp, soft_clamp_vjp,
};
pub use attention::{AttentionGrad, attention, attention_vjp, softmax, softmax_vjp};
pub use conv2d::{Conv2dGrad, Conv2dOptions, conv2d, conv2d_vjp};
pub use cross_entropy::{CrossEntropy, cross_entropy};
pub use embedding::{
    embedding, embedding_vjp, fourier_features, positional_features, step_features, time_features,
};
pub use fir::{fir_down, fir_down_vjp, fir_filter, fir_up, fir_up_vjp};
pub(crate) use frozen::weights as interpolation_weights;
pub use frozen::{Interpolation, avg_pool, batch_norm, interpolate, max_pool};
pub use group_norm::{GROUP_NORM_EPS, GroupNormGrad, group_norm, group_norm_vjp};
pub use layer_norm::{LAYER_NORM_EPS, LayerNormGrad, layer_norm, layer_norm_vjp};
pub use linear::{LinearGrad, linear, linear_vjp};
pub use resample::{
    avg_pool2x, avg_pool2x_vjp, global_avg_pool, global_avg_pool_vjp, upsample_nearest2x,
    upsample_nearest2x_vjp,
};
pub use second_moment::{SECOND_MOMENT_EPS, second_moment_norm, second_moment_norm_vjp};

/// Why a layer refused its arguments.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NnError {
    /// An array has the wrong shape.
    #[error("{layer}: {argument} must have shape {must}, got {got:?}")]
    Shape {
        /// The layer that refused.
        layer: &'static str,
        /// The refused argument.
        argument: &'static str,
        /// The shape it must have.
        must: String,
        /// The shape it has.
        got: Vec<usize>,
    },
    /// An integer argument (a number of groups, an index, a stride) is out of range.
    #[error("{layer}: {argument} must be {must}, got {got}")]
    Value {
        /// The layer that refused.
        layer: &'static str,
        /// The refused argument.
        argument: &'static str,
        /// What it must be.
        must: String,
        /// What it is.
        got: usize,
    },
}

/// A view of fixed rank, or the error that says which rank was wanted.
pub(crate) fn ranked<'a, D: Dimension>(
    layer: &'static str,
    argument: &'static str,
    must: &str,
    array: &'a ArrayD<f64>,
) -> Result<ArrayView<'a, f64, D>, NnError> {
    array
        .view()
        .into_dimensionality::<D>()
        .map_err(|_| NnError::Shape {
            layer,
            argument,
            must: must.to_owned(),
            got: array.shape().to_vec(),
        })
}

/// Requires an exact shape.
pub(crate) fn require_shape(
    layer: &'static str,
    argument: &'static str,
    array: &ArrayD<f64>,
    must: &[usize],
) -> Result<(), NnError> {
    if array.shape() == must {
        return Ok(());
    }
    Err(NnError::Shape {
        layer,
        argument,
        must: format!("{must:?}"),
        got: array.shape().to_vec(),
    })
}

/// Requires a condition on an integer argument.
pub(crate) fn require(
    condition: bool,
    layer: &'static str,
    argument: &'static str,
    must: impl FnOnce() -> String,
    got: usize,
) -> Result<(), NnError> {
    if condition {
        return Ok(());
    }
    Err(NnError::Value {
        layer,
        argument,
        must: must(),
        got,
    })
}

/// The last axis and the product of the others, `[…, D]` → `(N, D)`.
pub(crate) fn rows_and_last(
    layer: &'static str,
    argument: &'static str,
    array: &ArrayD<f64>,
) -> Result<(usize, usize), NnError> {
    match array.shape().split_last() {
        Some((&last, leading)) if last > 0 => Ok((leading.iter().product(), last)),
        _ => Err(NnError::Shape {
            layer,
            argument,
            must: "[…, D] with D ≥ 1".to_owned(),
            got: array.shape().to_vec(),
        }),
    }
}

/// The same numbers in row-major order as a matrix `[N, D]`, one row per leading index.
pub(crate) fn to_rows(
    layer: &'static str,
    argument: &'static str,
    array: &ArrayD<f64>,
) -> Result<ndarray::Array2<f64>, NnError> {
    let (n, d) = rows_and_last(layer, argument, array)?;
    reshaped(array, (n, d))
}

/// The same numbers in row-major order under another shape of equal size.
pub(crate) fn reshaped<Sh>(
    array: &ArrayD<f64>,
    shape: Sh,
) -> Result<ndarray::Array<f64, Sh::Dim>, NnError>
where
    Sh: ndarray::IntoDimension,
{
    let dim = shape.into_dimension();
    let must = format!("of as many elements as {:?}", dim.slice());
    array
        .to_shape(dim)
        .map(|view| view.to_owned())
        .map_err(|_| NnError::Shape {
            layer: "reshape",
            argument: "x",
            must,
            got: array.shape().to_vec(),
        })
}
