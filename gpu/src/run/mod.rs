//! A finished or unfinished run, opened to draw samples and to look at its networks.

mod branch;
pub(crate) mod changes;
pub mod checkpoint;
mod features;
pub mod history;
pub mod phases;

pub use branch::{branch, common_steps};
pub use features::Features;

use crate::config::{Config, DatasetKind};
use crate::data::{Classes, Dataset, ImageKind};
use crate::features::Encoder;
use crate::likelihood::{Trace, probability_flow, terminal_log_density};
use crate::network::{Mode, Network};
use crate::objective::Objective;
use crate::params::Params;
use crate::random::Streams;
use crate::sampler::{GuidedChannels, Respacing, SamplerOptions, sample_along as draw};
use crate::train::batches::{HoldOut, dataset, split};
use crate::train::conditions::Conditions;
use crate::train::networks;
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};
use checkpoint::{Contents, State, refuse_other_images};
use rand::Rng;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// Options of sampling.
#[derive(Debug, Clone, PartialEq)]
pub struct SampleRequest {
    /// Class of every image; `None` draws without a class.
    pub labels: Vec<Option<u32>>,
    /// Classifier-free guidance g in x̂_u + g (x̂_c − x̂_u): 1 is conditional, 0 unconditional.
    pub guidance: f64,
    /// Channels that it moves.
    pub guided_channels: GuidedChannels,
    /// Sampler, number of steps, range of noise levels, churn.
    pub options: SamplerOptions,
    /// The published steps of the sampler, in place of its walk through noise levels.
    pub respacing: Option<Respacing>,
    /// Seed of the noise.
    pub seed: u64,
}

impl SampleRequest {
    /// The configured sampler, for no image yet.
    pub fn from_config(config: &Config) -> Self {
        let s = &config.sample;
        Self {
            labels: Vec::new(),
            guidance: s.guidance,
            guided_channels: s.guided_channels,
            options: SamplerOptions {
                kind: s.sampler,
                steps: s.steps,
                sigma_min: s.sigma_min,
                sigma_max: s.sigma_max,
                rho: s.rho,
                ..SamplerOptions::default()
            },
            respacing: (!s.respacing.is_empty()).then(|| Respacing {
                steps: s.respacing.clone(),
                eta: s.eta,
                clip: s.clip,
            }),
            seed: config.seed,
        }
    }
}

/// A run's configuration, and the averaged denoiser and the encoder of one of its checkpoints.
pub struct Run {
    config: Config,
    step: usize,
    images: ImageKind,
    device: Device,
    dtype: DType,
    denoiser: Box<dyn Network>,
    encoder: Encoder,
    data_sha256: String,
    law: HoldOut,
    conditions: Conditions,
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run")
            .field("step", &self.step)
            .field("images", &self.images)
            .finish_non_exhaustive()
    }
}

/// The configuration of the run in `folder`.
pub(crate) fn configuration(folder: &Path) -> Result<Config> {
    let path = folder.join("config.toml");
    let text = fs::read_to_string(&path).map_err(|e| match e.kind() {
        ErrorKind::NotFound => {
            Error::file(folder, "is no run's folder: there is no config.toml in it")
        }
        _ => Error::io("read", &path, e),
    })?;
    let mut config = Config::of_run(&text, "the configuration")
        .map_err(|e| Error::file(&path, e.to_string()))?;
    if let Some(dir) = found_above(folder, &config.data.dir) {
        config.data.dir = dir;
    }
    Ok(config)
}

/// Where a relative `data.dir`, as earlier versions kept it, leads from the folder of the run or from one above it: from the one
/// that the run was started in, most often. None where it leads somewhere from here.
fn found_above(folder: &Path, dir: &str) -> Option<String> {
    let dir = Path::new(dir);
    if dir.as_os_str().is_empty() || dir.is_absolute() || dir.exists() {
        return None;
    }
    let folder = std::path::absolute(folder).ok()?;
    let mut places = folder.ancestors().map(|above| above.join(dir));
    let found = places.find(|place| place.exists())?;
    found.to_str().map(str::to_owned)
}

/// Refuses a configuration that was changed after the checkpoint was written, other than as the run's history tells.
pub(crate) fn trained_with(folder: &Path, config: &Config, state: &State) -> Result<()> {
    let path = folder.join("config.toml");
    let text = fs::read(&path).map_err(|e| Error::io("read", &path, e))?;
    // Remarks and another order are no other configuration.
    let own = [&text[..], config.to_toml().as_bytes()].map(checkpoint::sha256);
    if own.contains(&state.config_sha256) {
        return Ok(());
    }
    let known = history::configurations(folder)?;
    if known.contains(&state.config_sha256) && own.iter().any(|own| known.contains(own)) {
        return Ok(());
    }
    let problem = format!(
        "is not the configuration that the checkpoint of step {} was trained with: SHA-256 {} expected, {} found; put that one back",
        state.step, state.config_sha256, own[0]
    );
    Err(Error::file(path, problem))
}

impl Run {
    /// Opens the newest checkpoint of the run in `folder`.
    pub fn open(folder: &Path, device: &Device) -> Result<Self> {
        Self::open_as(folder, device, DType::F32)
    }

    /// As [`Run::open`], computing in `dtype`: in f64 a sampler's error is not hidden by rounding.
    pub fn open_as(folder: &Path, device: &Device, dtype: DType) -> Result<Self> {
        let config = configuration(folder)?;
        let root = folder.join("checkpoints");
        let checkpoint = checkpoint::read_newest(&root, device)?
            .ok_or_else(|| Error::file(&root, "holds no checkpoint yet"))?;
        Self::of(folder, config, checkpoint, device, dtype)
    }

    /// Opens the checkpoint of the run in `folder` after `step` steps.
    pub fn open_at(folder: &Path, step: usize, device: &Device) -> Result<Self> {
        let config = configuration(folder)?;
        let root = folder.join("checkpoints");
        let steps = checkpoint::steps(&root)?;
        if !steps.contains(&step) {
            let there: Vec<_> = steps.iter().map(ToString::to_string).collect();
            let there = if there.is_empty() {
                "none".to_owned()
            } else {
                there.join(", ")
            };
            let problem = format!("holds no checkpoint of step {step}; those of steps: {there}");
            return Err(Error::file(&root, problem));
        }
        let checkpoint = checkpoint::read(&root.join(checkpoint::folder_name(step)), device)?;
        Self::of(folder, config, checkpoint, device, DType::F32)
    }

    fn of(
        folder: &Path,
        config: Config,
        (contents, state): (Contents, State),
        device: &Device,
        dtype: DType,
    ) -> Result<Self> {
        trained_with(folder, &config, &state)?;
        let images = state.images;
        let features = config.encoder.network(images.channels, images.classes);
        let phi = Params::new(device, dtype, config.seed);
        let encoder = Encoder::new(&features, phi.frozen())?;
        phi.load(contents.of(checkpoint::ENCODER))?;
        let params = Params::new(device, dtype, config.seed);
        let denoiser = networks::denoiser(&config, images, params.frozen())?;
        params.load(contents.of(checkpoint::AVERAGE))?;
        let law = HoldOut::of(Some(&state));
        let classes = match state.classes {
            Some(classes) if classes.count() == images.classes => classes,
            Some(classes) => {
                let must = format!("be {}, as many as the network has", images.classes);
                return Err(Error::invalid(
                    "the checkpoint's classes",
                    must,
                    classes.count(),
                ));
            }
            None => unstated(images.classes, config.data.dataset),
        };
        Ok(Self {
            conditions: Conditions::new(classes, config.objective.label_dropout),
            law,
            step: state.step,
            config,
            images,
            dtype,
            device: device.clone(),
            denoiser,
            encoder,
            data_sha256: state.data_sha256,
        })
    }

    /// The run's configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The images it was trained on, and those that were kept out.
    ///
    /// # Errors
    /// Images that cannot be read, or that are others than when it was trained.
    pub fn parts(&self) -> Result<(Dataset, Dataset)> {
        let all = dataset(&self.config)?;
        refuse_other_images(&self.data_sha256, &all.name, &all.sha256())?;
        split(
            &all,
            self.config.data.holdout,
            Streams::new(self.config.seed),
            self.law,
        )
    }

    /// The conditions that the denoiser was trained with.
    pub fn conditions(&self) -> &Conditions {
        &self.conditions
    }

    /// As [`Run::conditions`] with the numbers of images counted where the checkpoint, one of an older version, does not have them.
    ///
    /// # Errors
    /// As [`Run::parts`].
    pub fn counted_conditions(&self) -> Result<Conditions> {
        if self.law == HoldOut::ByClass {
            return Ok(self.conditions.clone());
        }
        let (training, held_out) = self.parts()?;
        let classes = Classes::of(&training, &held_out);
        Ok(Conditions::new(
            classes,
            self.config.objective.label_dropout,
        ))
    }

    /// Steps the opened checkpoint has behind it.
    pub fn step(&self) -> usize {
        self.step
    }

    /// Shape of the images and number of classes.
    pub fn images(&self) -> ImageKind {
        self.images
    }

    /// Ψ, as the checkpoint has it; no gradient reaches its parameters.
    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// x̂ of noised images: `x_t: [N, C, S, S]`, t and class of each → `[N, C, S, S]`.
    pub fn denoised(&self, x_t: &Tensor, t: &[f64], labels: &[u32]) -> Result<Tensor> {
        let objective = self.config.objective();
        let answer =
            objective.denoise(self.denoiser.as_ref(), x_t, t, Some(labels), Mode::Evaluate)?;
        Ok(answer.x_hat)
    }

    /// Labels with "no class" in place of classes that were never learnt.
    pub fn known(&self, labels: &[u32]) -> Vec<u32> {
        let null = self.images.no_class();
        labels
            .iter()
            .map(|label| self.conditions.or_none(*label).unwrap_or(null))
            .collect()
    }

    /// ln p of images `[N, C, S, S]` given their classes, by the probability flow between the schedule's (or EDM's) ends.
    ///
    /// # Errors
    /// As [`probability_flow`], and a class that the run does not know.
    pub fn log_likelihood(
        &self,
        images: &Tensor,
        labels: &[u32],
        steps: usize,
        trace: &Trace,
    ) -> Result<Vec<f64>> {
        let null = self.images.no_class();
        let asked: Vec<Option<u32>> = (labels.iter())
            .map(|l| (*l != null).then_some(*l))
            .collect();
        self.conditions.check(&asked, 1.0)?;
        let objective = self.config.objective();
        let sample = &self.config.sample;
        let (lowest, highest) = objective.schedule.sigma_ratio_range();
        let levels = [sample.sigma_min.max(lowest), sample.sigma_max.min(highest)];
        let denoise = |x_t: &Tensor, t: f64| self.denoised(x_t, &vec![t; labels.len()], labels);
        let flow = probability_flow(&denoise, objective.schedule, images, levels, steps, trace)?;
        let terminal = terminal_log_density(&flow.z, levels[1])?;
        let changes = flow.log_density_change.iter();
        Ok(changes
            .zip(terminal)
            .map(|(change, end)| change + end)
            .collect())
    }

    /// Images `[N, C, S, S]`, about in [−1, 1], one for each label of the request.
    pub fn sample(&self, request: &SampleRequest) -> Result<Tensor> {
        self.sample_along(request, &mut |_| Ok(()))
    }

    /// As [`Run::sample`]; `visit` sees every batch at every level, from the noise to the images.
    ///
    /// # Errors
    /// As [`Run::sample`], and those of `visit`.
    pub fn sample_along(
        &self,
        request: &SampleRequest,
        visit: &mut dyn FnMut(Along<'_>) -> Result<()>,
    ) -> Result<Tensor> {
        self.conditions.check(&request.labels, request.guidance)?;
        sample_along(
            self.denoiser.as_ref(),
            &self.config.objective(),
            self.images,
            (&self.device, self.dtype),
            request,
            visit,
        )
    }
}

/// The classes of a checkpoint that does not state them, each with images as far as is known.
fn unstated(count: usize, dataset: DatasetKind) -> Classes {
    Classes {
        names: match dataset {
            DatasetKind::Cifar10 => Dataset::cifar10_classes().map(str::to_owned).to_vec(),
            _ => Vec::new(),
        },
        training: vec![1; count],
        held_out: vec![0; count],
    }
}

/// A point on the way of a batch from noise to images.
#[derive(Debug, Clone, Copy)]
pub struct Along<'a> {
    /// Number of the batch's first image.
    pub first: usize,
    /// Noise level σ' = σ_t/α_t.
    pub level: f64,
    /// z = x_t/α_t `[B, C, S, S]`.
    pub z: &'a Tensor,
}

/// Images drawn together: bounds the memory of a large request.
const BATCH: usize = 128;

/// Draws a request from a denoiser, in batches. Under a deterministic sampler image k depends on the seed, its
/// class and k alone, not on how many are drawn with it.
pub(crate) fn sample(
    denoiser: &dyn Network,
    objective: &Objective,
    images: ImageKind,
    device: &Device,
    request: &SampleRequest,
) -> Result<Tensor> {
    let place = (device, DType::F32);
    sample_along(denoiser, objective, images, place, request, &mut |_| Ok(()))
}

/// As [`sample`], in the given element type; `visit` sees every batch at every level.
fn sample_along(
    denoiser: &dyn Network,
    objective: &Objective,
    images: ImageKind,
    (device, dtype): (&Device, DType),
    request: &SampleRequest,
    visit: &mut dyn FnMut(Along<'_>) -> Result<()>,
) -> Result<Tensor> {
    let null = images.no_class();
    if let Some(bad) = request.labels.iter().flatten().find(|&&l| l >= null) {
        return Err(Error::invalid("a class", format!("be below {null}"), bad));
    }
    if request.labels.is_empty() {
        return Err(Error::invalid("the number of samples", "be at least 1", 0));
    }
    let respaced = (request.respacing.as_ref())
        .map(|respacing| respacing.of(objective, request.options.kind))
        .transpose()?;
    let streams = Streams::new(request.seed);
    let mut parts = Vec::new();
    for (number, labels) in request.labels.chunks(BATCH).enumerate() {
        let shape = images.shape();
        let first = number * BATCH;
        let noise = (first..first + labels.len())
            .map(|k| streams.normal_tensor("sample", k as u64, &shape, device, dtype))
            .collect::<Result<Vec<_>>>()?;
        let noise = Tensor::stack(&noise, 0)?;
        let conditional: Vec<u32> = labels.iter().map(|l| l.unwrap_or(null)).collect();
        let unconditional = vec![null; labels.len()];
        let predict = |x: &Tensor, t: f64, labels: &[u32]| {
            let times = vec![t; labels.len()];
            objective.denoise(denoiser, x, &times, Some(labels), Mode::Evaluate)
        };
        let g = request.guidance;
        let guided = |ask: &dyn Fn(&[u32]) -> Result<Tensor>| {
            // g is 0 or 1 exactly when one of the two answers has no part in the sum.
            if g.to_bits() == 1f64.to_bits() {
                return ask(&conditional);
            }
            let free = ask(&unconditional)?;
            if g.to_bits() == 0f64.to_bits() {
                return Ok(free);
            }
            let with = ask(&conditional)?;
            request
                .guided_channels
                .moved(&free, &with, g, images.channels)
        };
        // Samplers that draw noise need another stream for every batch, and one that no neighbouring seed has.
        let fresh = Streams::new(streams.rng("sampler", number as u64).next_u64());
        let mut visit = |level, z: &Tensor| visit(Along { first, level, z });
        parts.push(match &respaced {
            None => {
                let denoise =
                    |x: &Tensor, t: f64| guided(&|labels| Ok(predict(x, t, labels)?.x_hat));
                let (schedule, options) = (objective.schedule, &request.options);
                draw(&denoise, schedule, options, &noise, fresh, &mut visit)?
            }
            Some(respaced) => {
                let learnt = respaced.learns_variance();
                let network =
                    |x: &Tensor, t: f64| guided(&|labels| predict(x, t, labels)?.channels(learnt));
                respaced.sample(&network, &noise, fresh, &mut visit)?
            }
        });
    }
    Ok(Tensor::cat(&parts, 0)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Earlier versions kept a relative path as it was typed.
    #[test]
    fn a_relative_path_leads_from_where_the_run_was_started() {
        let project = tempfile::tempdir().expect("a temporary folder");
        let project = project.path();
        let run = project.join("runs/old");
        for folder in [&run, &project.join("some/pictures")] {
            fs::create_dir_all(folder).expect("a folder");
        }
        let dir = |typed: &str| {
            let sets = ["data.dataset=images", typed];
            let config = Config::default().with_sets(sets).expect("known keys");
            fs::write(run.join("config.toml"), config.to_toml()).expect("writable");
            configuration(&run).expect("a configuration").data.dir
        };
        let found = project.join("some/pictures").display().to_string();
        assert_eq!(dir("data.dir=some/pictures"), found);
        for elsewhere in ["other/pictures", "/some/pictures"] {
            assert_eq!(dir(&format!("data.dir={elsewhere}")), elsewhere);
        }
    }
}
