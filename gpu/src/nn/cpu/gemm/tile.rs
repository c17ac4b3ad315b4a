//! Output tiles of the GEMM: a finished part of a product, and where it may go.

use crate::nn::cpu::pack::turned;
use crate::nn::cpu::real::{Real, vectorised};

/// A finished part of the product: rows from `row`, columns from `column`, `width` of them in each `pitch`.
pub(crate) struct Tile<'a, R> {
    pub row: usize,
    pub column: usize,
    pub width: usize,
    pub(crate) pitch: usize,
    pub(crate) values: &'a [R],
}

impl<R: Real> Tile<'_, R> {
    /// The rows of the tile.
    #[inline(always)]
    pub(crate) fn rows(&self) -> impl Iterator<Item = &[R]> {
        self.values
            .chunks_exact(self.pitch)
            .map(|row| &row[..self.width])
    }

    /// Copies the tile, with its elements of `bias` added and cut off below 0 if `relu`, into rows of `to` that begin `pitch`
    /// elements apart.
    pub(crate) fn finish_into(&self, to: &mut [R], pitch: usize, bias: &[R], relu: bool) {
        vectorised(
            #[inline(always)]
            || {
                let bias = &bias[self.column..][..self.width];
                let rows = to[self.row * pitch..].chunks_mut(pitch);
                for (to, from) in rows.zip(self.values.chunks_exact(self.pitch)) {
                    let sums = from.iter().zip(bias).map(|(x, bias)| *x + *bias);
                    let to = to[self.column..][..self.width].iter_mut();
                    if relu {
                        // NaN stays.
                        let zero = R::default();
                        to.zip(sums)
                            .for_each(|(to, x)| *to = if x < zero { zero } else { x });
                    } else {
                        to.zip(sums).for_each(|(to, x)| *to = x);
                    }
                }
            },
        );
    }

    /// Copies the tile, turned, into rows that begin `pitch` elements apart in `to`, from element `at` on; to each of
    /// them its element of `bias` is added.
    pub(crate) fn turn_into(&self, to: &mut [R], at: usize, pitch: usize, bias: Option<&[R]>) {
        vectorised(
            #[inline(always)]
            || {
                let bias = |j: usize| bias.map_or(R::default(), |bias| bias[self.column + j]);
                let rows = self.values.len() / self.pitch;
                let row = |i: usize| &self.values[i * self.pitch..][..self.width];
                let start = |i: usize, j: usize| (self.column + j) * pitch + at + i;
                let whole = (rows - rows % 4, self.width - self.width % 4);
                for i in (0..whole.0).step_by(4) {
                    let four = [row(i), row(i + 1), row(i + 2), row(i + 3)];
                    for j in (0..whole.1).step_by(4) {
                        for (k, column) in turned(four, j).into_iter().enumerate() {
                            let bias = bias(j + k);
                            to[start(i, j + k)..][..4].copy_from_slice(&[
                                column[0] + bias,
                                column[1] + bias,
                                column[2] + bias,
                                column[3] + bias,
                            ]);
                        }
                    }
                    for j in whole.1..self.width {
                        let bias = bias(j);
                        let to = &mut to[start(i, j)..][..4];
                        for (to, row) in to.iter_mut().zip(four) {
                            *to = row[j] + bias;
                        }
                    }
                }
                for i in whole.0..rows {
                    for (j, &x) in row(i).iter().enumerate() {
                        to[start(i, j)] = x + bias(j);
                    }
                }
            },
        );
    }
}
