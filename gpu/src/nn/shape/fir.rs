//! The sizes of a change of resolution by 2 through a filter.

use candle_core::{Result, Tensor};

use crate::error::Error;

/// A smaller and a larger image, and the taps that tie their pixels: tap k of the small pixel i is the large pixel 2i + k − p.
#[derive(Debug, Clone)]
pub(crate) struct Fir {
    batch: usize,
    channels: usize,
    pub(crate) small: (usize, usize),
    pub(crate) large: (usize, usize),
    pub(crate) padding: usize,
    up: bool,
}

impl Fir {
    /// Those of a reduction of `x`.
    pub(crate) fn down(x: &Tensor, taps: &[f64], padding: usize) -> Result<Self> {
        let (batch, channels, height, width) = x.dims4()?;
        let reduced = |side: usize| {
            let padded = side + 2 * padding;
            if taps.is_empty() || taps.len() > padded {
                let must = format!("be between 1 and the padded image side {padded}");
                return Err(Error::invalid(
                    "taps of a resampling filter",
                    must,
                    taps.len(),
                ));
            }
            Ok((padded - taps.len()) / 2 + 1)
        };
        Ok(Self {
            batch,
            channels,
            small: (reduced(height)?, reduced(width)?),
            large: (height, width),
            padding,
            up: false,
        })
    }

    /// Those of an enlargement of `x`.
    pub(crate) fn up(x: &Tensor, taps: &[f64], padding: usize) -> Result<Self> {
        let (batch, channels, height, width) = x.dims4()?;
        let enlarged = |side: usize| {
            let whole = 2 * side.max(1) - 2 + taps.len();
            if taps.is_empty() || side == 0 || 2 * padding >= whole {
                let must = format!("be less than half of the {whole} pixels of a side without it");
                return Err(Error::invalid(
                    "padding of a resampling filter",
                    must,
                    padding,
                ));
            }
            Ok(whole - 2 * padding)
        };
        Ok(Self {
            batch,
            channels,
            small: (height, width),
            large: (enlarged(height)?, enlarged(width)?),
            padding,
            up: true,
        })
    }

    /// That of the result.
    pub(crate) fn shape(&self) -> (usize, usize, usize, usize) {
        let (height, width) = if self.up { self.large } else { self.small };
        (self.batch, self.channels, height, width)
    }

    /// Whether two equal taps without padding tie each small pixel to a block of its own.
    pub(crate) fn is_of_blocks(&self, taps: &[f64]) -> bool {
        let blocks = self.large == (2 * self.small.0, 2 * self.small.1);
        blocks && self.padding == 0 && matches!(*taps, [a, b] if a.total_cmp(&b).is_eq())
    }
}
