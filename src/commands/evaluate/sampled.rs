//! Samples of a run.

use anyhow::Result;
use candle_core::Device;
use rand::Rng;
use sadm_gpu::data::{Found, Images, Pixels};
use sadm_gpu::random::Streams;
use sadm_gpu::run::{Run, SampleRequest};

use super::args::Classes;
use crate::progress;

/// Samples drawn at a time, so that there is progress to show.
const PART: usize = 256;

/// Of which classes samples are.
#[derive(Debug, Clone, Copy)]
pub enum Wanted {
    /// Of all that were learnt, so chosen.
    Of(Classes),
    /// Of one.
    One(u32),
}

/// `count` samples with the run's own sampler.
pub fn images(run: &Run, count: usize, wanted: Wanted, seed: u64) -> Result<Images> {
    let kind = run.images();
    let mut request = SampleRequest::from_config(run.config());
    let labels = match wanted {
        Wanted::Of(classes) => classes.labels(count, run, seed)?,
        Wanted::One(class) => vec![Some(class); count],
    };
    run.conditions().check(&labels, request.guidance)?;
    crate::fresh_noise::note_for(run.config(), &request);
    let bar = progress::count_bar(count, "samples");
    let mut pixels = Vec::new();
    let parts = Streams::new(seed);
    for (part, labels) in labels.chunks(PART).enumerate() {
        request.labels = labels.to_vec();
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
        labels: labels.into_iter().collect(),
        classes: run.conditions().classes().names.clone(),
        found: Found::default(),
    })
}

impl Classes {
    /// The class of each of `count` samples. In turn any stretch of them has all in equal shares, as the splits of an inception score need.
    fn labels(self, count: usize, run: &Run, seed: u64) -> Result<Vec<Option<u32>>> {
        let conditions = run.conditions();
        Ok(match self {
            Self::Data => run.counted_conditions()?.in_shares(count, seed),
            Self::Equal => conditions.in_turn(count),
            Self::Random => conditions.at_random(count, seed),
        })
    }
}
