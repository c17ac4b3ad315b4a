//! Samplers: from noise to images along the noise levels σ' = σ/α.
//!
//! All of them work on z = x_t/α_t, in which every schedule looks like EDM's: z = x_0 + σ'ε. The
//! denoiser is asked at x_t = α_t z and the time t of that level.

mod churn;
mod ddim;
mod ddpm;
mod dpmpp_2m;
mod euler;
pub mod family;
mod guidance;
mod heun;
mod respaced;

use crate::choice::{Choice, Slot};
use crate::error::{Error, Result};
use crate::forward::schedule::Schedule;
use crate::gaussian::StepNoise;
use crate::random::Streams;
use candle_core::Tensor;

pub use churn::{Churn, churn_gamma, churn_step};
pub use ddim::ddim_step;
pub use ddpm::ancestral_step;
pub use dpmpp_2m::{Previous, dpmpp_2m_step};
pub use euler::{euler_step, slope};
pub use family::{Discretization, Family, Scaling, TimeSchedule};
pub use guidance::{GuidedChannels, guided};
pub use heun::heun_step;
pub use respaced::{Respaced, Respacing};

/// A sampler, by name.
pub type SamplerKind = Choice<dyn Kind>;

/// A sampler.
pub trait Kind: Send + Sync {
    /// Step `index`, between two levels, the higher first; a multistep sampler keeps in `previous` what its next step needs.
    fn step(
        &self,
        walk: &Walk<'_>,
        z: &Tensor,
        previous: &mut Option<Previous>,
        index: u64,
        levels: [f64; 2],
    ) -> Result<Tensor>;

    /// The order that theory claims for the error at the end of a trajectory, in the largest step.
    ///
    /// None for a sampler that draws noise: its limit is a stochastic equation, for whose solutions one speaks of strong and
    /// weak orders.
    fn order(&self) -> Option<f64>;

    /// Evaluations of the denoiser (NFE) in a run of `steps` ≥ 1 steps.
    fn evaluations(&self, steps: usize) -> usize {
        steps
    }

    /// The most steps that `evaluations` ≥ 1 of the denoiser allow.
    fn steps_within(&self, evaluations: usize) -> usize {
        evaluations
    }

    /// Whether its steps can be straight in another time and at another scale.
    fn in_family(&self) -> bool {
        self.churns()
    }

    /// How its published form draws in a step of a discrete process; none of a sampler that has no such form. `eta` is DDIM's.
    fn discrete(&self, eta: f64) -> Option<StepNoise> {
        let _ = eta;
        None
    }

    /// Whether it takes [`Churn`].
    fn churns(&self) -> bool {
        false
    }
}

impl Slot for dyn Kind {
    const NAME: &'static str = "sampler";
    const ALL: &'static [Choice<Self>] = &[
        SamplerKind::HEUN,
        SamplerKind::EULER,
        SamplerKind::DDIM,
        SamplerKind::DDPM,
        SamplerKind::DPMPP_2M,
    ];
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
    /// Grid of levels; time and scale of the steps of `heun` and `euler`.
    pub family: Family,
}

impl Default for SamplerOptions {
    fn default() -> Self {
        Self {
            kind: SamplerKind::HEUN,
            steps: 18,
            rho: 7.0,
            sigma_min: 0.002,
            sigma_max: 80.0,
            churn: Churn::default(),
            ddim_eta: 0.0,
            family: Family::default(),
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

/// Callback for the points of a trajectory: level σ' and z there.
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
        range: range(schedule, options),
        streams,
    };
    let mut z = (noise * levels[0])?;
    let mut previous = None;
    visit(levels[0], &z)?;
    for (i, pair) in levels.windows(2).enumerate() {
        // Discrete schedules may map neighbouring levels to one step.
        if pair[0] > pair[1] {
            let levels = [pair[0], pair[1]];
            z = (options.kind).step(&walk, &z, &mut previous, i as u64, levels)?;
            visit(pair[1], &z)?;
        }
    }
    Ok(z)
}

/// The levels of a run: [`edm_sigmas`] within the schedule's range, each one that the schedule has.
pub fn noise_levels(schedule: Schedule, options: &SamplerOptions) -> Result<Vec<f64>> {
    let range = range(schedule, options);
    let mut levels = (options.family).levels(options.steps, options.rho, range)?;
    for level in &mut levels {
        *level = attained(schedule, *level);
    }
    levels.push(0.0);
    Ok(levels)
}

/// Lowest and highest positive level: those asked for, within the schedule's.
fn range(schedule: Schedule, options: &SamplerOptions) -> [f64; 2] {
    let (lowest, highest) = schedule.sigma_ratio_range();
    [
        options.sigma_min.max(lowest),
        options.sigma_max.min(highest),
    ]
}

/// σ' itself, or the nearest level of a schedule that has only some.
fn attained(schedule: Schedule, sigma: f64) -> f64 {
    if schedule.is_discrete() {
        schedule.sigma_ratio(schedule.t_of_sigma_ratio(sigma))
    } else {
        sigma
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
    if !options.family.is_plain() && !options.kind.in_family() {
        let what = "the time schedule, scaling and alpha of a sampler";
        let must = "be EDM's own (linear, none, 1), or the sampler heun or euler";
        return Err(Error::invalid(what, must, options.kind));
    }
    Ok(())
}

/// Constants of a trajectory.
pub struct Walk<'a> {
    denoise: &'a DenoiseFn<'a>,
    schedule: Schedule,
    options: &'a SamplerOptions,
    range: [f64; 2],
    streams: Streams,
}

impl Walk<'_> {
    /// x̂ at z and level σ'.
    ///
    /// # Errors
    /// Those of the denoiser.
    pub fn denoised(&self, z: &Tensor, sigma: f64) -> Result<Tensor> {
        denoised_at(self.denoise, self.schedule, z, sigma)
    }

    /// z and its level after churn.
    ///
    /// # Errors
    /// Those of candle.
    pub fn churned(&self, z: &Tensor, index: u64, sigma: f64) -> Result<(Tensor, f64)> {
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

    /// Standard normal noise of a step.
    ///
    /// # Errors
    /// Those of candle.
    pub fn noise(&self, purpose: &str, index: u64, like: &Tensor) -> Result<Tensor> {
        self.streams
            .normal_tensor(purpose, index, like.shape(), like.device(), like.dtype())
    }
}

/// Standard deviation of q(z_to | z_from, x_0): σ'_to √(1 − σ'_to²/σ'_from²).
fn posterior_std(from: f64, to: f64) -> f64 {
    let ratio = to / from;
    to * ((1.0 - ratio) * (1.0 + ratio)).sqrt()
}
