//! The Fréchet distance for infinitely many samples, by a line in 1/N.

use super::error::{MetricError, refused, too_few_values};

/// A line fitted to distances over 1/N.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Extrapolation {
    /// The value at 1/N = 0.
    pub intercept: f64,
    /// Its growth with 1/N: the bias of N samples is slope/N.
    pub slope: f64,
    /// Standard error of the intercept from the residuals; NaN never: absent with two points.
    pub standard_error: Option<f64>,
}

/// Least-squares line through (1/N_i, F_i), read at 0. `[eq:frechet-infinity]`
///
/// # Formula
/// ```text
/// F_i ≈ F_∞ + s/N_i
/// ```
///
/// # Shapes
/// At least two different N_i ≥ 1.
///
/// # Errors
/// [`MetricError::Argument`].
///
/// # Source
/// Chong and Forsyth 2020 (arXiv:1911.07023), Sec. 3: 15 sizes, evenly spaced from 5000 to all.
pub fn extrapolate(points: &[(usize, f64)]) -> Result<Extrapolation, MetricError> {
    if let Some((_, got)) = points.iter().find(|(_, f)| !f.is_finite()) {
        return Err(refused("a distance", "be finite", *got));
    }
    if points.iter().any(|(n, _)| *n == 0) {
        return Err(refused("a number of samples", "be at least 1", 0.0));
    }
    let x: Vec<f64> = points.iter().map(|(n, _)| 1.0 / *n as f64).collect();
    let count = points.len() as f64;
    let different = x.iter().any(|v| (v - x[0]).abs() > 0.0);
    if !different {
        return Err(too_few_values(
            "the sizes to extrapolate from",
            2,
            usize::from(!points.is_empty()),
        ));
    }
    let mean_x = x.iter().sum::<f64>() / count;
    let mean_y = points.iter().map(|(_, f)| f).sum::<f64>() / count;
    let sxx: f64 = x.iter().map(|x| (x - mean_x).powi(2)).sum();
    let sxy: f64 = x
        .iter()
        .zip(points)
        .map(|(x, (_, f))| (x - mean_x) * (f - mean_y))
        .sum();
    let slope = sxy / sxx;
    let intercept = mean_y - slope * mean_x;
    let residual = |(x, (_, f)): (&f64, &(usize, f64))| (f - intercept - slope * x).powi(2);
    let left: f64 = x.iter().zip(points).map(residual).sum();
    let standard_error = (points.len() > 2)
        .then(|| (left / (count - 2.0) * (1.0 / count + mean_x * mean_x / sxx)).sqrt());
    Ok(Extrapolation {
        intercept,
        slope,
        standard_error,
    })
}
