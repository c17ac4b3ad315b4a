//! `rectified-flow`: Straight lines from data to noise.

use super::{Kind, Schedule};
use crate::choice::Entry;

impl Schedule {
    /// Straight lines from data to noise.
    pub const RECTIFIED_FLOW: Self = Self::new(&Entry::new("rectified-flow", RectifiedFlow));
}

struct RectifiedFlow;

impl Kind for RectifiedFlow {
    fn alpha(&self, t: f64) -> f64 {
        1.0 - t
    }

    fn sigma(&self, t: f64) -> f64 {
        t
    }

    fn t_of_sigma_ratio(&self, ratio: f64) -> f64 {
        if ratio.is_infinite() {
            1.0
        } else {
            ratio.max(0.0) / (1.0 + ratio.max(0.0))
        }
    }

    fn lambda(&self, t: f64) -> f64 {
        2.0 * ((-t).ln_1p() - t.ln())
    }

    fn lambda_grad(&self, t: f64) -> f64 {
        -2.0 / (t * (1.0 - t))
    }

    fn snr_grad(&self, t: f64) -> f64 {
        -2.0 * (1.0 - t) * t.powi(-3)
    }
}
