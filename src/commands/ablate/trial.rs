//! Training one run, from the latest point that another run has already come to.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};
use candle_core::{Device, Tensor};
use sadm_crosscheck::{Shadow, ShadowOptions};
use sadm_gpu::config::Config;
use sadm_gpu::run::phases::{Phase, phases};
use sadm_gpu::run::{branch, checkpoint, common_steps};
use sadm_gpu::train::{Hooks, StepReport, Trainer};
use serde_json::Value;

use super::plan::{Plan, Trial};
use crate::interrupt::Interrupt;
use crate::progress::{Progress, say};
use crate::recorder::Recorder;
use crate::tensorboard::Events;

/// The runs of an ablation in their folder.
pub struct Trials<'a> {
    folder: PathBuf,
    plan: &'a Plan,
    device: Device,
    interrupt: Interrupt,
}

impl<'a> Trials<'a> {
    /// In `folder`, until the person wants to stop.
    pub fn new(folder: &Path, plan: &'a Plan, device: &Device, interrupt: Interrupt) -> Self {
        Self {
            folder: folder.to_owned(),
            plan,
            device: device.clone(),
            interrupt,
        }
    }

    /// Where a run lies.
    pub fn folder(&self, trial: &Trial) -> PathBuf {
        let seed = format!("seed-{}", trial.config.seed);
        self.folder.join("runs").join(&trial.slug).join(seed)
    }

    /// Trains a run to its end; false if it was interrupted, and saved.
    ///
    /// # Errors
    /// The training's own; a folder with a run of another configuration.
    pub fn train(&self, trial: &Trial) -> Result<bool> {
        let folder = self.folder(trial);
        if !folder.join("config.toml").exists()
            && let Some((parent, step)) = self.ancestor(trial)?
        {
            say(&format!(
                "the first {step} steps are those of {}",
                parent.display()
            ));
            branch(&parent, step, &trial.config, &folder)?;
        }
        self.finish(&trial.config, &folder, &self.milestones(trial))
    }

    /// Trains `config` in `folder` to its end, with a checkpoint at each of `milestones`.
    ///
    /// # Errors
    /// As [`Trials::train`].
    pub fn finish(&self, config: &Config, folder: &Path, milestones: &[usize]) -> Result<bool> {
        let shadow = (config.shadow.every > 0).then(|| {
            let options = ShadowOptions {
                folder: Some(folder.to_owned()),
            };
            Box::new(Shadow::new(options)) as Box<_>
        });
        let steps = config.train.steps;
        let open = || Trainer::new(config.clone(), folder, &self.device, shadow, true);
        let way_on = super::way_on(&self.folder);
        let words = format!("stopped and saved; {way_on}");
        let mut trainer = (self.interrupt.leaving_during(words, open))
            .context("an ablation keeps the configurations of its runs; choose another --out")?;
        let mut recorder = Recorder {
            progress: Progress::new(steps, trainer.step()),
            events: (config.train.tensorboard)
                .then(|| Events::new(folder, trainer.step(), config.to_toml())),
            interrupt: self.interrupt.clone(),
            parting: [
                "stopped and saved at step ".to_owned(),
                format!(" of {}; {way_on}", folder.display()),
            ],
        };
        while !trainer.finished() {
            if self.interrupt.requested.load(Ordering::SeqCst) {
                recorder.progress.close();
                return Ok(false);
            }
            let next = milestones.iter().copied().find(|&m| m > trainer.step());
            let stop = AtomicBool::new(false);
            let mut hooks = Watched {
                recorder: &mut recorder,
                pause: next.unwrap_or(steps),
                stop: &stop,
                interrupt: &self.interrupt.requested,
            };
            trainer.run(&mut hooks, &stop)?;
        }
        recorder.progress.close();
        Ok(true)
    }

    /// Steps at which runs of this seed part, or may part from runs that are added later.
    fn milestones(&self, trial: &Trial) -> Vec<usize> {
        let alike = self.plan.trials().iter();
        let mut steps: Vec<usize> = alike
            .filter(|other| other.config.seed == trial.config.seed)
            .flat_map(|other| phases(&other.config))
            .filter(|span| span.phase != Phase::Encoder)
            .map(|span| span.end)
            .filter(|&end| end < trial.config.train.steps)
            .collect();
        // The full plan's phases, whichever arms are trained: a later call may add them.
        steps.extend(phases(self.plan.base_config()).iter().map(|span| span.end));
        steps.sort_unstable();
        steps.dedup();
        steps
    }

    /// The run of the same seed that trains the same for longest, and its last checkpoint within that.
    fn ancestor(&self, trial: &Trial) -> Result<Option<(PathBuf, usize)>> {
        let mut best: Option<(PathBuf, usize)> = None;
        for other in self.plan.trials() {
            if other.config.seed != trial.config.seed {
                continue;
            }
            let common = common_steps(&other.config, &trial.config);
            let folder = self.folder(other);
            if common == 0 || !folder.join("config.toml").exists() {
                continue;
            }
            let steps = checkpoint::steps(&folder.join("checkpoints"))?;
            let last = steps.into_iter().rfind(|&step| step <= common);
            if let Some(step) = last
                && best.as_ref().is_none_or(|(_, most)| step > *most)
            {
                best = Some((folder, step));
            }
        }
        Ok(best)
    }
}

/// Everything that a run leaves; a pause at a milestone, and at once when asked.
struct Watched<'a> {
    recorder: &'a mut Recorder,
    pause: usize,
    stop: &'a AtomicBool,
    interrupt: &'a AtomicBool,
}

impl Hooks for Watched<'_> {
    fn phase(&mut self, phase: Phase, start: usize, end: usize) {
        self.recorder.phase(phase, start, end);
    }

    fn step(&mut self, report: &StepReport) {
        self.recorder.step(report);
        if report.step == self.pause || self.interrupt.load(Ordering::SeqCst) {
            self.stop.store(true, Ordering::SeqCst);
        }
    }

    fn metrics(&mut self, line: &Value) -> sadm_gpu::Result<()> {
        self.recorder.metrics(line)
    }

    fn samples(&mut self, folder: &Path, step: usize, images: &Tensor) -> sadm_gpu::Result<()> {
        self.recorder.samples(folder, step, images)
    }

    fn all_is_saved(&mut self, step: Option<usize>) {
        self.recorder.all_is_saved(step);
    }

    fn note(&mut self, line: &str) {
        self.recorder.note(line);
    }
}
