//! Convolution with a 1×1 kernel: one matrix product for each image, of the weights with the image as it lies.

use super::gemm::{Left, Run, multiply};
use super::pack::{Panels, copy, pack};
use super::real::Real;
use super::scratch::Scratch;
use crate::nn::shape::conv2d::Geometry;

/// The map `y[n,o,·] = Σ_c w[o,c] x[n,c,·]`.
pub(crate) struct Pointwise<'a, R: Real> {
    geometry: &'a Geometry,
    /// w, row by row.
    weight: Scratch<R>,
    /// Where its rows begin.
    starts: Vec<usize>,
}

impl<'a, R: Real> Pointwise<'a, R> {
    /// The map with `w[o,c]`.
    pub(crate) fn new(geometry: &'a Geometry, weight: &[R]) -> Self {
        let mut own = Scratch::new(weight.len());
        own.copy_from_slice(weight);
        Self::with(geometry, own)
    }

    /// The one that maps ∂L/∂y to ∂L/∂x, with `w[c,o]`; its channels are the outputs of the other.
    pub(crate) fn back(geometry: &'a Geometry, weight: &[R]) -> Self {
        let mut own = Scratch::new(weight.len());
        for (c, row) in own.chunks_exact_mut(geometry.channels).enumerate() {
            for (to, from) in row.iter_mut().zip(weight.chunks_exact(geometry.outputs)) {
                *to = from[c];
            }
        }
        Self::with(geometry, own)
    }

    fn with(geometry: &'a Geometry, weight: Scratch<R>) -> Self {
        let starts = (0..geometry.outputs).map(|o| o * geometry.channels);
        Self {
            geometry,
            weight,
            starts: starts.collect(),
        }
    }

    /// The map of images.
    pub(crate) fn of(&self, x: &[R], bias: Option<&[R]>) -> Vec<R> {
        self.geometry.in_groups(x, |y, x| self.apply(y, x, bias))
    }

    /// The map of a group of images, whose pixels are the columns of one product.
    fn apply(&self, y: &mut [R], x: &[R], bias: Option<&[R]>) {
        let (pixels, channels) = (self.geometry.pixels(), self.geometry.channels);
        let columns = x.len() / channels;
        let panels = pack(
            channels,
            columns,
            #[inline(always)]
            |panel, first, count, width| {
                for piece in pieces(first, count, pixels) {
                    let from = &x[piece.image * channels * pixels + piece.pixel..];
                    let rows = panel.chunks_exact_mut(width).zip(from.chunks(pixels));
                    for (to, from) in rows {
                        copy(&mut to[piece.at..][..piece.len], &from[..piece.len]);
                    }
                }
            },
        );
        let run = Run {
            left: 0,
            right: 0,
            len: channels,
        };
        let rows = Left::Rows {
            starts: &self.starts,
            segment: usize::MAX,
        };
        let right = Panels::new(&panels, channels, columns);
        let out_image = self.geometry.out_image();
        multiply(&self.weight, rows, right, &[run], |tile| {
            for (o, values) in (tile.row..).zip(tile.rows()) {
                let bias = bias.map_or(R::default(), |bias| bias[o]);
                for piece in pieces(tile.column, tile.width, pixels) {
                    let start = piece.image * out_image + o * pixels + piece.pixel;
                    let to = &mut y[start..][..piece.len];
                    for (to, &x) in to.iter_mut().zip(&values[piece.at..]) {
                        *to = x + bias;
                    }
                }
            }
        });
    }
}

/// Neighbouring columns that are neighbouring pixels of one image.
struct Piece {
    /// Its first column, counted from where the search began.
    at: usize,
    len: usize,
    image: usize,
    pixel: usize,
}

/// The pieces of `count` columns from `first` on.
fn pieces(first: usize, count: usize, pixels: usize) -> impl Iterator<Item = Piece> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let (image, pixel) = ((first + at) / pixels, (first + at) % pixels);
        let len = (pixels - pixel).min(count - at);
        let piece = Piece {
            at,
            len,
            image,
            pixel,
        };
        at += len;
        (len > 0).then_some(piece)
    })
}
