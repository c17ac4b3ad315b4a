//! Changes of resolution by 2, the average over an image, and channel concatenation.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::composed;
use super::path::Path;
use super::shape::resample::even_sides;
use crate::Error;
use crate::nn::cpu::buffer::{by_dtype, load, tensor, with};
use crate::nn::cpu::real::{Real, vectorised};

/// Nearest-neighbour upsampling by 2.
///
/// # Formula `[eq:upsample-nearest2x]`
/// ```text
/// y[n,c,i,j] = x[n,c,⌊i/2⌋,⌊j/2⌋],   ∂L/∂x[i,j] = sum of ∂L/∂y over the 2×2 block
/// ```
///
/// # Shapes
/// `x: [N, C, H, W]` → `[N, C, 2H, 2W]`.
pub fn upsample_nearest2x(x: &Tensor) -> Result<Tensor> {
    x.dims4()?;
    match Path::of(x) {
        Path::Fused => x.contiguous()?.apply_op1(Resample::Up),
        Path::Composed => composed::upsample_nearest2x(x),
    }
}

/// Average over 2×2 blocks.
///
/// # Formula `[eq:avg-pool2x]`
/// ```text
/// y[n,c,i,j] = ¼ Σ_{k,l ∈ {0,1}} x[n,c,2i+k,2j+l],   ∂L/∂x[i,j] = ¼ ∂L/∂y[⌊i/2⌋,⌊j/2⌋]
/// ```
///
/// # Shapes
/// `x: [N, C, H, W]` with H, W even → `[N, C, H/2, W/2]`.
///
/// # Errors
/// An odd side.
pub fn avg_pool2x(x: &Tensor) -> Result<Tensor> {
    even_sides(x)?;
    match Path::of(x) {
        Path::Fused => x.contiguous()?.apply_op1(Resample::Down),
        Path::Composed => composed::avg_pool2x(x),
    }
}

/// Average over each channel's pixels.
///
/// # Shapes
/// `x: [N, C, H, W]` → `[N, C]`.
pub fn global_avg_pool(x: &Tensor) -> Result<Tensor> {
    let (_, _, height, width) = x.dims4()?;
    x.flatten_from(2)?.sum(2)? * (1.0 / (height * width) as f64)
}

/// The channels of `x` followed by those of `y`.
///
/// # Shapes
/// `x: [N, C, …]`, `y: [N, D, …]` → `[N, C + D, …]`.
///
/// # Errors
/// Other dimensions that differ.
pub fn concat_channels(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    match Path::of(x) {
        Path::Fused => x.contiguous()?.apply_op2(&y.contiguous()?, Concat),
        Path::Composed => composed::concat_channels(x, y),
    }
}

enum Resample {
    Up,
    Down,
}

impl CustomOp1 for Resample {
    fn name(&self) -> &'static str {
        match self {
            Self::Up => "upsample_nearest2x",
            Self::Down => "avg_pool2x",
        }
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (n, c, height, width) = layout.shape().dims4()?;
        let y = by_dtype!(x.dtype(), "resample", forward(self, x, layout, width))?;
        let shape = match self {
            Self::Up => (n, c, 2 * height, 2 * width),
            Self::Down => (n, c, height / 2, width / 2),
        };
        Ok((y, Shape::from(shape)))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        by_dtype!(x.dtype(), "resample", backward(self, x, grad)).map(Some)
    }
}

fn forward<R: Real>(
    resample: &Resample,
    x: &CpuStorage,
    layout: &Layout,
    width: usize,
) -> Result<CpuStorage> {
    let values = load::<R>(x, layout)?;
    let y = match resample {
        Resample::Up => spread(&values, width, R::of(1.0)),
        Resample::Down => gather(&values, width, R::of(0.25)),
    };
    Ok(R::store(y, x.dtype()))
}

fn backward<R: Real>(resample: &Resample, x: &Tensor, grad: &Tensor) -> Result<Tensor> {
    let width = grad.dim(3)?;
    let values = with::<R, _>(grad, |grad| {
        Ok(match resample {
            Resample::Up => gather(grad, width, R::of(1.0)),
            Resample::Down => spread(grad, width, R::of(0.25)),
        })
    })?;
    Ok(tensor(values, x.shape(), x.dtype()))
}

/// Rows of output that one task makes.
const ROWS: usize = 256;

/// Each element, times `scale`, on a 2×2 block.
fn spread<R: Real>(x: &[R], width: usize, scale: R) -> Vec<R> {
    let mut y = vec![R::default(); 4 * x.len()];
    let width = width.max(1);
    y.par_chunks_mut(4 * width * ROWS)
        .zip(x.par_chunks(width * ROWS))
        .for_each(|(y, x)| {
            for (y, x) in y.chunks_exact_mut(4 * width).zip(x.chunks_exact(width)) {
                let (upper, lower) = y.split_at_mut(2 * width);
                for (pair, &x) in upper.chunks_exact_mut(2).zip(x) {
                    pair.fill(x * scale);
                }
                lower.copy_from_slice(upper);
            }
        });
    y
}

/// The sum of each 2×2 block, times `scale`.
fn gather<R: Real>(x: &[R], width: usize, scale: R) -> Vec<R> {
    let mut y = vec![R::default(); x.len() / 4];
    let width = width.max(2);
    y.par_chunks_mut(width / 2 * ROWS)
        .zip(x.par_chunks(2 * width * ROWS))
        .for_each(|(y, x)| {
            vectorised(
                #[inline(always)]
                || {
                    for (y, x) in y.chunks_exact_mut(width / 2).zip(x.chunks_exact(2 * width)) {
                        let (upper, lower) = x.split_at(width);
                        let pairs = upper.chunks_exact(2).zip(lower.chunks_exact(2));
                        for (y, (upper, lower)) in y.iter_mut().zip(pairs) {
                            *y = ((upper[0] + upper[1]) + (lower[0] + lower[1])) * scale;
                        }
                    }
                },
            );
        });
    y
}

struct Concat;

impl CustomOp2 for Concat {
    fn name(&self) -> &'static str {
        "concat_channels"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        y: &CpuStorage,
        y_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x_dims, y_dims) = (x_layout.dims(), y_layout.dims());
        let fits = x_dims.len() >= 2
            && x_dims.len() == y_dims.len()
            && x_dims[0] == y_dims[0]
            && x_dims[2..] == y_dims[2..];
        if !fits {
            let must = format!("that of {x_dims:?} except for the channels");
            return Err(Error::shape("second tensor to concatenate", must, y_dims).into());
        }
        let mut dims = x_dims.to_vec();
        dims[1] += y_dims[1];
        let inputs = [(x, x_layout), (y, y_layout)];
        Ok((
            by_dtype!(x.dtype(), "concat_channels", interleave(inputs))?,
            Shape::from(dims),
        ))
    }

    fn bwd(
        &self,
        x: &Tensor,
        y: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (c, d) = (x.dim(1)?, y.dim(1)?);
        Ok((
            x.track_op()
                .then(|| grad.narrow(1, 0, c)?.contiguous())
                .transpose()?,
            y.track_op()
                .then(|| grad.narrow(1, c, d)?.contiguous())
                .transpose()?,
        ))
    }
}

/// One sample of each in turn.
fn interleave<R: Real>(inputs: [(&CpuStorage, &Layout); 2]) -> Result<CpuStorage> {
    let [(x, x_layout), (y, y_layout)] = inputs;
    let batch = x_layout.dims()[0].max(1);
    let (a, b) = (load::<R>(x, x_layout)?, load::<R>(y, y_layout)?);
    let (a_sample, b_sample) = (a.len() / batch, b.len() / batch);
    let mut out = Vec::with_capacity(a.len() + b.len());
    for n in 0..batch {
        out.extend_from_slice(&a[n * a_sample..][..a_sample]);
        out.extend_from_slice(&b[n * b_sample..][..b_sample]);
    }
    Ok(R::store(out, x.dtype()))
}
