//! What the observer is shown, and what follows from its verdict.

use super::Hooks;
use super::Trainer;
use super::observer::{DenoisingObservation, Observation, Player, StructureObservation, Verdict};
use super::step::{Batch, PhiLosses, ThetaLosses};
use crate::config::OnFailure;
use crate::run::phases::Phase;
use crate::{Error, Result};
use candle_core::Tensor;
use std::ops::Range;

impl Trainer {
    /// Whether one of these steps is shown to the observer: every N-th, and the first of a call that could be, so that there
    /// is a verdict from the beginning.
    pub(super) fn is_observed(&self, mut steps: Range<usize>) -> bool {
        let every = self.config.shadow.every;
        let due = self.verdict.is_none() || steps.any(|step| step.is_multiple_of(every));
        self.observer.is_some() && every > 0 && due
    }

    pub(super) fn show_theta(
        &mut self,
        phase: Phase,
        batch: &Batch,
        losses: &ThetaLosses,
        loss: f64,
        structural: Option<f64>,
        at: &[Option<Tensor>; 3],
    ) -> Result<Option<Verdict>> {
        let term = self.term(phase);
        let (Some(observer), Some(grad_x_hat)) = (&mut self.observer, &at[0]) else {
            return Ok(None);
        };
        let structure = match (&losses.structure, structural, &at[1], &at[2]) {
            (Some(s), Some(loss), Some(grad_psi), Some(grad_psi_hat)) => {
                Some(StructureObservation {
                    options: term.options,
                    eta_kind: term.eta,
                    eta_t_min: term.eta_t_min,
                    eta: &s.eta,
                    t: &batch.t,
                    schedule: self.objective.schedule,
                    factor: term.weight,
                    psi: &s.psi,
                    psi_hat: &s.psi_hat,
                    loss,
                    grad_psi,
                    grad_psi_hat,
                })
            }
            _ => None,
        };
        let (x_t, p) = (&losses.prediction.x_t, &losses.prediction.answer);
        observer
            .observe(&Observation {
                step: self.state.step,
                phase: phase.name(),
                player: Player::Theta,
                denoising: Some(DenoisingObservation {
                    schedule: self.objective.schedule,
                    parametrisation: self.objective.parametrisation,
                    noise: self.objective.noise,
                    sigma_data: self.objective.sigma_data,
                    weight: self.objective.weight,
                    t: &batch.t,
                    coefficients: &p.coefficients,
                    weights: &losses.weights,
                    x0: &batch.x0,
                    eps: &batch.eps,
                    x_t,
                    network_out: &p.network_out,
                    x_hat: &p.x_hat,
                    loss,
                    grad_x_hat,
                }),
                structure,
            })
            .map(Some)
    }

    pub(super) fn show_phi(
        &mut self,
        batch: &Batch,
        losses: &PhiLosses,
        loss: f64,
        at: &[Option<Tensor>; 3],
    ) -> Result<Option<Verdict>> {
        let term = self.term(Phase::Adversarial);
        let (Some(observer), Some(grad_psi), Some(grad_psi_hat)) =
            (&mut self.observer, &at[1], &at[2])
        else {
            return Ok(None);
        };
        let s = &losses.structure;
        observer
            .observe(&Observation {
                step: self.state.step,
                phase: Phase::Adversarial.name(),
                player: Player::Phi,
                denoising: None,
                structure: Some(StructureObservation {
                    options: term.options,
                    eta_kind: term.eta,
                    eta_t_min: term.eta_t_min,
                    eta: &s.eta,
                    t: &batch.t,
                    schedule: self.objective.schedule,
                    factor: -1.0,
                    psi: &s.psi,
                    psi_hat: &s.psi_hat,
                    loss,
                    grad_psi,
                    grad_psi_hat,
                }),
            })
            .map(Some)
    }

    /// Remembers a verdict; a ratio that is not at most 1 stops the run or is said.
    pub(super) fn judge(&mut self, verdict: Option<Verdict>, hooks: &mut dyn Hooks) -> Result<()> {
        let Some(verdict) = verdict else {
            return Ok(());
        };
        if self
            .worst_shadow
            .as_ref()
            .is_none_or(|(worst, _)| verdict.ratio.is_nan() || verdict.ratio > *worst)
        {
            self.worst_shadow = Some((verdict.ratio, verdict.quantity.clone()));
        }
        let right = verdict.ratio <= 1.0 && verdict.failure.is_none();
        if !right {
            let problem = verdict.failure.clone().unwrap_or_default();
            let error = Error::invalid(
                format!(
                    "the shadow check of `{}` at step {}",
                    verdict.quantity, self.state.step
                ),
                "have error/bound at most 1",
                format!("{:.3e} ({problem})", verdict.ratio),
            );
            match self.config.shadow.on_failure {
                OnFailure::Stop => return Err(error),
                OnFailure::Warn => hooks.note(&format!("warning: {error}")),
            }
        }
        let step = self.state.step;
        if !matches!(&self.verdict, Some((s, worse)) if *s == step && worse.ratio >= verdict.ratio)
        {
            self.verdict = Some((step, verdict));
        }
        Ok(())
    }
}
