//! Steps backwards.

use candle_core::Tensor;

use super::process::{GaussianDiffusion, Variance, of_steps};
use crate::{Error, Result};

/// Mean and variance of x_{t−1}, and the clean image that they come from.
#[derive(Debug, Clone)]
pub struct StepPrediction {
    /// The mean.
    pub mean: Tensor,
    /// Logarithm of the variance.
    pub log_variance: Tensor,
    /// x̂_0.
    pub x0: Tensor,
}

impl GaussianDiffusion {
    /// Noise and variance channels of an output for images `x`; no variances where none are learnt.
    ///
    /// # Errors
    /// Another number of channels.
    pub(super) fn halves(&self, output: &Tensor, x: &Tensor) -> Result<(Tensor, Option<Tensor>)> {
        let learnt = self.variance == Variance::LearnedRange;
        let channels = x.dim(1)?;
        let must = if learnt { 2 * channels } else { channels };
        if output.dim(1)? != must {
            let must = format!("be {must} for variances {:?}", self.variance);
            return Err(Error::invalid(
                "channels of the network's output",
                must,
                output.dim(1)?,
            ));
        }
        let eps = output.narrow(1, 0, channels)?;
        let v = learnt.then(|| output.narrow(1, channels, channels));
        Ok((eps, v.transpose()?))
    }

    /// What a network's output says of x_{t−1}; `clip` keeps x̂_0 in [−1, 1].
    ///
    /// # Formula `[eq:learned-range]`
    /// ```text
    /// x̂_0 = x_t/√ᾱ − √(1/ᾱ − 1) ε̂,   ln σ² = f ln β + (1 − f) ln β̃,   f = (v + 1)/2
    /// ```
    /// # Errors
    /// Shapes or steps that do not fit.
    pub fn predict(
        &self,
        output: &Tensor,
        x_t: &Tensor,
        t: &[usize],
        clip: bool,
    ) -> Result<StepPrediction> {
        self.check(t, x_t)?;
        let (eps, v) = self.halves(output, x_t)?;
        let log_variance = match v {
            None => {
                let log = |t: usize| {
                    if t == 0 {
                        self.posterior_variance(1).ln()
                    } else {
                        self.betas[t].ln()
                    }
                };
                of_steps(t, x_t, log)?.broadcast_as(x_t.shape())?
            }
            Some(v) => {
                // The middle of the range, and half of it times v.
                let range = |t: usize| [self.posterior_log_variance(t), self.betas[t].ln()];
                let half = of_steps(t, x_t, |t| (range(t)[1] - range(t)[0]) / 2.0)?;
                let middle = of_steps(t, x_t, |t| f64::midpoint(range(t)[0], range(t)[1]))?;
                v.broadcast_mul(&half)?.broadcast_add(&middle)?
            }
        };
        let over = of_steps(t, x_t, |t| self.clean_factors(t)[0])?;
        let noise = of_steps(t, x_t, |t| self.clean_factors(t)[1])?;
        let x0 = (x_t.broadcast_mul(&over)? - eps.broadcast_mul(&noise)?)?;
        let x0 = if clip { x0.clamp(-1.0, 1.0)? } else { x0 };
        Ok(StepPrediction {
            mean: self.posterior_mean(&x0, x_t, t)?,
            log_variance,
            x0,
        })
    }

    /// Mean of q(x_{t−1} | x_t, x_0).
    pub(super) fn posterior_mean(&self, x0: &Tensor, x_t: &Tensor, t: &[usize]) -> Result<Tensor> {
        let [of_x0, of_x_t] = [0, 1].map(|i| of_steps(t, x_t, |t| self.posterior_factors(t)[i]));
        Ok((x0.broadcast_mul(&of_x0?)? + x_t.broadcast_mul(&of_x_t?)?)?)
    }

    /// The noise that x̂_0 leaves of x_t.
    pub(super) fn noise_of(&self, x0: &Tensor, x_t: &Tensor, t: &[usize]) -> Result<Tensor> {
        let over = of_steps(t, x_t, |t| self.clean_factors(t)[0])?;
        let noise = of_steps(t, x_t, |t| self.clean_factors(t)[1])?;
        Ok((x_t.broadcast_mul(&over)? - x0)?.broadcast_div(&noise)?)
    }
}

/// x_{t−1} of DDPM: noise of the predicted variance around the mean, at the first step the mean.
///
/// # Errors
/// candle's.
pub fn ddpm_step(prediction: &StepPrediction, t: &[usize], noise: &Tensor) -> Result<Tensor> {
    let deviation = (&prediction.log_variance * 0.5)?.exp()?;
    let drawn = of_steps(t, noise, |t| if t == 0 { 0.0 } else { 1.0 })?;
    Ok((&prediction.mean + (deviation * noise)?.broadcast_mul(&drawn)?)?)
}

/// x_{t−1} of DDIM with η, at the first step without noise.
///
/// # Formula
/// ```text
/// σ² = η² (1 − ᾱ_{t−1})/(1 − ᾱ_t) (1 − ᾱ_t/ᾱ_{t−1}),   x_{t−1} = √ᾱ_{t−1} x̂_0 + √(1 − ᾱ_{t−1} − σ²) ε(x̂_0) + σ z
/// ```
/// # Errors
/// η outside [0, 1]; candle's.
pub fn ddim_step(
    diffusion: &GaussianDiffusion,
    prediction: &StepPrediction,
    x_t: &Tensor,
    t: &[usize],
    eta: f64,
    noise: &Tensor,
) -> Result<Tensor> {
    if !(0.0..=1.0).contains(&eta) {
        return Err(Error::invalid("eta", "be in [0, 1]", eta));
    }
    let variance = |t: usize| {
        let (now, before) = (diffusion.bars[t], diffusion.bar_before(t));
        eta * eta * (1.0 - before) / (1.0 - now) * (1.0 - now / before)
    };
    let eps = diffusion.noise_of(&prediction.x0, x_t, t)?;
    let clean = of_steps(t, x_t, |t| diffusion.bar_before(t).sqrt())?;
    let rest = |t: usize| {
        (1.0 - diffusion.bar_before(t) - variance(t))
            .max(0.0)
            .sqrt()
    };
    let rest = of_steps(t, x_t, rest)?;
    let drawn = of_steps(t, x_t, |t| if t == 0 { 0.0 } else { variance(t).sqrt() })?;
    let mean = (prediction.x0.broadcast_mul(&clean)? + eps.broadcast_mul(&rest)?)?;
    Ok((mean + noise.broadcast_mul(&drawn)?)?)
}

/// Classifier-free guidance of an output for a doubled batch, first with classes, then without: u + s (c − u) in the first `channels` channels of
/// both halves; other channels stay.
///
/// The published transformers guide three channels, also of latents that have four.
///
/// # Errors
/// An odd number of samples, fewer channels than are guided.
///
/// # Source
/// Ho and Salimans 2022 (arXiv:2207.12598), Eq. 6.
pub fn guided_pair(output: &Tensor, scale: f64, channels: usize) -> Result<Tensor> {
    let (samples, there) = (output.dim(0)?, output.dim(1)?);
    if samples == 0 || samples % 2 == 1 || channels > there {
        let must = format!("be even in samples and at least {channels} in channels");
        return Err(Error::invalid(
            "sides of a guided output",
            must,
            format!("{:?}", output.dims()),
        ));
    }
    let guided = output.narrow(1, 0, channels)?;
    let with = guided.narrow(0, 0, samples / 2)?;
    let without = guided.narrow(0, samples / 2, samples / 2)?;
    let both = crate::sampler::guided(&without, &with, scale)?;
    let both = Tensor::cat(&[&both, &both], 0)?;
    if channels == there {
        return Ok(both);
    }
    Ok(Tensor::cat(
        &[&both, &output.narrow(1, channels, there - channels)?],
        1,
    )?)
}

/// How a step draws.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum StepNoise {
    /// DDPM: the predicted variance.
    Ddpm,
    /// DDIM with η.
    Ddim {
        /// η in [0, 1].
        eta: f64,
    },
}

/// A sample from `x` at the last step, through all steps down to the first; `noise` gives the draw of the i-th call, and `visit` sees each state.
///
/// # Errors
/// Those of the network (an output for x_t and what it is told), of `noise`, of `visit`, and shapes that do not fit.
pub fn sample_steps(
    diffusion: &GaussianDiffusion,
    network: &mut dyn FnMut(&Tensor, &[f64]) -> Result<Tensor>,
    x: &Tensor,
    (kind, clip): (StepNoise, bool),
    noise: &mut dyn FnMut(usize) -> Result<Tensor>,
    visit: &mut dyn FnMut(&StepPrediction, &Tensor) -> Result<()>,
) -> Result<Tensor> {
    let mut x = x.clone();
    for (call, step) in (0..diffusion.count()).rev().enumerate() {
        let t = vec![step; x.dim(0)?];
        let output = network(&x, &diffusion.told(&t))?;
        let prediction = diffusion.predict(&output, &x, &t, clip)?;
        let draw = noise(call)?;
        x = match kind {
            StepNoise::Ddpm => ddpm_step(&prediction, &t, &draw)?,
            StepNoise::Ddim { eta } => ddim_step(diffusion, &prediction, &x, &t, eta, &draw)?,
        };
        visit(&prediction, &x)?;
    }
    Ok(x)
}
