//! Bound for the affine map, and the product with bias that it shares with the convolution.

use crate::bound::{Precision, Tracked};
use crate::nn::{self, NnError};
use ndarray::ArrayD;

/// Bounds for the gradients of a layer with input, weight and bias.
#[derive(Debug, Clone, PartialEq)]
pub struct AffineBound {
    /// With respect to the input.
    pub x: Tracked,
    /// With respect to the weight or kernel.
    pub weight: Tracked,
    /// With respect to the bias.
    pub bias: Tracked,
}

/// [`nn::linear`] in precision `p`.
///
/// # Errors
/// Those of [`nn::linear`].
pub fn linear(
    x: &Tracked,
    weight: &Tracked,
    bias: &Tracked,
    p: Precision,
) -> Result<Tracked, NnError> {
    let y = nn::linear(&x.value, &weight.value, &bias.value)?;
    Ok(product_with_bias(&to_rows(x), weight, bias, p).reshape(y.shape()))
}

/// [`nn::linear_vjp`] in precision `p`.
///
/// # Errors
/// Those of [`nn::linear_vjp`].
pub fn linear_vjp(
    x: &Tracked,
    weight: &Tracked,
    grad: &Tracked,
    p: Precision,
) -> Result<AffineBound, NnError> {
    nn::linear_vjp(&x.value, &weight.value, &grad.value)?;
    let g = to_rows(grad);
    Ok(AffineBound {
        x: g.matmul(weight, p).reshape(x.shape()),
        weight: g.transpose().matmul(&to_rows(x), p),
        bias: g.sum_axis(0, false, p),
    })
}

/// `x Wᵀ + b` for `x: [N, n]`, `w: [m, n]`, `b: [m]`.
///
/// The bias is one more term of the inner product: a kernel may add it last, or start to accumulate from it.
pub(super) fn product_with_bias(
    x: &Tracked,
    weight: &Tracked,
    bias: &Tracked,
    p: Precision,
) -> Tracked {
    let ones = Tracked::exact(ArrayD::ones(vec![x.shape()[0], 1]));
    let terms = Tracked::concat(&[x, &ones], 1);
    let factors = Tracked::concat(&[weight, &bias.insert_axis(1)], 1);
    terms.matmul(&factors.transpose(), p)
}

/// `[…, D]` → `[N, D]`.
pub(super) fn to_rows(x: &Tracked) -> Tracked {
    let last = x.shape().last().copied().unwrap_or(1);
    x.reshape(&[x.value.len() / last.max(1), last])
}
