//! From noise to data, one step at a time.
//!
//! The deterministic steps work on z = x/α with noise level σ' = σ/α, in which every schedule looks like EDM's.

use ndarray::{ArrayD, Zip};

use crate::choice::{Choice, Entry, Slot};
use crate::forward::{ForwardError, Posterior, posterior};
use crate::schedule::{Schedule, ScheduleError};

pub mod family;
mod multistep;

pub use family::Family;
pub use multistep::{Previous, dpmpp_2m_step};

/// Why a sampling step was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SamplerError {
    /// No steps.
    #[error("the number of steps must be >= 1, got 0")]
    NoSteps,
    /// An exponent that does not bend.
    #[error("rho must be finite and > 0, got {got:?}")]
    Rho {
        /// The refused value.
        got: f64,
    },
    /// Noise levels out of order.
    #[error(
        "noise levels must satisfy 0 < sigma_min <= sigma_max < infinity, got {sigma_min} and {sigma_max}"
    )]
    Range {
        /// The refused smallest level.
        sigma_min: f64,
        /// The refused largest level.
        sigma_max: f64,
    },
    /// A step that does not go down.
    #[error(
        "a step must go from sigma > 0 down to 0 <= sigma_next <= sigma, got {sigma:?} and {sigma_next:?}"
    )]
    Step {
        /// Level before.
        sigma: f64,
        /// Level after.
        sigma_next: f64,
    },
    /// An increase of noise that is negative, infinite or NaN.
    #[error("gamma and s_noise of churn must be finite and >= 0, got {gamma:?} and {s_noise:?}")]
    Churn {
        /// The refused relative increase.
        gamma: f64,
        /// The refused scale.
        s_noise: f64,
    },
    /// A number of EDM's family out of its range.
    #[error("{what} must {must}, got {got:?}")]
    Number {
        /// Which.
        what: &'static str,
        /// Its range.
        must: &'static str,
        /// The refused value.
        got: f64,
    },
    /// Two arrays differ in shape.
    #[error("{name} must have the shape of the sample, {sample:?}, got {got:?}")]
    Shape {
        /// Which array.
        name: &'static str,
        /// Shape of the sample.
        sample: Vec<usize>,
        /// The refused shape.
        got: Vec<usize>,
    },
    /// A time or a pair of times was refused.
    #[error(transparent)]
    Forward(#[from] ForwardError),
}

impl From<ScheduleError> for SamplerError {
    fn from(error: ScheduleError) -> Self {
        Self::Forward(error.into())
    }
}

/// A sampler by name.
pub type SamplerKind = Choice<Kind>;

/// What theory says of a sampler; its steps are the functions below.
#[derive(Debug)]
pub struct Kind {
    order: Option<f64>,
    stages: usize,
}

const fn entry(name: &'static str, order: Option<f64>, stages: usize) -> Entry<Kind> {
    Entry::new(name, Kind { order, stages })
}

impl Kind {
    /// Order of the error at the end of a trajectory, in the largest step; none where noise is drawn.
    pub fn order(&self) -> Option<f64> {
        self.order
    }

    /// Evaluations of the denoiser in `steps` ≥ 1 steps; the last, down to σ' = 0, needs one only.
    pub fn evaluations(&self, steps: usize) -> usize {
        self.stages * steps.saturating_sub(1) + 1
    }
}

impl Slot for Kind {
    const NAME: &'static str = "sampler";
    const ALL: &'static [Choice<Self>] = &[
        Choice::new(&entry("heun", Some(2.0), 2)),
        Choice::new(&entry("euler", Some(1.0), 1)),
        Choice::new(&entry("ddim", Some(1.0), 1)),
        Choice::new(&entry("ddpm", None, 1)),
        Choice::new(&entry("dpmpp-2m", Some(2.0), 1)),
    ];
}

/// Noise levels of the EDM samplers, `steps` of them and a final 0. `[eq:edm-sigmas]`
/// ```text
/// σ_i = (σ_max^{1/ρ} + i/(N−1) (σ_min^{1/ρ} − σ_max^{1/ρ}))^ρ,  i < N;    σ_N = 0
/// ```
/// First and last are σ_max and σ_min to the bit; a single step starts at σ_max.
///
/// # Errors
/// [`SamplerError::NoSteps`], [`SamplerError::Rho`], [`SamplerError::Range`].
///
/// # Source
/// Karras et al. 2022 (arXiv:2206.00364), Eq. 5; ρ = 7, σ from 0.002 to 80 there.
pub fn edm_sigmas(
    steps: usize,
    rho: f64,
    sigma_min: f64,
    sigma_max: f64,
) -> Result<Vec<f64>, SamplerError> {
    if steps == 0 {
        return Err(SamplerError::NoSteps);
    }
    if !(rho.is_finite() && rho > 0.0) {
        return Err(SamplerError::Rho { got: rho });
    }
    if !(0.0 < sigma_min && sigma_min <= sigma_max && sigma_max.is_finite()) {
        return Err(SamplerError::Range {
            sigma_min,
            sigma_max,
        });
    }
    let (from, to) = (sigma_max.powf(1.0 / rho), sigma_min.powf(1.0 / rho));
    let level = |i: usize| match i {
        0 => sigma_max,
        i if i == steps - 1 => sigma_min,
        i => (from + i as f64 / (steps - 1) as f64 * (to - from)).powf(rho),
    };
    Ok((0..steps).map(level).chain([0.0]).collect())
}

fn check_step(sigma: f64, sigma_next: f64) -> Result<(), SamplerError> {
    if sigma.is_finite() && sigma > 0.0 && 0.0 <= sigma_next && sigma_next <= sigma {
        Ok(())
    } else {
        Err(SamplerError::Step { sigma, sigma_next })
    }
}

fn check_shape(
    name: &'static str,
    sample: &ArrayD<f64>,
    other: &ArrayD<f64>,
) -> Result<(), SamplerError> {
    if sample.shape() == other.shape() {
        return Ok(());
    }
    Err(SamplerError::Shape {
        name,
        sample: sample.shape().to_vec(),
        got: other.shape().to_vec(),
    })
}

/// One Euler step of the probability-flow equation `dz/dσ = (z − D)/σ`. `[eq:euler-step]`
/// ```text
/// z' = z + (σ' − σ)(z − D)/σ = D + (σ'/σ)(z − D)
/// ```
/// The second form is used: exact at σ' = 0, where z' = D, the denoised data.
///
/// # Errors
/// [`SamplerError::Step`], [`SamplerError::Shape`].
///
/// # Source
/// Karras et al. 2022 (arXiv:2206.00364), Algorithm 1, lines 4-5.
pub fn euler_step(
    z: &ArrayD<f64>,
    denoised: &ArrayD<f64>,
    sigma: f64,
    sigma_next: f64,
) -> Result<ArrayD<f64>, SamplerError> {
    check_step(sigma, sigma_next)?;
    check_shape("the denoised sample", z, denoised)?;
    let ratio = sigma_next / sigma;
    Ok(Zip::from(z)
        .and(denoised)
        .map_collect(|&z, &d| d + ratio * (z - d)))
}

/// The second half of a Heun step: from z with the mean of the slopes at both ends. `[eq:heun-step]`
/// ```text
/// z' = z + ½ (σ' − σ) [(z − D)/σ + (z_e − D_e)/σ']
/// ```
/// with z_e the Euler step's result and D_e its denoised form.
///
/// # Errors
/// [`SamplerError::Step`], also at σ' = 0, where there is no second slope; [`SamplerError::Shape`].
///
/// # Source
/// Karras et al. 2022 (arXiv:2206.00364), Algorithm 1, lines 7-8.
pub fn heun_correction(
    z: &ArrayD<f64>,
    denoised: &ArrayD<f64>,
    z_euler: &ArrayD<f64>,
    denoised_euler: &ArrayD<f64>,
    sigma: f64,
    sigma_next: f64,
) -> Result<ArrayD<f64>, SamplerError> {
    check_step(sigma, sigma_next)?;
    if sigma_next == 0.0 {
        return Err(SamplerError::Step { sigma, sigma_next });
    }
    check_shape("the denoised sample", z, denoised)?;
    check_shape("the Euler step", z, z_euler)?;
    check_shape("the denoised Euler step", z, denoised_euler)?;
    let half_step = 0.5 * (sigma_next - sigma);
    Ok(Zip::from(z)
        .and(denoised)
        .and(z_euler)
        .and(denoised_euler)
        .map_collect(|&z, &d, &z_e, &d_e| {
            z + half_step * ((z - d) / sigma + (z_e - d_e) / sigma_next)
        }))
}

/// One Heun step, or an Euler step down to σ' = 0.
///
/// `denoise(z, σ)` is the denoiser D in z-space.
///
/// # Errors
/// [`SamplerError::Step`]; [`SamplerError::Shape`] if the denoiser changes the shape.
///
/// # Source
/// Karras et al. 2022 (arXiv:2206.00364), Algorithm 1.
pub fn heun_step(
    z: &ArrayD<f64>,
    sigma: f64,
    sigma_next: f64,
    denoise: impl Fn(&ArrayD<f64>, f64) -> ArrayD<f64>,
) -> Result<ArrayD<f64>, SamplerError> {
    let denoised = denoise(z, sigma);
    let z_euler = euler_step(z, &denoised, sigma, sigma_next)?;
    if sigma_next == 0.0 {
        return Ok(z_euler);
    }
    let denoised_euler = denoise(&z_euler, sigma_next);
    heun_correction(z, &denoised, &z_euler, &denoised_euler, sigma, sigma_next)
}

/// One step of DDIM without noise, from x_t and the predicted clean data to x_s. `[eq:ddim-step]`
/// ```text
/// x_s = α_s x̂ + σ_s ε̂,   ε̂ = (x_t − α_t x̂)/σ_t
/// ```
/// In z-space the Euler step.
///
/// # Errors
/// [`SamplerError::Forward`], [`SamplerError::Shape`].
///
/// # Source
/// Song et al. 2021 (arXiv:2010.02502), Eq. 12 with η = 0.
pub fn ddim_step(
    x_t: &ArrayD<f64>,
    x0_hat: &ArrayD<f64>,
    schedule: &dyn Schedule,
    s: f64,
    t: f64,
) -> Result<ArrayD<f64>, SamplerError> {
    schedule.check_pair(s, t)?;
    check_shape("the predicted clean data", x_t, x0_hat)?;
    if s >= t {
        return Ok(x_t.clone());
    }
    let (alpha_s, alpha_t) = (schedule.alpha(s), schedule.alpha(t));
    let ratio = schedule.sigma(s) / schedule.sigma(t);
    Ok(Zip::from(x_t)
        .and(x0_hat)
        .map_collect(|&x, &x0| alpha_s * x0 + ratio * (x - alpha_t * x0)))
}

/// One ancestral step of DDPM: a draw from the posterior at the predicted clean data. `[eq:ddpm-step]`
/// ```text
/// x_s = c_t x_t + c_0 x̂ + √v n
/// ```
/// with the coefficients of [`Posterior`] and standard normal `noise` n.
///
/// # Errors
/// [`SamplerError::Forward`], [`SamplerError::Shape`].
///
/// # Source
/// Ho et al. 2020 (arXiv:2006.11239), Algorithm 2, with the smaller of its two variances.
pub fn ddpm_step(
    x_t: &ArrayD<f64>,
    x0_hat: &ArrayD<f64>,
    noise: &ArrayD<f64>,
    schedule: &dyn Schedule,
    s: f64,
    t: f64,
) -> Result<ArrayD<f64>, SamplerError> {
    let Posterior {
        coef_xt,
        coef_x0,
        var,
    } = posterior(schedule, s, t)?;
    check_shape("the predicted clean data", x_t, x0_hat)?;
    check_shape("the noise", x_t, noise)?;
    let std = var.sqrt();
    Ok(Zip::from(x_t)
        .and(x0_hat)
        .and(noise)
        .map_collect(|&x, &x0, &n| coef_xt * x + coef_x0 * x0 + std * n))
}

/// When and how much noise the stochastic EDM sampler adds back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Churn {
    /// Overall amount, S_churn ≥ 0; 0 is the deterministic sampler.
    pub s_churn: f64,
    /// Smallest noise level at which noise is added, S_tmin.
    pub s_min: f64,
    /// Largest such level, S_tmax.
    pub s_max: f64,
    /// Scale of the noise, S_noise, about 1.
    pub s_noise: f64,
}

impl Default for Churn {
    /// None, at any level.
    fn default() -> Self {
        Self {
            s_churn: 0.0,
            s_min: 0.0,
            s_max: f64::INFINITY,
            s_noise: 1.0,
        }
    }
}

impl Churn {
    /// Relative increase γ of the noise level σ in a sampler of `steps` steps. `[eq:churn-gamma]`
    /// ```text
    /// γ = min(S_churn/N, √2 − 1) for S_tmin ≤ σ ≤ S_tmax, else 0
    /// ```
    ///
    /// # Source
    /// Karras et al. 2022 (arXiv:2206.00364), Algorithm 2.
    pub fn gamma(&self, sigma: f64, steps: usize) -> f64 {
        if self.s_min <= sigma && sigma <= self.s_max {
            (self.s_churn / steps as f64).min(std::f64::consts::SQRT_2 - 1.0)
        } else {
            0.0
        }
    }
}

/// Noise added back: from z at level σ to ẑ at `σ̂ = (1 + γ) σ`. `[eq:churn-step]`
/// ```text
/// ẑ = z + √(σ̂² − σ²) S_noise n = z + σ √(γ(2 + γ)) S_noise n
/// ```
///
/// # Errors
/// [`SamplerError::Churn`], [`SamplerError::Step`] for a bad σ, [`SamplerError::Shape`].
///
/// # Source
/// Karras et al. 2022 (arXiv:2206.00364), Algorithm 2, lines 4-6.
pub fn churn_step(
    z: &ArrayD<f64>,
    noise: &ArrayD<f64>,
    sigma: f64,
    gamma: f64,
    s_noise: f64,
) -> Result<(ArrayD<f64>, f64), SamplerError> {
    check_step(sigma, 0.0)?;
    check_shape("the noise", z, noise)?;
    if !(gamma.is_finite() && gamma >= 0.0 && s_noise.is_finite() && s_noise >= 0.0) {
        return Err(SamplerError::Churn { gamma, s_noise });
    }
    let scale = sigma * (gamma * (2.0 + gamma)).sqrt() * s_noise;
    let z_hat = Zip::from(z).and(noise).map_collect(|&z, &n| z + scale * n);
    Ok((z_hat, sigma * (1.0 + gamma)))
}

/// Classifier-free guidance `x̂ = x̂_u + g (x̂_c − x̂_u)`: g = 0 unconditional, 1 conditional. `[eq:guidance]`
///
/// # Errors
/// [`SamplerError::Shape`].
///
/// # Source
/// Ho & Salimans 2022 (arXiv:2207.12598), Eq. 6, with g = 1 + w.
pub fn guide(
    unconditional: &ArrayD<f64>,
    conditional: &ArrayD<f64>,
    guidance: f64,
) -> Result<ArrayD<f64>, SamplerError> {
    check_shape("the conditional prediction", unconditional, conditional)?;
    Ok(Zip::from(unconditional)
        .and(conditional)
        .map_collect(|&u, &c| u + guidance * (c - u)))
}
