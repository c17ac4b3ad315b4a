//! Bounds for the layers of networks that are only run.

use super::conv2d;
use crate::bound::{Precision, Tracked};
use crate::nn::{self, Conv2dOptions, Interpolation, NnError};
use ndarray::{Array2, ArrayD};

/// Roundings of the position of an output against a pixel: ratio, product, shift, difference, each of a number up to the side.
const POSITION_UNITS: f64 = 4.0;
/// By how much a weight moves with its position, at most. A hat has slope 1. The cubic kernel κ has |κ′| ≤ 25/18 < 1.4 and four terms in a
/// sum Σ ≥ ½ (reached at the edge, where half of the kernel is cut off), so κ/Σ has 1.4/½ + κ · 4 · 1.4/¼ < 26.
const SLOPE: f64 = 26.0;
/// Roundings of a weight at a given position: six of numbers up to 10 in κ, the same in the four terms of Σ, by which it is divided:
/// `(60 + 2 · 4 · 60)/½`.
const KERNEL_UNITS: f64 = 1080.0;

/// Convolution, then [`nn::batch_norm`], computed as one convolution in precision `p` with weights folded in f64 and rounded once.
///
/// # Errors
/// Those of [`nn::conv2d`] and [`nn::batch_norm`].
pub fn conv2d_batch_norm(
    x: &Tracked,
    weight: &Tracked,
    [gamma, beta]: [&Tracked; 2],
    [mean, variance]: [&Tracked; 2],
    eps: f64,
    options: Conv2dOptions,
    p: Precision,
) -> Result<Tracked, NnError> {
    const WIDE: Precision = Precision::F64;
    let outputs = gamma.value.len();
    let none = ArrayD::zeros(vec![outputs]);
    let plain = nn::conv2d(&x.value, &weight.value, &none, options)?;
    let value = nn::batch_norm(
        &plain,
        [&gamma.value, &beta.value],
        [&mean.value, &variance.value],
        eps,
    )?;
    let scale = gamma.div(&variance.add_scalar(eps, WIDE).sqrt(WIDE), WIDE);
    let folded = weight
        .mul(&scale.reshape(&[outputs, 1, 1, 1]), WIDE)
        .stored_as(p);
    let bias = beta.sub(&scale.mul(mean, WIDE), WIDE).stored_as(p);
    Ok(conv2d(x, &folded, &bias, options, p)?.recentred(value))
}

/// [`nn::avg_pool`] in precision `p` over 3×3 around each pixel: a mean of rows of means of columns, or one sum over the window.
///
/// # Errors
/// Those of [`nn::avg_pool`].
pub fn avg_pool3(x: &Tracked, p: Precision) -> Result<Tracked, NnError> {
    let value = nn::avg_pool(
        &x.value,
        3,
        Conv2dOptions {
            stride: 1,
            padding: 1,
        },
    )?;
    let means = |side: usize| {
        let inside = |i: usize, j: usize| i.abs_diff(j) <= 1;
        Array2::from_shape_fn((side, side), |(i, j)| {
            let count = (0..side).filter(|&j| inside(i, j)).count();
            if inside(i, j) {
                1.0 / count as f64
            } else {
                0.0
            }
        })
    };
    let (height, width) = (x.shape()[2], x.shape()[3]);
    let [rows, columns] = [means(height), means(width)].map(|m| Tracked::rounded(m.into_dyn(), p));
    Ok(separable(x, &rows, &columns, p).recentred(value))
}

/// [`nn::interpolate`] in precision `p`, columns first, with weights computed in f64 and rounded once.
///
/// # Errors
/// Those of [`nn::interpolate`].
pub fn interpolate(
    x: &Tracked,
    rule: Interpolation,
    to: (usize, usize),
    p: Precision,
) -> Result<Tracked, NnError> {
    let value = nn::interpolate(&x.value, rule, to)?;
    let weights = |from: usize, to: usize| {
        let rows = nn::interpolation_weights(rule, from, to);
        let matrix = Array2::from_shape_fn((to, from), |(i, k)| rows[i][k]);
        let units = SLOPE * POSITION_UNITS * (from + to) as f64 + KERNEL_UNITS;
        // A weight that is 0 by the formula may be a rounding error where a position falls on a pixel.
        let error = matrix.mapv(|_| units * Precision::F64.unit);
        Tracked {
            value: matrix.into_dyn(),
            error: error.into_dyn(),
        }
        .stored_as(p)
    };
    let (height, width) = (x.shape()[2], x.shape()[3]);
    let y = separable(x, &weights(height, to.0), &weights(width, to.1), p);
    Ok(y.recentred(value))
}

/// `R x Cᵀ` of each channel, columns first.
fn separable(x: &Tracked, rows: &Tracked, columns: &Tracked, p: Precision) -> Tracked {
    let s = x.shape();
    let (b, c, h, w) = (s[0], s[1], s[2], s[3]);
    let (to_h, to_w) = (rows.shape()[0], columns.shape()[0]);
    x.reshape(&[b * c * h, w])
        .matmul(&columns.transpose(), p)
        .reshape(&[b * c, h, to_w])
        .permute(&[0, 2, 1])
        .reshape(&[b * c * to_w, h])
        .matmul(&rows.transpose(), p)
        .reshape(&[b, c, to_w, to_h])
        .permute(&[0, 1, 3, 2])
}
