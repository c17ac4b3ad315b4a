//! Scaled dot-product attention.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::buffer::{Matrix, by_dtype, load, matmul, slice_mut, tensor, with};
use super::real::{Real, vectorised};
use super::softmax::{softmax_last, softmax_row, softmax_row_grad};
use super::{Path, composed};
use crate::Error;

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
    let (_, _, width) = q.dims3()?;
    let scores = (q.matmul(&k.t()?)? * (1.0 / (width as f64).sqrt()))?;
    softmax_last(&scores)?.matmul(v)
}

/// How the tokens of [`self_attention`] lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// `[N, 3C, T]` → `[N, C, T]`: images, a token is a pixel.
    Channels,
    /// `[N, T, 3C]` → `[N, T, C]`: sequences.
    Tokens,
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
        Path::Composed => composed::self_attention(qkv, heads, packing),
    }
}

struct SelfAttention {
    heads: usize,
    packing: Packing,
}

/// The sizes of one self-attention, checked.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub batch: usize,
    pub tokens: usize,
    pub heads: usize,
    /// Channels of one head.
    pub width: usize,
    packing: Packing,
}

impl Sizes {
    pub(super) fn new(qkv: &[usize], heads: usize, packing: Packing) -> Result<Self> {
        let &[batch, rows, columns] = qkv else {
            return Err(Error::shape("packed q, k, v", "of rank 3", qkv).into());
        };
        let (tokens, channels) = match packing {
            Packing::Channels => (columns, rows),
            Packing::Tokens => (rows, columns),
        };
        if heads == 0 || channels == 0 || tokens == 0 || !channels.is_multiple_of(3 * heads) {
            let must = format!("be positive and divide a third of the {channels} channels");
            return Err(Error::invalid("attention heads", must, heads).into());
        }
        let width = channels / (3 * heads);
        Ok(Self {
            batch,
            tokens,
            heads,
            width,
            packing,
        })
    }

    fn channels(&self) -> usize {
        self.heads * self.width
    }
    /// Elements of one sample of the output.
    fn sample(&self) -> usize {
        self.tokens * self.channels()
    }
    fn out_shape(&self) -> Shape {
        match self.packing {
            Packing::Channels => Shape::from((self.batch, self.channels(), self.tokens)),
            Packing::Tokens => Shape::from((self.batch, self.tokens, self.channels())),
        }
    }

    /// The `[T, width]` block at channel `channel` of sample `n` in a tensor with `channels`
    /// channels.
    fn block<'a>(
        &self,
        storage: &'a CpuStorage,
        n: usize,
        channel: usize,
        channels: usize,
    ) -> Matrix<'a> {
        let start = n * self.tokens * channels;
        let (offset, strides) = match self.packing {
            Packing::Channels => (start + channel * self.tokens, (1, self.tokens)),
            Packing::Tokens => (start + channel, (channels, 1)),
        };
        Matrix {
            storage,
            offset,
            shape: (self.tokens, self.width),
            strides,
        }
    }

    /// Computes `A B` of shape `[T, width]` and writes it at channel `channel` of one sample.
    fn write_product<R: Real>(
        &self,
        to: &mut [R],
        channel: usize,
        a: Matrix<'_>,
        b: Matrix<'_>,
    ) -> Result<()> {
        match self.packing {
            Packing::Channels => {
                let block = matmul::<R>(b.t(), a.t())?;
                to[channel * self.tokens..][..block.len()].copy_from_slice(&block);
            }
            Packing::Tokens => {
                let block = matmul::<R>(a, b)?;
                let rows = to.chunks_exact_mut(to.len() / self.tokens);
                for (to, from) in rows.zip(block.chunks_exact(self.width)) {
                    to[channel..][..self.width].copy_from_slice(from);
                }
            }
        }
        Ok(())
    }
}

/// Queries, keys and values of one head.
struct Head<'a> {
    q: Matrix<'a>,
    k: Matrix<'a>,
    v: Matrix<'a>,
}

impl<'a> Head<'a> {
    fn new(qkv: &'a CpuStorage, n: usize, head: usize, sizes: &Sizes) -> Self {
        let channels = sizes.channels();
        let part = |i: usize| sizes.block(qkv, n, i * channels + head * sizes.width, 3 * channels);
        Self {
            q: part(0),
            k: part(1),
            v: part(2),
        }
    }

    /// `P = softmax_rows(q kᵀ / √d)`, row-major.
    fn probabilities<R: Real>(&self, sizes: &Sizes) -> Result<Vec<R>> {
        let mut p = matmul::<R>(self.q, self.k.t())?;
        let scale = attention_scale::<R>(sizes);
        vectorised(|| {
            for row in p.chunks_exact_mut(sizes.tokens) {
                for x in row.iter_mut() {
                    *x = *x * scale;
                }
                softmax_row(row);
            }
        });
        Ok(p)
    }
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
    let dtype = qkv.dtype();
    let qkv = R::store(load::<R>(qkv, layout)?.into_owned(), R::DTYPE);
    let mut y = vec![R::default(); sizes.batch * sizes.sample()];
    y.par_chunks_mut(sizes.sample())
        .enumerate()
        .try_for_each(|(n, y)| {
            (0..sizes.heads).try_for_each(|h| {
                let head = Head::new(&qkv, n, h, sizes);
                let p = R::store(head.probabilities::<R>(sizes)?, R::DTYPE);
                let p = Matrix::rows(&p, 0, (sizes.tokens, sizes.tokens));
                sizes.write_product(y, h * sizes.width, p, head.v)
            })
        })?;
    Ok(R::store(y, dtype))
}

fn backward<R: Real>(qkv: &Tensor, grad: &Tensor, sizes: &Sizes) -> Result<Tensor> {
    let own = |x: &Tensor| with::<R, _>(x, |x| Ok(R::store(x.to_vec(), R::DTYPE)));
    let (inputs, grad) = (own(qkv)?, own(grad)?);
    let mut qkv_grad = vec![R::default(); 3 * sizes.batch * sizes.sample()];
    qkv_grad
        .par_chunks_mut(3 * sizes.sample())
        .enumerate()
        .try_for_each(|(n, to)| {
            (0..sizes.heads).try_for_each(|h| {
                let grad = sizes.block(&grad, n, h * sizes.width, sizes.channels());
                head_backward::<R>(to, h, &Head::new(&inputs, n, h, sizes), grad, sizes)
            })
        })?;
    Ok(tensor(qkv_grad, qkv.shape(), qkv.dtype()))
}

/// Writes one head's gradients into its sample's part of ∂L/∂qkv.
fn head_backward<R: Real>(
    to: &mut [R],
    h: usize,
    head: &Head<'_>,
    grad: Matrix<'_>,
    sizes: &Sizes,
) -> Result<()> {
    let square = (sizes.tokens, sizes.tokens);
    let p = head.probabilities::<R>(sizes)?;
    let mut s_grad = R::store(matmul::<R>(grad, head.v.t())?, R::DTYPE);
    let rows = slice_mut::<R>(&mut s_grad)?;
    let scale = attention_scale::<R>(sizes);
    vectorised(|| {
        let pairs = rows
            .chunks_exact_mut(sizes.tokens)
            .zip(p.chunks_exact(sizes.tokens));
        for (grad, p) in pairs {
            softmax_row_grad(grad, p);
            for g in grad.iter_mut() {
                *g = *g * scale;
            }
        }
    });
    let p = R::store(p, R::DTYPE);
    let (p, s_grad) = (
        Matrix::rows(&p, 0, square),
        Matrix::rows(&s_grad, 0, square),
    );
    let channel = |part: usize| part * sizes.channels() + h * sizes.width;
    sizes.write_product(to, channel(0), s_grad, head.k)?;
    sizes.write_product(to, channel(1), s_grad.t(), head.q)?;
    sizes.write_product(to, channel(2), p.t(), grad)
}
