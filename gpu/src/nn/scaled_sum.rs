//! A sum of two, times a factor.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, CustomOp2, DType, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::path::Path;
use crate::nn::cpu::buffer::{CHUNK, load, tensor, with};
use crate::nn::cpu::real::{Real, vectorised};

/// `(a + b) c`, of which the graph keeps no sum beside the product; bit for bit as candle's two operations.
pub(crate) fn scaled_sum(a: &Tensor, b: &Tensor, c: f64) -> Result<Tensor> {
    // Narrow numbers are rounded between the two operations.
    let wide = matches!(a.dtype(), DType::F32 | DType::F64);
    if Path::of(a) == Path::Composed || !wide || a.shape() != b.shape() {
        return (a + b)? * c;
    }
    a.contiguous()?.apply_op2(&b.contiguous()?, ScaledSum(c))
}

struct ScaledSum(f64);

impl ScaledSum {
    fn forward<R: Real>(&self, [a, b]: [(&CpuStorage, &Layout); 2]) -> Result<CpuStorage> {
        let [a_numbers, b] = [a, b].map(|(storage, layout)| load::<R>(storage, layout));
        let (a_numbers, b) = (a_numbers?, b?);
        let y = by_pairs(&a_numbers, &b, self.0);
        Ok(R::store(y, a.0.dtype()))
    }

    fn backward<R: Real>(&self, grad: &Tensor) -> Result<Tensor> {
        // The gradient of the sum, which is that of both.
        let values = with::<R, _>(grad, |grad| Ok(by_elements(grad, self.0)))?;
        Ok(tensor(values, grad.shape(), grad.dtype()))
    }
}

/// `(a + b) c`, with the zero that candle adds to every product with a number: it makes −0 to 0.
fn by_pairs<R: Real>(a: &[R], b: &[R], c: f64) -> Vec<R> {
    let (c, zero) = (R::of(c), R::of(0.0));
    let mut y = vec![R::default(); a.len()];
    let pairs = a.par_chunks(CHUNK).zip(b.par_chunks(CHUNK));
    y.par_chunks_mut(CHUNK).zip(pairs).for_each(|(y, (a, b))| {
        vectorised(
            #[inline(always)]
            || {
                for (y, (&a, &b)) in y.iter_mut().zip(a.iter().zip(b)) {
                    *y = (a + b) * c + zero;
                }
            },
        );
    });
    y
}

/// `g c`.
fn by_elements<R: Real>(g: &[R], c: f64) -> Vec<R> {
    let (c, zero) = (R::of(c), R::of(0.0));
    let mut y = vec![R::default(); g.len()];
    let chunks = y.par_chunks_mut(CHUNK).zip(g.par_chunks(CHUNK));
    chunks.for_each(|(y, g)| {
        vectorised(
            #[inline(always)]
            || {
                for (y, &g) in y.iter_mut().zip(g) {
                    *y = g * c + zero;
                }
            },
        );
    });
    y
}

impl CustomOp2 for ScaledSum {
    fn name(&self) -> &'static str {
        "scaled_sum"
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let both = [(a, a_layout), (b, b_layout)];
        let y = match a.dtype() {
            DType::F64 => self.forward::<f64>(both),
            _ => self.forward::<f32>(both),
        };
        Ok((y?, a_layout.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        Err(candle_core::Error::msg("scaled_sum has no kernel for GPUs"))
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let grad = match grad.dtype() {
            DType::F64 => self.backward::<f64>(grad)?,
            _ => self.backward::<f32>(grad)?,
        };
        let of = |x: &Tensor| x.track_op().then(|| grad.clone());
        Ok((of(a), of(b)))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;
    use crate::random::Streams;

    /// As candle's two operations, to the last bit, forward and back.
    #[test]
    fn a_scaled_sum_is_a_sum_that_is_scaled() -> crate::Result<()> {
        let (shape, c) = ((3, 70, 100), 0.7);
        for dtype in [DType::F64, DType::F32, DType::BF16] {
            let draw =
                |purpose| Streams::new(1).normal_tensor(purpose, 0, shape, &Device::Cpu, dtype);
            let (a, b, g) = (
                Var::from_tensor(&draw("a")?)?,
                Var::from_tensor(&draw("b")?)?,
                draw("g")?,
            );
            let bits = |y: &Tensor| -> crate::Result<Vec<u64>> {
                let numbers = y.flatten_all()?.to_dtype(DType::F64)?.to_vec1::<f64>()?;
                Ok(numbers.into_iter().map(f64::to_bits).collect())
            };
            let found = |y: Tensor| -> crate::Result<[Vec<u64>; 3]> {
                let grads = (&y * &g)?.sum_all()?.backward()?;
                let of = |x: &Var| bits(grads.get(x).expect("a gradient"));
                Ok([bits(&y)?, of(&a)?, of(&b)?])
            };
            let want = found(((a.as_tensor() + b.as_tensor())? * c)?)?;
            assert_eq!(want, found(scaled_sum(&a, &b, c)?)?, "{dtype:?}");
        }
        Ok(())
    }
}
