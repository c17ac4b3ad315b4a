//! One batch with everything random already drawn.

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
}

impl Batch {
    /// Images with their classes and no noise: t = 0.
    pub(crate) fn clean(x0: Tensor, labels: Vec<u32>) -> Result<Self> {
        Ok(Self {
            eps: x0.zeros_like()?,
            t: vec![0.0; labels.len()],
            labels: Some(labels),
            x0,
        })
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
                })
            })
            .collect()
    }
}
