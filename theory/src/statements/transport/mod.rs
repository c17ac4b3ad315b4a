//! Approximated optimal transport (arXiv:2403.05069): which noise a sample is paired with.

mod certificate;
mod churn;
mod cost;
mod coupling;
mod curvature;

pub use certificate::TransportCertificate;
pub use churn::CoupledDenoiserIsNoScore;
pub use cost::CostsDiffer;
pub use coupling::CouplingVelocity;
pub use curvature::CouplingStraightens;
