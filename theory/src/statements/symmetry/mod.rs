//! Structure preserving diffusion (arXiv:2402.19369): laws and maps under groups of pixel permutations, and under any linear isometry.

mod all_starts;
mod drift;
mod flow;
mod group;
mod invariance;
mod isometry;
mod noise;
mod rank;
mod tying;

pub use all_starts::EquivariantForAllStarts;
pub use drift::DriftUpToInvisibleFields;
pub use flow::InvariantFlow;
pub use group::{Group, PixelMap};
pub use invariance::InvarianceIsEquivariance;
pub use noise::EquivariantNoise;
pub use tying::WeightTying;
