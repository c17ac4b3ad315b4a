//! Checkpoints: written whole or not at all, checked when read.
//!
//! A checkpoint is a folder `checkpoints/STEP/` with a safetensors file for each player's parameters, average and optimiser, and
//! `state.json`, which carries the SHA-256 of each and of itself. It is written under a temporary name, every file synced, and then
//! renamed: a run killed at any moment leaves either the old checkpoints or the old ones and a new
//! complete one.

mod format1;

use crate::data::{Classes, ImageKind};
pub use crate::digest::sha256;
use crate::params::Tensors;
use crate::{Error, Result};
use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

/// The tensors of a checkpoint, by file: `PLAYER`, its parameters; `PLAYER.average`; `PLAYER.optimizer`, AdamW's moments
/// `m.NAME` and `v.NAME`.
#[derive(Debug, Clone, Default)]
pub struct Contents(pub BTreeMap<String, Tensors>);

impl Contents {
    /// The tensors of a file; none of one that is not there.
    pub fn of(&self, file: &str) -> &Tensors {
        static NONE: Tensors = Tensors::new();
        self.0.get(file).unwrap_or(&NONE)
    }

    /// The same tensors in storage of their own, which further steps leave alone.
    pub(crate) fn copied(&self) -> Result<Self> {
        let mut all = self.clone();
        for tensor in all.0.values_mut().flat_map(BTreeMap::values_mut) {
            *tensor = tensor.copy()?;
        }
        Ok(all)
    }
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
    /// Updates that each player's optimiser has behind it (the images seen by θ's average are this times the batch).
    pub updates: BTreeMap<String, usize>,
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
    /// SHA-256 of each tensor file, by [`Contents`]' name, filled in when it is written.
    pub sha256: BTreeMap<String, String>,
    /// SHA-256 of this file as it is with this entry empty; empty for versions that did not say.
    #[serde(default)]
    pub own_sha256: String,
}

/// Refuses other images than those whose digest a checkpoint has; those of older versions have none.
pub(crate) fn refuse_other_images(trained: &str, images: &str, found: &str) -> Result<()> {
    if trained.is_empty() || trained == found {
        return Ok(());
    }
    Err(Error::invalid(
        format!("the images of {images}"),
        format!(
            "be those that the run was trained on, SHA-256 {trained} (put them back, or start another run)"
        ),
        found,
    ))
}

impl State {
    /// Of a run of which nothing is done yet.
    pub(crate) fn new(
        config: &str,
        images: ImageKind,
        classes: Option<Classes>,
        data_sha256: String,
    ) -> Self {
        Self {
            format: FORMAT,
            images,
            classes,
            step: 0,
            updates: BTreeMap::new(),
            encoder_accuracy: None,
            balanced_at: None,
            gains: Vec::new(),
            config_sha256: sha256(config.as_bytes()),
            data_sha256,
            version: VERSION.to_owned(),
            sha256: BTreeMap::new(),
            own_sha256: String::new(),
        }
    }

    /// The text without its own digest, and with it.
    fn texts(&self) -> Result<[String; 2]> {
        let text = |state: &Self| {
            serde_json::to_string_pretty(state)
                .map_err(|e| Error::invalid("a run's state", "be writable as JSON", e))
        };
        let mut state = Self {
            own_sha256: String::new(),
            ..self.clone()
        };
        let unsigned = text(&state)?;
        state.own_sha256 = sha256(unsigned.as_bytes());
        Ok([unsigned, text(&state)?])
    }
}

/// Version of the program that wrote a checkpoint.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Format written by this version; format 1 is read.
pub const FORMAT: u32 = 2;

/// The file of Ψ and φ.
pub const ENCODER: &str = "phi";
/// The file of θ's average.
pub const AVERAGE: &str = "theta.average";
const STATE: &str = "state.json";

/// The name of the file with a player's parameters, in a checkpoint of this state.
pub fn parameters_of(state: &State, player: &str) -> String {
    let older = (state.format == 1).then(|| format1::file_of(player));
    older
        .flatten()
        .map_or_else(|| format!("{player}.safetensors"), str::to_owned)
}

/// The path of a file of [`Contents`].
fn tensor_file(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.safetensors"))
}

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
    state.format = FORMAT;
    state.sha256.clear();
    for (name, tensors) in &contents.0 {
        let bytes = serialise(tensors)?;
        state.sha256.insert(name.clone(), sha256(&bytes));
        write_synced(&tensor_file(folder, name), &bytes)?;
    }
    let [_, text] = state.texts()?;
    write_synced(&folder.join(STATE), text.as_bytes())?;
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
    let (state, written_in) = state_and_format(folder)?;
    let contents = match written_in {
        Written::Format1(old) => format1::contents(folder, &old, device)?,
        Written::Format2 => {
            let read = |(name, digest): (&String, &String)| {
                let file = tensor_file(folder, name);
                Ok((name.clone(), read_checked(&file, Some(digest), device)?))
            };
            Contents(state.sha256.iter().map(read).collect::<Result<_>>()?)
        }
    };
    Ok((contents, state))
}

/// The format that a checkpoint was written in.
enum Written {
    Format1(Box<format1::State>),
    Format2,
}

/// The state of the checkpoint in `folder`.
fn read_state(folder: &Path) -> Result<State> {
    state_and_format(folder).map(|(state, _)| state)
}

fn state_and_format(folder: &Path) -> Result<(State, Written)> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let path = folder.join(STATE);
    let text = fs::read_to_string(&path).map_err(|e| unreadable(&path, e))?;
    let Format { format } = parsed(&path, &text)?;
    let (state, written_in) = match format {
        1 => {
            let old: format1::State = parsed(&path, &text)?;
            (old.now(), Written::Format1(Box::new(old)))
        }
        FORMAT => (parsed(&path, &text)?, Written::Format2),
        _ => {
            let problem = format!(
                "has checkpoint format {format}, this program reads formats 1 and {FORMAT}"
            );
            return Err(Error::file(&path, problem));
        }
    };
    let expected: &str = match &written_in {
        Written::Format1(old) => &old.own_sha256,
        Written::Format2 => &state.own_sha256,
    };
    let found = match &written_in {
        Written::Format1(old) => old.digest()?,
        // Of the text as it is: entries that this program does not know would count as well.
        Written::Format2 => sha256(text.replace(&state.own_sha256, "").as_bytes()),
    };
    let may_be_missing = matches!(written_in, Written::Format1(_)) && expected.is_empty();
    if !may_be_missing && expected != found {
        let problem = format!("is altered: SHA-256 {expected} expected, {found} found; {ADVICE}");
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
    Ok((state, written_in))
}

/// A state's text in some format.
fn parsed<T: for<'de> Deserialize<'de>>(path: &Path, text: &str) -> Result<T> {
    serde_json::from_str(text)
        .map_err(|e| Error::file(path, format!("is not a checkpoint's state ({e}); {ADVICE}")))
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
