//! A run's folder: whose it is, what was begun there, and the state that goes on.

use super::players::ImageKind;
use super::{Hooks, Trainer};
use crate::config::Config;
use crate::data::{Classes, Dataset};
use crate::run::changes::continued;
use crate::run::checkpoint::{self, Contents, State};
use crate::run::history::{self, Change, Event, Origin};
use crate::run::phases::Phase;
use crate::run::{configuration, trained_with};
use crate::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// What a checkpoint says wrote it.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What there was in a run's folder before it was opened.
pub(super) struct Begun {
    /// The configuration to go on with.
    pub(super) config: Config,
    /// Its text.
    pub(super) text: String,
    /// Steps that are done; none in a folder without a run.
    pub(super) done: Option<usize>,
    /// The keys that are changed now.
    changes: Vec<Change>,
    /// Digests of the text that was there, and of those that the history knows.
    known: BTreeSet<String>,
    /// That of the text that was there.
    before: String,
    /// Whether there are to be more steps than there were.
    longer: bool,
}

impl Begun {
    /// Of a folder that is to hold a run with `config`.
    pub(super) fn of(folder: &Path, config: Config, resume: bool) -> Result<Self> {
        let path = folder.join("config.toml");
        let steps = checkpoint::steps(&folder.join("checkpoints"))?;
        if !path.exists() && steps.is_empty() {
            return Ok(Self {
                text: config.to_toml(),
                config,
                done: None,
                changes: Vec::new(),
                known: BTreeSet::new(),
                before: String::new(),
                longer: false,
            });
        }
        if !resume {
            return Err(Error::file(
                folder,
                "already holds a run; continue it with --resume or choose another --out",
            ));
        }
        let there = fs::read_to_string(&path).map_err(|e| Error::io("read", &path, e))?;
        let before = checkpoint::sha256(there.as_bytes());
        let own = Config::of_run(&there, "the configuration")
            .map_err(|e| Error::file(&path, e.to_string()))?;
        let done = steps.last().copied().unwrap_or(0);
        let (config, changes) = continued(&path, &own, &config, done)?;
        // Remarks, and keys that did not exist then, are left as they are where nothing is changed.
        let text = if changes.is_empty() {
            there
        } else {
            config.to_toml()
        };
        Ok(Self {
            longer: config.train.steps > own.train.steps,
            known: history::configurations(folder)?,
            config,
            text,
            done: Some(done),
            changes,
            before,
        })
    }

    /// Whether a checkpoint was made with the configuration that was there, or with one that became it.
    fn is_of(&self, digest: &String) -> bool {
        *digest == self.before || (self.known.contains(&self.before) && self.known.contains(digest))
    }

    fn changes(&self, key: &str) -> bool {
        self.changes.iter().any(|change| change.key == key)
    }
}

impl Trainer {
    pub(super) fn restore(&mut self, all: &Dataset, begun: &Begun) -> Result<()> {
        let Some((contents, state)) = checkpoint::read_newest(&self.checkpoints(), &self.device)?
        else {
            return Ok(());
        };
        if !begun.is_of(&state.config_sha256) {
            return Err(Error::file(
                self.checkpoints(),
                "the newest checkpoint belongs to another configuration",
            ));
        }
        if begun.changes("data.dir") && state.data_sha256.is_empty() {
            return Err(Error::file(
                self.checkpoints(),
                "the newest checkpoint does not say which images it was trained on; data.dir must stay as it was",
            ));
        }
        checkpoint::refuse_other_images(&state.data_sha256, all)?;
        self.refuse_other_names(
            &state,
            "the classes of a run that goes on",
            "have the names that it began with",
        )?;
        if let (Some(step), true) = (state.balanced_at, begun.longer) {
            return Err(Error::invalid(
                "train.steps of this run",
                format!(
                    "stay as they are: the players were in balance at step {step}, which ended the run (adversarial.until = balance);                      `sadm train --from RUN --out NEW` begins a new run from these weights"
                ),
                self.config.train.steps,
            ));
        }
        if state.step > self.config.train.steps {
            let problem = format!(
                "the newest checkpoint is of step {}, beyond train.steps = {}",
                state.step, self.config.train.steps
            );
            return Err(Error::file(self.checkpoints(), problem));
        }
        let state = State {
            data_sha256: std::mem::take(&mut self.state.data_sha256),
            config_sha256: std::mem::take(&mut self.state.config_sha256),
            ..state
        };
        self.take_up(&contents, state)
    }

    /// Replaces everything that training changes by that of a checkpoint, whose state this is.
    pub(super) fn take_up(&mut self, contents: &Contents, state: State) -> Result<()> {
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
        self.audited = false;
        self.state = state;
        Ok(())
    }

    /// Takes the parameters, the averages and the encoder of another run's newest checkpoint.
    pub(super) fn begin_from(&mut self, run: &Path) -> Result<Origin> {
        let config = configuration(run)?;
        let root = run.join("checkpoints");
        let (contents, state) = checkpoint::read_newest(&root, &self.device)?
            .ok_or_else(|| Error::file(&root, "holds no checkpoint yet"))?;
        trained_with(run, &config, &state)?;
        if state.images != self.images {
            let kind = |images: ImageKind| {
                let [c, h, w] = images.shape();
                format!("{c}×{h}×{w} in {} classes", images.classes)
            };
            return Err(Error::invalid(
                "the images of a run that begins from another's weights",
                format!("be as there: {}", kind(state.images)),
                kind(self.images),
            ));
        }
        self.refuse_other_names(
            &state,
            "the classes of a run that begins from another's weights",
            "be as there, in the same order, since the weights know them by number",
        )?;
        let other = |error: Error| {
            let problem = format!("its networks are others than the new run's: {error}");
            Error::file(run, problem)
        };
        self.players
            .load(&contents.model, &contents.encoder)
            .map_err(other)?;
        self.ema.params().load(&contents.ema)?;
        self.audited = false;
        // A classifier stays one until it is trained again.
        self.state.encoder_accuracy = state.encoder_accuracy;
        Ok(Origin {
            run: std::path::absolute(run).unwrap_or_else(|_| run.to_owned()),
            step: state.step,
            ema_sha256: state
                .sha256
                .get(checkpoint::AVERAGE)
                .cloned()
                .unwrap_or_default(),
        })
    }

    /// Refuses a checkpoint whose classes have other names than this run's images; those of older versions have none.
    fn refuse_other_names(&self, state: &State, what: &str, must: &str) -> Result<()> {
        let here = self.conditions.classes();
        match &state.classes {
            Some(there) if there.names != here.names => {
                Err(Error::invalid(what, format!("{must}: {there}"), here))
            }
            _ => Ok(()),
        }
    }

    /// Writes what a run begins with, which no seed can make again, and where it is from.
    pub(super) fn store_beginning(&self, origin: Origin) -> Result<()> {
        self.save()?;
        history::add(
            &self.folder,
            Event {
                from: Some(origin),
                ..self.event()
            },
        )
    }

    /// Writes into the history what is changed now, and says it.
    pub(super) fn record(&self, begun: &Begun, hooks: &mut dyn Hooks) -> Result<()> {
        if begun.changes.is_empty() {
            return Ok(());
        }
        for Change { key, from, to } in &begun.changes {
            hooks.note(&format!(
                "from step {} on: {key} = {to}, was {from}",
                self.state.step
            ));
        }
        history::add(
            &self.folder,
            Event {
                changes: begun.changes.clone(),
                config_sha256: vec![begun.before.clone(), self.state.config_sha256.clone()],
                ..self.event()
            },
        )
    }

    fn event(&self) -> Event {
        Event {
            at: String::new(),
            step: self.state.step,
            version: VERSION.to_owned(),
            from: None,
            changes: Vec::new(),
            config_sha256: Vec::new(),
        }
    }

    /// Everything that training changes, as it is now: copies, which further steps leave alone.
    pub(super) fn snapshot(&self) -> Result<(Contents, State)> {
        let mut contents = self.contents();
        for tensors in contents.files_mut() {
            for tensor in tensors.values_mut() {
                *tensor = tensor.copy()?;
            }
        }
        Ok((contents, self.current_state()))
    }

    fn contents(&self) -> Contents {
        let mut optimizer = BTreeMap::new();
        for (prefix, adam) in [
            ("theta.", &self.theta_optimizer),
            ("phi.", &self.phi_optimizer),
        ] {
            for (name, tensor) in adam.state() {
                optimizer.insert(format!("{prefix}{name}"), tensor);
            }
        }
        Contents {
            model: self.players.theta.tensors(),
            ema: self.ema.params().tensors(),
            encoder: self.players.phi.tensors(),
            optimizer,
        }
    }

    fn current_state(&self) -> State {
        State {
            theta_optimizer_steps: self.theta_optimizer.steps(),
            phi_optimizer_steps: self.phi_optimizer.steps(),
            version: VERSION.to_owned(),
            ..self.state.clone()
        }
    }

    pub(super) fn save(&self) -> Result<PathBuf> {
        checkpoint::write(
            &self.checkpoints(),
            &self.contents(),
            self.current_state(),
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
