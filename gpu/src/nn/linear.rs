//! Affine maps of vectors.

use std::ops::Range;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::buffer::{PARTIALS, accumulate, by_dtype, load, tensor, with};
use super::product::{Left, Right, Run, multiply, pack, panel_width};
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
        by_dtype!(
            x.dtype(),
            "linear",
            backward([x, weight, bias], grad, sizes)
        )
    }
}

/// Rows that one task multiplies.
const ROWS: usize = 64;
/// Length of the parts in which a long inner dimension is summed up, so that they stay in the cache.
const INNER: usize = 512;

fn forward<R: Real>(inputs: [(&CpuStorage, &Layout); 3], sizes: Sizes) -> Result<CpuStorage> {
    let [x, weight, bias] = inputs.map(|(storage, layout)| load::<R>(storage, layout));
    let (x, weight, bias) = (x?, weight?, bias?);
    let (width, outputs) = (sizes.inputs, sizes.outputs);
    let panels = pack(width, outputs, |p| {
        let weight = &weight;
        move |j| weight[j * width + p]
    });
    let right = Right::packed(&panels, width, outputs);
    let mut y = vec![R::default(); sizes.rows * outputs];
    rows_times(&x, width, right, &mut y, Some(&bias));
    Ok(R::store(y, inputs[0].0.dtype()))
}

/// `y = x B (+ bias)` for row-major x with rows of `inner` elements.
fn rows_times<R: Real>(
    x: &[R],
    inner: usize,
    right: Right<'_, R>,
    y: &mut [R],
    bias: Option<&[R]>,
) {
    let columns = right.columns;
    let starts: Vec<usize> = (0..ROWS).map(|i| i * inner).collect();
    let run = Run {
        left: 0,
        right: 0,
        len: inner,
    };
    y.par_chunks_mut(ROWS * columns)
        .zip(x.par_chunks(ROWS * inner))
        .for_each(|(y, x)| {
            let rows = Left::Rows(&starts[..x.len() / inner]);
            multiply(x, rows, right, &[run], |tile| {
                for (i, values) in tile.rows().enumerate() {
                    let y = &mut y[(tile.row + i) * columns + tile.column..][..tile.width];
                    match bias {
                        None => y.copy_from_slice(values),
                        Some(bias) => {
                            let bias = &bias[tile.column..][..tile.width];
                            for (y, (&x, &bias)) in y.iter_mut().zip(values.iter().zip(bias)) {
                                *y = x + bias;
                            }
                        }
                    }
                }
            });
        });
}

/// A row-major matrix as a right operand: as it lies, or packed into `own` where its last panel is not full.
fn right_of<'a, R: Real>(
    values: &'a [R],
    rows: usize,
    columns: usize,
    own: &'a mut Vec<R>,
) -> Right<'a, R> {
    if columns.is_multiple_of(panel_width::<R>()) {
        return Right::rows(values, columns, columns);
    }
    *own = pack(rows, columns, |p| {
        let row = &values[p * columns..][..columns];
        move |j| row[j]
    });
    Right::packed(own, rows, columns)
}

type Gradients = (Option<Tensor>, Option<Tensor>, Option<Tensor>);

fn backward<R: Real>(inputs: [&Tensor; 3], grad: &Tensor, sizes: Sizes) -> Result<Gradients> {
    let [x, weight, bias] = inputs;
    let dtype = x.dtype();
    with::<R, _>(grad, |grad| {
        let x_grad = if x.track_op() {
            let values = with(weight, |weight| Ok(input_gradient(weight, grad, sizes)))?;
            Some(tensor(values, x.shape(), dtype))
        } else {
            None
        };
        if !(weight.track_op() || bias.track_op()) {
            return Ok((x_grad, None, None));
        }
        let weight_grad = with(x, |x| Ok(weight_gradient(x, grad, sizes)))?;
        let weight_grad = tensor(weight_grad, weight.shape(), dtype);
        let bias_grad = tensor(column_sums(grad, sizes.outputs), bias.shape(), dtype);
        Ok((x_grad, Some(weight_grad), Some(bias_grad)))
    })
}

/// g W.
fn input_gradient<R: Real>(weight: &[R], grad: &[R], sizes: Sizes) -> Vec<R> {
    let mut own = Vec::new();
    let right = right_of(weight, sizes.outputs, sizes.inputs, &mut own);
    let mut x_grad = vec![R::default(); sizes.rows * sizes.inputs];
    rows_times(grad, sizes.outputs, right, &mut x_grad, None);
    x_grad
}

/// gᵀ x.
fn weight_gradient<R: Real>(x: &[R], grad: &[R], sizes: Sizes) -> Vec<R> {
    let (inputs, outputs) = (sizes.inputs, sizes.outputs);
    let mut own = Vec::new();
    let right = right_of(x, sizes.rows, inputs, &mut own);
    let mut weight_grad = vec![R::default(); outputs * inputs];
    weight_grad
        .par_chunks_mut(ROWS * inputs)
        .enumerate()
        .for_each(|(block, total)| {
            let count = total.len() / inputs;
            let mut strips = vec![R::default(); count.next_multiple_of(STRIP) * INNER];
            for first in (0..sizes.rows).step_by(INNER) {
                let len = INNER.min(sizes.rows - first);
                let part = &grad[first * outputs..][..len * outputs];
                cut_into_strips(
                    &mut strips,
                    part,
                    block * ROWS..block * ROWS + count,
                    outputs,
                );
                let run = Run {
                    left: 0,
                    right: first * right.stride,
                    len,
                };
                let rows = strips
                    .chunks(len * STRIP)
                    .zip(total.chunks_mut(STRIP * inputs));
                for (strip, total) in rows {
                    let left = Left::Columns {
                        stride: STRIP,
                        count: total.len() / inputs,
                    };
                    multiply(strip, left, right, &[run], |tile| {
                        for (i, values) in tile.rows().enumerate() {
                            let at = (tile.row + i) * inputs + tile.column;
                            accumulate(&mut total[at..], values);
                        }
                    });
                }
            }
        });
    weight_grad
}

/// Columns of ∂L/∂y that are copied side by side: as many as a tile has rows. Read where they lie they would be a
/// whole row apart, which for some widths is always the same place in the cache.
const STRIP: usize = 8;

/// Cuts some columns of a matrix into strips of [`STRIP`], one below the other.
fn cut_into_strips<R: Real>(strips: &mut [R], x: &[R], columns: Range<usize>, width: usize) {
    let rows = x.len() / width;
    for (p, row) in x.chunks_exact(width).enumerate() {
        for (i, from) in row[columns.clone()].chunks(STRIP).enumerate() {
            strips[(i * rows + p) * STRIP..][..from.len()].copy_from_slice(from);
        }
    }
}

/// The sum of the rows of a matrix: partial sums over at most [`PARTIALS`] parts, added in order.
fn column_sums<R: Real>(x: &[R], columns: usize) -> Vec<R> {
    let part = (x.len() / columns).div_ceil(PARTIALS).max(1) * columns;
    let partials: Vec<Vec<R>> = x
        .par_chunks(part)
        .map(|x| vectorised(|| sum_of_rows(x, columns)))
        .collect();
    sum_of_rows(&partials.concat(), columns)
}

#[inline(always)]
fn sum_of_rows<R: Real>(x: &[R], columns: usize) -> Vec<R> {
    let mut total = vec![R::default(); columns];
    for row in x.chunks_exact(columns) {
        accumulate(&mut total, row);
    }
    total
}
