//! The encoder Ψ: features of an image, pre-trained as a classifier.

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use crate::network::Compute;
use crate::network::blocks::{Conv, GroupNorm, Linear};
use crate::nn::{avg_pool2x, global_avg_pool};
use crate::params::Builder;
use crate::{Error, Result};

/// Shape of an [`Encoder`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncoderConfig {
    /// Channels of the images.
    pub in_channels: usize,
    /// Channels of each convolution; the side halves between two of them.
    pub widths: Vec<usize>,
    /// Groups of the normalisations; fewer where there are fewer channels.
    pub groups: usize,
    /// Number of features.
    pub dim: usize,
    /// Number of classes of the classifier.
    pub classes: usize,
}

/// Convolutional encoder with a linear classifier on its features.
#[derive(Debug, Clone)]
pub struct Encoder {
    conv_in: Conv,
    layers: Vec<(GroupNorm, Conv)>,
    norm_out: GroupNorm,
    features: Linear,
    classifier: Linear,
    compute: Compute,
}

impl Encoder {
    /// Takes its parameters from `at`, making those that do not exist.
    ///
    /// # Errors
    /// [`Error::Invalid`] for zero sizes, no widths, or groups that do not divide a width.
    pub fn new(config: &EncoderConfig, at: Builder) -> Result<Self> {
        let EncoderConfig {
            in_channels,
            ref widths,
            groups,
            dim,
            classes,
        } = *config;
        let (Some(&first), Some(&last)) = (widths.first(), widths.last()) else {
            return Err(Error::invalid(
                "encoder.widths",
                "have at least one entry",
                "none",
            ));
        };
        let sizes = [
            ("encoder.in_channels", in_channels),
            ("encoder.dim", dim),
            ("encoder.classes", classes),
        ];
        for (name, value) in sizes {
            if value == 0 {
                return Err(Error::invalid(name, "be positive", value));
            }
        }
        let layers = widths.iter().enumerate().map(|(i, &width)| {
            let inputs = widths[i.saturating_sub(1)];
            let norm = GroupNorm::new(groups, inputs, &at.pp(format!("norm.{i}")))?;
            Ok((norm, Conv::new(inputs, width, &at.pp(format!("conv.{i}")))?))
        });
        Ok(Self {
            conv_in: Conv::new(in_channels, first, &at.pp("conv_in"))?,
            layers: layers.collect::<Result<_>>()?,
            norm_out: GroupNorm::new(groups, last, &at.pp("norm_out"))?,
            features: Linear::new(last, dim, &at.pp("features"))?,
            classifier: Linear::new(dim, classes, &at.pp("classifier"))?,
            compute: Compute::F32,
        })
    }

    /// The same encoder, its features computed in another type; the classifier stays in its own.
    #[must_use]
    pub fn computing_in(self, compute: Compute) -> Self {
        Self { compute, ..self }
    }

    /// The features ψ (not normalised).
    ///
    /// # Shapes
    /// `x: [B, C, H, W]` → `[B, dim]`.
    ///
    /// # Errors
    /// Shapes that do not fit; a side that cannot be halved as often as needed.
    pub fn features(&self, x: &Tensor) -> Result<Tensor> {
        self.compute.within(x, |x| self.forward(x))
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut h = self.conv_in.forward(x)?;
        for (i, (norm, conv)) in self.layers.iter().enumerate() {
            if i > 0 {
                h = avg_pool2x(&h)?;
            }
            h = conv.forward(&norm.forward_silu(&h)?)?;
        }
        self.features
            .forward(&global_avg_pool(&self.norm_out.forward_silu(&h)?)?)
    }

    /// The classifier's logits of features: `[B, dim]` → `[B, classes]`.
    ///
    /// # Errors
    /// Another width than `dim`.
    pub fn classify(&self, features: &Tensor) -> Result<Tensor> {
        self.classifier.forward(features)
    }

    /// The classifier's logits of images: `[B, C, H, W]` → `[B, classes]`.
    ///
    /// # Errors
    /// As [`features`](Self::features).
    pub fn logits(&self, x: &Tensor) -> Result<Tensor> {
        self.classify(&self.features(x)?)
    }
}
