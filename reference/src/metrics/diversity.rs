//! Diversity: how far apart the samples of one condition are.

use ndarray::ArrayView2;

use super::error::{MetricError, refused, too_few, too_few_values};

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
/// [`MetricError::Argument`].
///
/// # Source
/// Zhu et al. 2017 (arXiv:1711.11586), Sec. 5.
pub fn mean_pairwise_distance(distances: ArrayView2<f64>) -> Result<f64, MetricError> {
    let (rows, columns) = distances.dim();
    let no_distance = |row: usize, column: usize, got: f64| {
        let must = "be a symmetric matrix, finite and >= 0 with zero diagonal";
        let got = format!("{got} as element ({row}, {column}) of [{rows}, {columns}]");
        refused("distances", must, got)
    };
    if rows < 2 {
        return Err(too_few("distances", 2, "a mean distance", rows));
    }
    let mut sum = 0.0;
    for ((i, j), &d) in distances.indexed_iter() {
        let mirrored = distances.get((j, i)).copied().unwrap_or(f64::NAN);
        let good = d.is_finite() && d >= 0.0 && (i != j || d == 0.0);
        if !good || (d - mirrored).abs() > 0.0 || mirrored.is_nan() {
            return Err(no_distance(i, j, d));
        }
        if i < j {
            sum += d;
        }
    }
    Ok(2.0 * sum / (rows as f64 * (rows as f64 - 1.0)))
}

/// A mean pairwise distance with its error.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairwiseMean {
    /// The mean over pairs of different samples.
    pub value: f64,
    /// Its standard error by the jackknife.
    pub standard_error: f64,
}

/// Mean *squared* distance of the pairs of N vectors, from their squared distances q to their mean. `[eq:pairwise-deviations]`
///
/// Squared distances of vectors need no pairs: two passes over the vectors, whatever their number.
///
/// # Formula
/// ```text
/// 2/(N(N−1)) Σ_{i<j} ‖φ_i − φ_j‖² = 2/(N−1) Σ_i q_i,       q_i = ‖φ_i − φ̄‖²
/// without sample k:  D_(k) = 2 ((N−1) Q − N q_k)/((N−1)(N−2)),   Q = Σ_i q_i,       s² = (N−1)/N Σ_k (D_(k) − D_(·))²
/// ```
///
/// # Shapes
/// `deviations: [N]`, N ≥ 3, finite and ≥ 0.
///
/// # Errors
/// [`MetricError::Argument`].
///
/// # Source
/// The identity of Huygens and Steiner; Arvesen 1969 for the jackknife of a U-statistic.
pub fn mean_pairwise_of_deviations(deviations: &[f64]) -> Result<PairwiseMean, MetricError> {
    if deviations.len() < 3 {
        return Err(too_few_values("deviations", 3, deviations.len()));
    }
    if let Some(&got) = deviations.iter().find(|q| !(q.is_finite() && **q >= 0.0)) {
        return Err(refused("a deviation", "be finite and >= 0", got));
    }
    let n = deviations.len() as f64;
    let total: f64 = deviations.iter().sum();
    let mean = total / n;
    // D_(k) − D_(·) = −2N (q_k − q̄)/((N−1)(N−2)).
    let spread: f64 = deviations.iter().map(|q| (q - mean).powi(2)).sum();
    let factor = 2.0 * n / ((n - 1.0) * (n - 2.0));
    Ok(PairwiseMean {
        value: 2.0 * total / (n - 1.0),
        standard_error: factor * ((n - 1.0) / n * spread).sqrt(),
    })
}
