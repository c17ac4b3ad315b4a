//! The Fréchet distance between two Gaussians with the moments of two sets of features.

use super::error::{MetricError, check_columns, finite};
use super::factor::{Factor, Moments};
use super::features::FeatureView;
use crate::linalg::polar_factor;

/// A squared Fréchet distance, and whether the samples suffice for it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Frechet {
    /// ‖μ_a − μ_b‖² ≥ 0.
    pub mean_term: f64,
    /// Tr(Σ_a + Σ_b − 2 (Σ_a^{1/2} Σ_b Σ_a^{1/2})^{1/2}) ≥ 0.
    pub trace_term: f64,
    /// Whether a covariance has not its full rank because there are no more samples than features (N ≤ d). The
    /// distance is defined then, but says more about N than about the law.
    pub rank_deficient: bool,
}

impl Frechet {
    /// The sum of both terms: what is called FID in Inception features, and only there.
    pub fn distance(&self) -> f64 {
        self.mean_term + self.trace_term
    }
}

/// Squared Fréchet distance of two sets of features. `[eq:frechet]`
///
/// # Formula
/// ```text
/// FD = ‖μ_a − μ_b‖² + Tr(Σ_a + Σ_b − 2 (Σ_a^{1/2} Σ_b Σ_a^{1/2})^{1/2})
///    = ‖μ_a − μ_b‖² + min over orthogonal W of ‖R_a − W R_b‖²_F,      Σ = RᵀR
/// ```
/// computed in the second form `[eq:frechet-procrustes]`, with W the polar factor of R_a R_bᵀ: no difference of large
/// traces, no square root of a rounding error, never negative, and right for covariances of any rank.
///
/// # Shapes
/// `a: [N, d]`, `b: [M, d]`, N, M ≥ 2; covariances over N−1 and M−1.
///
/// # Error
/// O(d·u)·(‖R_a‖ + ‖R_b‖)·√trace_term, and d·u of the mean term: relative to the *distance*, not to the traces.
///
/// # Errors
/// [`MetricError`]: what is wrong with which set and where; never a NaN.
///
/// # Source
/// Dowson and Landau 1982; Heusel et al. 2017 (arXiv:1706.08500) for its use. The Procrustes form: Bhatia, Jain and Lim
/// 2019 (arXiv:1712.01504).
pub fn frechet<'a, 'b>(
    a: impl Into<FeatureView<'a>>,
    b: impl Into<FeatureView<'b>>,
) -> Result<Frechet, MetricError> {
    let (a, b) = (a.into(), b.into());
    check_columns(("a", a.ncols()), ("b", b.ncols()))?;
    frechet_of_factors(&Factor::of_features("a", a)?, &Factor::of_features("b", b)?)
}

/// Squared Fréchet distance of two means and covariances, as from stored statistics.
///
/// # Error
/// A covariance holds only half the digits of its own square root: where it is singular, errors of u‖Σ‖ in its elements
/// move the distance by up to d√u‖Σ‖. From the features, [`frechet`] has no such loss.
///
/// # Errors
/// As [`frechet`]; a covariance that is not symmetric or not positive.
pub fn frechet_of_moments(a: &Moments, b: &Moments) -> Result<Frechet, MetricError> {
    check_columns(("a", a.mean.len()), ("b", b.mean.len()))?;
    frechet_of_factors(
        &Factor::of_moments("a", a, None)?,
        &Factor::of_moments("b", b, None)?,
    )
}

/// Squared Fréchet distance from factors of the covariances; see [`frechet`].
///
/// # Errors
/// [`MetricError::Argument`], [`MetricError::Overflow`], [`MetricError::Linalg`].
pub fn frechet_of_factors(a: &Factor, b: &Factor) -> Result<Frechet, MetricError> {
    check_columns(("a", a.mean.len()), ("b", b.mean.len()))?;
    let metric = "the Fréchet distance";
    let shift = &a.mean - &b.mean;
    let mean_term = finite(metric, shift.dot(&shift))?;
    Ok(Frechet {
        mean_term,
        trace_term: finite(metric, bures(a, b)?)?,
        rank_deficient: a.is_rank_deficient() || b.is_rank_deficient(),
    })
}

/// min over orthogonal W of ‖R_a − W R_b‖²_F, the squared Bures distance of the covariances.
fn bures(a: &Factor, b: &Factor) -> Result<f64, MetricError> {
    let rows = a.root.nrows().max(b.root.nrows());
    if rows == 0 {
        return Ok(0.0);
    }
    let (a, b) = (a.padded(rows), b.padded(rows));
    let product = a.dot(&b.t());
    let squared = |x: &ndarray::Array2<f64>| x.iter().map(|x| x * x).sum::<f64>();
    finite("the Fréchet distance", squared(&product))?;
    let w = polar_factor(&product)?;
    Ok(squared(&(a - w.dot(&b))))
}
