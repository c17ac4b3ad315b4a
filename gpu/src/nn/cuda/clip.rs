//! The global norm of gradients, and gradients scaled by it.

use candle_core::cuda_backend::cudarc::driver::CudaSlice;
use candle_core::{Result, Shape, Tensor};

use super::activation::blocks;
use super::launch::{Element, Read, THREADS, by_element, gpu, launch, room, tensor};

/// Elements of a part, whose squares one block adds, while there are no more than [`PARTS`].
const PART: usize = 1 << 13;
/// Most parts of a gradient.
const PARTS: usize = 256;

/// √(Σ ‖g‖²) and min(1, max/norm), in f64, of at least one gradient on one GPU.
pub(crate) fn norm_and_factor(grads: &[&Tensor], max: f64) -> Result<[Tensor; 2]> {
    let device = &gpu(grads[0])?;
    let parts = |grad: &Tensor| grad.elem_count().div_ceil(PART).clamp(1, PARTS);
    let count: usize = grads.iter().map(|grad| parts(grad)).sum();
    let mut sums = room::<f64>(device, count)?;
    let mut start = 0;
    for grad in grads {
        let parts = parts(grad);
        by_element!(
            grad.dtype(),
            squares(&grad.contiguous()?, &mut sums, start..start + parts)
        )?;
        start += parts;
    }
    let (mut norm, mut factor) = (room::<f64>(device, 1)?, room::<f64>(device, 1)?);
    launch!(device, CLIP, "norm", f64, 1, THREADS; &sums, &mut norm, &mut factor, &max, &count);
    Ok([norm, factor].map(|number| tensor(number, Shape::from(()), device)))
}

fn squares<T: Element>(
    grad: &Tensor,
    sums: &mut CudaSlice<f64>,
    parts: std::ops::Range<usize>,
) -> Result<()> {
    let device = &gpu(grad)?;
    let count = grad.elem_count();
    let of_grad = Read::new(grad);
    let values = of_grad.view::<T>()?;
    let blocks = parts.len();
    let mut sums = sums.slice_mut(parts);
    launch!(device, CLIP, "sum_of_squares", T, blocks, THREADS; &values, &mut sums, &count);
    Ok(())
}

/// A gradient times the factor of [`norm_and_factor`].
pub(crate) fn scaled(grad: &Tensor, factor: &Tensor) -> Result<Tensor> {
    by_element!(grad.dtype(), product(&grad.contiguous()?, factor))
}

fn product<T: Element>(grad: &Tensor, factor: &Tensor) -> Result<Tensor> {
    let device = &gpu(grad)?;
    let count = grad.elem_count();
    let mut to = room::<T>(device, count)?;
    let (of_grad, of_factor) = (Read::new(grad), Read::new(factor));
    let (values, factor) = (of_grad.view::<T>()?, of_factor.view::<f64>()?);
    launch!(device, CLIP, "scaled", T, blocks(count), THREADS; &values, &factor, &mut to, &count);
    Ok(tensor(to, grad.shape(), device))
}
