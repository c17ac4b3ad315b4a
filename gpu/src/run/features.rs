//! Ψ of a run as a fixed feature space, for measuring samples in.

use super::checkpoint;
use super::configuration;
use super::phases::{Phase, span};
use crate::config::Config;
use crate::data::ImageKind;
use crate::features::Encoder;
use crate::params::Params;
use crate::train::player::PHI;
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};
use std::path::Path;

/// The encoder of a run; nothing trains it any more.
#[derive(Debug)]
pub struct Features {
    encoder: Encoder,
    images: ImageKind,
    device: Device,
    step: usize,
    accuracy: Option<f64>,
    digest: String,
    moved: bool,
}

/// Images that go through the encoder together.
const BATCH: usize = 256;

/// The newest step at which Ψ is trained and not yet moved by adversarial rounds.
fn frozen(config: &Config, steps: &[usize]) -> Option<usize> {
    let trained = span(config, Phase::Encoder).map_or(0, |span| span.end);
    let moved = span(config, Phase::Adversarial).map_or(usize::MAX, |span| span.start);
    let steps = steps.iter().copied();
    steps.filter(|step| (trained..=moved).contains(step)).max()
}

impl Features {
    /// Opens Ψ of the run in `folder` as its own phase left it.
    ///
    /// Adversarial rounds move it (there it is φ), and a measure that moves with the model measures nothing: the newest checkpoint
    /// before them is taken, or where none is left the newest of all, which [`is_moved`](Self::is_moved) then says.
    ///
    /// # Errors
    /// No run or no checkpoint there; a run whose encoder was never trained (`structure.method = "none"`) or is still being trained.
    pub fn open(folder: &Path, device: &Device) -> Result<Self> {
        let config = configuration(folder)?;
        let root = folder.join("checkpoints");
        let steps = checkpoint::steps(&root)?;
        let step = frozen(&config, &steps)
            .or(steps.last().copied())
            .ok_or_else(|| Error::file(&root, "holds no checkpoint yet"))?;
        let (contents, state) =
            checkpoint::read(&root.join(checkpoint::folder_name(step)), device)?;
        if state.updates.get(PHI).is_none_or(|updates| *updates == 0)
            && state.encoder_accuracy.is_none()
        {
            return Err(Error::file(
                folder,
                "has an encoder that was never trained: its features measure nothing",
            ));
        }
        let images = state.images;
        let trained = span(&config, Phase::Encoder).map_or(0, |span| span.end);
        if step < trained {
            let what = format!(
                "has an encoder whose phase ends at step {trained}; its newest checkpoint is of step {step}"
            );
            return Err(Error::file(folder, what));
        }
        let moved = span(&config, Phase::Adversarial).is_some_and(|span| step > span.start);
        let network = config.encoder.network(images.channels, images.classes);
        let params = Params::new(device, DType::F32, config.seed);
        let encoder = Encoder::new(&network, params.frozen())?;
        params.load(contents.of(checkpoint::ENCODER))?;
        Ok(Self {
            encoder,
            images,
            device: device.clone(),
            step: state.step,
            accuracy: state.encoder_accuracy,
            digest: state
                .sha256
                .get(checkpoint::ENCODER)
                .map_or(String::new(), |digest| digest.chars().take(8).collect()),
            moved,
        })
    }

    /// Shape of its images and number of classes.
    pub fn images(&self) -> ImageKind {
        self.images
    }

    /// The first 8 digits of its file's SHA-256: equal for equal encoders.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// Its answers as a classifier from features `[N, d]` → `[N, C]`, logits.
    ///
    /// # Errors
    /// The device's.
    pub fn classify(&self, features: &Tensor) -> Result<Tensor> {
        self.encoder.classify(features)
    }

    /// Whether adversarial rounds have moved it since its own phase.
    pub fn is_moved(&self) -> bool {
        self.moved
    }

    /// Steps of the run the encoder comes from.
    pub fn step(&self) -> usize {
        self.step
    }

    /// Its accuracy as a classifier on held-out images, if it was measured.
    pub fn accuracy(&self) -> Option<f64> {
        self.accuracy
    }

    /// Ψ of images `[N, C, S, S]` → `[N, d]`, in batches.
    ///
    /// # Errors
    /// Images of another shape than the encoder was trained on.
    pub fn of(&self, images: &Tensor) -> Result<Tensor> {
        let want = self.images.shape();
        if images.rank() != 4 || images.dims()[1..] != want {
            let must = format!("[N, {}, {}, {}]", want[0], want[1], want[2]);
            return Err(Error::shape("images for the encoder", must, images.dims()));
        }
        let n = images.dim(0)?;
        let parts = (0..n)
            .step_by(BATCH)
            .map(|start| {
                let part = images.narrow(0, start, BATCH.min(n - start))?;
                let part = part.to_device(&self.device)?.to_dtype(DType::F32)?;
                self.encoder.features(&part)
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(Tensor::cat(&parts, 0)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn psi_is_taken_as_its_own_phase_left_it() {
        let config = Config::preset("digits").expect("a preset");
        let of = |phase| span(&config, phase).map(|s| (s.start, s.end));
        let (Some((_, trained)), Some((moved, last))) =
            (of(Phase::Encoder), of(Phase::Adversarial))
        else {
            panic!("the preset has both phases");
        };
        assert_eq!(
            frozen(&config, &[trained - 1, trained, moved, last]),
            Some(moved)
        );
        assert_eq!(frozen(&config, &[trained, moved + 1]), Some(trained));
        assert_eq!(frozen(&config, &[trained - 1, moved + 1, last]), None);
    }
}
