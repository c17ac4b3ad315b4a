//! How far a computed transport cost, and the cost of an assignment chosen by it, may be from the exact one.

use ndarray::{Array2, ArrayView2, Axis};

use super::Precision;
use crate::coupling::{Cost, rounding};

/// A bound δ_ij for the error of c(x_i, ε_j) computed as ‖x‖² + ‖ε‖² − 2⟨x, ε⟩, or from differences, with inner products in
/// `p` and the rest in f64.
///
/// # Formula
/// ```text
/// |⟨x, ε⟩ − computed| ≤ n u Σ_k |x_k ε_k| ≤ n u ‖x‖ ‖ε‖
/// e = 2 n u ‖x‖ ‖ε‖ + (n + 4) 2⁻⁵³ · 2 (‖x‖² + ‖ε‖²),   |√a − √b| ≤ |a − b|/(√a + √b), and at most √|a − b|
/// ```
/// with n for the products and additions of a sum of n terms, and a factor for the second order; and 8 u (max c − min c), for a
/// solver that rounds costs to whole numbers so that its own arithmetic is exact: half a step of 8 u of the range, and half a step more
/// where the division by it rounds. That range is of computed costs: a factor 1 + 32 u.
///
/// # Shapes
/// images, noise `[N, d]`, costs `[N, N]` → `[N, N]`.
pub fn costs(
    images: ArrayView2<'_, f64>,
    noise: ArrayView2<'_, f64>,
    costs: &Array2<f64>,
    cost: Cost,
    p: Precision,
) -> Array2<f64> {
    let host = Precision::F64.unit;
    let terms = images.ncols() as f64;
    let second_order = 1.0 / (1.0 - (terms * p.unit).min(0.5));
    let norms = |x: ArrayView2<'_, f64>| x.mapv(|v| v * v).sum_axis(Axis(1));
    let (images, noise) = (norms(images), norms(noise));
    let least = costs.iter().copied().fold(f64::INFINITY, f64::min);
    let range = costs.iter().copied().fold(0.0, f64::max) - least;
    let whole = 8.0 * p.unit * range;
    Array2::from_shape_fn(costs.dim(), |(i, j)| {
        let (x, eps, c) = (images[i], noise[j], costs[[i, j]]);
        let products = terms * (p.unit * (x * eps).sqrt() + p.tiny) * second_order;
        let error = 2.0 * products + 2.0 * (terms + 4.0) * host * (x + eps);
        let error = match cost {
            Cost::SquaredEuclidean => error + 2.0 * host * c,
            Cost::Euclidean => {
                let least = (c * c - error).max(0.0).sqrt();
                error.sqrt().min(error / (c + least)) + 2.0 * host * c
            }
        };
        whole + error * (1.0 + 32.0 * p.unit)
    })
}

/// How much more an assignment may cost than the best, if it is the best of costs that are off by at most `errors`.
///
/// # Formula
/// ```text
/// c̃ within δ of c, π̃ best for c̃, π best for c:   Σ c(i, π̃(i)) − Σ c(i, π(i)) ≤ Σ (δ(i, π̃(i)) + δ(i, π(i))) ≤ 2 Σ_i max_j δ_ij
/// ```
/// and what the reference's own arithmetic adds, [`rounding`] for each image.
pub fn excess(costs: &Array2<f64>, errors: &Array2<f64>) -> f64 {
    let worst = |row: ndarray::ArrayView1<'_, f64>| row.iter().copied().fold(0.0, f64::max);
    let count = costs.nrows() as f64;
    2.0 * errors.rows().into_iter().map(worst).sum::<f64>() + count * rounding(costs)
}

/// A bound for the error of a mean of `count` costs whose squares are sums of `terms` squared differences in `p`.
///
/// # Formula
/// ```text
/// ((n + 4) u + 2 N 2⁻⁵³)/(1 − …) · mean
/// ```
/// A difference is rounded once, so its square carries two roundings, its own one, and a sum of n terms of one sign adds n; the
/// root only halves that. The mean of N of them runs in f64, here and there.
pub fn mean_error(count: usize, terms: usize, mean: f64, p: Precision) -> f64 {
    let units = (terms as f64 + 4.0) * p.unit + 2.0 * count as f64 * Precision::F64.unit;
    mean * units / (1.0 - units.min(0.5))
}
