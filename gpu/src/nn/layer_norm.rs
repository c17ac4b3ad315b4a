//! Layer normalisation over the last dimension, with or without an affine map.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::composed;
use super::path::Path;
use super::shape::layer_norm::{LAYER_NORM_EPS, Sizes};
use crate::nn::cpu::buffer::{accumulate, by_dtype, load, tensor, with};
use crate::nn::cpu::real::{Real, vectorised};
use crate::nn::cpu::sums::{moments, plain_sum, sum2};
#[cfg(feature = "cuda")]
use crate::nn::cuda;

/// Layer normalisation over the last dimension.
///
/// # Formula `[eq:layer-norm]`
/// ```text
/// x̂ = (x − μ) / √(v + 1e-6)      μ, v: mean and (biased) variance of one row
/// y = γ ∘ x̂ + β
/// ∂L/∂x = (h − mean(h) − x̂ mean(h x̂)) / √(v + 1e-6),   h = γ ∘ ∂L/∂y
/// ∂L/∂γ = Σ_rows x̂ ∘ ∂L/∂y,   ∂L/∂β = Σ_rows ∂L/∂y
/// ```
///
/// # Shapes
/// `x: [N, …, D]` → the same. `affine`: γ and β, each `[D]`, or `[N, D]` for a map of each sample
/// (adaptive layer norm); `None` is γ = 1, β = 0.
///
/// # Errors
/// Shapes that do not fit.
///
/// # Source
/// Ba et al. 2016 (arXiv:1607.06450).
pub fn layer_norm(x: &Tensor, affine: Option<(&Tensor, &Tensor)>) -> Result<Tensor> {
    let all = [
        Some(x),
        affine.map(|(gamma, _)| gamma),
        affine.map(|(_, beta)| beta),
    ];
    if Path::with_kernel(all.into_iter().flatten()) == Path::Composed {
        return composed::layer_norm(x, affine);
    }
    let (gamma, beta) = if let Some((gamma, beta)) = affine {
        (gamma.contiguous()?, beta.contiguous()?)
    } else {
        let width = x.dims().last().copied().unwrap_or(0);
        let gamma = Tensor::ones(width, x.dtype(), x.device())?;
        let beta = gamma.zeros_like()?;
        (gamma, beta)
    };
    x.contiguous()?.apply_op3(&gamma, &beta, LayerNorm)
}

struct LayerNorm;

impl CustomOp3 for LayerNorm {
    fn name(&self) -> &'static str {
        "layer_norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        gamma: &CpuStorage,
        gamma_layout: &Layout,
        beta: &CpuStorage,
        beta_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let sizes = Sizes::new(x_layout.dims(), gamma_layout.dims(), beta_layout.dims())?;
        let inputs = [(x, x_layout), (gamma, gamma_layout), (beta, beta_layout)];
        let y = by_dtype!(x.dtype(), "layer_norm", forward(inputs, &sizes))?;
        Ok((y, x_layout.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        gamma: &CudaStorage,
        gamma_layout: &Layout,
        beta: &CudaStorage,
        beta_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let sizes = Sizes::new(x_layout.dims(), gamma_layout.dims(), beta_layout.dims())?;
        let inputs = [(x, x_layout), (gamma, gamma_layout), (beta, beta_layout)];
        let y = cuda::layer_norm(inputs, &sizes)?;
        Ok((y, x_layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        gamma: &Tensor,
        beta: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let sizes = Sizes::new(x.dims(), gamma.dims(), beta.dims())?;
        #[cfg(feature = "cuda")]
        if x.device().is_cuda() {
            let affine = gamma.track_op() || beta.track_op();
            let (dx, affine) = cuda::layer_norm_gradients(x, gamma, grad, &sizes, affine)?;
            return Ok(cuda::wanted([x, gamma, beta], dx, affine));
        }
        by_dtype!(
            x.dtype(),
            "layer_norm",
            backward([x, gamma, beta], grad, &sizes)
        )
    }
}

fn forward<R: Real>(inputs: [(&CpuStorage, &Layout); 3], sizes: &Sizes) -> Result<CpuStorage> {
    let [x, gamma, beta] = inputs.map(|(storage, layout)| load::<R>(storage, layout));
    let (x, gamma, beta) = (x?, gamma?, beta?);
    let mut y = vec![R::default(); x.len()];
    let chunk = sizes.rows_per_task() * sizes.width;
    y.par_chunks_mut(chunk)
        .zip(x.par_chunks(chunk))
        .enumerate()
        .for_each(|(i, (y, x))| {
            let (gamma, beta) = (sizes.affine(&gamma, i), sizes.affine(&beta, i));
            vectorised(
                #[inline(always)]
                || {
                    for (y, x) in y
                        .chunks_exact_mut(sizes.width)
                        .zip(x.chunks_exact(sizes.width))
                    {
                        row_forward(y, x, gamma, beta);
                    }
                },
            );
        });
    Ok(R::store(y, inputs[0].0.dtype()))
}

#[inline(always)]
fn row_forward<R: Real>(y: &mut [R], x: &[R], gamma: &[R], beta: &[R]) {
    let (mean, scale) = moments(x, LAYER_NORM_EPS);
    for (y, (&x, (&gamma, &beta))) in y.iter_mut().zip(x.iter().zip(gamma.iter().zip(beta))) {
        *y = gamma * ((x - mean) * scale) + beta;
    }
}

type Gradients = (Option<Tensor>, Option<Tensor>, Option<Tensor>);

fn backward<R: Real>(inputs: [&Tensor; 3], grad: &Tensor, sizes: &Sizes) -> Result<Gradients> {
    let [x, gamma, beta] = inputs;
    let dtype = x.dtype();
    let (x_grad, gamma_grad, beta_grad) = with::<R, _>(x, |x| {
        with(gamma, |gamma| {
            with(grad, |grad| Ok(gradients(x, gamma, grad, sizes)))
        })
    })?;
    Ok((
        x.track_op().then(|| tensor(x_grad, x.shape(), dtype)),
        gamma
            .track_op()
            .then(|| tensor(gamma_grad, gamma.shape(), dtype)),
        beta.track_op()
            .then(|| tensor(beta_grad, beta.shape(), dtype)),
    ))
}

/// ∂L/∂x, ∂L/∂γ, ∂L/∂β; partial sums of the last two are added in the order of the rows.
fn gradients<R: Real>(x: &[R], gamma: &[R], grad: &[R], sizes: &Sizes) -> (Vec<R>, Vec<R>, Vec<R>) {
    let width = sizes.width;
    let chunk = sizes.rows_per_task() * width;
    let mut x_grad = grad.to_vec();
    let partials: Vec<(Vec<R>, Vec<R>)> = x_grad
        .par_chunks_mut(chunk)
        .zip(x.par_chunks(chunk))
        .enumerate()
        .map(|(i, (grad, x))| {
            let gamma = sizes.affine(gamma, i);
            vectorised(
                #[inline(always)]
                || {
                    let (mut gamma_grad, mut beta_grad) =
                        (vec![R::default(); width], vec![R::default(); width]);
                    for (grad, x) in grad.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                        row_backward(grad, x, gamma, &mut gamma_grad, &mut beta_grad);
                    }
                    (gamma_grad, beta_grad)
                },
            )
        })
        .collect();
    let mut gamma_grad = vec![R::default(); sizes.segments * width];
    let mut beta_grad = gamma_grad.clone();
    for (i, (gamma, beta)) in partials.iter().enumerate() {
        let start = if sizes.segments == 1 { 0 } else { i * width };
        accumulate(&mut gamma_grad[start..], gamma);
        accumulate(&mut beta_grad[start..], beta);
    }
    (x_grad, gamma_grad, beta_grad)
}

/// One row: `grad` holds ∂L/∂y on entry and ∂L/∂x on return.
#[inline(always)]
fn row_backward<R: Real>(
    grad: &mut [R],
    x: &[R],
    gamma: &[R],
    gamma_grad: &mut [R],
    beta_grad: &mut [R],
) {
    let (mean, scale) = moments(x, LAYER_NORM_EPS);
    let affine_grads = gamma_grad.iter_mut().zip(beta_grad.iter_mut());
    let elements = grad.iter_mut().zip(x.iter().zip(gamma));
    for ((g, (&x, &gamma)), (gamma_grad, beta_grad)) in elements.zip(affine_grads) {
        *gamma_grad += *g * ((x - mean) * scale);
        *beta_grad += *g;
        *g = gamma * *g;
    }
    let count = R::of(x.len() as f64);
    let h_mean = plain_sum(grad) / count;
    let hx_mean = sum2(grad, x, |h, x| h * ((x - mean) * scale)) / count;
    for (g, &x) in grad.iter_mut().zip(x) {
        *g = scale * (*g - h_mean - (x - mean) * scale * hx_mean);
    }
}
