//! What the denoising objective says about the likelihood: the evidence bound, for one sample and for a pair, and its limit.

mod continuous;
mod elbo;
mod first_time;
mod pair;
mod separate_times;
mod setting;
mod weights;

pub use continuous::ContinuousLimit;
pub use elbo::EvidenceBound;
pub use first_time::FirstTime;
pub use pair::{PairBound, QuadraticRelation, structural_part};
pub use separate_times::SeparateTimes;
pub use weights::WeightsThatBound;

pub(super) use setting::{ideal_chain, level_at};
