//! The sizes of a layer normalisation, and its ε.

use candle_core::Result;

use crate::error::Error;
use crate::nn::cpu::buffer::PARTIALS;

/// Added to the variance of a row.
pub const LAYER_NORM_EPS: f64 = 1e-6;

/// The sizes of one layer normalisation, checked.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    /// Elements of a row.
    pub(crate) width: usize,
    /// Rows that share one γ and β.
    pub(crate) rows: usize,
    /// Number of different γ and β.
    pub(crate) segments: usize,
}

impl Sizes {
    pub(crate) fn new(x: &[usize], gamma: &[usize], beta: &[usize]) -> Result<Self> {
        let (Some(&batch), Some(&width)) = (x.first(), x.last()) else {
            return Err(Error::shape("layer_norm input", "[N, …, D]", x).into());
        };
        if width == 0 {
            return Err(Error::shape("layer_norm input", "[N, …, D] with D > 0", x).into());
        }
        for (name, dims) in [("layer_norm gamma", gamma), ("layer_norm beta", beta)] {
            let per_sample = x.len() >= 2 && dims == [batch, width];
            if dims != gamma || (dims != [width] && !per_sample) {
                let must = format!("[{width}] or [{batch}, {width}], both alike");
                return Err(Error::shape(name, must, dims).into());
            }
        }
        let segments = if gamma.len() == 2 { batch } else { 1 };
        let rows = x[..x.len() - 1].iter().product::<usize>() / segments.max(1);
        Ok(Self {
            width,
            rows,
            segments,
        })
    }

    /// Rows of one task: a whole segment, or a part of the only one.
    pub(crate) fn rows_per_task(&self) -> usize {
        let parts = if self.segments == 1 { PARTIALS } else { 1 };
        self.rows.div_ceil(parts).max(1)
    }

    /// The part of γ or β that belongs to task `i`.
    pub(crate) fn affine<'a, R>(&self, values: &'a [R], i: usize) -> &'a [R] {
        let segment = if self.segments == 1 { 0 } else { i };
        &values[segment * self.width..][..self.width]
    }
}
