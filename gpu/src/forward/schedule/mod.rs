//! Noise schedules: α_t and σ_t of the forward process q(x_t | x_0) = N(α_t x_0, σ_t² I).
//!
//! All of it is scalar arithmetic in f64 on the host; tensors meet it only through per-sample
//! coefficients that are rounded once (see [`crate::forward`]).

mod cosine;
mod ddpm;
mod edm;
mod rectified_flow;
pub(crate) mod vp_linear;

use crate::choice::{Choice, Slot};

/// A noise schedule, by name.
///
/// # Formula
/// | name | α_t | σ_t | domain of t |
/// |---|---|---|---|
/// | `vp-linear` | exp(−½B), B = ∫β, β from 0.1 to 20 | √(−expm1(−B)) | \[0, 1\] |
/// | `cosine` | cos(πt/2) | sin(πt/2) | \[0, 1\] |
/// | `ddpm` | √ᾱ_k, k = round(999 t), β_i from 1e-4 to 0.02 | √(1 − ᾱ_k) | \[0, 1\] |
/// | `edm` | 1 | t | \[0, ∞) |
/// | `rectified-flow` | 1 − t | t | \[0, 1\] |
///
/// # Source
/// Song et al. (arXiv:2011.13456), Nichol and Dhariwal (arXiv:2102.09672), Ho et al.
/// (arXiv:2006.11239), Karras et al. (arXiv:2206.00364), Liu et al. (arXiv:2209.03003).
pub type Schedule = Choice<dyn Kind>;

impl Slot for dyn Kind {
    const NAME: &'static str = "schedule";
    const ALL: &'static [Choice<Self>] = &[
        Schedule::VP_LINEAR,
        Schedule::COSINE,
        Schedule::DDPM,
        Schedule::EDM,
        Schedule::RECTIFIED_FLOW,
    ];
}

/// A noise schedule.
pub trait Kind: Send + Sync {
    /// The signal's factor α_t. Exact at both ends of the domain.
    fn alpha(&self, t: f64) -> f64;

    /// The noise's standard deviation σ_t. Exact at both ends of the domain.
    fn sigma(&self, t: f64) -> f64;

    /// σ' = σ_t/α_t, the noise level of z = x_t/α_t. Increasing in t; infinite where α_t = 0.
    fn sigma_ratio(&self, t: f64) -> f64 {
        self.sigma(t) / self.alpha(t)
    }

    /// Inverse of [`Kind::sigma_ratio`]: the t in the domain with σ_t/α_t = `ratio`.
    ///
    /// Ratios outside the schedule's range give the nearest end of the domain; a discrete schedule gives the
    /// step whose λ is nearest.
    fn t_of_sigma_ratio(&self, ratio: f64) -> f64;

    /// λ_t = ln(α_t²/σ_t²), decreasing; +∞ where σ_t = 0 and −∞ where α_t = 0.
    fn lambda(&self, t: f64) -> f64 {
        -2.0 * self.sigma_ratio(t).ln()
    }

    /// dλ_t/dt < 0.
    ///
    /// A discrete schedule is piecewise constant in t: there it is the central difference of λ over the
    /// neighbouring steps (one-sided at the ends), in units of t.
    fn lambda_grad(&self, t: f64) -> f64;

    /// Signal-to-noise ratio α_t²/σ_t² = exp λ_t.
    fn snr(&self, t: f64) -> f64 {
        self.sigma_ratio(t).powi(-2)
    }

    /// dSNR_t/dt = SNR dλ/dt ≤ 0, also where SNR is 0 and dλ/dt infinite.
    fn snr_grad(&self, t: f64) -> f64 {
        self.snr(t) * self.lambda_grad(t)
    }

    /// The closed interval of t.
    fn domain(&self) -> (f64, f64) {
        (0.0, 1.0)
    }

    /// Smallest and largest σ/α of the domain.
    fn sigma_ratio_range(&self) -> (f64, f64) {
        let (first, last) = self.domain();
        (self.sigma_ratio(first), self.sigma_ratio(last))
    }

    /// Whether time runs in steps: there is no ODE to follow then.
    fn is_discrete(&self) -> bool {
        false
    }
}
