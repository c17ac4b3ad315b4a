//! SADM's Algorithm 1: Ψ as a classifier, θ denoising, θ guided by Ψ, and rounds of θ and φ.

use super::objectives::{of_phi, of_theta};
use crate::Result;
use crate::config::{AdversarialEnd, Config, UpdateOrder};
use crate::objective::Objective;
use crate::optim::rate;
use crate::run::checkpoint::{Contents, State};
use crate::run::phases::{Phase, Span};
use crate::train::batch::Batch;
use crate::train::batches::Data;
use crate::train::hooks::Hooks;
use crate::train::player::{PHI, Players, THETA};
use crate::train::report::{Done, loss_and_structure};
use crate::train::term::Summand;
use crate::train::terms::{Classification, Denoising, Structure};
use crate::train::updater::{Place, Update, Updated, Updater};
use crate::train::watch::Watch;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whose streams the batches of Ψ as a classifier are drawn from.
const ENCODER: &str = "encoder";

/// A step about to be done, with everything that it may change.
pub(crate) struct Step<'a> {
    pub(crate) config: &'a Config,
    /// The phases that learning rates follow.
    pub(crate) layout: &'a [Span],
    pub(crate) span: Span,
    pub(crate) data: &'a mut Data,
    pub(crate) players: &'a mut Players,
    pub(crate) watch: &'a mut Watch,
    pub(crate) state: &'a mut State,
    pub(crate) hooks: &'a mut dyn Hooks,
    /// Of several φ-ascents none begins once this is set.
    pub(crate) stop: &'a AtomicBool,
}

impl Step<'_> {
    /// Does the step.
    ///
    /// It is given up where `stop` was set before the last of several φ-ascents: everything is then as it was before, and there is
    /// no [`Done`].
    pub(crate) fn run(&mut self) -> Result<Option<Done>> {
        match self.span.phase {
            Phase::Encoder => self.classify().map(Some),
            Phase::Denoise | Phase::Guided => self.descend().map(Some),
            Phase::Adversarial => self.round(),
        }
    }

    fn update(
        &mut self,
        player: &'static str,
        (number, batch): (usize, &Batch),
        terms: &[Summand<'_>],
        rate: f64,
        observed: bool,
    ) -> Result<Updated> {
        let at = Place {
            step: self.state.step,
            phase: self.span.phase.name(),
        };
        let drawn = match self.span.phase {
            Phase::Adversarial | Phase::Denoise | Phase::Guided if observed => {
                self.data.drawn(self.config, player, number, batch)?
            }
            Phase::Encoder if observed => {
                let drawn = (self.data).images_drawn(self.config, ENCODER, number, batch)?;
                drawn.into_iter().collect()
            }
            _ => Vec::new(),
        };
        let update = Update {
            player,
            batch,
            terms,
            drawn,
            rate,
            observed,
        };
        let objective = self.config.objective();
        let mut updater = Updater {
            config: self.config,
            objective: &objective,
            players: self.players,
            watch: self.watch,
        };
        updater.update(at, &update, self.hooks)
    }

    /// S of a batch, with the networks as they are now.
    fn structure_now(&mut self, structure: &Structure, batch: &Batch) -> Result<f64> {
        let objective: Objective = self.config.objective();
        let updater = Updater {
            config: self.config,
            objective: &objective,
            players: self.players,
            watch: self.watch,
        };
        updater.value(self.state.step, structure, batch)
    }

    /// Ψ learns to classify.
    fn classify(&mut self) -> Result<Done> {
        let number = self.state.step - self.span.start;
        let size = self.config.encoder.batch;
        let batch = (self.data).clean_batch(self.config, ENCODER, number, size)?;
        let planned = self.layout.iter().find(|p| p.phase == self.span.phase);
        let planned = planned.unwrap_or(&self.span);
        let rate = self.rate(number, planned.end - planned.start);
        let observed = self
            .watch
            .is_due(Phase::Encoder, self.state.step..self.state.step + 1);
        let terms: [Summand<'_>; 1] = [(1.0, &Classification)];
        let updated = self.update(PHI, (number, &batch), &terms, rate, observed)?;
        Ok(Done::of(updated, rate * self.config.encoder.learning_rate))
    }

    /// One θ-descent.
    fn descend(&mut self) -> Result<Done> {
        let (step, phase, config) = (self.state.step, self.span.phase, self.config);
        let number = self.players.updates(THETA);
        let batch = (self.data).batch(config, THETA, number, config.train.batch)?;
        let structure = Structure::of(config, phase);
        let terms = of_theta(&Denoising, &structure, config.structure.weight, phase);
        let rate = self.theta_rate();
        let observed = self.watch.is_due(phase, step..step + 1);
        let updated = self.update(THETA, (number, &batch), &terms, rate, observed)?;
        let mut done = Done::of(updated, rate * config.train.learning_rate);
        done.extra.extend(self.data.transport(THETA));
        if phase == Phase::Adversarial
            && config.adversarial.until == AdversarialEnd::Balance
            && let (_, Some(before)) = loss_and_structure(done.losses.wait()?)
        {
            let after = self.structure_now(&structure, &batch)?;
            done.extra.insert("gain_theta", after - before);
        }
        Ok(done)
    }

    /// One θ-descent with the φ-ascents that belong to it. `[eq:alternation]`
    fn round(&mut self) -> Result<Option<Done>> {
        let adversarial = &self.config.adversarial;
        let in_round = (self.state.step - self.span.start) % adversarial.theta_steps;
        let (first, last) = (in_round == 0, in_round + 1 == adversarial.theta_steps);
        let phi_first = adversarial.update_order == UpdateOrder::PhiFirst;
        let phi_turn = if phi_first { first } else { last };
        let before = (phi_turn && adversarial.phi_steps > 1)
            .then(|| self.snapshot())
            .transpose()?;
        let begin = self.state.step - in_round;
        let observed = (self.watch).is_due(self.span.phase, begin..begin + adversarial.theta_steps);
        let mut ascents = Some(Ascents::default());
        if phi_turn && phi_first {
            ascents = self.ascend(observed)?;
        }
        let done = match ascents {
            Some(_) => Some(self.descend()?),
            None => None,
        };
        if phi_turn && !phi_first {
            ascents = self.ascend(observed)?;
        }
        let (Some(mut done), Some(ascents)) = (done, ascents) else {
            if let Some((contents, state)) = before {
                self.take_back(&contents, state)?;
            }
            return Ok(None);
        };
        for ascent in ascents.done {
            done.others.extend([ascent.losses, ascent.norm]);
        }
        if adversarial.until == AdversarialEnd::Balance {
            let gain = done.extra.get("gain_theta").copied().unwrap_or(0.0);
            done.extra.insert("gain_phi", ascents.gain);
            self.weigh(ascents.gain, gain, in_round);
        }
        Ok(Some(done))
    }

    /// The φ-ascents of a round; none if `stop` was set before the last of several.
    ///
    /// φ moves once in a round, so it is `observed` when any step of its round is.
    fn ascend(&mut self, observed: bool) -> Result<Option<Ascents>> {
        let config = self.config;
        let adversarial = &config.adversarial;
        let structure = Structure::of(config, Phase::Adversarial);
        let mut ascents = Ascents::default();
        for inner in 0..adversarial.phi_steps {
            if inner > 0 && self.stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            let number = self.players.updates(THETA) * adversarial.phi_steps + inner;
            let batch = (self.data).batch(config, PHI, number, config.train.batch)?;
            // φ slows down with θ: a full-speed φ against a decayed θ wins by the schedule alone.
            let rate = self.theta_rate();
            let observed = observed && inner == 0;
            let terms = of_phi(&structure);
            let mut updated = self.update(PHI, (number, &batch), &terms, rate, observed)?;
            if adversarial.until == AdversarialEnd::Balance {
                let after = self.structure_now(&structure, &batch)?;
                ascents.gain += after - updated.losses.first()?;
            }
            ascents.done.push(updated);
        }
        Ok(Some(ascents))
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

    /// Everything that training changes, as it is now.
    fn snapshot(&self) -> Result<(Contents, State)> {
        let state = State {
            updates: self.players.all_updates(),
            ..self.state.clone()
        };
        Ok((self.players.contents().copied()?, state))
    }

    /// Takes a snapshot up again.
    fn take_back(&mut self, contents: &Contents, state: State) -> Result<()> {
        self.players.load(contents)?;
        self.players.load_optimizers(contents, &state.updates)?;
        *self.state = state;
        Ok(())
    }

    /// Learning-rate factor of θ at its current update.
    fn theta_rate(&self) -> f64 {
        let of_theta = (self.layout.iter()).filter(|s| s.phase != Phase::Encoder);
        let total: usize = of_theta.map(|s| s.end - s.start).sum();
        self.rate(self.players.updates(THETA), total)
    }

    /// Warm-up to 1, then the configured decay, at update `number` of `total`.
    fn rate(&self, number: usize, total: usize) -> f64 {
        let t = &self.config.train;
        rate(number, total, t.warmup, t.decay)
    }
}

/// Result of the φ-ascents of a round.
#[derive(Default)]
struct Ascents {
    done: Vec<Updated>,
    /// What they added to S when the balance is measured, else 0.
    gain: f64,
}
