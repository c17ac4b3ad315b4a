//! Affine maps by cuBLAS, with their bias; the bias of convolutions.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CudaStorage, CustomOp2, Error, Layout, Result, Shape, Tensor};

use super::activation::blocks;
use super::launch::{Element, THREADS, by_element, launch, room, view};
use super::sums;
use crate::nn::shape::linear::Sizes;

/// See [`linear`](crate::nn::linear): of x, weight and bias, all contiguous.
pub(crate) fn linear(inputs: [(&CudaStorage, &Layout); 3], sizes: Sizes) -> Result<CudaStorage> {
    by_element!(inputs[0].0.dtype(), affine(inputs, sizes))
}

fn affine<T: Element>(
    [x, weight, bias]: [(&CudaStorage, &Layout); 3],
    sizes: Sizes,
) -> Result<CudaStorage> {
    let device = &x.0.device;
    let (rows, inputs, outputs) = (sizes.rows, sizes.inputs, sizes.outputs);
    if rows == 0 {
        return Ok(CudaStorage::wrap_cuda_slice(
            room::<T>(device, 0)?,
            device.clone(),
        ));
    }
    let of_x = Layout::contiguous_with_offset((rows, inputs), x.1.start_offset());
    let of_weight = Layout::contiguous_with_offset((outputs, inputs), weight.1.start_offset());
    let turned = of_weight.transpose(0, 1)?;
    let sizes = (1, rows, outputs, inputs);
    let mut y = x.0.matmul(weight.0, sizes, &of_x, &turned)?;
    let bias = view::<T>(bias.0, bias.1)?;
    let (count, pixels) = (rows * outputs, 1_usize);
    let to = y.as_cuda_slice_mut::<T>()?;
    launch!(device, SUMS, "add_bias_to", T, blocks(count), THREADS; to, &bias, &outputs, &pixels, &count);
    Ok(y)
}

/// ∂L/∂x, ∂L/∂W and ∂L/∂b, each where it is wanted.
pub(crate) fn linear_gradients(
    [x, weight, bias]: [&Tensor; 3],
    dy: &Tensor,
    sizes: Sizes,
) -> Result<[Option<Tensor>; 3]> {
    let (rows, inputs, outputs) = (sizes.rows, sizes.inputs, sizes.outputs);
    let dy = dy.contiguous()?.reshape((rows, outputs))?;
    let wanted = |t: &Tensor, f: &dyn Fn() -> Result<Tensor>| t.track_op().then(f).transpose();
    Ok([
        wanted(x, &|| dy.matmul(&weight.detach())?.reshape(x.shape()))?,
        wanted(weight, &|| {
            dy.t()?.matmul(&x.detach().reshape((rows, inputs))?)
        })?,
        wanted(bias, &|| sums::of_rows(&dy, outputs))?,
    ])
}

/// Images with a bias of each channel.
pub(crate) fn with_bias(x: &Tensor, bias: &Tensor) -> Result<Tensor> {
    x.contiguous()?.apply_op2(&bias.contiguous()?, Bias)
}

struct Bias;

impl CustomOp2 for Bias {
    fn name(&self) -> &'static str {
        "bias of channels"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        Err(Error::Msg("a kernel got a tensor that is not on a GPU".into()).bt())
    }

    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        of_x: &Layout,
        bias: &CudaStorage,
        of_bias: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let y = by_element!(x.dtype(), biased((x, of_x), (bias, of_bias)))?;
        Ok((y, of_x.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let dbias = bias.track_op().then(|| sums::of_channels(dy)).transpose()?;
        Ok((x.track_op().then(|| dy.clone()), dbias))
    }
}

fn biased<T: Element>(
    x: (&CudaStorage, &Layout),
    bias: (&CudaStorage, &Layout),
) -> Result<CudaStorage> {
    let device = &x.0.device;
    let count = x.1.shape().elem_count();
    let channels = bias.1.shape().elem_count();
    let pixels = x.1.dims().iter().skip(2).product::<usize>();
    let (x, bias) = (view::<T>(x.0, x.1)?, view::<T>(bias.0, bias.1)?);
    let mut y = room::<T>(device, count)?;
    launch!(device, SUMS, "add_bias", T, blocks(count), THREADS; &x, &bias, &mut y, &channels, &pixels, &count);
    Ok(CudaStorage::wrap_cuda_slice(y, device.clone()))
}
