//! Features of images: the pixels themselves, or what the encoder of a run or a published network says of them.

use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};
use ndarray::{Array2, concatenate};
use sadm_gpu::nn::softmax_last;
use sadm_gpu::train::Features;

use super::input::Images;
use crate::progress;

/// Images that go through a network together.
const BATCH: usize = 256;

/// Features of a set of images.
#[derive(Debug, Clone)]
pub struct Extracted {
    /// `[N, d]`.
    pub features: Array2<f64>,
    /// Class probabilities `[N, C]`, where there is a classifier.
    pub probabilities: Option<Array2<f64>>,
    /// Spatial features of the Inception network `[N, 2023]`, where a metric needs them.
    pub spatial: Option<Array2<f64>>,
}

/// The pixels, in [−1, 1].
pub fn pixels(images: &Images) -> Result<Extracted> {
    let mut pixels = Vec::with_capacity(images.pixels.len());
    for part in images.pixels.parts(BATCH * images.size()) {
        pixels.extend(part.iter().map(|x| f64::from(*x)));
    }
    Ok(Extracted {
        features: Array2::from_shape_vec((images.count(), images.size()), pixels)?,
        probabilities: None,
        spatial: None,
    })
}

/// What the encoder Ψ of a run says of images, in batches.
///
/// # Errors
/// Images of another kind than the encoder's.
pub fn encoded(
    encoder: &Features,
    what: &str,
    images: &Images,
    device: &Device,
) -> Result<Extracted> {
    let kind = encoder.images();
    images.must_be(kind.shape(), what, "run's encoder")?;
    let bar = progress::count_bar(images.count(), &format!("features of {what}"));
    let (mut features, mut probabilities) = (Vec::new(), Vec::new());
    for batch in images.pixels.parts(BATCH * images.size()) {
        let count = batch.len() / images.size();
        let shape = (count, kind.channels, kind.size, kind.size);
        let x = Tensor::from_slice(&batch, shape, device)?;
        let psi = encoder.of(&x)?;
        let logits = encoder.classify(&psi)?;
        features.push(matrix(&psi)?);
        probabilities.push(matrix(&softmax_last(&logits.to_dtype(DType::F64)?)?)?);
        bar.inc(count as u64);
    }
    bar.finish_and_clear();
    Ok(Extracted {
        features: stacked(&features)?,
        probabilities: Some(stacked(&probabilities)?),
        spatial: None,
    })
}

/// A tensor of two axes as f64.
fn matrix(x: &Tensor) -> Result<Array2<f64>> {
    let shape = x.dims2()?;
    let x = x.to_device(&Device::Cpu)?.to_dtype(DType::F64)?;
    Ok(Array2::from_shape_vec(shape, x.flatten_all()?.to_vec1()?)?)
}

fn stacked(parts: &[Array2<f64>]) -> Result<Array2<f64>> {
    let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
    concatenate(ndarray::Axis(0), &views).context("features of one batch differ from another's")
}
