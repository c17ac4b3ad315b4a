//! Weights η_t of the structural loss in time.

use ndarray::{Array1, ArrayD};

use super::StructureError;
use crate::bound::schedule::LevelsBound;
use crate::bound::{Precision, Tracked};
use crate::choice::{Choice, Entry, Slot};
use crate::schedule::Schedule;

/// Time weight η of the structural loss, by name.
pub type Eta = Choice<Kind>;

/// A weight η_t and its rounding bound, at times of the schedule's domain and with `t_min` > 0.
pub struct Kind {
    /// η_t at t with `t_min`.
    pub at: fn(f64, f64, &dyn Schedule) -> f64,
    /// Bound for η_t at times with these levels.
    pub bound: fn(&[f64], f64, &LevelsBound, Precision) -> Tracked,
}

impl Slot for Kind {
    const NAME: &'static str = "eta";
    const ALL: &'static [Choice<Self>] = &[Eta::INVERSE_TIME, Eta::CONSTANT, Eta::SNR];
}

const INVERSE_TIME: Kind = Kind {
    at: |t, t_min, _| 1.0 / t.max(t_min),
    bound: |t, t_min, _, p| {
        let clamped: Array1<f64> = t.iter().map(|t| t.max(t_min)).collect();
        Tracked::exact(clamped.into_dyn()).recip(p)
    },
};

const CONSTANT: Kind = Kind {
    at: |_, _, _| 1.0,
    bound: |_, _, levels, _| Tracked::exact(ArrayD::ones(levels.alpha.value.raw_dim())),
};

const SNR: Kind = Kind {
    at: |t, _, schedule| {
        let (alpha, sigma) = (schedule.alpha(t), schedule.sigma(t));
        alpha * alpha / (alpha * alpha + sigma * sigma)
    },
    // α²/(α² + σ²) or 1/(1 + (σ/α)²).
    bound: |_, _, levels, p| {
        let (alpha2, sigma2) = (levels.alpha.square(p), levels.sigma.square(p));
        let direct = alpha2.div(&alpha2.add(&sigma2, p), p);
        let ratio = levels.sigma.div(&levels.alpha, p);
        direct.either(&ratio.square(p).add_scalar(1.0, p).recip(p))
    },
};

impl Eta {
    /// `inverse-time`: 1/max(t, t_min), the paper's 1/t kept from its infinite mean.
    pub const INVERSE_TIME: Self = Self::new(&Entry::new("inverse-time", INVERSE_TIME));
    /// `constant`: 1.
    pub const CONSTANT: Self = Self::new(&Entry::new("constant", CONSTANT));
    /// `snr`: SNR/(1 + SNR) = α²/(α² + σ²).
    pub const SNR: Self = Self::new(&Entry::new("snr", SNR));
}

/// Weight η_t of the structural loss at time t. `[eq:eta]`
///
/// # Errors
/// [`StructureError::Time`], [`StructureError::TMin`] (checked for every kind).
///
/// # Source
/// SADM (arXiv:2402.17563), Sec. 4.2: η_t = 1/t. The clamp and the other kinds are ours.
pub fn eta(kind: Eta, t: f64, t_min: f64, schedule: &dyn Schedule) -> Result<f64, StructureError> {
    schedule.check(t)?;
    if !(t_min.is_finite() && t_min > 0.0) {
        return Err(StructureError::TMin { got: t_min });
    }
    Ok((kind.at)(t, t_min, schedule))
}
