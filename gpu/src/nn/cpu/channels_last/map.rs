//! An image between two layers.

use crate::nn::cpu::pack::turn;
use crate::nn::cpu::real::{Real, vectorised};
use crate::nn::cpu::scratch::Scratch;

/// An image `[H, W, C]`.
pub(crate) struct Map<R: Real> {
    side: (usize, usize),
    channels: usize,
    values: Scratch<R>,
}

impl<R: Real> Map<R> {
    /// Room for an image; what it holds does not matter yet.
    pub(crate) fn room(side: (usize, usize), channels: usize) -> Self {
        Self {
            side,
            channels,
            values: Scratch::new(side.0 * side.1 * channels),
        }
    }

    /// The image whose channels are planes, `[C, H, W]`.
    pub(crate) fn of_planes(planes: &[R], (height, width): (usize, usize)) -> Self {
        let pixels = height * width;
        let channels = planes.len() / pixels.max(1);
        let mut map = Self::room((height, width), channels);
        vectorised(
            #[inline(always)]
            || {
                turn(
                    planes,
                    pixels,
                    pixels,
                    channels,
                    &mut map.values,
                    channels,
                    |p| p,
                );
            },
        );
        map
    }

    /// The image as planes `[C, H, W]`, with `of(c, x)` for each number.
    pub(crate) fn planes(&self, of: impl Fn(usize, R) -> R) -> Vec<R> {
        let mut planes = Vec::with_capacity(self.values.len());
        for c in 0..self.channels {
            planes.extend(self.pixels().map(|pixel| of(c, pixel[c])));
        }
        planes
    }

    /// Height and width.
    pub(crate) fn side(&self) -> (usize, usize) {
        self.side
    }

    /// How many channels.
    pub(crate) fn channels(&self) -> usize {
        self.channels
    }

    /// All numbers.
    pub(crate) fn values(&self) -> &[R] {
        &self.values
    }

    /// All numbers, to write.
    pub(crate) fn values_mut(&mut self) -> &mut [R] {
        &mut self.values
    }

    /// The channels of each pixel.
    pub(crate) fn pixels(&self) -> impl Iterator<Item = &[R]> {
        self.values.chunks_exact(self.channels.max(1))
    }

    /// The same image again.
    pub(crate) fn copied(&self) -> Self {
        let mut copy = Self::room(self.side, self.channels);
        copy.values.copy_from_slice(&self.values);
        copy
    }

    /// The channels of several images of one size side by side.
    pub(crate) fn joined(parts: &[Self]) -> Self {
        let side = parts.first().map_or((0, 0), |part| part.side);
        let channels: usize = parts.iter().map(|part| part.channels).sum();
        let mut all = Self::room(side, channels);
        let mut first = 0;
        for part in parts {
            let pixels = all.values.chunks_exact_mut(channels.max(1));
            for (to, from) in pixels.zip(part.pixels()) {
                to[first..first + part.channels].copy_from_slice(from);
            }
            first += part.channels;
        }
        all
    }

    /// Every second pixel, with `zeros` channels of zeros before its own and as many behind.
    pub(crate) fn halved(&self, zeros: usize) -> Self {
        let side = (self.side.0.div_ceil(2), self.side.1.div_ceil(2));
        let channels = self.channels + 2 * zeros;
        let mut half = Self::room(side, channels);
        half.values.fill(R::default());
        let rows = self
            .values
            .chunks_exact(self.side.1 * self.channels)
            .step_by(2);
        for (to, from) in half.values.chunks_exact_mut(side.1 * channels).zip(rows) {
            let from = from.chunks_exact(self.channels).step_by(2);
            for (to, from) in to.chunks_exact_mut(channels).zip(from) {
                to[zeros..zeros + self.channels].copy_from_slice(from);
            }
        }
        half
    }

    /// The mean of each channel over the pixels, summed in f64.
    pub(crate) fn means(&self) -> Vec<R> {
        let mut sums = vec![0.0; self.channels];
        for pixel in self.pixels() {
            for (sum, x) in sums.iter_mut().zip(pixel) {
                *sum += x.wide();
            }
        }
        let count = (self.side.0 * self.side.1) as f64;
        sums.into_iter().map(|sum| R::of(sum / count)).collect()
    }

    /// Adds another image of the same shape and cuts off what is below 0.
    pub(crate) fn add_relu(&mut self, other: &Self) {
        let values = self.values.iter_mut().zip(other.values.iter());
        vectorised(
            #[inline(always)]
            || values.for_each(|(x, y)| *x = relu(*x + *y)),
        );
    }
}

/// x, or 0 for what is below; NaN stays.
#[inline(always)]
pub(crate) fn relu<R: Real>(x: R) -> R {
    if x < R::default() { R::default() } else { x }
}
