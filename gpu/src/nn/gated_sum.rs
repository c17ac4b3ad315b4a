//! A residual connection behind a gate.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::composed;
use super::path::Path;
use super::shape::gated_sum::sizes;
use crate::nn::cpu::buffer::{by_dtype, load, tensor, with};
use crate::nn::cpu::real::{Real, vectorised};
#[cfg(feature = "cuda")]
use crate::nn::cuda;

/// A residual branch added through a gate of each sample.
///
/// # Formula `[eq:gated-sum]`
/// ```text
/// y[n,t,d] = x[n,t,d] + γ[n,d] h[n,t,d]
/// ∂L/∂x = g,   ∂L/∂h[n,t,d] = γ[n,d] g[n,t,d],   ∂L/∂γ[n,d] = Σ_t g[n,t,d] h[n,t,d]       (g = ∂L/∂y)
/// ```
///
/// # Shapes
/// `x`, `h`: `[N, T, D]`; `gate`: `[N, D]` → `[N, T, D]`.
///
/// # Errors
/// Shapes that do not fit.
///
/// # Source
/// Peebles and Xie 2022 (arXiv:2212.09748), adaLN-zero.
pub fn gated_sum(x: &Tensor, gate: &Tensor, h: &Tensor) -> Result<Tensor> {
    if Path::with_kernel([x, gate, h]) == Path::Composed {
        return composed::gated_sum(x, gate, h);
    }
    x.contiguous()?
        .apply_op3(&gate.contiguous()?, &h.contiguous()?, GatedSum)
}

struct GatedSum;

impl CustomOp3 for GatedSum {
    fn name(&self) -> &'static str {
        "gated_sum"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        gate: &CpuStorage,
        gate_layout: &Layout,
        h: &CpuStorage,
        h_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (_, tokens, width) = sizes(x_layout.dims(), gate_layout.dims(), h_layout.dims())?;
        let inputs = [(x, x_layout), (gate, gate_layout), (h, h_layout)];
        let y = by_dtype!(x.dtype(), "gated_sum", forward(inputs, tokens, width))?;
        Ok((y, x_layout.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        gate: &CudaStorage,
        gate_layout: &Layout,
        h: &CudaStorage,
        h_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let (_, tokens, width) = sizes(x_layout.dims(), gate_layout.dims(), h_layout.dims())?;
        let inputs = [(x, x_layout), (gate, gate_layout), (h, h_layout)];
        let y = cuda::gated_sum(inputs, tokens, width)?;
        Ok((y, x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        gate: &Tensor,
        h: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (_, tokens, width) = sizes(x.dims(), gate.dims(), h.dims())?;
        let (gate_grad, h_grad) = gradients(gate, h, grad, tokens, width)?;
        Ok((
            x.track_op().then(|| grad.clone()),
            gate.track_op().then_some(gate_grad),
            h.track_op().then_some(h_grad),
        ))
    }
}

fn forward<R: Real>(
    inputs: [(&CpuStorage, &Layout); 3],
    tokens: usize,
    width: usize,
) -> Result<CpuStorage> {
    let [x, gate, h] = inputs.map(|(storage, layout)| load::<R>(storage, layout));
    let (mut y, gate, h) = (x?.into_owned(), gate?, h?);
    let sample = (tokens * width).max(1);
    y.par_chunks_mut(sample)
        .zip(gate.par_chunks(width.max(1)).zip(h.par_chunks(sample)))
        .for_each(|(y, (gate, h))| {
            vectorised(
                #[inline(always)]
                || {
                    for (y, h) in y.chunks_exact_mut(width).zip(h.chunks_exact(width)) {
                        for (y, (&gate, &h)) in y.iter_mut().zip(gate.iter().zip(h)) {
                            *y += gate * h;
                        }
                    }
                },
            );
        });
    Ok(R::store(y, inputs[0].0.dtype()))
}

/// ∂L/∂γ and ∂L/∂h.
fn gradients(
    gate: &Tensor,
    h: &Tensor,
    grad: &Tensor,
    tokens: usize,
    width: usize,
) -> Result<(Tensor, Tensor)> {
    #[cfg(feature = "cuda")]
    if h.device().is_cuda() {
        return cuda::gated_sum_gradients(gate, h, grad);
    }
    by_dtype!(
        h.dtype(),
        "gated_sum",
        backward(gate, h, grad, tokens, width)
    )
}

fn backward<R: Real>(
    gate: &Tensor,
    h: &Tensor,
    grad: &Tensor,
    tokens: usize,
    width: usize,
) -> Result<(Tensor, Tensor)> {
    let dtype = h.dtype();
    let sample = (tokens * width).max(1);
    let mut gate_grad = vec![R::default(); gate.elem_count()];
    let h_grad = with::<R, _>(grad, |grad| {
        with::<R, _>(gate, |gate| {
            with::<R, _>(h, |h| {
                let mut h_grad = grad.to_vec();
                h_grad
                    .par_chunks_mut(sample)
                    .zip(h.par_chunks(sample))
                    .zip(gate.par_chunks(width.max(1)))
                    .zip(gate_grad.par_chunks_mut(width.max(1)))
                    .for_each(|(((g, h), gate), total)| {
                        vectorised(
                            #[inline(always)]
                            || sample_backward(g, h, gate, total),
                        );
                    });
                Ok(h_grad)
            })
        })
    })?;
    Ok((
        tensor(gate_grad, gate.shape(), dtype),
        tensor(h_grad, h.shape(), dtype),
    ))
}

/// One sample: `g` holds ∂L/∂y on entry and ∂L/∂h on return.
#[inline(always)]
fn sample_backward<R: Real>(g: &mut [R], h: &[R], gate: &[R], total: &mut [R]) {
    let width = gate.len().max(1);
    for (g, h) in g.chunks_exact_mut(width).zip(h.chunks_exact(width)) {
        let sums = total.iter_mut().zip(gate);
        for ((g, &h), (total, &gate)) in g.iter_mut().zip(h).zip(sums) {
            *total += *g * h;
            *g = gate * *g;
        }
    }
}
