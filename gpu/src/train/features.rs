//! Ψ of a run as a fixed feature space, for measuring samples in.

use super::checkpoint;
use super::players::ImageKind;
use super::run::configuration;
use crate::network::Encoder;
use crate::params::Params;
use crate::{Error, Result};
use candle_core::{DType, Device, Tensor};
use std::path::Path;

/// The encoder of a run's newest checkpoint; nothing trains it any more.
#[derive(Debug)]
pub struct Features {
    encoder: Encoder,
    images: ImageKind,
    device: Device,
    step: usize,
    accuracy: Option<f64>,
}

/// Images that go through the encoder together.
const BATCH: usize = 256;

impl Features {
    /// Opens the newest checkpoint of the run in `folder`.
    ///
    /// # Errors
    /// No run or no checkpoint there; a run whose encoder was never trained (`structure.method = "none"`).
    pub fn open(folder: &Path, device: &Device) -> Result<Self> {
        let config = configuration(folder)?;
        let root = folder.join("checkpoints");
        let (contents, state) = checkpoint::read_newest(&root, device)?
            .ok_or_else(|| Error::file(&root, "holds no checkpoint yet"))?;
        if state.phi_optimizer_steps == 0 && state.encoder_accuracy.is_none() {
            return Err(Error::file(
                folder,
                "has an encoder that was never trained: its features measure nothing",
            ));
        }
        let images = state.images;
        let network = config.encoder.network(images.channels, images.classes);
        let params = Params::new(device, DType::F32, config.seed);
        let encoder = Encoder::new(&network, params.frozen())?;
        params.load(&contents.encoder)?;
        Ok(Self {
            encoder,
            images,
            device: device.clone(),
            step: state.step,
            accuracy: state.encoder_accuracy,
        })
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
