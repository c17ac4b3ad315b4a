//! Weights of the denoising loss.

use crate::choice::{Choice, Entry, Slot};
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
pub type Weight = Choice<Kind>;

/// A weight at one time: from the schedule, t, σ_d and the parameter's value.
pub struct Kind(pub fn(Schedule, f64, f64, f64) -> f64);

impl Slot for Kind {
    const NAME: &'static str = "weight";
    const ALL: &'static [Choice<Self>] = &[
        Weight::CONSTANT,
        Weight::ELBO,
        Weight::SNR,
        Weight::ONE_PLUS_SNR,
        Weight::MIN_SNR,
        Weight::EDM,
        Weight::SOFT_TRUNCATION,
    ];
}

impl Weight {
    /// 1.
    pub const CONSTANT: Self = Self::new(&Entry::new("constant", Kind(|_, _, _, _| 1.0)));
    /// −½ dSNR/dt.
    pub const ELBO: Self = Self::new(&Entry::new("elbo", Kind(elbo)));
    /// SNR.
    pub const SNR: Self = Self::new(&Entry::new("snr", Kind(|s, t, _, _| s.snr(t))));
    /// 1 + SNR.
    pub const ONE_PLUS_SNR: Self = Self::new(&Entry::new(
        "one-plus-snr",
        Kind(|s, t, _, _| 1.0 + s.snr(t)),
    ));
    /// min(SNR, γ); γ = 5 if not given.
    pub const MIN_SNR: Self = Self::new(&Entry::with(
        "min-snr",
        "gamma",
        5.0,
        Kind(|s, t, _, gamma| s.snr(t).min(gamma)),
    ));
    /// SNR + 1/σ_d².
    pub const EDM: Self = Self::new(&Entry::new(
        "edm",
        Kind(|s, t, sigma_data, _| s.snr(t) + sigma_data.powi(-2)),
    ));
    /// −½ dSNR/dt with times from a random range.
    pub const SOFT_TRUNCATION: Self = Self::new(&Entry::new("soft-truncation", Kind(elbo)));

    /// The weight at one time.
    ///
    /// # Range
    /// [0, ∞]; infinite at σ_t = 0 except for `constant` and `min-snr`.
    pub fn at(self, schedule: Schedule, t: f64, sigma_data: f64) -> f64 {
        self.0(schedule, t, sigma_data, self.number())
    }

    /// The weights of a batch of times.
    pub fn weights(self, schedule: Schedule, t: &[f64], sigma_data: f64) -> Vec<f64> {
        t.iter()
            .map(|&t| self.at(schedule, t, sigma_data))
            .collect()
    }
}

fn elbo(schedule: Schedule, t: f64, _: f64, _: f64) -> f64 {
    -0.5 * schedule.snr_grad(t)
}
