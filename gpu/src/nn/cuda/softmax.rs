//! Softmax over rows.

use candle_core::{CudaStorage, Layout, Result, Tensor};

use super::launch::{Element, Read, by_element, gpu, launch, room, tensor, threads_for, view};

/// See [`softmax_last`](crate::nn::softmax_last): of `scale · x`.
pub(crate) fn softmax(x: &CudaStorage, layout: &Layout, scale: f64) -> Result<CudaStorage> {
    by_element!(
        candle_core::backend::BackendStorage::dtype(x),
        forward(x, layout, scale)
    )
}

fn forward<T: Element>(x: &CudaStorage, layout: &Layout, scale: f64) -> Result<CudaStorage> {
    let device = &x.device;
    let (rows, width) = rows(layout.dims());
    let x = view::<T>(x, layout)?;
    let mut y = room::<T>(device, rows * width)?;
    launch!(device, SOFTMAX, "softmax", T, rows, threads_for(width); &x, &mut y, &width, &scale);
    Ok(CudaStorage::wrap_cuda_slice(y, device.clone()))
}

/// ∂L/∂x.
pub(crate) fn softmax_gradient(x: &Tensor, dy: &Tensor, scale: f64) -> Result<Tensor> {
    by_element!(x.dtype(), backward(x, &dy.contiguous()?, scale))
}

fn backward<T: Element>(x: &Tensor, dy: &Tensor, scale: f64) -> Result<Tensor> {
    let device = &gpu(x)?;
    let (rows, width) = rows(x.dims());
    let mut dx = room::<T>(device, rows * width)?;
    let (of_x, of_dy) = (Read::new(x), Read::new(dy));
    let (x_values, dy_values) = (of_x.view::<T>()?, of_dy.view::<T>()?);
    launch!(device, SOFTMAX, "softmax_dx", T, rows, threads_for(width); &x_values, &dy_values, &mut dx, &width, &scale);
    Ok(tensor(dx, x.shape(), device))
}

/// Rows and their width.
fn rows(dims: &[usize]) -> (usize, usize) {
    let width = dims.last().copied().unwrap_or(1);
    let count: usize = dims.iter().product();
    (count.checked_div(width).unwrap_or(0), width)
}
