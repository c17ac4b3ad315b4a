//! The two players: θ (the denoiser) and φ (the encoder Ψ), with the views of them that a step needs.

use crate::config::{Config, ModelConfig};
use crate::data::Dataset;
use crate::features::{Encoder, EncoderConfig};
use crate::network::blocks::halves;
use crate::network::{self, Compute, Domain, MixedPrecision, Network};
use crate::params::{Builder, Params};
use crate::run::checkpoint::Tensors;
use crate::{Error, Result};
use candle_core::{DType, Device};
use serde::{Deserialize, Serialize};

/// Shape of the images and number of their classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageKind {
    /// C.
    pub channels: usize,
    /// H = W.
    pub size: usize,
    /// Number of classes.
    pub classes: usize,
}

impl ImageKind {
    /// Of a data set, whose images must be square.
    pub fn of(dataset: &Dataset) -> Result<Self> {
        let [channels, height, width] = dataset.shape;
        if height != width {
            let got = format!("{channels}×{height}×{width} (channels, height, width)");
            return Err(Error::invalid("images", "be square: crop or pad them", got));
        }
        Ok(Self {
            channels,
            size: height,
            classes: dataset.classes,
        })
    }

    /// [C, H, W].
    pub fn shape(self) -> [usize; 3] {
        [self.channels, self.size, self.size]
    }

    /// The label that stands for "no class": one past the classes.
    pub fn no_class(self) -> u32 {
        u32::try_from(self.classes).unwrap_or(u32::MAX)
    }
}

/// Networks on the parameters of θ and φ; the views share storage, so an update is seen by all.
pub struct Players {
    /// Parameters of the denoiser.
    pub theta: Params,
    /// Parameters of the encoder.
    pub phi: Params,
    /// The denoiser; gradients reach θ.
    pub denoiser: Box<dyn Network>,
    /// The denoiser; no gradient reaches θ.
    pub denoiser_frozen: Box<dyn Network>,
    /// Ψ; gradients reach φ.
    pub encoder: Encoder,
    /// Ψ; no gradient reaches φ.
    pub encoder_frozen: Encoder,
}

impl std::fmt::Debug for Players {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Players")
            .field("theta", &self.theta.len_elements())
            .field("phi", &self.phi.len_elements())
            .finish_non_exhaustive()
    }
}

/// Seeds of θ and φ differ, so that layers of the same name do not start alike.
const PHI_SEED: u64 = 0x5a5a_0f0f_3c3c_9696;

impl Players {
    /// Fresh parameters from `config.seed`.
    pub fn new(config: &Config, images: ImageKind, device: &Device) -> Result<Self> {
        let theta = Params::new(device, DType::F32, config.seed);
        let phi = Params::new(device, DType::F32, config.seed ^ PHI_SEED);
        Self::on(theta, phi, config, images)
    }

    /// Networks on given parameters, which are created where they do not exist.
    pub fn on(theta: Params, phi: Params, config: &Config, images: ImageKind) -> Result<Self> {
        let features = config.encoder.network(images.channels, images.classes);
        Self::of_networks(
            theta,
            phi,
            &config.model,
            &features,
            images,
            config.train.compute,
        )
    }

    fn of_networks(
        theta: Params,
        phi: Params,
        model: &ModelConfig,
        features: &EncoderConfig,
        images: ImageKind,
        compute: Compute,
    ) -> Result<Self> {
        let player = |at| {
            let inner = denoiser(model, images, at)?;
            Ok::<_, Error>(Box::new(MixedPrecision { inner, compute }) as Box<dyn Network>)
        };
        halves("encoder.widths", features.widths.len(), images.size)?;
        let encoder = |at| {
            let inner = Encoder::new(features, at).map_err(|e| e.naming("encoder."))?;
            Ok::<_, Error>(inner.computing_in(compute))
        };
        Ok(Self {
            denoiser: player(theta.builder())?,
            denoiser_frozen: player(theta.frozen())?,
            encoder: encoder(phi.builder())?,
            encoder_frozen: encoder(phi.frozen())?,
            theta,
            phi,
        })
    }

    /// Replaces the parameters by those of a checkpoint.
    pub fn load(&self, model: &Tensors, encoder: &Tensors) -> Result<()> {
        self.theta.load(model)?;
        self.phi.load(encoder)?;
        Ok(())
    }
}

/// The configured denoiser on `builder`'s parameters.
pub fn denoiser(
    model: &ModelConfig,
    images: ImageKind,
    builder: Builder,
) -> Result<Box<dyn Network>> {
    let (network, dimensions) = model.network()?;
    let domain = Domain {
        channels: images.channels,
        size: images.size,
        classes: Some(images.classes),
    };
    network::build(network.name, dimensions, domain, builder)
}
