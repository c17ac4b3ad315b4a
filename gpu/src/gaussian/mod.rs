//! Gaussian diffusion as it was published with learned variances: the discrete process, its respacing, losses and steps.
//!
//! The network is told the number of a step and predicts the noise; where variances are learnt, its second half of channels says where between
//! two bounds they lie. [Samplers](crate::sampler) and [objectives](crate::objective) of continuous levels need none of this.

mod loss;
mod process;
mod steps;

pub use loss::{
    Bits, GaussianObjective, LossTerms, bits_per_dimension, prior_bits, training_losses,
    variance_loss,
};
pub use process::{Betas, GaussianDiffusion, Variance, respaced_steps};
pub use steps::{StepNoise, StepPrediction, ddim_step, ddpm_step, guided_pair, sample_steps};
