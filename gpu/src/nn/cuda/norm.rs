//! Layer and group normalisation.

use candle_core::backend::BackendStorage;
use candle_core::cuda_backend::cudarc::driver::CudaSlice;
use candle_core::{CudaDevice, CudaStorage, Layout, Result, Tensor};

use super::activation::blocks;
use super::launch::{
    Element, Read, THREADS, by_element, gpu, launch, room, tensor, threads_for, view,
};
use super::sums;
use crate::nn::LAYER_NORM_EPS;
use crate::nn::shape::group_norm::Sizes as GroupSizes;
use crate::nn::shape::layer_norm::Sizes as LayerSizes;

/// ∂L/∂x, and ∂L/∂γ and ∂L/∂β where somebody wants them.
pub(crate) type Gradients = (Tensor, Option<[Tensor; 2]>);

/// See [`layer_norm`](crate::nn::layer_norm): of x, γ, β.
pub(crate) fn layer_norm(
    inputs: [(&CudaStorage, &Layout); 3],
    sizes: &LayerSizes,
) -> Result<CudaStorage> {
    by_element!(inputs[0].0.dtype(), layer(inputs, sizes))
}

fn layer<T: Element>(
    [x, gamma, beta]: [(&CudaStorage, &Layout); 3],
    sizes: &LayerSizes,
) -> Result<CudaStorage> {
    let device = &x.0.device;
    let (width, shared) = (sizes.width, sizes.rows);
    let (x, gamma) = (view::<T>(x.0, x.1)?, view::<T>(gamma.0, gamma.1)?);
    let beta = view::<T>(beta.0, beta.1)?;
    let rows = sizes.rows * sizes.segments;
    let mut y = room::<T>(device, rows * width)?;
    launch!(device, NORM, "layer_norm", T, rows, threads_for(width);
        &x, &gamma, &beta, &mut y, &width, &shared, &LAYER_NORM_EPS);
    Ok(CudaStorage::wrap_cuda_slice(y, device.clone()))
}

/// Those of [`layer_norm`], of γ and β only where `affine`.
pub(crate) fn layer_norm_gradients(
    x: &Tensor,
    gamma: &Tensor,
    dy: &Tensor,
    sizes: &LayerSizes,
    affine: bool,
) -> Result<Gradients> {
    by_element!(
        x.dtype(),
        layer_gradients(x, gamma, &dy.contiguous()?, sizes, affine)
    )
}

fn layer_gradients<T: Element>(
    x: &Tensor,
    gamma: &Tensor,
    dy: &Tensor,
    sizes: &LayerSizes,
    affine: bool,
) -> Result<Gradients> {
    let device = &gpu(x)?;
    let (width, shared) = (sizes.width, sizes.rows);
    let rows = sizes.rows * sizes.segments;
    let mut dx = room::<T>(device, rows * width)?;
    let mut stats = room::<T::Wide>(device, 2 * rows)?;
    let (of_x, of_gamma, of_dy) = (Read::new(x), Read::new(gamma), Read::new(dy));
    let (x_values, gamma_values) = (of_x.view::<T>()?, of_gamma.view::<T>()?);
    let dy_values = of_dy.view::<T>()?;
    launch!(device, NORM, "layer_norm_dx", T, rows, threads_for(width);
        &x_values, &gamma_values, &dy_values, &mut dx, &mut stats, &width, &shared, &LAYER_NORM_EPS);
    let dx = tensor(dx, x.shape(), device);
    if !affine {
        return Ok((dx, None));
    }
    // A sample's own γ takes all of its rows; one γ for all takes them in parts.
    let together = if sizes.segments > 1 {
        sizes.rows
    } else {
        rows.div_ceil(sums::PARTS)
    }
    .max(1);
    let parts = rows.div_ceil(together);
    let count = parts * width;
    let mut parts_of = room::<T::Wide>(device, 2 * count)?;
    launch!(device, NORM, "layer_norm_affine", T, blocks(count), THREADS;
        &x_values, &dy_values, &stats, &mut parts_of, &width, &rows, &together, &count);
    let parts = if sizes.segments > 1 { 1 } else { parts };
    let affine = halves::<T>(&parts_of, parts, width, gamma, device)?;
    Ok((dx, Some(affine)))
}

/// See [`group_norm`](crate::nn::group_norm) and [`group_norm_silu`](crate::nn::group_norm_silu): of x, γ, β.
pub(crate) fn group_norm(
    inputs: [(&CudaStorage, &Layout); 3],
    sizes: &GroupSizes,
) -> Result<CudaStorage> {
    by_element!(inputs[0].0.dtype(), group(inputs, sizes))
}

fn group<T: Element>(
    [x, gamma, beta]: [(&CudaStorage, &Layout); 3],
    sizes: &GroupSizes,
) -> Result<CudaStorage> {
    let device = &x.0.device;
    let (channels, pixels, groups) = (sizes.channels / sizes.groups, sizes.pixels, sizes.groups);
    let [per_sample, silu] = [sizes.per_sample, sizes.silu].map(i32::from);
    let (x, gamma) = (view::<T>(x.0, x.1)?, view::<T>(gamma.0, gamma.1)?);
    let beta = view::<T>(beta.0, beta.1)?;
    let mut y = room::<T>(device, sizes.batch * sizes.channels * pixels)?;
    launch!(device, NORM, "group_norm", T, sizes.batch * groups, threads_for(channels * pixels);
        &x, &gamma, &beta, &mut y, &channels, &pixels, &groups,
        &per_sample, &silu, &sizes.eps);
    Ok(CudaStorage::wrap_cuda_slice(y, device.clone()))
}

/// Those of [`group_norm`].
pub(crate) fn group_norm_gradients(
    inputs: [&Tensor; 3],
    dy: &Tensor,
    sizes: &GroupSizes,
) -> Result<Gradients> {
    by_element!(
        inputs[0].dtype(),
        group_gradients(inputs, &dy.contiguous()?, sizes)
    )
}

fn group_gradients<T: Element>(
    [x, gamma, beta]: [&Tensor; 3],
    dy: &Tensor,
    sizes: &GroupSizes,
) -> Result<Gradients> {
    let device = &gpu(x)?;
    let (channels, pixels, groups) = (sizes.channels / sizes.groups, sizes.pixels, sizes.groups);
    let [per_sample, silu] = [sizes.per_sample, sizes.silu].map(i32::from);
    let count = sizes.batch * sizes.channels;
    let mut dx = room::<T>(device, count * pixels)?;
    let mut parts_of = room::<T::Wide>(device, 2 * count)?;
    let (of_x, of_gamma) = (Read::new(x), Read::new(gamma));
    let (of_beta, of_dy) = (Read::new(beta), Read::new(dy));
    let (x_values, gamma_values) = (of_x.view::<T>()?, of_gamma.view::<T>()?);
    let (beta_values, dy_values) = (of_beta.view::<T>()?, of_dy.view::<T>()?);
    launch!(device, NORM, "group_norm_gradients", T, sizes.batch * groups, threads_for(pixels);
        &x_values, &gamma_values, &beta_values, &dy_values, &mut dx, &mut parts_of, &channels, &pixels, &groups,
        &per_sample, &silu, &sizes.eps, &count);
    let parts = if sizes.per_sample { 1 } else { sizes.batch };
    let affine = halves::<T>(&parts_of, parts, sizes.channels, gamma, device)?;
    Ok((tensor(dx, x.shape(), device), Some(affine)))
}

/// ∂L/∂γ and ∂L/∂β, shaped like `gamma`: the sums of `parts` neighbouring rows of the first half and of the second.
fn halves<T: Element>(
    of: &CudaSlice<T::Wide>,
    parts: usize,
    width: usize,
    gamma: &Tensor,
    device: &CudaDevice,
) -> Result<[Tensor; 2]> {
    let mut dims = vec![2];
    dims.extend(gamma.dims());
    let both = sums::totals::<T>(of, parts, width, dims, device)?;
    Ok([both.get(0)?, both.get(1)?])
}
