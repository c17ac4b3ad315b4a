//! Affine maps of vectors.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::composed;
use super::path::Path;
use super::shape::linear::{Sizes, bias_or_zeros};
use crate::nn::cpu::buffer::{PARTIALS, accumulate, by_dtype, load, tensor, with};
use crate::nn::cpu::matrix::{columns_times, rows_times};
use crate::nn::cpu::pack::{Panels, pack_columns, pack_rows};
use crate::nn::cpu::real::{Real, vectorised};
#[cfg(feature = "cuda")]
use crate::nn::cuda;

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
    let bias = bias_or_zeros(bias, weight)?;
    if Path::with_kernel([x, weight, &bias]) == Path::Composed {
        return composed::linear(x, weight, Some(&bias));
    }
    x.contiguous()?
        .apply_op3(&weight.contiguous()?, &bias.contiguous()?, Linear)
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
        let inputs = [(x, x_layout), (weight, weight_layout), (bias, bias_layout)];
        let y = by_dtype!(x.dtype(), "linear", forward(inputs, sizes))?;
        Ok((y, sizes.shape(x_layout)))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        weight: &CudaStorage,
        weight_layout: &Layout,
        bias: &CudaStorage,
        bias_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let sizes = Sizes::new(x_layout.dims(), weight_layout.dims(), bias_layout.dims())?;
        let inputs = [(x, x_layout), (weight, weight_layout), (bias, bias_layout)];
        let y = cuda::linear(inputs, sizes)?;
        Ok((y, sizes.shape(x_layout)))
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
        #[cfg(feature = "cuda")]
        if x.device().is_cuda() {
            return Ok(cuda::linear_gradients([x, weight, bias], grad, sizes)?.into());
        }
        by_dtype!(
            x.dtype(),
            "linear",
            backward([x, weight, bias], grad, sizes)
        )
    }
}

fn forward<R: Real>(inputs: [(&CpuStorage, &Layout); 3], sizes: Sizes) -> Result<CpuStorage> {
    let [x, weight, bias] = inputs.map(|(storage, layout)| load::<R>(storage, layout));
    let (x, weight, bias) = (x?, weight?, bias?);
    let (inputs_len, outputs) = (sizes.inputs, sizes.outputs);
    let panels = pack_columns(&weight, inputs_len, inputs_len, outputs);
    let right = Panels::new(&panels, inputs_len, outputs);
    let y = rows_times(&x, inputs_len, right, sizes.rows, Some(&bias));
    Ok(R::store(y, inputs[0].0.dtype()))
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
    let panels = pack_rows(weight, sizes.inputs, sizes.outputs, sizes.inputs);
    let right = Panels::new(&panels, sizes.outputs, sizes.inputs);
    rows_times(grad, sizes.outputs, right, sizes.rows, None)
}

/// gᵀ x.
fn weight_gradient<R: Real>(x: &[R], grad: &[R], sizes: Sizes) -> Vec<R> {
    let (inputs, outputs, rows) = (sizes.inputs, sizes.outputs, sizes.rows);
    let panels = pack_rows(x, inputs, rows, inputs);
    let right = Panels::new(&panels, rows, inputs);
    columns_times(grad, outputs, 0..outputs, right)
}

/// The sum of the rows of a matrix: partial sums over at most [`PARTIALS`] parts, added in order.
fn column_sums<R: Real>(x: &[R], columns: usize) -> Vec<R> {
    let part = (x.len() / columns).div_ceil(PARTIALS).max(1) * columns;
    let partials: Vec<Vec<R>> = x
        .par_chunks(part)
        .map(|x| {
            vectorised(
                #[inline(always)]
                || sum_of_rows(x, columns),
            )
        })
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
