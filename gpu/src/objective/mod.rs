//! What the denoiser is asked (the slot `Objective`): what it predicts, and its loss.

pub mod denoising;
pub mod parametrisation;

use crate::Result;
use crate::forward::schedule::Schedule;
use crate::network::Denoiser;
use candle_core::Tensor;
use denoising::Weight;
use parametrisation::{Parametrisation, Prediction};

/// What the denoiser is asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Objective {
    /// α_t, σ_t.
    pub schedule: Schedule,
    /// What the network predicts.
    pub parametrisation: Parametrisation,
    /// w(λ_t).
    pub weight: Weight,
    /// σ_d.
    pub sigma_data: f64,
}

impl Objective {
    /// x̂ of noised images, by a denoiser inside its preconditioner.
    ///
    /// # Errors
    /// Those of [`parametrisation::predict`].
    pub fn denoise(
        &self,
        denoiser: &dyn Denoiser,
        x_t: &Tensor,
        t: &[f64],
        labels: Option<&[u32]>,
    ) -> Result<Prediction> {
        let (schedule, kind) = (self.schedule, self.parametrisation);
        parametrisation::predict(denoiser, x_t, t, schedule, kind, self.sigma_data, labels)
    }
}
