//! The gradient of the weights.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::convolution::data_tiles;
use super::lines::{both_ways, kernel_gradient, square, write};
use super::{Grid, PLACES};
use crate::nn::cpu::gemm::{Left, Run, multiply_panel};
use crate::nn::cpu::pack::{VECTORS, panel_width, turn};
use crate::nn::cpu::real::{Real, vectorised};
use crate::nn::cpu::scratch::Scratch;
use crate::nn::shape::conv2d::Geometry;

/// Tiles that are laid out at a time.
const TOGETHER: usize = 512;

/// Tiles that one task transforms, and that follow each other in a panel: few, so that images of few channels are work for several
/// threads.
const BLOCK: usize = 128;

/// Elements between the transformed gradients of neighbouring outputs beyond their own, so that the rows of a product do not all
/// begin in the same set of the cache.
const APART: usize = 16;

/// Places of a 3 × 3 kernel.
const TAPS: usize = 9;

/// ∂L/∂w `[O, C, 3, 3]`: for each place of the tiles the product of outputs × tiles with tiles × channels.
///
/// Each thread makes some columns of these matrices, over all tiles in order.
pub(crate) fn weight_gradient<R: Real>(x: &[R], grad: &[R], geometry: &Geometry) -> Vec<R> {
    let (width, outputs, grid) = (panel_width::<R>(), geometry.outputs, Grid::of(geometry));
    // Panel by panel of the channels, place by place: outputs × width.
    let mut totals = vec![R::default(); PLACES * outputs * geometry.channels];
    let images = (TOGETHER / grid.tiles()).clamp(1, geometry.batch.max(1));
    let parts = x
        .chunks(images * geometry.image())
        .zip(grad.chunks(images * geometry.out_image()));
    for (x, grad) in parts {
        let tiles = x.len() / geometry.image() * grid.tiles();
        let data = data_panels(x, geometry, grid);
        let grad = gradient_rows(grad, geometry, grid);
        let starts: Vec<usize> = (0..outputs).map(|o| o * pitch(tiles)).collect();
        let rows = Left::Rows {
            starts: &starts,
            segment: usize::MAX,
        };
        totals
            .par_chunks_exact_mut(outputs * width)
            .enumerate()
            .for_each(|(i, total)| {
                for (b, block) in data.chunks(PLACES * BLOCK * geometry.channels).enumerate() {
                    let len = block.len() / (PLACES * geometry.channels);
                    let panel = &block[i * len * width..][..len * width];
                    let left = i % PLACES * tiles + b * BLOCK;
                    let run = Run {
                        left,
                        right: 0,
                        len,
                    };
                    multiply_panel(&grad, rows, panel, run, total, true);
                }
            });
    }
    weights(&totals, geometry)
}

/// `Bᵀ d B` of all tiles: for each block of tiles, panel of channels and place, tiles × width.
fn data_panels<R: Real>(x: &[R], geometry: &Geometry, grid: Grid) -> Scratch<R> {
    let (width, frame) = (panel_width::<R>(), grid.frame(geometry));
    let images = x.len() / geometry.image();
    let mut frames = Scratch::new(images * frame.len());
    let inside = frame.inside();
    frames
        .par_chunks_exact_mut(frame.len())
        .zip(x.par_chunks_exact(geometry.image()))
        .for_each(|(to, image)| frame.fill(to, image, &inside));
    let starts = grid.starts(images, frame.len(), frame.pitch(), frame.channels);
    let mut panels = Scratch::new(PLACES * starts.len() * frame.channels);
    panels
        .par_chunks_mut(PLACES * BLOCK * frame.channels)
        .zip(starts.par_chunks(BLOCK))
        .for_each(|(block, starts)| {
            let size = PLACES * starts.len() * width;
            for (p, to) in block.chunks_exact_mut(size).enumerate() {
                let chosen = (p * width, width);
                data_tiles(&frames, starts, frame.pitch(), frame.channels, chosen, to);
            }
        });
    panels
}

/// Elements of one output's transformed gradients.
fn pitch(tiles: usize) -> usize {
    PLACES * tiles + APART
}

/// `A g Aᵀ` of all tiles: for each output, and each place, a row of tiles.
fn gradient_rows<R: Real>(grad: &[R], geometry: &Geometry, grid: Grid) -> Scratch<R> {
    let tiles = grad.len() / geometry.out_image() * grid.tiles();
    let mut rows = Scratch::new(geometry.outputs * pitch(tiles));
    rows.par_chunks_exact_mut(pitch(tiles))
        .enumerate()
        .for_each(|(o, to)| {
            // The four pixels of each tile, and what becomes of its two columns.
            let mut parts = Scratch::new(6 * tiles);
            let (pixels, columns) = parts.split_at_mut(4 * tiles);
            let planes = grad.chunks_exact(geometry.out_image());
            let planes = planes.map(|grad| &grad[o * geometry.pixels()..][..geometry.pixels()]);
            vectorised(
                #[inline(always)]
                || {
                    for (image, plane) in planes.enumerate() {
                        let to = &mut pixels[image * grid.tiles()..];
                        pixels_of_tiles(plane, geometry.side, grid, to, tiles);
                    }
                    let (left, right) = columns.split_at_mut(tiles);
                    for (k, to) in to[..PLACES * tiles].chunks_exact_mut(4 * tiles).enumerate() {
                        combine(k, left, &pixels[..tiles], &pixels[2 * tiles..]);
                        combine(k, right, &pixels[tiles..], &pixels[3 * tiles..]);
                        for (l, to) in to.chunks_exact_mut(tiles).enumerate() {
                            combine(l, to, left, right);
                        }
                    }
                },
            );
        });
    rows
}

/// Number k of `A (a, b)ᵀ`.
#[inline(always)]
fn combine<R: Real>(k: usize, to: &mut [R], a: &[R], b: &[R]) {
    let terms = to.iter_mut().zip(a.iter().zip(b));
    match k {
        0 => {
            for (to, (&a, _)) in terms {
                *to = a;
            }
        }
        1 => {
            for (to, (&a, &b)) in terms {
                *to = a + b;
            }
        }
        2 => {
            for (to, (&a, &b)) in terms {
                *to = a - b;
            }
        }
        _ => {
            for (to, (_, &b)) in terms {
                *to = -b;
            }
        }
    }
}

/// The pixels of an image's tiles, those of one place in a tile together, the places `pitch` apart; zeros beyond the image.
#[inline(always)]
fn pixels_of_tiles<R: Real>(
    plane: &[R],
    (height, width): (usize, usize),
    grid: Grid,
    to: &mut [R],
    pitch: usize,
) {
    let row = |y: usize| (y < height).then(|| &plane[y * width..][..width]);
    for y in 0..2 * grid.rows {
        let at = (y % 2) * 2 * pitch + y / 2 * grid.columns;
        let (even, odd) = to[at..].split_at_mut(pitch);
        let (even, odd) = (&mut even[..grid.columns], &mut odd[..grid.columns]);
        let Some(row) = row(y) else {
            even.fill(R::default());
            odd.fill(R::default());
            continue;
        };
        let (pairs, rest) = row.as_chunks::<2>();
        for ((even, odd), pair) in even.iter_mut().zip(&mut *odd).zip(pairs) {
            (*even, *odd) = (pair[0], pair[1]);
        }
        if let [last] = rest {
            (even[pairs.len()], odd[pairs.len()]) = (*last, R::default());
        }
    }
}

/// Outputs whose weights one task makes.
const OUTPUTS: usize = 16;

/// `Gᵀ m G` of the totals, `[O, C, 3, 3]`.
fn weights<R: Real>(totals: &[R], geometry: &Geometry) -> Vec<R> {
    let (width, patch) = (panel_width::<R>(), geometry.patch());
    let size = PLACES * geometry.outputs * width;
    let mut weight = vec![R::default(); geometry.outputs * patch];
    weight
        .par_chunks_mut(OUTPUTS * patch)
        .enumerate()
        .for_each(|(i, weight)| {
            let mut taps = Scratch::new(weight.len() / patch * TAPS * width);
            for (p, totals) in totals.chunks_exact(size).enumerate() {
                Arch::new().dispatch(KernelGradient {
                    totals: &totals[i * OUTPUTS * width..],
                    place: geometry.outputs * width,
                    taps: &mut taps,
                });
                vectorised(
                    #[inline(always)]
                    || {
                        let taps = taps.chunks_exact(TAPS * width);
                        for (taps, weight) in taps.zip(weight.chunks_exact_mut(patch)) {
                            let to = &mut weight[p * width * TAPS..];
                            turn(taps, width, width, TAPS, to, TAPS, |c| c);
                        }
                    },
                );
            }
        });
    weight
}

/// `Gᵀ m G` for some outputs and one panel of channels: taps by channels for each output.
struct KernelGradient<'a, R> {
    totals: &'a [R],
    /// Elements from one place to the next.
    place: usize,
    taps: &'a mut [R],
}

impl<R: Real> WithSimd for KernelGradient<'_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let lanes = R::lanes::<S>();
        let width = VECTORS * lanes;
        for (o, taps) in self.taps.chunks_exact_mut(TAPS * width).enumerate() {
            for v in (0..width).step_by(lanes) {
                let steps = (4 * self.place, self.place);
                let m = square::<R, S, 4>(simd, self.totals, o * width + v, steps);
                let w = both_ways(
                    m,
                    #[inline(always)]
                    |line| kernel_gradient::<R, S>(simd, line),
                );
                write::<R, S, 3>(w, taps, v, (3 * width, width));
            }
        }
    }
}
