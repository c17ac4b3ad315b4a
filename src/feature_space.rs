//! The spaces in which generated images are compared with real ones: an encoder's features, and the pixels.

use std::path::Path;

use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};
use ndarray::Array2;
use sadm_gpu::config::Config;
use sadm_gpu::random::Streams;
use sadm_gpu::run::Features;
use sadm_gpu::train::dataset;

use crate::progress::say;

/// Seed of the choice of real images, where there are more than are compared.
const CHOICE: u64 = 0x5ad0_0001;

/// Real images, with their features where there is an encoder.
pub struct Reality {
    encoder: Option<Features>,
    /// Ψ of the real images `[N, d]`.
    pub features: Option<Array2<f64>>,
    /// The real images themselves `[N, C·H·W]`.
    pub pixels: Array2<f64>,
}

impl Reality {
    /// The images of the configuration's data set, of `class` alone if one is given, at most `most` of them, chosen without regard to
    /// any run.
    ///
    /// # Errors
    /// A data set that cannot be read; an encoder for images of another shape.
    pub fn new(
        config: &Config,
        encoder: Option<Features>,
        class: Option<u32>,
        most: usize,
        device: &Device,
    ) -> Result<Self> {
        let all = dataset(config)?;
        let mut indices = Streams::new(CHOICE).permutation("reality", 0, all.len());
        if let Some(class) = class {
            indices.retain(|index| all.labels[*index] == class);
        }
        indices.truncate(most);
        let (images, _) = all.batch(&indices, device, DType::F32)?;
        let features = encoder
            .as_ref()
            .map(|encoder| rows(&encoder.of(&images)?))
            .transpose()?;
        Ok(Self {
            encoder,
            features,
            pixels: rows(&images)?,
        })
    }

    /// Real images compared with.
    pub fn len(&self) -> usize {
        self.pixels.nrows()
    }

    /// Ψ of generated images `[N, C, H, W]` → `[N, d]`, if there is an encoder.
    ///
    /// # Errors
    /// Images of another shape.
    pub fn features_of(&self, images: &Tensor) -> Result<Option<Array2<f64>>> {
        let features = self.encoder.as_ref().map(|encoder| encoder.of(images));
        features.map(|f| rows(&f?)).transpose()
    }
}

/// Ψ of the run in `folder`, for measuring; says so where adversarial rounds have moved it.
///
/// # Errors
/// No run there, or one without a trained encoder.
pub fn encoder(folder: &Path, device: &Device) -> Result<Features> {
    let features = Features::open(folder, device)
        .with_context(|| format!("no features from `{}`", folder.display()))?;
    if features.is_moved() {
        say(&format!(
            "the encoder of `{}` is that of step {}, moved by adversarial rounds: no checkpoint from before them is left, and \
             distances in it are not comparable with other runs'",
            folder.display(),
            features.step()
        ));
    }
    Ok(features)
}

/// A tensor `[N, …]` as N rows of f64.
///
/// # Errors
/// The device's.
pub fn rows(tensor: &Tensor) -> Result<Array2<f64>> {
    let flat = tensor
        .flatten_from(1)?
        .to_device(&Device::Cpu)?
        .to_dtype(DType::F64)?;
    let (n, d) = flat.dims2()?;
    Ok(Array2::from_shape_vec(
        (n, d),
        flat.flatten_all()?.to_vec1::<f64>()?,
    )?)
}
