//! The last step of Eq. 14: how far apart two observations' densities can be, in terms of their relations.
//!
//! Everything is scale-free: with u = (m₁ − r)/γ, v = (m₂ − r)/γ and φ(u) = e^{−u²/2},
//! ```text
//! g(r; m) = φ(u)/(γ√2π)     and     |g₁ − g₂|² ≤ |m₁ − m₂|²/(2πeγ⁴)   ⟺   |φ(u) − φ(v)| ≤ e^{−1/2} |u − v|
//! ```
//! so γ and r drop out, and a proof over a box of (u, v) is a proof for every γ.

mod covered;
mod integrated;
mod pointwise;
pub mod proofs;
mod several;

pub use covered::CoveredBounds;
pub use integrated::IntegratedDifference;
pub use pointwise::DensityDifference;
pub use several::VectorRelation;

pub(super) use pointwise::near_slope;

use super::Parameter;

/// γ of a scalar relation.
const GAMMA: Parameter = Parameter::logarithmic(
    "gamma",
    "standard deviation with which the relation is observed",
    1e-3..=1e3,
    0.75,
);
/// How near to the steepest point tightness is shown.
const NEARNESS: Parameter = Parameter::logarithmic(
    "k",
    "distance from the steepest point at which tightness is shown, in units of gamma",
    1e-3..=0.5,
    0.0625,
);
