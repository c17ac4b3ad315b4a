//! Bounds for the schedules, by each of the usual formulas.

use ndarray::{Array1, ArrayD};

use super::{Precision, Tracked};
use crate::schedule::{ScheduleError, ScheduleKind};

/// Bounds for a schedule at several times, each of shape `[N]`.
#[derive(Debug, Clone, PartialEq)]
pub struct LevelsBound {
    /// α.
    pub alpha: Tracked,
    /// σ.
    pub sigma: Tracked,
    /// λ.
    pub lambda: Tracked,
    /// dλ/dt.
    pub lambda_grad: Tracked,
    /// c where dSNR/dt may also be computed as −c α/σ³.
    pub snr_slope: Option<f64>,
}

/// Bounds for α, σ, λ and dλ/dt at the exact times `t`; λ by its own formula or as `2 ln(α/σ)`.
///
/// # Errors
/// [`ScheduleError::OutsideDomain`].
pub fn levels(kind: ScheduleKind, t: &[f64], p: Precision) -> Result<LevelsBound, ScheduleError> {
    let schedule = kind.schedule();
    for &t in t {
        schedule.check(t)?;
    }
    let bound = kind.levels(t, p);
    let of = |f: &dyn Fn(f64) -> f64| -> ArrayD<f64> {
        t.iter().map(|&t| f(t)).collect::<Array1<f64>>().into_dyn()
    };
    Ok(LevelsBound {
        alpha: bound.alpha.recentred(of(&|t| schedule.alpha(t))),
        sigma: bound.sigma.recentred(of(&|t| schedule.sigma(t))),
        lambda: bound.lambda.recentred(of(&|t| schedule.lambda(t))),
        lambda_grad: bound
            .lambda_grad
            .recentred(of(&|t| schedule.lambda_grad(t))),
        snr_slope: bound.snr_slope,
    })
}

/// `2 ln(α/σ)`.
pub(crate) fn log_ratio(alpha: &Tracked, sigma: &Tracked, p: Precision) -> Tracked {
    alpha.div(sigma, p).ln(p).scale(2.0, p)
}

/// The same number for every time.
pub(crate) fn constant(c: f64, like: &Tracked, p: Precision) -> Tracked {
    Tracked::scalar(c, p).broadcast_to(like.shape())
}
