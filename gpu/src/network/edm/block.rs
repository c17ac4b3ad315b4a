//! The block of which EDM's networks are made.

use candle_core::Tensor;

use super::super::Mode;
use super::super::blocks::check_heads;
use super::super::recompute::Block;
use super::layers::{
    Convolution, ConvolutionConfig, Law, Map, Norm, Order, Resampling, Start, attended,
};
use crate::Result;
use crate::nn::scaled_sum;
use crate::params::Builder;

/// Shape of a [`UNetBlock`].
#[derive(Debug, Clone, PartialEq)]
pub struct BlockConfig {
    /// Input channels.
    pub inputs: usize,
    /// Output channels.
    pub outputs: usize,
    /// Width of the embedding.
    pub emb: usize,
    /// What it does to the resolution.
    pub resampling: Resampling,
    /// The taps of the resampling filter.
    pub taps: Vec<f64>,
    /// Whether a change of resolution alone makes the residual a convolution.
    pub resample_proj: bool,
    /// Heads of the attention; 0 for no attention.
    pub heads: usize,
    /// What each sum of a branch and its residual is multiplied by.
    pub skip_scale: f64,
    /// Added to the variance in the normalisations.
    pub eps: f64,
    /// Whether the embedding scales and shifts after the normalisation instead of being added before.
    pub adaptive_scale: bool,
    /// Rate of dropout before the second convolution.
    pub dropout: f64,
}

impl BlockConfig {
    /// Kernel of the residual branch, or `None` where it is the input itself.
    pub(super) fn skip(&self) -> Option<usize> {
        let resampled = self.resampling != Resampling::None;
        if self.inputs != self.outputs || (resampled && self.resample_proj) {
            return Some(1);
        }
        resampled.then_some(0)
    }

    /// A convolution of the first branch, or of the residual, with the block's change of resolution.
    fn resampled(&self, kernel: usize) -> ConvolutionConfig {
        ConvolutionConfig {
            resampling: self.resampling,
            taps: self.taps.clone(),
            ..ConvolutionConfig::plain([self.inputs, self.outputs], kernel)
        }
    }
}

/// What the layers of a block start from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Starts {
    pub(super) all: Start,
    /// The last layer of a branch.
    pub(super) zero: Start,
    pub(super) attention: Start,
}

/// A residual block with an embedding of the condition, a change of resolution and self-attention.
///
/// # Formula
/// ```text
/// h = conv0(silu(norm0(x)))                                     resampled with x where it is
/// h = silu(norm1(h + affine(e)))                                or with (s, t) = halves of affine(e), adaptive:
/// h = silu(norm1(h) (1 + s) + t)
/// y = c (conv1(dropout(h)) + skip(x))                           c = skip_scale
/// y = c (y + proj(attention(qkv(norm2(y)))))                    with attention
/// ```
///
/// # Source
/// Karras et al. 2022 (arXiv:2206.00364), App. F; Dhariwal and Nichol 2021 (arXiv:2105.05233) for the adaptive form.
#[derive(Debug, Clone)]
pub struct UNetBlock {
    /// Its name in the network, by which its dropout is drawn.
    name: String,
    config: BlockConfig,
    norm0: Norm,
    conv0: Convolution,
    affine: Map,
    norm1: Norm,
    conv1: Convolution,
    skip: Option<Convolution>,
    attention: Option<Attention>,
}

/// Self-attention over the pixels; the rows of `qkv` are ordered head, channel, (q, k, v).
#[derive(Debug, Clone)]
struct Attention {
    norm2: Norm,
    qkv: (Tensor, Tensor),
    proj: Convolution,
}

impl UNetBlock {
    /// Takes its parameters from `at`, making those that do not exist; `name` is the block's in its network.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for a configuration that cannot be built.
    pub fn new(config: BlockConfig, name: &str, at: &Builder) -> Result<Self> {
        let start = Start::weights(Law::KaimingNormal, 1.0);
        let starts = Starts {
            all: start,
            zero: start,
            attention: start,
        };
        Self::with(config, name, starts, at)
    }

    pub(super) fn with(
        config: BlockConfig,
        name: &str,
        starts: Starts,
        at: &Builder,
    ) -> Result<Self> {
        let BlockConfig {
            inputs,
            outputs,
            emb,
            eps,
            ..
        } = config;
        let affine = if config.adaptive_scale {
            2 * outputs
        } else {
            outputs
        };
        let conv = |kernel, name: &str| {
            Convolution::with(config.resampled(kernel), starts.all, &at.pp(name))
        };
        let last = ConvolutionConfig::plain([outputs, outputs], 3);
        let attention = if config.heads > 0 {
            Some(Attention::new(&config, starts, at)?)
        } else {
            None
        };
        Ok(Self {
            name: name.to_owned(),
            norm0: Norm::of_four(inputs, eps, &at.pp("norm0"))?,
            conv0: conv(3, "conv0")?,
            affine: Map::new([emb, affine], starts.all, &at.pp("affine"))?,
            norm1: Norm::of_four(outputs, eps, &at.pp("norm1"))?,
            conv1: Convolution::with(last, starts.zero, &at.pp("conv1"))?,
            skip: config
                .skip()
                .map(|kernel| conv(kernel, "skip"))
                .transpose()?,
            attention,
            config,
        })
    }

    /// `x: [B, C, H, W]`, `emb: [B, E]` → `[B, outputs, H', W']`.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn forward(&self, x: &Tensor, emb: &Tensor, mode: Mode<'_>) -> Result<Tensor> {
        self.of_uses([x, x], emb, mode)
    }

    /// Of an input that comes once for each use.
    fn of_uses(&self, x: [&Tensor; 2], emb: &Tensor, mode: Mode<'_>) -> Result<Tensor> {
        let [residual, branch] = x;
        let h = self.conv0.forward(&self.norm0.forward_silu(branch)?)?;
        let affine = self.affine.forward(emb)?;
        let h = if self.config.adaptive_scale {
            self.norm1.forward_modulated_silu(&h, &affine)?
        } else {
            let shift = affine.unsqueeze(2)?.unsqueeze(3)?;
            self.norm1.forward_silu(&h.broadcast_add(&shift)?)?
        };
        let h = self
            .conv1
            .forward(&mode.dropout(&h, self.config.dropout, &self.name)?)?;
        let residual = match &self.skip {
            Some(skip) => skip.forward(residual)?,
            None => residual.clone(),
        };
        let y = self.scaled(&h, &residual)?;
        match &self.attention {
            Some(attention) => {
                let a = attention.forward(&y, self.config.heads)?;
                self.scaled(&a, &y)
            }
            None => Ok(y),
        }
    }

    /// The sum of a branch and its residual, times `skip_scale`.
    fn scaled(&self, branch: &Tensor, residual: &Tensor) -> Result<Tensor> {
        if self.config.skip_scale.to_bits() == 1_f64.to_bits() {
            return Ok((branch + residual)?);
        }
        Ok(scaled_sum(branch, residual, self.config.skip_scale)?)
    }
}

impl Block for UNetBlock {
    fn forward(&self, x: [&Tensor; 2], emb: &Tensor, mode: Mode<'_>) -> Result<Tensor> {
        self.of_uses(x, emb, mode)
    }
}

impl Attention {
    fn new(config: &BlockConfig, starts: Starts, at: &Builder) -> Result<Self> {
        let BlockConfig {
            outputs: c,
            heads,
            eps,
            ..
        } = *config;
        check_heads(c, heads)?;
        let proj = ConvolutionConfig::plain([c, c], 1);
        Ok(Self {
            norm2: Norm::of_four(c, eps, &at.pp("norm2"))?,
            qkv: starts.attention.kernel([c, 3 * c], 1, &at.pp("qkv"))?,
            proj: Convolution::with(proj, starts.zero, &at.pp("proj"))?,
        })
    }

    /// What is added to `x: [B, C, H, W]`.
    fn forward(&self, x: &Tensor, heads: usize) -> Result<Tensor> {
        let n = self.norm2.forward(x)?;
        let y = attended(&n, (&self.qkv.0, &self.qkv.1), heads, Order::HeadChannel)?;
        self.proj.forward(&y)
    }
}
