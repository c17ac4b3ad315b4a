//! Features of images: the pixels themselves, or what the encoder of a run or a published network says of them.

use anyhow::Result;
use candle_core::{DType, Device, Tensor};
use ndarray::Array2;
use sadm_gpu::data::{Images, Pixels};
use sadm_gpu::nn::softmax_last;
use sadm_gpu::run::Features;

use super::input::{Whose, must_be};
use super::matrix::{Matrix, Rows};
use crate::progress;

/// Images that go through a network together.
const BATCH: usize = 256;

/// Features of a set of images.
#[derive(Debug, Clone)]
pub struct Extracted {
    /// `[N, d]`.
    pub features: Matrix,
    /// Class probabilities `[N, C]`, where there is a classifier.
    pub probabilities: Option<Array2<f64>>,
    /// Spatial features of the Inception network `[N, 2023]`, where a metric needs them.
    pub spatial: Option<Matrix>,
}

/// The pixels, in [−1, 1].
pub fn pixels(images: Images) -> Result<Extracted> {
    let shape = (images.count(), images.size());
    let pixels = match images.pixels {
        Pixels::Reals(reals) => reals,
        bytes @ Pixels::Bytes(_) => bytes.at(0..bytes.len()).into_owned(),
    };
    Ok(Extracted {
        features: Matrix::F32(Array2::from_shape_vec(shape, pixels)?),
        probabilities: None,
        spatial: None,
    })
}

/// What the encoder Ψ of a run, which computes in f32, says of images, in batches.
///
/// # Errors
/// Images of another kind than the encoder's.
pub fn encoded(
    encoder: &Features,
    whose: Whose,
    images: &Images,
    device: &Device,
) -> Result<Extracted> {
    let kind = encoder.images();
    must_be(images, kind.shape(), whose, "run's encoder")?;
    let bar = progress::count_bar(images.count(), &format!("features of {whose}"));
    let mut features = Rows::<f32>::new(images.count());
    let mut probabilities = Rows::<f64>::new(images.count());
    for batch in images.pixels.parts(BATCH * images.size()) {
        let count = batch.len() / images.size();
        let shape = (count, kind.channels, kind.size, kind.size);
        let x = Tensor::from_slice(&batch, shape, device)?;
        let psi = encoder.of(&x)?;
        features.push(&psi)?;
        if whose == Whose::Generated {
            let logits = encoder.classify(&psi)?.to_dtype(DType::F64)?;
            probabilities.push(&softmax_last(&logits)?)?;
        }
        bar.inc(count as u64);
    }
    bar.finish_and_clear();
    Ok(Extracted {
        features: Matrix::F32(features.all().unwrap_or_default()),
        probabilities: probabilities.all(),
        spatial: None,
    })
}
