//! Element-wise activations: SiLU and GELU (tanh form), both as x times a logistic function; the rectifier and a clamp without a kink.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::composed;
use super::path::Path;
use super::shape::activation::{GELU_CUBIC, GELU_SCALE};
use crate::nn::cpu::buffer::{CHUNK, by_dtype, load, tensor, with};
use crate::nn::cpu::exponential::sigmoid;
use crate::nn::cpu::real::{Real, vectorised};
#[cfg(feature = "cuda")]
use crate::nn::cuda;

/// SiLU (swish).
///
/// # Formula `[eq:silu]`
/// ```text
/// silu(x)  = x σ(x),   σ(x) = 1 / (1 + e⁻ˣ)
/// silu'(x) = σ(x) (1 + x (1 − σ(x)))
/// ```
///
/// # Shapes
/// Any → the same.
///
/// # Source
/// Elfwing et al. 2017 (arXiv:1702.03118).
pub fn silu(x: &Tensor) -> Result<Tensor> {
    match Path::with_kernel([x]) {
        Path::Fused => x.contiguous()?.apply_op1(Activation::Silu),
        Path::Composed => composed::silu(x),
    }
}

/// GELU in its tanh form.
///
/// # Formula `[eq:gelu]`
/// ```text
/// gelu(x)  = ½ x (1 + tanh u) = x σ(2u),   u = √(2/π) (x + 0.044715 x³)
/// gelu'(x) = σ(2u) + x σ(2u) (1 − σ(2u)) · 2u',   u' = √(2/π) (1 + 3 · 0.044715 x²)
/// ```
/// The logistic form is exact and does not cancel for negative x, where 1 + tanh does.
///
/// # Shapes
/// Any → the same.
///
/// # Source
/// Hendrycks and Gimpel 2016 (arXiv:1606.08415).
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    match Path::with_kernel([x]) {
        Path::Fused => x.contiguous()?.apply_op1(Activation::Gelu),
        Path::Composed => composed::gelu(x),
    }
}

/// Leaky ReLU: x above 0, 0.2 x elsewhere.
///
/// # Formula `[eq:leaky-relu]`
/// ```text
/// y = m x,   m = 1 where x > 0, else 0.2
/// ```
/// Composed of candle's operations: m is a constant to the gradient, as it should be.
///
/// # Shapes
/// Any → the same.
///
/// # Source
/// Maas, Hannun and Ng 2013.
pub fn leaky_relu(x: &Tensor) -> Result<Tensor> {
    leaky_relu_along(x, x)
}

/// The derivative of [`leaky_relu`] at x along v, m v, which depends on v alone where it has one.
///
/// # Shapes
/// Equal → the same.
pub fn leaky_relu_along(x: &Tensor, v: &Tensor) -> Result<Tensor> {
    let above = x.detach().gt(0.0)?;
    composed::widened(v, |v| {
        let like = |slope: f64| Tensor::full(slope, v.shape(), v.device())?.to_dtype(v.dtype());
        v * above.where_cond(&like(1.0)?, &like(0.2)?)?
    })
}

/// The rectifier.
///
/// # Formula `[eq:relu]`
/// ```text
/// relu(x) = max(x, 0);   relu'(x) = 1 for x > 0, else 0, also at the kink (candle's own has 1 there)
/// ```
///
/// # Shapes
/// Any → the same.
pub fn relu(x: &Tensor) -> Result<Tensor> {
    match Path::of(x) {
        Path::Fused => x.contiguous()?.apply_op1(Activation::Relu),
        Path::Composed => composed::relu(x),
    }
}

/// A clamp to (−c, c) without a kink.
///
/// # Formula `[eq:soft-clamp]`
/// ```text
/// y = c tanh(x/c)
/// ```
///
/// # Shapes
/// Any → the same.
pub fn soft_clamp(x: &Tensor, c: f64) -> Result<Tensor> {
    composed::widened(x, |x| (x / c)?.tanh()? * c)
}

/// max(x, 0), of NaN NaN.
#[inline(always)]
fn relu_value<R: Real>(x: R) -> R {
    if x <= R::of(0.0) { R::of(0.0) } else { x }
}

/// 1 right of the kink.
#[inline(always)]
fn relu_slope<R: Real>(x: R) -> R {
    R::of(if x > R::of(0.0) { 1.0 } else { 0.0 })
}

/// silu(x).
#[inline(always)]
pub(super) fn silu_value<R: Real>(x: R) -> R {
    x * sigmoid(x).0
}

/// silu'(x).
#[inline(always)]
pub(super) fn silu_slope<R: Real>(x: R) -> R {
    let (s, complement) = sigmoid(x);
    s * (R::of(1.0) + x * complement)
}

/// gelu(x).
#[inline(always)]
fn gelu_value<R: Real>(x: R) -> R {
    let twice_u = R::of(2.0 * GELU_SCALE) * (x + R::of(GELU_CUBIC) * x * x * x);
    x * sigmoid(twice_u).0
}

/// gelu'(x).
#[inline(always)]
fn gelu_slope<R: Real>(x: R) -> R {
    let twice_u = R::of(2.0 * GELU_SCALE) * (x + R::of(GELU_CUBIC) * x * x * x);
    let slope = R::of(2.0 * GELU_SCALE) * (R::of(1.0) + R::of(3.0 * GELU_CUBIC) * x * x);
    let (s, complement) = sigmoid(twice_u);
    s + x * (s * complement * slope)
}

enum Activation {
    Silu,
    Gelu,
    Relu,
}

impl CustomOp1 for Activation {
    fn name(&self) -> &'static str {
        match self {
            Self::Silu => "silu",
            Self::Gelu => "gelu",
            Self::Relu => "relu",
        }
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let y = by_dtype!(x.dtype(), "activation", forward(self, x, layout))?;
        Ok((y, layout.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, x: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let y = cuda::activation(self.name(), x, layout)?;
        Ok((y, layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        #[cfg(feature = "cuda")]
        if x.device().is_cuda() {
            return cuda::activation_gradient(self.name(), x, grad).map(Some);
        }
        by_dtype!(x.dtype(), "activation", backward(self, x, grad)).map(Some)
    }
}

fn forward<R: Real>(
    activation: &Activation,
    x: &CpuStorage,
    layout: &Layout,
) -> Result<CpuStorage> {
    let values = load::<R>(x, layout)?;
    let y = match activation {
        Activation::Silu => map(&values, silu_value),
        Activation::Gelu => map(&values, gelu_value),
        Activation::Relu => map(&values, relu_value),
    };
    Ok(R::store(y, x.dtype()))
}

fn backward<R: Real>(activation: &Activation, x: &Tensor, grad: &Tensor) -> Result<Tensor> {
    let values = with::<R, _>(x, |x| {
        with::<R, _>(grad, |grad| {
            Ok(match activation {
                Activation::Silu => map2(x, grad, |x, g| g * silu_slope(x)),
                Activation::Gelu => map2(x, grad, |x, g| g * gelu_slope(x)),
                Activation::Relu => map2(x, grad, |x, g| g * relu_slope(x)),
            })
        })
    })?;
    Ok(tensor(values, x.shape(), x.dtype()))
}

/// `f` of every element, in parallel chunks.
fn map<R: Real>(x: &[R], f: impl Fn(R) -> R + Sync) -> Vec<R> {
    let mut y = vec![R::default(); x.len()];
    y.par_chunks_mut(CHUNK)
        .zip(x.par_chunks(CHUNK))
        .for_each(|(y, x)| {
            vectorised(
                #[inline(always)]
                || {
                    for (y, &x) in y.iter_mut().zip(x) {
                        *y = f(x);
                    }
                },
            );
        });
    y
}

/// `f` of every pair of elements, in parallel chunks.
fn map2<R: Real>(x: &[R], g: &[R], f: impl Fn(R, R) -> R + Sync) -> Vec<R> {
    let mut y = vec![R::default(); x.len()];
    y.par_chunks_mut(CHUNK)
        .zip(x.par_chunks(CHUNK).zip(g.par_chunks(CHUNK)))
        .for_each(|(y, (x, g))| {
            vectorised(
                #[inline(always)]
                || {
                    for (y, (&x, &g)) in y.iter_mut().zip(x.iter().zip(g)) {
                        *y = f(x, g);
                    }
                },
            );
        });
    y
}
