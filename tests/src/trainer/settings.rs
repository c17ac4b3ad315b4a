//! A configuration as its author wrote it: keys that are absent have the values that a fresh run's `config.toml` shows.

use std::{fmt::Display, str::FromStr};

use sadm_reference::{
    coupling::Cost,
    denoise::Weight,
    distance::Distance,
    network::Encoder,
    optim::AdamW,
    parametrisation::{NoiseCondition, Parametrisation},
    relation::Relation,
    schedule::ScheduleKind,
    structure::{Diagonal, Eta, StructureOptions},
};
use serde::{Deserialize, Deserializer, de::Error as _};
use toml::Table;

use crate::error::{Error, Result};

/// What decides the numbers of a run.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub(super) struct Settings {
    pub(super) seed: u64,
    pub(super) data: Data,
    pub(super) model: Table,
    pub(super) objective: Objective,
    pub(super) coupling: Coupling,
    pub(super) structure: Structure,
    pub(super) encoder: Psi,
    pub(super) adversarial: Adversarial,
    pub(super) train: Train,
    pub(super) phases: Shares,
    pub(super) sample: Sample,
    pub(super) shadow: Shadow,
    pub(super) checkpoint: Checkpoint,
}

/// Reads a value by its name.
fn named<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(
    deserializer: D,
) -> std::result::Result<T, D::Error> {
    String::deserialize(deserializer)?
        .parse()
        .map_err(D::Error::custom)
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Data {
    pub(super) dataset: String,
    pub(super) flip: bool,
    pub(super) augment: f64,
    pub(super) holdout: f64,
    pub(super) limit: usize,
    pub(super) limit_by: String,
}

impl Default for Data {
    fn default() -> Self {
        Self {
            dataset: "digits".to_owned(),
            flip: false,
            augment: 0.0,
            holdout: 0.1,
            limit: 0,
            limit_by: "random".to_owned(),
        }
    }
}

/// How t is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum TimeLaw {
    Uniform,
    LogNormal,
    SoftTruncation,
    LogUniform,
    IddpmStep,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Objective {
    #[serde(deserialize_with = "named")]
    pub(super) schedule: ScheduleKind,
    #[serde(deserialize_with = "named")]
    pub(super) parametrisation: Parametrisation,
    #[serde(deserialize_with = "named")]
    pub(super) noise_condition: NoiseCondition,
    #[serde(deserialize_with = "named")]
    pub(super) weight: Weight,
    pub(super) sigma_data: f64,
    pub(super) time: TimeLaw,
    pub(super) time_min: f64,
    pub(super) time_max: f64,
    pub(super) p_mean: f64,
    pub(super) p_std: f64,
    pub(super) sigma_min: f64,
    pub(super) sigma_max: f64,
    pub(super) time_sharing: String,
    pub(super) label_dropout: f64,
}

impl Default for Objective {
    fn default() -> Self {
        Self {
            schedule: ScheduleKind::EDM,
            parametrisation: Parametrisation::Edm,
            noise_condition: NoiseCondition::LogSigma,
            weight: Weight::EDM,
            sigma_data: 0.5,
            time: TimeLaw::LogNormal,
            time_min: 0.001,
            time_max: 1.0,
            p_mean: -1.2,
            p_std: 1.2,
            sigma_min: 0.02,
            sigma_max: 100.0,
            time_sharing: "per-sample".to_owned(),
            label_dropout: 0.1,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Coupling {
    pub(super) method: String,
    #[serde(deserialize_with = "named")]
    pub(super) cost: Cost,
    pub(super) classes: String,
    pub(super) pool: usize,
}

impl Default for Coupling {
    fn default() -> Self {
        Self {
            method: "independent".to_owned(),
            cost: Cost::Euclidean,
            classes: "together".to_owned(),
            pool: 0,
        }
    }
}

/// Which players there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Method {
    None,
    Guided,
    Adversarial,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Structure {
    pub(super) method: Method,
    pub(super) weight: f64,
    #[serde(deserialize_with = "named")]
    pub(super) relation: Relation,
    #[serde(deserialize_with = "named")]
    pub(super) distance: Distance,
    #[serde(deserialize_with = "named")]
    pub(super) diagonal: Diagonal,
    #[serde(deserialize_with = "named")]
    pub(super) eta: Eta,
    pub(super) guided_eta: String,
    pub(super) eta_t_min: f64,
}

impl Default for Structure {
    fn default() -> Self {
        Self {
            method: Method::Adversarial,
            weight: 1.0,
            relation: Relation::COSINE,
            distance: Distance::SQUARED,
            diagonal: Diagonal::Include,
            eta: Eta::INVERSE_TIME,
            guided_eta: "same".to_owned(),
            eta_t_min: 0.1,
        }
    }
}

impl Structure {
    pub(super) fn options(&self) -> StructureOptions {
        StructureOptions {
            relation: self.relation,
            distance: self.distance,
            diagonal: self.diagonal,
        }
    }

    /// η of the guided phase, which may be another (erratum E7).
    pub(super) fn guided_eta(&self) -> Result<Eta> {
        match self.guided_eta.as_str() {
            "same" => Ok(self.eta),
            other => other.parse().map_err(Error::reference),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Psi {
    pub(super) widths: Vec<usize>,
    pub(super) groups: usize,
    pub(super) dim: usize,
    pub(super) batch: usize,
    pub(super) learning_rate: f64,
    pub(super) weight_decay: f64,
}

impl Default for Psi {
    fn default() -> Self {
        Self {
            widths: vec![32, 64, 64],
            groups: 8,
            dim: 64,
            batch: 64,
            learning_rate: 0.002,
            weight_decay: 0.01,
        }
    }
}

impl Psi {
    pub(super) fn network(&self, in_channels: usize, classes: usize) -> Encoder {
        Encoder {
            in_channels,
            widths: self.widths.clone(),
            groups: self.groups,
            dim: self.dim,
            classes,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Adversarial {
    pub(super) update_order: String,
    pub(super) theta_steps: usize,
    pub(super) phi_steps: usize,
    pub(super) learning_rate: f64,
    pub(super) until: String,
    pub(super) balance_window: usize,
    pub(super) balance_tolerance: f64,
}

impl Default for Adversarial {
    fn default() -> Self {
        Self {
            update_order: "theta-first".to_owned(),
            theta_steps: 1,
            phi_steps: 1,
            learning_rate: 3e-4,
            until: "rounds".to_owned(),
            balance_window: 50,
            balance_tolerance: 0.05,
        }
    }
}

/// Fall of the learning rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Decay {
    None,
    Linear,
    Cosine,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Train {
    pub(super) steps: usize,
    pub(super) planned: usize,
    pub(super) batch: usize,
    pub(super) compute: String,
    pub(super) learning_rate: f64,
    pub(super) warmup: f64,
    pub(super) decay: Decay,
    pub(super) beta1: f64,
    pub(super) beta2: f64,
    pub(super) epsilon: f64,
    pub(super) weight_decay: f64,
    pub(super) clip_norm: f64,
    pub(super) ema_half_life: f64,
    pub(super) ema_ramp: f64,
    pub(super) log_every: usize,
}

impl Default for Train {
    fn default() -> Self {
        Self {
            steps: 2000,
            planned: 0,
            batch: 64,
            compute: "f32".to_owned(),
            learning_rate: 0.001,
            warmup: 0.05,
            decay: Decay::Cosine,
            beta1: 0.9,
            beta2: 0.99,
            epsilon: 1e-8,
            weight_decay: 0.0,
            clip_norm: 1.0,
            ema_half_life: 10_000.0,
            ema_ramp: 0.05,
            log_every: 10,
        }
    }
}

impl Train {
    /// An optimiser with this peak rate and decay.
    pub(super) fn adamw(&self, lr: f64, weight_decay: f64) -> AdamW {
        AdamW {
            lr,
            beta1: self.beta1,
            beta2: self.beta2,
            eps: self.epsilon,
            weight_decay,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Shares {
    pub(super) encoder: f64,
    pub(super) denoise: f64,
    pub(super) guided: f64,
    pub(super) adversarial: f64,
}

impl Default for Shares {
    fn default() -> Self {
        Self {
            encoder: 0.1,
            denoise: 0.4,
            guided: 0.3,
            adversarial: 0.2,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Sample {
    pub(super) every: usize,
}

impl Default for Sample {
    fn default() -> Self {
        Self { every: 500 }
    }
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Shadow {
    pub(super) every: usize,
}

impl Default for Shadow {
    fn default() -> Self {
        Self { every: 20 }
    }
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub(super) struct Checkpoint {
    pub(super) every: usize,
    pub(super) keep: usize,
}

impl Default for Checkpoint {
    fn default() -> Self {
        Self {
            every: 250,
            keep: 2,
        }
    }
}

impl Settings {
    /// Reads a TOML text.
    pub(super) fn read(text: &str) -> Result<Self> {
        let settings: Self = toml::from_str(text).map_err(Error::reference)?;
        let known = [
            ("data.dataset", &settings.data.dataset, &["digits"][..]),
            ("train.compute", &settings.train.compute, &["f64"]),
        ];
        for (key, got, known) in known {
            if !known.contains(&got.as_str()) {
                let must = known.join(" or ");
                return Err(Error::Reference(format!(
                    "{key} of a run that is recomputed must be {must}, got {got}"
                )));
            }
        }
        Ok(settings)
    }

    /// How many labels tell the network of an augmentation.
    pub(super) fn augment_labels(&self) -> usize {
        if self.data.augment > 0.0 { 9 } else { 0 }
    }

    /// The name of the denoiser's network and its dimensions.
    pub(super) fn network(&self) -> Result<(&str, &Table)> {
        let name = self.model.get("kind").and_then(|kind| kind.as_str());
        let name = name.unwrap_or("unet");
        let dimensions = self.model.get(name).and_then(|table| table.as_table());
        let dimensions = dimensions.ok_or_else(|| {
            Error::Reference(format!(
                "[model.{name}] must give the dimensions of a network that is recomputed"
            ))
        })?;
        Ok((name, dimensions))
    }

    /// Whether all images of a batch have one t.
    pub(super) fn shares_time(&self) -> bool {
        self.objective.time_sharing == "shared"
    }

    /// Whether the adversarial phase may end at a balance.
    pub(super) fn seeks_balance(&self) -> bool {
        self.adversarial.until == "balance"
    }
}
