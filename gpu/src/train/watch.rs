//! Calls of the observer, and the consequences of its verdict.

use super::account::Account;
use super::hooks::Hooks;
use super::observer::{Observation, Observer, Verdict};
use crate::config::{OnFailure, ShadowConfig};
use crate::run::phases::Phase;
use crate::{Error, Result};
use std::ops::Range;

/// The observer of a run, with what it found.
pub(crate) struct Watch {
    observer: Option<Box<dyn Observer>>,
    every: usize,
    on_failure: OnFailure,
    /// Whether a step of Ψ as a classifier, and one of a denoiser, was observed in this call.
    looked: [bool; 2],
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
            looked: [false; 2],
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
    /// is a verdict from the beginning; of the encoder's phase and of the others each by itself.
    pub(crate) fn is_due(&self, phase: Phase, mut steps: Range<usize>) -> bool {
        let due =
            !self.looked[kind(phase.name())] || steps.any(|step| step.is_multiple_of(self.every));
        self.observer.is_some() && self.every > 0 && due
    }

    /// How many steps were shown before this one in a run from its beginning, about: what an observer is shown of large things
    /// follows it.
    pub(super) fn look(&self, step: usize) -> usize {
        step / self.every.max(1)
    }

    /// Shows a step.
    ///
    /// # Errors
    /// A step that fails, where the configuration says that this stops the run.
    pub(super) fn show(&mut self, seen: &Observation<'_>, hooks: &mut dyn Hooks) -> Result<()> {
        let Some(observer) = &mut self.observer else {
            return Ok(());
        };
        self.looked[kind(seen.phase)] = true;
        let verdict = observer.observe(seen)?;
        self.judge(seen.step, verdict, hooks)
    }

    /// Shows what an update did.
    ///
    /// # Errors
    /// As [`Watch::show`].
    pub(super) fn show_update(
        &mut self,
        seen: &Observation<'_>,
        account: &Account,
        hooks: &mut dyn Hooks,
    ) -> Result<()> {
        let Some(observer) = &mut self.observer else {
            return Ok(());
        };
        match observer.observe_update(seen, account)? {
            Some(verdict) => self.judge(seen.step, verdict, hooks),
            None => Ok(()),
        }
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

/// 0 for the encoder's phase, 1 for the others.
fn kind(phase: &str) -> usize {
    usize::from(phase != Phase::Encoder.name())
}
