//! `vp-linear`: Variance preserving with a linear β.

use super::{Kind, Schedule};
use crate::choice::Entry;

/// β at t = 0.
const BETA_MIN: f64 = 0.1;
/// β at t = 1.
const BETA_MAX: f64 = 20.0;

impl Schedule {
    /// Variance preserving with a linear β.
    pub const VP_LINEAR: Self = Self::new(&Entry::new("vp-linear", VpLinear));
}

struct VpLinear;

impl Kind for VpLinear {
    fn alpha(&self, t: f64) -> f64 {
        (-0.5 * beta_integral(t)).exp()
    }

    fn sigma(&self, t: f64) -> f64 {
        (-(-beta_integral(t)).exp_m1()).sqrt()
    }

    fn sigma_ratio(&self, t: f64) -> f64 {
        beta_integral(t).exp_m1().sqrt()
    }

    fn t_of_sigma_ratio(&self, ratio: f64) -> f64 {
        vp_time(ratio).clamp(0.0, 1.0)
    }

    fn lambda(&self, t: f64) -> f64 {
        -beta_integral(t).exp_m1().ln()
    }

    fn lambda_grad(&self, t: f64) -> f64 {
        let beta = BETA_MIN + (BETA_MAX - BETA_MIN) * t;
        beta / (-beta_integral(t)).exp_m1()
    }
}

/// The t at which `vp-linear`, continued beyond its end, has σ_t/α_t = `ratio`.
pub(crate) fn vp_time(ratio: f64) -> f64 {
    let b = (ratio * ratio).ln_1p();
    let slope = BETA_MAX - BETA_MIN;
    let root = BETA_MIN.mul_add(BETA_MIN, 2.0 * slope * b).sqrt();
    2.0 * b / (BETA_MIN + root)
}

/// B(t) = ∫₀ᵗ β = β_min t + ½(β_max − β_min) t².
fn beta_integral(t: f64) -> f64 {
    t * (BETA_MIN + 0.5 * (BETA_MAX - BETA_MIN) * t)
}
