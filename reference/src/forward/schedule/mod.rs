//! Noise schedules: how much signal α_t and how much noise σ_t a sample carries at time t.

mod cosine;
mod ddpm;
mod edm;
mod rectified_flow;
mod vp_linear;

use std::fmt;

use ndarray::Array1;

use crate::bound::schedule::LevelsBound;
use crate::bound::{Precision, Tracked};
use crate::choice::{Choice, Slot};

pub use cosine::Cosine;
pub use ddpm::Ddpm;
pub use edm::Edm;
pub use rectified_flow::RectifiedFlow;
pub use vp_linear::VpLinear;

/// Why a schedule or a time was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// A time outside the schedule's domain.
    #[error("time t must be in [{low}, {high}], got {got:?}")]
    OutsideDomain {
        /// First time of the domain.
        low: f64,
        /// Last time of the domain.
        high: f64,
        /// The refused time.
        got: f64,
    },
    /// A pair of times in the wrong order.
    #[error("the earlier time s must not exceed the later time t, got s = {s:?}, t = {t:?}")]
    Order {
        /// The time that should be earlier.
        s: f64,
        /// The time that should be later.
        t: f64,
    },
    /// Noise rates that do not define a schedule.
    #[error(
        "noise rates must satisfy 0 < beta_min <= beta_max < {limit}, got {beta_min} and {beta_max}"
    )]
    Rates {
        /// The bound that `beta_max` must stay below.
        limit: f64,
        /// The refused first rate.
        beta_min: f64,
        /// The refused last rate.
        beta_max: f64,
    },
    /// Too few steps.
    #[error("a discrete schedule needs at least 2 steps, got {got}")]
    Steps {
        /// The refused number.
        got: usize,
    },
}

/// A forward process `q(x_t | x_0) = N(α_t x_0, σ_t² I)`. `[eq:forward-marginal]`
///
/// # Range
/// t ∈ [`domain`](Self::domain). The methods are plain formulas: [`check`](Self::check) guards their input.
/// λ_t = ln(α_t²/σ_t²) decreases strictly, from +∞ where σ = 0 to −∞ where α = 0.
///
/// # Source
/// Kingma et al. 2021 (arXiv:2107.00630), §3.1; SADM (arXiv:2402.17563), Eq. 1.
pub trait Schedule: fmt::Debug + Send + Sync {
    /// Signal level α_t.
    fn alpha(&self, t: f64) -> f64;
    /// Noise level σ_t, a standard deviation.
    fn sigma(&self, t: f64) -> f64;
    /// Log signal-to-noise ratio `λ_t = ln(α_t²/σ_t²)`, computed without cancellation. `[eq:log-snr]`
    fn lambda(&self, t: f64) -> f64;
    /// Its derivative `dλ/dt < 0`; −∞ where λ is infinite. `[eq:log-snr-grad]`
    fn lambda_grad(&self, t: f64) -> f64;
    /// First and last time.
    fn domain(&self) -> (f64, f64);
    /// Variance of `q(x_t | x_s)` for s ≤ t. `[eq:transition-variance]`
    /// ```text
    /// σ²_{t|s} = −expm1(λ_t − λ_s) σ_t²
    /// ```
    /// in a form that does not cancel as s → t; 0 at s = t.
    fn sigma2_transition(&self, s: f64, t: f64) -> f64;
    /// The time at which the log signal-to-noise ratio is λ: the inverse of [`lambda`](Self::lambda).
    fn t_of_lambda(&self, lambda: f64) -> f64;

    /// Signal-to-noise ratio `e^{λ_t} = (α_t/σ_t)²`; +∞ where σ = 0. `[eq:snr]`
    fn snr(&self, t: f64) -> f64 {
        (self.alpha(t) / self.sigma(t)).powi(2)
    }

    /// Accepts a finite time inside the domain.
    ///
    /// # Errors
    /// [`ScheduleError::OutsideDomain`] otherwise.
    fn check(&self, t: f64) -> Result<(), ScheduleError> {
        let (low, high) = self.domain();
        if t.is_finite() && low <= t && t <= high {
            Ok(())
        } else {
            Err(ScheduleError::OutsideDomain { low, high, got: t })
        }
    }

    /// Accepts two times of the domain with s ≤ t.
    ///
    /// # Errors
    /// [`ScheduleError::OutsideDomain`] or [`ScheduleError::Order`].
    fn check_pair(&self, s: f64, t: f64) -> Result<(), ScheduleError> {
        self.check(s)?;
        self.check(t)?;
        if s <= t {
            Ok(())
        } else {
            Err(ScheduleError::Order { s, t })
        }
    }
}

/// Rates 0 < `beta_min` ≤ `beta_max` < `limit`; NaN is refused.
fn check_rates(beta_min: f64, beta_max: f64, limit: f64) -> Result<(), ScheduleError> {
    if 0.0 < beta_min && beta_min <= beta_max && beta_max < limit {
        Ok(())
    } else {
        Err(ScheduleError::Rates {
            limit,
            beta_min,
            beta_max,
        })
    }
}

/// A schedule by name, with its usual constants.
pub type ScheduleKind = Choice<Kind>;

/// What the registry knows of a schedule.
pub struct Kind {
    schedule: fn() -> Box<dyn Schedule>,
    levels: fn(&Tracked, &[f64], Precision) -> LevelsBound,
}

impl Slot for Kind {
    const NAME: &'static str = "schedule";
    const ALL: &'static [Choice<Self>] = &[
        ScheduleKind::VP_LINEAR,
        ScheduleKind::COSINE,
        ScheduleKind::DDPM,
        ScheduleKind::EDM,
        ScheduleKind::RECTIFIED_FLOW,
    ];
}

impl ScheduleKind {
    /// The schedule of this name.
    pub fn schedule(self) -> Box<dyn Schedule> {
        (self.schedule)()
    }

    /// Bound for the levels at the times `t`, exact.
    pub(crate) fn levels(self, t: &[f64], p: Precision) -> LevelsBound {
        let time = Tracked::exact(Array1::from(t.to_vec()).into_dyn());
        (self.levels)(&time, t, p)
    }
}
