//! The hook through which somebody else may look at the very tensors of a step.
//!
//! `sadm-crosscheck` implements it with the f64 reference: that is the shadow check.

use crate::Result;
use crate::forward::schedule::Schedule;
use crate::objective::denoising::Weight;
use crate::objective::parametrisation::Parametrisation;
use crate::objective::preconditioner::{Coefficients, NoiseCondition};
use crate::structure::{Eta, StructureOptions};
use candle_core::Tensor;

/// The tensors of one update of one player.
#[derive(Debug)]
pub struct Observation<'a> {
    /// Step of the run.
    pub step: usize,
    /// Name of the phase: `denoise`, `guided` or `adversarial`.
    pub phase: &'a str,
    /// Whose update it is.
    pub player: Player,
    /// The denoising part (θ only).
    pub denoising: Option<DenoisingObservation<'a>>,
    /// The structural part, when the phase has one.
    pub structure: Option<StructureObservation<'a>>,
}

/// The two players of SADM Eq. 9–10.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Player {
    /// The denoiser, which descends.
    Theta,
    /// The structure discriminator Ψ_φ, which ascends.
    Phi,
}

/// The denoising part of an [`Observation`], with everything needed to compute it again.
#[derive(Debug)]
pub struct DenoisingObservation<'a> {
    /// α_t, σ_t.
    pub schedule: Schedule,
    /// What the network predicts.
    pub parametrisation: Parametrisation,
    /// What it is told as noise level.
    pub noise: NoiseCondition,
    /// σ_d of the preconditioning and of the EDM weight.
    pub sigma_data: f64,
    /// Kind of the denoising weight.
    pub weight: Weight,
    /// t of every sample.
    pub t: &'a [f64],
    /// skip, out, in, noise of every sample, as used.
    pub coefficients: &'a [Coefficients],
    /// w of every sample, as used.
    pub weights: &'a [f64],
    /// Real images x_0 `[B, C, H, W]`.
    pub x0: &'a Tensor,
    /// Noise ε `[B, C, H, W]`.
    pub eps: &'a Tensor,
    /// Noised images x_t `[B, C, H, W]`, as used.
    pub x_t: &'a Tensor,
    /// Output F of the network inside its preconditioner `[B, C, H, W]`, as used.
    pub network_out: &'a Tensor,
    /// Predicted clean images x̂ `[B, C, H, W]`, as used.
    pub x_hat: &'a Tensor,
    /// The denoising loss, as used.
    pub loss: f64,
    /// Gradient of the denoising loss with respect to x̂ `[B, C, H, W]`, as back-propagated.
    pub grad_x_hat: &'a Tensor,
}

/// The structural part of an [`Observation`].
#[derive(Debug)]
pub struct StructureObservation<'a> {
    /// R, D and the diagonal.
    pub options: StructureOptions,
    /// Kind of η.
    pub eta_kind: Eta,
    /// Clamp of η_t = 1/t.
    pub eta_t_min: f64,
    /// η of every sample, as used.
    pub eta: &'a [f64],
    /// t of every sample.
    pub t: &'a [f64],
    /// α_t, σ_t (η may depend on them).
    pub schedule: Schedule,
    /// The factor of S in what this player descends: λ for θ, −1 for φ. The gradients below contain it.
    pub factor: f64,
    /// Ψ = Ψ(x_0) `[B, d]`, as used.
    pub psi: &'a Tensor,
    /// Ψ̂ = Ψ(x̂) `[B, d]`, as used.
    pub psi_hat: &'a Tensor,
    /// S, without the factor, as used.
    pub loss: f64,
    /// Gradient with respect to Ψ, as back-propagated.
    pub grad_psi: &'a Tensor,
    /// Gradient with respect to Ψ̂, as back-propagated.
    pub grad_psi_hat: &'a Tensor,
}

/// The outcome of an observation.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// Largest error/bound over all quantities; above 1 the step is wrong.
    pub ratio: f64,
    /// The quantity with that ratio.
    pub quantity: String,
    /// Every quantity with its ratio.
    pub ratios: Vec<(String, f64)>,
    /// What is wrong and where, when something is.
    pub failure: Option<String>,
}

/// Somebody who looks at steps.
pub trait Observer: Send {
    /// Judges one step.
    fn observe(&mut self, observation: &Observation<'_>) -> Result<Verdict>;
}
