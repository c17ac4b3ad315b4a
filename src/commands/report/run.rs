//! Contents of a run's folder, as far as it can be read.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sadm_gpu::config::Config;
use sadm_gpu::run::checkpoint::{self, State};
use sadm_gpu::run::history::{self, Event};
use sadm_gpu::run::phases::{Span, phases};
use sadm_gpu::train::player::{PHI, THETA};

use super::log::Log;

/// Sample grids shown of a run.
const GRIDS: usize = 12;

/// A run.
#[derive(Debug)]
pub struct Run {
    /// The folder's name, or its path where two runs have the same name.
    pub name: String,
    /// Where it is.
    pub folder: PathBuf,
    /// SHA-256 of the configuration's text.
    pub config_sha256: String,
    /// Every key of the configuration and its value.
    pub keys: BTreeMap<String, String>,
    /// The configuration, where this version of the program can read it.
    pub config: Option<Config>,
    /// The numbers of training.
    pub log: Log,
    /// The numbers of `evaluation.jsonl`, where there is one.
    pub evaluation: Option<Log>,
    /// Time since the log was last written.
    pub quiet: Option<Duration>,
    /// Steps with a checkpoint.
    pub checkpoints: Vec<usize>,
    /// The newest checkpoint's state.
    pub state: Option<State>,
    /// Number of parameters of θ and φ.
    pub parameters: [Option<usize>; 2],
    /// What was changed after its beginning.
    pub history: Vec<Event>,
    /// Sample grids: step and PNG.
    pub samples: Vec<(u64, Vec<u8>)>,
    /// Grids that are there and not shown.
    pub omitted: usize,
    /// What was missing or could not be read.
    pub problems: Vec<String>,
}

impl Run {
    /// Reads a run's folder.
    ///
    /// # Errors
    /// Only if it is no run's folder, or its configuration is no text. Whatever else is missing is a
    /// problem that the report states.
    pub fn read(folder: &Path) -> Result<Self> {
        if !folder.is_dir() {
            bail!(
                "`{}` is no folder; a run's folder is what `sadm train --out` names",
                folder.display()
            );
        }
        let path = folder.join("config.toml");
        if !path.exists() {
            bail!(
                "`{}` is no run's folder: it holds no config.toml",
                folder.display()
            );
        }
        let text = fs::read_to_string(&path)
            .with_context(|| format!("cannot read `{}`", path.display()))?;
        let mut problems = Vec::new();
        let config = Config::of_run(&text, "config.toml")
            .map_err(|reason| {
                problems.push(format!(
                    "{reason}; what needs the configuration is left out"
                ));
            })
            .ok();
        // With defaults for keys that did not exist when the run was made.
        let full = config
            .as_ref()
            .map_or_else(|| text.clone(), Config::to_toml);
        let log_path = folder.join("metrics.jsonl");
        let log = Log::read(&log_path);
        let mut run = Self {
            name: name(folder),
            folder: folder.to_owned(),
            config_sha256: checkpoint::sha256(text.as_bytes()),
            keys: keys(&full, &mut problems),
            config,
            quiet: fs::metadata(&log_path)
                .and_then(|about| about.modified())
                .ok()
                .and_then(|at| at.elapsed().ok()),
            evaluation: evaluation(folder),
            checkpoints: Vec::new(),
            state: None,
            parameters: [None; 2],
            history: Vec::new(),
            samples: Vec::new(),
            omitted: 0,
            problems,
            log,
        };
        run.problems.append(&mut run.log.problems);
        if let Some(evaluation) = &mut run.evaluation {
            run.problems.append(&mut evaluation.problems);
        }
        match history::read(folder) {
            Ok(events) => run.history = events,
            Err(reason) => run.problems.push(format!("{reason}; it is left out")),
        }
        run.read_checkpoints();
        run.read_samples();
        Ok(run)
    }

    /// The phases that the configuration asks for.
    pub fn spans(&self) -> Vec<Span> {
        self.config.as_ref().map(phases).unwrap_or_default()
    }

    /// Steps done, by the log or the newest checkpoint.
    pub fn step(&self) -> u64 {
        let saved = self.state.as_ref().map_or(0, |state| state.step as u64);
        self.log.last_step().unwrap_or(0).max(saved)
    }

    /// Whether nothing is left to train.
    pub fn finished(&self) -> bool {
        let all = self
            .config
            .as_ref()
            .map_or(u64::MAX, |c| c.train.steps as u64);
        let balanced = self.state.as_ref().is_some_and(|s| s.balanced_at.is_some());
        self.step() >= all || balanced
    }

    fn read_checkpoints(&mut self) {
        let root = self.folder.join("checkpoints");
        self.checkpoints = checkpoint::steps(&root).unwrap_or_default();
        let Some(newest) = self.checkpoints.last() else {
            self.problems.push("there is no checkpoint yet".to_owned());
            return;
        };
        let folder = root.join(checkpoint::folder_name(*newest));
        let state = match checkpoint::newest_state(&root) {
            Ok(Some(state)) => state,
            Ok(None) => return,
            Err(reason) => {
                self.problems.push(format!(
                    "the state of checkpoint {newest} cannot be read: {reason}"
                ));
                return;
            }
        };
        for (slot, player) in self.parameters.iter_mut().zip([THETA, PHI]) {
            let file = checkpoint::parameters_of(&state, player);
            match count(&folder.join(&file)) {
                Ok(number) => *slot = Some(number),
                Err(reason) => self.problems.push(format!(
                    "{file} of checkpoint {newest} cannot be read: {reason:#}"
                )),
            }
        }
        self.state = Some(state);
    }

    fn read_samples(&mut self) {
        let entries = fs::read_dir(self.folder.join("samples"))
            .into_iter()
            .flatten();
        let mut found: Vec<(u64, PathBuf)> = entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|ending| ending == "png"))
            .filter_map(|path| Some((path.file_stem()?.to_str()?.parse().ok()?, path)))
            .collect();
        found.sort();
        let shown = spread(found.len(), GRIDS);
        self.omitted = found.len() - shown.len();
        for (step, path) in shown.into_iter().map(|i| &found[i]) {
            match picture(path) {
                Ok(png) => self.samples.push((*step, png)),
                Err(reason) => self
                    .problems
                    .push(format!("samples/{} is no picture: {reason:#}", name(path))),
            }
        }
    }
}

/// Gives runs of the same name their paths.
pub fn distinguish(runs: &mut [Run]) {
    let names: Vec<String> = runs.iter().map(|run| run.name.clone()).collect();
    for run in runs {
        if names.iter().filter(|name| **name == run.name).count() > 1 {
            run.name = run.folder.display().to_string();
        }
    }
}

fn name(path: &Path) -> String {
    // `.` and `..` have no name of their own.
    let whole = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let name = whole.file_name().unwrap_or(path.as_os_str());
    name.to_string_lossy().into_owned()
}

/// Every leaf of a configuration's text by its dotted key.
pub fn flattened(text: &str) -> BTreeMap<String, String> {
    keys(text, &mut Vec::new())
}

fn keys(text: &str, problems: &mut Vec<String>) -> BTreeMap<String, String> {
    fn walk(table: &toml::Table, prefix: &str, out: &mut BTreeMap<String, String>) {
        for (key, value) in table {
            match value {
                toml::Value::Table(inner) => walk(inner, &format!("{prefix}{key}."), out),
                toml::Value::String(text) => {
                    drop(out.insert(format!("{prefix}{key}"), text.clone()));
                }
                other => drop(out.insert(format!("{prefix}{key}"), other.to_string())),
            }
        }
    }
    let mut out = BTreeMap::new();
    match text.parse::<toml::Table>() {
        Ok(table) => walk(&table, "", &mut out),
        Err(reason) => problems.push(format!("config.toml is no TOML: {}", reason.message())),
    }
    out
}

fn evaluation(folder: &Path) -> Option<Log> {
    let path = folder.join("evaluation.jsonl");
    path.exists().then(|| Log::read(&path))
}

/// At most `most` of `0..count`, evenly spread, with the first and the last.
fn spread(count: usize, most: usize) -> Vec<usize> {
    if count <= most {
        return (0..count).collect();
    }
    (0..most).map(|i| i * (count - 1) / (most - 1)).collect()
}

/// The file's bytes, once they decode.
fn picture(path: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(path)?;
    image::load_from_memory_with_format(&bytes, image::ImageFormat::Png)?;
    Ok(bytes)
}

/// Elements of all tensors of a safetensors file: its header is JSON after eight bytes of length.
fn count(path: &Path) -> Result<usize> {
    let mut file = fs::File::open(path)?;
    let size = file.metadata()?.len();
    let mut head = [0; 8];
    file.read_exact(&mut head)?;
    let length = u64::from_le_bytes(head);
    if length.saturating_add(8) > size {
        bail!("it is cut short");
    }
    let mut header = Vec::new();
    file.take(length).read_to_end(&mut header)?;
    let header: BTreeMap<String, Entry> = serde_json::from_slice(&header)?;
    let end = header.values().map(|entry| entry.data_offsets.1).max();
    if end.unwrap_or(0).saturating_add(length + 8) != size {
        bail!("it is cut short");
    }
    let sizes = header
        .values()
        .map(|entry| entry.shape.iter().product::<usize>());
    Ok(sizes.sum())
}

/// A tensor in a header; the entry of free text has neither.
#[derive(serde::Deserialize)]
struct Entry {
    #[serde(default = "empty")]
    shape: Vec<usize>,
    #[serde(default)]
    data_offsets: (u64, u64),
}

/// No element.
fn empty() -> Vec<usize> {
    vec![0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_both_ends_and_no_repetition() {
        assert_eq!(spread(3, 12), [0, 1, 2]);
        assert_eq!(spread(0, 12), Vec::<usize>::new());
        for count in 13..100 {
            let chosen = spread(count, 12);
            assert_eq!((chosen[0], chosen[11]), (0, count - 1));
            assert!(
                chosen.windows(2).all(|pair| pair[0] < pair[1]),
                "{chosen:?}"
            );
        }
    }

    #[test]
    fn parameters_are_counted_and_a_truncated_file_is_noticed() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("x.safetensors");
        let bytes = [0u8; 4 * 7];
        let view = |shape: Vec<usize>, bytes| {
            safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape, bytes)
        };
        let tensors = [
            ("a", view(vec![2, 3], &bytes[..24])?),
            ("b", view(vec![], &bytes[24..])?),
        ];
        let about = std::collections::HashMap::from([("format".to_owned(), "pt".to_owned())]);
        let file = safetensors::serialize(tensors, Some(about))?;
        for (end, whole) in [
            (file.len(), true),
            (file.len() - 1, false),
            (20, false),
            (3, false),
        ] {
            fs::write(&path, &file[..end])?;
            assert_eq!(count(&path).ok(), whole.then_some(7), "{end} bytes");
        }
        Ok(())
    }

    #[test]
    fn keys_are_dotted() {
        let mut problems = Vec::new();
        let found = keys("seed = 0\n[a.b]\nc = \"x\"\nd = [1, 2]\n", &mut problems);
        let found: Vec<(&str, &str)> = found
            .iter()
            .map(|(k, v)| (k.as_str(), v.as_str()))
            .collect();
        assert_eq!(found, [("a.b.c", "x"), ("a.b.d", "[1, 2]"), ("seed", "0")]);
        assert!(problems.is_empty());
        keys("[a", &mut problems);
        assert_eq!(problems.len(), 1);
    }
}
