//! What the structural loss compares and how, each choice with its name.

use crate::error::{Error, Result};
use crate::forward::schedule::Schedule;
use crate::names::{NameAndNumber, with_number};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The relation R(ψ_i, ψ_j) between two feature vectors, by name.
///
/// As text: `rbf`, or with its number `rbf(0.5)`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Relation {
    /// ⟨ψ_i, ψ_j⟩ / (‖ψ_i‖ ‖ψ_j‖).
    Cosine,
    /// ⟨ψ_i, ψ_j⟩.
    InnerProduct,
    /// ‖ψ_i − ψ_j‖².
    SquaredEuclidean,
    /// ‖ψ_i − ψ_j‖; zero subgradient at coincident points.
    Euclidean,
    /// exp(−‖ψ_i − ψ_j‖² / (2·bandwidth²)).
    Rbf {
        /// The bandwidth > 0.
        bandwidth: f64,
    },
}

impl Relation {
    /// The names in configurations.
    pub const NAMES: [&'static str; 5] = [
        "cosine",
        "inner-product",
        "squared-euclidean",
        "euclidean",
        "rbf",
    ];
    /// Bandwidth of a bare `rbf`.
    pub const DEFAULT_BANDWIDTH: f64 = 1.0;
}

/// The distance D(e) between two entries of the affinity matrices, by name.
///
/// As text: `huber`, or with its number `huber(0.5)`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Distance {
    /// e².
    Squared,
    /// |e|; zero subgradient at 0.
    Absolute,
    /// e²/2 where |e| ≤ δ, δ(|e| − δ/2) beyond.
    Huber {
        /// The threshold δ > 0.
        delta: f64,
    },
}

impl Distance {
    /// The names in configurations.
    pub const NAMES: [&'static str; 3] = ["squared", "absolute", "huber"];
    /// δ of a bare `huber`.
    pub const DEFAULT_DELTA: f64 = 1.0;
}

/// Whether the pairs (i, i) belong to the sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Diagonal {
    /// All B² pairs, divided by B² (Eq. 7 as printed).
    Include,
    /// The B(B−1) pairs i ≠ j, divided by B(B−1).
    Exclude,
}

impl Diagonal {
    /// Both choices.
    pub const ALL: [Self; 2] = [Self::Include, Self::Exclude];

    /// The name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Include => "include",
            Self::Exclude => "exclude",
        }
    }
}

/// The time weight η_t of the structural loss, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Eta {
    /// 1/max(t, t_min): the paper's 1/t, whose mean over t ~ U[0, 1] is infinite, clamped.
    InverseTime,
    /// 1.
    Constant,
    /// SNR/(1 + SNR) = α²/(α² + σ²).
    Snr,
}

impl Eta {
    /// Every weight.
    pub const ALL: [Self; 3] = [Self::InverseTime, Self::Constant, Self::Snr];

    /// The name in configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::InverseTime => "inverse-time",
            Self::Constant => "constant",
            Self::Snr => "snr",
        }
    }

    /// The weight at one time. Only `inverse-time` looks at `t_min` > 0.
    pub fn at(self, schedule: Schedule, t: f64, t_min: f64) -> f64 {
        match self {
            Self::InverseTime => 1.0 / t.max(t_min),
            Self::Constant => 1.0,
            Self::Snr => 1.0 / (1.0 + schedule.sigma_ratio(t).powi(2)),
        }
    }

    /// The weights of a batch of times.
    pub fn values(self, schedule: Schedule, t: &[f64], t_min: f64) -> Vec<f64> {
        t.iter().map(|&t| self.at(schedule, t, t_min)).collect()
    }
}

/// What the structural loss compares and how.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StructureOptions {
    /// R, the relation between two samples of one batch.
    pub relation: Relation,
    /// D, the distance between the two batches' relations.
    pub distance: Distance,
    /// Whether a sample is compared with itself.
    pub diagonal: Diagonal,
}

impl Default for StructureOptions {
    fn default() -> Self {
        Self {
            relation: Relation::Cosine,
            distance: Distance::Squared,
            diagonal: Diagonal::Include,
        }
    }
}

impl fmt::Display for Relation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cosine => "cosine",
            Self::InnerProduct => "inner-product",
            Self::SquaredEuclidean => "squared-euclidean",
            Self::Euclidean => "euclidean",
            Self::Rbf { bandwidth } => return with_number(f, "rbf", *bandwidth),
        })
    }
}

impl FromStr for Relation {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parsed = NameAndNumber::parse("relation", text)?;
        Ok(match parsed.name {
            "cosine" => parsed.alone(Self::Cosine)?,
            "inner-product" => parsed.alone(Self::InnerProduct)?,
            "squared-euclidean" => parsed.alone(Self::SquaredEuclidean)?,
            "euclidean" => parsed.alone(Self::Euclidean)?,
            "rbf" => Self::Rbf {
                bandwidth: parsed.positive("bandwidth", Self::DEFAULT_BANDWIDTH)?,
            },
            other => return Err(Error::unknown_name("relation", other, &Self::NAMES)),
        })
    }
}

impl TryFrom<String> for Relation {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Relation> for String {
    fn from(relation: Relation) -> Self {
        relation.to_string()
    }
}

impl fmt::Display for Distance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Squared => "squared",
            Self::Absolute => "absolute",
            Self::Huber { delta } => return with_number(f, "huber", *delta),
        })
    }
}

impl FromStr for Distance {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parsed = NameAndNumber::parse("distance", text)?;
        Ok(match parsed.name {
            "squared" => parsed.alone(Self::Squared)?,
            "absolute" => parsed.alone(Self::Absolute)?,
            "huber" => Self::Huber {
                delta: parsed.positive("delta", Self::DEFAULT_DELTA)?,
            },
            other => return Err(Error::unknown_name("distance", other, &Self::NAMES)),
        })
    }
}

impl TryFrom<String> for Distance {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Distance> for String {
    fn from(distance: Distance) -> Self {
        distance.to_string()
    }
}

impl fmt::Display for Diagonal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Diagonal {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|d| d.name() == text)
            .ok_or_else(|| Error::unknown_name("diagonal", text, &Self::ALL.map(Self::name)))
    }
}

impl fmt::Display for Eta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Eta {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|eta| eta.name() == text)
            .ok_or_else(|| Error::unknown_name("eta", text, &Self::ALL.map(Self::name)))
    }
}
