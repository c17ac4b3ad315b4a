//! The published steps of DDPM and DDIM through some of the steps of a discrete process, in place of a walk through noise levels.

use super::{SamplerKind, Visitor};
use crate::choice::Choice;
use crate::forward::schedule::Schedule;
use crate::gaussian::{Betas, GaussianDiffusion, StepNoise, Variance, sample_steps};
use crate::objective::Objective;
use crate::objective::parametrisation::Parametrisation;
use crate::objective::variance::PredictedVariance;
use crate::random::Streams;
use crate::{Error, Result};
use candle_core::Tensor;

/// Steps of the schedule `ddpm`.
const STEPS: usize = 1000;

/// Which steps are made.
#[derive(Debug, Clone, PartialEq)]
pub struct Respacing {
    /// As [`respaced_steps`](crate::gaussian::respaced_steps) reads it: `250`, `10,15,20` or `ddim50`.
    pub steps: String,
    /// η of `ddim`, in [0, 1].
    pub eta: f64,
    /// Whether x̂_0 is kept in [−1, 1].
    pub clip: bool,
}

impl Respacing {
    /// The steps of a sampler for a network with this objective.
    ///
    /// # Errors
    /// A sampler without such steps, another schedule or parametrisation, η outside [0, 1], a respacing that does not fit.
    pub fn of(&self, objective: &Objective, sampler: SamplerKind) -> Result<Respaced> {
        let steps = &self.steps;
        let Some(noise) = sampler.discrete(self.eta) else {
            let known = SamplerKind::all().filter(|kind| kind.discrete(0.0).is_some());
            let known: Vec<&str> = known.map(Choice::name).collect();
            let what = format!("the sampler of the respacing `{steps}`");
            let must = format!(
                "be {} (an empty respacing walks through noise levels)",
                known.join(" or ")
            );
            return Err(Error::invalid(what, must, sampler));
        };
        let (schedule, parametrisation) = (objective.schedule, objective.parametrisation);
        if schedule != Schedule::DDPM || parametrisation != Parametrisation::Eps {
            let what = format!("the respacing `{steps}`");
            let must = "be of a network with objective.schedule = ddpm and objective.parametrisation = eps";
            let got = format!("{schedule} and {parametrisation}");
            return Err(Error::invalid(what, must, got));
        }
        if !(0.0..=1.0).contains(&self.eta) {
            return Err(Error::invalid("eta of ddim", "be in [0, 1]", self.eta));
        }
        let variance = match objective.variance {
            PredictedVariance::LearnedRange => Variance::LearnedRange,
            PredictedVariance::None => Variance::FixedLarge,
        };
        Ok(Respaced {
            process: GaussianDiffusion::new(Betas::Linear, STEPS, steps, variance)?,
            noise,
            clip: self.clip,
        })
    }
}

/// Some steps of a process, and how each is made.
#[derive(Debug, Clone, PartialEq)]
pub struct Respaced {
    process: GaussianDiffusion,
    noise: StepNoise,
    clip: bool,
}

impl Respaced {
    /// Whether the network's variances are used: it must answer with twice as many channels as an image has.
    pub fn learns_variance(&self) -> bool {
        self.process.variance() == Variance::LearnedRange
    }

    /// A batch of samples from standard normal `noise`; fresh noise of the i-th step comes from the stream `sampler-noise`, index i.
    ///
    /// `network` answers for x_t and the time of its step on the schedule `ddpm`: ε̂, then variances if they are learnt. `visit` sees σ/α and x_t/α.
    ///
    /// # Errors
    /// Those of the network and of `visit`; an answer with another number of channels.
    pub fn sample(
        &self,
        network: &dyn Fn(&Tensor, f64) -> Result<Tensor>,
        noise: &Tensor,
        streams: Streams,
        visit: &mut Visitor<'_>,
    ) -> Result<Tensor> {
        let bars = self.process.alphas_bar();
        let mut left = bars.len();
        let mut see = |left: usize, x: &Tensor| {
            let bar = left.checked_sub(1).map_or(1.0, |step| bars[step]);
            visit(((1.0 - bar) / bar).sqrt(), &(x / bar.sqrt())?)
        };
        see(left, noise)?;
        sample_steps(
            &self.process,
            &mut |x, told| {
                let step = told.first().copied().unwrap_or(f64::NAN);
                network(x, step / (STEPS - 1) as f64)
            },
            noise,
            (self.noise, self.clip),
            &mut |call| {
                let (shape, device) = (noise.shape(), noise.device());
                streams.normal_tensor("sampler-noise", call as u64, shape, device, noise.dtype())
            },
            &mut |_, x| {
                left -= 1;
                see(left, x)
            },
        )
    }
}
