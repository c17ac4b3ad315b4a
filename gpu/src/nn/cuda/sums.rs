//! Sums over all rows of a matrix, all pixels of a plane, and parts of such sums.

use candle_core::cuda_backend::cudarc::driver::CudaSlice;
use candle_core::{CudaDevice, Result, Shape, Tensor};

use super::activation::blocks;
use super::launch::{Element, Read, THREADS, by_element, gpu, launch, room, tensor, threads_for};

/// Most parts into which the sums over all rows are cut: fixed, so that their order is.
pub(crate) const PARTS: usize = 128;

/// Of a matrix `[…, width]` the sum of its rows.
pub(crate) fn of_rows(x: &Tensor, width: usize) -> Result<Tensor> {
    by_element!(x.dtype(), columns(&x.contiguous()?, width))
}

fn columns<T: Element>(x: &Tensor, width: usize) -> Result<Tensor> {
    let device = &gpu(x)?;
    let rows = x.elem_count() / width;
    let together = rows.div_ceil(PARTS).max(1);
    let parts = rows.div_ceil(together);
    let count = parts * width;
    let mut sums = room::<T::Wide>(device, count)?;
    let of_x = Read::new(x);
    let values = of_x.view::<T>()?;
    launch!(device, SUMS, "column_sums", T, blocks(count), THREADS;
        &values, &mut sums, &width, &rows, &together, &count);
    totals::<T>(&sums, parts, width, width, device)
}

/// Of images `[N, C, …]` the sum of all pixels of each channel.
pub(crate) fn of_channels(x: &Tensor) -> Result<Tensor> {
    by_element!(x.dtype(), channels(&x.contiguous()?))
}

fn channels<T: Element>(x: &Tensor) -> Result<Tensor> {
    let device = &gpu(x)?;
    let (batch, channels) = (x.dim(0)?, x.dim(1)?);
    let planes = batch * channels;
    let pixels = x.elem_count().checked_div(planes).unwrap_or(0);
    let mut sums = room::<T::Wide>(device, planes)?;
    let of_x = Read::new(x);
    let values = of_x.view::<T>()?;
    launch!(device, SUMS, "plane_sums", T, planes, threads_for(pixels); &values, &mut sums, &pixels);
    totals::<T>(&sums, batch, channels, channels, device)
}

/// The sums of `parts` neighbouring rows of `width`, in the shape of all of them.
pub(crate) fn totals<T: Element>(
    sums: &CudaSlice<T::Wide>,
    parts: usize,
    width: usize,
    shape: impl Into<Shape>,
    device: &CudaDevice,
) -> Result<Tensor> {
    let shape = shape.into();
    let count = shape.elem_count();
    let mut to = room::<T>(device, count)?;
    launch!(device, SUMS, "totals", T, blocks(count), THREADS; sums, &mut to, &parts, &width, &count);
    Ok(tensor(to, shape, device))
}
