//! Parametrisations of the denoiser, and conversions between clean data, noise, velocity and score.

use std::fmt;
use std::str::FromStr;

use crate::choice::{UnknownName, parse};
use crate::precondition::{Sigma, SigmaError, c_in, c_noise, c_out, c_skip};
use crate::sampler::family::{IDDPM_C, iddpm_levels};
use crate::schedule::{Ddpm, Schedule, VpLinear};

/// Why a pair of levels was refused.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LevelError {
    /// α must be positive.
    #[error("signal level alpha must be finite and > 0, got {got:?}")]
    Alpha {
        /// The refused value.
        got: f64,
    },
    /// σ must be positive.
    #[error(transparent)]
    Sigma(#[from] SigmaError),
}

/// Signal and noise level of one sample, `x_t = α x_0 + σ ε` with α, σ ∈ (0, ∞), checked once.
///
/// The ends of a schedule are excluded: without noise ε, without signal x_0 cannot be recovered from x_t.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Level {
    alpha: f64,
    sigma: f64,
}

impl Level {
    /// Accepts finite positive levels.
    ///
    /// # Errors
    /// [`LevelError`], with the refused value.
    pub fn new(alpha: f64, sigma: f64) -> Result<Self, LevelError> {
        if !(alpha.is_finite() && alpha > 0.0) {
            return Err(LevelError::Alpha { got: alpha });
        }
        Sigma::new(sigma)?;
        Ok(Self { alpha, sigma })
    }

    /// Signal level α.
    pub fn alpha(self) -> f64 {
        self.alpha
    }

    /// Noise level σ.
    pub fn sigma(self) -> f64 {
        self.sigma
    }

    /// `α² + σ²`: 1 for a variance-preserving schedule.
    fn total(self) -> f64 {
        self.alpha * self.alpha + self.sigma * self.sigma
    }
}

/// Parametrisation: the quantity that the network predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Parametrisation {
    /// `x0`: the clean data.
    X0,
    /// `eps`: the noise ε.
    Eps,
    /// `v`: the velocity v = α ε − σ x_0.
    V,
    /// `edm`: the target of EDM's preconditioning.
    Edm,
    /// `ve`: the noise with its sign turned, from the sample at its own scale, x_t/α.
    Ve,
}

impl Parametrisation {
    /// Every parametrisation.
    pub const ALL: [Self; 5] = [Self::X0, Self::Eps, Self::V, Self::Edm, Self::Ve];
}

impl fmt::Display for Parametrisation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::X0 => "x0",
            Self::Eps => "eps",
            Self::V => "v",
            Self::Edm => "edm",
            Self::Ve => "ve",
        })
    }
}

impl FromStr for Parametrisation {
    type Err = UnknownName;
    fn from_str(name: &str) -> Result<Self, UnknownName> {
        parse("parametrisation", &Self::ALL, name)
    }
}

/// What a network is told as its noise level, a function of σ' = σ/α.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NoiseCondition {
    /// `log-sigma`: ln(σ')/4.
    LogSigma,
    /// `vp-time`: the time of the schedule `vp-linear`, in thousandths.
    VpTime,
    /// `ddpm-step`: the number of the nearest step of DDPM.
    DdpmStep,
    /// `log-half-sigma`: ln(σ'/2).
    LogHalfSigma,
    /// `iddpm-step`: the number of the nearest level of improved DDPM.
    IddpmStep,
}

impl NoiseCondition {
    /// Every condition.
    pub const ALL: [Self; 5] = [
        Self::LogSigma,
        Self::VpTime,
        Self::DdpmStep,
        Self::LogHalfSigma,
        Self::IddpmStep,
    ];

    /// c_noise at noise level σ'.
    ///
    /// # Formula `[eq:noise-condition]`
    /// ```text
    /// log-sigma    ln(σ')/4
    /// vp-time      999 t,  σ_t/α_t = σ' under vp-linear, beyond its end too:  β_min t + ½(β_max − β_min) t² = ln(1 + σ'²)
    /// ddpm-step    argmin_k |λ_k − λ|,  λ = −2 ln σ',  k = 0 … 999
    /// log-half-sigma    ln(σ'/2)
    /// iddpm-step   999 − argmin_j |u_j − σ'|,  j = 0 … 999,  u of `[eq:iddpm-levels]`
    /// ```
    /// Published code of the last looks at u_1000 = 0 too, and tells its network −1 at σ' < u_999/2, where no network was trained.
    ///
    /// # Source
    /// Karras et al. 2022 (arXiv:2206.00364), Table 1 with M = 1000, for all but the third; Ho et al. 2020 (arXiv:2006.11239)
    /// for its steps, which the networks of Dhariwal & Nichol 2021 and Peebles & Xie 2023 are told.
    pub fn at(self, ratio: Sigma) -> f64 {
        let lambda = -2.0 * ratio.get().ln();
        match self {
            Self::LogSigma => c_noise(ratio),
            Self::VpTime => 999.0 * VpLinear::default().t_of_lambda(lambda),
            Self::DdpmStep => {
                let ddpm = Ddpm::default();
                ddpm.step(ddpm.t_of_lambda(lambda)) as f64
            }
            Self::LogHalfSigma => (0.5 * ratio.get()).ln(),
            Self::IddpmStep => {
                let levels = iddpm_levels(IDDPM_C[0], IDDPM_C[1]);
                let apart = |j: &usize| (levels[*j] - ratio.get()).abs();
                let steps = levels.len() - 1;
                let nearest = (0..steps).min_by(|a, b| apart(a).total_cmp(&apart(b)));
                (steps - 1 - nearest.unwrap_or(0)) as f64
            }
        }
    }
}

impl fmt::Display for NoiseCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LogSigma => "log-sigma",
            Self::VpTime => "vp-time",
            Self::DdpmStep => "ddpm-step",
            Self::LogHalfSigma => "log-half-sigma",
            Self::IddpmStep => "iddpm-step",
        })
    }
}

impl FromStr for NoiseCondition {
    type Err = UnknownName;
    fn from_str(name: &str) -> Result<Self, UnknownName> {
        parse("noise condition", &Self::ALL, name)
    }
}

/// Preconditioner of a network: alone it decides the network's input, its noise condition and the meaning of its output.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Preconditioner {
    /// Parametrisation: the quantity that the network predicts.
    pub parametrisation: Parametrisation,
    /// What it is told as its noise level.
    pub noise: NoiseCondition,
    /// σ_d.
    pub sigma_data: f64,
}

impl Preconditioner {
    /// Its coefficients at levels α, σ.
    ///
    /// # Errors
    /// As [`coefficients`].
    pub fn coefficients(&self, alpha: f64, sigma: f64) -> Result<Coefficients, LevelError> {
        Ok(Coefficients {
            noise: self.noise.at(Sigma::new(sigma / alpha)?),
            ..coefficients(self.parametrisation, alpha, sigma, self.sigma_data)?
        })
    }
}

/// The denoiser around a network F: `x̂ = skip · x_t + out · F(input · x_t, noise)`. `[eq:denoiser]`
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Coefficients {
    /// Weight of x_t.
    pub skip: f64,
    /// Weight of the network's output.
    pub out: f64,
    /// Scale of the network's input.
    pub input: f64,
    /// The noise level as the network sees it.
    pub noise: f64,
}

/// Coefficients of the denoiser at levels α, σ, the noise level as EDM tells it: `ln(σ')/4`.
///
/// # Formula `[eq:denoiser-coefficients]`
/// ```text
///        skip               out            input
/// x0     0                  1              1
/// eps    1/α                −σ/α           1
/// v      α/(α²+σ²)          −σ/(α²+σ²)     1
/// edm    c_skip(σ')/α       c_out(σ')      c_in(σ')/α        σ' = σ/α
/// ve     1/α                σ/α            1/α
/// ```
/// `sigma_data` matters to `edm` only.
///
/// # Errors
/// [`LevelError`] unless α, σ and σ_d are finite and positive.
///
/// # Source
/// Salimans & Ho 2022 (arXiv:2202.00512), §4 for v; Karras et al. 2022 (arXiv:2206.00364), Eq. 7 for edm,
/// applied to x_t/α, which has noise level σ'.
pub fn coefficients(
    p: Parametrisation,
    alpha: f64,
    sigma: f64,
    sigma_data: f64,
) -> Result<Coefficients, LevelError> {
    let level = Level::new(alpha, sigma)?;
    let ratio = Sigma::new(sigma / alpha)?;
    let sigma_data = Sigma::new(sigma_data)?;
    let (skip, out, input) = match p {
        Parametrisation::X0 => (0.0, 1.0, 1.0),
        Parametrisation::Eps => (1.0 / alpha, -sigma / alpha, 1.0),
        Parametrisation::V => (alpha / level.total(), -sigma / level.total(), 1.0),
        Parametrisation::Edm => (
            c_skip(ratio, sigma_data) / alpha,
            c_out(ratio, sigma_data),
            c_in(ratio, sigma_data) / alpha,
        ),
        Parametrisation::Ve => (1.0 / alpha, ratio.get(), 1.0 / alpha),
    };
    Ok(Coefficients {
        skip,
        out,
        input,
        noise: c_noise(ratio),
    })
}

/// `x_0 = (x_t − σ ε)/α`. `[eq:x0-from-eps]`
pub fn x0_from_eps(x_t: f64, eps: f64, level: Level) -> f64 {
    (x_t - level.sigma * eps) / level.alpha
}

/// `ε = (x_t − α x_0)/σ`. `[eq:eps-from-x0]`
pub fn eps_from_x0(x_t: f64, x0: f64, level: Level) -> f64 {
    (x_t - level.alpha * x0) / level.sigma
}

/// `v = α ε − σ x_0`, the velocity of the pair (x_0, ε) along the circle for VP. `[eq:v]`
pub fn v_from_x0_eps(x0: f64, eps: f64, level: Level) -> f64 {
    level.alpha * eps - level.sigma * x0
}

/// v from the clean data alone, `v = (α x_t − (α² + σ²) x_0)/σ`. `[eq:v-from-x0]`
pub fn v_from_x0(x_t: f64, x0: f64, level: Level) -> f64 {
    v_from_x0_eps(x0, eps_from_x0(x_t, x0, level), level)
}

/// v from the noise alone, `v = ((α² + σ²) ε − σ x_t)/α`. `[eq:v-from-eps]`
pub fn v_from_eps(x_t: f64, eps: f64, level: Level) -> f64 {
    v_from_x0_eps(x0_from_eps(x_t, eps, level), eps, level)
}

/// `x_0 = (α x_t − σ v)/(α² + σ²)`. `[eq:x0-from-v]`
pub fn x0_from_v(x_t: f64, v: f64, level: Level) -> f64 {
    (level.alpha * x_t - level.sigma * v) / level.total()
}

/// `ε = (σ x_t + α v)/(α² + σ²)`. `[eq:eps-from-v]`
pub fn eps_from_v(x_t: f64, v: f64, level: Level) -> f64 {
    (level.sigma * x_t + level.alpha * v) / level.total()
}

/// Score of `q(x_t | x_0)`: `∇ ln q = (α x_0 − x_t)/σ²`; with x̂ = E[x_0|x_t] the score of q(x_t) (Tweedie). `[eq:score]`
pub fn score_from_x0(x_t: f64, x0: f64, level: Level) -> f64 {
    score_from_eps(eps_from_x0(x_t, x0, level), level)
}

/// `∇ ln q = −ε/σ`. `[eq:score-from-eps]`
pub fn score_from_eps(eps: f64, level: Level) -> f64 {
    -eps / level.sigma
}

/// `ε = −σ ∇ ln q`. `[eq:eps-from-score]`
pub fn eps_from_score(score: f64, level: Level) -> f64 {
    -level.sigma * score
}

/// `x_0 = (x_t + σ² ∇ ln q)/α`. `[eq:x0-from-score]`
pub fn x0_from_score(x_t: f64, score: f64, level: Level) -> f64 {
    x0_from_eps(x_t, eps_from_score(score, level), level)
}
