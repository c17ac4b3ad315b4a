//! `cosine`: Variance preserving, α_t = cos(πt/2).

use super::{Kind, Schedule};
use crate::choice::Entry;
use std::f64::consts::{FRAC_PI_2, PI};

impl Schedule {
    /// Variance preserving, α_t = cos(πt/2).
    pub const COSINE: Self = Self::new(&Entry::new("cosine", Cosine));
}

struct Cosine;

impl Kind for Cosine {
    fn alpha(&self, t: f64) -> f64 {
        // cos(πt/2), written so that it is exactly 0 at t = 1.
        (FRAC_PI_2 * (1.0 - t)).sin()
    }

    fn sigma(&self, t: f64) -> f64 {
        (FRAC_PI_2 * t).sin()
    }

    fn t_of_sigma_ratio(&self, ratio: f64) -> f64 {
        ratio.max(0.0).atan() / FRAC_PI_2
    }

    fn lambda_grad(&self, t: f64) -> f64 {
        -PI / (self.alpha(t) * self.sigma(t))
    }

    fn snr_grad(&self, t: f64) -> f64 {
        -PI * self.alpha(t) * self.sigma(t).powi(-3)
    }
}
