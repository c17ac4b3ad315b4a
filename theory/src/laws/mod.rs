//! Laws of x_0 for which the posterior given x_t has a closed form.

pub mod finite;

pub use finite::{FiniteLaw, LawError, PairPosterior, Posterior};
