//! Weights of the denoising loss.

use crate::choice::{Choice, Named, Parameter, Registry};
use crate::forward::schedule::Schedule;

/// The weight w(λ_t) of the denoising loss, by name.
///
/// Configurations write `min-snr` or, with a number, `min-snr(5)`.
///
/// # Formula
/// | name | w |
/// |---|---|
/// | `constant` | 1 |
/// | `elbo` | −½ dSNR/dt = −½ SNR dλ/dt |
/// | `snr` | SNR (an unweighted loss on ε) |
/// | `one-plus-snr` | 1 + SNR (an unweighted loss on v, for a variance preserving schedule) |
/// | `min-snr` (γ = 5) | min(SNR, γ) |
/// | `edm` | (σ'² + σ_d²)/(σ'σ_d)² = SNR + 1/σ_d², σ' = σ/α |
/// | `soft-truncation` | as `elbo`; what is soft is the range that times are drawn from |
///
/// # Source
/// SADM Eq. 3–4; Kingma et al. (arXiv:2107.00630), Hang et al. (arXiv:2303.09556), Karras et al.
/// (arXiv:2206.00364), Kim et al. (arXiv:2106.05527).
pub type Weight = Choice<dyn Kind>;

/// The entries of the registry.
const ALL: &[&dyn Kind] = &[
    &Constant,
    &Elbo,
    &Snr,
    &OnePlusSnr,
    &MinSnr,
    &Edm,
    &SoftTruncation,
];

/// A weight.
pub trait Kind: Named {
    /// The weight at one time; `number` is the parameter's value.
    fn at(&self, schedule: Schedule, t: f64, sigma_data: f64, number: f64) -> f64;
}

impl Registry for dyn Kind {
    const SLOT: &'static str = "weight";

    fn all() -> &'static [&'static Self] {
        ALL
    }
}

impl Weight {
    /// 1.
    pub const CONSTANT: Self = Self::new(&Constant);
    /// −½ dSNR/dt.
    pub const ELBO: Self = Self::new(&Elbo);
    /// SNR.
    pub const SNR: Self = Self::new(&Snr);
    /// 1 + SNR.
    pub const ONE_PLUS_SNR: Self = Self::new(&OnePlusSnr);
    /// min(SNR, γ); γ = 5 if not given.
    pub const MIN_SNR: Self = Self::new(&MinSnr);
    /// SNR + 1/σ_d².
    pub const EDM: Self = Self::new(&Edm);
    /// −½ dSNR/dt with times from a random range.
    pub const SOFT_TRUNCATION: Self = Self::new(&SoftTruncation);

    /// The weight at one time.
    ///
    /// # Range
    /// [0, ∞]; infinite at σ_t = 0 except for `constant` and `min-snr`.
    pub fn at(self, schedule: Schedule, t: f64, sigma_data: f64) -> f64 {
        (*self).at(schedule, t, sigma_data, self.number())
    }

    /// The weights of a batch of times.
    pub fn weights(self, schedule: Schedule, t: &[f64], sigma_data: f64) -> Vec<f64> {
        t.iter()
            .map(|&t| self.at(schedule, t, sigma_data))
            .collect()
    }
}

struct Constant;

impl Named for Constant {
    fn name(&self) -> &'static str {
        "constant"
    }
}

impl Kind for Constant {
    fn at(&self, _: Schedule, _: f64, _: f64, _: f64) -> f64 {
        1.0
    }
}

struct Elbo;

impl Named for Elbo {
    fn name(&self) -> &'static str {
        "elbo"
    }
}

impl Kind for Elbo {
    fn at(&self, schedule: Schedule, t: f64, _: f64, _: f64) -> f64 {
        -0.5 * schedule.snr_grad(t)
    }
}

struct Snr;

impl Named for Snr {
    fn name(&self) -> &'static str {
        "snr"
    }
}

impl Kind for Snr {
    fn at(&self, schedule: Schedule, t: f64, _: f64, _: f64) -> f64 {
        schedule.snr(t)
    }
}

struct OnePlusSnr;

impl Named for OnePlusSnr {
    fn name(&self) -> &'static str {
        "one-plus-snr"
    }
}

impl Kind for OnePlusSnr {
    fn at(&self, schedule: Schedule, t: f64, _: f64, _: f64) -> f64 {
        1.0 + schedule.snr(t)
    }
}

struct MinSnr;

impl Named for MinSnr {
    fn name(&self) -> &'static str {
        "min-snr"
    }

    fn parameter(&self) -> Option<Parameter> {
        Some(Parameter {
            name: "gamma",
            default: 5.0,
        })
    }
}

impl Kind for MinSnr {
    fn at(&self, schedule: Schedule, t: f64, _: f64, gamma: f64) -> f64 {
        schedule.snr(t).min(gamma)
    }
}

struct Edm;

impl Named for Edm {
    fn name(&self) -> &'static str {
        "edm"
    }
}

impl Kind for Edm {
    fn at(&self, schedule: Schedule, t: f64, sigma_data: f64, _: f64) -> f64 {
        schedule.snr(t) + sigma_data.powi(-2)
    }
}

struct SoftTruncation;

impl Named for SoftTruncation {
    fn name(&self) -> &'static str {
        "soft-truncation"
    }
}

impl Kind for SoftTruncation {
    fn at(&self, schedule: Schedule, t: f64, _: f64, _: f64) -> f64 {
        -0.5 * schedule.snr_grad(t)
    }
}
