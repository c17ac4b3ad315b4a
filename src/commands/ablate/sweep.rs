//! Variants of an arm: keys with the values they take, one at a time or in all combinations.

use std::str::FromStr;

use anyhow::{Context, Result, bail};
use sadm_gpu::config::Config;
use sadm_gpu::run::phases::{Phase, span};

use super::arm::{Arm, Variant, of_arm};
use crate::names::unknown;

/// Most variants of one ablation: beyond, it was a slip.
const MOST: usize = 64;

/// A key with the values it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sweep {
    key: String,
    values: Vec<String>,
}

impl FromStr for Sweep {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (key, values) = text
            .split_once('=')
            .ok_or_else(|| "must be KEY=A,B, as in relation=cosine,euclidean".to_owned())?;
        let values: Vec<String> = values.split(',').map(|v| v.trim().to_owned()).collect();
        if values.iter().any(String::is_empty) {
            return Err(format!("`{key}` needs a value on each side of a comma"));
        }
        Ok(Self {
            key: key.trim().to_owned(),
            values,
        })
    }
}

impl Sweep {
    /// The key with each of its values.
    fn choices(&self) -> impl Iterator<Item = (&str, &str)> {
        let each = self.values.iter();
        each.map(|value| (self.key.as_str(), value.as_str()))
    }
}

/// Several keys.
#[derive(Debug, Clone)]
pub struct Sweeps {
    /// Each with its values.
    pub all: Vec<Sweep>,
    /// Whether a variant has a value of every key, or of one.
    pub grid: bool,
}

/// Keys of a variant, each with one value.
type Changes<'a> = Vec<(&'a str, &'a str)>;

impl Sweeps {
    /// Every variant.
    ///
    /// # Errors
    /// An unknown key, one that is given twice for combinations, a value out of its domain; more than [`MOST`] variants.
    pub fn variants(&self, base: &Config) -> Result<Vec<Variant>> {
        self.refuse_too_many()?;
        if self.grid {
            self.refuse_a_key_twice()?;
        }
        let changes = self.changes();
        changes.iter().map(|these| variant(base, these)).collect()
    }

    fn refuse_too_many(&self) -> Result<()> {
        let counts = || self.all.iter().map(|sweep| sweep.values.len());
        let (total, sign) = if self.grid {
            (counts().fold(1, usize::saturating_mul), " × ")
        } else {
            (counts().sum(), " + ")
        };
        if total > MOST {
            let each = self.all.iter();
            let each: Vec<_> = each
                .map(|sweep| format!("{} of {}", sweep.values.len(), sweep.key))
                .collect();
            bail!(
                "the sweeps make {total} variants ({}); at most {MOST}",
                each.join(sign)
            );
        }
        Ok(())
    }

    fn refuse_a_key_twice(&self) -> Result<()> {
        let mut seen = Vec::new();
        for sweep in &self.all {
            let full = target(&sweep.key)?.0;
            if seen.contains(&full) {
                bail!(
                    "--grid takes one value of every key, and has `{}` twice: give all its values in one --sweep",
                    sweep.key
                );
            }
            seen.push(full);
        }
        Ok(())
    }

    fn changes(&self) -> Vec<Changes<'_>> {
        if !self.grid {
            let each = self.all.iter().flat_map(Sweep::choices);
            return each.map(|one| vec![one]).collect();
        }
        if self.all.is_empty() {
            return Vec::new();
        }
        let mut all: Vec<Changes<'_>> = vec![Vec::new()];
        for sweep in &self.all {
            let shorter = std::mem::take(&mut all);
            for this in &shorter {
                all.extend(
                    sweep
                        .choices()
                        .map(|one| [this.as_slice(), &[one]].concat()),
                );
            }
        }
        all
    }
}

/// The short names of keys, with the arm that a variant is one of.
const KEYS: [(&str, &str, Arm); 6] = [
    ("relation", "structure.relation", Arm::Guided),
    ("distance", "structure.distance", Arm::Guided),
    ("eta", "structure.eta", Arm::Guided),
    ("weight", "structure.weight", Arm::Guided),
    ("update_order", "adversarial.update_order", Arm::Adversarial),
    ("update-order", "adversarial.update_order", Arm::Adversarial),
];
/// Origin of Ψ, which no key of a configuration says.
const PSI: &str = "psi";

/// The key that a name stands for, and the arm in which it means something.
fn target(name: &str) -> Result<(&str, Arm)> {
    if let Some(&(_, full, arm)) = KEYS.iter().find(|(short, ..)| *short == name) {
        return Ok((full, arm));
    }
    if name == "seed" || name.starts_with("train.steps") || name.starts_with("phases.") {
        bail!("`{name}` cannot be swept: arms are compared with equal seeds and steps");
    }
    if name == PSI {
        return Ok((PSI, Arm::Guided));
    }
    if !name.contains('.') {
        let mut names: Vec<&str> = KEYS.iter().map(|(short, ..)| *short).collect();
        names.push(PSI);
        bail!(unknown("sweep", name, &names));
    }
    let of_game = name.starts_with("adversarial.");
    Ok((
        name,
        if of_game {
            Arm::Adversarial
        } else {
            Arm::Guided
        },
    ))
}

/// The guided arm with some keys changed, or the adversarial one where one of them is of its rounds.
fn variant(base: &Config, changes: &[(&str, &str)]) -> Result<Variant> {
    let mut targets = Vec::new();
    for (key, _) in changes {
        targets.push(target(key)?);
    }
    let arm = targets.iter().map(|(_, arm)| *arm).max();
    let arm = arm.unwrap_or(Arm::Guided);
    let (mut name, mut config) = (arm.to_string(), of_arm(base, arm));
    for ((key, value), (full, _)) in changes.iter().zip(targets) {
        config = if full == PSI {
            with_psi(&config, value)?
        } else {
            let set = config.with_set(&format!("{full}={value}"));
            set.with_context(|| format!("--sweep {key}={value}"))?
        };
        name = format!("{name}, {key}={value}");
    }
    Ok(Variant {
        name,
        parent: Some(arm),
        config,
    })
}

/// Ψ is `classifier`, as the preset trains it, or `random`: its parameters as they are drawn, with no encoder phase and
/// as many θ-steps.
fn with_psi(arm: &Config, value: &str) -> Result<Config> {
    let mut config = arm.clone();
    match value {
        "classifier" => {}
        "random" => {
            let encoder = span(arm, Phase::Encoder).map_or(0, |s| s.end);
            config.train.steps -= encoder;
            config.phases.encoder = 0.0;
        }
        other => bail!(unknown(PSI, other, &["classifier", "random"])),
    }
    Ok(config)
}
