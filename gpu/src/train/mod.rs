//! The training loop: SADM Algorithm 1 in phases, with checkpoints, an audit of gradients and an
//! observer on the tensors of a step.

pub mod audit;
mod batches;
mod branch;
pub mod checkpoint;
mod features;
mod metrics;
pub mod observer;
pub mod order;
pub mod phases;
pub mod players;
mod reading;
mod report;
mod run;
pub mod step;
mod updates;
mod watch;

use crate::config::{Config, TrainConfig};
use crate::data::Dataset;
use crate::ema::Ema;
use crate::optim::AdamW;
use crate::random::Streams;
use crate::{Error, Result};
use audit::{Plan, audit};
use candle_core::{DType, Device, Tensor};
use checkpoint::{Contents, State};
use metrics::Metrics;
use observer::{Observer, Verdict};
use order::Order;
use phases::{Phase, Span, phases};
use players::{ImageKind, Players};
use report::Pending;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use step::{Objective, StructureTerm};

pub use batches::{dataset, draw_times, split};
pub use branch::{branch, common_steps};
pub use features::Features;
pub use run::{Along, Run, SampleRequest};

/// One step, as reported to a progress bar.
#[derive(Debug, Clone)]
pub struct StepReport {
    /// Name of the phase.
    pub phase: &'static str,
    /// Steps done.
    pub step: usize,
    /// Steps of the run.
    pub steps: usize,
    /// The denoising loss, or the cross-entropy of the encoder's phase.
    pub loss: f64,
    /// S, when the phase has it.
    pub structure: Option<f64>,
    /// Global gradient norm before clipping.
    pub grad_norm: f64,
    /// Newest error/bound of the shadow check.
    pub shadow: Option<f64>,
    /// Real images that went through the step.
    pub images: usize,
    /// Seconds the step took, the shadow check's included.
    pub seconds: f64,
}

/// Who wants to know how a run goes. Every method has a default that does nothing.
pub trait Hooks {
    /// A phase begins; its gradients were audited.
    fn phase(&mut self, _phase: Phase, _start: usize, _end: usize) {}
    /// A step was done.
    fn step(&mut self, _report: &StepReport) {}
    /// A grid of samples `[N, C, H, W]` in [−1, 1] was drawn; to be stored below the run's folder.
    fn samples(&mut self, _folder: &Path, _step: usize, _images: &Tensor) -> Result<()> {
        Ok(())
    }
    /// A line was appended to `metrics.jsonl`.
    fn metrics(&mut self, _line: &Value) -> Result<()> {
        Ok(())
    }
    /// A checkpoint was written.
    fn checkpoint(&mut self, _folder: &Path) {}
    /// Something worth a line.
    fn note(&mut self, _line: &str) {}
}

/// What a checkpoint says wrote it.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Hooks for nobody.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;
impl Hooks for Silent {}

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
    players: Players,
    ema: Ema,
    theta_optimizer: AdamW,
    phi_optimizer: AdamW,
    objective: Objective,
    spans: Vec<Span>,
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

impl Trainer {
    /// A run in `folder`, fresh or, with `resume`, from its newest checkpoint if there is one. Besides
    /// the newest, the checkpoint at the end of each phase is kept: a report compares the players of
    /// different phases.
    ///
    /// # Errors
    /// A folder that already holds a run, without `resume`, or in which one is at work; a run with another configuration;
    /// bad data; networks that do not fit the images, or in which a gradient does not arrive in some phase. Nothing has
    /// been written then.
    pub fn new(
        config: Config,
        folder: &Path,
        device: &Device,
        observer: Option<Box<dyn Observer>>,
        resume: bool,
    ) -> Result<Self> {
        let config_path = folder.join("config.toml");
        let begun =
            config_path.exists() || !checkpoint::steps(&folder.join("checkpoints"))?.is_empty();
        let text = if begun {
            if !resume {
                return Err(Error::file(
                    folder,
                    "already holds a run; continue it with --resume or choose another --out",
                ));
            }
            resumed(&config_path, &config)?
        } else {
            config.to_toml()
        };
        let all = dataset(&config)?;
        let images = ImageKind::of(&all)?;
        refuse_one_class(&config, images)?;
        let streams = Streams::new(config.seed);
        let (train, holdout) = split(&all, config.data.holdout, streams)?;
        let players = Players::new(&config, images, device)?;
        let t = &config.train;
        let mut trainer = Self {
            ema: Ema::new(&players.theta, t.ema_half_life, t.ema_ramp)?,
            theta_optimizer: adamw(t, t.learning_rate, t.weight_decay),
            phi_optimizer: adamw(t, config.encoder.learning_rate, config.encoder.weight_decay),
            objective: Objective::of(&config),
            spans: phases(&config),
            encoder_order: Order::new(streams, "encoder-order", train.len()),
            theta_order: Order::new(streams, "theta-order", train.len()),
            phi_order: Order::new(streams, "phi-order", train.len()),
            state: State::new(&text, images, all.sha256()),
            device: device.clone(),
            folder: folder.to_owned(),
            config,
            streams,
            train,
            holdout,
            images,
            players,
            observer,
            verdict: None,
            worst_shadow: None,
            shadow_seconds: 0.0,
            pending: None,
            lock: None,
        };
        for span in trainer.spans.clone() {
            trainer.audit(span.phase)?;
        }
        fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))?;
        trainer.lock = Some(lock(folder)?);
        trainer.restore(&all)?;
        checkpoint::write_atomically(&config_path, text.as_bytes())?;
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

    /// The players, for inspection.
    pub fn players(&self) -> &Players {
        &self.players
    }

    fn checkpoints(&self) -> PathBuf {
        self.folder.join("checkpoints")
    }

    fn restore(&mut self, all: &Dataset) -> Result<()> {
        let Some((contents, state)) = checkpoint::read_newest(&self.checkpoints(), &self.device)?
        else {
            return Ok(());
        };
        if state.config_sha256 != self.state.config_sha256 {
            return Err(Error::file(
                self.checkpoints(),
                "the newest checkpoint belongs to another configuration",
            ));
        }
        checkpoint::refuse_other_images(&state.data_sha256, all)?;
        if state.step > self.config.train.steps {
            let problem = format!(
                "the newest checkpoint is of step {}, beyond train.steps = {}",
                state.step, self.config.train.steps
            );
            return Err(Error::file(self.checkpoints(), problem));
        }
        self.players.load(&contents.model, &contents.encoder)?;
        self.ema.params().load(&contents.ema)?;
        let part = |prefix: &str| {
            contents
                .optimizer
                .iter()
                .filter_map(|(name, t)| Some((name.strip_prefix(prefix)?.to_owned(), t.clone())))
                .collect::<BTreeMap<_, _>>()
        };
        self.theta_optimizer
            .load_state(state.theta_optimizer_steps, part("theta."))?;
        if self.phase_at(state.step.saturating_sub(1)) == Phase::Adversarial {
            self.phi_optimizer = self.discriminator_optimizer();
        }
        self.phi_optimizer
            .load_state(state.phi_optimizer_steps, part("phi."))?;
        self.state = State {
            data_sha256: std::mem::take(&mut self.state.data_sha256),
            ..state
        };
        Ok(())
    }

    fn save(&self) -> Result<PathBuf> {
        let mut optimizer = BTreeMap::new();
        for (prefix, adam) in [
            ("theta.", &self.theta_optimizer),
            ("phi.", &self.phi_optimizer),
        ] {
            for (name, tensor) in adam.state() {
                optimizer.insert(format!("{prefix}{name}"), tensor);
            }
        }
        let contents = Contents {
            model: self.players.theta.tensors(),
            ema: self.ema.params().tensors(),
            encoder: self.players.phi.tensors(),
            optimizer,
        };
        let state = State {
            theta_optimizer_steps: self.theta_optimizer.steps(),
            phi_optimizer_steps: self.phi_optimizer.steps(),
            version: VERSION.to_owned(),
            ..self.state.clone()
        };
        checkpoint::write(
            &self.checkpoints(),
            &contents,
            state,
            self.config.checkpoint.keep,
            &self.spans.iter().map(|s| s.end).collect::<Vec<_>>(),
        )
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
                self.advance(span, &mut metrics, hooks)?;
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
        let steps = self.state.step;
        self.audit(span.phase).map_err(|error| {
            let diverged =
                "; after training they may have diverged: a smaller train.learning_rate may help";
            if steps > 0 {
                error.after(&format!(" after {steps} steps"), diverged)
            } else {
                error
            }
        })?;
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

    /// What a phase's last step has to say; before its checkpoint, which carries it.
    fn conclude(&mut self, span: Span, metrics: &mut Metrics, hooks: &mut dyn Hooks) -> Result<()> {
        if span.phase == Phase::Encoder && !self.holdout.is_empty() {
            let accuracy = self.accuracy()?;
            self.state.encoder_accuracy = Some(accuracy);
            let line = json!({"step": self.state.step, "phase": "encoder", "accuracy": accuracy});
            metrics.write(&line)?;
            hooks.metrics(&line)?;
            hooks.note(&format!(
                "Ψ classifies {:.1} % of {} held-out images correctly",
                100.0 * accuracy,
                self.holdout.len()
            ));
        }
        if let Some(step) = self.state.balanced_at {
            hooks.note(&format!(
                "the players are in balance at step {step}: the adversarial phase ends"
            ));
        }
        Ok(())
    }

    fn accuracy(&self) -> Result<f64> {
        let n = self.holdout.len();
        let mut right = 0usize;
        for start in (0..n).step_by(256) {
            let indices: Vec<usize> = (start..n.min(start + 256)).collect();
            let (x0, labels) = self.holdout.batch(&indices, &self.device, DType::F32)?;
            let guess = self
                .players
                .encoder_frozen
                .logits(&x0)?
                .argmax(1)?
                .to_vec1::<u32>()?;
            right += guess.iter().zip(&labels).filter(|(g, l)| g == l).count();
        }
        Ok(right as f64 / n as f64)
    }

    fn draw_samples(&self, hooks: &mut dyn Hooks) -> Result<()> {
        if self.state.theta_updates == 0 {
            return Ok(());
        }
        let denoiser =
            players::denoiser(&self.config.model, self.images, self.ema.params().frozen())?;
        let count = self.config.sample.count;
        let request = SampleRequest {
            labels: (0..count)
                .map(|i| u32::try_from(i * self.images.classes / count).ok())
                .collect(),
            seed: self.config.seed,
            ..SampleRequest::from_config(&self.config)
        };
        let images = run::sample(
            denoiser.as_ref(),
            &self.objective,
            self.images,
            &self.device,
            &request,
        )?;
        hooks.samples(&self.folder, self.state.step, &images)
    }
}

/// Locks a run's folder until the file is dropped, however this process ends. File systems without locks are left alone.
fn lock(folder: &Path) -> Result<File> {
    let path = folder.join(".lock");
    let file = File::create(&path).map_err(|e| Error::io("create", &path, e))?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(Error::file(
            folder,
            "another process is training in it; wait for its end or choose another --out",
        )),
        Err(TryLockError::Error(e)) if e.kind() != ErrorKind::Unsupported => {
            Err(Error::io("lock", &path, e))
        }
        _ => Ok(file),
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

impl State {
    fn new(config: &str, images: ImageKind, data_sha256: String) -> Self {
        Self {
            format: checkpoint::FORMAT,
            images,
            step: 0,
            theta_updates: 0,
            theta_optimizer_steps: 0,
            phi_optimizer_steps: 0,
            encoder_accuracy: None,
            balanced_at: None,
            gains: Vec::new(),
            config_sha256: checkpoint::sha256(config.as_bytes()),
            data_sha256,
            version: VERSION.to_owned(),
            sha256: BTreeMap::new(),
            own_sha256: String::new(),
        }
    }
}

/// A Ψ that is trained to tell classes apart needs some.
fn refuse_one_class(config: &Config, images: ImageKind) -> Result<()> {
    let trained = phases(config)
        .iter()
        .any(|span| span.phase == Phase::Encoder);
    if trained && images.classes < 2 {
        return Err(Error::invalid(
            "the number of classes",
            "be at least 2 to train Ψ as their classifier",
            format!(
                "{}; give each class a folder or labels, or leave Ψ untrained (phases.encoder = 0)",
                images.classes
            ),
        ));
    }
    Ok(())
}

/// The text of the configuration a run was started with, which must mean `config`. A key that did not
/// exist then has its default.
fn resumed(path: &Path, config: &Config) -> Result<String> {
    let text = fs::read_to_string(path).map_err(|e| Error::io("read", path, e))?;
    let there = Config::from_toml(&text, "the configuration")
        .map_err(|e| Error::file(path, e.to_string()))?;
    if there == *config {
        return Ok(text);
    }
    Err(Error::file(
        path,
        format!(
            "the run was started with another configuration ({}); a resumed run must keep it, choose another --out",
            differences(&there.to_toml(), &config.to_toml())
        ),
    ))
}

/// The keys in which two configurations differ, three of them at most, for a message.
fn differences(there: &str, here: &str) -> String {
    let (there, here) = (settings(there), settings(here));
    let differ: Vec<_> = there
        .iter()
        .filter(|(key, value)| here.get(*key) != Some(value))
        .chain(here.iter().filter(|(key, _)| !there.contains_key(*key)))
        .map(|(key, _)| {
            let of = |settings: &BTreeMap<String, String>| {
                settings
                    .get(key)
                    .map_or("not set".to_owned(), |value| format!("`{value}`"))
            };
            format!("{key}: {} there, {} here", of(&there), of(&here))
        })
        .collect();
    let (shown, rest) = differ.split_at(differ.len().min(3));
    let more = match rest.len() {
        0 => String::new(),
        n => format!("; {n} more"),
    };
    shown.join("; ") + &more
}

/// The values of a configuration's text by their full keys.
fn settings(text: &str) -> BTreeMap<String, String> {
    let mut section = String::new();
    let mut all = BTreeMap::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            section = format!("{name}.");
        } else if let Some((key, value)) = line.split_once('=') {
            all.insert(format!("{section}{}", key.trim()), value.trim().to_owned());
        }
    }
    all
}
