//! The forward process on a batch, each sample with its own time.

pub mod schedule;

use crate::error::{Error, Result};
use candle_core::{DType, Device, Tensor};

/// The noised batch.
///
/// # Formula
/// ```text
/// x_t = α_i x_0 + σ_i ε     for sample i        [SADM Eq. 1]
/// ```
/// # Shapes
/// `x0`, `eps`: `[B, …]`, equal; `alpha`, `sigma`: B numbers, or one for the whole batch. α and σ
/// are rounded once to the dtype of `x0`.
/// # Errors
/// Different shapes of `x0` and `eps`, another number of coefficients.
pub fn diffuse(x0: &Tensor, eps: &Tensor, alpha: &[f64], sigma: &[f64]) -> Result<Tensor> {
    if x0.dims() != eps.dims() {
        let must = format!("{:?} as x0 has", x0.dims());
        return Err(Error::shape("noise eps", must, eps.dims()));
    }
    let signal = scale_samples(x0, alpha)?;
    Ok((signal + scale_samples(eps, sigma)?)?)
}

/// `x` with sample i multiplied by `factors[i]` (or all by the only factor).
///
/// # Shapes
/// `x: [B, …]`, `factors`: B or 1 numbers → the shape of `x`.
pub fn scale_samples(x: &Tensor, factors: &[f64]) -> Result<Tensor> {
    Ok(x.broadcast_mul(&per_sample(factors, x)?)?)
}

/// One number per sample as a tensor that broadcasts against `like: [B, …]`: shape `[B, 1, …, 1]`
/// (`[1, …, 1]` for a single number), rounded once to the dtype of `like`.
pub fn per_sample(values: &[f64], like: &Tensor) -> Result<Tensor> {
    let batch = like.dim(0)?;
    if values.len() != batch && values.len() != 1 {
        return Err(Error::invalid(
            "number of per-sample values",
            format!("be the batch size {batch} or 1"),
            values.len(),
        ));
    }
    let mut shape = vec![1; like.rank()];
    shape[0] = values.len();
    upload(values, &shape, like.dtype(), like.device())
}

/// Host numbers as a tensor: rounded on the host, so that the device needs no f64.
pub(crate) fn upload(
    values: &[f64],
    shape: &[usize],
    dtype: DType,
    device: &Device,
) -> Result<Tensor> {
    Ok(Tensor::from_slice(values, shape, &Device::Cpu)?
        .to_dtype(dtype)?
        .to_device(device)?)
}

/// The widest float that a device has.
pub(crate) fn widest(device: &Device) -> DType {
    if device.is_metal() {
        DType::F32
    } else {
        DType::F64
    }
}

/// Precision of losses and reductions: f64 stays f64, everything else is computed in f32.
pub(crate) fn loss_dtype(dtype: DType) -> DType {
    match dtype {
        DType::F64 => DType::F64,
        _ => DType::F32,
    }
}
