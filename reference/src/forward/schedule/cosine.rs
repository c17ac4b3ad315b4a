//! `cosine`.

use std::f64::consts::{FRAC_PI_2, PI};

use super::{Kind, Schedule, ScheduleKind};
use crate::bound::schedule::{LevelsBound, constant, log_ratio};
use crate::bound::{Precision, Tracked};
use crate::choice::Entry;

const KIND: Kind = Kind {
    schedule: || Box::new(Cosine),
    levels,
};

impl ScheduleKind {
    /// `cosine`: [`Cosine`].
    pub const COSINE: Self = Self::new(&Entry::new("cosine", KIND));
}

/// Variance preserving on a quarter circle: `α_t = cos(πt/2)`, `σ_t = sin(πt/2)` on [0, 1]. `[eq:cosine]`
/// ```text
/// λ_t = −2 ln tan(πt/2)    dλ/dt = −2π / sin(πt)    σ²_{t|s} = sin(π(t−s)/2) sin(π(t+s)/2) / cos²(πs/2)
/// ```
/// Exact at both ends: α_1 = 0 and λ_1 = −∞, without the offset and the clipping of the discrete original.
///
/// # Source
/// Nichol & Dhariwal 2021 (arXiv:2102.09672), Eq. 17, with s = 0; Kingma & Gao 2023 (arXiv:2303.00848), Table 1.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Cosine;

impl Schedule for Cosine {
    fn alpha(&self, t: f64) -> f64 {
        (FRAC_PI_2 * (1.0 - t)).sin()
    }
    fn sigma(&self, t: f64) -> f64 {
        (FRAC_PI_2 * t).sin()
    }
    fn lambda(&self, t: f64) -> f64 {
        2.0 * (self.alpha(t) / self.sigma(t)).ln()
    }
    fn lambda_grad(&self, t: f64) -> f64 {
        -PI / (self.alpha(t) * self.sigma(t))
    }
    fn domain(&self) -> (f64, f64) {
        (0.0, 1.0)
    }
    fn sigma2_transition(&self, s: f64, t: f64) -> f64 {
        if s >= t {
            return 0.0;
        }
        // sin(π(t+s)/2) = sin(π(1 − (t+s)/2)): the second form is exact near t = s = 1.
        let sine_of_sum = (FRAC_PI_2 * (t + s).min((1.0 - t) + (1.0 - s))).sin();
        (FRAC_PI_2 * (t - s)).sin() * sine_of_sum / self.alpha(s).powi(2)
    }
    fn t_of_lambda(&self, lambda: f64) -> f64 {
        (-0.5 * lambda).exp().atan() / FRAC_PI_2
    }
}

/// Bound for the levels.
fn levels(t: &Tracked, _: &[f64], p: Precision) -> LevelsBound {
    let angle = t.scale(FRAC_PI_2, p);
    let complement = constant(1.0, t, p).sub(t, p).scale(FRAC_PI_2, p);
    let alpha = complement.sin(p).either(&angle.cos(p));
    let sigma = angle.sin(p);
    LevelsBound {
        lambda: log_ratio(&alpha, &sigma, p),
        lambda_grad: alpha.mul(&sigma, p).recip(p).scale(-2.0 * FRAC_PI_2, p),
        alpha,
        sigma,
        snr_slope: Some(2.0 * FRAC_PI_2),
    }
}
