//! Layers of EDM's networks: what they start from, and convolutions with a change of resolution.

use candle_core::Tensor;

use super::super::blocks::like;
use crate::nn::{
    Packing, conv2d, fir_down, fir_up, group_norm_eps, group_norm_silu_eps, linear, self_attention,
};
use crate::params::{Builder, Init};
use crate::{Error, Result};

/// Law of the first weights, whose scale follows from the numbers of inputs and outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Law {
    /// Uniform, variance 2/(inputs + outputs) (Glorot and Bengio 2010).
    XavierUniform,
    /// Uniform, variance 1/inputs (He et al. 2015, with gain 1).
    KaimingUniform,
    /// Normal, variance 1/inputs.
    KaimingNormal,
}

/// What a layer starts from: a law, and what its weights and biases are multiplied by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in super::super) struct Start {
    pub(in super::super) law: Law,
    pub(in super::super) weight: f64,
    pub(in super::super) bias: f64,
}

impl Start {
    /// Weights by a law times a factor, biases 0.
    pub(in super::super) const fn weights(law: Law, weight: f64) -> Self {
        Self {
            law,
            weight,
            bias: 0.0,
        }
    }

    /// Weight and bias of a convolution with kernels of side k.
    pub(in super::super) fn kernel(
        self,
        [inputs, outputs]: [usize; 2],
        k: usize,
        at: &Builder,
    ) -> Result<(Tensor, Tensor)> {
        self.kernel_of([inputs, outputs], &[k, k], at)
    }

    /// Those of kernels with these sides.
    pub(in super::super) fn kernel_of(
        self,
        [inputs, outputs]: [usize; 2],
        sides: &[usize],
        at: &Builder,
    ) -> Result<(Tensor, Tensor)> {
        let places: usize = sides.iter().product();
        let fans = [inputs * places, outputs * places];
        let shape = [&[outputs, inputs], sides].concat();
        let weight = self.init(self.weight, fans);
        Ok((
            at.get(shape, "weight", weight)?,
            at.get(outputs, "bias", self.init(self.bias, fans))?,
        ))
    }

    fn init(self, factor: f64, [inputs, outputs]: [usize; 2]) -> Init {
        if factor.abs() <= 0.0 {
            return Init::Zeros;
        }
        let (inputs, outputs) = (inputs.max(1) as f64, outputs.max(1) as f64);
        match self.law {
            Law::XavierUniform => Init::Uniform {
                bound: factor * (6.0 / (inputs + outputs)).sqrt(),
            },
            Law::KaimingUniform => Init::Uniform {
                bound: factor * (3.0 / inputs).sqrt(),
            },
            Law::KaimingNormal => Init::Normal {
                std: factor * inputs.recip().sqrt(),
            },
        }
    }
}

/// An affine map, or a linear one.
#[derive(Debug, Clone)]
pub(in super::super) struct Map {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Map {
    pub(in super::super) fn new(
        [inputs, outputs]: [usize; 2],
        start: Start,
        at: &Builder,
    ) -> Result<Self> {
        let bias = start.init(start.bias, [inputs, outputs]);
        let mut map = Self::linear([inputs, outputs], start, at)?;
        map.bias = Some(at.get(outputs, "bias", bias)?);
        Ok(map)
    }

    /// Without a bias.
    pub(in super::super) fn linear(
        [inputs, outputs]: [usize; 2],
        start: Start,
        at: &Builder,
    ) -> Result<Self> {
        let weight = start.init(start.weight, [inputs, outputs]);
        Ok(Self {
            weight: at.get((outputs, inputs), "weight", weight)?,
            bias: None,
        })
    }

    pub(in super::super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let bias = self.bias.as_ref().map(|bias| like(bias, x)).transpose()?;
        Ok(linear(x, &like(&self.weight, x)?, bias.as_ref())?)
    }
}

/// Group normalisation in at most 32 groups of at least four channels.
#[derive(Debug, Clone)]
pub(in super::super) struct Norm {
    weight: Tensor,
    bias: Tensor,
    groups: usize,
    eps: f64,
}

impl Norm {
    /// In `min(32, C/4)` groups, rounded down, as EDM's networks.
    pub(in super::super) fn of_four(channels: usize, eps: f64, at: &Builder) -> Result<Self> {
        Self::new((channels / 4).min(32), channels, eps, at)
    }

    pub(in super::super) fn new(
        groups: usize,
        channels: usize,
        eps: f64,
        at: &Builder,
    ) -> Result<Self> {
        if groups == 0 || !channels.is_multiple_of(groups) {
            let must = format!("be positive and divide {channels} channels");
            return Err(Error::invalid(
                "number of groups of a normalisation",
                must,
                groups,
            ));
        }
        Ok(Self {
            weight: at.get(channels, "weight", Init::Ones)?,
            bias: at.get(channels, "bias", Init::Zeros)?,
            groups,
            eps,
        })
    }

    pub(in super::super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (gamma, beta) = (like(&self.weight, x)?, like(&self.bias, x)?);
        Ok(group_norm_eps(x, self.groups, &gamma, &beta, self.eps)?)
    }

    /// `silu(norm(x))`.
    pub(in super::super) fn forward_silu(&self, x: &Tensor) -> Result<Tensor> {
        let (gamma, beta) = (like(&self.weight, x)?, like(&self.bias, x)?);
        Ok(group_norm_silu_eps(
            x,
            self.groups,
            &gamma,
            &beta,
            self.eps,
        )?)
    }

    /// `silu(norm(x) (1 + s) + t)` with (s, t) the halves of `affine: [B, 2C]`.
    pub(in super::super) fn forward_modulated_silu(
        &self,
        x: &Tensor,
        affine: &Tensor,
    ) -> Result<Tensor> {
        let channels = x.dim(1)?;
        let scale = (affine.narrow(1, 0, channels)? + 1.0)?;
        let shift = affine.narrow(1, channels, channels)?;
        let gamma = scale.broadcast_mul(&like(&self.weight, x)?)?;
        let beta = (scale.broadcast_mul(&like(&self.bias, x)?)? + shift)?;
        Ok(group_norm_silu_eps(
            x,
            self.groups,
            &gamma,
            &beta,
            self.eps,
        )?)
    }
}

/// How the rows of a layer that makes queries, keys and values are ordered, the slowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in super::super) enum Order {
    /// (q, k, v), head, channel, as [`self_attention`] takes them: guided diffusion's new order.
    Part,
    /// Head, (q, k, v), channel: its legacy order.
    Head,
    /// Head, channel, (q, k, v): EDM's.
    HeadChannel,
}

impl Order {
    /// The rows of `x: [3C, …]` ordered as [`self_attention`] takes them, as `[3C, columns]`.
    fn undone(self, x: &Tensor, heads: usize) -> Result<Tensor> {
        let rows = x.dim(0)?;
        let (width, columns) = (rows / (3 * heads), x.elem_count() / rows);
        let ordered = match self {
            Self::Part => return Ok(x.reshape((rows, columns))?),
            Self::Head => x
                .reshape((heads, 3, width, columns))?
                .permute((1, 0, 2, 3))?,
            Self::HeadChannel => x
                .reshape((heads, width, 3, columns))?
                .permute((2, 0, 1, 3))?,
        };
        Ok(ordered.contiguous()?.reshape((rows, columns))?)
    }
}

/// Self-attention over the pixels of `x: [B, C, H, W]`, of queries, keys and values made by one map of each pixel.
pub(in super::super) fn attended(
    x: &Tensor,
    (weight, bias): (&Tensor, &Tensor),
    heads: usize,
    order: Order,
) -> Result<Tensor> {
    let (rows, columns) = (weight.dim(0)?, weight.dim(1)?);
    let weight = order.undone(&like(weight, x)?, heads)?;
    let bias = order.undone(&like(bias, x)?, heads)?.reshape(rows)?;
    let weight = weight.reshape((rows, columns, 1, 1))?;
    let qkv = conv2d(x, &weight, Some(&bias), 0)?.flatten_from(2)?;
    let y = self_attention(&qkv, heads, Packing::Channels)?;
    Ok(y.reshape(x.shape())?)
}

/// What a convolution does to the resolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resampling {
    /// Nothing.
    None,
    /// Halves it.
    Down,
    /// Doubles it.
    Up,
}

/// Shape of a [`Convolution`].
#[derive(Debug, Clone, PartialEq)]
pub struct ConvolutionConfig {
    /// Input channels.
    pub inputs: usize,
    /// Output channels; those of the input without a kernel.
    pub outputs: usize,
    /// Side of the kernel; 0 for none.
    pub kernel: usize,
    /// What it does to the resolution.
    pub resampling: Resampling,
    /// The taps of the filter.
    pub taps: Vec<f64>,
    /// Whether filter and kernel act as one operation.
    pub fused: bool,
}

impl ConvolutionConfig {
    /// One that keeps the resolution.
    pub fn plain([inputs, outputs]: [usize; 2], kernel: usize) -> Self {
        Self {
            inputs,
            outputs,
            kernel,
            resampling: Resampling::None,
            taps: vec![1.0, 1.0],
            fused: false,
        }
    }
}

/// A convolution with a change of resolution before it, or one with it.
///
/// # Formula
/// With n taps, p = ⌊(n − 1)/2⌋, a kernel of side k and q = ⌊k/2⌋:
/// ```text
/// none:        y = conv(x; padding q)
/// down:        y = conv(fir_down(x; p); q)            fused:  y = fir_down(conv(x; q + p); 0)
/// up:          y = conv(fir_up(x; p); q)              fused:  y = conv(fir_up(x; max(p − q, 0)); max(q − p, 0))
/// ```
///
/// # Source
/// Karras et al. 2022 (arXiv:2206.00364), App. F.1; the fused form after Zhang 2019 (arXiv:1904.11486) filters what the kernel made.
#[derive(Debug, Clone)]
pub struct Convolution {
    config: ConvolutionConfig,
    kernel: Option<(Tensor, Tensor)>,
}

impl Convolution {
    /// Takes its parameters from `at`, making those that do not exist; the filter is a constant `resample_filter`.
    ///
    /// # Errors
    /// No taps; parameters of other shapes.
    pub fn new(config: ConvolutionConfig, at: &Builder) -> Result<Self> {
        Self::with(config, Start::weights(Law::KaimingNormal, 1.0), at)
    }

    pub(in super::super) fn with(
        config: ConvolutionConfig,
        start: Start,
        at: &Builder,
    ) -> Result<Self> {
        let ConvolutionConfig {
            inputs,
            outputs,
            kernel: k,
            ..
        } = config;
        if config.resampling != Resampling::None {
            filter(&config.taps, at)?;
        }
        let kernel = (k > 0).then(|| start.kernel([inputs, outputs], k, at));
        let kernel = kernel.transpose()?;
        Ok(Self { config, kernel })
    }

    /// `x: [B, C, H, W]` → `[B, outputs, H', W']`.
    ///
    /// # Errors
    /// Shapes that do not fit.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let ConvolutionConfig {
            ref taps, kernel, ..
        } = self.config;
        let (p, q) = ((taps.len().max(1) - 1) / 2, kernel / 2);
        let fused = self.config.fused && kernel > 0;
        match (self.config.resampling, fused) {
            (Resampling::None, _) => self.convolved(x, q),
            (Resampling::Down, false) => self.convolved(&fir_down(x, taps, p)?, q),
            (Resampling::Down, true) => Ok(fir_down(&self.convolved(x, q + p)?, taps, 0)?),
            (Resampling::Up, false) => self.convolved(&fir_up(x, taps, p)?, q),
            (Resampling::Up, true) => {
                let wide = fir_up(x, taps, p.saturating_sub(q))?;
                self.convolved(&wide, q.saturating_sub(p))
            }
        }
    }

    fn convolved(&self, x: &Tensor, padding: usize) -> Result<Tensor> {
        let Some((weight, bias)) = &self.kernel else {
            return Ok(x.clone());
        };
        let (weight, bias) = (like(weight, x)?, like(bias, x)?);
        Ok(conv2d(x, &weight, Some(&bias), padding)?)
    }
}

/// The constant `resample_filter`, `[1, 1, n, n]`: `r rᵀ/(Σ r)²`.
fn filter(taps: &[f64], at: &Builder) -> Result<()> {
    let (n, sum) = (taps.len(), taps.iter().sum::<f64>());
    if n == 0 || !(sum.is_finite() && sum.abs() > 0.0) {
        let must = "be taps whose sum is finite and not 0";
        return Err(Error::invalid(
            "network.resample_filter",
            must,
            format!("{taps:?}"),
        ));
    }
    let values = || {
        let row = |a: &f64| taps.iter().map(|b| a * b / (sum * sum)).collect::<Vec<_>>();
        taps.iter().flat_map(row).collect()
    };
    at.constant((1, 1, n, n), "resample_filter", values)?;
    Ok(())
}
