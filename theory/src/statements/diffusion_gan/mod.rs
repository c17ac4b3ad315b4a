//! Diffusion-GAN (arXiv:2206.02262): noise on both sides of a discriminator.

mod bounded_data;
mod controller;
mod divergence;
mod gradients;
mod heavy_tails;
mod known_noise;
mod monotone;
mod priority;
pub mod proofs;
mod quadrature;
mod visible;

pub use bounded_data::BoundedData;
pub use controller::{Controller, ControllerStaysInRange};
pub use divergence::{jensen_shannon, jensen_shannon_grad};
pub use gradients::GradientsEverywhere;
pub use heavy_tails::KlNeedsMoments;
pub use known_noise::KnownNoise;
pub use monotone::MonotoneOnBoxes;
pub use priority::{Priority, PriorityLaw};
