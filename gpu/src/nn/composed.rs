//! The layers as chains of candle operations, for devices without the fused path or a kernel of ours.
//!
//! Same formulas, shapes and errors as the functions of the same name in [`nn`](super). bf16 and
//! f16 normalisations, activations and softmax are computed in f32 and rounded once.

use candle_core::{D, DType, Result, Tensor};

use super::embedding::from_f64;
use super::path::{Path, note};
use super::shape::activation::{GELU_CUBIC, GELU_SCALE};
use super::shape::attention::{self, Packing};
use super::shape::conv2d::Geometry;
use super::shape::fir::Fir;
use super::shape::group_norm::{self, GROUP_NORM_EPS};
use super::shape::layer_norm::{self, LAYER_NORM_EPS};
use super::shape::linear::{self, bias_or_zeros};
use super::shape::resample::even_sides;

/// `f` in f32 for bf16 and f16, in the tensor's own type otherwise.
pub(super) fn widened(x: &Tensor, f: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Tensor> {
    match x.dtype() {
        DType::BF16 | DType::F16 => f(&x.to_dtype(DType::F32)?)?.to_dtype(x.dtype()),
        _ => f(x),
    }
}

/// See [`linear`].
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    note(Path::Composed);
    let bias = bias_or_zeros(bias, weight)?;
    linear::Sizes::new(x.dims(), weight.dims(), bias.dims())?;
    let (outputs, inputs) = weight.dims2()?;
    let y = x
        .reshape(((), inputs))?
        .matmul(&weight.t()?)?
        .broadcast_add(&bias)?;
    let mut dims = x.dims()[..x.rank() - 1].to_vec();
    dims.push(outputs);
    y.reshape(dims)
}

/// See [`conv2d`](super::conv2d).
pub fn conv2d(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    padding: usize,
) -> Result<Tensor> {
    conv2d_strided(x, weight, bias, 1, (padding, padding))
}

/// See [`conv2d_strided`](super::conv2d_strided).
pub fn conv2d_strided(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    stride: usize,
    padding: (usize, usize),
) -> Result<Tensor> {
    note(Path::Composed);
    let bias = bias_or_zeros(bias, weight)?;
    Geometry::new(x.dims(), weight.dims(), bias.dims(), stride, padding)?;
    // candle pads both directions alike.
    let square = padding.0.min(padding.1);
    let (tall, wide) = (padding.0 - square, padding.1 - square);
    let x = x
        .pad_with_zeros(2, tall, tall)?
        .pad_with_zeros(3, wide, wide)?;
    let y = x
        .contiguous()?
        .conv2d(&weight.contiguous()?, square, stride, 1, 1)?;
    y.broadcast_add(&bias.reshape((1, (), 1, 1))?)
}

/// See [`group_norm`].
pub fn group_norm(x: &Tensor, groups: usize, gamma: &Tensor, beta: &Tensor) -> Result<Tensor> {
    group_norm_eps(x, groups, gamma, beta, GROUP_NORM_EPS)
}

/// See [`group_norm_eps`](super::group_norm_eps).
pub fn group_norm_eps(
    x: &Tensor,
    groups: usize,
    gamma: &Tensor,
    beta: &Tensor,
    eps: f64,
) -> Result<Tensor> {
    note(Path::Composed);
    let sizes = group_norm::Sizes::new(groups, x.dims(), gamma.dims(), beta.dims())?;
    let rows = if sizes.per_sample { sizes.batch } else { 1 };
    widened(x, |wide| {
        let affine = |t: &Tensor| t.to_dtype(wide.dtype())?.reshape((rows, sizes.channels, 1));
        standardised(&wide.reshape((sizes.batch, groups, ()))?, eps)?
            .reshape((sizes.batch, sizes.channels, ()))?
            .broadcast_mul(&affine(gamma)?)?
            .broadcast_add(&affine(beta)?)?
            .reshape(x.shape())
    })
}

/// See [`group_norm_silu`](super::group_norm_silu).
pub fn group_norm_silu(x: &Tensor, groups: usize, gamma: &Tensor, beta: &Tensor) -> Result<Tensor> {
    silu(&group_norm(x, groups, gamma, beta)?)
}

/// See [`layer_norm`].
pub fn layer_norm(x: &Tensor, affine: Option<(&Tensor, &Tensor)>) -> Result<Tensor> {
    note(Path::Composed);
    widened(x, |wide| {
        let y = standardised(wide, LAYER_NORM_EPS)?;
        let Some((gamma, beta)) = affine else {
            return Ok(y);
        };
        layer_norm::Sizes::new(x.dims(), gamma.dims(), beta.dims())?;
        let mut dims = vec![1; x.rank()];
        if let [.., width] = *x.dims() {
            dims[x.rank() - 1] = width;
        }
        if gamma.rank() == 2 {
            dims[0] = x.dim(0)?;
        }
        let affine = |t: &Tensor| t.to_dtype(wide.dtype())?.reshape(dims.as_slice());
        y.broadcast_mul(&affine(gamma)?)?
            .broadcast_add(&affine(beta)?)
    })
}

/// `(x − μ) / √(v + eps)` over the last dimension.
fn standardised(x: &Tensor, eps: f64) -> Result<Tensor> {
    let scale = 1.0 / x.dim(D::Minus1)? as f64;
    let mean = (x.sum_keepdim(D::Minus1)? * scale)?;
    let centred = x.broadcast_sub(&mean)?;
    let variance = (centred.sqr()?.sum_keepdim(D::Minus1)? * scale)?;
    centred.broadcast_div(&(variance + eps)?.sqrt()?)
}

/// See [`silu`](super::silu).
pub fn silu(x: &Tensor) -> Result<Tensor> {
    note(Path::Composed);
    widened(x, Tensor::silu)
}

/// See [`relu`](super::relu).
pub fn relu(x: &Tensor) -> Result<Tensor> {
    note(Path::Composed);
    x * x.gt(0.0)?.to_dtype(x.dtype())?.detach()
}

/// See [`gelu`](super::gelu).
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    note(Path::Composed);
    widened(x, |x| {
        let cubic = ((x.sqr()? * x)? * GELU_CUBIC)?;
        let u = ((x + cubic)? * GELU_SCALE)?;
        (x * 0.5)? * (u.tanh()? + 1.0)?
    })
}

/// See [`gated_sum`](super::gated_sum).
pub fn gated_sum(x: &Tensor, gate: &Tensor, h: &Tensor) -> Result<Tensor> {
    note(Path::Composed);
    super::shape::gated_sum::sizes(x.dims(), gate.dims(), h.dims())?;
    widened(x, |x| {
        let wide = |t: &Tensor| t.to_dtype(x.dtype());
        x + wide(h)?.broadcast_mul(&wide(gate)?.unsqueeze(1)?)?
    })
}

/// See [`softmax_last`](super::softmax_last).
pub fn softmax_last(x: &Tensor) -> Result<Tensor> {
    note(Path::Composed);
    widened(x, |x| {
        let largest = x.max_keepdim(D::Minus1)?.detach();
        let e = x.broadcast_sub(&largest)?.exp()?;
        e.broadcast_div(&e.sum_keepdim(D::Minus1)?)
    })
}

/// See [`attention`].
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
    attention_with(scaled_softmax, q, k, v)
}

/// Softmax of `scale · x` over the last dimension.
pub(super) fn scaled_softmax(x: &Tensor, scale: f64) -> Result<Tensor> {
    note(Path::Composed);
    softmax_last(&(x * scale)?)
}

/// [`attention`] with a softmax of scaled scores of one's own.
pub(super) fn attention_with(
    softmax: impl FnOnce(&Tensor, f64) -> Result<Tensor>,
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
) -> Result<Tensor> {
    note(Path::Composed);
    let (_, _, width) = q.dims3()?;
    softmax(&q.matmul(&k.t()?)?, 1.0 / (width as f64).sqrt())?.matmul(v)
}

/// See [`self_attention`](super::self_attention).
pub fn self_attention(qkv: &Tensor, heads: usize, packing: Packing) -> Result<Tensor> {
    self_attention_with(scaled_softmax, qkv, heads, packing)
}

/// [`self_attention`] with a softmax of scaled scores of one's own.
pub(super) fn self_attention_with(
    softmax: impl FnOnce(&Tensor, f64) -> Result<Tensor>,
    qkv: &Tensor,
    heads: usize,
    packing: Packing,
) -> Result<Tensor> {
    note(Path::Composed);
    let sizes = attention::Sizes::new(qkv.dims(), heads, packing)?;
    let (batch, tokens, width) = (sizes.batch, sizes.tokens, sizes.width);
    let tokens_first = match packing {
        Packing::Channels => qkv.t()?,
        Packing::Tokens => qkv.clone(),
    };
    let parts = tokens_first
        .reshape((batch, tokens, 3, heads, width))?
        .permute((2, 0, 3, 1, 4))?;
    let part = |i: usize| {
        parts
            .get(i)?
            .contiguous()?
            .reshape((batch * heads, tokens, width))
    };
    let y = attention_with(softmax, &part(0)?, &part(1)?, &part(2)?)?
        .reshape((batch, heads, tokens, width))?
        .transpose(1, 2)?
        .reshape((batch, tokens, heads * width))?;
    match packing {
        Packing::Channels => y.t()?.contiguous(),
        Packing::Tokens => Ok(y),
    }
}

/// See [`upsample_nearest2x`](super::upsample_nearest2x).
pub fn upsample_nearest2x(x: &Tensor) -> Result<Tensor> {
    note(Path::Composed);
    let (n, c, height, width) = x.dims4()?;
    x.reshape((n * c, height, 1, width, 1))?
        .broadcast_as((n * c, height, 2, width, 2))?
        .reshape((n, c, 2 * height, 2 * width))
}

/// See [`avg_pool2x`](super::avg_pool2x).
pub fn avg_pool2x(x: &Tensor) -> Result<Tensor> {
    note(Path::Composed);
    let (n, c, height, width) = even_sides(x)?;
    let blocks = x.reshape((n * c, height / 2, 2, width / 2, 2))?;
    blocks.sum((2, 4))?.reshape((n, c, height / 2, width / 2))? * 0.25
}

/// See [`concat_channels`](super::concat_channels).
pub fn concat_channels(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    note(Path::Composed);
    Tensor::cat(&[x, y], 1)
}

/// See [`fir_down`](super::fir_down).
pub fn fir_down(x: &Tensor, taps: &[f64], padding: usize) -> Result<Tensor> {
    note(Path::Composed);
    let sizes = Fir::down(x, taps, padding)?;
    // Candle's gradient has the shape of the pixels that the filter meets, which an odd side has more of.
    let (_, _, rows, columns) = sizes.shape();
    let met = |out: usize| 2 * (out - 1) + taps.len();
    let planes = planes(x)?
        .pad_with_zeros(2, padding, padding)?
        .pad_with_zeros(3, padding, padding)?
        .narrow(2, 0, met(rows))?
        .narrow(3, 0, met(columns))?
        .contiguous()?;
    let y = planes.conv2d(&kernel(x, taps, 1.0)?, 0, 2, 1, 1)?;
    y.reshape(sizes.shape())
}

/// See [`fir_up`](super::fir_up).
pub fn fir_up(x: &Tensor, taps: &[f64], padding: usize) -> Result<Tensor> {
    note(Path::Composed);
    let sizes = Fir::up(x, taps, padding)?;
    let y = planes(x)?.conv_transpose2d(&kernel(x, taps, 4.0)?, padding, 0, 2, 1)?;
    y.reshape(sizes.shape())
}

/// Each channel of each image as an image of its own.
fn planes(x: &Tensor) -> Result<Tensor> {
    let (n, c, height, width) = x.dims4()?;
    x.reshape((n * c, 1, height, width))?.contiguous()
}

/// The filter of the taps as the kernel of one channel.
fn kernel(x: &Tensor, taps: &[f64], factor: f64) -> Result<Tensor> {
    let sum: f64 = taps.iter().sum();
    let each = |a: &f64| {
        taps.iter()
            .map(|b| factor * a * b / (sum * sum))
            .collect::<Vec<_>>()
    };
    let values = taps.iter().flat_map(each).collect();
    from_f64(
        values,
        (1, 1, taps.len(), taps.len()),
        x.device(),
        x.dtype(),
    )
}
