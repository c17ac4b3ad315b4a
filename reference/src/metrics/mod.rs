//! Evaluation metrics: distances of generated samples from real ones, on feature arrays, in `f64`, by definition.
//!
//! Rows are samples, columns features, in f64 or as the f32 they came in ([`FeatureView`]). Nothing here draws random numbers: subsets and resamples are index arrays of the
//! caller's. Where published tools differ, the choice is an argument, or the difference is said where it arises.
//!
//! | quantity | function |
//! |---|---|
//! | Fréchet distance (FID, sFID in the features of these names) | [`frechet`], [`frechet_of_moments`] |
//! | its limit for infinitely many samples | [`extrapolate`] |
//! | kernel distance (KID) | [`kid`], [`kid_estimate`], [`kid_of_subsets`] |
//! | inception score | [`inception_score`] |
//! | precision, recall, density, coverage | [`prdc`] |
//! | copies of training samples | [`nearest`], [`mann_whitney`] |
//! | diversity | [`mean_pairwise_distance`], [`mean_pairwise_of_deviations`] |
//! | confidence intervals | [`bootstrap_means`], [`percentile_interval`], [`basic_interval`], [`wilson_interval`] |

mod bootstrap;
mod distances;
mod diversity;
mod error;
mod extrapolation;
mod factor;
mod features;
mod frechet;
mod inception_score;
mod kid;
mod memorisation;
mod neighbours;
mod prdc;
mod product;

pub use bootstrap::{
    Interval, basic_interval, bootstrap_means, percentile_interval, quantile, wilson_interval,
};
pub use diversity::{PairwiseMean, mean_pairwise_distance, mean_pairwise_of_deviations};
pub use error::MetricError;
pub use extrapolation::{Extrapolation, extrapolate};
pub use factor::{Factor, Moments, moments};
pub use features::FeatureView;
pub use frechet::{Frechet, frechet, frechet_of_factors, frechet_of_moments};
pub use inception_score::{InceptionScore, inception_score, inception_score_of_splits, split_rows};
pub use kid::{KidEstimate, KidSubsets, kid, kid_estimate, kid_of_subsets};
pub use memorisation::{MannWhitney, mann_whitney};
pub use neighbours::{Nearest, nearest, neighbour_radii};
pub use prdc::{Ball, Prdc, PrdcSamples, prdc, prdc_samples};
