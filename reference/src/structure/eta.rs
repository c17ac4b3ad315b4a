//! Weights η_t of the structural loss in time.

use ndarray::{Array1, ArrayD};

use super::StructureError;
use crate::bound::schedule::LevelsBound;
use crate::bound::{Precision, Tracked};
use crate::choice::{Choice, Named, Registry};
use crate::schedule::Schedule;

/// How η depends on time, by name.
pub type Eta = Choice<dyn Kind>;

/// The entries of the registry.
const ALL: &[&dyn Kind] = &[&InverseTime, &Constant, &Snr];

/// A weight η_t and its rounding bound, at times of the schedule's domain and with `t_min` > 0.
pub trait Kind: Named {
    /// η_t.
    fn at(&self, t: f64, t_min: f64, schedule: &dyn Schedule) -> f64;

    /// Bound for η_t at times with these levels.
    fn bound(&self, t: &[f64], t_min: f64, levels: &LevelsBound, p: Precision) -> Tracked;
}

impl Registry for dyn Kind {
    const WHAT: &'static str = "eta";
    fn entries() -> &'static [&'static Self] {
        ALL
    }
}

impl Eta {
    /// `inverse-time`: 1/max(t, t_min), the paper's 1/t kept from its infinite mean.
    pub const INVERSE_TIME: Self = Self::new(&InverseTime);
    /// `constant`: 1.
    pub const CONSTANT: Self = Self::new(&Constant);
    /// `snr`: SNR/(1 + SNR) = α²/(α² + σ²).
    pub const SNR: Self = Self::new(&Snr);
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
    Ok(kind.at(t, t_min, schedule))
}

struct InverseTime;

impl Named for InverseTime {
    fn name(&self) -> &'static str {
        "inverse-time"
    }
}

impl Kind for InverseTime {
    fn at(&self, t: f64, t_min: f64, _: &dyn Schedule) -> f64 {
        1.0 / t.max(t_min)
    }
    fn bound(&self, t: &[f64], t_min: f64, _: &LevelsBound, p: Precision) -> Tracked {
        let clamped: Array1<f64> = t.iter().map(|t| t.max(t_min)).collect();
        Tracked::exact(clamped.into_dyn()).recip(p)
    }
}

struct Constant;

impl Named for Constant {
    fn name(&self) -> &'static str {
        "constant"
    }
}

impl Kind for Constant {
    fn at(&self, _: f64, _: f64, _: &dyn Schedule) -> f64 {
        1.0
    }
    fn bound(&self, _: &[f64], _: f64, levels: &LevelsBound, _: Precision) -> Tracked {
        Tracked::exact(ArrayD::ones(levels.alpha.value.raw_dim()))
    }
}

struct Snr;

impl Named for Snr {
    fn name(&self) -> &'static str {
        "snr"
    }
}

impl Kind for Snr {
    fn at(&self, t: f64, _: f64, schedule: &dyn Schedule) -> f64 {
        let (alpha, sigma) = (schedule.alpha(t), schedule.sigma(t));
        alpha * alpha / (alpha * alpha + sigma * sigma)
    }
    /// α²/(α² + σ²) or 1/(1 + (σ/α)²).
    fn bound(&self, _: &[f64], _: f64, levels: &LevelsBound, p: Precision) -> Tracked {
        let (alpha2, sigma2) = (levels.alpha.square(p), levels.sigma.square(p));
        let direct = alpha2.div(&alpha2.add(&sigma2, p), p);
        let ratio = levels.sigma.div(&levels.alpha, p);
        direct.either(&ratio.square(p).add_scalar(1.0, p).recip(p))
    }
}
