//! Networks between images and latents.

use super::graph::{Graph, Rounding, Value};
use super::{NetworkError, Parameters, Pass, given, pass, recorded_shapes};
use crate::UnknownName;
use ndarray::{ArrayD, Axis, Slice};
use std::collections::BTreeMap;
use toml::Table;

mod kl;
mod tiny;

pub use kl::AutoencoderKl;
pub use tiny::AutoencoderTiny;

/// An autoencoder by name.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    /// The name in configurations.
    pub name: &'static str,
    /// The autoencoder of a published configuration.
    published: fn(&Table) -> Result<Box<dyn Autoencoder>, NetworkError>,
}

/// Every autoencoder.
pub const AUTOENCODERS: &[Family] = &[
    Family {
        name: "autoencoder-kl",
        published: |config| Ok(Box::new(given::<AutoencoderKl>(config)?)),
    },
    Family {
        name: "autoencoder-tiny",
        published: |config| Ok(Box::new(given::<AutoencoderTiny>(config)?)),
    },
];

/// The autoencoder `name` of a configuration, whose keys are those of the publication.
///
/// # Errors
/// [`NetworkError::Name`] or [`NetworkError::Dimensions`]; what cannot be built is refused when it is used.
pub fn autoencoder(name: &str, config: &Table) -> Result<Box<dyn Autoencoder>, NetworkError> {
    let found = AUTOENCODERS.iter().find(|known| known.name == name);
    let found = found.ok_or_else(|| {
        let known: Vec<&str> = AUTOENCODERS.iter().map(|known| known.name).collect();
        NetworkError::Name(UnknownName {
            what: "autoencoder",
            known: known.join(", "),
            got: name.to_owned(),
        })
    })?;
    (found.published)(config)
}

/// One of the two networks of an autoencoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// Image → moments.
    Encode,
    /// Latent → image.
    Decode,
}

/// The law of an image's latent: normal, each number by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Latent {
    /// Means, `[B, L, h, w]`.
    pub mean: ArrayD<f64>,
    /// Standard deviations, of the same shape; 0 of an autoencoder whose latents are not drawn.
    pub std: ArrayD<f64>,
}

/// Bounds of the logarithm of a variance. `[eq:latent-moments]`
pub const LOG_VARIANCE: [f64; 2] = [-30.0, 20.0];

/// The law that an encoder's moments say. `[eq:latent-moments]`
///
/// # Formula
/// ```text
/// (μ, λ) = halves of the channels,   σ = exp(½ clamp(λ, −30, 20))
/// ```
///
/// # Shapes
/// `moments: [B, 2L, h, w]`.
///
/// # Errors
/// [`NetworkError::Layer`] for an odd number of channels.
///
/// # Source
/// Rombach et al. 2022 (arXiv:2112.10752), App. G; the bounds as published with it.
pub fn gaussian_latent(moments: &ArrayD<f64>) -> Result<Latent, NetworkError> {
    let channels = moments.shape().get(1).copied().unwrap_or(0);
    let must = || "even: means, then logarithms of variances".to_owned();
    let even = channels > 0 && channels.is_multiple_of(2);
    crate::nn::require(even, "latent", "number of moments", must, channels)?;
    let half = |from| {
        let part = Slice::from(from..from + channels / 2);
        moments.slice_axis(Axis(1), part).to_owned()
    };
    let [least, most] = LOG_VARIANCE;
    Ok(Latent {
        mean: half(0),
        std: half(channels / 2).mapv(|l| (0.5 * l.clamp(least, most)).exp()),
    })
}

/// A draw of a latent as a diffusion model sees it. `[eq:latent]`
///
/// # Formula
/// ```text
/// x = c (μ + σ n − s)
/// ```
/// with unit normal `n`, the scale c and the shift s; the decoder is given `z = x/c + s`.
///
/// # Shapes
/// `noise` as the means; the answer too.
///
/// # Errors
/// [`NetworkError::Layer`] if `noise` has another shape.
///
/// # Source
/// Rombach et al. 2022 (arXiv:2112.10752), §4.1 and App. G.
pub fn scaled_latent(
    latent: &Latent,
    noise: &ArrayD<f64>,
    [scale, shift]: [f64; 2],
) -> Result<ArrayD<f64>, NetworkError> {
    crate::nn::require_shape("latent", "noise", noise, latent.mean.shape())?;
    Ok((&latent.mean + &(&latent.std * noise) - shift) * scale)
}

/// Two networks: one from images to the moments of their latents, one from latents to images.
///
/// Parameters of both are in one map, and the names of the two have none in common.
pub trait Autoencoder {
    /// Appends the encoder to a tape: `x: [B, C, H, W]`, in [−1, 1] unless the configuration says otherwise, → moments.
    ///
    /// # Errors
    /// [`NetworkError`] naming what does not fit.
    fn encode(&self, graph: &mut Graph<'_>, x: Value) -> Result<Value, NetworkError>;

    /// Appends the decoder to a tape: `z: [B, L, h, w]` → image.
    ///
    /// # Errors
    /// [`NetworkError`] naming what does not fit.
    fn decode(&self, graph: &mut Graph<'_>, z: Value) -> Result<Value, NetworkError>;

    /// The law that moments say.
    ///
    /// # Errors
    /// [`NetworkError`] for moments of another autoencoder.
    fn latent(&self, moments: &ArrayD<f64>) -> Result<Latent, NetworkError>;

    /// Shape `[C, H, W]` of the smallest image, and `[L, h, w]` of its latent.
    fn smallest(&self) -> [[usize; 3]; 2];

    /// Appends one half.
    ///
    /// # Errors
    /// [`NetworkError`] naming what does not fit.
    fn build(&self, graph: &mut Graph<'_>, half: Half, x: Value) -> Result<Value, NetworkError> {
        match half {
            Half::Encode => self.encode(graph, x),
            Half::Decode => self.decode(graph, x),
        }
    }

    /// Names and shapes of the parameters of one half.
    ///
    /// # Errors
    /// [`NetworkError::Config`] if the configuration is impossible.
    fn shapes_of(&self, half: Half) -> Result<BTreeMap<String, Vec<usize>>, NetworkError> {
        let [image, latent] = self.smallest();
        let [c, h, w] = match half {
            Half::Encode => image,
            Half::Decode => latent,
        };
        recorded_shapes(&[1, c, h, w], |graph, x| self.build(graph, half, x))
    }

    /// Names and shapes of all parameters.
    ///
    /// # Errors
    /// [`NetworkError::Config`] if the configuration is impossible.
    fn parameter_shapes(&self) -> Result<BTreeMap<String, Vec<usize>>, NetworkError> {
        let mut shapes = self.shapes_of(Half::Encode)?;
        shapes.extend(self.shapes_of(Half::Decode)?);
        Ok(shapes)
    }

    /// The output of one half.
    ///
    /// # Errors
    /// [`NetworkError`] naming what does not fit.
    fn forward(
        &self,
        parameters: &Parameters,
        half: Half,
        x: &ArrayD<f64>,
    ) -> Result<ArrayD<f64>, NetworkError> {
        let mut graph = Graph::new(parameters);
        let input = graph.input(x.clone());
        let output = self.build(&mut graph, half, input)?;
        Ok(graph.value(output).clone())
    }

    /// Output of one half, and gradients of `⟨grad_output, output⟩` with respect to its input and its parameters; with every
    /// intermediate result rounded if there is a rounding.
    ///
    /// # Errors
    /// [`NetworkError`] naming what does not fit.
    fn forward_backward(
        &self,
        parameters: &Parameters,
        half: Half,
        x: &ArrayD<f64>,
        grad_output: &ArrayD<f64>,
        rounding: Option<Rounding<'_>>,
    ) -> Result<Pass, NetworkError> {
        let graph = match rounding {
            None => Graph::new(parameters),
            Some(rounding) => Graph::rounded(parameters, rounding),
        };
        pass(graph, x, |g, x| self.build(g, half, x), grad_output)
    }
}
