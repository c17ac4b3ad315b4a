//! Affine maps of vectors.

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, DType, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::buffer::{CHUNK, Matrix, PARTIALS, accumulate, by_dtype, load, matmul, tensor, with};
use super::real::{Real, vectorised};
use super::{Path, composed};
use crate::Error;

/// Affine map of the last dimension.
///
/// # Formula `[eq:linear]`
/// ```text
/// y = x Wᵀ + b,   ∂L/∂x = g W,   ∂L/∂W = gᵀ x,   ∂L/∂b = Σ_rows g       (g = ∂L/∂y)
/// ```
///
/// # Shapes
/// `x: […, in]`, `weight: [out, in]`, `bias: [out]` → `[…, out]`; leading dimensions are flattened
/// into the rows of one matrix.
///
/// # Errors
/// Shapes that do not fit.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    if Path::of(x) == Path::Composed {
        return composed::linear(x, weight, bias);
    }
    let bias = bias_or_zeros(bias, weight)?;
    x.contiguous()?
        .apply_op3(&weight.contiguous()?, &bias.contiguous()?, Linear)
}

/// The bias, or zeros for each of the weight's outputs.
pub(super) fn bias_or_zeros(bias: Option<&Tensor>, weight: &Tensor) -> Result<Tensor> {
    match bias {
        Some(bias) => Ok(bias.clone()),
        None => Tensor::zeros(weight.dim(0)?, weight.dtype(), weight.device()),
    }
}

/// Rows, inputs and outputs of one affine map, checked.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    rows: usize,
    inputs: usize,
    outputs: usize,
}

impl Sizes {
    pub(super) fn new(x: &[usize], weight: &[usize], bias: &[usize]) -> Result<Self> {
        let &[outputs, inputs] = weight else {
            return Err(Error::shape("linear weight", "[out, in]", weight).into());
        };
        if inputs == 0 || outputs == 0 {
            return Err(Error::shape("linear weight", "[out, in] with no zero", weight).into());
        }
        if x.last() != Some(&inputs) {
            return Err(Error::shape("linear input", format!("[…, {inputs}]"), x).into());
        }
        if bias != [outputs] {
            return Err(Error::shape("linear bias", format!("[{outputs}]"), bias).into());
        }
        let rows = x[..x.len() - 1].iter().product();
        Ok(Self {
            rows,
            inputs,
            outputs,
        })
    }
}

struct Linear;

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let sizes = Sizes::new(x_layout.dims(), weight_layout.dims(), bias_layout.dims())?;
        let mut dims = x_layout.dims().to_vec();
        if let Some(last) = dims.last_mut() {
            *last = sizes.outputs;
        }
        let inputs = [(x, x_layout), (weight, weight_layout), (bias, bias_layout)];
        let y = by_dtype!(x.dtype(), "linear", forward(inputs, sizes))?;
        Ok((y, Shape::from(dims)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let sizes = Sizes::new(x.dims(), weight.dims(), bias.dims())?;
        let dtype = x.dtype();
        let grad = widened(grad)?.reshape((sizes.rows, sizes.outputs))?;
        let x_grad = if x.track_op() {
            let x_grad = grad.matmul(&widened(weight)?)?;
            Some(x_grad.reshape(x.shape())?.to_dtype(dtype)?)
        } else {
            None
        };
        if !(weight.track_op() || bias.track_op()) {
            return Ok((x_grad, None, None));
        }
        let x = widened(x)?.reshape((sizes.rows, sizes.inputs))?;
        let weight_grad = grad.t()?.matmul(&x)?.to_dtype(dtype)?;
        let bias_grad = by_dtype!(grad.dtype(), "linear", column_sums(&grad, dtype))?;
        Ok((x_grad, Some(weight_grad), Some(bias_grad)))
    }
}

fn forward<R: Real>(inputs: [(&CpuStorage, &Layout); 3], sizes: Sizes) -> Result<CpuStorage> {
    let Sizes {
        rows,
        inputs: width,
        outputs,
    } = sizes;
    let [x, weight, bias] = inputs;
    let dtype = x.0.dtype();
    let (mut x_own, mut weight_own) = (None, None);
    let x = matrix::<R>(x, (rows, width), &mut x_own)?;
    let weight = matrix::<R>(weight, (outputs, width), &mut weight_own)?;
    let bias = load::<R>(bias.0, bias.1)?;
    let mut y = matmul::<R>(x, weight.t())?;
    y.par_chunks_mut(outputs * CHUNK.div_ceil(outputs))
        .for_each(|y| {
            vectorised(|| {
                for y in y.chunks_exact_mut(outputs) {
                    accumulate(y, &bias);
                }
            });
        });
    Ok(R::store(y, dtype))
}

/// The matrix of a contiguous operand; `own` keeps the widened elements of a half-precision one.
fn matrix<'a, R: Real>(
    (storage, layout): (&'a CpuStorage, &Layout),
    shape: (usize, usize),
    own: &'a mut Option<CpuStorage>,
) -> Result<Matrix<'a>> {
    if R::slice(storage).is_some() {
        return Ok(Matrix::rows(storage, layout.start_offset(), shape));
    }
    let widened = load::<R>(storage, layout)?.into_owned();
    Ok(Matrix::rows(
        own.insert(R::store(widened, R::DTYPE)),
        0,
        shape,
    ))
}

/// The tensor without its graph, bf16 and f16 widened to f32.
fn widened(x: &Tensor) -> Result<Tensor> {
    match x.dtype() {
        DType::BF16 | DType::F16 => x.detach().to_dtype(DType::F32)?.contiguous(),
        _ => x.detach().contiguous(),
    }
}

/// The sum of the rows of a matrix, rounded to `dtype`: partial sums over at most [`PARTIALS`]
/// parts, added in order.
fn column_sums<R: Real>(x: &Tensor, dtype: DType) -> Result<Tensor> {
    let (rows, columns) = x.dims2()?;
    with::<R, _>(x, |x| {
        let part = rows.div_ceil(PARTIALS).max(1) * columns;
        let partials: Vec<Vec<R>> = x
            .par_chunks(part)
            .map(|x| vectorised(|| sum_of_rows(x, columns)))
            .collect();
        Ok(tensor(
            sum_of_rows(&partials.concat(), columns),
            columns,
            dtype,
        ))
    })
}

#[inline(always)]
fn sum_of_rows<R: Real>(x: &[R], columns: usize) -> Vec<R> {
    let mut total = vec![R::default(); columns];
    for row in x.chunks_exact(columns) {
        accumulate(&mut total, row);
    }
    total
}
