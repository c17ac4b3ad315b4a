//! A convolution whose weights are laid out once.

use std::fmt;

use super::map::Map;
use super::tiles::Tiles;
use crate::nn::cpu::frame::Frame;
use crate::nn::cpu::gemm::{Left, Run, multiply};
use crate::nn::cpu::pack::{Panels, pack, turn};
use crate::nn::cpu::real::Real;
use crate::nn::shape::conv2d::Geometry;

/// A convolution `[O, C, kh, kw]` with a bias, ready to be run on images of any size.
pub(crate) struct Frozen<R: Real> {
    outputs: usize,
    channels: usize,
    kernel: (usize, usize),
    stride: usize,
    padding: (usize, usize),
    bias: Vec<R>,
    form: Form<R>,
}

/// How the weights are laid out.
enum Form<R: Real> {
    /// As one matrix: rows, columns and channels of the kernel by outputs.
    Matrix(Vec<R>),
    /// Transformed, for tiles of 2 × 2 outputs.
    Tiles(Tiles<R>),
}

impl<R: Real> fmt::Debug for Frozen<R> {
    /// Its sizes; nobody reads millions of weights.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes = [self.outputs, self.channels, self.kernel.0, self.kernel.1];
        write!(f, "Frozen({sizes:?})")
    }
}

impl<R: Real> Frozen<R> {
    /// The convolution with `weight [O, C, kh, kw]`, of the given sizes, which belong to each other.
    pub(crate) fn new(
        weight: &[R],
        bias: &[R],
        [outputs, channels, kh, kw]: [usize; 4],
        stride: usize,
        padding: (usize, usize),
    ) -> Self {
        let form = if Tiles::<R>::serve((kh, kw), stride, [outputs, channels]) {
            Form::Tiles(Tiles::new(weight, [outputs, channels]))
        } else {
            let (taps, patch) = (kh * kw, channels * kh * kw);
            let place = |i: usize| i % taps * channels + i / taps;
            let panels = pack(
                patch,
                outputs,
                #[inline(always)]
                |panel, first, count, width| {
                    let from = &weight[first * patch..];
                    turn(from, patch, patch, count, panel, width, place);
                },
            );
            Form::Matrix(panels.to_vec())
        };
        Self {
            outputs,
            channels,
            kernel: (kh, kw),
            stride,
            padding,
            bias: bias.to_vec(),
            form,
        }
    }

    /// The convolution of an image, cut off below 0 if `relu`.
    ///
    /// # Errors
    /// Another number of channels; an image that is smaller than the kernel.
    pub(crate) fn of(&self, x: &Map<R>, relu: bool) -> candle_core::Result<Map<R>> {
        let (height, width) = x.side();
        let geometry = Geometry::new(
            &[1, x.channels(), height, width],
            &[self.outputs, self.channels, self.kernel.0, self.kernel.1],
            &[self.outputs],
            self.stride,
            self.padding,
        )?;
        let mut y = Map::room(geometry.out(), self.outputs);
        match &self.form {
            Form::Matrix(panels) => self.multiplied(&geometry, panels, x, &mut y, relu),
            Form::Tiles(tiles) => tiles.of(&geometry, x, &self.bias, &mut y, relu),
        }
        Ok(y)
    }

    fn multiplied(
        &self,
        geometry: &Geometry,
        panels: &[R],
        x: &Map<R>,
        y: &mut Map<R>,
        relu: bool,
    ) {
        let frame = Frame::from(geometry);
        let framed = frame.around(x.values());
        let starts = geometry.patches(1);
        let row = geometry.kernel_row();
        let run = |k: usize| Run {
            left: k * frame.pitch(),
            right: k * row,
            len: row,
        };
        let runs: Vec<Run> = (0..self.kernel.0).map(run).collect();
        let rows = Left::Rows {
            starts: &starts,
            segment: usize::MAX,
        };
        let right = Panels::new(panels, geometry.patch(), self.outputs);
        let to = y.values_mut();
        multiply(&framed, rows, right, &runs, |tile| {
            tile.finish_into(to, self.outputs, &self.bias, relu);
        });
    }
}
