//! Diffusion-GAN (arXiv:2206.02262): the noise in front of a discriminator, how much of it, and when.
//!
//! A chain of T levels, t = 0 being the clean image. How long it is follows the discriminator: the surer that is, the more noise.

mod betas;
mod controller;
mod diffuse;
mod loss;
mod times;

pub use betas::{Betas, alpha_bars};
pub use controller::{Controller, State, Update, confidence};
pub use diffuse::{diffuse, diffuse_vjp};
pub use loss::{GanLoss, GanLossGrad, r1};
pub use times::{Priority, pool, probabilities, time};

/// Why a quantity of Diffusion-GAN was refused.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum DiffusionGanError {
    /// A chain too short for what was asked.
    #[error("number of steps must be at least {must} {what}, got {got}")]
    Steps {
        /// For what.
        what: &'static str,
        /// The least number.
        must: usize,
        /// The refused one.
        got: usize,
    },
    /// A number outside its range.
    #[error("{name} must be {must}, got {got}")]
    Number {
        /// Its name.
        name: &'static str,
        /// Its range.
        must: &'static str,
        /// The refused value.
        got: f64,
    },
    /// A level that the chain does not have.
    #[error("t must be at most the number of steps, {steps}, got {got}")]
    Time {
        /// T.
        steps: usize,
        /// The refused t.
        got: usize,
    },
    /// Not one level for each sample.
    #[error("number of t must be {samples}, one for each sample, got {got}")]
    Count {
        /// Samples.
        samples: usize,
        /// Levels given.
        got: usize,
    },
    /// Arrays whose shapes must be equal.
    #[error("noise must have the shape of the samples, {samples:?}, got {got:?}")]
    Shape {
        /// The samples' shape.
        samples: Vec<usize>,
        /// The refused one.
        got: Vec<usize>,
    },
    /// The least T above the largest.
    #[error("t_min must be from 1 to t_max, {t_max}, got {t_min}")]
    Range {
        /// The least T.
        t_min: usize,
        /// The largest T.
        t_max: usize,
    },
    /// Nothing to take a mean of.
    #[error("number of logits must be at least 1, got 0")]
    NoLogits,
}

/// Requires a number to lie in a range.
fn within(
    name: &'static str,
    value: f64,
    must: &'static str,
    fits: bool,
) -> Result<f64, DiffusionGanError> {
    if value.is_finite() && fits {
        Ok(value)
    } else {
        Err(DiffusionGanError::Number {
            name,
            must,
            got: value,
        })
    }
}
