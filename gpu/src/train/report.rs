//! Report of a step, once its numbers are known: on a GPU that is a step later, so that the GPU never waits for the CPU.

use super::hooks::{Hooks, StepReport};
use super::metrics::Metrics;
use super::reading::Reading;
use super::updater::Updated;
use crate::Result;
use crate::run::phases::Phase;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// A step whose report is due.
pub(crate) struct Done {
    /// The loss, and S if the phase has it.
    pub(crate) losses: Reading,
    /// Global gradient norm before clipping.
    norm: Reading,
    /// Of other updates in the same step: they must be finite.
    pub(crate) others: Vec<Reading>,
    /// More entries of its line in `metrics.jsonl`.
    pub(crate) extra: BTreeMap<&'static str, f64>,
}

impl Done {
    /// Of one update with this learning rate.
    pub(crate) fn of(updated: Updated, learning_rate: f64) -> Self {
        Self {
            losses: updated.losses,
            norm: updated.norm,
            others: Vec::new(),
            extra: BTreeMap::from([("learning_rate", learning_rate)]),
        }
    }

    fn is_known(&self) -> bool {
        let mut all = self.others.iter().chain([&self.losses, &self.norm]);
        all.all(Reading::is_known)
    }
}

/// The numbers of a θ-update: the denoising loss, and S if the phase has it.
pub(crate) fn loss_and_structure(numbers: &[f64]) -> (f64, Option<f64>) {
    (numbers[0], numbers.get(1).copied())
}

/// A step that was done and has not been reported.
pub(super) struct Pending {
    pub(super) done: Done,
    pub(super) phase: Phase,
    /// Steps done with it.
    pub(super) step: usize,
    /// Steps of the run.
    pub(super) steps: usize,
    pub(super) shadow: Option<(f64, String)>,
    pub(super) images: usize,
    pub(super) seconds: f64,
    /// Whether `metrics.jsonl` has a line for it.
    pub(super) logged: bool,
}

/// The log of a run while it goes on.
pub(super) struct Log {
    metrics: Metrics,
    /// The step before, if its numbers have not been read yet.
    pending: Option<Pending>,
}

impl Log {
    /// A log that goes on with `metrics`.
    pub(super) fn new(metrics: Metrics) -> Self {
        Self {
            metrics,
            pending: None,
        }
    }

    /// Takes a step's report, to be written when its numbers are known; says whether they are.
    pub(super) fn push(&mut self, pending: Pending) -> bool {
        let is_known = pending.done.is_known();
        self.pending = Some(pending);
        is_known
    }

    /// Appends a line to `metrics.jsonl`.
    pub(super) fn line(&mut self, line: &Value, hooks: &mut dyn Hooks) -> Result<()> {
        self.metrics.write(line)?;
        hooks.metrics(line)
    }

    /// Reads the numbers of the step that was done last, and reports them.
    pub(super) fn settle(&mut self, hooks: &mut dyn Hooks) -> Result<()> {
        let Some(mut pending) = self.pending.take() else {
            return Ok(());
        };
        for reading in &mut pending.done.others {
            reading.wait()?;
        }
        let (loss, structure) = loss_and_structure(pending.done.losses.wait()?);
        let report = StepReport {
            phase: pending.phase.name(),
            step: pending.step,
            steps: pending.steps,
            loss,
            structure,
            grad_norm: pending.done.norm.first()?,
            shadow: pending.shadow.as_ref().map(|(ratio, _)| *ratio),
            images: pending.images,
            seconds: pending.seconds,
        };
        hooks.step(&report);
        if pending.logged {
            self.line(&pending.metrics_line(&report), hooks)?;
        }
        Ok(())
    }
}

impl Pending {
    fn metrics_line(&self, report: &StepReport) -> Value {
        let mut line = json!({
            "step": report.step,
            "phase": report.phase,
            "loss": report.loss,
            "grad_norm": report.grad_norm,
            "seconds": report.seconds,
            "images_per_second": report.images as f64 / report.seconds,
        });
        if let Some(structure) = report.structure {
            line["structure"] = json!(structure);
        }
        if let Some((ratio, quantity)) = &self.shadow {
            line["shadow"] = json!(ratio);
            line["shadow_quantity"] = json!(quantity);
        }
        for (name, value) in &self.done.extra {
            line[*name] = json!(value);
        }
        line
    }
}
