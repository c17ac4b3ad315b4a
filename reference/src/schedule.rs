//! Noise schedules: how much signal α_t and how much noise σ_t a sample carries at time t.

use std::f64::consts::{FRAC_PI_2, PI};
use std::fmt;
use std::str::FromStr;

use crate::choice::{UnknownName, parse};

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

/// Variance preserving, with noise rate `β(t) = β_min + (β_max − β_min) t` on [0, 1]. `[eq:vp-linear]`
/// ```text
/// b_t = ∫₀ᵗ β = β_min t + ½ (β_max − β_min) t²
/// α_t = exp(−b_t/2)    σ_t² = −expm1(−b_t)    λ_t = −ln expm1(b_t)
/// ```
/// Exact at t = 0: α = 1, σ = 0, λ = +∞.
///
/// # Source
/// Song et al. 2021 (arXiv:2011.13456), Appendix C; β from 0.1 to 20 by default.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VpLinear {
    beta_min: f64,
    beta_max: f64,
}

impl VpLinear {
    /// Noise rates at t = 0 and t = 1, with 0 < `beta_min` ≤ `beta_max` < 1000.
    ///
    /// # Errors
    /// [`ScheduleError::Rates`]; beyond 1000 the signal underflows.
    pub fn new(beta_min: f64, beta_max: f64) -> Result<Self, ScheduleError> {
        check_rates(beta_min, beta_max, 1000.0)?;
        Ok(Self { beta_min, beta_max })
    }

    /// `∫_s^t β = (t − s) (β_min + ½ (β_max − β_min)(s + t))`.
    fn integral(self, s: f64, t: f64) -> f64 {
        (t - s) * (self.beta_min + 0.5 * (self.beta_max - self.beta_min) * (s + t))
    }
}

impl Default for VpLinear {
    fn default() -> Self {
        Self {
            beta_min: 0.1,
            beta_max: 20.0,
        }
    }
}

impl Schedule for VpLinear {
    fn alpha(&self, t: f64) -> f64 {
        (-0.5 * self.integral(0.0, t)).exp()
    }
    fn sigma(&self, t: f64) -> f64 {
        (-(-self.integral(0.0, t)).exp_m1()).sqrt()
    }
    fn lambda(&self, t: f64) -> f64 {
        -self.integral(0.0, t).exp_m1().ln()
    }
    fn lambda_grad(&self, t: f64) -> f64 {
        let beta = self.beta_min + (self.beta_max - self.beta_min) * t;
        beta / (-self.integral(0.0, t)).exp_m1()
    }
    fn domain(&self) -> (f64, f64) {
        (0.0, 1.0)
    }
    fn sigma2_transition(&self, s: f64, t: f64) -> f64 {
        -(-self.integral(s, t)).exp_m1()
    }
    fn t_of_lambda(&self, lambda: f64) -> f64 {
        // b = ln(1 + e^{−λ}), then the positive root of ½(β_max − β_min) t² + β_min t = b.
        let b = (-lambda).max(0.0) + (-lambda.abs()).exp().ln_1p();
        let root = (self.beta_min.powi(2) + 2.0 * (self.beta_max - self.beta_min) * b).sqrt();
        2.0 * b / (self.beta_min + root)
    }
}

/// Variance preserving on a quarter circle: `α_t = cos(πt/2)`, `σ_t = sin(πt/2)` on [0, 1]. `[eq:cosine]`
/// ```text
/// λ_t = −2 ln tan(πt/2)    dλ/dt = −2π / sin(πt)    σ²_{t|s} = sin(π(t−s)/2) sin(π(t+s)/2) / cos²(πs/2)
/// ```
/// Exact at both ends: α_1 = 0 and λ_1 = −∞, without the offset and the clipping of the discrete original.
///
/// # Source
/// Nichol & Dhariwal 2021 (arXiv:2102.09672), Eq. 17, with s = 0; Kingma & Gao 2023 (arXiv:2303.00848), Table 1.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Cosine;

impl Schedule for Cosine {
    fn alpha(&self, t: f64) -> f64 {
        (FRAC_PI_2 * (1.0 - t)).sin()
    }
    fn sigma(&self, t: f64) -> f64 {
        (FRAC_PI_2 * t).sin()
    }
    fn lambda(&self, t: f64) -> f64 {
        2.0 * (self.alpha(t) / self.sigma(t)).ln()
    }
    fn lambda_grad(&self, t: f64) -> f64 {
        -PI / (self.alpha(t) * self.sigma(t))
    }
    fn domain(&self) -> (f64, f64) {
        (0.0, 1.0)
    }
    fn sigma2_transition(&self, s: f64, t: f64) -> f64 {
        if s >= t {
            return 0.0;
        }
        // sin(π(t+s)/2) = sin(π(1 − (t+s)/2)): the second form is exact near t = s = 1.
        let sine_of_sum = (FRAC_PI_2 * (t + s).min((1.0 - t) + (1.0 - s))).sin();
        (FRAC_PI_2 * (t - s)).sin() * sine_of_sum / self.alpha(s).powi(2)
    }
    fn t_of_lambda(&self, lambda: f64) -> f64 {
        (-0.5 * lambda).exp().atan() / FRAC_PI_2
    }
}

/// The discrete schedule of DDPM: `ᾱ_k = Π_{i≤k} (1 − β_i)`, β linear in i = 0 … T−1. `[eq:ddpm]`
/// ```text
/// k = round(t (T − 1))    α_t = √ᾱ_k    σ_t² = 1 − ᾱ_k    λ_t = −ln expm1(−ln ᾱ_k)
/// ```
/// so t ∈ [0, 1] runs through the T steps, t = k/(T−1) being step k; there is no step without noise
/// (ᾱ_0 = 0.9999). λ' is the central difference of λ over the neighbouring steps, one-sided at the ends;
/// [`t_of_lambda`](Schedule::t_of_lambda) returns the nearest step.
///
/// # Source
/// Ho et al. 2020 (arXiv:2006.11239), §4: β from 1e-4 to 0.02, T = 1000.
#[derive(Debug, Clone, PartialEq)]
pub struct Ddpm {
    /// `ln(1 − β_k)`.
    log_keep: Vec<f64>,
    /// `ln ᾱ_k`.
    log_alpha_bar: Vec<f64>,
}

impl Ddpm {
    /// `steps ≥ 2` rates from `beta_min` to `beta_max`, with 0 < `beta_min` ≤ `beta_max` < 1.
    ///
    /// # Errors
    /// [`ScheduleError::Rates`] or [`ScheduleError::Steps`].
    pub fn new(beta_min: f64, beta_max: f64, steps: usize) -> Result<Self, ScheduleError> {
        check_rates(beta_min, beta_max, 1.0)?;
        if steps < 2 {
            return Err(ScheduleError::Steps { got: steps });
        }
        Ok(Self::from_rates(beta_min, beta_max, steps))
    }

    fn from_rates(beta_min: f64, beta_max: f64, steps: usize) -> Self {
        let last = (steps - 1) as f64;
        let log_keep: Vec<f64> = (0..steps)
            .map(|k| (-(beta_min + (beta_max - beta_min) * (k as f64 / last))).ln_1p())
            .collect();
        let log_alpha_bar = log_keep
            .iter()
            .scan(0.0, |sum, &x| {
                *sum += x;
                Some(*sum)
            })
            .collect();
        Self {
            log_keep,
            log_alpha_bar,
        }
    }

    /// Step `k = round(t (T − 1))`.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "t in [0, 1] gives an index; beyond it the nearest end"
    )]
    pub fn step(&self, t: f64) -> usize {
        let last = self.log_keep.len() - 1;
        ((t * last as f64).round() as usize).min(last)
    }

    /// Number of steps T.
    pub fn steps(&self) -> usize {
        self.log_keep.len()
    }

    /// `ln ᾱ_k` of step k < T.
    ///
    /// # Panics
    /// If k ≥ T, like indexing.
    pub fn log_alpha_bar(&self, k: usize) -> f64 {
        self.log_alpha_bar[k]
    }

    fn lambda_of_step(&self, k: usize) -> f64 {
        -(-self.log_alpha_bar[k]).exp_m1().ln()
    }
}

impl Default for Ddpm {
    fn default() -> Self {
        Self::from_rates(1e-4, 0.02, 1000)
    }
}

impl Schedule for Ddpm {
    fn alpha(&self, t: f64) -> f64 {
        (0.5 * self.log_alpha_bar[self.step(t)]).exp()
    }
    fn sigma(&self, t: f64) -> f64 {
        (-self.log_alpha_bar[self.step(t)].exp_m1()).sqrt()
    }
    fn lambda(&self, t: f64) -> f64 {
        self.lambda_of_step(self.step(t))
    }
    fn lambda_grad(&self, t: f64) -> f64 {
        let last = self.log_keep.len() - 1;
        let k = self.step(t);
        let (before, after) = (k.saturating_sub(1), (k + 1).min(last));
        let change = self.lambda_of_step(after) - self.lambda_of_step(before);
        change / (after - before) as f64 * last as f64
    }
    fn domain(&self) -> (f64, f64) {
        (0.0, 1.0)
    }
    fn sigma2_transition(&self, s: f64, t: f64) -> f64 {
        let between = self.step(s) + 1..=self.step(t);
        let log_keep: f64 = between.map(|k| self.log_keep[k]).sum();
        0.0 - log_keep.exp_m1()
    }
    fn t_of_lambda(&self, lambda: f64) -> f64 {
        let last = self.log_keep.len() - 1;
        let distance = |&k: &usize| (self.lambda_of_step(k) - lambda).abs();
        let nearest = (0..=last).min_by(|a, b| distance(a).total_cmp(&distance(b)));
        nearest.unwrap_or(last) as f64 / last as f64
    }
}

/// Variance exploding, as EDM has it: `α = 1`, `σ_t = t` on [0, ∞). `[eq:edm-schedule]`
/// ```text
/// λ_t = −2 ln t    dλ/dt = −2/t    σ²_{t|s} = (t − s)(t + s)
/// ```
///
/// # Source
/// Karras et al. 2022 (arXiv:2206.00364), Table 1.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Edm;

impl Schedule for Edm {
    fn alpha(&self, _t: f64) -> f64 {
        1.0
    }
    fn sigma(&self, t: f64) -> f64 {
        t
    }
    fn lambda(&self, t: f64) -> f64 {
        -2.0 * t.ln()
    }
    fn lambda_grad(&self, t: f64) -> f64 {
        -2.0 / t
    }
    fn domain(&self) -> (f64, f64) {
        (0.0, f64::INFINITY)
    }
    fn sigma2_transition(&self, s: f64, t: f64) -> f64 {
        (t - s) * (t + s)
    }
    fn t_of_lambda(&self, lambda: f64) -> f64 {
        (-0.5 * lambda).exp()
    }
}

/// Straight interpolation: `α_t = 1 − t`, `σ_t = t` on [0, 1]. `[eq:rectified-flow]`
/// ```text
/// λ_t = 2 ln((1−t)/t)    dλ/dt = −2/(t(1−t))    σ²_{t|s} = (t − s)(t + s − 2ts)/(1 − s)²
/// ```
/// Exact at both ends: α_1 = 0 and λ_1 = −∞.
///
/// # Source
/// Liu et al. 2023 (arXiv:2209.03003).
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct RectifiedFlow;

impl Schedule for RectifiedFlow {
    fn alpha(&self, t: f64) -> f64 {
        1.0 - t
    }
    fn sigma(&self, t: f64) -> f64 {
        t
    }
    fn lambda(&self, t: f64) -> f64 {
        2.0 * ((1.0 - t) / t).ln()
    }
    fn lambda_grad(&self, t: f64) -> f64 {
        -2.0 / (t * (1.0 - t))
    }
    fn domain(&self) -> (f64, f64) {
        (0.0, 1.0)
    }
    fn sigma2_transition(&self, s: f64, t: f64) -> f64 {
        if s >= t {
            return 0.0;
        }
        // t + s − 2ts = t(1 − s) + s(1 − t), a sum of non-negative terms.
        (t - s) * (t * (1.0 - s) + s * (1.0 - t)) / (1.0 - s).powi(2)
    }
    fn t_of_lambda(&self, lambda: f64) -> f64 {
        1.0 / (1.0 + (0.5 * lambda).exp())
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

/// The schedules by name, each with its usual constants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ScheduleKind {
    /// `vp-linear`: [`VpLinear`], β from 0.1 to 20.
    VpLinear,
    /// `cosine`: [`Cosine`].
    Cosine,
    /// `ddpm`: [`Ddpm`], β from 1e-4 to 0.02 in 1000 steps.
    Ddpm,
    /// `edm`: [`Edm`].
    Edm,
    /// `rectified-flow`: [`RectifiedFlow`].
    RectifiedFlow,
}

impl ScheduleKind {
    /// Every schedule.
    pub const ALL: [Self; 5] = [
        Self::VpLinear,
        Self::Cosine,
        Self::Ddpm,
        Self::Edm,
        Self::RectifiedFlow,
    ];

    /// The schedule of this name.
    pub fn schedule(self) -> Box<dyn Schedule> {
        match self {
            Self::VpLinear => Box::new(VpLinear::default()),
            Self::Cosine => Box::new(Cosine),
            Self::Ddpm => Box::new(Ddpm::default()),
            Self::Edm => Box::new(Edm),
            Self::RectifiedFlow => Box::new(RectifiedFlow),
        }
    }
}

impl fmt::Display for ScheduleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::VpLinear => "vp-linear",
            Self::Cosine => "cosine",
            Self::Ddpm => "ddpm",
            Self::Edm => "edm",
            Self::RectifiedFlow => "rectified-flow",
        })
    }
}

impl FromStr for ScheduleKind {
    type Err = UnknownName;
    fn from_str(name: &str) -> Result<Self, UnknownName> {
        parse("schedule", &Self::ALL, name)
    }
}
