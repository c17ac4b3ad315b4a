//! Convolution of images with zero padding; with stride 1 where it is trained.

use std::fmt;
use std::sync::Arc;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, Device, Layout, Result, Shape, Tensor};

use super::composed;
use super::path::Path;
use super::shape::conv2d::Geometry;
use super::shape::linear::bias_or_zeros;
use crate::Error;
use crate::nn::cpu::buffer::{by_dtype, load, tensor, with};
use crate::nn::cpu::convolution::{Convolution, bias_gradient, weight_gradient};
use crate::nn::cpu::pointwise::Pointwise;
use crate::nn::cpu::real::Real;
use crate::nn::cpu::winograd::{self, Winograd};

/// Convolution (cross-correlation, as in every deep-learning library) with stride 1.
///
/// # Formula `[eq:conv2d]`
/// ```text
/// y[n,o,i,j] = b[o] + Σ_{c,k,l} w[o,c,k,l] · x[n,c,i+k−p,j+l−p]      x = 0 outside the image
/// ∂L/∂x      = the convolution of ∂L/∂y with w flipped in (k,l) and transposed in (o,c)
/// ∂L/∂w[o,c,k,l] = Σ_{n,i,j} ∂L/∂y[n,o,i,j] · x[n,c,i+k−p,j+l−p],   ∂L/∂b[o] = Σ_{n,i,j} ∂L/∂y[n,o,i,j]
/// ```
///
/// # Shapes
/// `x: [N, C, H, W]`, `weight: [O, C, kh, kw]`, `bias: [O]` → `[N, O, H + 2p − kh + 1, W + 2p − kw + 1]`.
///
/// # Errors
/// Shapes that do not fit, a kernel larger than the padded image, `padding ≥` the kernel's side.
pub fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    padding: usize,
) -> Result<Tensor> {
    conv2d_strided(x, weight, bias, 1, (padding, padding))
}

/// The convolution of a network that is only run: any stride, each direction with its own padding.
///
/// # Formula
/// `[eq:conv2d]` at every `stride`-th pixel: `y[n,o,i,j]` reads `x[n,c,s·i+k−p₀,s·j+l−p₁]`.
///
/// # Shapes
/// As [`conv2d`], the sides of the output `⌊(H + 2p − k)/s⌋ + 1`.
///
/// # Errors
/// As [`conv2d`]; stride 0; on the way back, a stride other than 1.
pub fn conv2d_strided(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    stride: usize,
    padding: (usize, usize),
) -> Result<Tensor> {
    let bias = bias_or_zeros(bias, weight)?;
    if Path::of(x) == Path::Composed {
        #[cfg(feature = "cudnn")]
        {
            let geometry = Geometry::new(x.dims(), weight.dims(), bias.dims(), stride, padding)?;
            if let Some(y) = crate::nn::cuda::cudnn::conv2d(x, weight, &geometry)? {
                if crate::nn::cuda::serve([&y, &bias]) {
                    return crate::nn::cuda::with_bias(&y, &bias);
                }
                return y.broadcast_add(&bias.reshape((1, (), 1, 1))?);
            }
        }
        return composed::conv2d_strided(x, weight, Some(&bias), stride, padding);
    }
    x.contiguous()?.apply_op3(
        &weight.contiguous()?,
        &bias.contiguous()?,
        Conv2d { stride, padding },
    )
}

/// Backend of convolutions on a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Convolutions {
    /// This crate: the CPU.
    Own,
    /// cuDNN, which was tested on this GPU.
    Cudnn,
    /// candle, where cuDNN is missing or the program was built without the feature `cudnn`.
    Composed,
    /// cuDNN, but candle in the types of elements in which cuDNN failed its test on this GPU: which, and how.
    CudnnIsWrong(Arc<str>),
}

impl Convolutions {
    /// Those of a device; the first question about a GPU tests its cuDNN.
    pub fn on(device: &Device) -> Self {
        match device {
            Device::Cpu => Self::Own,
            #[cfg(feature = "cudnn")]
            Device::Cuda(device) => crate::nn::cuda::cudnn::on(device),
            _ => Self::Composed,
        }
    }
}

impl fmt::Display for Convolutions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => f.write_str("sadm"),
            Self::Cudnn => f.write_str("cuDNN"),
            Self::Composed => f.write_str("candle"),
            Self::CudnnIsWrong(where_and_how) => write!(
                f,
                "cuDNN, by candle where cuDNN failed its test: {where_and_how}"
            ),
        }
    }
}

struct Conv2d {
    stride: usize,
    padding: (usize, usize),
}

impl CustomOp3 for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x_dims, w_dims) = (x_layout.dims(), weight_layout.dims());
        let geometry = Geometry::new(
            x_dims,
            w_dims,
            bias_layout.dims(),
            self.stride,
            self.padding,
        )?;
        let (height, width) = geometry.out();
        let shape = Shape::from((geometry.batch, geometry.outputs, height, width));
        let inputs = [(x, x_layout), (weight, weight_layout), (bias, bias_layout)];
        let y = by_dtype!(x.dtype(), "conv2d", forward(inputs, &geometry))?;
        Ok((y, shape))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        if self.stride != 1 {
            let what = "stride of a convolution with gradients";
            return Err(Error::invalid(what, "be 1", self.stride).into());
        }
        let geometry = Geometry::new(x.dims(), weight.dims(), bias.dims(), 1, self.padding)?;
        by_dtype!(
            x.dtype(),
            "conv2d",
            backward([x, weight, bias], grad, &geometry)
        )
    }
}

fn forward<R: Real>(
    inputs: [(&CpuStorage, &Layout); 3],
    geometry: &Geometry,
) -> Result<CpuStorage> {
    let [x, weight, bias] = inputs.map(|(storage, layout)| load::<R>(storage, layout));
    let (x, bias) = (x?, bias?);
    let weight = weight?;
    let y = if geometry.is_pointwise() {
        Pointwise::new(geometry, &weight).of(&x, Some(&bias))
    } else if winograd::serves(geometry) {
        Winograd::new(geometry, &weight).of(&x, Some(&bias))
    } else {
        Convolution::new(geometry, &weight).of(&x, Some(&bias))
    };
    Ok(R::store(y, inputs[0].0.dtype()))
}

type Gradients = (Option<Tensor>, Option<Tensor>, Option<Tensor>);

fn backward<R: Real>(
    inputs: [&Tensor; 3],
    grad: &Tensor,
    geometry: &Geometry,
) -> Result<Gradients> {
    let [x, weight, bias] = inputs;
    let dtype = x.dtype();
    with::<R, _>(grad, |grad| {
        let x_grad = if x.track_op() {
            let transposed = geometry.transposed();
            let values = with(weight, |weight| {
                Ok(if transposed.is_pointwise() {
                    Pointwise::back(&transposed, weight).of(grad, None)
                } else if winograd::serves(&transposed) {
                    Winograd::back(&transposed, weight).of(grad, None)
                } else {
                    Convolution::back(&transposed, weight).of(grad, None)
                })
            })?;
            Some(tensor(values, x.shape(), dtype))
        } else {
            None
        };
        let weight_grad = if weight.track_op() {
            let of = if winograd::serves(geometry) {
                winograd::weight_gradient
            } else {
                weight_gradient
            };
            let values = with(x, |x| Ok(of(x, grad, geometry)))?;
            Some(tensor(values, weight.shape(), dtype))
        } else {
            None
        };
        let bias_grad = bias
            .track_op()
            .then(|| tensor(bias_gradient(grad, geometry), bias.shape(), dtype));
        Ok((x_grad, weight_grad, bias_grad))
    })
}
