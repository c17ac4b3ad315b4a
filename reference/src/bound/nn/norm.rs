//! Bounds for group and layer norm.

use super::linear::to_rows;
use crate::bound::{Precision, Tracked};
use crate::nn::{self, NnError};

/// Bounds for the gradients of a normalisation.
#[derive(Debug, Clone, PartialEq)]
pub struct NormBound {
    /// With respect to the input.
    pub x: Tracked,
    /// With respect to the gain, if there is one.
    pub gamma: Option<Tracked>,
    /// With respect to the offset, if there is one.
    pub beta: Option<Tracked>,
}

/// [`nn::group_norm`] in precision `p`.
///
/// # Errors
/// Those of [`nn::group_norm`].
pub fn group_norm(
    x: &Tracked,
    groups: usize,
    gamma: &Tracked,
    beta: &Tracked,
    eps: f64,
    p: Precision,
) -> Result<Tracked, NnError> {
    nn::group_norm(&x.value, groups, &gamma.value, &beta.value, eps)?;
    let layout = GroupLayout::new(x, groups);
    let (gamma, beta) = (layout.spread(gamma), layout.spread(beta));
    let y = Normalised::of(&layout.sets(x), eps, p).affine(&gamma, &beta, p);
    Ok(y.reshape(x.shape()))
}

/// [`nn::group_norm_vjp`] in precision `p`.
///
/// # Errors
/// Those of [`nn::group_norm_vjp`].
pub fn group_norm_vjp(
    x: &Tracked,
    groups: usize,
    gamma: &Tracked,
    grad: &Tracked,
    eps: f64,
    p: Precision,
) -> Result<NormBound, NnError> {
    nn::group_norm_vjp(&x.value, groups, &gamma.value, &grad.value, eps)?;
    let layout = GroupLayout::new(x, groups);
    let normalised = Normalised::of(&layout.sets(x), eps, p);
    let g = layout.sets(grad);
    let h = g.mul(&layout.spread(gamma), p);
    let by_channel = |sets: &Tracked| layout.channels(sets).sum_axis(0, false, p);
    Ok(NormBound {
        x: normalised.vjp(&h, p).reshape(x.shape()),
        gamma: Some(by_channel(&g.mul(&normalised.value, p))),
        beta: Some(by_channel(&g)),
    })
}

/// [`nn::layer_norm`] in precision `p`.
///
/// # Errors
/// Those of [`nn::layer_norm`].
pub fn layer_norm(
    x: &Tracked,
    affine: Option<(&Tracked, &Tracked)>,
    eps: f64,
    p: Precision,
) -> Result<Tracked, NnError> {
    nn::layer_norm(
        &x.value,
        affine.map(|(gamma, beta)| (&gamma.value, &beta.value)),
        eps,
    )?;
    let normalised = Normalised::of(&to_rows(x), eps, p);
    let y = match affine {
        Some((gamma, beta)) => normalised.affine(gamma, beta, p),
        None => normalised.value,
    };
    Ok(y.reshape(x.shape()))
}

/// [`nn::layer_norm_vjp`] in precision `p`.
///
/// # Errors
/// Those of [`nn::layer_norm_vjp`].
pub fn layer_norm_vjp(
    x: &Tracked,
    gamma: Option<&Tracked>,
    grad: &Tracked,
    eps: f64,
    p: Precision,
) -> Result<NormBound, NnError> {
    nn::layer_norm_vjp(&x.value, gamma.map(|gamma| &gamma.value), &grad.value, eps)?;
    let normalised = Normalised::of(&to_rows(x), eps, p);
    let g = to_rows(grad);
    let h = gamma.map_or_else(|| g.clone(), |gamma| g.mul(gamma, p));
    let column_sum = |rows: &Tracked| rows.sum_axis(0, false, p);
    Ok(NormBound {
        x: normalised.vjp(&h, p).reshape(x.shape()),
        gamma: gamma.map(|_| column_sum(&g.mul(&normalised.value, p))),
        beta: gamma.map(|_| column_sum(&g)),
    })
}

/// Rows `[S, n]`, each normalised, with what the backward pass needs.
struct Normalised {
    x: Tracked,
    mean: Tracked,
    centred: Tracked,
    inverse_std: Tracked,
    value: Tracked,
}

impl Normalised {
    /// Two passes: the mean, then the mean square of the differences. `x̂` is counted as a product with `1/std`,
    /// which has one rounding more than the quotient.
    fn of(x: &Tracked, eps: f64, p: Precision) -> Self {
        let mean = x.mean_axis(1, true, p);
        let centred = x.sub(&mean, p);
        let variance = centred.square(p).mean_axis(1, true, p);
        let inverse_std = variance.add_scalar(eps, p).sqrt(p).recip(p);
        let value = centred.mul(&inverse_std, p);
        Self {
            x: x.clone(),
            mean,
            centred,
            inverse_std,
            value,
        }
    }

    /// `γ x̂ + β`, or `a x + (β − a μ)` with `a = γ/std`, which some kernels prefer.
    fn affine(&self, gamma: &Tracked, beta: &Tracked, p: Precision) -> Tracked {
        let direct = self.value.mul(gamma, p).add(beta, p);
        let a = self.inverse_std.mul(gamma, p);
        let offset = beta.sub(&self.mean.mul(&a, p), p);
        direct.either(&self.x.mul(&a, p).add(&offset, p))
    }

    /// Gradient with respect to x, for the gradient `h` with respect to `x̂`.
    fn vjp(&self, h: &Tracked, p: Precision) -> Tracked {
        self.closed_vjp(h, p).either(&self.chained_vjp(h, p))
    }

    /// The closed form `r (h − mean(h) − x̂ mean(h x̂))`.
    fn closed_vjp(&self, h: &Tracked, p: Precision) -> Tracked {
        let constant = h.mean_axis(1, true, p);
        let radial = self
            .value
            .mul(&h.mul(&self.value, p).mean_axis(1, true, p), p);
        h.sub(&constant, p)
            .sub(&radial, p)
            .mul(&self.inverse_std, p)
    }

    /// Backwards through quotient, square root, mean square, difference and mean, one operation after the other.
    fn chained_vjp(&self, h: &Tracked, p: Precision) -> Tracked {
        let n = self.x.shape()[1] as f64;
        let r = &self.inverse_std;
        let d_std = h
            .mul(&self.centred, p)
            .mul(&r.square(p), p)
            .sum_axis(1, true, p)
            .neg();
        let d_variance = d_std.mul(r, p).scale(0.5, p);
        let d_square = d_variance.scale(1.0 / n, p);
        let through_variance = self.centred.mul(&d_square, p).scale(2.0, p);
        let d_centred = h.mul(r, p).add(&through_variance, p);
        let d_mean = d_centred.sum_axis(1, true, p).neg();
        d_centred.add(&d_mean.scale(1.0 / n, p), p)
    }
}

/// `[B, C, …]` as `B·groups` rows, as in the layer.
struct GroupLayout {
    batch: usize,
    channels: usize,
    groups: usize,
    pixels: usize,
}

impl GroupLayout {
    fn new(x: &Tracked, groups: usize) -> Self {
        let shape = x.shape();
        Self {
            batch: shape[0],
            channels: shape[1],
            groups,
            pixels: shape[2..].iter().product(),
        }
    }

    /// `[B, C, …]` → `[B·groups, C/groups · pixels]`.
    fn sets(&self, x: &Tracked) -> Tracked {
        x.reshape(&[
            self.batch * self.groups,
            self.channels / self.groups * self.pixels,
        ])
    }

    /// One number per channel, `[C]`, as many times as `sets` has elements.
    fn spread(&self, c: &Tracked) -> Tracked {
        let all = c
            .insert_axis(1)
            .broadcast_to(&[self.batch, self.channels, self.pixels]);
        self.sets(&all)
    }

    /// `sets` → `[B·pixels, C]`.
    fn channels(&self, sets: &Tracked) -> Tracked {
        sets.reshape(&[self.batch, self.channels, self.pixels])
            .permute(&[0, 2, 1])
            .reshape(&[self.batch * self.pixels, self.channels])
    }
}
