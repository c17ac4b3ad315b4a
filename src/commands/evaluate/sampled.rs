//! Samples of a run.

use anyhow::Result;
use candle_core::Device;
use rand::Rng;
use sadm_gpu::random::Streams;
use sadm_gpu::train::{Run, SampleRequest};

use super::args::Classes;
use super::input::{Images, Pixels};
use crate::progress;

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
    })
}

impl Classes {
    /// The class of each of `count` samples. In turn any stretch of them has all in equal shares, as the splits of an inception score need.
    fn labels(self, count: usize, classes: usize, seed: u64) -> Result<Vec<u32>> {
        let chosen: Vec<usize> = match self {
            Self::Equal => (0..count).map(|i| i % classes).collect(),
            Self::Random => {
                let drawn = Streams::new(seed).uniform("evaluate, classes", 0, count);
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "in [0, classes)"
                )]
                drawn
                    .into_iter()
                    .map(|u| (u * classes as f64) as usize)
                    .collect()
            }
        };
        chosen
            .into_iter()
            .map(|class| Ok(u32::try_from(class)?))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_classes_are_independent_and_equally_likely() -> Result<()> {
        let labels = Classes::Random.labels(10_000, 10, 1)?;
        let count = |class: u32| labels.iter().filter(|l| **l == class).count() as f64;
        let squares: f64 = (0..10)
            .map(|class| (count(class) - 1000.0).powi(2) / 1000.0)
            .sum();
        // χ² with 9 degrees of freedom: equal shares would give 0, and 27.9 is the 99.9 % quantile.
        assert!((1.0..27.9).contains(&squares), "{squares}");
        let repeated = labels.windows(2).filter(|pair| pair[0] == pair[1]).count() as f64;
        assert!((repeated - 999.9).abs() < 4.0 * 30.0, "{repeated}");
        assert_eq!(Classes::Random.labels(10_000, 10, 1)?, labels);
        assert_ne!(Classes::Random.labels(10_000, 10, 2)?, labels);
        assert_eq!(Classes::Random.labels(3, 1, 1)?, [0, 0, 0]);
        assert_eq!(Classes::Equal.labels(5, 3, 1)?, [0, 1, 2, 0, 1]);
        Ok(())
    }
}
