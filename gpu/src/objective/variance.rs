//! What an objective asks of the network's variances.

use serde::{Deserialize, Serialize};

/// What becomes of the second half of the channels of a network that has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PredictedVariance {
    /// Nothing: it is left out.
    #[default]
    None,
    /// They choose the variance of a step backwards, and their term of the bound is added to the denoising loss; for the schedule `ddpm` and
    /// the parametrisation `eps`.
    LearnedRange,
}
