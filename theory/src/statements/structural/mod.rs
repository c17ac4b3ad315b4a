//! The structural loss: near t = 0, under the cosine, and as the mean over pairs that Eq. 15 becomes.

mod cosine_bound;
mod cosine_minimiser;
mod double_double;
mod from_pairs;
mod log_normal;
mod polarised_cosine;
mod targets;

pub use cosine_bound::CosineBound;
pub use cosine_minimiser::CosineMinimiser;
pub use from_pairs::EquationSix;
pub use log_normal::LogNormalTime;
pub use polarised_cosine::{Accuracies, AccuracyUnderCosine, cosine_accuracies};
pub use targets::{TargetsNearZero, structure_near_zero};
