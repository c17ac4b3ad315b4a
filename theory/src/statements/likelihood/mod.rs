//! What the denoising objective says about the likelihood: the evidence bound, for one sample and for a pair, and its limit.

mod continuous;
mod elbo;
mod pair;
mod setting;

pub use continuous::ContinuousLimit;
pub use elbo::EvidenceBound;
pub use pair::{PairBound, QuadraticRelation, structural_part};

pub(super) use setting::{ideal_chain, level_at};
