//! Calls of the observer, and the consequences of its verdict.

use super::hooks::Hooks;
use super::observer::{Observation, Observer, Verdict};
use crate::config::{OnFailure, ShadowConfig};
use crate::{Error, Result};
use std::ops::Range;

/// The observer of a run, with what it found.
pub(crate) struct Watch {
    observer: Option<Box<dyn Observer>>,
    every: usize,
    on_failure: OnFailure,
    /// The newest observed step and the worse of its players' verdicts.
    verdict: Option<(usize, Verdict)>,
    /// Largest error/bound of this call, and its quantity.
    pub(super) worst: Option<(f64, String)>,
    /// Seconds spent in the observer.
    pub(super) seconds: f64,
}

impl Watch {
    /// Nobody has looked yet.
    pub(super) fn new(observer: Option<Box<dyn Observer>>, config: &ShadowConfig) -> Self {
        Self {
            observer,
            every: config.every,
            on_failure: config.on_failure,
            verdict: None,
            worst: None,
            seconds: 0.0,
        }
    }

    /// The newest verdict: error/bound and its quantity.
    pub(super) fn newest(&self) -> Option<(f64, String)> {
        let newest = self.verdict.as_ref();
        newest.map(|(_, v)| (v.ratio, v.quantity.clone()))
    }

    /// Whether one of these steps is shown to the observer: every N-th, and the first of a call that could be, so that there
    /// is a verdict from the beginning.
    pub(crate) fn is_due(&self, mut steps: Range<usize>) -> bool {
        let due = self.verdict.is_none() || steps.any(|step| step.is_multiple_of(self.every));
        self.observer.is_some() && self.every > 0 && due
    }

    /// Shows a step.
    ///
    /// # Errors
    /// A step that fails, where the configuration says that this stops the run.
    pub(super) fn show(&mut self, seen: &Observation<'_>, hooks: &mut dyn Hooks) -> Result<()> {
        let Some(observer) = &mut self.observer else {
            return Ok(());
        };
        let verdict = observer.observe(seen)?;
        self.judge(seen.step, verdict, hooks)
    }

    /// Remembers a verdict; a ratio that is not at most 1 stops the run or is said.
    fn judge(&mut self, step: usize, verdict: Verdict, hooks: &mut dyn Hooks) -> Result<()> {
        if self
            .worst
            .as_ref()
            .is_none_or(|(worst, _)| verdict.ratio.is_nan() || verdict.ratio > *worst)
        {
            self.worst = Some((verdict.ratio, verdict.quantity.clone()));
        }
        let right = verdict.ratio <= 1.0 && verdict.failure.is_none();
        if !right {
            let problem = verdict.failure.clone().unwrap_or_default();
            let error = Error::invalid(
                format!(
                    "the shadow check of `{}` at step {}",
                    verdict.quantity, step
                ),
                "have error/bound at most 1",
                format!("{:.3e} ({problem})", verdict.ratio),
            );
            match self.on_failure {
                OnFailure::Stop => return Err(error),
                OnFailure::Warn => hooks.note(&format!("warning: {error}")),
            }
        }
        if !matches!(&self.verdict, Some((s, worse)) if *s == step && worse.ratio >= verdict.ratio)
        {
            self.verdict = Some((step, verdict));
        }
        Ok(())
    }
}
