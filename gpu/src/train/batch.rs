//! One batch with everything random already drawn.

use crate::network::{Mode, Told};
use crate::random::Streams;
use crate::{Error, Result};
use candle_core::Tensor;

/// A batch with everything random already drawn.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Real images `[B, C, H, W]`.
    pub x0: Tensor,
    /// Standard normal noise `[B, C, H, W]`.
    pub eps: Tensor,
    /// t of every sample; equal entries when the batch shares its t.
    pub t: Vec<f64>,
    /// Class of every sample, the number of classes where the label was dropped.
    pub labels: Option<Vec<u32>>,
    /// How every image was augmented, `[B, A]`; none where no image is.
    pub augment: Option<Tensor>,
    /// The streams of dropout with the number of the draw; none where nothing is dropped.
    pub dropout: Option<(Streams, u64)>,
}

impl Batch {
    /// Images with their classes, however they were augmented, and no noise: t = 0.
    pub(crate) fn clean(x0: Tensor, labels: Vec<u32>, augment: Option<Tensor>) -> Result<Self> {
        Ok(Self {
            eps: x0.zeros_like()?,
            t: vec![0.0; labels.len()],
            labels: Some(labels),
            augment,
            dropout: None,
            x0,
        })
    }

    /// How the denoiser is asked on this batch.
    pub fn mode(&self) -> Mode<'_> {
        Mode::of(self.dropout.as_ref())
    }

    /// What the denoiser is told of each sample beside its noise level.
    pub fn told(&self) -> Told<'_> {
        Told {
            labels: self.labels.as_deref(),
            augment: self.augment.as_ref(),
        }
    }

    /// Samples, B.
    pub fn len(&self) -> usize {
        self.t.len()
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.t.is_empty()
    }

    /// The batch cut into `parts` consecutive micro-batches, whose sizes differ by at most 1.
    ///
    /// # Errors
    /// No part, or more parts than samples.
    pub fn split(&self, parts: usize) -> Result<Vec<Self>> {
        let b = self.len();
        if parts == 0 || parts > b {
            let must = format!("be in 1..={b}, the samples of a batch");
            return Err(Error::invalid("the number of micro-batches", must, parts));
        }
        if parts == 1 {
            return Ok(vec![self.clone()]);
        }
        (0..parts)
            .map(|i| {
                let (start, end) = (i * b / parts, (i + 1) * b / parts);
                let rows = |x: &Tensor| x.narrow(0, start, end - start);
                let labels = self.labels.as_ref();
                Ok(Self {
                    x0: rows(&self.x0)?,
                    eps: rows(&self.eps)?,
                    t: self.t[start..end].to_vec(),
                    labels: labels.map(|labels| labels[start..end].to_vec()),
                    augment: self.augment.as_ref().map(rows).transpose()?,
                    // Coins of its own: rows of micro-batches are other rows.
                    dropout: (self.dropout)
                        .map(|(streams, number)| (streams, number * parts as u64 + i as u64)),
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    /// What dropout leaves of ones in a layer, by the mode of a batch.
    fn kept(batch: &Batch) -> Result<Vec<f32>> {
        let ones = Tensor::ones(64, DType::F32, &Device::Cpu)?;
        Ok(batch.mode().dropout(&ones, 0.5, "layer")?.to_vec1()?)
    }

    fn batch(streams: Streams, number: u64) -> Result<Batch> {
        let x0 = Tensor::zeros((4, 1, 2, 2), DType::F32, &Device::Cpu)?;
        Ok(Batch {
            dropout: Some((streams, number)),
            ..Batch::clean(x0, vec![0; 4], None)?
        })
    }

    #[test]
    fn every_update_player_and_micro_batch_drops_other_elements() -> Result<()> {
        let streams = Streams::new(1);
        let [theta, phi] = ["theta-dropout", "phi-dropout"].map(|who| streams.branch(who));
        let whole = batch(theta, 3)?;
        assert_eq!(kept(&whole)?, kept(&whole.split(1)?[0])?);
        let (parts, next) = (whole.split(2)?, batch(theta, 4)?.split(2)?);
        let phi = batch(phi, 3)?;
        let drawn = [&parts[0], &parts[1], &next[0], &next[1], &phi].map(kept);
        for (i, one) in drawn.iter().enumerate() {
            for other in &drawn[..i] {
                assert_ne!(one.as_ref().ok(), other.as_ref().ok(), "{i}");
            }
        }
        assert_eq!(kept(&parts[1])?, kept(&whole.split(2)?[1])?);
        let clean = Batch {
            dropout: None,
            ..whole
        };
        assert!(kept(&clean)?.iter().all(|x| (x - 1.0).abs() <= 0.0));
        Ok(())
    }
}
