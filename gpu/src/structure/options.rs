//! The choices that define a structural loss.

use super::{Distance, Relation};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

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

/// Options of the structural loss.
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
            relation: Relation::COSINE,
            distance: Distance::SQUARED,
            diagonal: Diagonal::Include,
        }
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
