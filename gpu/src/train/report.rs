//! What a step says, once its numbers are known: on a card that is a step later, so that the card never waits for the processor.

use super::metrics::Metrics;
use super::reading::Reading;
use super::{Hooks, StepReport, Trainer};
use crate::Result;
use crate::run::phases::{Phase, Span};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// What a step left for its report.
pub(super) struct Done {
    /// The loss, and S if the phase has it.
    pub(super) losses: Reading,
    /// Global gradient norm before clipping.
    pub(super) norm: Reading,
    /// Of φ's updates in the same step: they must be finite.
    pub(super) others: Vec<Reading>,
    pub(super) extra: BTreeMap<&'static str, f64>,
}

impl Done {
    fn is_known(&self) -> bool {
        let mut all = self.others.iter().chain([&self.losses, &self.norm]);
        all.all(Reading::is_known)
    }
}

/// The numbers of [`Reading::of_theta`].
pub(super) fn loss_and_structure(numbers: &[f64]) -> (f64, Option<f64>) {
    (numbers[0], numbers.get(1).copied())
}

/// A step that was done and has not been reported.
pub(super) struct Pending {
    done: Done,
    phase: Phase,
    /// Steps done with it.
    step: usize,
    shadow: Option<(f64, String)>,
    images: usize,
    seconds: f64,
    /// Whether `metrics.jsonl` has a line for it.
    logged: bool,
}

impl Trainer {
    /// One step; false if it was given up because `stop` was set.
    pub(super) fn advance(
        &mut self,
        span: Span,
        metrics: &mut Metrics,
        hooks: &mut dyn Hooks,
        stop: &AtomicBool,
    ) -> Result<bool> {
        let begun = Instant::now();
        self.audited = false;
        let done = match span.phase {
            Phase::Encoder => self.encoder_step(span).map(Some),
            _ => self.theta_phase_step(span, hooks, stop),
        };
        // Before what went wrong here: it may have begun in the step before.
        self.settle_pending(metrics, hooks)?;
        let Some(done) = done? else {
            return Ok(false);
        };
        self.state.step += 1;
        let step = self.state.step;
        let last = step == span.end || self.finished();
        let is_known = done.is_known();
        self.pending = Some(Pending {
            done,
            phase: span.phase,
            step,
            shadow: self
                .verdict
                .as_ref()
                .map(|(_, v)| (v.ratio, v.quantity.clone())),
            images: match span.phase {
                Phase::Encoder => self.config.encoder.batch,
                _ => self.config.train.batch,
            },
            seconds: begun.elapsed().as_secs_f64(),
            logged: step.is_multiple_of(self.config.train.log_every) || last,
        });
        let is_due = |every: usize| every > 0 && step.is_multiple_of(every);
        let saved = (is_due(self.config.checkpoint.every) || step == span.end)
            && step < self.config.train.steps;
        let sampled =
            is_due(self.config.sample.every) && !self.finished() && span.phase != Phase::Encoder;
        if is_known || last || saved || sampled {
            self.settle_pending(metrics, hooks)?;
        }
        if last {
            self.conclude(span, metrics, hooks)?;
        }
        if saved {
            let saved = self.save()?;
            hooks.checkpoint(&saved);
        }
        if sampled {
            self.draw_samples(hooks)?;
        }
        Ok(true)
    }

    /// Reads the numbers of the step that was done last, and reports them.
    pub(super) fn settle_pending(
        &mut self,
        metrics: &mut Metrics,
        hooks: &mut dyn Hooks,
    ) -> Result<()> {
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
            steps: self.config.train.steps,
            loss,
            structure,
            grad_norm: pending.done.norm.first()?,
            shadow: pending.shadow.as_ref().map(|(ratio, _)| *ratio),
            images: pending.images,
            seconds: pending.seconds,
        };
        hooks.step(&report);
        if pending.logged {
            let line = pending.metrics_line(&report);
            metrics.write(&line)?;
            hooks.metrics(&line)?;
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
