//! The training loop: a method's steps in phases, with checkpoints, an audit of gradients and an
//! observer on the tensors of a step.
//!
//! | module | holds |
//! |---|---|
//! | [`batch`], `batches` | a batch, and everything random that is drawn for it |
//! | [`player`], [`networks`] | who moves: parameters with their optimiser and average |
//! | [`pass`], [`term`], [`terms`] | a forward pass, and what a player descends in it |
//! | `updater` | one update of one player |
//! | [`mod@audit`], [`observer`], [`account`], `watch` | proofs that gradients arrive, and who looks at steps and updates |
//! | `reading`, `report`, `metrics`, [`Hooks`] | the numbers of a step, and who hears of them |
//! | `resume`, `conclude` | the run's folder, and what is done between steps |
//! | [`mod@begin_with`] | weights of a file that a run begins with |
//!
//! Which player is updated when is the method's business: `method::sadm`.

pub mod account;
pub mod audit;
pub mod batch;
pub(crate) mod batches;
pub mod begin_with;
mod conclude;
pub(crate) mod conditions;
pub(crate) mod hooks;
mod metrics;
pub mod networks;
pub mod observer;
pub mod order;
pub mod pass;
pub mod player;
pub(crate) mod reading;
pub(crate) mod report;
mod resume;
pub mod term;
pub mod terms;
pub(crate) mod updater;
pub(crate) mod watch;

use crate::config::Config;
use crate::data::{Classes, Found};
use crate::memory::{Circumstances, Room, estimate, gibibytes, peak_of_process};
use crate::method::sadm;
use crate::run::checkpoint::{self, State};
use crate::run::phases::{Phase, Span, layout, phases};
use crate::{Error, Result};
use audit::{Plan, audit};
use begin_with::{Init, begin_with};
use candle_core::Device;
use conclude::{accuracy, draw_samples};
use metrics::Metrics;
use observer::Observer;
use player::Players;
use report::{Log, Pending};
use resume::{Beginning, Begun, Folder, begin_from};
use serde_json::json;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use terms::Structure;
use watch::Watch;

pub use batches::{Data, HoldOut, dataset, draw_times, split, time_draws, times};
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
    device: Device,
    folder: Folder,
    data: Data,
    players: Players,
    spans: Vec<Span>,
    /// The phases that learning rates follow.
    layout: Vec<Span>,
    state: State,
    watch: Watch,
    /// Whether the parameters are those that every phase was audited with.
    audited: bool,
}

impl std::fmt::Debug for Trainer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trainer")
            .field("folder", &self.folder.path())
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
    /// Observer of its steps.
    pub observer: Option<Box<dyn Observer>>,
    /// Go on with the run in the folder if there is one.
    pub resume: bool,
    /// Begin with the parameters, averages and encoder of this run's newest checkpoint, at step 0.
    pub from: Option<&'a Path>,
    /// Begin with the weights of this file in θ and its average, at step 0.
    pub init: Option<Init<'a>>,
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
            init: None,
        };
        Self::open(opening, &mut Silent)
    }

    /// A run in a folder. Besides the newest, the checkpoint at the end of each phase is kept: a report compares the players of
    /// different phases.
    ///
    /// A run that goes on may have other values of the keys that change none of its numbers, its images elsewhere, and more steps where
    /// its learning rate does not fall; what was changed is written into its [`history`](crate::run::history).
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
            init,
        } = opening;
        let begun = Begun::of(folder, config, resume)?;
        let (config, text) = (begun.config.clone(), begun.text.clone());
        let before = checkpoint::newest_state(&folder.join("checkpoints"))?;
        let data = Data::open(&config, HoldOut::of(before.as_ref()), device)?;
        let classes = data.conditions.classes();
        refuse_one_class(&config, classes)?;
        let (line, found) = (data.line(), &data.train.found);
        hooks.note(&if found.is_nothing() {
            line
        } else {
            format!("{line}; {found}")
        });
        let conditions = &data.conditions;
        conditions.check(&conditions.in_order(1), config.sample.guidance)?;
        let numbers = data.train.images.len() + data.holdout.images.len();
        let around = Circumstances {
            images: data.images,
            data: (numbers * size_of::<f32>()) as f64,
            held_out: data.holdout.len(),
            threads: rayon::current_num_threads(),
            resumed: begun.done.is_some(),
        };
        judge_memory(&config, &around, device, hooks)?;
        let mut players = Players::new(&config, data.images, device)?;
        let (spans, layout) = (phases(&config), layout(&config));
        for span in &spans {
            audit_phase(&config, &players, &data, span.phase)?;
        }
        let named = (data.law == HoldOut::ByClass).then(|| classes.clone());
        let mut state = State::new(&text, data.images, named, data.sha256.clone());
        let origin = from
            .map(|run| begin_from(run, &data, &players))
            .transpose()?;
        let begun_with = init
            .map(|init| begin_with(&init, &config, data.images.size, &players))
            .transpose()?;
        let folder = Folder::hold(folder, &config, &spans)?;
        let restored = folder.restore(&begun, &spans, &data, &state, &mut players)?;
        let audited = restored.is_none() && origin.is_none() && begun_with.is_none();
        state = restored.unwrap_or(state);
        if let Some((origin, accuracy)) = origin {
            // A classifier stays one until it is trained again.
            state.encoder_accuracy = accuracy;
            folder.store_beginning(Beginning::Run(origin), &players, &state)?;
        }
        if let Some((file, notes)) = begun_with {
            for note in &notes {
                hooks.note(note);
            }
            folder.store_beginning(Beginning::File(file), &players, &state)?;
        }
        folder.record(&begun, &state, hooks)?;
        checkpoint::write_atomically(&folder.path().join("config.toml"), text.as_bytes())?;
        Ok(Self {
            watch: Watch::new(observer, &config.shadow),
            config,
            device: device.clone(),
            folder,
            data,
            players,
            spans,
            layout,
            state,
            audited,
        })
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
        &self.data.conditions
    }

    /// The line on the images that a run begins with.
    pub fn images_line(&self) -> String {
        self.data.line()
    }

    /// What reading the images did to their files.
    pub fn found(&self) -> &Found {
        &self.data.train.found
    }

    /// Whether nothing is left to do.
    pub fn finished(&self) -> bool {
        self.state.step >= self.config.train.steps || self.state.balanced_at.is_some()
    }

    /// Trains until all steps are done, the balance is found, or `stop` is set; saves in each case.
    pub fn run(&mut self, hooks: &mut dyn Hooks, stop: &AtomicBool) -> Result<Outcome> {
        let begun = Instant::now();
        self.watch.seconds = 0.0;
        let metrics = Metrics::open(&self.folder.path().join("metrics.jsonl"), self.state.step)?;
        let mut log = Log::new(metrics);
        let mut entered = None;
        let mut interrupted = false;
        while !self.finished() && !interrupted {
            let span = self.span();
            if entered != Some(span) {
                self.enter(span, hooks)?;
                entered = Some(span);
            }
            interrupted =
                stop.load(Ordering::Relaxed) || !self.advance(span, &mut log, hooks, stop)?;
        }
        log.settle(hooks)?;
        hooks.checkpoint(&self.save()?);
        if !interrupted {
            self.draw_samples(hooks)?;
        }
        Ok(Outcome {
            finished: self.finished(),
            step: self.state.step,
            encoder_accuracy: self.state.encoder_accuracy,
            balanced_at: self.state.balanced_at,
            worst_shadow: self.watch.worst.clone(),
            shadow_seconds: self.watch.seconds,
            seconds: begun.elapsed().as_secs_f64(),
        })
    }

    /// One step; false if it was given up because `stop` was set.
    fn advance(
        &mut self,
        span: Span,
        log: &mut Log,
        hooks: &mut dyn Hooks,
        stop: &AtomicBool,
    ) -> Result<bool> {
        let begun = Instant::now();
        self.audited = false;
        let done = sadm::Step {
            config: &self.config,
            layout: &self.layout,
            span,
            data: &mut self.data,
            players: &mut self.players,
            watch: &mut self.watch,
            state: &mut self.state,
            hooks,
            stop,
        }
        .run();
        // Before what went wrong here: it may have begun in the step before.
        log.settle(hooks)?;
        let Some(done) = done? else {
            return Ok(false);
        };
        self.state.step += 1;
        let (step, config) = (self.state.step, &self.config);
        let is_due = |every: usize| every > 0 && step.is_multiple_of(every);
        let last = step == span.end || self.finished();
        let saved =
            (is_due(config.checkpoint.every) || step == span.end) && step < config.train.steps;
        let sampled =
            is_due(config.sample.every) && !self.finished() && span.phase != Phase::Encoder;
        let is_known = log.push(Pending {
            done,
            phase: span.phase,
            step,
            steps: config.train.steps,
            shadow: self.watch.newest(),
            images: match span.phase {
                Phase::Encoder => config.encoder.batch,
                _ => config.train.batch,
            },
            seconds: begun.elapsed().as_secs_f64(),
            logged: step.is_multiple_of(config.train.log_every) || last,
        });
        if is_known || last || saved || sampled {
            log.settle(hooks)?;
        }
        if last {
            self.conclude(span, log, hooks)?;
        }
        if saved {
            hooks.checkpoint(&self.save()?);
        }
        if sampled {
            self.draw_samples(hooks)?;
        }
        Ok(true)
    }

    /// The phase of the next step.
    fn span(&self) -> Span {
        let next = self.spans.iter().find(|s| self.state.step < s.end);
        let next = next.or(self.spans.last()).copied();
        next.unwrap_or(Span {
            phase: Phase::Denoise,
            start: 0,
            end: self.config.train.steps,
        })
    }

    fn enter(&mut self, span: Span, hooks: &mut dyn Hooks) -> Result<()> {
        let steps = self.state.step;
        if span.phase == Phase::Adversarial && steps == span.start {
            self.players.begin_discriminator(&self.config)?;
        }
        if !self.audited {
            // A phase begins where a checkpoint is: at its predecessor's end, or where the run was opened.
            hooks.all_is_saved(Some(steps));
            let audited = audit_phase(&self.config, &self.players, &self.data, span.phase);
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

    /// Results of a phase's last step; before its checkpoint, which carries them.
    fn conclude(&mut self, span: Span, log: &mut Log, hooks: &mut dyn Hooks) -> Result<()> {
        let held_out = self.data.holdout.len();
        if span.phase == Phase::Encoder && held_out > 0 {
            let accuracy = accuracy(&self.players, &self.data, &self.device)?;
            self.state.encoder_accuracy = Some(accuracy);
            let line = json!({"step": self.state.step, "phase": "encoder", "accuracy": accuracy});
            log.line(&line, hooks)?;
            hooks.note(&format!(
                "Ψ classifies {:.1} % of {held_out} held-out images correctly",
                100.0 * accuracy
            ));
        }
        if let Some(step) = self.state.balanced_at {
            hooks.note(&format!(
                "the players are in balance at step {step}: the adversarial phase ends"
            ));
        }
        Ok(())
    }

    fn save(&self) -> Result<std::path::PathBuf> {
        self.folder.save(&self.players, &self.state)
    }

    fn draw_samples(&self, hooks: &mut dyn Hooks) -> Result<()> {
        let at = (self.folder.path(), self.state.step);
        draw_samples(&self.config, &self.players, &self.data, at, hooks)
    }
}

/// Proves that gradients go where `phase` needs them.
fn audit_phase(config: &Config, players: &Players, data: &Data, phase: Phase) -> Result<()> {
    let plan = Plan {
        config,
        images: data.images,
        objective: config.objective(),
        structure: Structure::of(config, phase),
        weight: config.structure.weight,
    };
    audit(&players.networks, phase, &plan, &data.audit_batch(config)?)
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
