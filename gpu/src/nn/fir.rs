//! Changes of resolution by 2 through a filter, each channel by itself.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::path::Path;
use super::shape::fir::Fir;
use super::{avg_pool2x, composed, upsample_nearest2x};
use crate::nn::cpu::buffer::{by_dtype, load, tensor, with};
use crate::nn::cpu::real::{Real, vectorised};
use crate::nn::cpu::scratch::Scratch;

/// Every second pixel of a filtered image.
///
/// # Formula `[eq:fir-down]`
/// ```text
/// y[n,c,i,j] = Σ_{k,l} f[k,l] · x[n, c, 2i + k − p, 2j + l − p],   f[k,l] = r_k r_l / (Σ r)²      x = 0 outside the image
/// ∂L/∂x[2i + k − p, 2j + l − p] += f[k,l] ∂L/∂y[i,j]
/// ```
/// computed by rows, then by columns. Two equal taps without padding are [`avg_pool2x`].
///
/// # Shapes
/// `x: [N, C, H, W]`, n taps → `[N, C, ⌊(H + 2p − n)/2⌋ + 1, …]`.
///
/// # Errors
/// No taps, or more than a padded side.
///
/// # Source
/// Karras et al. 2022 (arXiv:2206.00364), App. F.1.
pub fn fir_down(x: &Tensor, taps: &[f64], padding: usize) -> Result<Tensor> {
    let sizes = Fir::down(x, taps, padding)?;
    if sizes.is_of_blocks(taps) {
        return avg_pool2x(x);
    }
    match Path::of(x) {
        Path::Fused => x
            .contiguous()?
            .apply_op1(Resample::new(sizes, taps, 1.0, false)),
        Path::Composed => composed::fir_down(x, taps, padding),
    }
}

/// An image with zeros between its pixels, filtered by four times the filter.
///
/// # Formula `[eq:fir-up]`
/// ```text
/// y[n, c, 2i + k − p, 2j + l − p] += 4 f[k,l] · x[n,c,i,j],   f as in fir_down
/// ∂L/∂x[i,j] = 4 Σ_{k,l} f[k,l] ∂L/∂y[2i + k − p, 2j + l − p]
/// ```
/// Two equal taps without padding are [`upsample_nearest2x`].
///
/// # Shapes
/// `x: [N, C, H, W]`, n taps → `[N, C, 2(H − 1) + n − 2p, …]`.
///
/// # Errors
/// No taps, an empty image, or a padding that takes all of it.
///
/// # Source
/// Karras et al. 2022 (arXiv:2206.00364), App. F.1.
pub fn fir_up(x: &Tensor, taps: &[f64], padding: usize) -> Result<Tensor> {
    let sizes = Fir::up(x, taps, padding)?;
    if sizes.is_of_blocks(taps) {
        return upsample_nearest2x(x);
    }
    match Path::of(x) {
        Path::Fused => x
            .contiguous()?
            .apply_op1(Resample::new(sizes, taps, 2.0, true)),
        Path::Composed => composed::fir_up(x, taps, padding),
    }
}

struct Resample {
    sizes: Fir,
    /// The taps over their sum, times the factor of one direction.
    taps: Vec<f64>,
    up: bool,
}

impl Resample {
    fn new(sizes: Fir, taps: &[f64], factor: f64, up: bool) -> Self {
        let sum: f64 = taps.iter().sum();
        let taps = taps.iter().map(|r| factor * r / sum).collect();
        Self { sizes, taps, up }
    }

    /// The operation, or the way back through it.
    fn of<R: Real>(&self, x: &[R], back: bool) -> Vec<R> {
        let taps: Vec<R> = self.taps.iter().map(|&r| R::of(r)).collect();
        if self.up == back {
            gathered(x, &self.sizes, &taps)
        } else {
            spread(x, &self.sizes, &taps)
        }
    }
}

impl CustomOp1 for Resample {
    fn name(&self) -> &'static str {
        if self.up { "fir_up" } else { "fir_down" }
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let y = by_dtype!(x.dtype(), "fir", forward(self, x, layout))?;
        Ok((y, Shape::from(self.sizes.shape())))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        by_dtype!(x.dtype(), "fir", backward(self, x, grad)).map(Some)
    }
}

fn forward<R: Real>(op: &Resample, x: &CpuStorage, layout: &Layout) -> Result<CpuStorage> {
    let values = load::<R>(x, layout)?;
    Ok(R::store(op.of(&values, false), x.dtype()))
}

fn backward<R: Real>(op: &Resample, x: &Tensor, grad: &Tensor) -> Result<Tensor> {
    let values = with::<R, _>(grad, |grad| Ok(op.of(grad, true)))?;
    Ok(tensor(values, x.shape(), x.dtype()))
}

/// The small images of the large ones `x`: rows first.
fn gathered<R: Real>(x: &[R], sizes: &Fir, taps: &[R]) -> Vec<R> {
    let ((height, width), (to_height, to_width)) = (sizes.large, sizes.small);
    let mut y = vec![R::default(); x.len() / (height * width).max(1) * to_height * to_width];
    y.par_chunks_mut((to_height * to_width).max(1))
        .zip(x.par_chunks((height * width).max(1)))
        .for_each(|(y, x)| {
            let mut row = Scratch::new(width);
            vectorised(
                #[inline(always)]
                || {
                    for (i, y) in y.chunks_exact_mut(to_width).enumerate() {
                        row.fill(R::default());
                        for (at, &tap) in inside(i, taps, sizes.padding, height) {
                            for (sum, &x) in row.iter_mut().zip(&x[at * width..][..width]) {
                                *sum += tap * x;
                            }
                        }
                        for (j, y) in y.iter_mut().enumerate() {
                            for (at, &tap) in inside(j, taps, sizes.padding, width) {
                                *y += tap * row[at];
                            }
                        }
                    }
                },
            );
        });
    y
}

/// The large images of the small ones `x`: columns first.
fn spread<R: Real>(x: &[R], sizes: &Fir, taps: &[R]) -> Vec<R> {
    let ((height, width), (from_height, from_width)) = (sizes.large, sizes.small);
    let small = (from_height * from_width).max(1);
    let mut y = vec![R::default(); x.len() / small * height * width];
    y.par_chunks_mut((height * width).max(1))
        .zip(x.par_chunks(small))
        .for_each(|(y, x)| {
            let mut row = Scratch::new(width);
            vectorised(
                #[inline(always)]
                || {
                    for (i, x) in x.chunks_exact(from_width).enumerate() {
                        row.fill(R::default());
                        for (j, &x) in x.iter().enumerate() {
                            for (at, &tap) in inside(j, taps, sizes.padding, width) {
                                row[at] += tap * x;
                            }
                        }
                        for (at, &tap) in inside(i, taps, sizes.padding, height) {
                            for (y, &x) in y[at * width..][..width].iter_mut().zip(row.iter()) {
                                *y += tap * x;
                            }
                        }
                    }
                },
            );
        });
    y
}

/// The large pixels under the taps of the small pixel `i`, with their taps.
#[inline(always)]
fn inside<R>(
    i: usize,
    taps: &[R],
    padding: usize,
    side: usize,
) -> impl Iterator<Item = (usize, &R)> {
    let first = padding.saturating_sub(2 * i);
    let start = (2 * i).saturating_sub(padding);
    (start..side).zip(taps.iter().skip(first))
}
