//! Weights η_t of the structural loss in time.

use crate::choice::{Choice, Named, Registry};
use crate::forward::schedule::Schedule;

/// The time weight η_t of the structural loss, by name.
pub type Eta = Choice<dyn Kind>;

/// The entries of the registry.
const ALL: &[&dyn Kind] = &[&InverseTime, &Constant, &Snr];

/// A time weight.
pub trait Kind: Named {
    /// The weight at one time. Only `inverse-time` looks at `t_min` > 0.
    fn at(&self, schedule: Schedule, t: f64, t_min: f64) -> f64;
}

impl Registry for dyn Kind {
    const SLOT: &'static str = "eta";

    fn all() -> &'static [&'static Self] {
        ALL
    }
}

impl Eta {
    /// 1/max(t, t_min): the paper's 1/t, whose mean over t ~ U[0, 1] is infinite, clamped.
    pub const INVERSE_TIME: Self = Self::new(&InverseTime);
    /// 1.
    pub const CONSTANT: Self = Self::new(&Constant);
    /// SNR/(1 + SNR) = α²/(α² + σ²).
    pub const SNR: Self = Self::new(&Snr);

    /// The weights of a batch of times.
    pub fn values(self, schedule: Schedule, t: &[f64], t_min: f64) -> Vec<f64> {
        t.iter().map(|&t| self.at(schedule, t, t_min)).collect()
    }
}

struct InverseTime;

impl Named for InverseTime {
    fn name(&self) -> &'static str {
        "inverse-time"
    }
}

impl Kind for InverseTime {
    fn at(&self, _: Schedule, t: f64, t_min: f64) -> f64 {
        1.0 / t.max(t_min)
    }
}

struct Constant;

impl Named for Constant {
    fn name(&self) -> &'static str {
        "constant"
    }
}

impl Kind for Constant {
    fn at(&self, _: Schedule, _: f64, _: f64) -> f64 {
        1.0
    }
}

struct Snr;

impl Named for Snr {
    fn name(&self) -> &'static str {
        "snr"
    }
}

impl Kind for Snr {
    fn at(&self, schedule: Schedule, t: f64, _: f64) -> f64 {
        1.0 / (1.0 + schedule.sigma_ratio(t).powi(2))
    }
}
