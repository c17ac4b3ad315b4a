//! Elements that are kept, times a factor, and zeros in place of the others: dropout with its coins already drawn.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::embedding::from_f64;
use super::path::Path;
use crate::nn::cpu::buffer::{CHUNK, by_dtype, load, tensor, with};
use crate::nn::cpu::real::{Real, vectorised};

/// `x` times `factor` where it is kept, times 0 elsewhere; the gradient is masked in the same way.
///
/// A tensor of factors would take four times the room of `kept`, and candle would make and keep a gradient of it.
pub(crate) fn masked(x: &Tensor, kept: Vec<bool>, factor: f64) -> crate::Result<Tensor> {
    if Path::of(x) == Path::Composed {
        let factors = kept.into_iter().map(|kept| if kept { factor } else { 0.0 });
        let factors = from_f64(factors.collect(), x.shape(), x.device(), x.dtype())?;
        return Ok((x * factors)?);
    }
    // Rounded as the tensor's numbers are.
    let rounded = from_f64(vec![factor], 1, &Device::Cpu, x.dtype())?;
    let factor = rounded.to_dtype(DType::F64)?.to_vec1()?[0];
    Ok(x.contiguous()?.apply_op1(Masked { kept, factor })?)
}

struct Masked {
    kept: Vec<bool>,
    factor: f64,
}

impl Masked {
    fn of<R: Real>(&self, x: &[R]) -> Vec<R> {
        let (kept, zero) = (R::of(self.factor), R::of(0.0));
        let mut y = vec![R::default(); x.len()];
        let chunks = x.par_chunks(CHUNK).zip(self.kept.par_chunks(CHUNK));
        let chunks = y.par_chunks_mut(CHUNK).zip(chunks);
        chunks.for_each(|(y, (x, mask))| {
            vectorised(
                #[inline(always)]
                || {
                    for (y, (&x, &mask)) in y.iter_mut().zip(x.iter().zip(mask)) {
                        *y = x * if mask { kept } else { zero };
                    }
                },
            );
        });
        y
    }

    fn forward<R: Real>(&self, x: &CpuStorage, layout: &Layout) -> Result<CpuStorage> {
        Ok(R::store(self.of(&load::<R>(x, layout)?), x.dtype()))
    }

    fn backward<R: Real>(&self, grad: &Tensor) -> Result<Tensor> {
        let values = with::<R, _>(grad, |grad| Ok(self.of(grad)))?;
        Ok(tensor(values, grad.shape(), grad.dtype()))
    }
}

impl CustomOp1 for Masked {
    fn name(&self) -> &'static str {
        "masked"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        fn run<R: Real>(op: &Masked, x: &CpuStorage, layout: &Layout) -> Result<CpuStorage> {
            op.forward::<R>(x, layout)
        }
        let y = by_dtype!(x.dtype(), "masked", run(self, x, layout))?;
        Ok((y, layout.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        Err(candle_core::Error::msg("masked has no kernel for GPUs"))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        fn run<R: Real>(op: &Masked, grad: &Tensor) -> Result<Tensor> {
            op.backward::<R>(grad)
        }
        by_dtype!(x.dtype(), "masked", run(self, grad)).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;
    use crate::random::Streams;

    /// As a product with a tensor of factors, to the last bit, forward and back.
    #[test]
    fn a_mask_is_a_product_with_factors() -> crate::Result<()> {
        let shape = (3, 70, 100);
        let kept: Vec<bool> = (0..21_000).map(|i| i % 7 < 4).collect();
        for dtype in [DType::F64, DType::F32, DType::BF16] {
            let draw =
                |purpose| Streams::new(1).normal_tensor(purpose, 0, shape, &Device::Cpu, dtype);
            let (x, g) = (Var::from_tensor(&draw("x")?)?, draw("g")?);
            let factors = kept.iter().map(|&kept| if kept { 1.0 / 0.87 } else { 0.0 });
            let factors = from_f64(factors.collect(), shape, &Device::Cpu, dtype)?;
            let want = (x.as_tensor() * factors)?;
            let got = masked(x.as_tensor(), kept.clone(), 1.0 / 0.87)?;
            let bits = |y: &Tensor| -> crate::Result<Vec<u64>> {
                let numbers = y.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
                Ok(numbers.into_iter().map(f64::to_bits).collect())
            };
            assert_eq!(bits(&want)?, bits(&got)?, "{dtype:?}");
            let gradient = |y: &Tensor| -> crate::Result<Vec<u64>> {
                let grads = (y * &g)?.sum_all()?.backward()?;
                bits(grads.get(&x).expect("a gradient"))
            };
            assert_eq!(gradient(&want)?, gradient(&got)?, "{dtype:?}");
        }
        Ok(())
    }
}
