//! The denoising objective: what the denoiser predicts, and its loss.

pub mod denoising;
pub mod parametrisation;
pub mod preconditioner;
pub mod variance;
pub mod weight;

use crate::Result;
use crate::forward::schedule::Schedule;
use crate::network::{Mode, Network, Told};
use candle_core::Tensor;
use denoising::Weight;
use parametrisation::Parametrisation;
use preconditioner::{NoiseCondition, Preconditioner, Prediction};
use variance::PredictedVariance;

/// The denoising objective.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Objective {
    /// α_t, σ_t.
    pub schedule: Schedule,
    /// Parametrisation: the quantity that the network predicts.
    pub parametrisation: Parametrisation,
    /// What it is told as noise level.
    pub noise: NoiseCondition,
    /// w(λ_t).
    pub weight: Weight,
    /// σ_d.
    pub sigma_data: f64,
    /// What is asked of the network's variances.
    pub variance: PredictedVariance,
}

impl Objective {
    /// x̂ of noised images, by a denoiser inside its preconditioner.
    ///
    /// # Errors
    /// Those of [`Preconditioner::denoise`].
    pub fn denoise<'a>(
        &self,
        denoiser: &dyn Network,
        x_t: &Tensor,
        t: &[f64],
        told: impl Into<Told<'a>>,
        mode: Mode<'_>,
    ) -> Result<Prediction> {
        let times = (self.schedule, t);
        (self.preconditioner()).denoise(denoiser, x_t, times, told, mode)
    }

    /// What stands between x_t and the denoiser's network.
    pub fn preconditioner(&self) -> Preconditioner {
        Preconditioner {
            parametrisation: self.parametrisation,
            noise: self.noise,
            sigma_data: self.sigma_data,
        }
    }
}
