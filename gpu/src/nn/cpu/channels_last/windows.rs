//! Maxima and means of the pixels in a window.

use super::map::Map;
use crate::nn::cpu::real::{Real, vectorised};

/// For each output, the first input and the inputs behind the last that its window has along one side.
pub(crate) type Spans<'a> = &'a [(usize, usize)];

/// The greatest of each window: that of output (i, j) has the rows `rows[i]` and the columns `columns[j]`, none of them empty.
pub(crate) fn greatest<R: Real>(x: &Map<R>, rows: Spans<'_>, columns: Spans<'_>) -> Map<R> {
    let (channels, pitch) = (x.channels(), x.side().1 * x.channels());
    let mut y = Map::room((rows.len(), columns.len()), channels);
    let windows = rows
        .iter()
        .flat_map(|rows| columns.iter().map(move |columns| (*rows, *columns)));
    let outputs = y.values_mut().chunks_exact_mut(channels.max(1));
    vectorised(
        #[inline(always)]
        || {
            for (to, ((top, bottom), (left, right))) in outputs.zip(windows) {
                let pixel =
                    |i: usize, j: usize| &x.values()[i * pitch + j * channels..][..channels];
                to.copy_from_slice(pixel(top, left));
                for i in top..bottom {
                    for j in left..right {
                        for (to, &x) in to.iter_mut().zip(pixel(i, j)) {
                            // Of a number and NaN, NaN.
                            *to = if *to < x || x.is_nan() { x } else { *to };
                        }
                    }
                }
            }
        },
    );
    y
}

/// The mean of the 3 × 3 pixels around each, of those that are inside the image.
pub(crate) fn mean3<R: Real>(x: &Map<R>) -> Map<R> {
    let ((height, width), channels) = (x.side(), x.channels());
    let pitch = width * channels;
    let mut y = Map::room((height, width), channels);
    let around = |i: usize, side: usize| (i.saturating_sub(1), (i + 2).min(side));
    let rows = y.values_mut().chunks_exact_mut(pitch.max(1));
    let mut sums = vec![R::default(); pitch];
    vectorised(
        #[inline(always)]
        || {
            for (i, to) in rows.enumerate() {
                let (top, bottom) = around(i, height);
                sums.copy_from_slice(&x.values()[top * pitch..][..pitch]);
                for row in x.values()[(top + 1) * pitch..bottom * pitch].chunks_exact(pitch) {
                    sums.iter_mut().zip(row).for_each(|(sum, &x)| *sum += x);
                }
                for (j, to) in to.chunks_exact_mut(channels).enumerate() {
                    let (left, right) = around(j, width);
                    let weight = R::of(1.0 / ((bottom - top) * (right - left)) as f64);
                    to.copy_from_slice(&sums[left * channels..][..channels]);
                    for sums in sums[(left + 1) * channels..right * channels].chunks_exact(channels)
                    {
                        to.iter_mut().zip(sums).for_each(|(to, &x)| *to += x);
                    }
                    for to in to {
                        *to = *to * weight;
                    }
                }
            }
        },
    );
    y
}
