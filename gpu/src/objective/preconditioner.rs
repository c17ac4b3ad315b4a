//! Preconditioner of a network: alone it decides the network's input, its noise condition and the meaning of its output.

use super::parametrisation::Parametrisation;
use crate::error::{Error, Result};
use crate::forward::scale_samples;
use crate::forward::schedule::Schedule;
use crate::forward::schedule::vp_linear::vp_time;
use crate::network::{Condition, Mode, Network, Told};
use crate::sampler::family::iddpm_steps;
use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// What a network is told as its noise level, a function c_noise of σ' = σ/α.
///
/// # Formula `[eq:noise-condition]`
/// | name | c_noise |
/// |---|---|
/// | `log-sigma` | ln(σ')/4 |
/// | `vp-time` | (M − 1) t with σ'_t = σ' under `vp-linear`, beyond its end too; M = 1000 |
/// | `ddpm-step` | the number k = 0 … 999 of the step of `ddpm` whose λ is nearest |
///
/// # Source
/// Karras et al. (arXiv:2206.00364), Table 1, for the first two; Ho et al. (arXiv:2006.11239) for the steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoiseCondition {
    /// ln(σ')/4.
    LogSigma,
    /// The time of a variance preserving schedule, in thousandths.
    VpTime,
    /// The number of a step of DDPM.
    DdpmStep,
    /// ln(σ'/2).
    LogHalfSigma,
    /// The number of a level of improved DDPM.
    IddpmStep,
}

/// M − 1: the largest noise condition of a network that counts steps.
const LAST_STEP: f64 = 999.0;

impl NoiseCondition {
    /// Every condition.
    pub const ALL: [Self; 5] = [
        Self::LogSigma,
        Self::VpTime,
        Self::DdpmStep,
        Self::LogHalfSigma,
        Self::IddpmStep,
    ];

    /// The name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::LogSigma => "log-sigma",
            Self::VpTime => "vp-time",
            Self::DdpmStep => "ddpm-step",
            Self::LogHalfSigma => "log-half-sigma",
            Self::IddpmStep => "iddpm-step",
        }
    }

    /// c_noise at noise level `ratio` = σ'.
    pub fn at(self, ratio: f64) -> f64 {
        match self {
            Self::LogSigma => 0.25 * ratio.ln(),
            Self::VpTime => LAST_STEP * vp_time(ratio),
            Self::DdpmStep => (LAST_STEP * Schedule::DDPM.t_of_sigma_ratio(ratio)).round(),
            Self::LogHalfSigma => (ratio / 2.0).ln(),
            Self::IddpmStep => iddpm_step(ratio),
        }
    }
}

/// Steps of improved DDPM from the end, to the level nearest to `ratio`; its levels fall.
fn iddpm_step(ratio: f64) -> f64 {
    let levels = iddpm_steps();
    let below = levels.partition_point(|level| *level > ratio);
    let nearer_above =
        below == levels.len() || below > 0 && levels[below - 1] - ratio <= ratio - levels[below];
    let nearest = if nearer_above { below - 1 } else { below };
    (levels.len() - 1 - nearest) as f64
}

impl fmt::Display for NoiseCondition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for NoiseCondition {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|n| n.name() == text);
        found
            .ok_or_else(|| Error::unknown_name("noise condition", text, &Self::ALL.map(Self::name)))
    }
}

/// The scalars of x̂ = skip·x_t + out·F(input·x_t, noise).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Coefficients {
    /// Factor of x_t in x̂.
    pub skip: f64,
    /// Factor of the network's output in x̂.
    pub out: f64,
    /// Factor of x_t at the network's input.
    pub input: f64,
    /// Noise condition c_noise.
    pub noise: f64,
}

/// A prediction with what led to it.
#[derive(Debug, Clone)]
pub struct Prediction {
    /// Predicted clean batch, `[B, C, H, W]`.
    pub x_hat: Tensor,
    /// The network's output F, `[B, C, H, W]`.
    pub network_out: Tensor,
    /// Variances, as many, of a network that predicts them too.
    pub variances: Option<Tensor>,
    /// One set of coefficients per sample.
    pub coefficients: Vec<Coefficients>,
}

impl Prediction {
    /// The network's output, and after it its variances if they are asked for.
    ///
    /// # Errors
    /// A network without variances.
    pub fn channels(&self, with_variances: bool) -> Result<Tensor> {
        if !with_variances {
            return Ok(self.network_out.clone());
        }
        let variances = self.variances.as_ref().ok_or_else(no_variances)?;
        Ok(Tensor::cat(&[&self.network_out, variances], 1)?)
    }
}

/// Why variances of a network without them cannot be learnt, or used.
pub(crate) fn no_variances() -> Error {
    let must = "be none for a network without variances (model.dit.learn_sigma = true has them)";
    Error::invalid("objective.variance", must, "learned-range")
}

/// What stands between x_t and a network.
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
    /// The coefficients at levels α, σ.
    ///
    /// # Limits
    /// `eps` is infinite at α = 0, and so is `noise` at σ = 0 or α = 0.
    pub fn coefficients(&self, alpha: f64, sigma: f64) -> Coefficients {
        let [skip, out, input] = self.parametrisation.factors(alpha, sigma, self.sigma_data);
        Coefficients {
            skip,
            out,
            input,
            noise: self.noise.at(sigma / alpha),
        }
    }

    /// The clean batch that a network predicts from a noised one, with what led to it.
    ///
    /// # Formula
    /// ```text
    /// x̂_i = skip_i x_t,i + out_i F(input_i x_t,i, noise_i, told_i)
    /// ```
    /// Of a network that also predicts variances F is the first half of the channels.
    /// # Shapes
    /// `x_t: [B, C, H, W]`; `t`: B times or one for the whole batch; `told`: B classes, B augmentations, or neither.
    /// # Errors
    /// A time at which a coefficient is not finite (σ_t = 0 or α_t = 0), another number of times, and
    /// whatever the network refuses.
    pub fn denoise<'a>(
        &self,
        network: &dyn Network,
        x_t: &Tensor,
        (schedule, t): (Schedule, &[f64]),
        told: impl Into<Told<'a>>,
        mode: Mode<'_>,
    ) -> Result<Prediction> {
        let batch = x_t.dim(0)?;
        if t.len() != batch && t.len() != 1 {
            let must = format!("be the batch size {batch} or 1");
            return Err(Error::invalid("number of times t", must, t.len()));
        }
        let coefficients = (0..batch)
            .map(|i| self.finite_coefficients(schedule, t[i % t.len()]))
            .collect::<Result<Vec<Coefficients>>>()?;
        let column =
            |part: fn(&Coefficients) -> f64| coefficients.iter().map(part).collect::<Vec<f64>>();

        let input = scale_samples(x_t, &column(|c| c.input))?;
        let noise = column(|c| c.noise);
        let condition = Condition::of(&noise, told.into());
        let output = network.forward(&input, &condition, mode)?;
        let (network_out, variances) = halves(output, x_t.dim(1)?)?;
        let skipped = scale_samples(x_t, &column(|c| c.skip))?;
        let x_hat = (skipped + scale_samples(&network_out, &column(|c| c.out))?)?;
        Ok(Prediction {
            x_hat,
            network_out,
            variances,
            coefficients,
        })
    }

    fn finite_coefficients(&self, schedule: Schedule, t: f64) -> Result<Coefficients> {
        let c = self.coefficients(schedule.alpha(t), schedule.sigma(t));
        if [c.skip, c.out, c.input, c.noise]
            .iter()
            .all(|v| v.is_finite())
        {
            return Ok(c);
        }
        let what = format!("time t of schedule {schedule}");
        let kind = self.parametrisation;
        let must = format!("have finite {kind} coefficients (α_t > 0 and σ_t > 0)");
        Err(Error::invalid(what, must, t))
    }
}

/// The first `channels` channels of an output, and as many variances if there are more.
fn halves(output: Tensor, channels: usize) -> Result<(Tensor, Option<Tensor>)> {
    let all = output.dim(1)?;
    if all == channels {
        return Ok((output, None));
    }
    let variances = output.narrow(1, channels, all - channels)?;
    Ok((output.narrow(1, 0, channels)?, Some(variances)))
}
