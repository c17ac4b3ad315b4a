//! The real trainer's run of a configuration: everything that it shows, says, logs and saves.

use super::Values;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, atomic::AtomicBool},
};

use candle_core::{Device, Tensor};
use ndarray::ArrayD;
use sadm_gpu::{
    config::Config,
    run::phases::Phase,
    train::{
        Hooks, Outcome, StepReport, Trainer, audit,
        observer::{Observation, Observer, Verdict},
        term::Record,
    },
};
use serde_json::Value;

use crate::{
    engine::Place,
    error::{Error, Result},
};

/// A term of an update, as the observer saw it.
pub(super) struct Term {
    pub(super) name: &'static str,
    pub(super) factor: f64,
    pub(super) loss: f64,
    pub(super) settings: BTreeMap<&'static str, f64>,
    pub(super) samples: BTreeMap<&'static str, Vec<f64>>,
    pub(super) tensors: Values,
    pub(super) gradients: Values,
}

/// An update that was shown to the observer.
pub(super) struct Seen {
    /// Steps done before.
    pub(super) step: usize,
    pub(super) phase: String,
    pub(super) player: String,
    pub(super) terms: Vec<Term>,
    /// What the observer answered.
    pub(super) ratio: f64,
}

/// A checkpoint, as it was written.
pub(super) struct Saved {
    pub(super) state: Value,
    pub(super) tensors: Values,
}

/// A run.
pub(super) struct Real {
    pub(super) phases: Vec<(&'static str, usize, usize)>,
    pub(super) seen: Vec<Seen>,
    pub(super) reports: Vec<StepReport>,
    /// Steps after which samples were drawn.
    pub(super) sampled: Vec<usize>,
    /// By step.
    pub(super) saved: BTreeMap<usize, Saved>,
    /// The folders of `checkpoints` at the end.
    pub(super) kept: Vec<usize>,
    /// The lines of `metrics.jsonl`.
    pub(super) lines: Vec<Value>,
    /// The `config.toml` of the run's folder.
    pub(super) resolved: String,
    pub(super) outcome: Outcome,
}

/// Runs a configuration in an empty folder.
///
/// # Errors
/// A configuration that is refused. Where only the audit of gradients refuses the run, its reason is the answer.
pub(super) fn run(text: &str, folder: &Path) -> Result<std::result::Result<Real, String>> {
    let config = Config::from_toml(text, "the run").map_err(|e| Error::Gpu(e.to_string()))?;
    let seen = Arc::<Mutex<Vec<Seen>>>::default();
    let watcher = Watcher {
        seen: Arc::clone(&seen),
    };
    let observer: Box<dyn Observer> = Box::new(watcher);
    let mut heard = Heard::default();
    let trained = Trainer::new(config, folder, &Device::Cpu, Some(observer), false)
        .and_then(|mut trainer| trainer.run(&mut heard, &AtomicBool::new(false)));
    let outcome = match trained {
        Err(error) if audit::is_refusal(&error) => return Ok(Err(error.to_string())),
        trained => trained?,
    };
    let text = |name: &str| fs::read_to_string(folder.join(name)).map_err(Error::reference);
    let lines = text("metrics.jsonl")?;
    let lines = lines.lines().map(serde_json::from_str);
    let seen = std::mem::take(&mut *seen.lock().unwrap_or_else(PoisonError::into_inner));
    Ok(Ok(Real {
        phases: heard.phases,
        seen,
        reports: heard.reports,
        sampled: heard.sampled,
        saved: heard.saved.into_iter().collect::<Result<_>>()?,
        kept: folders(&folder.join("checkpoints"))?,
        lines: lines
            .collect::<std::result::Result<_, _>>()
            .map_err(Error::reference)?,
        resolved: text("config.toml")?,
        outcome,
    }))
}

/// The numbers of the checkpoints in a folder.
fn folders(root: &Path) -> Result<Vec<usize>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root).map_err(Error::reference)? {
        let name = entry.map_err(Error::reference)?.file_name();
        found.extend(name.to_str().and_then(|name| name.parse::<usize>().ok()));
    }
    found.sort_unstable();
    Ok(found)
}

/// The observer: it keeps everything, and answers with numbers that tell one update from another.
struct Watcher {
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Observer for Watcher {
    fn observe(&mut self, observation: &Observation<'_>) -> sadm_gpu::Result<Verdict> {
        let terms = observation.terms.iter().map(term).collect::<Result<_>>();
        let terms = terms.map_err(|e: Error| {
            sadm_gpu::Error::invalid("what is observed", "be readable", e.to_string())
        })?;
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let ratio = (0.618_033_988_75 * (seen.len() + 1) as f64).fract();
        seen.push(Seen {
            step: observation.step,
            phase: observation.phase.to_owned(),
            player: observation.player.to_owned(),
            terms,
            ratio,
        });
        Ok(Verdict {
            ratio,
            quantity: format!("update {}", seen.len()),
            ratios: Vec::new(),
            failure: None,
        })
    }
}

fn term(record: &Record) -> Result<Term> {
    let arrays = |tensors: &BTreeMap<&'static str, Tensor>| -> Result<Values> {
        let each = tensors.iter();
        each.map(|(name, x)| Ok(((*name).to_owned(), Place::array(x)?)))
            .collect()
    };
    Ok(Term {
        name: record.term,
        factor: record.factor,
        loss: record.loss,
        settings: record.settings.clone(),
        samples: record.samples.clone(),
        tensors: arrays(&record.tensors)?,
        gradients: arrays(&record.gradients)?,
    })
}

/// The callbacks: they keep everything.
#[derive(Default)]
struct Heard {
    phases: Vec<(&'static str, usize, usize)>,
    reports: Vec<StepReport>,
    sampled: Vec<usize>,
    saved: Vec<Result<(usize, Saved)>>,
}

impl Hooks for Heard {
    fn phase(&mut self, phase: Phase, start: usize, end: usize) {
        self.phases.push((phase.name(), start, end));
    }

    fn step(&mut self, report: &StepReport) {
        self.reports.push(report.clone());
    }

    fn samples(&mut self, _: &Path, step: usize, _: &Tensor) -> sadm_gpu::Result<()> {
        self.sampled.push(step);
        Ok(())
    }

    fn checkpoint(&mut self, folder: &Path) {
        self.saved.push(saved(folder));
    }
}

/// Reads the files of a checkpoint.
fn saved(folder: &Path) -> Result<(usize, Saved)> {
    let mut tensors = Values::new();
    let mut state = Value::Null;
    for entry in fs::read_dir(folder).map_err(Error::reference)? {
        let path: PathBuf = entry.map_err(Error::reference)?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.unwrap_or_default();
        if let Some(file) = name.strip_suffix(".safetensors") {
            for (parameter, x) in candle_core::safetensors::load(&path, &Device::Cpu)? {
                tensors.insert(format!("{file} {parameter}"), Place::array(&x)?);
            }
        } else {
            let text = fs::read_to_string(&path).map_err(Error::reference)?;
            state = serde_json::from_str(&text).map_err(Error::reference)?;
        }
    }
    let name = folder.file_name().and_then(|name| name.to_str());
    let step = name.and_then(|name| name.parse().ok());
    let step = step.ok_or_else(|| Error::Gpu(format!("{} has no number", folder.display())))?;
    Ok((step, Saved { state, tensors }))
}

/// A vector of what was seen.
pub(super) fn array(x: &[f64]) -> ArrayD<f64> {
    ndarray::Array1::from(x.to_vec()).into_dyn()
}
