//! One step of the loop: what moves which player.

use super::reading::Reading;
use super::report::{Done, loss_and_structure};
use super::step::{Batch, PhiLosses, Probes, Structure, ThetaLosses, phi_losses, theta_losses};
use super::{Hooks, Trainer};
use crate::Result;
use crate::config::{AdversarialEnd, Decay, UpdateOrder};
use crate::nn::cross_entropy;
use crate::optim::{clip_grad_norm_later, warm_up};
use crate::params::Params;
use crate::run::phases::{Phase, Span};
use candle_core::backprop::GradStore;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// What the φ-ascents of a round left.
#[derive(Default)]
struct PhiSteps {
    readings: Vec<Reading>,
    /// What they added to S when the balance is measured, else 0.
    gain: f64,
}

impl Trainer {
    pub(super) fn encoder_step(&mut self, span: Span) -> Result<Done> {
        let number = self.state.step - span.start;
        let indices = self.encoder_order.batch(number, self.config.encoder.batch);
        let flips = self.flips("encoder", number as u64, indices.len());
        let (x0, labels) = self.train.mirrored_batch(&indices, &flips, &self.device)?;
        let loss = cross_entropy(&self.players.encoder.logits(&x0)?, &labels)?;
        let losses = Reading::of_encoder(self.state.step, &loss)?;
        let mut grads = loss.backward()?;
        let norm = self.clipped(&self.players.phi, &mut grads)?;
        let planned = self
            .layout
            .iter()
            .find(|planned| planned.phase == span.phase);
        let planned = planned.unwrap_or(&span);
        let scale = self.rate(number, planned.end - planned.start);
        self.phi_optimizer.step(&self.players.phi, &grads, scale)?;
        Ok(Done {
            losses,
            norm,
            others: Vec::new(),
            extra: BTreeMap::from([("learning_rate", scale * self.config.encoder.learning_rate)]),
        })
    }

    /// One θ-descent, with the φ-ascents that belong to it in the adversarial phase.
    ///
    /// Of several φ-ascents none begins once `stop` is set: everything is then as it was before the step, and there is no [`Done`].
    pub(super) fn theta_phase_step(
        &mut self,
        span: Span,
        hooks: &mut dyn Hooks,
        stop: &AtomicBool,
    ) -> Result<Option<Done>> {
        if span.phase != Phase::Adversarial {
            return self.theta_step(span.phase, hooks).map(Some);
        }
        let adversarial = self.config.adversarial.clone();
        let in_round = (self.state.step - span.start) % adversarial.theta_steps;
        let round =
            self.state.step - in_round..self.state.step - in_round + adversarial.theta_steps;
        let observed = self.is_observed(round);
        let phi_turn = match adversarial.update_order {
            UpdateOrder::PhiFirst => in_round == 0,
            UpdateOrder::ThetaFirst => in_round + 1 == adversarial.theta_steps,
        };
        let before = (phi_turn && adversarial.phi_steps > 1)
            .then(|| self.snapshot())
            .transpose()?;
        let mut phi = Some(PhiSteps::default());
        if phi_turn && adversarial.update_order == UpdateOrder::PhiFirst {
            phi = self.phi_steps(observed, hooks, stop)?;
        }
        let mut done = None;
        if phi.is_some() {
            done = Some(self.theta_step(span.phase, hooks)?);
        }
        if phi_turn && adversarial.update_order == UpdateOrder::ThetaFirst {
            phi = self.phi_steps(observed, hooks, stop)?;
        }
        let (Some(mut done), Some(phi)) = (done, phi) else {
            if let Some((contents, state)) = before {
                self.take_up(&contents, state)?;
            }
            return Ok(None);
        };
        done.others = phi.readings;
        if adversarial.until == AdversarialEnd::Balance {
            let gain_theta = done.extra.get("gain_theta").copied().unwrap_or(0.0);
            done.extra.insert("gain_phi", phi.gain);
            self.weigh(phi.gain, gain_theta, in_round);
        }
        Ok(Some(done))
    }

    /// Adds a step's gains to the round's, and ends the phase when the window is balanced.
    fn weigh(&mut self, gain_phi: f64, gain_theta: f64, in_round: usize) {
        let a = &self.config.adversarial;
        let gains = &mut self.state.gains;
        match gains.last_mut() {
            Some(round) if in_round > 0 => {
                round.0 += gain_phi;
                round.1 += gain_theta;
            }
            _ => gains.push((gain_phi, gain_theta)),
        }
        if gains.len() > a.balance_window {
            gains.remove(0);
        }
        let complete = in_round + 1 == a.theta_steps && gains.len() == a.balance_window;
        let (phi, theta) = gains
            .iter()
            .fold((0.0, 0.0), |sum, g| (sum.0 + g.0, sum.1 + g.1));
        if complete && (phi + theta).abs() <= a.balance_tolerance * (phi.abs() + theta.abs()) {
            self.state.balanced_at = Some(self.state.step + 1);
        }
    }

    fn theta_step(&mut self, phase: Phase, hooks: &mut dyn Hooks) -> Result<Done> {
        let step = self.state.step;
        let batch = self.theta_batch()?;
        let observed = self.is_observed(step..step + 1);
        let mut probes = observed.then(Probes::default);
        let losses = self.theta_losses(phase, &batch, probes.as_mut())?;
        let structure = losses.structure.as_ref();
        let mut numbers = Reading::of_theta(step, &losses.denoising, structure, &self.config)?;
        let mut grads = losses.total.backward()?;
        if let Some(probes) = probes {
            let begun = Instant::now();
            let at = probes.gradients(&grads);
            let (loss, structure) = loss_and_structure(numbers.wait()?);
            let verdict = self.show_theta(phase, &batch, &losses, loss, structure, &at)?;
            self.judge(verdict, hooks)?;
            self.shadow_seconds += begun.elapsed().as_secs_f64();
        }
        let norm = self.clipped(&self.players.theta, &mut grads)?;
        let scale = self.theta_rate();
        let batch_size = self.config.train.batch as f64;
        let seen = self.state.theta_updates as f64 * batch_size;
        self.theta_optimizer.step_and_average(
            &self.players.theta,
            &grads,
            scale,
            &mut self.ema,
            [seen, batch_size],
        )?;
        self.state.theta_updates += 1;
        let mut extra =
            BTreeMap::from([("learning_rate", scale * self.config.train.learning_rate)]);
        if phase == Phase::Adversarial
            && self.config.adversarial.until == AdversarialEnd::Balance
            && let (_, Some(before)) = loss_and_structure(numbers.wait()?)
        {
            let after = self.theta_losses(phase, &batch, None)?;
            if let Some(s) = after.structure {
                extra.insert("gain_theta", self.structure_now(&s)? - before);
            }
        }
        Ok(Done {
            losses: numbers,
            norm,
            others: Vec::new(),
            extra,
        })
    }

    fn theta_losses(
        &self,
        phase: Phase,
        batch: &Batch,
        probes: Option<&mut Probes>,
    ) -> Result<ThetaLosses> {
        theta_losses(
            self.players.denoiser.as_ref(),
            phase
                .has_structure()
                .then_some(&self.players.encoder_frozen),
            &self.objective,
            &self.term(phase),
            batch,
            probes,
        )
    }

    /// The φ-ascents of a round; none if `stop` was set before the last of several.
    ///
    /// φ moves once in a round, so it is `observed` when any step of its round is.
    fn phi_steps(
        &mut self,
        observed: bool,
        hooks: &mut dyn Hooks,
        stop: &AtomicBool,
    ) -> Result<Option<PhiSteps>> {
        let mut steps = PhiSteps::default();
        for inner in 0..self.config.adversarial.phi_steps {
            if inner > 0 && stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let (readings, gain) = self.phi_step(inner, observed && inner == 0, hooks)?;
            steps.readings.extend(readings);
            steps.gain += gain;
        }
        Ok(Some(steps))
    }

    fn phi_step(
        &mut self,
        inner: usize,
        observed: bool,
        hooks: &mut dyn Hooks,
    ) -> Result<([Reading; 2], f64)> {
        let batch = self.phi_batch(inner)?;
        let mut probes = observed.then(Probes::default);
        let losses = self.phi_losses(&batch, probes.as_mut())?;
        let mut before = Reading::of_structure(self.state.step, &losses.structure, &self.config)?;
        let mut grads = losses.total.backward()?;
        if let Some(probes) = probes {
            let begun = Instant::now();
            let at = probes.gradients(&grads);
            let verdict = self.show_phi(&batch, &losses, before.first()?, &at)?;
            self.judge(verdict, hooks)?;
            self.shadow_seconds += begun.elapsed().as_secs_f64();
        }
        let norm = self.clipped(&self.players.phi, &mut grads)?;
        // φ slows down with θ: a full-speed φ against a decayed θ wins by the schedule alone.
        let scale = self.theta_rate();
        self.phi_optimizer.step(&self.players.phi, &grads, scale)?;
        let mut gain = 0.0;
        if self.config.adversarial.until == AdversarialEnd::Balance {
            let after = self.phi_losses(&batch, None)?;
            gain = self.structure_now(&after.structure)? - before.first()?;
        }
        Ok(([before, norm], gain))
    }

    /// S as a number, waited for.
    fn structure_now(&self, structure: &Structure) -> Result<f64> {
        Reading::of_structure(self.state.step, structure, &self.config)?.first()
    }

    fn phi_losses(&self, batch: &Batch, probes: Option<&mut Probes>) -> Result<PhiLosses> {
        phi_losses(
            self.players.denoiser_frozen.as_ref(),
            &self.players.encoder,
            &self.objective,
            &self.term(Phase::Adversarial),
            batch,
            probes,
        )
    }

    /// Clips the gradients of a player; the norm that they had.
    fn clipped(&self, params: &Params, grads: &mut GradStore) -> Result<Reading> {
        let most = match self.config.train.clip_norm {
            0.0 => f64::INFINITY,
            norm => norm,
        };
        Reading::of_gradient(self.state.step, clip_grad_norm_later(params, grads, most)?)
    }

    /// Learning-rate factor of θ at its current update.
    fn theta_rate(&self) -> f64 {
        let total: usize = self
            .layout
            .iter()
            .filter(|s| s.phase != Phase::Encoder)
            .map(|s| s.end - s.start)
            .sum();
        self.rate(self.state.theta_updates, total)
    }

    /// Warm-up to 1, then the configured decay, at update `number` of `total`.
    fn rate(&self, number: usize, total: usize) -> f64 {
        let t = &self.config.train;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 ≤ warmup < 1"
        )]
        let rising = (t.warmup * total as f64).ceil() as usize;
        if number < rising {
            return warm_up(number, rising);
        }
        let left = 1.0 - (number - rising) as f64 / (total - rising).max(1) as f64;
        match t.decay {
            Decay::None => 1.0,
            Decay::Linear => left,
            Decay::Cosine => 0.5 * (1.0 - (std::f64::consts::PI * left).cos()),
        }
    }
}
