//! Algorithm 1 and what comes before it, step by step.

use ndarray::ArrayD;
use sadm_reference::{
    ema,
    network::{Domain, Parameters, build},
    structure::Eta,
};

use super::{
    Values,
    arithmetic::Arithmetic,
    draws::{Augmented, Batch, Draws, has_twins},
    images::{CHANNELS, CLASSES, SIDE},
    pass::{Accuracy, Gradient, Networks, Pass},
    phases::{Phase, Span, done, planned},
    player::{PHI, Player},
    rate,
    settings::Settings,
};
use crate::{
    check::scalar,
    error::{Error, Result},
};

/// A player's update, as it was made.
pub(super) struct Update {
    pub(super) player: &'static str,
    /// Its batch; none of the classifier's, whose images are clean.
    pub(super) batch: Option<Batch>,
    /// How its images were augmented.
    pub(super) augmented: Option<Augmented>,
    /// The classes of the classifier's images.
    pub(super) classes: Vec<u32>,
    /// The number of the update within its step and player, from 0.
    pub(super) inner: usize,
    /// Every number that it computed.
    pub(super) values: Values,
}

/// A step, as it was done.
pub(super) struct Step {
    /// Steps done with it.
    pub(super) number: usize,
    pub(super) span: Span,
    /// The updates, in the order in which they were made.
    pub(super) updates: Vec<Update>,
    /// The numbers of its line in `metrics.jsonl`.
    pub(super) logged: Values,
    /// Accuracy of Ψ, at the end of its phase.
    pub(super) accuracy: Option<Accuracy>,
    /// Parameters, averages and moments after it.
    pub(super) state: Values,
}

/// A training program.
pub(super) struct Program<'a> {
    settings: &'a Settings,
    a: Arithmetic,
    networks: Networks,
    draws: Draws,
    theta: Player,
    average: Parameters,
    phi: Player,
    planned: Vec<Span>,
    spans: Vec<Span>,
    step: usize,
    /// Gains of φ and θ in the last rounds.
    pub(super) gains: Vec<[f64; 2]>,
    pub(super) balanced_at: Option<usize>,
    /// Whether rounding alone decided something: an image twice in a batch of φ under a relation that has no slope there, or in a pool; or how far
    /// images are continued beyond their borders.
    pub(super) kinked: bool,
    /// How near a decision on the balance was to the other one, at the least: |Σ| against tolerance · Σ|·|.
    pub(super) narrowest: f64,
}

/// What a round's ascents leave.
#[derive(Default)]
struct Ascents {
    updates: Vec<Update>,
    gain: f64,
}

impl<'a> Program<'a> {
    /// A run of which nothing is done yet.
    pub(super) fn new(settings: &'a Settings, a: Arithmetic) -> Result<Self> {
        let (kind, dimensions) = settings.network()?;
        let domain = Domain {
            channels: CHANNELS,
            size: SIDE,
            classes: Some(CLASSES),
            augment: settings.augment_labels(),
        };
        let networks = Networks {
            denoiser: build(kind, dimensions, domain).map_err(Error::reference)?,
            encoder: settings.encoder.network(CHANNELS, CLASSES),
        };
        let shapes = networks.denoiser.parameter_shapes();
        let (t, e) = (&settings.train, &settings.encoder);
        let theta = Player::new(
            settings.seed,
            (kind, shapes.map_err(Error::reference)?),
            t.adamw(t.learning_rate, t.weight_decay),
        );
        let shapes = networks.encoder.parameter_shapes();
        let phi = Player::new(
            settings.seed ^ PHI,
            ("encoder", shapes.map_err(Error::reference)?),
            t.adamw(e.learning_rate, e.weight_decay),
        );
        Ok(Self {
            draws: Draws::of(settings)?,
            average: theta.parameters.clone(),
            theta,
            phi,
            planned: planned(settings),
            spans: done(settings),
            step: 0,
            gains: Vec::new(),
            balanced_at: None,
            narrowest: f64::INFINITY,
            kinked: false,
            networks,
            settings,
            a,
        })
    }

    /// The phases.
    pub(super) fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Steps done.
    pub(super) fn steps(&self) -> usize {
        self.step
    }

    /// Updates of θ and of φ.
    pub(super) fn updates(&self) -> [usize; 2] {
        [self.theta.updates, self.phi.updates]
    }

    /// Whether nothing is left to do.
    pub(super) fn finished(&self) -> bool {
        self.step >= self.settings.train.steps || self.balanced_at.is_some()
    }

    /// Does a step.
    pub(super) fn step(&mut self) -> Result<Step> {
        let span = self.spans.iter().find(|span| self.step < span.end);
        let span = *span.ok_or_else(|| Error::Reference("no step is left".to_owned()))?;
        if span.phase == Phase::Adversarial && self.step == span.start {
            // φ is another player from now on: another optimiser at another rate, without decay of its weights.
            let rate = self.settings.adversarial.learning_rate;
            self.phi.begin_again(self.settings.train.adamw(rate, 0.0));
        }
        let (updates, logged) = match span.phase {
            Phase::Encoder => self.classify(span)?,
            Phase::Denoise => self.descend(None)?,
            Phase::Guided => self.descend(Some(self.settings.structure.guided_eta()?))?,
            Phase::Adversarial => self.round(self.step - span.start)?,
        };
        self.step += 1;
        let accuracy = if span.phase == Phase::Encoder && self.step == span.end {
            self.accuracy()?
        } else {
            None
        };
        Ok(Step {
            number: self.step,
            span,
            updates,
            logged,
            accuracy,
            state: self.state(),
        })
    }

    fn pass(&self) -> Pass<'_> {
        Pass {
            settings: self.settings,
            networks: &self.networks,
            a: &self.a,
        }
    }

    /// φ learns to classify, at the rate of its own phase.
    fn classify(&mut self, span: Span) -> Result<(Vec<Update>, Values)> {
        let (e, number) = (&self.settings.encoder, self.step - span.start);
        let clean = (self.draws).clean(self.settings, "encoder", number, e.batch, &self.a)?;
        let gradient = self.pass().of_classifier(&self.phi.parameters, &clean)?;
        let planned = self.planned.iter().find(|p| p.phase == Phase::Encoder);
        let length = planned.map_or(0, |p| p.end - p.start);
        let rate = rate::factor(&self.settings.train, number, length, &self.a);
        let (mut update, logged) = self.moved("phi", None, 0, gradient, rate)?;
        update.classes = clean.labels;
        self.kinked |= clean.augmented.as_ref().is_some_and(|a| a.hangs);
        update.augmented = clean.augmented;
        Ok((vec![update], logged))
    }

    /// θ descends L, with an η L + λS.
    fn descend(&mut self, eta: Option<Eta>) -> Result<(Vec<Update>, Values)> {
        let number = self.theta.updates;
        let batch = self.draws.batch(self.settings, "theta", number, &self.a)?;
        let [theta, phi] = [&self.theta.parameters, &self.phi.parameters];
        let gradient = self.pass().of_theta(theta, phi, &batch, eta)?;
        let rate = self.theta_rate();
        let (update, logged) = self.moved("theta", Some(batch), 0, gradient, rate)?;
        // The average follows θ alone; before its first update no image was seen.
        let (t, size) = (&self.settings.train, self.settings.train.batch as f64);
        let decay = ema::ema_decay(
            t.ema_half_life,
            Some(t.ema_ramp),
            number as f64 * size,
            size,
        );
        for (name, average) in &mut self.average {
            let next = ema::ema_update(average, &self.theta.parameters[name], decay);
            *average = self.a.array(next.map_err(Error::reference)?);
        }
        Ok((vec![update], logged))
    }

    /// A descent of θ with the ascents that belong to it: a round's all at its beginning or all at its end.
    fn round(&mut self, number: usize) -> Result<(Vec<Update>, Values)> {
        let adversarial = &self.settings.adversarial;
        let eta = self.settings.structure.eta;
        let place = number % adversarial.theta_steps;
        let phi_first = adversarial.update_order == "phi-first";
        let turn = if phi_first {
            place == 0
        } else {
            place == adversarial.theta_steps - 1
        };
        let (mut updates, mut ascents) = (Vec::new(), Ascents::default());
        if turn && phi_first {
            ascents = self.ascend(eta)?;
            updates.append(&mut ascents.updates);
        }
        let (descents, mut logged) = self.descend(Some(eta))?;
        let mut gain = 0.0;
        if self.settings.seeks_balance()
            && let Some(batch) = &descents[0].batch
        {
            gain = self.gain(batch, &descents[0].values)?;
        }
        updates.extend(descents);
        if turn && !phi_first {
            ascents = self.ascend(eta)?;
            updates.append(&mut ascents.updates);
        }
        if self.settings.seeks_balance() {
            logged.insert("gain_theta".to_owned(), scalar(gain));
            logged.insert("gain_phi".to_owned(), scalar(ascents.gain));
            self.weigh([ascents.gain, gain], place);
        }
        Ok((updates, logged))
    }

    /// What an update added to S of its own batch.
    fn gain(&self, batch: &Batch, values: &Values) -> Result<f64> {
        let [theta, phi] = [&self.theta.parameters, &self.phi.parameters];
        let eta = self.settings.structure.eta;
        let after = self.pass().structure_now(theta, phi, batch, eta)?;
        let before = values["structure"].sum();
        Ok(self.a.one(after - before))
    }

    /// φ ascends S, each time on a batch of its own, at θ's factor.
    fn ascend(&mut self, eta: Eta) -> Result<Ascents> {
        let steps = self.settings.adversarial.phi_steps;
        let mut ascents = Ascents::default();
        for inner in 0..steps {
            let number = self.theta.updates * steps + inner;
            let batch = self.draws.batch(self.settings, "phi", number, &self.a)?;
            let no_slope =
                ["euclidean", "laplacian"].contains(&self.settings.structure.relation.name());
            self.kinked |= no_slope && has_twins(&batch.x0);
            let [theta, phi] = [&self.theta.parameters, &self.phi.parameters];
            let gradient = self.pass().of_phi(theta, phi, &batch, eta)?;
            let rate = self.theta_rate();
            let (update, _) = self.moved("phi", Some(batch), inner, gradient, rate)?;
            if self.settings.seeks_balance()
                && let Some(batch) = &update.batch
            {
                ascents.gain += self.gain(batch, &update.values)?;
            }
            ascents.updates.push(update);
        }
        Ok(ascents)
    }

    /// Makes an update; what is logged of it.
    fn moved(
        &mut self,
        name: &'static str,
        batch: Option<Batch>,
        inner: usize,
        gradient: Gradient,
        rate: f64,
    ) -> Result<(Update, Values)> {
        let player = if name == "theta" {
            &mut self.theta
        } else {
            &mut self.phi
        };
        let clip = self.settings.train.clip_norm;
        let norm = player.descend(&gradient.of, rate, clip, &self.a)?;
        let mut values = gradient.values;
        if let Some(Batch {
            pool: Some(pool), ..
        }) = &batch
        {
            let [before, after] = pool.costs.map(scalar);
            values.insert("before".to_owned(), before);
            values.insert("after".to_owned(), after);
            self.kinked |= pool.has_twins;
        }
        let mut logged = Values::from([
            ("grad_norm".to_owned(), scalar(norm)),
            ("learning_rate".to_owned(), scalar(rate * player.adamw.lr)),
        ]);
        for (known, entry) in [
            ("loss", "loss"),
            ("structure", "structure"),
            ("before", "transport_before"),
            ("after", "transport_after"),
        ] {
            if let Some(value) = values.get(known) {
                logged.insert(entry.to_owned(), value.clone());
            }
        }
        let augmented = batch.as_ref().and_then(|batch| batch.augmented.clone());
        self.kinked |= augmented.as_ref().is_some_and(|a| a.hangs);
        let update = Update {
            player: name,
            augmented,
            batch,
            classes: Vec::new(),
            inner,
            values,
        };
        Ok((update, logged))
    }

    /// The factor of θ's rate, over all its updates in all phases, at its current one.
    fn theta_rate(&self) -> f64 {
        let own = self.planned.iter().filter(|p| p.phase != Phase::Encoder);
        let total = own.map(|p| p.end - p.start).sum();
        rate::factor(&self.settings.train, self.theta.updates, total, &self.a)
    }

    /// Adds the gains of a step to those of its round; with a whole window of whole rounds the phase may end.
    fn weigh(&mut self, gains: [f64; 2], place: usize) {
        let adversarial = &self.settings.adversarial;
        if place == 0 {
            self.gains.push([0.0; 2]);
        }
        if let Some(last) = self.gains.last_mut() {
            *last = [last[0] + gains[0], last[1] + gains[1]];
        }
        if self.gains.len() > adversarial.balance_window {
            self.gains.remove(0);
        }
        let whole = place + 1 == adversarial.theta_steps;
        if whole && self.gains.len() == adversarial.balance_window {
            let of = |player: usize| self.gains.iter().map(|g| g[player]).sum::<f64>();
            let (phi, theta) = (of(0), of(1));
            let allowed = adversarial.balance_tolerance * (phi.abs() + theta.abs());
            let apart = (phi + theta).abs();
            let size = allowed.max(apart).max(f64::MIN_POSITIVE);
            self.narrowest = self.narrowest.min((apart - allowed).abs() / size);
            if apart <= allowed {
                self.balanced_at = Some(self.step + 1);
            }
        }
    }

    /// Accuracy on the images that are kept out; none without such images.
    fn accuracy(&self) -> Result<Option<Accuracy>> {
        let (images, labels) = self.draws.images().held_out();
        if labels.is_empty() {
            return Ok(None);
        }
        let pass = self.pass();
        pass.accuracy(&self.phi.parameters, &images, &labels)
            .map(Some)
    }

    /// Everything that is saved, by file and name.
    fn state(&self) -> Values {
        let mut state = Values::new();
        let mut add = |file: &str, name: &str, value: &ArrayD<f64>| {
            state.insert(format!("{file} {name}"), value.clone());
        };
        for (file, player) in [("theta", &self.theta), ("phi", &self.phi)] {
            for (name, value) in &player.parameters {
                add(file, name, value);
            }
            for (name, moments) in &player.moments {
                let optimizer = format!("{file}.optimizer");
                add(&optimizer, &format!("m.{name}"), &moments.m);
                add(&optimizer, &format!("v.{name}"), &moments.v);
            }
        }
        for (name, value) in &self.average {
            add("theta.average", name, value);
        }
        state
    }
}
