//! Distances D between two affinities, as functions of their difference e = M_ij − M̂_ij.

use std::fmt;
use std::str::FromStr;

use crate::name::{UnknownName, parse};

/// A penalty for the difference of two affinities. `[eq:distance]`
///
/// # Source
/// SADM (arXiv:2402.17563), Sec. 4.1 names L2; the others are ours. Huber 1964 for the third.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Distance {
    /// `squared`: e².
    Squared,
    /// `absolute`: |e|.
    Absolute,
    /// `huber`: e²/2 for |e| ≤ δ, δ (|e| − δ/2) beyond.
    Huber {
        /// Where the parabola meets the line, δ > 0.
        delta: f64,
    },
}

impl Distance {
    /// Every distance; δ = 1 for Huber.
    pub const ALL: [Self; 3] = [Self::Squared, Self::Absolute, Self::Huber { delta: 1.0 }];

    /// D(e) ≥ 0.
    pub fn value(self, e: f64) -> f64 {
        match self {
            Self::Squared => e * e,
            Self::Absolute => e.abs(),
            Self::Huber { delta } if e.abs() <= delta => 0.5 * e * e,
            Self::Huber { delta } => delta * (e.abs() - 0.5 * delta),
        }
    }

    /// D'(e): 2e, sign e with sign 0 = 0, or e clamped to [−δ, δ]. `[eq:distance-grad]`
    pub fn grad(self, e: f64) -> f64 {
        match self {
            Self::Squared => 2.0 * e,
            Self::Absolute if e == 0.0 => 0.0,
            Self::Absolute => e.signum(),
            Self::Huber { delta } => e.clamp(-delta, delta),
        }
    }
}

impl fmt::Display for Distance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Squared => "squared",
            Self::Absolute => "absolute",
            Self::Huber { .. } => "huber",
        })
    }
}

/// By name; δ = 1 for `huber`.
impl FromStr for Distance {
    type Err = UnknownName;
    fn from_str(name: &str) -> Result<Self, UnknownName> {
        parse("distance", &Self::ALL, name)
    }
}
