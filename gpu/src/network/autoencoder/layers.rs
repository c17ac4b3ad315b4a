//! Convolutions of autoencoders.

use candle_core::Tensor;

use crate::Result;
use crate::network::blocks::like;
use crate::nn::{conv2d, conv2d_halved};
use crate::params::{Builder, Init};

/// PyTorch's law for weights and biases: a variance of 1/(3 inputs).
fn start(fan_in: usize) -> Init {
    let bound = (fan_in.max(1) as f64).sqrt().recip();
    Init::Uniform { bound }
}

/// A convolution with odd kernels, of stride 1 unless it halves.
#[derive(Debug, Clone)]
pub(super) struct Kernels {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Kernels {
    pub(super) fn new([inputs, outputs]: [usize; 2], side: usize, at: &Builder) -> Result<Self> {
        let mut kernels = Self::without_bias([inputs, outputs], side, at)?;
        kernels.bias = Some(at.get(outputs, "bias", start(inputs * side * side))?);
        Ok(kernels)
    }

    pub(super) fn without_bias(
        [inputs, outputs]: [usize; 2],
        side: usize,
        at: &Builder,
    ) -> Result<Self> {
        let init = start(inputs * side * side);
        let weight = at.get((outputs, inputs, side, side), "weight", init)?;
        Ok(Self { weight, bias: None })
    }

    pub(super) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let padding = self.weight.dim(3)? / 2;
        let (weight, bias) = self.of_type(x)?;
        Ok(conv2d(x, &weight, bias.as_ref(), padding)?)
    }

    /// Every second pixel; the kernels stand around it if `centred`, else below and right of it.
    pub(super) fn forward_halved(&self, x: &Tensor, centred: bool) -> Result<Tensor> {
        let (weight, bias) = self.of_type(x)?;
        Ok(conv2d_halved(x, &weight, bias.as_ref(), centred)?)
    }

    fn of_type(&self, x: &Tensor) -> Result<(Tensor, Option<Tensor>)> {
        let bias = self.bias.as_ref().map(|bias| like(bias, x)).transpose()?;
        Ok((like(&self.weight, x)?, bias))
    }
}
