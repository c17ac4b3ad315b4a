//! Bounds for embeddings.

use crate::bound::{Precision, Tracked};
use crate::nn::{self, NnError};
use ndarray::{ArrayD, Axis, IxDyn};

/// Bound of [`nn::embedding`], which is exact.
///
/// # Errors
/// Those of [`nn::embedding`].
pub fn embedding(table: &Tracked, index: &[u32]) -> Result<Tracked, NnError> {
    Ok(Tracked {
        value: nn::embedding(&table.value, index)?,
        error: nn::embedding(&table.error, index)?,
    })
}

/// [`nn::embedding_vjp`] in precision `p`: the rows with one index, added in any order.
///
/// # Errors
/// Those of [`nn::embedding_vjp`].
pub fn embedding_vjp(
    table: &Tracked,
    index: &[u32],
    grad: &Tracked,
    p: Precision,
) -> Result<Tracked, NnError> {
    let value = nn::embedding_vjp(&table.value, index, &grad.value)?;
    let mut out = Tracked::exact(value);
    for row in 0..table.shape()[0] {
        let users: Vec<usize> = (0..index.len())
            .filter(|&n| index[n] as usize == row)
            .collect();
        let parts = Tracked {
            value: grad.value.select(Axis(0), &users),
            error: grad.error.select(Axis(0), &users),
        };
        let sum = parts.sum_axis(0, false, p);
        out.error.index_axis_mut(Axis(0), row).assign(&sum.error);
    }
    Ok(out)
}

/// [`nn::time_features`], computed in `f64` on the host and rounded once to precision `p`.
///
/// # Errors
/// Those of [`nn::time_features`].
pub fn time_features(c_noise: &[f64], dim: usize, p: Precision) -> Result<Tracked, NnError> {
    nn::time_features(c_noise, dim)?;
    let host = Precision::F64;
    let half = dim / 2;
    let last = half.max(2) - 1;
    let exponent = ArrayD::from_shape_fn(IxDyn(&[1, half]), |i| i[1] as f64 / last as f64);
    let frequency = Tracked::rounded(exponent, host)
        .scale(64_f64.ln(), host)
        .exp(host)
        .scale(0.5, host);
    let noise = ArrayD::from_shape_fn(IxDyn(&[c_noise.len(), 1]), |i| c_noise[i[0]]);
    let phase = Tracked::exact(noise).mul(&frequency, host);
    Ok(Tracked::concat(&[&phase.cos(host), &phase.sin(host)], 1).stored_as(p))
}

/// [`nn::step_features`], computed in `f64` on the host and rounded once to precision `p`.
///
/// # Errors
/// Those of [`nn::step_features`].
pub fn step_features(t: &[f64], dim: usize, p: Precision) -> Result<Tracked, NnError> {
    nn::step_features(t, dim)?;
    let host = Precision::F64;
    let half = dim / 2;
    let exponent = ArrayD::from_shape_fn(IxDyn(&[1, half]), |i| -(i[1] as f64) / half as f64);
    let frequency = Tracked::rounded(exponent, host)
        .scale(10_000_f64.ln(), host)
        .exp(host);
    let steps = ArrayD::from_shape_fn(IxDyn(&[t.len(), 1]), |i| t[i[0]]);
    let phase = Tracked::exact(steps).mul(&frequency, host);
    Ok(Tracked::concat(&[&phase.cos(host), &phase.sin(host)], 1).stored_as(p))
}

/// [`nn::positional_features`], computed in `f64` on the host and rounded once to precision `p`.
///
/// # Errors
/// Those of [`nn::positional_features`].
pub fn positional_features(noise: &[f64], dim: usize, p: Precision) -> Result<Tracked, NnError> {
    nn::positional_features(noise, dim)?;
    let host = Precision::F64;
    let half = dim / 2;
    let step = |i: usize| -(i as f64) / (half - 1) as f64;
    let exponent = ArrayD::from_shape_fn(IxDyn(&[1, half]), |i| step(i[1]));
    let omega = Tracked::rounded(exponent, host)
        .scale(10_000_f64.ln(), host)
        .exp(host);
    Ok(waves(noise, &omega, p))
}

/// [`nn::fourier_features`], computed in `f64` on the host and rounded once to precision `p`.
pub fn fourier_features(noise: &[f64], frequencies: &Tracked, p: Precision) -> Tracked {
    let host = Precision::F64;
    let omega = frequencies.scale(std::f64::consts::TAU, host);
    waves(noise, &omega.reshape(&[1, frequencies.value.len()]), p)
}

fn waves(noise: &[f64], omega: &Tracked, p: Precision) -> Tracked {
    let host = Precision::F64;
    let noise = ArrayD::from_shape_fn(IxDyn(&[noise.len(), 1]), |i| noise[i[0]]);
    let phase = Tracked::exact(noise).mul(omega, host);
    Tracked::concat(&[&phase.cos(host), &phase.sin(host)], 1).stored_as(p)
}
