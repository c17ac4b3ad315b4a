//! Approximated optimal transport (arXiv:2403.05069): which noise a sample is paired with.

mod certificate;
mod churn;
mod cost;
mod coupled_batch;
mod coupling;
mod coupling_of_sigma;
mod curvature;

pub use certificate::TransportCertificate;
pub use churn::CoupledDenoiserIsNoScore;
pub use cost::CostsDiffer;
pub use coupled_batch::CoupledBatch;
pub use coupling::CouplingVelocity;
pub use coupling_of_sigma::CouplingOfSigma;
pub use curvature::CouplingStraightens;
