//! The sizes of a group normalisation, and its ε.

use candle_core::Result;

use crate::error::Error;

/// Added to the variance of a group, where a network says no other.
pub const GROUP_NORM_EPS: f64 = 1e-5;

/// The sizes of one group normalisation, checked.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) batch: usize,
    pub(crate) channels: usize,
    pub(crate) pixels: usize,
    pub(crate) groups: usize,
    /// Whether γ and β differ from sample to sample.
    pub(crate) per_sample: bool,
    pub(crate) silu: bool,
    /// Added to the variance.
    pub(crate) eps: f64,
}

impl Sizes {
    pub(crate) fn new(groups: usize, x: &[usize], gamma: &[usize], beta: &[usize]) -> Result<Self> {
        let &[batch, channels, ref rest @ ..] = x else {
            return Err(Error::shape("group_norm input", "[N, C, …]", x).into());
        };
        if channels == 0 || rest.contains(&0) {
            return Err(
                Error::shape("group_norm input", "[N, C, …] with no empty sample", x).into(),
            );
        }
        if groups == 0 || !channels.is_multiple_of(groups) {
            let must = format!("be a divisor of the {channels} channels");
            return Err(Error::invalid("group_norm groups", must, groups).into());
        }
        for (name, dims) in [("group_norm gamma", gamma), ("group_norm beta", beta)] {
            if dims != gamma || (dims != [channels] && dims != [batch, channels]) {
                let must = format!("[{channels}] or [{batch}, {channels}], both alike");
                return Err(Error::shape(name, must, dims).into());
            }
        }
        let pixels = rest.iter().product();
        let per_sample = gamma.len() == 2;
        Ok(Self {
            batch,
            channels,
            pixels,
            groups,
            per_sample,
            silu: false,
            eps: GROUP_NORM_EPS,
        })
    }

    /// The part of γ or β that belongs to sample `n`.
    pub(crate) fn affine<'a, R>(&self, values: &'a [R], n: usize) -> &'a [R] {
        if self.per_sample {
            &values[n * self.channels..][..self.channels]
        } else {
            values
        }
    }

    pub(crate) fn group_size(&self) -> usize {
        self.channels / self.groups * self.pixels
    }
    pub(crate) fn sample(&self) -> usize {
        self.channels * self.pixels
    }
}
