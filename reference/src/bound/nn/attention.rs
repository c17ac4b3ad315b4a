//! Bounds for softmax and attention.

use super::linear::to_rows;
use crate::bound::{Precision, Tracked};
use crate::nn::{self, NnError};
use ndarray::Zip;

/// Bounds for the gradients of [`attention`].
#[derive(Debug, Clone, PartialEq)]
pub struct AttentionBound {
    /// With respect to the queries.
    pub q: Tracked,
    /// With respect to the keys.
    pub k: Tracked,
    /// With respect to the values.
    pub v: Tracked,
}

/// [`nn::softmax`] in precision `p`, with the maximum subtracted first.
///
/// # Errors
/// Those of [`nn::softmax`].
pub fn softmax(x: &Tracked, p: Precision) -> Result<Tracked, NnError> {
    nn::softmax(&x.value)?;
    Ok(Softmax::of(&to_rows(x), p).value.reshape(x.shape()))
}

/// [`nn::softmax_vjp`] in precision `p`: the closed form, or backwards through quotient, sum and exponential.
///
/// # Errors
/// Those of [`nn::softmax_vjp`].
pub fn softmax_vjp(x: &Tracked, grad: &Tracked, p: Precision) -> Result<Tracked, NnError> {
    nn::softmax_vjp(&x.value, &grad.value)?;
    let rows = to_rows(x);
    Ok(Softmax::of(&rows, p)
        .vjp(&to_rows(grad), p)
        .reshape(x.shape()))
}

/// [`nn::attention`] in precision `p`.
///
/// # Errors
/// Those of [`nn::attention`].
pub fn attention(q: &Tracked, k: &Tracked, v: &Tracked, p: Precision) -> Result<Tracked, NnError> {
    nn::attention(&q.value, &k.value, &v.value)?;
    let weights = softmax(&scores(q, k, p), p)?;
    Ok(weights.batched_matmul(v, p))
}

/// [`nn::attention_vjp`] in precision `p`, through the matrix of weights.
///
/// # Errors
/// Those of [`nn::attention_vjp`].
pub fn attention_vjp(
    q: &Tracked,
    k: &Tracked,
    v: &Tracked,
    grad: &Tracked,
    p: Precision,
) -> Result<AttentionBound, NnError> {
    nn::attention_vjp(&q.value, &k.value, &v.value, &grad.value)?;
    let scale = inverse_root(q);
    let z = scores(q, k, p);
    let weights = softmax(&z, p)?;
    let d_weights = grad.batched_matmul(&swapped(v), p);
    let d_z = softmax_vjp(&z, &d_weights, p)?;
    Ok(AttentionBound {
        q: scaled_product(&d_z, k, scale, p),
        k: scaled_product(&swapped(&d_z), q, scale, p),
        v: swapped(&weights).batched_matmul(grad, p),
    })
}

/// `Q Kᵀ/√d`.
fn scores(q: &Tracked, k: &Tracked, p: Precision) -> Tracked {
    scaled_product(q, &swapped(k), inverse_root(q), p)
}

fn inverse_root(q: &Tracked) -> f64 {
    (q.shape()[2] as f64).sqrt().recip()
}

/// `c · a b`, scaling before or after the product.
fn scaled_product(a: &Tracked, b: &Tracked, c: f64, p: Precision) -> Tracked {
    let before = a.scale(c, p).batched_matmul(b, p);
    before.either(&a.batched_matmul(b, p).scale(c, p))
}

/// The last two of three axes exchanged.
fn swapped(x: &Tracked) -> Tracked {
    x.permute(&[0, 2, 1])
}

/// Softmax of rows `[N, D]` with what its backward pass needs.
pub(super) struct Softmax {
    x: Tracked,
    pub largest: Tracked,
    pub shifted: Tracked,
    exponential: Tracked,
    pub sum: Tracked,
    pub value: Tracked,
}

impl Softmax {
    pub(super) fn of(x: &Tracked, p: Precision) -> Self {
        let largest = x.max_axis(1, true);
        let shifted = x.sub(&largest, p);
        let exponential = shifted.exp(p);
        let sum = exponential.sum_axis(1, true, p);
        let value = exponential.mul(&sum.recip(p), p);
        Self {
            x: x.clone(),
            largest,
            shifted,
            exponential,
            sum,
            value,
        }
    }

    fn vjp(&self, g: &Tracked, p: Precision) -> Tracked {
        let inner = g.mul(&self.value, p).sum_axis(1, true, p);
        let closed = self.value.mul(&g.sub(&inner, p), p);

        let r = self.sum.recip(p);
        let d_sum = g
            .mul(&self.exponential, p)
            .mul(&r.square(p), p)
            .sum_axis(1, true, p)
            .neg();
        let chained = g.mul(&r, p).add(&d_sum, p).mul(&self.exponential, p);
        closed
            .either(&chained)
            .either(&self.through_maximum(&chained, p))
    }

    /// What a chain adds that also differentiates the subtracted maximum: minus the sum of the row's gradient, zero
    /// but for roundings, wherever the maximum may be.
    pub(super) fn through_maximum(&self, d_shifted: &Tracked, p: Precision) -> Tracked {
        let total = d_shifted.sum_axis(1, true, p).neg();
        let with_total = d_shifted.add(&total, p);
        let mut at_maximum = self.x.value.mapv(|_| false);
        Zip::from(&mut at_maximum)
            .and(&self.x.value)
            .and(&self.x.error)
            .and_broadcast(&self.largest.value)
            .and_broadcast(&self.largest.error)
            .for_each(|at, &x, &e, &m, &em| *at = m - x <= e + em);
        Tracked::select(&at_maximum, &with_total, d_shifted)
    }
}
