//! Noise schedules: α_t and σ_t of the forward process q(x_t | x_0) = N(α_t x_0, σ_t² I).
//!
//! All of it is scalar arithmetic in f64 on the host; tensors meet it only through per-sample
//! coefficients that are rounded once (see [`crate::forward`]).

use crate::error::Error;
use serde::{Deserialize, Serialize};
use std::f64::consts::{FRAC_PI_2, PI};
use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

/// β of [`Schedule::VpLinear`] at t = 0.
const BETA_MIN: f64 = 0.1;
/// β of [`Schedule::VpLinear`] at t = 1.
const BETA_MAX: f64 = 20.0;
/// Number of steps of [`Schedule::Ddpm`].
const DDPM_STEPS: usize = 1000;
/// β of the first step of [`Schedule::Ddpm`].
const DDPM_BETA_FIRST: f64 = 1e-4;
/// β of the last step of [`Schedule::Ddpm`].
const DDPM_BETA_LAST: f64 = 0.02;

/// ln ᾱ_k = Σ_{i ≤ k} ln(1 − β_i) of the discrete DDPM schedule.
static DDPM_LN_ALPHA_BAR: LazyLock<[f64; DDPM_STEPS]> = LazyLock::new(|| {
    let mut sum = 0.0;
    std::array::from_fn(|i| {
        let fraction = i as f64 / (DDPM_STEPS - 1) as f64;
        sum += (-(DDPM_BETA_FIRST + fraction * (DDPM_BETA_LAST - DDPM_BETA_FIRST))).ln_1p();
        sum
    })
});

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// Variance preserving with a linear β.
    VpLinear,
    /// Variance preserving, α_t = cos(πt/2).
    Cosine,
    /// The 1000 discrete steps of DDPM.
    Ddpm,
    /// Variance exploding in the time of EDM: α = 1, σ = t.
    Edm,
    /// Straight lines from data to noise.
    RectifiedFlow,
}

impl Schedule {
    /// Every schedule.
    pub const ALL: [Self; 5] = [
        Self::VpLinear,
        Self::Cosine,
        Self::Ddpm,
        Self::Edm,
        Self::RectifiedFlow,
    ];

    /// The name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::VpLinear => "vp-linear",
            Self::Cosine => "cosine",
            Self::Ddpm => "ddpm",
            Self::Edm => "edm",
            Self::RectifiedFlow => "rectified-flow",
        }
    }

    /// The signal's factor α_t. Exact at both ends of the domain.
    pub fn alpha(self, t: f64) -> f64 {
        match self {
            Self::VpLinear => (-0.5 * beta_integral(t)).exp(),
            // cos(πt/2), written so that it is exactly 0 at t = 1.
            Self::Cosine => (FRAC_PI_2 * (1.0 - t)).sin(),
            Self::Ddpm => (0.5 * ddpm_ln_alpha_bar(t)).exp(),
            Self::Edm => 1.0,
            Self::RectifiedFlow => 1.0 - t,
        }
    }

    /// The noise's standard deviation σ_t. Exact at both ends of the domain.
    pub fn sigma(self, t: f64) -> f64 {
        match self {
            Self::VpLinear => (-(-beta_integral(t)).exp_m1()).sqrt(),
            Self::Cosine => (FRAC_PI_2 * t).sin(),
            Self::Ddpm => (-ddpm_ln_alpha_bar(t).exp_m1()).sqrt(),
            Self::Edm | Self::RectifiedFlow => t,
        }
    }

    /// σ' = σ_t/α_t, the noise level of z = x_t/α_t. Increasing in t; infinite where α_t = 0.
    pub fn sigma_ratio(self, t: f64) -> f64 {
        match self {
            Self::VpLinear => beta_integral(t).exp_m1().sqrt(),
            Self::Ddpm => (-ddpm_ln_alpha_bar(t)).exp_m1().sqrt(),
            Self::Cosine | Self::Edm | Self::RectifiedFlow => self.sigma(t) / self.alpha(t),
        }
    }

    /// Inverse of [`Schedule::sigma_ratio`]: the t in the domain with σ_t/α_t = `ratio`.
    ///
    /// Ratios outside the schedule's range give the nearest end of the domain; `ddpm` gives the
    /// step whose λ is nearest.
    pub fn t_of_sigma_ratio(self, ratio: f64) -> f64 {
        match self {
            Self::VpLinear => Self::vp_time(ratio).clamp(0.0, 1.0),
            Self::Cosine => ratio.max(0.0).atan() / FRAC_PI_2,
            Self::Ddpm => ddpm_step_of_lambda(-2.0 * ratio.ln()) as f64 / (DDPM_STEPS - 1) as f64,
            Self::Edm => ratio.max(0.0),
            Self::RectifiedFlow if ratio.is_infinite() => 1.0,
            Self::RectifiedFlow => ratio.max(0.0) / (1.0 + ratio.max(0.0)),
        }
    }

    /// The t at which `vp-linear`, continued beyond its end, has σ_t/α_t = `ratio`.
    pub(crate) fn vp_time(ratio: f64) -> f64 {
        let b = (ratio * ratio).ln_1p();
        let slope = BETA_MAX - BETA_MIN;
        let root = BETA_MIN.mul_add(BETA_MIN, 2.0 * slope * b).sqrt();
        2.0 * b / (BETA_MIN + root)
    }

    /// λ_t = ln(α_t²/σ_t²), decreasing; +∞ where σ_t = 0 and −∞ where α_t = 0.
    pub fn lambda(self, t: f64) -> f64 {
        match self {
            Self::VpLinear => -beta_integral(t).exp_m1().ln(),
            Self::Ddpm => -(-ddpm_ln_alpha_bar(t)).exp_m1().ln(),
            Self::Cosine | Self::Edm => -2.0 * self.sigma_ratio(t).ln(),
            Self::RectifiedFlow => 2.0 * ((-t).ln_1p() - t.ln()),
        }
    }

    /// dλ_t/dt < 0.
    ///
    /// `ddpm` is piecewise constant in t: there it is the central difference of λ over the
    /// neighbouring steps (one-sided at the ends), in units of t.
    pub fn lambda_grad(self, t: f64) -> f64 {
        match self {
            Self::VpLinear => {
                let beta = BETA_MIN + (BETA_MAX - BETA_MIN) * t;
                beta / (-beta_integral(t)).exp_m1()
            }
            Self::Cosine => -PI / (self.alpha(t) * self.sigma(t)),
            Self::Ddpm => ddpm_lambda_grad(t),
            Self::Edm => -2.0 / t,
            Self::RectifiedFlow => -2.0 / (t * (1.0 - t)),
        }
    }

    /// Signal-to-noise ratio α_t²/σ_t² = exp λ_t.
    pub fn snr(self, t: f64) -> f64 {
        self.sigma_ratio(t).powi(-2)
    }

    /// dSNR_t/dt = SNR dλ/dt ≤ 0, also where SNR is 0 and dλ/dt infinite.
    pub fn snr_grad(self, t: f64) -> f64 {
        match self {
            Self::Cosine => -PI * self.alpha(t) * self.sigma(t).powi(-3),
            Self::RectifiedFlow => -2.0 * (1.0 - t) * t.powi(-3),
            Self::VpLinear | Self::Ddpm | Self::Edm => self.snr(t) * self.lambda_grad(t),
        }
    }

    /// The closed interval of t.
    pub fn domain(self) -> (f64, f64) {
        match self {
            Self::Edm => (0.0, f64::INFINITY),
            _ => (0.0, 1.0),
        }
    }

    /// Smallest and largest σ/α of the domain.
    pub fn sigma_ratio_range(self) -> (f64, f64) {
        let (first, last) = self.domain();
        (self.sigma_ratio(first), self.sigma_ratio(last))
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Schedule {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|s| s.name() == text)
            .ok_or_else(|| Error::unknown_name("schedule", text, &Self::ALL.map(Self::name)))
    }
}

/// B(t) = ∫₀ᵗ β = β_min t + ½(β_max − β_min) t².
fn beta_integral(t: f64) -> f64 {
    t * (BETA_MIN + 0.5 * (BETA_MAX - BETA_MIN) * t)
}

/// k = round(999 t), kept inside 0..=999.
fn ddpm_step(t: f64) -> usize {
    let last = (DDPM_STEPS - 1) as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to 0..=999 first"
    )]
    let step = (t * last).round().clamp(0.0, last) as usize;
    step
}

fn ddpm_ln_alpha_bar(t: f64) -> f64 {
    DDPM_LN_ALPHA_BAR[ddpm_step(t)]
}

fn ddpm_lambda(step: usize) -> f64 {
    -(-DDPM_LN_ALPHA_BAR[step]).exp_m1().ln()
}

fn ddpm_lambda_grad(t: f64) -> f64 {
    let step = ddpm_step(t);
    let (before, after) = (step.saturating_sub(1), (step + 1).min(DDPM_STEPS - 1));
    let dt = (after - before) as f64 / (DDPM_STEPS - 1) as f64;
    (ddpm_lambda(after) - ddpm_lambda(before)) / dt
}

/// The step whose λ is nearest; λ decreases with the step.
fn ddpm_step_of_lambda(lambda: f64) -> usize {
    let after = DDPM_LN_ALPHA_BAR.partition_point(|ln| -(-ln).exp_m1().ln() > lambda);
    let Some(before) = after.checked_sub(1) else {
        return 0;
    };
    if after == DDPM_STEPS || ddpm_lambda(before) - lambda <= lambda - ddpm_lambda(after) {
        before
    } else {
        after
    }
}
