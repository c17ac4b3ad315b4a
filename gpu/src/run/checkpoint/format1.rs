//! Checkpoints of format 1, which knew two players by four files; they are read, and continued to the last bit.

use super::{Contents, read_checked, sha256};
use crate::data::{Classes, ImageKind};
use crate::params::Tensors;
use crate::{Error, Result};
use candle_core::Device;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Each file of format 1 and what it is called now; the optimisers of both players were one file.
const FILES: [(&str, &str); 3] = [
    ("model.safetensors", "theta"),
    ("ema.safetensors", super::AVERAGE),
    ("encoder.safetensors", super::ENCODER),
];
const OPTIMIZER: &str = "optimizer.safetensors";

/// The file that held what is called `name` now.
pub(super) fn file_of(name: &str) -> Option<&'static str> {
    let found = FILES.iter().find(|(_, now)| *now == name);
    found.map(|(file, _)| *file)
}

/// The state as format 1 had it. Its fields and their order are part of its digest: they never change.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct State {
    format: u32,
    images: ImageKind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    classes: Option<Classes>,
    step: usize,
    theta_updates: usize,
    theta_optimizer_steps: usize,
    phi_optimizer_steps: usize,
    encoder_accuracy: Option<f64>,
    balanced_at: Option<usize>,
    gains: Vec<(f64, f64)>,
    config_sha256: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    data_sha256: String,
    #[serde(default)]
    version: String,
    sha256: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) own_sha256: String,
}

impl State {
    /// The digest that belongs into `own_sha256`.
    pub(super) fn digest(&self) -> Result<String> {
        let unsigned = Self {
            own_sha256: String::new(),
            ..self.clone()
        };
        let text = serde_json::to_string_pretty(&unsigned)
            .map_err(|e| Error::invalid("a run's state", "be writable as JSON", e))?;
        Ok(sha256(text.as_bytes()))
    }

    /// The state as it is written now.
    pub(super) fn now(&self) -> super::State {
        let named = FILES.iter().filter_map(|(old, new)| {
            let digest = self.sha256.get(*old)?;
            Some(((*new).to_owned(), digest.clone()))
        });
        super::State {
            format: self.format,
            images: self.images,
            classes: self.classes.clone(),
            step: self.step,
            updates: BTreeMap::from([
                ("theta".to_owned(), self.theta_optimizer_steps),
                ("phi".to_owned(), self.phi_optimizer_steps),
            ]),
            encoder_accuracy: self.encoder_accuracy,
            balanced_at: self.balanced_at,
            gains: self.gains.clone(),
            config_sha256: self.config_sha256.clone(),
            data_sha256: self.data_sha256.clone(),
            version: self.version.clone(),
            sha256: named.collect(),
            own_sha256: self.own_sha256.clone(),
        }
    }
}

/// The tensors of a checkpoint of format 1.
pub(super) fn contents(folder: &Path, state: &State, device: &Device) -> Result<Contents> {
    let read = |file: &str| read_checked(&folder.join(file), state.sha256.get(file), device);
    let mut all = BTreeMap::new();
    for (old, new) in FILES {
        all.insert(new.to_owned(), read(old)?);
    }
    for (name, moment) in read(OPTIMIZER)? {
        let (player, moment_of) = name.split_once('.').ok_or_else(|| {
            let problem = format!("holds `{name}`, which is no player's moment");
            Error::file(folder.join(OPTIMIZER), problem)
        })?;
        all.entry(format!("{player}.optimizer"))
            .or_insert_with(Tensors::new)
            .insert(moment_of.to_owned(), moment);
    }
    Ok(Contents(all))
}
