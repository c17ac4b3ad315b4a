//! Weights η_t of the structural loss in time.

use crate::choice::{Choice, Entry, Slot};
use crate::forward::schedule::Schedule;

/// The time weight η_t of the structural loss, by name.
pub type Eta = Choice<Kind>;

/// A time weight: from the schedule, t and `t_min` > 0 (which only `inverse-time` looks at).
pub struct Kind(pub fn(Schedule, f64, f64) -> f64);

impl Slot for Kind {
    const NAME: &'static str = "eta";
    const ALL: &'static [Choice<Self>] = &[Eta::INVERSE_TIME, Eta::CONSTANT, Eta::SNR];
}

impl Eta {
    /// 1/max(t, t_min): the paper's 1/t, whose mean over t ~ U[0, 1] is infinite, clamped.
    pub const INVERSE_TIME: Self = Self::new(&Entry::new(
        "inverse-time",
        Kind(|_, t, t_min| 1.0 / t.max(t_min)),
    ));
    /// 1.
    pub const CONSTANT: Self = Self::new(&Entry::new("constant", Kind(|_, _, _| 1.0)));
    /// SNR/(1 + SNR) = α²/(α² + σ²).
    pub const SNR: Self = Self::new(&Entry::new("snr", Kind(snr)));

    /// The weight at one time.
    pub fn at(self, schedule: Schedule, t: f64, t_min: f64) -> f64 {
        self.0(schedule, t, t_min)
    }

    /// The weights of a batch of times.
    pub fn values(self, schedule: Schedule, t: &[f64], t_min: f64) -> Vec<f64> {
        t.iter().map(|&t| self.at(schedule, t, t_min)).collect()
    }
}

fn snr(schedule: Schedule, t: f64, _: f64) -> f64 {
    1.0 / (1.0 + schedule.sigma_ratio(t).powi(2))
}
