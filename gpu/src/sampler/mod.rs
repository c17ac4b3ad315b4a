//! Samplers: from noise to images along the noise levels σ' = σ/α.
//!
//! All of them work on z = x_t/α_t, in which every schedule looks like EDM's: z = x_0 + σ'ε. The
//! denoiser is asked at x_t = α_t z and the time t of that level.

mod steps;

use crate::error::{Error, Result};
use crate::forward::schedule::Schedule;
use crate::random::Streams;
use candle_core::Tensor;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

pub use steps::{
    Previous, ancestral_step, churn_gamma, churn_step, ddim_step, dpmpp_2m_step, euler_step,
    guided, heun_step, slope,
};

/// A sampler, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SamplerKind {
    /// EDM's second-order sampler (2·steps − 1 evaluations), churned if asked.
    Heun,
    /// Its first-order half (one evaluation a step), churned if asked.
    Euler,
    /// DDIM: deterministic at η = 0, ancestral at η = 1.
    Ddim,
    /// DDPM ancestral sampling from q(x_s | x_t, x̂).
    Ddpm,
    /// DPM-Solver++(2M): second order for one evaluation a step.
    #[serde(rename = "dpmpp-2m")]
    Dpmpp2m,
}

impl SamplerKind {
    /// Every sampler.
    pub const ALL: [Self; 5] = [
        Self::Heun,
        Self::Euler,
        Self::Ddim,
        Self::Ddpm,
        Self::Dpmpp2m,
    ];

    /// The name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Heun => "heun",
            Self::Euler => "euler",
            Self::Ddim => "ddim",
            Self::Ddpm => "ddpm",
            Self::Dpmpp2m => "dpmpp-2m",
        }
    }

    /// Evaluations of the denoiser (NFE) in a run of `steps` ≥ 1 steps: 2·steps − 1 for `heun`, else steps.
    pub fn evaluations(self, steps: usize) -> usize {
        match self {
            Self::Heun => (2 * steps).saturating_sub(1),
            _ => steps,
        }
    }

    /// The most steps that `evaluations` ≥ 1 of the denoiser allow.
    pub fn steps_within(self, evaluations: usize) -> usize {
        match self {
            Self::Heun => evaluations.div_ceil(2),
            _ => evaluations,
        }
    }
}

impl fmt::Display for SamplerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for SamplerKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|s| s.name() == text)
            .ok_or_else(|| Error::unknown_name("sampler", text, &Self::ALL.map(Self::name)))
    }
}

/// EDM's churn: fresh noise before a step of `heun` or `euler`.
///
/// # Formula
/// ```text
/// γ = min(S_churn/steps, √2 − 1) for σ' in [S_min, S_max], else 0
/// σ̂ = (1 + γ) σ',   z ← z + √(σ̂² − σ'²) S_noise ε
/// ```
/// # Source
/// Karras et al. (arXiv:2206.00364), Algorithm 2.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Churn {
    /// S_churn ≥ 0; 0 is the deterministic sampler.
    pub amount: f64,
    /// S_min.
    pub sigma_min: f64,
    /// S_max.
    pub sigma_max: f64,
    /// S_noise.
    pub noise: f64,
}

impl Default for Churn {
    fn default() -> Self {
        Self {
            amount: 0.0,
            sigma_min: 0.0,
            sigma_max: f64::INFINITY,
            noise: 1.0,
        }
    }
}

/// How to sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SamplerOptions {
    /// The sampler.
    pub kind: SamplerKind,
    /// Number of steps ≥ 1.
    pub steps: usize,
    /// Exponent ρ of the noise levels.
    pub rho: f64,
    /// Smallest positive noise level σ'; raised to the schedule's smallest if that is larger.
    pub sigma_min: f64,
    /// Largest noise level σ'; lowered to the schedule's largest if that is smaller.
    pub sigma_max: f64,
    /// Churn of `heun` and `euler`.
    pub churn: Churn,
    /// η of `ddim`, in [0, 1].
    pub ddim_eta: f64,
}

impl Default for SamplerOptions {
    fn default() -> Self {
        Self {
            kind: SamplerKind::Heun,
            steps: 18,
            rho: 7.0,
            sigma_min: 0.002,
            sigma_max: 80.0,
            churn: Churn::default(),
            ddim_eta: 0.0,
        }
    }
}

/// EDM's noise levels: `steps` decreasing positive ones, and 0.
///
/// # Formula
/// ```text
/// σ_i = (σ_max^{1/ρ} + i/(steps − 1) (σ_min^{1/ρ} − σ_max^{1/ρ}))^ρ,  i < steps;   σ_steps = 0
/// ```
/// The ends are σ_max and σ_min exactly; one step gives [σ_max, 0].
/// # Errors
/// No step, ρ not finite and > 0, levels not finite or not 0 < σ_min ≤ σ_max.
/// # Source
/// Karras et al. (arXiv:2206.00364), Eq. 5.
pub fn edm_sigmas(steps: usize, rho: f64, sigma_min: f64, sigma_max: f64) -> Result<Vec<f64>> {
    if steps == 0 {
        return Err(Error::invalid("number of sampling steps", "be ≥ 1", steps));
    }
    for (what, value) in [
        ("rho", rho),
        ("sigma_min", sigma_min),
        ("sigma_max", sigma_max),
    ] {
        if !(value.is_finite() && value > 0.0) {
            return Err(Error::invalid(what, "be finite and > 0", value));
        }
    }
    if sigma_min > sigma_max {
        let must = format!("be at most sigma_max = {sigma_max}");
        return Err(Error::invalid("sigma_min", must, sigma_min));
    }
    let (first, last) = (sigma_max.powf(rho.recip()), sigma_min.powf(rho.recip()));
    let level = |i: usize| match i {
        0 => sigma_max,
        i if i == steps - 1 => sigma_min,
        i => (first + i as f64 / (steps - 1) as f64 * (last - first)).powf(rho),
    };
    Ok((0..steps).map(level).chain([0.0]).collect())
}

/// A denoiser as a sampler sees it: x̂ from x_t and t.
pub type DenoiseFn<'a> = dyn Fn(&Tensor, f64) -> Result<Tensor> + 'a;

/// x̂ at z = x_t/α_t and level σ' = σ_t/α_t, in the element type of z.
pub fn denoised_at(
    denoise: &DenoiseFn<'_>,
    schedule: Schedule,
    z: &Tensor,
    sigma: f64,
) -> Result<Tensor> {
    let t = schedule.t_of_sigma_ratio(sigma);
    Ok(denoise(&(z * schedule.alpha(t))?, t)?.to_dtype(z.dtype())?)
}

/// Draws a batch of samples.
///
/// `noise` is standard normal and sets shape, device and dtype (the dtype of the sampler's state);
/// fresh noise of step i comes from the streams `sampler-churn` and `sampler-noise`, index i.
///
/// # Shapes
/// `noise: [B, …]`; `denoise` maps `[B, …]` to `[B, …]` → `[B, …]`.
/// # Errors
/// Options outside their ranges (see [`edm_sigmas`]; η outside [0, 1]; negative churn) and those of
/// `denoise`.
pub fn sample(
    denoise: &DenoiseFn<'_>,
    schedule: Schedule,
    options: &SamplerOptions,
    noise: &Tensor,
    streams: Streams,
) -> Result<Tensor> {
    sample_along(denoise, schedule, options, noise, streams, &mut |_, _| {
        Ok(())
    })
}

/// Who is shown the points of a trajectory: level σ' and z there.
pub type Visitor<'a> = dyn FnMut(f64, &Tensor) -> Result<()> + 'a;

/// As [`sample`]; `visit` sees z at every level, from the noise to the sample itself at level 0.
///
/// # Errors
/// As [`sample`], and those of `visit`.
pub fn sample_along(
    denoise: &DenoiseFn<'_>,
    schedule: Schedule,
    options: &SamplerOptions,
    noise: &Tensor,
    streams: Streams,
    visit: &mut Visitor<'_>,
) -> Result<Tensor> {
    check(options)?;
    let levels = noise_levels(schedule, options)?;
    let walk = Walk {
        denoise,
        schedule,
        options,
        streams,
    };
    let mut z = (noise * levels[0])?;
    let mut previous = None;
    visit(levels[0], &z)?;
    for (i, pair) in levels.windows(2).enumerate() {
        // Discrete schedules may map neighbouring levels to one step.
        if pair[0] > pair[1] {
            z = walk.step(&z, &mut previous, i as u64, pair[0], pair[1])?;
            visit(pair[1], &z)?;
        }
    }
    Ok(z)
}

/// The levels of a run: [`edm_sigmas`] within the schedule's range, each one that the schedule has.
pub fn noise_levels(schedule: Schedule, options: &SamplerOptions) -> Result<Vec<f64>> {
    let (lowest, highest) = schedule.sigma_ratio_range();
    let sigma_min = options.sigma_min.max(lowest);
    let sigma_max = options.sigma_max.min(highest);
    let mut levels = edm_sigmas(options.steps, options.rho, sigma_min, sigma_max)?;
    levels.pop();
    for level in &mut levels {
        *level = attained(schedule, *level);
    }
    levels.push(0.0);
    Ok(levels)
}

/// σ' itself, or the nearest level of a schedule that has only some.
fn attained(schedule: Schedule, sigma: f64) -> f64 {
    match schedule {
        Schedule::Ddpm => schedule.sigma_ratio(schedule.t_of_sigma_ratio(sigma)),
        _ => sigma,
    }
}

fn check(options: &SamplerOptions) -> Result<()> {
    if !(0.0..=1.0).contains(&options.ddim_eta) {
        return Err(Error::invalid("ddim_eta", "be in [0, 1]", options.ddim_eta));
    }
    for (what, value) in [
        ("churn amount", options.churn.amount),
        ("churn noise", options.churn.noise),
    ] {
        if !(value.is_finite() && value >= 0.0) {
            return Err(Error::invalid(what, "be finite and ≥ 0", value));
        }
    }
    Ok(())
}

/// What stays the same from step to step.
struct Walk<'a> {
    denoise: &'a DenoiseFn<'a>,
    schedule: Schedule,
    options: &'a SamplerOptions,
    streams: Streams,
}

impl Walk<'_> {
    /// One step; a multistep sampler keeps in `previous` what its next one needs.
    fn step(
        &self,
        z: &Tensor,
        previous: &mut Option<Previous>,
        index: u64,
        from: f64,
        to: f64,
    ) -> Result<Tensor> {
        match self.options.kind {
            SamplerKind::Heun | SamplerKind::Euler => {
                let (z, from) = self.churned(z, index, from)?;
                let d = slope(&z, &self.denoised(&z, from)?, from)?;
                let next = euler_step(&z, &d, from, to)?;
                if self.options.kind == SamplerKind::Euler || to == 0.0 {
                    return Ok(next);
                }
                let d_next = slope(&next, &self.denoised(&next, to)?, to)?;
                heun_step(&z, &d, &d_next, from, to)
            }
            SamplerKind::Ddim => {
                let denoised = self.denoised(z, from)?;
                let eta = self.options.ddim_eta;
                if eta == 0.0 || to == 0.0 {
                    return ddim_step(z, &denoised, None, from, to, 0.0);
                }
                let noise = self.noise("sampler-noise", index, z)?;
                ddim_step(z, &denoised, Some(&noise), from, to, eta)
            }
            SamplerKind::Ddpm => {
                let noise = self.noise("sampler-noise", index, z)?;
                ancestral_step(z, &self.denoised(z, from)?, &noise, from, to)
            }
            SamplerKind::Dpmpp2m => {
                let denoised = self.denoised(z, from)?;
                let next = dpmpp_2m_step(z, &denoised, previous.as_ref(), from, to)?;
                *previous = Some(Previous {
                    denoised,
                    sigma: from,
                });
                Ok(next)
            }
        }
    }

    /// x̂ at z and level σ'.
    fn denoised(&self, z: &Tensor, sigma: f64) -> Result<Tensor> {
        denoised_at(self.denoise, self.schedule, z, sigma)
    }

    /// z and its level after churn.
    fn churned(&self, z: &Tensor, index: u64, sigma: f64) -> Result<(Tensor, f64)> {
        let churn = &self.options.churn;
        let gamma = churn_gamma(churn, self.options.steps, sigma);
        let (_, highest) = self.schedule.sigma_ratio_range();
        let raised = attained(self.schedule, ((1.0 + gamma) * sigma).min(highest));
        if raised <= sigma {
            return Ok((z.clone(), sigma));
        }
        let noise = self.noise("sampler-churn", index, z)?;
        Ok((churn_step(z, &noise, churn.noise, sigma, raised)?, raised))
    }

    fn noise(&self, purpose: &str, index: u64, like: &Tensor) -> Result<Tensor> {
        self.streams
            .normal_tensor(purpose, index, like.shape(), like.device(), like.dtype())
    }
}
