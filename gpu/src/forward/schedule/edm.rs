//! `edm`: Variance exploding in the time of EDM: α = 1, σ = t.

use super::{Kind, Schedule};
use crate::choice::Entry;

impl Schedule {
    /// Variance exploding in the time of EDM: α = 1, σ = t.
    pub const EDM: Self = Self::new(&Entry::new("edm", Edm));
}

struct Edm;

impl Kind for Edm {
    fn alpha(&self, _: f64) -> f64 {
        1.0
    }

    fn sigma(&self, t: f64) -> f64 {
        t
    }

    fn t_of_sigma_ratio(&self, ratio: f64) -> f64 {
        ratio.max(0.0)
    }

    fn lambda_grad(&self, t: f64) -> f64 {
        -2.0 / t
    }

    fn domain(&self) -> (f64, f64) {
        (0.0, f64::INFINITY)
    }
}
