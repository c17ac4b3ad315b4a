//! Samples of a run.

use anyhow::Result;
use candle_core::Device;
use sadm_gpu::train::{Run, SampleRequest};

use super::input::Images;
use crate::progress;

/// Samples drawn at a time, so that there is progress to show.
const PART: usize = 256;
/// Distance of the seeds of two parts: a request uses one seed for each 128 samples.
const SEEDS_APART: u64 = 1 << 32;

/// `count` samples, of every class in equal shares, with the run's own sampler.
pub fn images(run: &Run, count: usize, seed: u64) -> Result<Images> {
    let kind = run.images();
    let mut request = SampleRequest::from_config(run.config());
    let labels = (0..count).map(|i| Ok(u32::try_from(i * kind.classes / count)?));
    let labels: Vec<u32> = labels.collect::<Result<_>>()?;
    let bar = progress::count_bar(count, "samples");
    let mut pixels = Vec::new();
    // Parts share the seed's stream by their number, so that they differ.
    for (part, labels) in labels.chunks(PART).enumerate() {
        request.labels = labels.iter().copied().map(Some).collect();
        request.seed = seed.wrapping_add(part as u64 * SEEDS_APART);
        let images = run.sample(&request)?.to_device(&Device::Cpu)?;
        pixels.extend(images.flatten_all()?.to_vec1::<f32>()?);
        bar.inc(labels.len() as u64);
    }
    bar.finish_and_clear();
    Ok(Images {
        shape: kind.shape(),
        pixels,
        spacing: None,
        labels: Some(labels),
    })
}
