//! Scaled dot-product attention.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::composed;
use super::path::Path;
use super::shape::attention::{Packing, Sizes};
use super::softmax::{scaled_softmax, scaled_softmax_row, softmax_row_grad};
use crate::nn::cpu::buffer::{by_dtype, load, tensor, with};
use crate::nn::cpu::gemm::{Begin, Left, Run, Tile, multiply, multiply_into, strip_width, strips};
use crate::nn::cpu::pack::{Panels, copy, pack_columns, pack_rows, turn};
use crate::nn::cpu::real::{Real, vectorised};
use crate::nn::cpu::scratch::Scratch;

/// Scaled dot-product attention of separate queries, keys and values.
///
/// # Formula `[eq:attention]`
/// ```text
/// y = P v,   P = softmax_rows(q kᵀ / √d)
/// ∂L/∂v = Pᵀ g,  ∂L/∂S = P ∘ (g vᵀ − rowsum(P ∘ g vᵀ)),  ∂L/∂q = ∂L/∂S k / √d,  ∂L/∂k = (∂L/∂S)ᵀ q / √d
/// ```
///
/// # Shapes
/// `q: [N, T, d]`, `k: [N, S, d]`, `v: [N, S, e]` → `[N, T, e]`, N = batch · heads.
///
/// # Source
/// Vaswani et al. 2017 (arXiv:1706.03762), Eq. 1.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
    composed::attention_with(scaled_softmax, q, k, v)
}

/// Multi-head self-attention of packed queries, keys and values, as one operation.
///
/// The 3C channels are q, k, v in this order, each cut into `heads` contiguous blocks of C / heads;
/// each head is [`attention`] over the T tokens of one sample.
///
/// # Shapes
/// See [`Packing`].
///
/// # Errors
/// A rank other than 3, channels that are not a positive multiple of 3 · `heads`.
pub fn self_attention(qkv: &Tensor, heads: usize, packing: Packing) -> Result<Tensor> {
    match Path::of(qkv) {
        Path::Fused => qkv
            .contiguous()?
            .apply_op1(SelfAttention { heads, packing }),
        Path::Composed => composed::self_attention_with(scaled_softmax, qkv, heads, packing),
    }
}

struct SelfAttention {
    heads: usize,
    packing: Packing,
}

impl Sizes {
    /// One head's `[T, width]` block of a sample with `channels` channels, from channel `channel` on, row-major.
    fn block<R: Real>(&self, sample: &[R], channel: usize, channels: usize) -> Scratch<R> {
        let mut block = Scratch::new(self.tokens * self.width);
        match self.packing {
            Packing::Channels => {
                let from = &sample[channel * self.tokens..];
                let (tokens, width) = (self.tokens, self.width);
                vectorised(
                    #[inline(always)]
                    || turn(from, tokens, tokens, width, &mut block, width, |t| t),
                );
            }
            Packing::Tokens => {
                let rows = sample.chunks_exact(channels);
                for (to, from) in block.chunks_exact_mut(self.width).zip(rows) {
                    to.copy_from_slice(&from[channel..][..self.width]);
                }
            }
        }
        block
    }

    /// Writes a product of shape `[T, width]` at channel `channel` of one sample with `channels` channels.
    fn write<R: Real>(
        &self,
        to: &mut [R],
        channel: usize,
        channels: usize,
        product: Product<'_, R>,
    ) {
        product.tiles(|tile| match self.packing {
            Packing::Channels => {
                let to = &mut to[channel * self.tokens..];
                tile.turn_into(to, tile.row, self.tokens, None);
            }
            Packing::Tokens => {
                for (i, values) in tile.rows().enumerate() {
                    let at = (tile.row + i) * channels + channel + tile.column;
                    copy(&mut to[at..at + tile.width], values);
                }
            }
        });
    }
}

/// A product of small matrices.
struct Product<'a, R> {
    left: &'a [R],
    /// Whether the left operand lies in strips of its rows, and how many rows it has.
    strips: bool,
    rows: usize,
    right: Panels<'a, R>,
    inner: usize,
}

impl<R: Real> Product<'_, R> {
    fn tiles(&self, store: impl FnMut(Tile<'_, R>)) {
        let run = Run {
            left: 0,
            right: 0,
            len: self.inner,
        };
        self.with_rows(|rows| multiply(self.left, rows, self.right, &[run], store));
    }

    /// The whole product, row-major.
    fn whole(&self) -> Scratch<R> {
        let mut whole = Scratch::new(self.rows * self.right.columns());
        self.with_rows(|rows| {
            let to = (&mut *whole, self.right.columns());
            multiply_into(self.left, rows, self.right, Begin::Zero, to);
        });
        whole
    }

    fn with_rows(&self, f: impl FnOnce(Left<'_>)) {
        if self.strips {
            return f(Left::Strips {
                pitch: self.inner * strip_width(),
                count: self.rows,
            });
        }
        let starts: Vec<usize> = (0..self.rows).map(|i| i * self.inner).collect();
        f(Left::Rows {
            starts: &starts,
            segment: usize::MAX,
        });
    }
}

/// Queries, keys and values of one head, each `[T, width]` row-major.
struct Head<R: Real> {
    q: Scratch<R>,
    k: Scratch<R>,
    v: Scratch<R>,
}

impl<R: Real> Head<R> {
    fn new(sample: &[R], head: usize, sizes: &Sizes) -> Self {
        let channels = sizes.channels();
        let part = |i: usize| sizes.block(sample, i * channels + head * sizes.width, 3 * channels);
        Self {
            q: part(0),
            k: part(1),
            v: part(2),
        }
    }

    /// `P = softmax_rows(q kᵀ / √d)`, row-major.
    fn probabilities(&self, sizes: &Sizes) -> Scratch<R> {
        let mut p = rows_by_rows(&self.q, &self.k, sizes);
        let scale = attention_scale::<R>(sizes);
        vectorised(
            #[inline(always)]
            || {
                for row in p.chunks_exact_mut(sizes.tokens) {
                    scaled_softmax_row(row, scale);
                }
            },
        );
        p
    }
}

/// `A Bᵀ` of two `[T, width]` matrices.
fn rows_by_rows<R: Real>(a: &[R], b: &[R], sizes: &Sizes) -> Scratch<R> {
    let (tokens, width) = (sizes.tokens, sizes.width);
    let panels = pack_columns(b, width, width, tokens);
    let product = Product {
        left: a,
        strips: false,
        rows: tokens,
        right: Panels::new(&panels, width, tokens),
        inner: width,
    };
    product.whole()
}

fn attention_scale<R: Real>(sizes: &Sizes) -> R {
    R::of(1.0 / (sizes.width as f64).sqrt())
}

impl CustomOp1 for SelfAttention {
    fn name(&self) -> &'static str {
        "self_attention"
    }

    fn cpu_fwd(&self, qkv: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let sizes = Sizes::new(layout.dims(), self.heads, self.packing)?;
        let y = by_dtype!(qkv.dtype(), "self_attention", forward(qkv, layout, &sizes))?;
        Ok((y, sizes.out_shape()))
    }

    fn bwd(&self, qkv: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let sizes = Sizes::new(qkv.dims(), self.heads, self.packing)?;
        by_dtype!(qkv.dtype(), "self_attention", backward(qkv, grad, &sizes)).map(Some)
    }
}

fn forward<R: Real>(qkv: &CpuStorage, layout: &Layout, sizes: &Sizes) -> Result<CpuStorage> {
    let values = load::<R>(qkv, layout)?;
    let mut y = vec![R::default(); sizes.batch * sizes.sample()];
    y.par_chunks_mut(sizes.sample())
        .zip(values.par_chunks(3 * sizes.sample()))
        .for_each(|(y, sample)| {
            for h in 0..sizes.heads {
                let head = Head::new(sample, h, sizes);
                let p = head.probabilities(sizes);
                write_squared(
                    y,
                    (h * sizes.width, sizes.channels()),
                    &p,
                    false,
                    &head.v,
                    sizes,
                );
            }
        });
    Ok(R::store(y, qkv.dtype()))
}

/// Writes `A B`, or `Aᵀ B`, for A `[T, T]` and B `[T, width]` at a channel of a sample with so many channels.
fn write_squared<R: Real>(
    to: &mut [R],
    (channel, channels): (usize, usize),
    a: &[R],
    turned: bool,
    b: &[R],
    sizes: &Sizes,
) {
    let (tokens, width) = (sizes.tokens, sizes.width);
    let panels = pack_rows(b, width, tokens, width);
    let cut;
    let product = Product {
        left: if turned {
            cut = strips(a, tokens, 0..tokens);
            &cut
        } else {
            a
        },
        strips: turned,
        rows: tokens,
        right: Panels::new(&panels, tokens, width),
        inner: tokens,
    };
    sizes.write(to, channel, channels, product);
}

fn backward<R: Real>(qkv: &Tensor, grad: &Tensor, sizes: &Sizes) -> Result<Tensor> {
    let mut qkv_grad = vec![R::default(); 3 * sizes.batch * sizes.sample()];
    with::<R, _>(qkv, |inputs| {
        with::<R, _>(grad, |grad| {
            qkv_grad
                .par_chunks_mut(3 * sizes.sample())
                .zip(inputs.par_chunks(3 * sizes.sample()))
                .zip(grad.par_chunks(sizes.sample()))
                .for_each(|((to, sample), grad)| {
                    for h in 0..sizes.heads {
                        head_backward(to, h, sample, grad, sizes);
                    }
                });
            Ok(())
        })
    })?;
    Ok(tensor(qkv_grad, qkv.shape(), qkv.dtype()))
}

/// Writes one head's gradients into its sample's part of ∂L/∂qkv.
fn head_backward<R: Real>(to: &mut [R], h: usize, sample: &[R], grad: &[R], sizes: &Sizes) {
    let head = Head::new(sample, h, sizes);
    let grad = sizes.block(grad, h * sizes.width, sizes.channels());
    let p = head.probabilities(sizes);
    let mut s_grad = rows_by_rows(&grad, &head.v, sizes);
    let scale = attention_scale::<R>(sizes);
    vectorised(
        #[inline(always)]
        || {
            let pairs = s_grad
                .chunks_exact_mut(sizes.tokens)
                .zip(p.chunks_exact(sizes.tokens));
            for (grad, p) in pairs {
                softmax_row_grad(grad, p, scale);
            }
        },
    );
    let channels = sizes.channels();
    let place = |part: usize| (part * channels + h * sizes.width, 3 * channels);
    write_squared(to, place(0), &s_grad, false, &head.k, sizes);
    write_squared(to, place(1), &s_grad, true, &head.q, sizes);
    write_squared(to, place(2), &p, true, &grad, sizes);
}
