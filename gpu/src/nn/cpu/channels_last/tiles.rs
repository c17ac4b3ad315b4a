//! 3 × 3 convolutions of stride 1 by Winograd's tiles, `[eq:winograd]`, of an image with its channels last.

use pulp::{Arch, Simd, WithSimd};

use super::map::Map;
use crate::nn::cpu::frame::Frame;
use crate::nn::cpu::pack::{VECTORS, panel_width, turn};
use crate::nn::cpu::real::Real;
use crate::nn::cpu::scratch::Scratch;
use crate::nn::cpu::winograd::{
    PLACES, TAPS, TILES, both_ways, data_tiles, kernel_panels, multiply_places, output, square,
};
use crate::nn::shape::conv2d::Geometry;

/// The weights of a convolution, transformed.
pub(crate) struct Tiles<R: Real> {
    panels: Vec<R>,
}

impl<R: Real> Tiles<R> {
    /// Whether a convolution is made by tiles: whole vectors of channels, and whole panels of outputs.
    pub(crate) fn serve(
        kernel: (usize, usize),
        stride: usize,
        [outputs, channels]: [usize; 2],
    ) -> bool {
        let width = panel_width::<R>();
        kernel == (3, 3)
            && stride == 1
            && channels.is_multiple_of((width / VECTORS).max(LEAST))
            && outputs.is_multiple_of(width.max(LEAST))
    }

    pub(crate) fn new(weight: &[R], [outputs, channels]: [usize; 2]) -> Self {
        let patch = channels * TAPS;
        let panels = kernel_panels(
            [outputs, channels],
            #[inline(always)]
            |taps, first, count, width| {
                let from = &weight[first * patch..];
                turn(from, patch, patch, count, taps, width, |i| i);
            },
        );
        Self {
            panels: panels.to_vec(),
        }
    }

    /// The convolution of an image, some tiles at a time.
    pub(crate) fn of(
        &self,
        geometry: &Geometry,
        x: &Map<R>,
        bias: &[R],
        y: &mut Map<R>,
        relu: bool,
    ) {
        let (width, channels, outputs) = (panel_width::<R>(), geometry.channels, geometry.outputs);
        let (height, across) = geometry.out();
        let grid = (height.div_ceil(2), across.div_ceil(2));
        let frame = Frame {
            side: geometry.side,
            corner: geometry.padding,
            padded: (2 * grid.0 + 2, 2 * grid.1 + 2),
            channels,
        };
        let framed = frame.around(x.values());
        let corners: Vec<(usize, usize)> = (0..grid.0)
            .flat_map(|i| (0..grid.1).map(move |j| (2 * i, 2 * j)))
            .collect();
        let mut data = Scratch::new(PLACES * TILES * channels);
        let mut products = Scratch::new(PLACES * TILES * width);
        for corners in corners.chunks(TILES) {
            let start = |&(i, j): &(usize, usize)| i * frame.pitch() + j * channels;
            let starts: Vec<usize> = corners.iter().map(start).collect();
            data_tiles(
                &framed,
                &starts,
                frame.pitch(),
                channels,
                (0, channels),
                &mut data,
            );
            let products = &mut products[..PLACES * starts.len().next_multiple_of(4) * width];
            let panels = self.panels.chunks_exact(PLACES * channels * width);
            for (p, panel) in panels.enumerate() {
                multiply_places(&data, starts.len(), channels, panel, products);
                Arch::new().dispatch(Finish {
                    products,
                    corners,
                    side: (height, across),
                    outputs,
                    first: p * width,
                    bias,
                    relu,
                    to: y.values_mut(),
                });
            }
        }
    }
}

/// Channels and outputs come at least in so many: with fewer the transforms cost more than the products that they save.
const LEAST: usize = 16;

/// `Aᵀ m A` of a panel's products, with its bias, to the pixels of each tile that lie in the image.
struct Finish<'a, R> {
    /// Of each place as many rows.
    products: &'a [R],
    /// The first pixel of each tile.
    corners: &'a [(usize, usize)],
    side: (usize, usize),
    outputs: usize,
    /// First output of the panel.
    first: usize,
    bias: &'a [R],
    relu: bool,
    to: &'a mut [R],
}

impl<R: Real> WithSimd for Finish<'_, R> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let lanes = R::lanes::<S>();
        let width = VECTORS * lanes;
        let size = self.products.len() / PLACES;
        for v in (0..width).step_by(lanes) {
            let bias = R::vectors::<S>(&self.bias[self.first + v..]).0[0];
            for (t, &(i, j)) in self.corners.iter().enumerate() {
                let m = square::<R, S, 4>(simd, self.products, t * width + v, (4 * size, size));
                let y = both_ways(
                    m,
                    #[inline(always)]
                    |line| output::<R, S>(simd, line),
                );
                for (di, row) in y.iter().enumerate() {
                    for (dj, y) in row.iter().enumerate() {
                        if i + di < self.side.0 && j + dj < self.side.1 {
                            let mut y = R::plus(simd, *y, bias);
                            if self.relu {
                                y = R::relu(simd, y);
                            }
                            let at = ((i + di) * self.side.1 + j + dj) * self.outputs;
                            let to = &mut self.to[at + self.first + v..][..lanes];
                            R::vectors_mut::<S>(to).0[0] = y;
                        }
                    }
                }
            }
        }
    }
}
