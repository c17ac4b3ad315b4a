//! `vp-linear`.

use super::{Kind, Schedule, ScheduleError, ScheduleKind, check_rates};
use crate::bound::schedule::{LevelsBound, constant, log_ratio};
use crate::bound::{Precision, Tracked};
use crate::choice::Entry;

const KIND: Kind = Kind {
    schedule: || Box::new(VpLinear::default()),
    levels,
};

impl ScheduleKind {
    /// `vp-linear`: [`VpLinear`], β from 0.1 to 20.
    pub const VP_LINEAR: Self = Self::new(&Entry::new("vp-linear", KIND));
}

/// Variance preserving, with noise rate `β(t) = β_min + (β_max − β_min) t` on [0, 1]. `[eq:vp-linear]`
/// ```text
/// b_t = ∫₀ᵗ β = β_min t + ½ (β_max − β_min) t²
/// α_t = exp(−b_t/2)    σ_t² = −expm1(−b_t)    λ_t = −ln expm1(b_t)
/// ```
/// Exact at t = 0: α = 1, σ = 0, λ = +∞.
///
/// # Source
/// Song et al. 2021 (arXiv:2011.13456), Appendix C; β from 0.1 to 20 by default.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VpLinear {
    beta_min: f64,
    beta_max: f64,
}

impl VpLinear {
    /// Noise rates at t = 0 and t = 1, with 0 < `beta_min` ≤ `beta_max` < 1000.
    ///
    /// # Errors
    /// [`ScheduleError::Rates`]; beyond 1000 the signal underflows.
    pub fn new(beta_min: f64, beta_max: f64) -> Result<Self, ScheduleError> {
        check_rates(beta_min, beta_max, 1000.0)?;
        Ok(Self { beta_min, beta_max })
    }

    /// `∫_s^t β = (t − s) (β_min + ½ (β_max − β_min)(s + t))`.
    fn integral(self, s: f64, t: f64) -> f64 {
        (t - s) * (self.beta_min + 0.5 * (self.beta_max - self.beta_min) * (s + t))
    }
}

impl Default for VpLinear {
    fn default() -> Self {
        Self {
            beta_min: 0.1,
            beta_max: 20.0,
        }
    }
}

impl Schedule for VpLinear {
    fn alpha(&self, t: f64) -> f64 {
        (-0.5 * self.integral(0.0, t)).exp()
    }
    fn sigma(&self, t: f64) -> f64 {
        (-(-self.integral(0.0, t)).exp_m1()).sqrt()
    }
    fn lambda(&self, t: f64) -> f64 {
        -self.integral(0.0, t).exp_m1().ln()
    }
    fn lambda_grad(&self, t: f64) -> f64 {
        let beta = self.beta_min + (self.beta_max - self.beta_min) * t;
        beta / (-self.integral(0.0, t)).exp_m1()
    }
    fn domain(&self) -> (f64, f64) {
        (0.0, 1.0)
    }
    fn sigma2_transition(&self, s: f64, t: f64) -> f64 {
        -(-self.integral(s, t)).exp_m1()
    }
    fn t_of_lambda(&self, lambda: f64) -> f64 {
        // b = ln(1 + e^{−λ}), then the positive root of ½(β_max − β_min) t² + β_min t = b.
        let b = (-lambda).max(0.0) + (-lambda.abs()).exp().ln_1p();
        let root = (self.beta_min.powi(2) + 2.0 * (self.beta_max - self.beta_min) * b).sqrt();
        2.0 * b / (self.beta_min + root)
    }
}

/// Bound for the levels.
fn levels(t: &Tracked, _: &[f64], p: Precision) -> LevelsBound {
    let (beta_min, beta_max) = (0.1, 20.0);
    let slope = constant(beta_max, t, p).sub(&constant(beta_min, t, p), p);
    let b = t
        .scale(beta_min, p)
        .add(&t.square(p).mul(&slope, p).scale(0.5, p), p);
    let beta = t.mul(&slope, p).add_scalar(beta_min, p);
    let alpha = b.scale(-0.5, p).exp(p);
    let sigma2 = b.neg().expm1(p).neg();
    let sigma = sigma2.sqrt(p);
    LevelsBound {
        lambda: b.expm1(p).ln(p).neg().either(&log_ratio(&alpha, &sigma, p)),
        lambda_grad: beta.div(&sigma2, p).neg(),
        alpha,
        sigma,
        snr_slope: None,
    }
}
