//! Group normalisation, optionally followed by SiLU in the same pass.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::activation::{silu_slope, silu_value};
use super::composed;
use super::path::Path;
use super::shape::group_norm::{GROUP_NORM_EPS, Sizes};
use crate::nn::cpu::buffer::{accumulate, by_dtype, load, tensor, with};
use crate::nn::cpu::real::{Real, vectorised};
use crate::nn::cpu::sums::{moments, plain_sum, sum2};
#[cfg(feature = "cuda")]
use crate::nn::cuda;

/// Group normalisation with an affine map of each channel.
///
/// # Formula `[eq:group-norm]`
/// ```text
/// x̂ = (x − μ) / √(v + 1e-5)      μ, v: mean and (biased) variance over one sample's group of channels
/// y = γ_c x̂ + β_c
/// ∂L/∂x = (h − mean(h) − x̂ mean(h x̂)) / √(v + 1e-5),   h = γ_c ∂L/∂y,   means over the group
/// ∂L/∂γ_c = Σ x̂ ∂L/∂y,   ∂L/∂β_c = Σ ∂L/∂y
/// ```
///
/// # Shapes
/// `x: [N, C, …]` → the same; `gamma`, `beta`: `[C]`, or `[N, C]` for an affine map of each sample
/// (feature-wise modulation).
///
/// # Errors
/// `groups` zero or not a divisor of C, shapes that do not fit.
///
/// # Source
/// Wu and He 2018 (arXiv:1803.08494).
pub fn group_norm(x: &Tensor, groups: usize, gamma: &Tensor, beta: &Tensor) -> Result<Tensor> {
    group_norm_eps(x, groups, gamma, beta, GROUP_NORM_EPS)
}

/// [`group_norm`] with another number than 1e-5 added to the variance.
///
/// # Errors
/// As [`group_norm`].
pub fn group_norm_eps(
    x: &Tensor,
    groups: usize,
    gamma: &Tensor,
    beta: &Tensor,
    eps: f64,
) -> Result<Tensor> {
    if Path::with_kernel([x, gamma, beta]) == Path::Composed {
        return composed::group_norm_eps(x, groups, gamma, beta, eps);
    }
    let silu = false;
    apply(x, gamma, beta, GroupNorm { groups, silu, eps })
}

/// `silu(group_norm(x))` as one operation, see [`group_norm`] and [`silu`](super::silu).
///
/// # Errors
/// As [`group_norm`].
pub fn group_norm_silu(x: &Tensor, groups: usize, gamma: &Tensor, beta: &Tensor) -> Result<Tensor> {
    group_norm_silu_eps(x, groups, gamma, beta, GROUP_NORM_EPS)
}

/// [`group_norm_silu`] with another number than 1e-5 added to the variance.
///
/// # Errors
/// As [`group_norm`].
pub fn group_norm_silu_eps(
    x: &Tensor,
    groups: usize,
    gamma: &Tensor,
    beta: &Tensor,
    eps: f64,
) -> Result<Tensor> {
    if Path::with_kernel([x, gamma, beta]) == Path::Composed {
        return composed::silu(&composed::group_norm_eps(x, groups, gamma, beta, eps)?);
    }
    let silu = true;
    apply(x, gamma, beta, GroupNorm { groups, silu, eps })
}

fn apply(x: &Tensor, gamma: &Tensor, beta: &Tensor, op: GroupNorm) -> Result<Tensor> {
    x.contiguous()?
        .apply_op3(&gamma.contiguous()?, &beta.contiguous()?, op)
}

struct GroupNorm {
    groups: usize,
    silu: bool,
    eps: f64,
}

impl GroupNorm {
    fn sizes(&self, x: &[usize], gamma: &[usize], beta: &[usize]) -> Result<Sizes> {
        let sizes = Sizes::new(self.groups, x, gamma, beta)?;
        Ok(Sizes {
            silu: self.silu,
            eps: self.eps,
            ..sizes
        })
    }
}

impl CustomOp3 for GroupNorm {
    fn name(&self) -> &'static str {
        "group_norm"
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
        let sizes = self.sizes(x_layout.dims(), gamma_layout.dims(), beta_layout.dims())?;
        let inputs = [(x, x_layout), (gamma, gamma_layout), (beta, beta_layout)];
        let y = by_dtype!(x.dtype(), "group_norm", forward(inputs, &sizes))?;
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
        let sizes = self.sizes(x_layout.dims(), gamma_layout.dims(), beta_layout.dims())?;
        let inputs = [(x, x_layout), (gamma, gamma_layout), (beta, beta_layout)];
        let y = cuda::group_norm(inputs, &sizes)?;
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
        let sizes = self.sizes(x.dims(), gamma.dims(), beta.dims())?;
        #[cfg(feature = "cuda")]
        if x.device().is_cuda() {
            let (dx, affine) = cuda::group_norm_gradients([x, gamma, beta], grad, &sizes)?;
            return Ok(cuda::wanted([x, gamma, beta], dx, affine));
        }
        by_dtype!(
            x.dtype(),
            "group_norm",
            backward([x, gamma, beta], grad, &sizes)
        )
    }
}

fn forward<R: Real>(inputs: [(&CpuStorage, &Layout); 3], sizes: &Sizes) -> Result<CpuStorage> {
    let [x, gamma, beta] = inputs.map(|(storage, layout)| load::<R>(storage, layout));
    let (x, gamma, beta) = (x?, gamma?, beta?);
    let mut y = vec![R::default(); x.len()];
    let sample = sizes.sample();
    y.par_chunks_mut(sample)
        .zip(x.par_chunks(sample))
        .enumerate()
        .for_each(|(n, (y, x))| {
            let (gamma, beta) = (sizes.affine(&gamma, n), sizes.affine(&beta, n));
            vectorised(
                #[inline(always)]
                || sample_forward(y, x, gamma, beta, sizes),
            );
        });
    Ok(R::store(y, inputs[0].0.dtype()))
}

#[inline(always)]
fn sample_forward<R: Real>(y: &mut [R], x: &[R], gamma: &[R], beta: &[R], sizes: &Sizes) {
    let size = sizes.group_size();
    let channels = sizes.channels / sizes.groups;
    for (group, (y, x)) in y
        .chunks_exact_mut(size)
        .zip(x.chunks_exact(size))
        .enumerate()
    {
        let (mean, scale) = moments(x, sizes.eps);
        let planes = y
            .chunks_exact_mut(sizes.pixels)
            .zip(x.chunks_exact(sizes.pixels));
        for (c, (y, x)) in planes.enumerate() {
            let (gamma, beta) = (gamma[group * channels + c], beta[group * channels + c]);
            for (y, &x) in y.iter_mut().zip(x) {
                let affine = gamma * ((x - mean) * scale) + beta;
                *y = if sizes.silu {
                    silu_value(affine)
                } else {
                    affine
                };
            }
        }
    }
}

type Gradients = (Option<Tensor>, Option<Tensor>, Option<Tensor>);

fn backward<R: Real>(inputs: [&Tensor; 3], grad: &Tensor, sizes: &Sizes) -> Result<Gradients> {
    let [x, gamma, beta] = inputs;
    let dtype = x.dtype();
    let (x_grad, gamma_grad, beta_grad) = with::<R, _>(x, |x| {
        with(gamma, |gamma| {
            with(beta, |beta| {
                with(grad, |grad| Ok(gradients(x, gamma, beta, grad, sizes)))
            })
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

/// ∂L/∂x, ∂L/∂γ, ∂L/∂β; the last two added over the batch in order if all samples share them.
fn gradients<R: Real>(
    x: &[R],
    gamma: &[R],
    beta: &[R],
    grad: &[R],
    sizes: &Sizes,
) -> (Vec<R>, Vec<R>, Vec<R>) {
    let sample = sizes.sample();
    let mut x_grad = grad.to_vec();
    let mut gamma_grad = vec![R::default(); sizes.batch * sizes.channels];
    let mut beta_grad = gamma_grad.clone();
    x_grad
        .par_chunks_mut(sample)
        .zip(x.par_chunks(sample))
        .zip(gamma_grad.par_chunks_mut(sizes.channels))
        .zip(beta_grad.par_chunks_mut(sizes.channels))
        .enumerate()
        .for_each(|(n, (((grad, x), gamma_grad), beta_grad))| {
            let (gamma, beta) = (sizes.affine(gamma, n), sizes.affine(beta, n));
            vectorised(
                #[inline(always)]
                || sample_backward(grad, x, gamma, beta, [gamma_grad, beta_grad], sizes),
            );
        });
    if sizes.per_sample {
        return (x_grad, gamma_grad, beta_grad);
    }
    (
        x_grad,
        total(&gamma_grad, sizes.channels),
        total(&beta_grad, sizes.channels),
    )
}

/// One sample: `grad` holds ∂L/∂y on entry and ∂L/∂x on return.
#[inline(always)]
fn sample_backward<R: Real>(
    grad: &mut [R],
    x: &[R],
    gamma: &[R],
    beta: &[R],
    affine_grad: [&mut [R]; 2],
    sizes: &Sizes,
) {
    let [gamma_grad, beta_grad] = affine_grad;
    let size = sizes.group_size();
    let channels = sizes.channels / sizes.groups;
    let count = R::of(size as f64);
    for (group, (grad, x)) in grad
        .chunks_exact_mut(size)
        .zip(x.chunks_exact(size))
        .enumerate()
    {
        let (mean, scale) = moments(x, sizes.eps);
        let (mut h_sum, mut hx_sum) = (R::default(), R::default());
        let planes = grad
            .chunks_exact_mut(sizes.pixels)
            .zip(x.chunks_exact(sizes.pixels));
        for (c, (grad, x)) in planes.enumerate() {
            let c = group * channels + c;
            if sizes.silu {
                for (g, &x) in grad.iter_mut().zip(x) {
                    *g = *g * silu_slope(gamma[c] * ((x - mean) * scale) + beta[c]);
                }
            }
            beta_grad[c] = plain_sum(grad);
            gamma_grad[c] = sum2(grad, x, |g, x| g * ((x - mean) * scale));
            h_sum += gamma[c] * beta_grad[c];
            hx_sum += gamma[c] * gamma_grad[c];
        }
        let (h_mean, hx_mean) = (h_sum / count, hx_sum / count);
        let planes = grad
            .chunks_exact_mut(sizes.pixels)
            .zip(x.chunks_exact(sizes.pixels));
        for (c, (grad, x)) in planes.enumerate() {
            let gamma = gamma[group * channels + c];
            for (g, &x) in grad.iter_mut().zip(x) {
                *g = scale * (gamma * *g - h_mean - (x - mean) * scale * hx_mean);
            }
        }
    }
}

/// The sum of consecutive rows of `width` elements.
fn total<R: Real>(rows: &[R], width: usize) -> Vec<R> {
    let mut total = vec![R::default(); width];
    for row in rows.chunks_exact(width) {
        accumulate(&mut total, row);
    }
    total
}
