//! Diversity: how far apart the samples of one condition are.

use ndarray::ArrayView2;

use super::error::MetricError;

/// Mean distance of the pairs of different samples. `[eq:mean-pairwise-distance]`
///
/// With perceptual distances (LPIPS) of the samples drawn under one condition, this is LPIPS diversity.
///
/// # Formula
/// ```text
/// 2/(N(N−1)) Σ_{i<j} d_ij
/// ```
///
/// # Shapes
/// `distances: [N, N]`, N ≥ 2, symmetric, finite, ≥ 0, zero on the diagonal.
///
/// # Errors
/// [`MetricError::Distances`], [`MetricError::TooFew`].
///
/// # Source
/// Zhu et al. 2017 (arXiv:1711.11586), Sec. 5.
pub fn mean_pairwise_distance(distances: ArrayView2<f64>) -> Result<f64, MetricError> {
    let (rows, columns) = distances.dim();
    let refused = |row, column, got| MetricError::Distances {
        row,
        column,
        rows,
        columns,
        got,
    };
    if rows < 2 {
        return Err(MetricError::TooFew {
            what: "distances",
            least: 2,
            metric: "a mean distance",
            got: rows,
        });
    }
    let mut sum = 0.0;
    for ((i, j), &d) in distances.indexed_iter() {
        let mirrored = distances.get((j, i)).copied().unwrap_or(f64::NAN);
        let good = d.is_finite() && d >= 0.0 && (i != j || d == 0.0);
        if !good || (d - mirrored).abs() > 0.0 || mirrored.is_nan() {
            return Err(refused(i, j, d));
        }
        if i < j {
            sum += d;
        }
    }
    Ok(2.0 * sum / (rows as f64 * (rows as f64 - 1.0)))
}
