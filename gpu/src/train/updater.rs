//! One update of one player: passes, terms, gradients, observer, clipping, optimiser, average.
//!
//! A batch may be cut into micro-batches. A term that is a mean over samples is then the weighted mean of the micro-batches' own;
//! a term that couples samples is not, and goes in two stages: (1) the features of all micro-batches without a graph, the term of the
//! whole batch and its gradient g in every row of features; (2) each micro-batch again with its graph, through which g flows back as
//! the gradient of Σ ⟨g, ψ⟩ `[eq:micro-batches]`. One micro-batch is one graph.

use super::account::Account;
use super::batch::Batch;
use super::hooks::Hooks;
use super::observer::Observation;
use super::pass::{Node, Pass};
use super::player::Players;
use super::reading::Reading;
use super::term::{Losses, Record, Summand, Suspect, Tape, Term, losses, no_term, plus, times};
use super::watch::Watch;
use crate::Result;
use crate::config::Config;
use crate::objective::Objective;
use crate::optim::clip_grad_norm_later;
use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};
use std::collections::BTreeMap;
use std::time::Instant;

/// Where in a run an update stands.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    /// Steps done before.
    pub(crate) step: usize,
    /// Name of the phase.
    pub(crate) phase: &'a str,
}

/// What an update is to do.
pub(crate) struct Update<'a> {
    /// The player that is updated.
    pub(crate) player: &'static str,
    /// On what.
    pub(crate) batch: &'a Batch,
    /// What it descends.
    pub(crate) terms: &'a [Summand<'a>],
    /// How the batch was drawn, for the observer.
    pub(crate) drawn: Vec<Record>,
    /// Factor of its learning rate.
    pub(crate) rate: f64,
    /// Whether the observer looks.
    pub(crate) observed: bool,
}

/// What an update leaves.
pub(crate) struct Updated {
    /// The values of its terms.
    pub(crate) losses: Reading,
    /// The norm of its gradient, before clipping.
    pub(crate) norm: Reading,
}

/// A batch's gradients, with what led to them.
struct Gradients {
    reading: Reading,
    grads: GradStore,
    records: Vec<Record>,
}

/// Updater of players: the only place with an update.
pub(crate) struct Updater<'a> {
    pub(crate) config: &'a Config,
    pub(crate) objective: &'a Objective,
    pub(crate) players: &'a mut Players,
    pub(crate) watch: &'a mut Watch,
}

impl<'a> Updater<'a> {
    /// One update of a player.
    ///
    /// # Errors
    /// A value or gradient that is not finite, a step that the observer refuses, and what a network or an optimiser refuses; the
    /// parameters are then as they were. An update that the observer refuses was made: nothing of it is to be saved.
    pub(crate) fn update(
        &mut self,
        at: Place<'_>,
        update: &Update<'_>,
        hooks: &mut dyn Hooks,
    ) -> Result<Updated> {
        let parts = update.batch.split(self.parts(update.batch))?;
        let Gradients {
            mut reading,
            mut grads,
            records,
        } = match &parts[..] {
            [whole] => self.in_one(at.step, update, whole)?,
            parts => self.in_two_stages(at.step, update, parts)?,
        };
        let mut account = None;
        if update.observed {
            let begun = Instant::now();
            let mut terms = with_values(records, update.terms, reading.wait()?);
            terms.extend(update.drawn.iter().cloned());
            self.watch.show(&self.seen(at, update, &terms), hooks)?;
            let look = self.watch.look(at.step);
            account = Some(Account::open(
                look,
                self.players.get(update.player)?,
                &grads,
            )?);
            self.watch.seconds += begun.elapsed().as_secs_f64();
        }
        let most = match self.config.train.clip_norm {
            0.0 => f64::INFINITY,
            norm => norm,
        };
        let player = self.players.get_mut(update.player)?;
        let norm = clip_grad_norm_later(&player.params, &mut grads, most)?;
        let mut norm = Reading::of_gradient(at.step, norm)?;
        if let Some(account) = &mut account {
            let begun = Instant::now();
            account.clipped(norm.first()?, player, &grads)?;
            account.scalars(player, update.rate, update.batch.len());
            self.watch.seconds += begun.elapsed().as_secs_f64();
        }
        player.descend(&grads, update.rate, update.batch.len())?;
        if let Some(account) = &mut account {
            let begun = Instant::now();
            account.close(player)?;
            let seen = self.seen(at, update, &[]);
            self.watch.show_update(&seen, account, hooks)?;
            self.watch.seconds += begun.elapsed().as_secs_f64();
        }
        Ok(Updated {
            losses: reading,
            norm,
        })
    }

    /// What an observer is told of an update.
    fn seen<'b>(&self, at: Place<'b>, update: &Update<'b>, terms: &'b [Record]) -> Observation<'b>
    where
        'a: 'b,
    {
        Observation {
            step: at.step,
            phase: at.phase,
            player: update.player,
            config: self.config,
            terms,
        }
    }

    /// Micro-batches of a batch.
    fn parts(&self, batch: &Batch) -> usize {
        self.config.train.micro_batches.clamp(1, batch.len().max(1))
    }

    /// The gradients of a batch in one graph.
    fn in_one(&self, step: usize, update: &Update<'_>, batch: &Batch) -> Result<Gradients> {
        let view = self.players.view(update.player);
        let pass = Pass::new(view, self.objective, batch);
        let mut tape = tape(update.observed);
        let Losses { each, total } = losses(update.terms, &pass, &mut tape)?;
        let suspects = (update.terms.iter())
            .map(|(_, term)| term.suspect(&pass))
            .collect::<Result<_>>()?;
        let reading = Reading::of_terms(step, update.terms, &each, suspects)?;
        let grads = total.backward()?;
        let terms = update.terms.iter().filter(|_| update.observed);
        let records = terms
            .map(|(_, term)| record(*term, &pass, &tape, &grads))
            .collect::<Result<_>>()?;
        Ok(Gradients {
            reading,
            grads,
            records,
        })
    }

    /// The gradients of a batch in micro-batches: those of [`Self::in_one`], but for rounding.
    fn in_two_stages(
        &self,
        step: usize,
        update: &Update<'_>,
        parts: &[Batch],
    ) -> Result<Gradients> {
        let coupled = self.coupled(update, parts)?;
        let view = self.players.view(update.player);
        let params = &self.players.get(update.player)?.params;
        let mut values: Vec<Option<Tensor>> = vec![None; update.terms.len()];
        let mut records: Vec<Vec<Record>> = vec![Vec::new(); update.terms.len()];
        let mut sums = BTreeMap::new();
        let (mut start, mut last) = (0, None);
        for part in parts {
            let share = part.len() as f64 / update.batch.len() as f64;
            let pass = Pass::new(view, self.objective, part);
            let mut tape = tape(update.observed);
            let mut total = None;
            for (i, (factor, term)) in update.terms.iter().enumerate() {
                if term.couples().is_empty() {
                    let loss = times(&term.loss(&pass, &mut tape)?, share)?;
                    values[i] = Some(plus(values[i].take(), &loss.detach())?);
                    total = Some(plus(total, &times(&loss, *factor)?)?);
                }
            }
            for (node, gradient) in &coupled.gradients {
                if pass.is_live(*node) {
                    let rows = gradient.narrow(0, start, part.len())?;
                    total = Some(plus(total, &(pass.node(*node)? * rows)?.sum_all()?)?);
                }
            }
            let mut grads = total.ok_or_else(no_term)?.backward()?;
            if update.observed {
                for (i, (_, term)) in update.terms.iter().enumerate() {
                    if term.couples().is_empty() {
                        records[i].push(record(*term, &pass, &tape, &grads)?);
                    }
                }
            }
            for (name, var) in params.vars() {
                if let Some(gradient) = grads.remove(&var) {
                    let sum = plus(sums.remove(&name), &gradient.detach())?;
                    sums.insert(name, sum);
                }
            }
            start += part.len();
            // Of the others what is left would keep their graphs: candle keeps gradients of constants too.
            last = (start == update.batch.len()).then_some(grads);
        }
        let mut grads = last.ok_or_else(no_term)?;
        for (name, var) in params.vars() {
            if let Some(sum) = sums.remove(&name) {
                grads.insert(&var, sum);
            }
        }
        let mut suspects = Vec::new();
        let mut coupled_terms = coupled.terms.into_iter();
        let mut all = Vec::new();
        for (i, (_, term)) in update.terms.iter().enumerate() {
            if term.couples().is_empty() {
                suspects.push(None);
                all.extend(Record::joined(std::mem::take(&mut records[i]))?);
            } else if let Some((value, suspect, record)) = coupled_terms.next() {
                values[i] = Some(value);
                suspects.push(suspect);
                all.extend(record);
            }
        }
        let values = values.into_iter().collect::<Option<Vec<_>>>();
        let values = values.ok_or_else(no_term)?;
        Ok(Gradients {
            reading: Reading::of_terms(step, update.terms, &values, suspects)?,
            grads,
            records: all,
        })
    }

    /// Stage 1: the terms that couple samples, on the features of the whole batch, and Σ of their gradients in these.
    fn coupled(&self, update: &Update<'_>, parts: &[Batch]) -> Result<Coupled> {
        let coupling = || (update.terms.iter()).filter(|(_, term)| !term.couples().is_empty());
        if coupling().next().is_none() {
            return Ok(Coupled::default());
        }
        let [psi, psi_hat] = self.features(parts)?;
        let (psi, psi_hat) = (Var::from_tensor(&psi)?, Var::from_tensor(&psi_hat)?);
        let whole = Pass::of_features(
            self.objective,
            update.batch,
            psi.as_tensor().clone(),
            psi_hat.as_tensor().clone(),
        );
        let mut tape = tape(update.observed);
        let (mut total, mut values) = (None, Vec::new());
        for (factor, term) in coupling() {
            let loss = term.loss(&whole, &mut tape)?;
            total = Some(plus(total, &times(&loss, *factor)?)?);
            values.push(loss.detach());
        }
        let grads = total.ok_or_else(no_term)?.backward()?;
        let terms = coupling().zip(values).map(|((_, term), value)| {
            let record = update
                .observed
                .then(|| record(*term, &whole, &tape, &grads));
            Ok((value, term.suspect(&whole)?, record.transpose()?))
        });
        let terms = terms.collect::<Result<_>>()?;
        let gradients = [(Node::Psi, &psi), (Node::PsiHat, &psi_hat)]
            .into_iter()
            .filter_map(|(node, var)| Some((node, grads.get(var)?.detach())))
            .collect();
        Ok(Coupled { terms, gradients })
    }

    /// Ψ(x_0) and Ψ(x̂) of micro-batches, row by row, without a graph.
    fn features(&self, parts: &[Batch]) -> Result<[Tensor; 2]> {
        let view = self.players.networks.frozen();
        let (mut psi, mut psi_hat) = (Vec::new(), Vec::new());
        for part in parts {
            let pass = Pass::new(view, self.objective, part);
            psi.push(pass.psi()?.detach());
            psi_hat.push(pass.psi_hat()?.detach());
        }
        Ok([Tensor::cat(&psi, 0)?, Tensor::cat(&psi_hat, 0)?])
    }

    /// The value of a term that couples samples, with the networks as they are now.
    pub(crate) fn value(&self, step: usize, term: &dyn Term, batch: &Batch) -> Result<f64> {
        let [psi, psi_hat] = self.features(&batch.split(self.parts(batch))?)?;
        let pass = Pass::of_features(self.objective, batch, psi, psi_hat);
        let loss = term.loss(&pass, &mut Tape::off())?;
        let suspects = vec![term.suspect(&pass)?];
        Reading::of_terms(step, &[(1.0, term)], &[loss], suspects)?.first()
    }
}

/// What stage 1 leaves.
#[derive(Default)]
struct Coupled {
    /// Of each term that couples samples: its value, who may know why it is not finite, and its record.
    terms: Vec<(Tensor, Option<Suspect>, Option<Record>)>,
    /// The gradient of all of them in the features.
    gradients: Vec<(Node, Tensor)>,
}

fn tape(observed: bool) -> Tape {
    if observed { Tape::on() } else { Tape::off() }
}

/// A term of a pass with its gradients.
fn record(term: &dyn Term, pass: &Pass<'_>, tape: &Tape, grads: &GradStore) -> Result<Record> {
    let mut record = term.record(pass)?;
    // Without their graphs, which would outlive the pass.
    for tensor in record.tensors.values_mut() {
        *tensor = tensor.detach();
    }
    for (name, gradient) in tape.gradients(term.name(), grads)? {
        record.gradients.insert(name, gradient.detach());
    }
    Ok(record)
}

/// Records with the factors of their terms and the values that were read.
fn with_values(mut records: Vec<Record>, terms: &[Summand<'_>], values: &[f64]) -> Vec<Record> {
    for ((record, (factor, _)), value) in records.iter_mut().zip(terms).zip(values) {
        record.factor = *factor;
        record.loss = *value;
    }
    records
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::ImageKind;
    use crate::params::Params;
    use crate::random::Streams;
    use crate::run::phases::Phase;
    use crate::train::networks::Networks;
    use crate::train::player::{PHI, THETA};
    use crate::train::terms::{Classification, Denoising, Structure};
    use candle_core::{DType, Device};

    const B: usize = 7;
    const IMAGES: ImageKind = ImageKind {
        channels: 1,
        size: 8,
        classes: 3,
    };

    fn config(relation: &str) -> Config {
        let relation = format!("structure.relation={relation}");
        let keys = [
            "model.unet.channels=[8, 8]",
            "model.unet.blocks=1",
            "model.unet.attention=[1]",
            "model.unet.heads=2",
            "model.unet.groups=4",
            "model.unet.emb_dim=16",
            "model.unet.time_dim=8",
            "encoder.widths=[8, 8]",
            "encoder.groups=4",
            "encoder.dim=5",
            relation.as_str(),
        ];
        Config::default().with_sets(keys).expect("known keys")
    }

    /// Networks in f64 none of whose parameters is 0, so that differences are rounding or wrong.
    fn players(config: &Config) -> Result<Players> {
        let params = |seed| Params::new(&Device::Cpu, DType::F64, seed);
        let networks = Networks::on(params(3), params(4), config, IMAGES)?;
        for (params, purpose) in [
            (&networks.theta_params, "theta"),
            (&networks.phi_params, "phi"),
        ] {
            for (i, (_, var)) in params.vars().into_iter().enumerate() {
                let (shape, at) = (var.shape(), var.device());
                let noise =
                    Streams::new(5).normal_tensor(purpose, i as u64, shape, at, DType::F64)?;
                var.set(&(var.as_tensor() + (noise * 0.1)?)?)?;
            }
        }
        Players::of(networks, config)
    }

    fn batch() -> Result<Batch> {
        let shape = (B, 1, 8, 8);
        let normal = |name| Streams::new(6).normal_tensor(name, 0, shape, &Device::Cpu, DType::F64);
        Ok(Batch {
            x0: normal("x0")?,
            eps: normal("eps")?,
            t: (1..=B).map(|i| 0.1 * i as f64).collect(),
            labels: Some(vec![0, 1, 2, 0, 1, 2, 1]),
            augment: None,
            dropout: None,
        })
    }

    type Named = BTreeMap<String, Tensor>;

    fn named(params: &Params, grads: &GradStore) -> Named {
        let each = params.vars().into_iter();
        each.filter_map(|(name, var)| Some((name, grads.get(&var)?.clone())))
            .collect()
    }

    /// The largest difference of two gradients, of the largest entry of the first; infinite where one of them lacks a parameter.
    fn difference(want: &Named, got: &Named) -> Result<f64> {
        if !want.keys().eq(got.keys()) {
            return Ok(f64::INFINITY);
        }
        let largest = |x: &Tensor| x.abs()?.flatten_all()?.max(0)?.to_scalar::<f64>();
        let (mut size, mut apart) = (0.0_f64, 0.0_f64);
        for (name, want) in want {
            size = size.max(largest(want)?);
            apart = apart.max(largest(&(want - &got[name])?)?);
        }
        Ok(apart / size)
    }

    /// Sums of some thousand f64 products of the same numbers in another order: 2⁻⁵³ for each rounding, of which no number
    /// here has more than 2¹³ behind it.
    const ROUNDING: f64 = 1.0 / (1u64 << 40) as f64;

    fn with_updater<T>(
        config: &Config,
        parts: usize,
        f: impl FnOnce(&Updater<'_>) -> Result<T>,
    ) -> Result<T> {
        let mut with_parts = config.clone();
        with_parts.train.micro_batches = parts;
        let objective = config.objective();
        f(&Updater {
            config: &with_parts,
            objective: &objective,
            players: &mut players(config)?,
            watch: &mut Watch::new(None, &config.shadow),
        })
    }

    /// Gradients, values and records of an update in so many micro-batches.
    fn gradients(
        config: &Config,
        player: &'static str,
        terms: &[Summand<'_>],
        parts: usize,
    ) -> Result<(Named, Vec<f64>, Vec<Record>)> {
        let batch = batch()?;
        with_updater(config, parts, |updater| {
            let update = Update {
                player,
                batch: &batch,
                terms,
                drawn: Vec::new(),
                rate: 1.0,
                observed: true,
            };
            let parts = batch.split(parts)?;
            let mut found = match &parts[..] {
                [whole] => updater.in_one(0, &update, whole)?,
                parts => updater.in_two_stages(0, &update, parts)?,
            };
            let params = &updater.players.get(player)?.params;
            let grads = named(params, &found.grads);
            Ok((grads, found.reading.wait()?.to_vec(), found.records))
        })
    }

    #[test]
    fn micro_batches_have_the_gradient_of_their_batch() -> Result<()> {
        for relation in ["cosine", "euclidean", "rbf(2)"] {
            let config = config(relation);
            let structure = Structure::of(&config, Phase::Adversarial);
            let objectives: [(&'static str, Vec<Summand<'_>>); 4] = [
                (THETA, vec![(1.0, &Denoising), (30.0, &structure)]),
                (THETA, vec![(3.0, &Denoising)]),
                (PHI, vec![(-1.0, &structure)]),
                (PHI, vec![(1.0, &Classification)]),
            ];
            for (player, terms) in &objectives {
                if terms
                    .iter()
                    .any(|(_, term)| term.name() == "classification")
                    && relation != "cosine"
                {
                    continue;
                }
                let (want, values, records) = gradients(&config, player, terms, 1)?;
                for parts in [2, 3, 4, B] {
                    let (got, parts_values, parts_records) =
                        gradients(&config, player, terms, parts)?;
                    let apart = difference(&want, &got)?;
                    assert!(
                        apart < ROUNDING,
                        "{player}, {relation}, {parts} parts: {apart}"
                    );
                    for (one, other) in values.iter().zip(&parts_values) {
                        assert!((one - other).abs() <= ROUNDING * one.abs(), "{one} {other}");
                    }
                    assert_eq!(records.len(), terms.len());
                    assert_eq!(parts_records.len(), terms.len());
                    for (one, other) in records.iter().zip(&parts_records) {
                        assert_eq!((one.term, &one.choices), (other.term, &other.choices));
                        let mut kept = other.tensors.values().chain(other.gradients.values());
                        assert!(kept.all(|x| !x.track_op()), "a record holds a graph");
                        assert_eq!(one.samples.keys().len(), other.samples.keys().len());
                        let whole = |of: &Record| -> Named {
                            let both = of
                                .tensors
                                .iter()
                                .map(|(k, x)| (format!("x {k}"), x.clone()));
                            let g = of
                                .gradients
                                .iter()
                                .map(|(k, x)| (format!("g {k}"), x.clone()));
                            both.chain(g).collect()
                        };
                        for (name, tensor) in whole(one) {
                            let only = |x: &Tensor| Named::from([(name.clone(), x.clone())]);
                            let apart = difference(&only(&tensor), &only(&whole(other)[&name]))?;
                            assert!(apart < ROUNDING, "{name} of {}: {apart}", one.term);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Planted: the mean of the micro-batches' own S, which is what adding up gradients would train.
    #[test]
    fn the_mean_of_the_micro_batches_own_structure_is_another_loss() -> Result<()> {
        let config = config("cosine");
        let structure = Structure::of(&config, Phase::Adversarial);
        let terms: [Summand<'_>; 1] = [(1.0, &structure)];
        let (want, ..) = gradients(&config, THETA, &terms, 1)?;
        let wrong = with_updater(&config, 1, |updater| {
            let params = &updater.players.get(THETA)?.params;
            let mut sums = Named::new();
            for part in batch()?.split(2)? {
                let update = Update {
                    player: THETA,
                    batch: &part,
                    terms: &terms,
                    drawn: Vec::new(),
                    rate: 1.0,
                    observed: false,
                };
                let share = part.len() as f64 / B as f64;
                let found = updater.in_one(0, &update, &part)?;
                for (name, gradient) in named(params, &found.grads) {
                    let sum = plus(sums.remove(&name), &(gradient * share)?)?;
                    sums.insert(name, sum);
                }
            }
            Ok(sums)
        })?;
        let apart = difference(&want, &wrong)?;
        assert!(apart > 1e-3, "the wrong gradient is only {apart} off");
        Ok(())
    }

    #[test]
    fn one_micro_batch_is_todays_graph_and_its_value_is_that_without_a_graph() -> Result<()> {
        let config = config("cosine");
        let structure = Structure::of(&config, Phase::Guided);
        let (_, values, _) = gradients(&config, THETA, &[(1.0, &structure)], 1)?;
        for parts in [1, 3] {
            let value = with_updater(&config, parts, |u| u.value(0, &structure, &batch()?))?;
            assert!(
                (value - values[0]).abs() <= ROUNDING * value.abs(),
                "{value} {values:?}"
            );
        }
        Ok(())
    }

    #[test]
    fn a_batch_is_cut_without_loss() -> Result<()> {
        let batch = batch()?;
        for parts in 1..=B {
            let cut = batch.split(parts)?;
            assert_eq!(cut.len(), parts);
            let x0: Vec<&Tensor> = cut.iter().map(|part| &part.x0).collect();
            let joined = Tensor::cat(&x0, 0)?;
            let apart = (joined - &batch.x0)?.abs()?.sum_all()?.to_scalar::<f64>()?;
            assert!(apart <= 0.0, "{apart}");
            let t: Vec<f64> = cut.iter().flat_map(|part| part.t.clone()).collect();
            assert_eq!(t, batch.t);
            let sizes = cut.iter().map(Batch::len);
            assert!(
                sizes
                    .clone()
                    .max()
                    .zip(sizes.min())
                    .is_some_and(|(most, least)| most - least <= 1)
            );
        }
        for parts in [0, B + 1] {
            let error = batch.split(parts).expect_err("nothing to cut").to_string();
            assert!(
                error.contains("micro-batches") && error.contains("1..=7"),
                "{error}"
            );
        }
        Ok(())
    }
}
