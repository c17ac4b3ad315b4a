//! The arms of an ablation: rows of the paper's table, and variants of them.

use std::fmt;
use std::str::FromStr;

use sadm_gpu::config::{Config, PhaseConfig};

use crate::names::unknown;

/// A row of SADM's Table 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Arm {
    /// Denoising alone, to the last step.
    Base,
    /// Then structural guidance with a frozen Ψ.
    Guided,
    /// Then adversarial rounds.
    Adversarial,
}

impl Arm {
    pub(super) const ALL: [Self; 3] = [Self::Base, Self::Guided, Self::Adversarial];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Guided => "guided",
            Self::Adversarial => "adversarial",
        }
    }

    /// The arm to which this one adds something, if that is not the base that every arm is compared with.
    pub(super) fn parent(self) -> Option<Self> {
        (self == Self::Adversarial).then_some(Self::Guided)
    }
}

impl fmt::Display for Arm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Arm {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|arm| arm.name() == text);
        found.ok_or_else(|| unknown("arm", text, &Self::ALL.map(Self::name)))
    }
}

/// An arm or variant, before it is given seeds.
#[derive(Debug, Clone)]
pub struct Variant {
    /// Name of the arm or variant.
    pub name: String,
    /// The arm to which it adds something, or of which it varies a setting.
    pub parent: Option<Arm>,
    /// Its configuration.
    pub config: Config,
}

/// An arm has the steps of all phases after its own in its own last phase.
pub(super) fn of_arm(base: &Config, arm: Arm) -> Config {
    let mut config = base.clone();
    let p = base.phases.clone();
    config.phases = match arm {
        Arm::Base => PhaseConfig {
            denoise: p.denoise + p.guided + p.adversarial,
            guided: 0.0,
            adversarial: 0.0,
            ..p
        },
        Arm::Guided => PhaseConfig {
            guided: p.guided + p.adversarial,
            adversarial: 0.0,
            ..p
        },
        Arm::Adversarial => p,
    };
    config
}
