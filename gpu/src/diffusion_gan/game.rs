//! The two losses of a step of the game, with the penalty on slopes.

use super::loss::{Discriminator, GanLoss, r1, r1_approximate};
use crate::error::{Error, Result};
use candle_core::Tensor;
use serde::{Deserialize, Serialize};

/// How the slope at real images is penalised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Penalty {
    /// By its square, through second derivatives.
    R1,
    /// By the difference between an image and another near it.
    R1Approximate,
}

/// What is played.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Game {
    /// The losses.
    pub loss: GanLoss,
    /// How the slope is penalised.
    pub penalty: Penalty,
    /// γ: L_D has γ/2 times the penalty; 0 for none.
    pub gamma: f64,
    /// Steps from one with the penalty to the next, which then counts so many times.
    pub every: usize,
    /// σ of the approximate penalty.
    pub sigma: f64,
}

/// StyleGAN2's: the logistic loss, R1 at every sixteenth step; γ is its for CIFAR-10.
impl Default for Game {
    fn default() -> Self {
        Self {
            loss: GanLoss::Logistic,
            penalty: Penalty::R1,
            gamma: 0.01,
            every: 16,
            sigma: 0.01,
        }
    }
}

/// Images as the discriminator sees them.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// y, `[B, …]`.
    pub y: &'a Tensor,
    /// t, `[B]`.
    pub t: &'a [usize],
}

/// The discriminator's part of a step.
#[derive(Debug)]
pub struct Judgement {
    /// What it descends.
    pub total: Tensor,
    /// L_D.
    pub loss: Tensor,
    /// The penalty, where this step has one, not yet times γ/2 and `every`.
    pub penalty: Option<Tensor>,
    /// Logits of real images, for [`Diffusion::observe`](super::Diffusion::observe).
    pub real: Tensor,
}

impl Game {
    /// Requires every option to be in its range.
    ///
    /// # Errors
    /// The first that is not, by its name.
    pub fn check(&self) -> Result<()> {
        if !(self.gamma.is_finite() && self.gamma >= 0.0) {
            return Err(Error::invalid(
                "gamma",
                "be finite and at least 0",
                self.gamma,
            ));
        }
        if self.every == 0 {
            return Err(Error::invalid("every", "be at least 1", self.every));
        }
        if !(self.sigma.is_finite() && self.sigma > 0.0) {
            return Err(Error::invalid("sigma", "be finite and > 0", self.sigma));
        }
        Ok(())
    }

    /// What D descends at step `number`: L_D + (γ/2) · every · penalty.
    ///
    /// `weights`: ᾱ_t of the real images, for the slope in the image before the noise. `noise` `[B, …]` for the approximate penalty.
    /// Generated images are looked at without their graph.
    ///
    /// # Errors
    /// Shapes that do not fit, a discriminator without second derivatives where they are asked for.
    pub fn discriminator(
        &self,
        discriminator: &dyn Discriminator,
        [real, fake]: [Seen<'_>; 2],
        number: usize,
        weights: &[f64],
        noise: impl FnOnce() -> Result<Tensor>,
    ) -> Result<Judgement> {
        let of_real = discriminator.logits(real.y, real.t)?;
        let of_fake = discriminator.logits(&fake.y.detach(), fake.t)?;
        let loss = self.loss.discriminator(&of_real, &of_fake)?;
        let due = self.gamma > 0.0 && number.is_multiple_of(self.every);
        let penalty = match self.penalty {
            _ if !due => None,
            Penalty::R1 => Some(r1(discriminator, real.y, real.t, weights)?),
            Penalty::R1Approximate => {
                let noise = noise()?;
                let penalty = r1_approximate(discriminator, real.y, real.t, &noise, self.sigma);
                Some(penalty?)
            }
        };
        let factor = 0.5 * self.gamma * self.every as f64;
        let total = match &penalty {
            Some(penalty) => (&loss + (penalty * factor)?)?,
            None => loss.clone(),
        };
        Ok(Judgement {
            total,
            loss,
            penalty,
            real: of_real.detach(),
        })
    }

    /// What G descends: L_G of generated images, whose gradient flows back through their noising.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn generator(&self, discriminator: &dyn Discriminator, fake: Seen<'_>) -> Result<Tensor> {
        (self.loss).generator(&discriminator.logits(fake.y, fake.t)?)
    }
}
