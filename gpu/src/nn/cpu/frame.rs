//! Images with a border of zeros, channels last.

use std::ops::Deref;

use rayon::prelude::*;

use super::pack::turn;
use super::real::{Real, vectorised};
use super::scratch::Scratch;
use crate::nn::shape::conv2d::Geometry;

/// Pixels whose patches are multiplied by all weights in one task.
const PIXELS: usize = 256;

impl Geometry {
    /// Images that are worked on together: about [`PIXELS`], in groups of nearly the same size.
    #[inline(always)]
    pub(crate) fn group(&self) -> usize {
        let most = (PIXELS / self.pixels()).max(1);
        self.batch.div_ceil(self.batch.div_ceil(most).max(1)).max(1)
    }
    /// The images that `of` makes of the images `x`, group by group.
    pub(crate) fn in_groups<R: Real>(&self, x: &[R], of: impl Fn(&mut [R], &[R]) + Sync) -> Vec<R> {
        let mut y = vec![R::default(); self.batch * self.out_image()];
        let group = self.group();
        y.par_chunks_mut(group * self.out_image())
            .zip(x.par_chunks(group * self.image()))
            .for_each(|(y, x)| of(y, x));
        y
    }
    /// Where, in a row of padded images, the patch of each output pixel of `images` images begins.
    pub(crate) fn patches(&self, images: usize) -> Vec<usize> {
        let ((height, width), frame) = (self.out(), Frame::from(self));
        let start = |n: usize, y: usize, x: usize| {
            n * frame.len() + self.stride * (y * frame.pitch() + x * self.channels)
        };
        (0..images)
            .flat_map(|n| (0..height).flat_map(move |y| (0..width).map(move |x| start(n, y, x))))
            .collect()
    }
}

/// An image in the middle of zeros, `[padded H, padded W, C]`: a patch is then one contiguous run for each row of the
/// kernel, and no patch matrix is needed.
#[derive(Clone, Copy)]
pub(crate) struct Frame {
    /// Sides of the image.
    pub side: (usize, usize),
    /// Rows above and columns left of it.
    pub corner: (usize, usize),
    /// Sides with the border.
    pub padded: (usize, usize),
    pub channels: usize,
}

impl Frame {
    /// Elements.
    #[inline(always)]
    pub(crate) fn len(&self) -> usize {
        self.padded.0 * self.pitch()
    }
    /// Distance of two rows of pixels.
    #[inline(always)]
    pub(crate) fn pitch(&self) -> usize {
        self.padded.1 * self.channels
    }
    /// Which pixel of the frame each pixel of the image becomes.
    pub(crate) fn inside(&self) -> Vec<usize> {
        let (height, width) = self.side;
        let at = |y: usize, x: usize| (y + self.corner.0) * self.padded.1 + self.corner.1 + x;
        (0..height)
            .flat_map(|y| (0..width).map(move |x| at(y, x)))
            .collect()
    }

    /// The frame of an image that has its channels last already; of one without a border, itself.
    pub(crate) fn around<'a, R: Real>(&self, image: &'a [R]) -> Framed<'a, R> {
        if self.side == self.padded {
            return Framed::Itself(image);
        }
        let mut frame = Scratch::new(self.len());
        self.clear_border(&mut frame);
        let (row, left) = (self.side.1 * self.channels, self.corner.1 * self.channels);
        let rows = frame.chunks_exact_mut(self.pitch()).skip(self.corner.0);
        for (to, from) in rows.zip(image.chunks_exact(row)) {
            to[left..left + row].copy_from_slice(from);
        }
        Framed::Copied(frame)
    }

    /// Copies images `[C, H, W]` into as many frames; `inside` are the frame's own.
    #[inline(always)]
    pub(crate) fn fill<R: Real>(&self, frames: &mut [R], images: &[R], inside: &[usize]) {
        let (channels, pixels) = (self.channels, inside.len());
        let frames = frames.chunks_exact_mut(self.len());
        vectorised(
            #[inline(always)]
            || {
                for (frame, image) in frames.zip(images.chunks_exact(channels * pixels)) {
                    self.clear_border(frame);
                    turn(image, pixels, pixels, channels, frame, channels, |p| {
                        inside[p]
                    });
                }
            },
        );
    }

    /// Writes 0 around the image.
    #[inline(always)]
    fn clear_border<R: Real>(&self, frame: &mut [R]) {
        let (height, width) = self.side;
        let (above, left) = self.corner;
        for (y, row) in frame.chunks_exact_mut(self.pitch()).enumerate() {
            if (above..above + height).contains(&y) {
                row[..left * self.channels].fill(R::default());
                row[(left + width) * self.channels..].fill(R::default());
            } else {
                row.fill(R::default());
            }
        }
    }
}

/// An image in its frame.
pub(crate) enum Framed<'a, R: Real> {
    /// One that needs none.
    Itself(&'a [R]),
    /// A copy.
    Copied(Scratch<R>),
}

impl<R: Real> Deref for Framed<'_, R> {
    type Target = [R];

    fn deref(&self) -> &[R] {
        match self {
            Self::Itself(image) => image,
            Self::Copied(frame) => frame,
        }
    }
}

impl From<&Geometry> for Frame {
    fn from(geometry: &Geometry) -> Self {
        Self {
            side: geometry.side,
            corner: geometry.padding,
            padded: geometry.padded(),
            channels: geometry.channels,
        }
    }
}
