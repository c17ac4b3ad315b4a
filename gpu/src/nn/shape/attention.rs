//! The sizes of self-attention.

use candle_core::{Result, Shape};

use crate::error::Error;

/// How the tokens of [`self_attention`](crate::nn::self_attention) lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// `[N, 3C, T]` → `[N, C, T]`: images, a token is a pixel.
    Channels,
    /// `[N, T, 3C]` → `[N, T, C]`: sequences.
    Tokens,
}

/// The sizes of one self-attention, checked.
#[derive(Clone, Copy)]
pub(crate) struct Sizes {
    pub(crate) batch: usize,
    pub(crate) tokens: usize,
    pub(crate) heads: usize,
    /// Channels of one head.
    pub(crate) width: usize,
    pub(crate) packing: Packing,
}

impl Sizes {
    pub(crate) fn new(qkv: &[usize], heads: usize, packing: Packing) -> Result<Self> {
        let &[batch, rows, columns] = qkv else {
            return Err(Error::shape("packed q, k, v", "of rank 3", qkv).into());
        };
        let (tokens, channels) = match packing {
            Packing::Channels => (columns, rows),
            Packing::Tokens => (rows, columns),
        };
        if heads == 0 || channels == 0 || tokens == 0 || !channels.is_multiple_of(3 * heads) {
            let must = format!("be positive and divide a third of the {channels} channels");
            return Err(Error::invalid("attention heads", must, heads).into());
        }
        let width = channels / (3 * heads);
        Ok(Self {
            batch,
            tokens,
            heads,
            width,
            packing,
        })
    }

    pub(crate) fn channels(&self) -> usize {
        self.heads * self.width
    }
    /// Elements of one sample of the output.
    pub(crate) fn sample(&self) -> usize {
        self.tokens * self.channels()
    }
    pub(crate) fn out_shape(&self) -> Shape {
        match self.packing {
            Packing::Channels => Shape::from((self.batch, self.channels(), self.tokens)),
            Packing::Tokens => Shape::from((self.batch, self.tokens, self.channels())),
        }
    }
}
