//! Evaluation of a run's images, in features that no run was trained in.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use candle_core::Device;
use sadm_gpu::config::{Config, PhaseConfig};
use sadm_gpu::run::{Run, SampleRequest};
use sadm_reference::metrics::{Ball, frechet, kid, prdc};
use serde::{Deserialize, Serialize};

use super::Args;
use super::plan::Trial;
use super::trial::Trials;
use crate::feature_space::{Reality, encoder, rows};
use crate::files;
use crate::progress::say;

/// Seed of the evaluating encoder and of nothing else.
const EVALUATOR_SEED: u64 = 0x5ad0_e7a1;
/// Added to a run's seed for the noise its images are drawn from: the same for all arms.
const NOISE: u64 = 0x5ad0_0000_0000;
/// Neighbours of precision and recall (Kynkäänniemi et al. 2019), and of density and coverage (Naeem et al. 2020).
const NEIGHBOURS: [usize; 2] = [3, 5];

/// Settings of an evaluation besides the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Images drawn from each run.
    pub samples: usize,
    /// Real images compared with.
    pub real_images: usize,
    /// Training steps of the evaluating encoder.
    pub evaluator_steps: usize,
    /// Its accuracy on held-out images.
    pub evaluator_accuracy: Option<f64>,
    /// Neighbours of precision and recall.
    pub k_precision_recall: usize,
    /// Neighbours of density and coverage.
    pub k_density_coverage: usize,
}

/// The metrics of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Under what the numbers were made.
    pub settings: Settings,
    /// Steps of the run.
    pub steps: usize,
    /// Fréchet distance in the evaluator's features.
    pub fd_encoder: f64,
    /// Fréchet distance in pixels.
    pub fd_pixels: f64,
    /// Kernel distance in the evaluator's features.
    pub kid: f64,
    /// Share of generated images near real ones.
    pub precision: f64,
    /// Share of real images near generated ones.
    pub recall: f64,
    /// Mean number of real neighbourhoods that hold a generated image, over k.
    pub density: f64,
    /// Share of real neighbourhoods that hold a generated image.
    pub coverage: f64,
}

/// A metric: its name, whether less is better, and where it stands in an evaluation.
pub type Metric = (&'static str, bool, fn(&Evaluation) -> f64);

/// Every metric.
pub const METRICS: [Metric; 7] = [
    ("fd-encoder", true, |e| e.fd_encoder),
    ("fd-pixels", true, |e| e.fd_pixels),
    ("kid", true, |e| e.kid),
    ("precision", false, |e| e.precision),
    ("recall", false, |e| e.recall),
    ("density", false, |e| e.density),
    ("coverage", false, |e| e.coverage),
];

const FILE: &str = "evaluation.json";

impl Evaluation {
    /// The evaluation that lies in a run's folder, if it was made under these settings.
    ///
    /// # Errors
    /// A file that is not an evaluation.
    pub fn read(folder: &Path, settings: &Settings) -> Result<Option<Self>> {
        let path = folder.join(FILE);
        if !path.exists() {
            return Ok(None);
        }
        let found: Self = serde_json::from_slice(&files::read(&path)?).with_context(|| {
            format!(
                "`{}` is not an evaluation; delete it to make it again",
                path.display()
            )
        })?;
        Ok((found.settings == *settings).then_some(found))
    }
}

/// The evaluating encoder and the real images in its features.
pub struct Evaluator {
    reality: Reality,
    settings: Settings,
    device: Device,
}

impl Evaluator {
    /// Trains the encoder, or takes it from the folder; nothing if that was interrupted.
    ///
    /// # Errors
    /// The training's; data that cannot be read.
    pub fn new(
        args: &Args,
        base: &Config,
        trials: &Trials<'_>,
        device: &Device,
    ) -> Result<Option<Self>> {
        let steps = args.evaluator_steps.get();
        let folder = args.out.join(format!("evaluator-{steps}"));
        let mut config = base.clone();
        config.seed = EVALUATOR_SEED;
        // A run has a denoiser: this one's takes a single step and is never asked again.
        config.train.steps = steps + 1;
        config.phases = PhaseConfig {
            encoder: steps as f64,
            denoise: 1.0,
            guided: 0.0,
            adversarial: 0.0,
        };
        config.sample.count = 1;
        say("the encoder that evaluates: its own seed, its own training");
        if !trials.finish(&config, &folder, &[])? {
            return Ok(None);
        }
        let space = encoder(&folder, device)?;
        let accuracy = space.accuracy();
        let most = args.reference_count.get();
        let reality = Reality::new(base, Some(space), None, most, device)?;
        Ok(Some(Self {
            settings: Settings {
                samples: args.samples.get(),
                real_images: reality.len(),
                evaluator_steps: steps,
                evaluator_accuracy: accuracy,
                k_precision_recall: NEIGHBOURS[0],
                k_density_coverage: NEIGHBOURS[1],
            },
            reality,
            device: device.clone(),
        }))
    }

    /// Settings common to all evaluations.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Draws the images of a run and measures them; the numbers are left in its folder.
    ///
    /// # Errors
    /// A run without a checkpoint; too few images for a metric.
    pub fn evaluate(&self, folder: &Path, trial: &Trial) -> Result<Evaluation> {
        let run = Run::open(folder, &self.device)?;
        let count = self.settings.samples;
        let request = SampleRequest {
            labels: run.conditions().in_order(count),
            seed: trial.config.seed.wrapping_add(NOISE),
            ..SampleRequest::from_config(run.config())
        };
        let images = run.sample(&request)?;
        let pixels = rows(&images)?;
        let ours = self.reality.features_of(&images)?;
        let (ours, real) = ours
            .as_ref()
            .zip(self.reality.features.as_ref())
            .context("an evaluator has an encoder")?;
        let (ours, real) = (ours.view(), real.view());
        let near = prdc(real, ours, NEIGHBOURS[0], Ball::Closed)?;
        let dense = prdc(real, ours, NEIGHBOURS[1], Ball::Open)?;
        let evaluation = Evaluation {
            settings: self.settings.clone(),
            steps: run.step(),
            fd_encoder: frechet(ours, real)?.distance(),
            fd_pixels: frechet(pixels.view(), self.reality.pixels.view())?.distance(),
            kid: kid(ours, real)?,
            precision: near.precision,
            recall: near.recall,
            density: dense.density,
            coverage: dense.coverage,
        };
        let text = serde_json::to_string_pretty(&evaluation)? + "\n";
        files::write_atomically(
            &folder.join(FILE),
            |out| Ok(out.write_all(text.as_bytes())?),
        )?;
        say(&format!(
            "{}, seed {}: fd-encoder {:.3}, fd-pixels {:.3}",
            trial.name, trial.config.seed, evaluation.fd_encoder, evaluation.fd_pixels
        ));
        Ok(evaluation)
    }
}
