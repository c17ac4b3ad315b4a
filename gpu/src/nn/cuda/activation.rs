//! Activations and gated sums, element by element.

use candle_core::backend::BackendStorage;
use candle_core::{CudaStorage, Layout, Result, Tensor};

use super::launch::{Element, Read, THREADS, by_element, gpu, launch, room, tensor, view};

/// `silu` or `gelu` of every element.
pub(crate) fn activation(name: &str, x: &CudaStorage, layout: &Layout) -> Result<CudaStorage> {
    by_element!(x.dtype(), value(name, x, layout))
}

fn value<T: Element>(name: &str, x: &CudaStorage, layout: &Layout) -> Result<CudaStorage> {
    let device = &x.device;
    let count = layout.shape().elem_count();
    let x = view::<T>(x, layout)?;
    let mut y = room::<T>(device, count)?;
    launch!(device, POINTWISE, name, T, blocks(count), THREADS; &x, &mut y, &count);
    Ok(CudaStorage::wrap_cuda_slice(y, device.clone()))
}

/// ∂L/∂x of an activation.
pub(crate) fn activation_gradient(name: &str, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
    by_element!(x.dtype(), slope(name, x, &dy.contiguous()?))
}

fn slope<T: Element>(name: &str, x: &Tensor, dy: &Tensor) -> Result<Tensor> {
    let device = &gpu(x)?;
    let count = x.elem_count();
    let mut dx = room::<T>(device, count)?;
    let (of_x, of_dy) = (Read::new(x), Read::new(dy));
    let (x_values, dy_values) = (of_x.view::<T>()?, of_dy.view::<T>()?);
    let name = format!("{name}_dx");
    launch!(device, POINTWISE, name, T, blocks(count), THREADS; &x_values, &dy_values, &mut dx, &count);
    Ok(tensor(dx, x.shape(), device))
}

/// See [`gated_sum`](crate::nn::gated_sum): of x, the gate and h, with T tokens of D numbers.
pub(crate) fn gated_sum(
    inputs: [(&CudaStorage, &Layout); 3],
    tokens: usize,
    width: usize,
) -> Result<CudaStorage> {
    by_element!(inputs[0].0.dtype(), sum(inputs, tokens, width))
}

fn sum<T: Element>(
    [x, gate, h]: [(&CudaStorage, &Layout); 3],
    tokens: usize,
    width: usize,
) -> Result<CudaStorage> {
    let device = &x.0.device;
    let (count, sample) = (x.1.shape().elem_count(), tokens * width);
    let (x, gate, h) = (
        view::<T>(x.0, x.1)?,
        view::<T>(gate.0, gate.1)?,
        view::<T>(h.0, h.1)?,
    );
    let mut y = room::<T>(device, count)?;
    launch!(device, POINTWISE, "gated_sum", T, blocks(count), THREADS; &x, &gate, &h, &mut y, &sample, &width, &count);
    Ok(CudaStorage::wrap_cuda_slice(y, device.clone()))
}

/// ∂L/∂γ and ∂L/∂h.
pub(crate) fn gated_sum_gradients(
    gate: &Tensor,
    h: &Tensor,
    dy: &Tensor,
) -> Result<(Tensor, Tensor)> {
    by_element!(h.dtype(), gradients(gate, h, &dy.contiguous()?))
}

fn gradients<T: Element>(gate: &Tensor, h: &Tensor, dy: &Tensor) -> Result<(Tensor, Tensor)> {
    let device = &gpu(h)?;
    let (_, tokens, width) = h.dims3()?;
    let (sample, count, gates) = (tokens * width, h.elem_count(), gate.elem_count());
    let (mut dgate, mut dh) = (room::<T>(device, gates)?, room::<T>(device, count)?);
    let (of_gate, of_h, of_dy) = (Read::new(gate), Read::new(h), Read::new(dy));
    let (gate_values, h_values) = (of_gate.view::<T>()?, of_h.view::<T>()?);
    let dy_values = of_dy.view::<T>()?;
    launch!(device, POINTWISE, "gated_sum_dgate", T, blocks(gates), THREADS;
        &h_values, &dy_values, &mut dgate, &sample, &width, &gates);
    launch!(device, POINTWISE, "gated_sum_dh", T, blocks(count), THREADS;
        &gate_values, &dy_values, &mut dh, &sample, &width, &count);
    Ok((
        tensor(dgate, gate.shape(), device),
        tensor(dh, h.shape(), device),
    ))
}

/// Blocks with a thread for each of `count` elements.
pub(crate) fn blocks(count: usize) -> usize {
    count.div_ceil(THREADS as usize)
}
