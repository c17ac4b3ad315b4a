//! The training loop: SADM Algorithm 1 in phases, with checkpoints, an audit of gradients and an
//! observer on the tensors of a step.

pub mod audit;
pub(crate) mod batches;
mod conclude;
pub(crate) mod conditions;
mod hooks;
mod metrics;
pub mod observer;
pub mod order;
pub mod players;
pub(crate) mod reading;
mod report;
mod resume;
pub mod step;
mod updates;
mod watch;

use crate::config::{Config, TrainConfig};
use crate::data::{Classes, Dataset};
use crate::ema::Ema;
use crate::memory::{Circumstances, Room, estimate, gibibytes, peak_of_process};
use crate::optim::AdamW;
use crate::random::Streams;
use crate::run::checkpoint::{self, State};
use crate::run::phases::{Phase, Span, layout, phases};
use crate::{Error, Result};
use audit::{Plan, audit};
use candle_core::Device;
use metrics::Metrics;
use observer::{Observer, Verdict};
use order::Order;
use players::{ImageKind, Players};
use report::Pending;
use resume::{Begun, lock};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use step::{Objective, StructureTerm};

pub use batches::{HoldOut, dataset, draw_times, split};
pub use conditions::Conditions;
pub use hooks::{Hooks, Silent, StepReport};

/// How a call of [`Trainer::run`] ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// All steps were done, or the adversarial phase found its balance.
    pub finished: bool,
    /// Steps done.
    pub step: usize,
    /// Accuracy of Ψ on the held-out images.
    pub encoder_accuracy: Option<f64>,
    /// Step at which the adversarial phase found its balance.
    pub balanced_at: Option<usize>,
    /// Largest error/bound of this call's shadow checks, and its quantity.
    pub worst_shadow: Option<(f64, String)>,
    /// Seconds spent in shadow checks, the observer and the extra graph together.
    pub shadow_seconds: f64,
    /// Seconds of this call.
    pub seconds: f64,
}

/// A run in progress.
pub struct Trainer {
    config: Config,
    folder: PathBuf,
    device: Device,
    streams: Streams,
    train: Dataset,
    holdout: Dataset,
    images: ImageKind,
    conditions: Conditions,
    players: Players,
    ema: Ema,
    theta_optimizer: AdamW,
    phi_optimizer: AdamW,
    objective: Objective,
    spans: Vec<Span>,
    /// The phases that learning rates follow.
    layout: Vec<Span>,
    encoder_order: Order,
    theta_order: Order,
    phi_order: Order,
    state: State,
    observer: Option<Box<dyn Observer>>,
    /// The newest observed step and the worse of its players' verdicts.
    verdict: Option<(usize, Verdict)>,
    worst_shadow: Option<(f64, String)>,
    shadow_seconds: f64,
    /// The step before, if its numbers have not been read yet.
    pending: Option<Pending>,
    /// Whether the parameters are those that every phase was audited with.
    audited: bool,
    /// Held while this run's folder is ours.
    lock: Option<File>,
}

impl std::fmt::Debug for Trainer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trainer")
            .field("folder", &self.folder)
            .field("step", &self.state.step)
            .finish_non_exhaustive()
    }
}

/// How a run is opened.
pub struct Opening<'a> {
    /// What is to be trained.
    pub config: Config,
    /// Where.
    pub folder: &'a Path,
    /// On what.
    pub device: &'a Device,
    /// Who looks at its steps.
    pub observer: Option<Box<dyn Observer>>,
    /// Go on with the run in the folder if there is one.
    pub resume: bool,
    /// Begin with the parameters, averages and encoder of this run's newest checkpoint, at step 0.
    pub from: Option<&'a Path>,
}

impl Trainer {
    /// A run in `folder`, fresh or, with `resume`, from its newest checkpoint if there is one; nobody listens to its opening.
    ///
    /// # Errors
    /// As [`Trainer::open`].
    pub fn new(
        config: Config,
        folder: &Path,
        device: &Device,
        observer: Option<Box<dyn Observer>>,
        resume: bool,
    ) -> Result<Self> {
        let opening = Opening {
            config,
            folder,
            device,
            observer,
            resume,
            from: None,
        };
        Self::open(opening, &mut Silent)
    }

    /// A run in a folder. Besides the newest, the checkpoint at the end of each phase is kept: a report compares the players of
    /// different phases.
    ///
    /// A run that goes on may have other values of the keys that change none of its numbers, its images elsewhere, and more steps where
    /// its learning rate does not fall; what was changed is written into its [`history`].
    ///
    /// # Errors
    /// A folder that already holds a run, without `resume`, or in which one is at work; a run with another configuration;
    /// bad data; steps that need more memory than there is; networks that do not fit the images, or in which a gradient does not arrive in
    /// some phase. Nothing has been written then.
    pub fn open(opening: Opening<'_>, hooks: &mut dyn Hooks) -> Result<Self> {
        let Opening {
            config,
            folder,
            device,
            observer,
            resume,
            from,
        } = opening;
        let begun = Begun::of(folder, config, resume)?;
        let (config, text) = (begun.config.clone(), begun.text.clone());
        let all = dataset(&config)?;
        let images = ImageKind::of(&all)?;
        let streams = Streams::new(config.seed);
        let before = checkpoint::newest_state(&folder.join("checkpoints"))?;
        let law = HoldOut::of(before.as_ref());
        let (train, holdout) = split(&all, config.data.holdout, streams, law)?;
        let classes = Classes::of(&train, &holdout);
        refuse_one_class(&config, &classes)?;
        let conditions = Conditions::new(classes.clone(), config.objective.label_dropout);
        let line = batches::images_line(&train, &holdout, &classes);
        hooks.note(&if train.found.is_nothing() {
            line
        } else {
            format!("{line}; {}", train.found)
        });
        conditions.check(&conditions.in_order(1), config.sample.guidance)?;
        let around = Circumstances {
            images,
            data: (all.images.len() * size_of::<f32>()) as f64,
            held_out: holdout.len(),
            threads: rayon::current_num_threads(),
            resumed: begun.done.is_some(),
        };
        judge_memory(&config, &around, device, hooks)?;
        let players = Players::new(&config, images, device)?;
        let t = &config.train;
        let mut trainer = Self {
            ema: Ema::new(&players.theta, t.ema_half_life, t.ema_ramp)?,
            theta_optimizer: adamw(t, t.learning_rate, t.weight_decay),
            phi_optimizer: adamw(t, config.encoder.learning_rate, config.encoder.weight_decay),
            objective: Objective::of(&config),
            spans: phases(&config),
            layout: layout(&config),
            encoder_order: Order::new(streams, "encoder-order", train.len()),
            theta_order: Order::new(streams, "theta-order", train.len()),
            phi_order: Order::new(streams, "phi-order", train.len()),
            state: State::new(
                &text,
                images,
                (law == HoldOut::ByClass).then_some(classes),
                all.sha256(),
            ),
            device: device.clone(),
            folder: folder.to_owned(),
            config,
            streams,
            train,
            holdout,
            images,
            conditions,
            players,
            observer,
            verdict: None,
            worst_shadow: None,
            shadow_seconds: 0.0,
            pending: None,
            audited: false,
            lock: None,
        };
        for span in trainer.spans.clone() {
            trainer.audit(span.phase)?;
        }
        trainer.audited = true;
        let weights = from.map(|run| trainer.begin_from(run)).transpose()?;
        fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))?;
        trainer.lock = Some(lock(folder)?);
        trainer.restore(&all, &begun)?;
        if let Some(origin) = weights {
            trainer.store_beginning(origin)?;
        }
        trainer.record(&begun, hooks)?;
        checkpoint::write_atomically(&folder.join("config.toml"), text.as_bytes())?;
        Ok(trainer)
    }

    /// The configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Steps done so far.
    pub fn step(&self) -> usize {
        self.state.step
    }

    /// The classes, and what of them is learnt.
    pub fn conditions(&self) -> &Conditions {
        &self.conditions
    }

    /// The players, for inspection.
    pub fn players(&self) -> &Players {
        &self.players
    }

    fn checkpoints(&self) -> PathBuf {
        self.folder.join("checkpoints")
    }

    fn phase_at(&self, step: usize) -> Phase {
        self.spans
            .iter()
            .find(|s| step < s.end)
            .or(self.spans.last())
            .map_or(Phase::Denoise, |s| s.phase)
    }

    /// φ has one optimiser as a classifier and a new one, without decay, as a discriminator.
    fn discriminator_optimizer(&self) -> AdamW {
        adamw(
            &self.config.train,
            self.config.adversarial.learning_rate,
            0.0,
        )
    }

    /// Trains until all steps are done, the balance is found, or `stop` is set; saves in each case.
    pub fn run(&mut self, hooks: &mut dyn Hooks, stop: &AtomicBool) -> Result<Outcome> {
        let begun = Instant::now();
        self.shadow_seconds = 0.0;
        let mut metrics = Metrics::open(&self.folder.join("metrics.jsonl"), self.state.step)?;
        let mut interrupted = false;
        for span in self.spans.clone() {
            if self.state.step >= span.end || self.finished() {
                continue;
            }
            self.enter(span, hooks)?;
            while self.state.step < span.end && !self.finished() {
                if stop.load(Ordering::Relaxed) {
                    interrupted = true;
                    break;
                }
                if !self.advance(span, &mut metrics, hooks, stop)? {
                    interrupted = true;
                    break;
                }
            }
            if interrupted {
                break;
            }
        }
        self.settle_pending(&mut metrics, hooks)?;
        let saved = self.save()?;
        hooks.checkpoint(&saved);
        if !interrupted {
            self.draw_samples(hooks)?;
        }
        Ok(Outcome {
            finished: self.finished(),
            step: self.state.step,
            encoder_accuracy: self.state.encoder_accuracy,
            balanced_at: self.state.balanced_at,
            worst_shadow: self.worst_shadow.clone(),
            shadow_seconds: self.shadow_seconds,
            seconds: begun.elapsed().as_secs_f64(),
        })
    }

    /// Whether nothing is left to do.
    pub fn finished(&self) -> bool {
        self.state.step >= self.config.train.steps || self.state.balanced_at.is_some()
    }

    fn enter(&mut self, span: Span, hooks: &mut dyn Hooks) -> Result<()> {
        if span.phase == Phase::Adversarial && self.state.step == span.start {
            self.phi_optimizer = self.discriminator_optimizer();
        }
        if !self.audited {
            // A phase begins where a checkpoint is: at its predecessor's end, or where the run was opened.
            let steps = self.state.step;
            hooks.all_is_saved(Some(steps));
            let audited = self.audit(span.phase);
            hooks.all_is_saved(None);
            audited.map_err(|error| {
                let diverged = "; after training they may have diverged: a smaller train.learning_rate may help";
                if steps > 0 {
                    error.after(&format!(" after {steps} steps"), diverged)
                } else {
                    error
                }
            })?;
        }
        hooks.phase(span.phase, span.start, span.end);
        Ok(())
    }

    /// Proves that gradients go where `phase` needs them.
    fn audit(&self, phase: Phase) -> Result<()> {
        audit(
            &self.players,
            phase,
            &self.plan(phase),
            &self.audit_batch()?,
        )
    }

    /// What is asked of the batch in `phase`.
    fn term(&self, phase: Phase) -> StructureTerm {
        StructureTerm::of(&self.config, phase)
    }

    fn plan(&self, phase: Phase) -> Plan<'_> {
        Plan {
            config: &self.config,
            images: self.images,
            objective: self.objective,
            term: self.term(phase),
        }
    }
}

fn adamw(train: &TrainConfig, learning_rate: f64, weight_decay: f64) -> AdamW {
    AdamW {
        learning_rate,
        beta1: train.beta1,
        beta2: train.beta2,
        eps: train.epsilon,
        weight_decay,
        ..AdamW::default()
    }
}

/// Says how much memory the run will need, and refuses it where there is not as much.
fn judge_memory(
    config: &Config,
    around: &Circumstances,
    device: &Device,
    hooks: &mut dyn Hooks,
) -> Result<()> {
    if !device.is_cpu() {
        hooks.note("the memory that steps need is estimated for the CPU alone; a GPU says itself when it has no more");
        return Ok(());
    }
    let need = estimate(config, around);
    if config.train.check_memory
        && let Some(room) = Room::here()
    {
        need.fits(&room, "train.check_memory = false trains all the same")?;
    }
    let now = peak_of_process().map_or(0.0, |[_, now]| now);
    hooks.note(&format!(
        "memory: about {} expected at the most, in {}",
        gibibytes(need.bytes + now),
        need.when
    ));
    Ok(())
}

/// A Ψ that is trained to tell classes apart needs some.
fn refuse_one_class(config: &Config, classes: &Classes) -> Result<()> {
    let trained = phases(config)
        .iter()
        .any(|span| span.phase == Phase::Encoder);
    let learnt = classes.learnt().len();
    if trained && learnt < 2 {
        return Err(Error::invalid(
            "the number of classes with images to learn from",
            "be at least 2 to train Ψ as their classifier",
            format!(
                "{learnt}; give each class a folder or labels, or leave Ψ untrained (phases.encoder = 0)"
            ),
        ));
    }
    Ok(())
}
