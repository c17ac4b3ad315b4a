//! A run's folder: whose it is, what was begun there, and the state that goes on.

use super::batches::Data;
use super::hooks::Hooks;
use super::player::Players;
use crate::config::Config;
use crate::data::{Classes, ImageKind};
use crate::run::changes::continued;
use crate::run::checkpoint::{self, State, VERSION};
use crate::run::history::{self, Change, Event, Origin};
use crate::run::phases::{Phase, Span};
use crate::run::{configuration, trained_with};
use crate::{Error, Result};
use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// State of a run's folder before it was opened.
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

/// The phase of a step of a run.
pub(super) fn phase_at(spans: &[Span], step: usize) -> Phase {
    let of = spans.iter().find(|s| step < s.end).or(spans.last());
    of.map_or(Phase::Denoise, |s| s.phase)
}

/// The folder of a run, held while this process trains in it.
pub(super) struct Folder {
    path: PathBuf,
    /// How many of the newest checkpoints are kept, besides those of these steps.
    keep: usize,
    kept: Vec<usize>,
    _lock: File,
}

impl Folder {
    /// Takes possession of a folder, which is made where there is none.
    ///
    /// # Errors
    /// Another process that trains in it.
    pub(super) fn hold(path: &Path, config: &Config, spans: &[Span]) -> Result<Self> {
        fs::create_dir_all(path).map_err(|e| Error::io("create", path, e))?;
        Ok(Self {
            path: path.to_owned(),
            keep: config.checkpoint.keep,
            kept: spans.iter().map(|s| s.end).collect(),
            _lock: lock(path)?,
        })
    }

    /// Its path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    /// Writes a checkpoint.
    pub(super) fn save(&self, players: &Players, state: &State) -> Result<PathBuf> {
        let state = State {
            updates: players.all_updates(),
            version: VERSION.to_owned(),
            ..state.clone()
        };
        let contents = players.contents();
        checkpoint::write(&self.checkpoints(), &contents, state, self.keep, &self.kept)
    }

    /// The newest checkpoint, taken up by the players; the state to go on with. None where there is no checkpoint.
    ///
    /// # Errors
    /// A checkpoint of another configuration or of other images, or one that cannot be read.
    pub(super) fn restore(
        &self,
        begun: &Begun,
        spans: &[Span],
        data: &Data,
        fresh: &State,
        players: &mut Players,
    ) -> Result<Option<State>> {
        let root = self.checkpoints();
        let device = players.networks.theta_params.device().clone();
        let Some((contents, state)) = checkpoint::read_newest(&root, &device)? else {
            return Ok(None);
        };
        begun.check(&root, &state, data)?;
        let state = State {
            data_sha256: fresh.data_sha256.clone(),
            config_sha256: fresh.config_sha256.clone(),
            ..state
        };
        players.load(&contents)?;
        if phase_at(spans, state.step.saturating_sub(1)) == Phase::Adversarial {
            players.begin_discriminator(&begun.config)?;
        }
        players.load_optimizers(&contents, &state.updates)?;
        Ok(Some(state))
    }

    /// Writes what a run begins with, which no seed can make again, and where it is from.
    pub(super) fn store_beginning(
        &self,
        beginning: Beginning,
        players: &Players,
        state: &State,
    ) -> Result<()> {
        self.save(players, state)?;
        let (from, weights) = match beginning {
            Beginning::Run(origin) => (Some(origin), None),
            Beginning::File(file) => (None, Some(file)),
        };
        history::add(
            &self.path,
            Event {
                from,
                weights,
                ..event(state)
            },
        )
    }

    /// Writes into the history what is changed now, and says it.
    pub(super) fn record(&self, begun: &Begun, state: &State, hooks: &mut dyn Hooks) -> Result<()> {
        if begun.changes.is_empty() {
            return Ok(());
        }
        for Change { key, from, to } in &begun.changes {
            hooks.note(&format!(
                "from step {} on: {key} = {to}, was {from}",
                state.step
            ));
        }
        history::add(
            &self.path,
            Event {
                changes: begun.changes.clone(),
                config_sha256: vec![begun.before.clone(), state.config_sha256.clone()],
                ..event(state)
            },
        )
    }
}

/// What a run begins with that no seed makes.
pub(super) enum Beginning {
    /// Another run's checkpoint.
    Run(Origin),
    /// A file of weights.
    File(super::begin_with::File),
}

fn event(state: &State) -> Event {
    Event {
        at: String::new(),
        step: state.step,
        version: VERSION.to_owned(),
        from: None,
        weights: None,
        changes: Vec::new(),
        config_sha256: Vec::new(),
    }
}

impl Begun {
    /// Refuses a checkpoint with which this run cannot go on.
    fn check(&self, root: &Path, state: &State, data: &Data) -> Result<()> {
        if !self.is_of(&state.config_sha256) {
            return Err(Error::file(
                root,
                "the newest checkpoint belongs to another configuration",
            ));
        }
        if self.changes("data.dir") && state.data_sha256.is_empty() {
            return Err(Error::file(
                root,
                "the newest checkpoint does not say which images it was trained on; data.dir must stay as it was",
            ));
        }
        checkpoint::refuse_other_images(&state.data_sha256, &data.train.name, &data.sha256)?;
        refuse_other_names(
            state,
            data.conditions.classes(),
            "the classes of a run that goes on",
            "have the names that it began with",
        )?;
        let steps = self.config.train.steps;
        if let (Some(step), true) = (state.balanced_at, self.longer) {
            return Err(Error::invalid(
                "train.steps of this run",
                format!(
                    "stay as they are: the players were in balance at step {step}, which ended the run (adversarial.until = balance); \
                     `sadm train --from RUN --out NEW` begins a new run from these weights"
                ),
                steps,
            ));
        }
        if state.step > steps {
            let problem = format!(
                "the newest checkpoint is of step {}, beyond train.steps = {steps}",
                state.step
            );
            return Err(Error::file(root, problem));
        }
        Ok(())
    }
}

/// Takes the parameters, the averages and the encoder of another run's newest checkpoint; where they are from, and the accuracy
/// of that encoder.
pub(super) fn begin_from(
    run: &Path,
    data: &Data,
    players: &Players,
) -> Result<(Origin, Option<f64>)> {
    let config = configuration(run)?;
    let root = run.join("checkpoints");
    let device = players.networks.theta_params.device();
    let (contents, state) = checkpoint::read_newest(&root, device)?
        .ok_or_else(|| Error::file(&root, "holds no checkpoint yet"))?;
    trained_with(run, &config, &state)?;
    if state.images != data.images {
        let kind = |images: ImageKind| {
            let [c, h, w] = images.shape();
            format!("{c}×{h}×{w} in {} classes", images.classes)
        };
        return Err(Error::invalid(
            "the images of a run that begins from another's weights",
            format!("be as there: {}", kind(state.images)),
            kind(data.images),
        ));
    }
    refuse_other_names(
        &state,
        data.conditions.classes(),
        "the classes of a run that begins from another's weights",
        "be as there, in the same order, since the weights know them by number",
    )?;
    players.load(&contents).map_err(|error| {
        let problem = format!("its networks are others than the new run's: {error}");
        Error::file(run, problem)
    })?;
    let digest = state.sha256.get(checkpoint::AVERAGE).cloned();
    let origin = Origin {
        run: std::path::absolute(run).unwrap_or_else(|_| run.to_owned()),
        step: state.step,
        ema_sha256: digest.unwrap_or_default(),
    };
    Ok((origin, state.encoder_accuracy))
}

/// Refuses a checkpoint whose classes have other names than this run's images; those of older versions have none.
fn refuse_other_names(state: &State, here: &Classes, what: &str, must: &str) -> Result<()> {
    match &state.classes {
        Some(there) if there.names != here.names => {
            Err(Error::invalid(what, format!("{must}: {there}"), here))
        }
        _ => Ok(()),
    }
}

/// Locks a run's folder until the file is dropped, however this process ends. File systems without locks are left alone.
fn lock(folder: &Path) -> Result<File> {
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
