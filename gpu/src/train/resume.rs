//! A run's folder: whose it is, what was begun there, and the state that goes on.

use super::Trainer;
use super::checkpoint::{self, Contents, State};
use super::phases::Phase;
use super::players::ImageKind;
use crate::config::Config;
use crate::data::{Classes, Dataset};
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// What a checkpoint says wrote it.
const VERSION: &str = env!("CARGO_PKG_VERSION");

impl Trainer {
    pub(super) fn restore(&mut self, all: &Dataset) -> Result<()> {
        let Some((contents, state)) = checkpoint::read_newest(&self.checkpoints(), &self.device)?
        else {
            return Ok(());
        };
        if state.config_sha256 != self.state.config_sha256 {
            return Err(Error::file(
                self.checkpoints(),
                "the newest checkpoint belongs to another configuration",
            ));
        }
        checkpoint::refuse_other_images(&state.data_sha256, all)?;
        if state.step > self.config.train.steps {
            let problem = format!(
                "the newest checkpoint is of step {}, beyond train.steps = {}",
                state.step, self.config.train.steps
            );
            return Err(Error::file(self.checkpoints(), problem));
        }
        self.players.load(&contents.model, &contents.encoder)?;
        self.ema.params().load(&contents.ema)?;
        let part = |prefix: &str| {
            contents
                .optimizer
                .iter()
                .filter_map(|(name, t)| Some((name.strip_prefix(prefix)?.to_owned(), t.clone())))
                .collect::<BTreeMap<_, _>>()
        };
        self.theta_optimizer
            .load_state(state.theta_optimizer_steps, part("theta."))?;
        if self.phase_at(state.step.saturating_sub(1)) == Phase::Adversarial {
            self.phi_optimizer = self.discriminator_optimizer();
        }
        self.phi_optimizer
            .load_state(state.phi_optimizer_steps, part("phi."))?;
        self.state = State {
            data_sha256: std::mem::take(&mut self.state.data_sha256),
            ..state
        };
        Ok(())
    }

    pub(super) fn save(&self) -> Result<PathBuf> {
        let mut optimizer = BTreeMap::new();
        for (prefix, adam) in [
            ("theta.", &self.theta_optimizer),
            ("phi.", &self.phi_optimizer),
        ] {
            for (name, tensor) in adam.state() {
                optimizer.insert(format!("{prefix}{name}"), tensor);
            }
        }
        let contents = Contents {
            model: self.players.theta.tensors(),
            ema: self.ema.params().tensors(),
            encoder: self.players.phi.tensors(),
            optimizer,
        };
        let state = State {
            theta_optimizer_steps: self.theta_optimizer.steps(),
            phi_optimizer_steps: self.phi_optimizer.steps(),
            version: VERSION.to_owned(),
            ..self.state.clone()
        };
        checkpoint::write(
            &self.checkpoints(),
            &contents,
            state,
            self.config.checkpoint.keep,
            &self.spans.iter().map(|s| s.end).collect::<Vec<_>>(),
        )
    }
}

/// Locks a run's folder until the file is dropped, however this process ends. File systems without locks are left alone.
pub(super) fn lock(folder: &Path) -> Result<File> {
    let path = folder.join(".lock");
    let file = File::create(&path).map_err(|e| Error::io("create", &path, e))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(Error::file(
            folder,
            "another process is training in it; wait for its end or choose another --out",
        )),
        Err(TryLockError::Error(e)) if e.kind() != ErrorKind::Unsupported => {
            Err(Error::io("lock", &path, e))
        }
        _ => Ok(file),
    }
}

impl State {
    pub(super) fn new(
        config: &str,
        images: ImageKind,
        classes: Option<Classes>,
        data_sha256: String,
    ) -> Self {
        Self {
            format: checkpoint::FORMAT,
            images,
            classes,
            step: 0,
            theta_updates: 0,
            theta_optimizer_steps: 0,
            phi_optimizer_steps: 0,
            encoder_accuracy: None,
            balanced_at: None,
            gains: Vec::new(),
            config_sha256: checkpoint::sha256(config.as_bytes()),
            data_sha256,
            version: VERSION.to_owned(),
            sha256: BTreeMap::new(),
            own_sha256: String::new(),
        }
    }
}

/// The text of the configuration a run was started with, which must mean `config`. A key that did not
/// exist then has its default.
pub(super) fn resumed(path: &Path, config: &Config) -> Result<String> {
    let text = fs::read_to_string(path).map_err(|e| Error::io("read", path, e))?;
    let there =
        Config::of_run(&text, "the configuration").map_err(|e| Error::file(path, e.to_string()))?;
    if there == *config {
        return Ok(text);
    }
    Err(Error::file(
        path,
        format!(
            "the run was started with another configuration ({}); a resumed run must keep it, choose another --out",
            differences(&there.to_toml(), &config.to_toml())
        ),
    ))
}

/// The keys in which two configurations differ, three of them at most, for a message.
fn differences(there: &str, here: &str) -> String {
    let (there, here) = (settings(there), settings(here));
    let differ: Vec<_> = there
        .iter()
        .filter(|(key, value)| here.get(*key) != Some(value))
        .chain(here.iter().filter(|(key, _)| !there.contains_key(*key)))
        .map(|(key, _)| {
            let of = |settings: &BTreeMap<String, String>| {
                settings
                    .get(key)
                    .map_or("not set".to_owned(), |value| format!("`{value}`"))
            };
            format!("{key}: {} there, {} here", of(&there), of(&here))
        })
        .collect();
    let (shown, rest) = differ.split_at(differ.len().min(3));
    let more = match rest.len() {
        0 => String::new(),
        n => format!("; {n} more"),
    };
    shown.join("; ") + &more
}

/// The values of a configuration's text by their full keys.
fn settings(text: &str) -> BTreeMap<String, String> {
    let mut section = String::new();
    let mut all = BTreeMap::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            section = format!("{name}.");
        } else if let Some((key, value)) = line.split_once('=') {
            all.insert(format!("{section}{}", key.trim()), value.trim().to_owned());
        }
    }
    all
}
