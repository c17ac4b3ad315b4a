//! Forward, and back to the input.

use pulp::{Arch, Simd, WithSimd};

use super::lines::{both_ways, data, kernel, output, square, write};
use super::{Grid, PLACES};
use crate::nn::cpu::frame::Frame;
use crate::nn::cpu::gemm::{Left, Run, multiply_panel};
use crate::nn::cpu::pack::{VECTORS, pack, panel_width, turn};
use crate::nn::cpu::real::{Real, vectorised};
use crate::nn::cpu::scratch::Scratch;
use crate::nn::shape::conv2d::Geometry;

/// Tiles that are worked on together: what they become stays in the second-level cache.
pub(crate) const TILES: usize = 72;

/// Places of a 3 × 3 kernel.
pub(crate) const TAPS: usize = 9;

/// A convolution with its transformed weights.
pub(crate) struct Winograd<'a, R: Real> {
    geometry: &'a Geometry,
    grid: Grid,
    frame: Frame,
    /// The pixels of an image in its frame.
    inside: Vec<usize>,
    /// `G w Gᵀ`: a matrix of places and channels by outputs.
    panels: Scratch<R>,
}

impl<'a, R: Real> Winograd<'a, R> {
    /// The convolution with `w[o,c,k,l]`.
    pub(crate) fn new(geometry: &'a Geometry, weight: &[R]) -> Self {
        let patch = geometry.patch();
        Self::with(
            geometry,
            #[inline(always)]
            |taps, first, count, width| {
                let from = &weight[first * patch..];
                turn(from, patch, patch, count, taps, width, |i| i);
            },
        )
    }

    /// The one that maps ∂L/∂y to ∂L/∂x, with `w[c,o,2−k,2−l]`; its channels are the outputs o of the other.
    pub(crate) fn back(geometry: &'a Geometry, weight: &[R]) -> Self {
        let (channels, outputs) = (geometry.channels, geometry.outputs);
        Self::with(
            geometry,
            #[inline(always)]
            |taps, first, count, width| {
                for o in 0..channels {
                    let from = &weight[(o * outputs + first) * TAPS..];
                    turn(from, TAPS, TAPS, count, taps, width, |tap| {
                        o * TAPS + TAPS - 1 - tap
                    });
                }
            },
        )
    }

    /// `weights(to, first, count, width)` writes the kernels of some outputs, channels and taps by outputs.
    fn with(
        geometry: &'a Geometry,
        weights: impl Fn(&mut [R], usize, usize, usize) + Sync,
    ) -> Self {
        let grid = Grid::of(geometry);
        let panels = kernel_panels([geometry.outputs, geometry.channels], weights);
        let frame = grid.frame(geometry);
        Self {
            geometry,
            grid,
            frame,
            inside: frame.inside(),
            panels,
        }
    }

    /// The convolution of images.
    pub(crate) fn of(&self, x: &[R], bias: Option<&[R]>) -> Vec<R> {
        let geometry = self.geometry;
        geometry.in_groups(x, |y, x| {
            let images = x.len() / geometry.image();
            let mut frames = Scratch::new(images * self.frame.len());
            self.frame.fill(&mut frames, x, &self.inside);
            let tiles = self.tiles_of(&frames, images, bias);
            self.turn_into(y, &tiles, images);
        })
    }

    /// The outputs of a group's tiles, for each panel of outputs `[images, pixels, width]`.
    fn tiles_of(&self, frames: &[R], images: usize, bias: Option<&[R]>) -> Scratch<R> {
        let (width, channels, grid) = (panel_width::<R>(), self.geometry.channels, self.grid);
        let (pitch, row) = (self.frame.pitch(), grid.width() * width);
        let starts = grid.starts(images, self.frame.len(), pitch, channels);
        let places = grid.starts(images, grid.pixels() * width, row, width);
        let mut all = Scratch::new(self.geometry.outputs * images * grid.pixels());
        let mut data = Scratch::new(PLACES * TILES * channels);
        let mut products = Scratch::new(PLACES * TILES * width);
        for (starts, places) in starts.chunks(TILES).zip(places.chunks(TILES)) {
            let chosen = (0, channels);
            data_tiles(frames, starts, pitch, channels, chosen, &mut data);
            let products = &mut products[..PLACES * starts.len().next_multiple_of(4) * width];
            let panels = self.panels.chunks_exact(PLACES * channels * width);
            let results = all.chunks_exact_mut(images * grid.pixels() * width);
            for (p, (panel, to)) in panels.zip(results).enumerate() {
                multiply_places(&data, starts.len(), channels, panel, products);
                Arch::new().dispatch(OutputTransform {
                    products,
                    places,
                    row,
                    bias: bias.map(|bias| &bias[p * width..][..width]),
                    to,
                });
            }
        }
        all
    }

    /// From panels of outputs to images `[O, H, W]`.
    fn turn_into(&self, y: &mut [R], tiles: &[R], images: usize) {
        let (width, (height, columns)) = (panel_width::<R>(), self.geometry.side);
        let (pixels, size) = (self.geometry.pixels(), self.grid.pixels() * width);
        // Rows of pixels that follow each other without a gap are turned as one.
        let (rows, length) = if columns == self.grid.width() {
            (1, pixels)
        } else {
            (height, columns)
        };
        vectorised(
            #[inline(always)]
            || {
                for (p, panel) in tiles.chunks_exact(images * size).enumerate() {
                    for (image, from) in panel.chunks_exact(size).enumerate() {
                        let to = &mut y[image * self.geometry.out_image() + p * width * pixels..];
                        for i in 0..rows {
                            let from = &from[i * self.grid.width() * width..];
                            turn_block(from, length, width, &mut to[i * columns..], pixels);
                        }
                    }
                }
            },
        );
    }
}

/// `G w Gᵀ` of all weights: a matrix of places and channels by outputs. `weights(to, first, count, width)` writes the kernels of some
/// outputs, channels and taps by outputs.
pub(crate) fn kernel_panels<R: Real>(
    [outputs, channels]: [usize; 2],
    weights: impl Fn(&mut [R], usize, usize, usize) + Sync,
) -> Scratch<R> {
    pack(
        PLACES * channels,
        outputs,
        #[inline(always)]
        |panel, first, count, width| {
            let mut taps = Scratch::new(channels * TAPS * width);
            weights(&mut taps, first, count, width);
            Arch::new().dispatch(KernelTransform {
                taps: &taps,
                to: panel,
            });
        },
    )
}

/// For each place the product of its tiles × channels with a panel of the weights.
pub(crate) fn multiply_places<R: Real>(
    data: &[R],
    tiles: usize,
    channels: usize,
    panel: &[R],
    products: &mut [R],
) {
    let starts: [usize; TILES] = std::array::from_fn(|t| t * channels);
    let rows = Left::Rows {
        starts: &starts[..tiles],
        segment: usize::MAX,
    };
    let size = products.len() / PLACES;
    for (place, to) in products.chunks_exact_mut(size).enumerate() {
        let run = Run {
            left: place * tiles * channels,
            right: place * channels,
            len: channels,
        };
        multiply_panel(data, rows, panel, run, to, false);
    }
}

/// Pixels that are turned at a time.
const BLOCK: usize = 64;

/// Writes `[count, width]` into the rows of `to`, `pitch` elements apart, of which few are written at a time: they begin
/// in the same sets of the cache.
#[inline(always)]
fn turn_block<R: Real>(from: &[R], count: usize, width: usize, to: &mut [R], pitch: usize) {
    let step = 4.min(width);
    for start in (0..count).step_by(BLOCK) {
        let count = BLOCK.min(count - start);
        for o in (0..width).step_by(step) {
            let from = &from[start * width + o..];
            turn(
                from,
                width,
                step,
                count,
                &mut to[o * pitch + start..],
                pitch,
                |o| o,
            );
        }
    }
}

/// `Bᵀ d B` of the tiles that begin at `starts` in frames of `channels`, for `count` channels from `first` on: `[PLACES,
/// tiles, count]`.
pub(crate) fn data_tiles<R: Real>(
    frames: &[R],
    starts: &[usize],
    pitch: usize,
    channels: usize,
    (first, count): (usize, usize),
    to: &mut [R],
) {
    Arch::new().dispatch(DataTransform {
        frames,
        starts,
        pitch,
        channels,
        first,
        count,
        to,
    });
}

struct DataTransform<'a, R> {
    frames: &'a [R],
    starts: &'a [usize],
    pitch: usize,
    channels: usize,
    first: usize,
    count: usize,
    to: &'a mut [R],
}

impl<R: Real> WithSimd for DataTransform<'_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let (lanes, size) = (R::lanes::<S>(), self.starts.len() * self.count);
        for (t, start) in self.starts.iter().enumerate() {
            for c in (0..self.count).step_by(lanes) {
                let corner = start + self.first + c;
                let steps = (self.pitch, self.channels);
                let d = square::<R, S, 4>(simd, self.frames, corner, steps);
                let tile = both_ways(
                    d,
                    #[inline(always)]
                    |line| data::<R, S>(simd, line),
                );
                write::<R, S, 4>(tile, self.to, t * self.count + c, (4 * size, size));
            }
        }
    }
}

/// `G w Gᵀ` of a panel: from channels and taps by outputs to places and channels by outputs.
struct KernelTransform<'a, R> {
    taps: &'a [R],
    to: &'a mut [R],
}

impl<R: Real> WithSimd for KernelTransform<'_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let lanes = R::lanes::<S>();
        let width = VECTORS * lanes;
        let size = self.to.len() / PLACES;
        for (c, taps) in self.taps.chunks_exact(TAPS * width).enumerate() {
            for v in (0..width).step_by(lanes) {
                let w = square::<R, S, 3>(simd, taps, v, (3 * width, width));
                let places = both_ways(
                    w,
                    #[inline(always)]
                    |line| kernel::<R, S>(simd, line),
                );
                write::<R, S, 4>(places, self.to, c * width + v, (4 * size, size));
            }
        }
    }
}

/// `Aᵀ m A` of a panel's products, with its bias, to the pixels of each tile.
struct OutputTransform<'a, R> {
    /// Of each place as many rows.
    products: &'a [R],
    /// Where each tile begins.
    places: &'a [usize],
    /// Elements of a row of pixels.
    row: usize,
    bias: Option<&'a [R]>,
    to: &'a mut [R],
}

impl<R: Real> WithSimd for OutputTransform<'_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let lanes = R::lanes::<S>();
        let width = VECTORS * lanes;
        let size = self.products.len() / PLACES;
        for v in (0..width).step_by(lanes) {
            let bias = match self.bias {
                Some(bias) => R::vectors::<S>(&bias[v..]).0[0],
                None => R::splat(simd, R::default()),
            };
            for (t, start) in self.places.iter().enumerate() {
                let m = square::<R, S, 4>(simd, self.products, t * width + v, (4 * size, size));
                let mut y = both_ways(
                    m,
                    #[inline(always)]
                    |line| output::<R, S>(simd, line),
                );
                for row in &mut y {
                    for y in row {
                        *y = R::plus(simd, *y, bias);
                    }
                }
                write::<R, S, 2>(y, self.to, start + v, (self.row, width));
            }
        }
    }
}
