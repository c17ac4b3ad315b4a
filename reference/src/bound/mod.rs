//! Rounding-error bounds: how far a computation in lower precision may lie from the reference.
//!
//! Each function mirrors the algorithm of its quantity on [`Tracked`] arrays, which carry with every
//! value a bound for the error of *any* computation of it in a given [`Precision`]. A cross-check then
//! passes when `|computed − value| ≤ error`; nothing in it is tuned.

pub mod augment;
pub mod coupling;
pub mod denoise;
pub mod diffusion_gan;
pub mod forward;
pub mod gaussian;
pub mod likelihood;
pub mod metrics;
pub mod nn;
pub mod optim;
pub mod parametrisation;
pub mod precondition;
pub mod rate;
pub mod sampler;
pub mod schedule;
pub mod structure;
pub mod time;
mod tracked;

pub use tracked::{FUNCTION_ULPS, Precision, Tracked};
