//! `rectified-flow`.

use std::f64::consts::FRAC_PI_2;

use super::{Kind, Schedule, ScheduleKind};
use crate::bound::schedule::{LevelsBound, constant, log_ratio};
use crate::bound::{Precision, Tracked};
use crate::choice::Entry;

const KIND: Kind = Kind {
    schedule: || Box::new(RectifiedFlow),
    levels,
};

impl ScheduleKind {
    /// `rectified-flow`: [`RectifiedFlow`].
    pub const RECTIFIED_FLOW: Self = Self::new(&Entry::new("rectified-flow", KIND));
}

/// Straight interpolation: `α_t = 1 − t`, `σ_t = t` on [0, 1]. `[eq:rectified-flow]`
/// ```text
/// λ_t = 2 ln((1−t)/t)    dλ/dt = −2/(t(1−t))    σ²_{t|s} = (t − s)(t + s − 2ts)/(1 − s)²
/// ```
/// Exact at both ends: α_1 = 0 and λ_1 = −∞.
///
/// # Source
/// Liu et al. 2023 (arXiv:2209.03003).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RectifiedFlow;

impl Schedule for RectifiedFlow {
    fn alpha(&self, t: f64) -> f64 {
        1.0 - t
    }
    fn sigma(&self, t: f64) -> f64 {
        t
    }
    fn lambda(&self, t: f64) -> f64 {
        2.0 * ((1.0 - t) / t).ln()
    }
    fn lambda_grad(&self, t: f64) -> f64 {
        -2.0 / (t * (1.0 - t))
    }
    fn domain(&self) -> (f64, f64) {
        (0.0, 1.0)
    }
    fn sigma2_transition(&self, s: f64, t: f64) -> f64 {
        if s >= t {
            return 0.0;
        }
        // t + s − 2ts = t(1 − s) + s(1 − t), a sum of non-negative terms.
        (t - s) * (t * (1.0 - s) + s * (1.0 - t)) / (1.0 - s).powi(2)
    }
    fn t_of_lambda(&self, lambda: f64) -> f64 {
        1.0 / (1.0 + (0.5 * lambda).exp())
    }
}

/// Bound for the levels.
fn levels(t: &Tracked, _: &[f64], p: Precision) -> LevelsBound {
    let alpha = constant(1.0, t, p).sub(t, p);
    let logs = alpha.ln(p).sub(&t.ln(p), p).scale(2.0, p);
    LevelsBound {
        lambda: log_ratio(&alpha, t, p).either(&logs),
        lambda_grad: alpha.mul(t, p).recip(p).scale(-2.0, p),
        alpha,
        sigma: t.clone(),
        snr_slope: Some(2.0 * FRAC_PI_2),
    }
}
