//! Networks between images and latents, by name.

mod kl;
mod layers;
mod tiny;
mod weights;

use candle_core::Tensor;
use toml::Table;

pub use kl::KlConfig;
pub use tiny::TinyConfig;
pub use weights::{Given, weights};

use super::architecture::configured;
use crate::params::Builder;
use crate::{Error, Result};

/// An autoencoder by name.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    /// The name in configurations.
    pub name: &'static str,
    /// Small dimensions that reach every branch between them, as TOML: what the cross-check builds on both sides.
    pub small: &'static [&'static str],
    /// Whole configurations with names of their own, as TOML.
    pub sizes: &'static [(&'static str, &'static str)],
    published: fn(&Table) -> Result<Box<dyn Autoencoder>>,
}

/// Every autoencoder.
pub const AUTOENCODERS: &[Family] = &[
    Family {
        name: "autoencoder-kl",
        small: &[
            "in_channels = 1
out_channels = 2
latent_channels = 2
block_out_channels = [4, 6]
layers_per_block = 1
norm_num_groups = 2",
            "in_channels = 1
out_channels = 1
latent_channels = 3
block_out_channels = [4]
layers_per_block = 1
norm_num_groups = 2
mid_block_add_attention = false
use_quant_conv = false
use_post_quant_conv = false",
        ],
        sizes: &[("sd-vae", "")],
        published: |config| Ok(Box::new(configured::<KlConfig>(config)?.checked()?)),
    },
    Family {
        name: "autoencoder-tiny",
        small: &[
            "in_channels = 1
out_channels = 2
latent_channels = 2
encoder_block_out_channels = [4, 4]
decoder_block_out_channels = [4, 4]
num_encoder_blocks = [1, 1]
num_decoder_blocks = [1, 1]",
            "in_channels = 1
out_channels = 1
latent_channels = 3
encoder_block_out_channels = [4, 4]
decoder_block_out_channels = [3, 3]
num_encoder_blocks = [0, 1]
num_decoder_blocks = [2, 0]
use_midblock_gn = true",
        ],
        sizes: &[
            ("taesd", ""),
            ("taef2", "latent_channels = 32\nuse_midblock_gn = true"),
        ],
        published: |config| Ok(Box::new(configured::<TinyConfig>(config)?.checked()?)),
    },
];

/// The autoencoders of this name.
///
/// # Errors
/// [`Error::UnknownName`] with the known ones.
pub fn family(name: &str) -> Result<&'static Family> {
    let found = AUTOENCODERS.iter().find(|known| known.name == name);
    found.ok_or_else(|| {
        let known: Vec<&str> = AUTOENCODERS.iter().map(|known| known.name).collect();
        Error::unknown_name("autoencoder", name, &known)
    })
}

/// The autoencoder `name` of a configuration, whose keys are those of the publication.
///
/// # Errors
/// [`Error::UnknownName`]; [`Error::Invalid`] for what cannot be built.
pub fn autoencoder(name: &str, config: &Table) -> Result<Box<dyn Autoencoder>> {
    (family(name)?.published)(config)
}

/// Sizes of images and latents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sides {
    /// Channels of the images that are encoded.
    pub image: usize,
    /// Channels of those that are decoded.
    pub decoded: usize,
    /// Channels of a latent.
    pub latent: usize,
    /// Channels of moments.
    pub moments: usize,
    /// How many times an image is wider than its moments.
    pub down: usize,
    /// How many times a decoded image is wider than its latent.
    pub up: usize,
}

/// The law of an image's latent: normal, each number by itself.
#[derive(Debug, Clone)]
pub struct Latent {
    /// Means, `[B, L, h, w]`.
    pub mean: Tensor,
    /// Standard deviations, of the same shape; 0 of an autoencoder whose latents are not drawn.
    pub std: Tensor,
}

/// One of the two networks of an autoencoder.
pub trait Half: Send + Sync {
    /// Moments of images, or images of latents.
    ///
    /// # Errors
    /// Shapes that do not fit.
    fn forward(&self, x: &Tensor) -> Result<Tensor>;
}

/// The configuration of two networks: one from images to the moments of their latents, one from latents to images.
pub trait Autoencoder: Send + Sync {
    /// Its sizes.
    fn sides(&self) -> Sides;

    /// What a latent is multiplied by for a diffusion model, and what is taken from it before.
    fn scaling(&self) -> [f64; 2];

    /// The encoder, on the builder's parameters.
    ///
    /// # Errors
    /// Parameters of other shapes.
    fn encoder(&self, at: &Builder) -> Result<Box<dyn Half>>;

    /// The decoder, on the builder's parameters.
    ///
    /// # Errors
    /// Parameters of other shapes.
    fn decoder(&self, at: &Builder) -> Result<Box<dyn Half>>;

    /// The law that moments say.
    ///
    /// # Errors
    /// Moments of another autoencoder.
    fn latent(&self, moments: &Tensor) -> Result<Latent>;
}

/// Bounds of the logarithm of a variance.
const LOG_VARIANCE: [f64; 2] = [-30.0, 20.0];

/// The normal law of halves. `[eq:latent-moments]`
///
/// # Formula
/// ```text
/// (μ, λ) = halves of the channels,   σ = exp(½ clamp(λ, −30, 20))
/// ```
fn gaussian(moments: &Tensor) -> Result<Latent> {
    let channels = moments.dim(1)?;
    if !channels.is_multiple_of(2) {
        let must = "be even: means, then logarithms of variances";
        return Err(Error::invalid("number of moments", must, channels));
    }
    let half = |from| moments.narrow(1, from, channels / 2)?.contiguous();
    let [least, most] = LOG_VARIANCE;
    Ok(Latent {
        mean: half(0)?,
        std: (half(channels / 2)?.clamp(least, most)? * 0.5)?.exp()?,
    })
}

/// A draw of a latent as a diffusion model sees it. `[eq:latent]`
///
/// # Formula
/// ```text
/// x = c (μ + σ n − s)
/// ```
/// with unit normal `n`, the scale c and the shift s.
///
/// # Errors
/// Noise of another shape than the means.
pub fn scaled_latent(latent: &Latent, noise: &Tensor, [scale, shift]: [f64; 2]) -> Result<Tensor> {
    let drawn = (&latent.mean + (&latent.std * noise)?)?;
    Ok(drawn.affine(scale, -scale * shift)?)
}

/// What a decoder is given for a latent of a diffusion model: `z = x/c + s`. `[eq:latent]`
///
/// # Errors
/// None but those of the device.
pub fn unscaled_latent(x: &Tensor, [scale, shift]: [f64; 2]) -> Result<Tensor> {
    Ok(x.affine(scale.recip(), shift)?)
}

/// Refuses images of other channels, or of sides that cannot be halved `levels` times.
fn check_image(what: &str, x: &Tensor, channels: usize, factor: usize) -> Result<()> {
    let fits = |side: &usize| *side > 0 && side.is_multiple_of(factor);
    match x.dims() {
        [_, c, h, w] if *c == channels && fits(h) && fits(w) => Ok(()),
        got => {
            let must = format!("[B, {channels}, H, W] with sides that {factor} divides");
            Err(Error::shape(what, must, got))
        }
    }
}

/// Refuses a configuration that says of itself what is not built.
fn published<const N: usize>(said: [(&str, bool, String); N]) -> Result<()> {
    for (key, is_built, got) in said {
        if !is_built {
            return Err(Error::invalid(
                key,
                "be as published: others are not built",
                got,
            ));
        }
    }
    Ok(())
}

/// Refuses a scale or a shift that cannot be undone.
fn check_scaling([scale, shift]: [f64; 2]) -> Result<()> {
    if !(scale.is_finite() && scale > 0.0 && shift.is_finite()) {
        let must = "be finite, scaling_factor > 0";
        let got = format!("{scale} and {shift}");
        return Err(Error::invalid("scaling_factor and shift_factor", must, got));
    }
    Ok(())
}
