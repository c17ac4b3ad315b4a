//! The products of a convolution on the CPU: forward, in the input, in the weights.

use rayon::prelude::*;

use super::buffer::accumulate;
use super::frame::Frame;
use super::gemm::{Left, Run, multiply, strip_width};
use super::pack::{Panels, gather, pack, panel_width, turn};
use super::real::{Real, vectorised};
use super::scratch::Scratch;
use super::sums::plain_sum;
use crate::nn::shape::conv2d::Geometry;

/// Pixels of ∂L/∂y that are laid out for the gradient of the weights at a time.
const TOGETHER: usize = 4096;

/// A convolution with its weights laid out for it.
pub(crate) struct Convolution<'a, R: Real> {
    geometry: &'a Geometry,
    /// The weights as a matrix of kernel rows, columns and channels by outputs.
    panels: Scratch<R>,
    /// The patches of a group of images.
    patches: Vec<usize>,
    frame: Frame,
    /// The pixels of an image in its frame.
    inside: Vec<usize>,
    /// The rows of the kernel.
    runs: Vec<Run>,
}

impl<'a, R: Real> Convolution<'a, R> {
    /// The convolution with `w[o,c,k,l]`.
    pub(crate) fn new(geometry: &'a Geometry, weight: &[R]) -> Self {
        let (channels, patch) = (geometry.channels, geometry.patch());
        let taps = geometry.taps();
        let places: Vec<usize> = (0..patch).map(|i| i % taps * channels + i / taps).collect();
        let panels = pack(
            patch,
            geometry.outputs,
            #[inline(always)]
            |panel, first, count, width| {
                let from = &weight[first * patch..];
                turn(from, patch, patch, count, panel, width, |i| places[i]);
            },
        );
        Self::with(geometry, panels)
    }

    /// The one that maps ∂L/∂y to ∂L/∂x, with `w[c,o,kh−1−k,kw−1−l]`; its channels are the outputs o of the other.
    pub(crate) fn back(geometry: &'a Geometry, weight: &[R]) -> Self {
        let (channels, outputs, taps) = (geometry.channels, geometry.outputs, geometry.taps());
        let panels = pack(
            geometry.patch(),
            outputs,
            #[inline(always)]
            |panel, first, count, width| {
                for o in 0..channels {
                    let from = &weight[(o * outputs + first) * taps..];
                    turn(from, taps, taps, count, panel, width, |tap| {
                        (taps - 1 - tap) * channels + o
                    });
                }
            },
        );
        Self::with(geometry, panels)
    }

    fn with(geometry: &'a Geometry, panels: Scratch<R>) -> Self {
        let (row, frame) = (geometry.kernel_row(), Frame::from(geometry));
        let runs = (0..geometry.kernel.0).map(|k| Run {
            left: k * frame.pitch(),
            right: k * row,
            len: row,
        });
        Self {
            geometry,
            panels,
            patches: geometry.patches(geometry.group()),
            inside: frame.inside(),
            frame,
            runs: runs.collect(),
        }
    }

    /// The convolution of images.
    pub(crate) fn of(&self, x: &[R], bias: Option<&[R]>) -> Vec<R> {
        let geometry = self.geometry;
        geometry.in_groups(x, |y, x| {
            let mut frames = Scratch::new(x.len() / geometry.image() * self.frame.len());
            self.frame.fill(&mut frames, x, &self.inside);
            self.apply(y, &frames, bias);
        })
    }

    /// The convolution of a group of padded images.
    fn apply(&self, y: &mut [R], padded: &[R], bias: Option<&[R]>) {
        let (pixels, out_image) = (self.geometry.pixels(), self.geometry.out_image());
        let right = Panels::new(&self.panels, self.geometry.patch(), self.geometry.outputs);
        let rows = Left::Rows {
            starts: &self.patches[..y.len() / out_image * pixels],
            segment: pixels,
        };
        multiply(padded, rows, right, &self.runs, |tile| {
            let (image, pixel) = (tile.row / pixels, tile.row % pixels);
            tile.turn_into(&mut y[image * out_image..], pixel, pixels, bias);
        });
    }
}

/// ∂L/∂w `[O, C, kh, kw]`: for each row k of the kernel the product over the pixels of ∂L/∂y with the row's part of
/// their patches.
///
/// Each thread makes some columns of this matrix, over all pixels in order.
pub(crate) fn weight_gradient<R: Real>(x: &[R], grad: &[R], geometry: &Geometry) -> Vec<R> {
    let (width, outputs, row) = (panel_width::<R>(), geometry.outputs, geometry.kernel_row());
    let columns = row.div_ceil(width);
    let mut totals = vec![R::default(); geometry.kernel.0 * columns * outputs * width];
    let images = (TOGETHER / geometry.pixels()).clamp(1, geometry.batch.max(1));
    let frame = Frame::from(geometry);
    let mut frames = Scratch::new(images * frame.len() + width);
    let inside = frame.inside();
    let parts = x
        .chunks(images * geometry.image())
        .zip(grad.chunks(images * geometry.out_image()));
    for (x, grad) in parts {
        let images = x.len() / geometry.image();
        let pixels = images * geometry.pixels();
        frames
            .par_chunks_mut(frame.len())
            .zip(x.par_chunks_exact(geometry.image()))
            .for_each(|(to, image)| frame.fill(to, image, &inside));
        let strips = channel_strips(grad, geometry);
        let patches = geometry.patches(images);
        let rows = Left::Strips {
            pitch: pixels * strip_width(),
            count: outputs,
        };
        let run = Run {
            left: 0,
            right: 0,
            len: pixels,
        };
        totals
            .par_chunks_exact_mut(outputs * width)
            .enumerate()
            .for_each(|(i, total)| {
                let (k, column) = (i / columns, i % columns * width);
                let mut panel = Scratch::new(pixels * width);
                let offset = k * frame.pitch() + column;
                gather(&frames, &patches, offset, &mut panel);
                let right = Panels::new(&panel, pixels, width);
                multiply(&strips, rows, right, &[run], |tile| {
                    for (i, values) in tile.rows().enumerate() {
                        accumulate(&mut total[(tile.row + i) * width..], values);
                    }
                });
            });
    }
    in_order_of_weights(&totals, columns, geometry)
}

/// The channels of ∂L/∂y in strips, over the pixels of all images.
fn channel_strips<R: Real>(grad: &[R], geometry: &Geometry) -> Scratch<R> {
    let (width, pixels, out_image) = (strip_width(), geometry.pixels(), geometry.out_image());
    let all = grad.len() / geometry.outputs;
    let mut strips = Scratch::new(geometry.outputs.div_ceil(width) * all * width);
    strips
        .par_chunks_exact_mut(all * width)
        .enumerate()
        .for_each(|(i, strip)| {
            let first = i * width;
            let count = width.min(geometry.outputs - first);
            let images = strip
                .chunks_exact_mut(pixels * width)
                .zip(grad.chunks_exact(out_image));
            vectorised(
                #[inline(always)]
                || {
                    for (strip, grad) in images {
                        let planes = &grad[first * pixels..];
                        turn(planes, pixels, pixels, count, strip, width, |p| p);
                    }
                },
            );
        });
    strips
}

/// From panels of columns (k; l, c), each `[O, width]`, to `[O, C, kh, kw]`.
fn in_order_of_weights<R: Real>(totals: &[R], columns: usize, geometry: &Geometry) -> Vec<R> {
    let (width, channels, (kh, kw)) = (panel_width::<R>(), geometry.channels, geometry.kernel);
    let outputs = geometry.outputs;
    // Where, for the first output, each of its weights lies.
    let mut places = Vec::with_capacity(geometry.patch());
    for c in 0..channels {
        for k in 0..kh {
            places.extend((0..kw).map(|l| {
                let column = l * channels + c;
                (k * columns + column / width) * outputs * width + column % width
            }));
        }
    }
    let mut weight = vec![R::default(); outputs * geometry.patch()];
    weight
        .par_chunks_exact_mut(geometry.patch())
        .enumerate()
        .for_each(|(o, weight)| {
            for (to, place) in weight.iter_mut().zip(&places) {
                *to = totals[place + o * width];
            }
        });
    weight
}

/// ∂L/∂b `[O]`: the sum of each output's planes, image by image.
pub(crate) fn bias_gradient<R: Real>(grad: &[R], geometry: &Geometry) -> Vec<R> {
    let (pixels, out_image) = (geometry.pixels(), geometry.out_image());
    (0..geometry.outputs)
        .into_par_iter()
        .map(|o| {
            vectorised(
                #[inline(always)]
                || {
                    let mut total = R::default();
                    for image in grad.chunks_exact(out_image) {
                        total += plain_sum(&image[o * pixels..][..pixels]);
                    }
                    total
                },
            )
        })
        .collect()
}
