//! Laws of x_0 for which the posterior given x_t has a closed form.

pub mod chain;
pub mod finite;
pub mod gaussian;
pub mod mixture;
pub mod relation;
pub mod relation_oracle;
pub mod small_matrix;
mod weight;

pub use chain::ChainError;
pub use finite::{
    BatchPosterior, FiniteLaw, LawError, Observation, PairPosterior, PairScore, Posterior, Tilted,
};
pub use gaussian::{GaussianLaw, SmoothPosterior};
pub use mixture::MixtureLaw;
pub use weight::{tight_weight, tight_weight_of};
