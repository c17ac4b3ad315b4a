//! Checkpoints: written whole or not at all, checked when read.
//!
//! A checkpoint is a folder `checkpoints/STEP/` with four safetensors files and `state.json`, which
//! carries the SHA-256 of each and of itself. It is written under a temporary name, every file synced, and then
//! renamed: a run killed at any moment leaves either the old checkpoints or the old ones and a new
//! complete one.

use crate::data::{Classes, Dataset};
pub use crate::digest::sha256;
use crate::train::players::ImageKind;
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Named tensors, in the order of their names.
pub type Tensors = BTreeMap<String, Tensor>;

/// The tensors of a checkpoint, by file.
#[derive(Debug, Clone, Default)]
pub struct Contents {
    /// θ.
    pub model: Tensors,
    /// The exponential moving average of θ.
    pub ema: Tensors,
    /// φ.
    pub encoder: Tensors,
    /// AdamW moments: `theta.m.NAME`, `theta.v.NAME`, `phi.m.NAME`, `phi.v.NAME`.
    pub optimizer: Tensors,
}

/// Everything of a run's state that is not a tensor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// Format of this file.
    pub format: u32,
    /// Shape of the images and number of classes.
    pub images: ImageKind,
    /// The classes of the images; none for versions that did not say, which chose held-out images without regard to them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<Classes>,
    /// Steps done.
    pub step: usize,
    /// θ-updates done (the EMA's images seen are this times the batch).
    pub theta_updates: usize,
    /// Step count of θ's AdamW.
    pub theta_optimizer_steps: usize,
    /// Step count of φ's AdamW.
    pub phi_optimizer_steps: usize,
    /// Accuracy of Ψ on the held-out images, once it is trained.
    pub encoder_accuracy: Option<f64>,
    /// Step at which the adversarial phase found its balance, if it did.
    pub balanced_at: Option<usize>,
    /// Gains of the last rounds: what φ's ascent added to S and what θ's descent took from it.
    pub gains: Vec<(f64, f64)>,
    /// SHA-256 of the configuration's TOML text.
    pub config_sha256: String,
    /// SHA-256 of the images; empty for versions that did not say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub data_sha256: String,
    /// Version of the program that wrote it; empty for versions that did not say.
    #[serde(default)]
    pub version: String,
    /// SHA-256 of each tensor file, filled in when it is written.
    pub sha256: BTreeMap<String, String>,
    /// SHA-256 of this file as it is with this entry empty; empty for versions that did not say.
    #[serde(default)]
    pub own_sha256: String,
}

/// Refuses other images than those whose digest a checkpoint has; those of older versions have none.
pub(crate) fn refuse_other_images(trained: &str, images: &Dataset) -> Result<()> {
    let found = images.sha256();
    if trained.is_empty() || trained == found {
        return Ok(());
    }
    Err(Error::invalid(
        format!("the images of {}", images.name),
        format!(
            "be those that the run was trained on, SHA-256 {trained} (put them back, or start another run)"
        ),
        found,
    ))
}

impl State {
    fn text(&self) -> Result<String> {
        serde_json::to_string_pretty(self)
            .map_err(|e| Error::invalid("a run's state", "be writable as JSON", e))
    }

    /// The digest that belongs into `own_sha256`.
    fn digest(&self) -> Result<String> {
        let unsigned = Self {
            own_sha256: String::new(),
            ..self.clone()
        };
        Ok(sha256(unsigned.text()?.as_bytes()))
    }
}

/// Format written by this version.
pub const FORMAT: u32 = 1;

/// The file of Ψ and φ.
pub const ENCODER: &str = "encoder.safetensors";
/// The file of θ's average.
pub const AVERAGE: &str = "ema.safetensors";
const FILES: [&str; 4] = [
    "model.safetensors",
    AVERAGE,
    ENCODER,
    "optimizer.safetensors",
];
const STATE: &str = "state.json";

/// Writes the checkpoint of `state.step` under `root`, then deletes all but the newest `keep` and
/// those of the steps in `kept`. Returns its folder.
pub fn write(
    root: &Path,
    contents: &Contents,
    mut state: State,
    keep: usize,
    kept: &[usize],
) -> Result<PathBuf> {
    fs::create_dir_all(root).map_err(|e| Error::io("create", root, e))?;
    remove_unfinished(root)?;
    let folder = root.join(folder_name(state.step));
    if folder.exists() {
        // Written before this resume. Folders appear whole, and the same step has the same content.
        return Ok(folder);
    }
    let temporary = root.join(format!(".tmp-{}", folder_name(state.step)));
    if let Err(error) = fill(&temporary, contents, &mut state) {
        // On a full disk what is unfinished is in the way of everything else; the first failure is the one to report.
        let _ = fs::remove_dir_all(&temporary);
        return Err(error);
    }
    fs::rename(&temporary, &folder).map_err(|e| Error::io("rename to", &folder, e))?;
    sync(root)?;
    let older = steps(root)?.into_iter().rev().skip(keep.max(1));
    for old in older.filter(|step| !kept.contains(step)) {
        let path = root.join(folder_name(old));
        fs::remove_dir_all(&path).map_err(|e| Error::io("remove", &path, e))?;
    }
    Ok(folder)
}

/// Writes the files of a checkpoint into a new folder, to the disk.
fn fill(folder: &Path, contents: &Contents, state: &mut State) -> Result<()> {
    fs::create_dir(folder).map_err(|e| Error::io("create", folder, e))?;
    for (name, tensors) in FILES.into_iter().zip(contents.files()) {
        let bytes = serialise(tensors)?;
        state.sha256.insert(name.to_owned(), sha256(&bytes));
        write_synced(&folder.join(name), &bytes)?;
    }
    state.own_sha256 = state.digest()?;
    write_synced(&folder.join(STATE), state.text()?.as_bytes())?;
    sync(folder)
}

/// The newest checkpoint under `root`, or `None` when there is none.
///
/// # Errors
/// A file that is missing, truncated or altered is an error that names it: nothing older is taken in silence.
pub fn read_newest(root: &Path, device: &Device) -> Result<Option<(Contents, State)>> {
    match steps(root)?.last() {
        None => Ok(None),
        Some(step) => read(&root.join(folder_name(*step)), device).map(Some),
    }
}

/// The state of the newest checkpoint under `root`, without its tensors, or `None` when there is none.
///
/// # Errors
/// As [`read_newest`], but for the tensor files.
pub fn newest_state(root: &Path) -> Result<Option<State>> {
    match steps(root)?.last() {
        None => Ok(None),
        Some(step) => read_state(&root.join(folder_name(*step))).map(Some),
    }
}

/// The checkpoint in `folder`.
pub fn read(folder: &Path, device: &Device) -> Result<(Contents, State)> {
    let state = read_state(folder)?;
    let mut contents = Contents::default();
    for (name, slot) in FILES.into_iter().zip(contents.files_mut()) {
        *slot = read_checked(&folder.join(name), state.sha256.get(name), device)?;
    }
    Ok((contents, state))
}

/// The state of the checkpoint in `folder`.
fn read_state(folder: &Path) -> Result<State> {
    let path = folder.join(STATE);
    let text = fs::read_to_string(&path).map_err(|e| unreadable(&path, e))?;
    let state: State = serde_json::from_str(&text).map_err(|e| {
        Error::file(
            &path,
            format!("is not a checkpoint's state ({e}); {ADVICE}"),
        )
    })?;
    if state.format != FORMAT {
        return Err(Error::file(
            &path,
            format!(
                "has checkpoint format {}, this program reads format {FORMAT}",
                state.format
            ),
        ));
    }
    let (written, found) = (&state.own_sha256, state.digest()?);
    if !(written.is_empty() || *written == found) {
        let problem = format!("is altered: SHA-256 {written} expected, {found} found; {ADVICE}");
        return Err(Error::file(&path, problem));
    }
    let name = folder.file_name().and_then(|name| name.to_str());
    if name != Some(folder_name(state.step).as_str()) {
        let problem = format!(
            "is of step {}, and the folder's name says another; {ADVICE}",
            state.step
        );
        return Err(Error::file(&path, problem));
    }
    Ok(state)
}

const ADVICE: &str =
    "delete this checkpoint's folder to continue from the one before it, if there is one";

/// Of a checkpoint that lost a file, or whose state is no text, says what to do.
fn unreadable(path: &Path, e: std::io::Error) -> Error {
    match e.kind() {
        ErrorKind::NotFound => Error::file(path, format!("is missing; {ADVICE}")),
        ErrorKind::InvalidData => {
            Error::file(path, format!("is not a checkpoint's state ({e}); {ADVICE}"))
        }
        _ => Error::io("read", path, e),
    }
}

fn read_checked(path: &Path, expected: Option<&String>, device: &Device) -> Result<Tensors> {
    let bytes = fs::read(path).map_err(|e| unreadable(path, e))?;
    let found = sha256(&bytes);
    if expected != Some(&found) {
        return Err(Error::file(
            path,
            format!(
                "is truncated or altered: SHA-256 {} expected, {found} found; {ADVICE}",
                expected.map_or("none", String::as_str)
            ),
        ));
    }
    Ok(candle_core::safetensors::load_buffer(&bytes, device)?
        .into_iter()
        .collect())
}

impl Contents {
    fn files(&self) -> [&Tensors; 4] {
        [&self.model, &self.ema, &self.encoder, &self.optimizer]
    }

    pub(crate) fn files_mut(&mut self) -> [&mut Tensors; 4] {
        [
            &mut self.model,
            &mut self.ema,
            &mut self.encoder,
            &mut self.optimizer,
        ]
    }
}

/// safetensors bytes; tensors in the order of their names, so equal contents give equal bytes.
fn serialise(tensors: &Tensors) -> Result<Vec<u8>> {
    let host: Result<Vec<(&str, Tensor)>, candle_core::Error> = tensors
        .iter()
        .map(|(name, tensor)| Ok((name.as_str(), tensor.to_device(&Device::Cpu)?)))
        .collect();
    let host = host?;
    safetensors::serialize(host.iter().map(|(name, tensor)| (*name, tensor)), None)
        .map_err(|e| Error::invalid("a checkpoint's tensors", "be writable as safetensors", e))
}

/// Name of a checkpoint's folder under `checkpoints/`.
pub fn folder_name(step: usize) -> String {
    format!("{step:08}")
}

/// Steps with a complete checkpoint, ascending.
pub fn steps(root: &Path) -> Result<Vec<usize>> {
    if !root.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(root).map_err(|e| Error::io("read", root, e))?;
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|e| Error::io("read", root, e))?;
        if let Some(step) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        {
            found.push(step);
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Removes what a killed run left unfinished.
fn remove_unfinished(root: &Path) -> Result<()> {
    let entries = fs::read_dir(root).map_err(|e| Error::io("read", root, e))?;
    for entry in entries {
        let path = entry.map_err(|e| Error::io("read", root, e))?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
        if name.starts_with(".tmp-") {
            fs::remove_dir_all(&path).map_err(|e| Error::io("remove", &path, e))?;
        }
    }
    Ok(())
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = File::create(path).map_err(|e| Error::io("create", path, e))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(|e| Error::io("write", path, e))
}

/// Makes a folder's entries durable.
fn sync(folder: &Path) -> Result<()> {
    File::open(folder)
        .and_then(|f| f.sync_all())
        .map_err(|e| Error::io("sync", folder, e))
}

/// Writes a small file whole or not at all.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = path.with_extension("tmp");
    write_synced(&temporary, bytes)?;
    fs::rename(&temporary, path).map_err(|e| Error::io("rename to", path, e))
}
