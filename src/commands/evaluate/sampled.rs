//! Samples of a run.

use anyhow::Result;
use candle_core::Device;
use rand::Rng;
use sadm_gpu::data::{Found, Images, Pixels};
use sadm_gpu::random::Streams;
use sadm_gpu::train::{Run, SampleRequest};

use super::args::Classes;
use crate::{classes, progress};

/// Samples drawn at a time, so that there is progress to show.
const PART: usize = 256;

/// `count` samples with the run's own sampler.
pub fn images(run: &Run, count: usize, classes: Classes, seed: u64) -> Result<Images> {
    let kind = run.images();
    let mut request = SampleRequest::from_config(run.config());
    let labels = classes.labels(count, kind.classes, seed)?;
    let bar = progress::count_bar(count, "samples");
    let mut pixels = Vec::new();
    let parts = Streams::new(seed);
    for (part, labels) in labels.chunks(PART).enumerate() {
        request.labels = labels.iter().copied().map(Some).collect();
        request.seed = parts.rng("evaluate", part as u64).next_u64();
        let images = run.sample(&request)?.to_device(&Device::Cpu)?;
        pixels.extend(images.flatten_all()?.to_vec1::<f32>()?);
        bar.inc(labels.len() as u64);
    }
    bar.finish_and_clear();
    Ok(Images {
        shape: kind.shape(),
        pixels: Pixels::Reals(pixels),
        spacing: None,
        labels: Some(labels),
        classes: Vec::new(),
        found: Found::default(),
    })
}

impl Classes {
    /// The class of each of `count` samples. In turn any stretch of them has all in equal shares, as the splits of an inception score need.
    fn labels(self, count: usize, of: usize, seed: u64) -> Result<Vec<u32>> {
        match self {
            Self::Equal => (0..count).map(|i| Ok(u32::try_from(i % of)?)).collect(),
            Self::Random => classes::at_random(count, of, seed),
        }
    }
}
