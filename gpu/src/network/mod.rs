//! The networks that denoise, by name.
//!
//! Parameters are named as in `sadm-reference`, which implements the same networks independently:
//! a linear map or convolution `x` has `x.weight` and `x.bias`, a group norm as well.

mod adm;
mod architecture;
pub mod autoencoder;
pub(crate) mod blocks;
mod dit;
mod dit_small;
pub mod edm;
mod mlp;
mod mode;
mod precision;
pub(crate) mod recompute;
mod registry;
mod sit;
mod unet;

use candle_core::Tensor;

pub use adm::{Adm, AdmConfig};
pub use architecture::{Architecture, Domain, Inputs};
pub use dit::{Dit, DitConfig};
pub use dit_small::{DitSmall, DitSmallConfig};
pub use mlp::{LevelEmbedding, MlpDiscriminator, MlpGenerator, WAVES};
pub use mode::Mode;
pub use precision::{Compute, MixedPrecision};
pub use recompute::Recompute;
pub use registry::{ARCHITECTURES, architecture, build, config_of_json, published};
pub use unet::{UNet, UNetConfig};

use crate::Result;

/// Condition of a network: noise levels, labels, augmentation labels.
#[derive(Debug, Clone, Copy)]
pub struct Condition<'a> {
    /// The noise level of each of B samples, as the [preconditioner](crate::objective::preconditioner) tells it.
    pub noise: &'a [f64],
    /// Class of each sample; an index equal to the number of classes, or `None` for all, is "no class".
    pub labels: Option<&'a [u32]>,
    /// In place of `labels`: the weight of each of K classes, `[B, K]`; a mixture of classes has several, "no class" has
    /// none. A network that looks its classes up in a table refuses them.
    pub soft_labels: Option<&'a Tensor>,
    /// How each sample was augmented, `[B, A]`. A network that knows no augmentation labels refuses them.
    pub augment: Option<&'a Tensor>,
}

/// What is known of samples beside their noise level, with which a [`Condition`] is made.
#[derive(Debug, Clone, Copy, Default)]
pub struct Told<'a> {
    /// As [`Condition::labels`].
    pub labels: Option<&'a [u32]>,
    /// As [`Condition::augment`].
    pub augment: Option<&'a Tensor>,
}

/// Classes of samples that were not augmented.
impl<'a> From<Option<&'a [u32]>> for Told<'a> {
    fn from(labels: Option<&'a [u32]>) -> Self {
        Self {
            labels,
            augment: None,
        }
    }
}

impl<'a> Condition<'a> {
    /// What is known of samples, at their noise levels.
    pub fn of(noise: &'a [f64], told: Told<'a>) -> Self {
        Self {
            augment: told.augment,
            ..Self::new(noise, told.labels)
        }
    }

    /// That of samples which were not augmented.
    pub fn new(noise: &'a [f64], labels: Option<&'a [u32]>) -> Self {
        Self {
            noise,
            labels,
            soft_labels: None,
            augment: None,
        }
    }
}

/// A network that predicts from a noisy image, inside a [preconditioner](crate::objective::preconditioner).
pub trait Network: Send + Sync {
    /// The raw prediction F.
    ///
    /// # Shapes
    /// `x: [B, C, H, W]` (scaled by c_in) → `[B, O, H, W]`: O is C, or 2C of a network that also predicts variances, whose half comes last.
    ///
    /// # Errors
    /// Shapes that do not fit, labels out of range, labels for a network without classes, augmentation labels that the
    /// network does not know.
    fn forward(&self, x: &Tensor, at: &Condition<'_>, mode: Mode<'_>) -> Result<Tensor>;
}

impl<N: Network + ?Sized> Network for Box<N> {
    fn forward(&self, x: &Tensor, at: &Condition<'_>, mode: Mode<'_>) -> Result<Tensor> {
        self.as_ref().forward(x, at, mode)
    }
}

/// Whether a dimension is left to the data.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
pub(crate) fn is_zero(dimension: &usize) -> bool {
    *dimension == 0
}
