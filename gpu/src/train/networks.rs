//! The networks of a run, with the views of them that an update needs.

use super::pass::{Moves, View};
use crate::config::Config;
use crate::data::ImageKind;
use crate::features::{Encoder, EncoderConfig};
use crate::network::blocks::halves;
use crate::network::{self, Domain, MixedPrecision, Network};
use crate::params::{Builder, Params};
use crate::{Error, Result};
use candle_core::Device;

/// Networks on the parameters of θ and φ; the views share storage, so an update is seen by all.
pub struct Networks {
    /// θ, the parameters of the denoiser.
    pub theta_params: Params,
    /// φ, the parameters of the encoder.
    pub phi_params: Params,
    /// The denoiser; gradients reach θ.
    pub denoiser: Box<dyn Network>,
    /// The denoiser; no gradient reaches θ.
    pub denoiser_frozen: Box<dyn Network>,
    /// Ψ; gradients reach φ.
    pub encoder: Encoder,
    /// Ψ; no gradient reaches φ.
    pub encoder_frozen: Encoder,
}

impl std::fmt::Debug for Networks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Networks")
            .field("theta", &self.theta_params.len_elements())
            .field("phi", &self.phi_params.len_elements())
            .finish_non_exhaustive()
    }
}

/// Seeds of θ and φ differ, so that layers of the same name do not start alike.
const PHI_SEED: u64 = 0x5a5a_0f0f_3c3c_9696;

impl Networks {
    /// Fresh parameters from `config.seed`.
    pub fn new(config: &Config, images: ImageKind, device: &Device) -> Result<Self> {
        let kept = config.train.compute.kept();
        let theta = Params::new(device, kept, config.seed);
        let phi = Params::new(device, kept, config.seed ^ PHI_SEED);
        Self::on(theta, phi, config, images)
    }

    /// Networks on given parameters, which are created where they do not exist.
    pub fn on(theta: Params, phi: Params, config: &Config, images: ImageKind) -> Result<Self> {
        let features = config.encoder.network(images.channels, images.classes);
        Self::of_networks(theta, phi, config, &features, images)
    }

    fn of_networks(
        theta: Params,
        phi: Params,
        config: &Config,
        features: &EncoderConfig,
        images: ImageKind,
    ) -> Result<Self> {
        let (compute, recompute) = (config.train.compute, config.train.recompute);
        let player = |at: Builder| {
            let inner = denoiser(config, images, at.recomputing(recompute))?;
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
            theta_params: theta,
            phi_params: phi,
        })
    }

    /// The networks as an update of θ sees them.
    pub fn theta(&self) -> View<'_> {
        View {
            denoiser: self.denoiser.as_ref(),
            encoder: Some(&self.encoder_frozen),
            moves: Moves::Denoiser,
        }
    }

    /// The networks as an update of φ sees them.
    pub fn phi(&self) -> View<'_> {
        View {
            denoiser: self.denoiser_frozen.as_ref(),
            encoder: Some(&self.encoder),
            moves: Moves::Encoder,
        }
    }

    /// The networks as they are, with no graph.
    pub fn frozen(&self) -> View<'_> {
        View {
            denoiser: self.denoiser_frozen.as_ref(),
            encoder: Some(&self.encoder_frozen),
            moves: Moves::Nobody,
        }
    }
}

/// The configured denoiser on `builder`'s parameters.
pub fn denoiser(config: &Config, images: ImageKind, builder: Builder) -> Result<Box<dyn Network>> {
    let (network, dimensions) = config.model.network()?;
    let domain = Domain {
        channels: images.channels,
        size: images.size,
        classes: Some(images.classes),
        augment: config.data.augment_labels(),
    };
    network::build(network.name, dimensions, domain, builder)
}
