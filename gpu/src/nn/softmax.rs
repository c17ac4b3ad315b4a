//! Softmax over the last dimension.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::composed;
use super::path::Path;
use crate::nn::cpu::buffer::{CHUNK, by_dtype, load, tensor, with};
use crate::nn::cpu::real::{Real, vectorised};
use crate::nn::cpu::sums::{maximum, plain_sum, sum2};
#[cfg(feature = "cuda")]
use crate::nn::cuda;

/// Softmax over the last dimension.
///
/// # Formula `[eq:softmax]`
/// ```text
/// y_i = e^{x_i − m} / Σ_j e^{x_j − m},  m = max_j x_j
/// ∂L/∂x_i = y_i (g_i − Σ_j g_j y_j)        (g = ∂L/∂y)
/// ```
///
/// # Shapes
/// `x: […, n]` → `[…, n]`, n ≥ 1.
pub fn softmax_last(x: &Tensor) -> Result<Tensor> {
    scaled_softmax(x, 1.0)
}

/// [`softmax_last`] of `scale · x`, scale > 0, without a pass for the scale.
pub(super) fn scaled_softmax(x: &Tensor, scale: f64) -> Result<Tensor> {
    match Path::with_kernel([x]) {
        Path::Fused => x.contiguous()?.apply_op1(Softmax { scale }),
        Path::Composed => composed::scaled_softmax(x, scale),
    }
}

struct Softmax {
    scale: f64,
}

impl CustomOp1 for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let y = by_dtype!(x.dtype(), "softmax", forward(x, layout, self.scale))?;
        Ok((y, layout.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, x: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        Ok((
            cuda::softmax(x, layout, self.scale)?,
            layout.shape().clone(),
        ))
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        #[cfg(feature = "cuda")]
        if x.device().is_cuda() {
            return cuda::softmax_gradient(x, grad, self.scale).map(Some);
        }
        // The result of bf16 and f16 is rounded; their gradient starts from the unrounded one.
        let y = match x.dtype() {
            DType::BF16 | DType::F16 => {
                scaled_softmax(&x.detach().to_dtype(DType::F32)?, self.scale)?
            }
            _ => y.detach(),
        };
        by_dtype!(
            x.dtype(),
            "softmax",
            backward(&y, grad, x.dtype(), self.scale)
        )
        .map(Some)
    }
}

fn forward<R: Real>(x: &CpuStorage, layout: &Layout, scale: f64) -> Result<CpuStorage> {
    let mut y = load::<R>(x, layout)?.into_owned();
    let width = width(layout.dims());
    y.par_chunks_mut(rows_per_task(width) * width)
        .for_each(|y| {
            vectorised(
                #[inline(always)]
                || {
                    for row in y.chunks_exact_mut(width) {
                        scaled_softmax_row(row, R::of(scale));
                    }
                },
            );
        });
    Ok(R::store(y, x.dtype()))
}

fn backward<R: Real>(y: &Tensor, grad: &Tensor, dtype: DType, scale: f64) -> Result<Tensor> {
    let width = width(y.dims());
    let chunk = rows_per_task(width) * width;
    let values = with::<R, _>(y, |y| {
        with::<R, _>(grad, |grad| {
            let mut x_grad = grad.to_vec();
            x_grad
                .par_chunks_mut(chunk)
                .zip(y.par_chunks(chunk))
                .for_each(|(g, y)| {
                    vectorised(
                        #[inline(always)]
                        || {
                            for (g, y) in g.chunks_exact_mut(width).zip(y.chunks_exact(width)) {
                                softmax_row_grad(g, y, R::of(scale));
                            }
                        },
                    );
                });
            Ok(x_grad)
        })
    })?;
    Ok(tensor(values, y.shape(), dtype))
}

/// Elements of a row; at least 1 so that an empty tensor has rows to skip.
fn width(dims: &[usize]) -> usize {
    dims.last().copied().unwrap_or(1).max(1)
}

fn rows_per_task(width: usize) -> usize {
    (CHUNK / width).max(1)
}

/// Replaces a row x by the softmax of `scale · x`, scale > 0.
#[inline(always)]
pub(super) fn scaled_softmax_row<R: Real>(row: &mut [R], scale: R) {
    let largest = maximum(row);
    for x in row.iter_mut() {
        *x = ((*x - largest) * scale).exp_nonpositive();
    }
    let scale = R::of(1.0) / plain_sum(row);
    for x in row.iter_mut() {
        *x = *x * scale;
    }
}

/// Replaces ∂L/∂y by ∂L/∂x, given the softmax `y` of `scale · x`.
#[inline(always)]
pub(super) fn softmax_row_grad<R: Real>(grad: &mut [R], y: &[R], scale: R) {
    let mean = sum2(grad, y, |g, y| g * y);
    for (g, &y) in grad.iter_mut().zip(y) {
        *g = scale * (y * (*g - mean));
    }
}
