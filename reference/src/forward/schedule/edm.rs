//! `edm`.

use super::{Kind, Schedule, ScheduleKind};
use crate::bound::schedule::{LevelsBound, constant};
use crate::bound::{Precision, Tracked};
use crate::choice::Entry;

const KIND: Kind = Kind {
    schedule: || Box::new(Edm),
    levels,
};

impl ScheduleKind {
    /// `edm`: [`Edm`].
    pub const EDM: Self = Self::new(&Entry::new("edm", KIND));
}

/// Variance exploding, as EDM has it: `α = 1`, `σ_t = t` on [0, ∞). `[eq:edm-schedule]`
/// ```text
/// λ_t = −2 ln t    dλ/dt = −2/t    σ²_{t|s} = (t − s)(t + s)
/// ```
///
/// # Source
/// Karras et al. 2022 (arXiv:2206.00364), Table 1.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Edm;

impl Schedule for Edm {
    fn alpha(&self, _t: f64) -> f64 {
        1.0
    }
    fn sigma(&self, t: f64) -> f64 {
        t
    }
    fn lambda(&self, t: f64) -> f64 {
        -2.0 * t.ln()
    }
    fn lambda_grad(&self, t: f64) -> f64 {
        -2.0 / t
    }
    fn domain(&self) -> (f64, f64) {
        (0.0, f64::INFINITY)
    }
    fn sigma2_transition(&self, s: f64, t: f64) -> f64 {
        (t - s) * (t + s)
    }
    fn t_of_lambda(&self, lambda: f64) -> f64 {
        (-0.5 * lambda).exp()
    }
}

/// Bound for the levels.
fn levels(t: &Tracked, _: &[f64], p: Precision) -> LevelsBound {
    LevelsBound {
        alpha: constant(1.0, t, Precision::F64),
        sigma: t.clone(),
        lambda: t.ln(p).scale(-2.0, p).either(&t.square(p).recip(p).ln(p)),
        lambda_grad: t.recip(p).scale(-2.0, p),
        snr_slope: None,
    }
}
