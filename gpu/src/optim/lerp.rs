//! A step of a variable towards a tensor: moments and moving averages.

use crate::error::{Error, Result};
use crate::forward::loss_dtype;
use crate::nn::{CHUNK, Real, are_apart, vectorised, with, with_variables};
use candle_core::{DType, Tensor, Var};
use rayon::prelude::*;

/// A step from x towards y: `x + step·(y − x)`, or `y − (1 − step)·(y − x)` beyond the middle, so
/// that both ends are exact.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lerp {
    /// 1 − β, in [0, 1].
    pub(crate) step: f64,
    /// Whether y is the square of the source.
    pub(crate) square: bool,
}

impl Lerp {
    /// `var ← lerp(var, source)`, element by element.
    pub(crate) fn apply(&self, var: &Var, source: &Tensor) -> Result<()> {
        same_shape(var, source)?;
        let fused = has_fused_pass(var) && are_apart([var.as_tensor(), source].into_iter());
        match var.dtype() {
            DType::F32 if fused => self.fused::<f32>(var, source),
            DType::F64 if fused => self.fused::<f64>(var, source),
            _ => self.composed(var, source),
        }
    }

    pub(super) fn composed(&self, var: &Var, source: &Tensor) -> Result<()> {
        let source = source.to_dtype(loss_dtype(var.dtype()))?;
        let x = var.to_dtype(source.dtype())?.detach();
        let y = if self.square { source.sqr()? } else { source };
        let way = (&y - &x)?;
        let new = if self.step < 0.5 {
            (x + (way * self.step)?)?
        } else {
            (y - (way * (1.0 - self.step))?)?
        };
        Ok(var.set(&new.detach().to_dtype(var.dtype())?)?)
    }

    fn fused<R: Real>(&self, var: &Var, source: &Tensor) -> Result<()> {
        let source = source.to_dtype(R::DTYPE)?;
        let pass = |source: &[R]| {
            with_variables(&[var], &|slices: Vec<&mut [R]>| {
                for x in slices {
                    x.par_chunks_mut(CHUNK)
                        .zip(source.par_chunks(CHUNK))
                        .for_each(|(x, source)| self.pass(x, source));
                }
            })
        };
        Ok(with::<R, _>(&source, pass)?)
    }

    pub(super) fn pass<R: Real>(&self, x: &mut [R], source: &[R]) {
        let (step, rest) = (R::of(self.step), R::of(1.0 - self.step));
        let (near, square) = (self.step < 0.5, self.square);
        vectorised(
            #[inline(always)]
            || {
                for (x, &source) in x.iter_mut().zip(source) {
                    let y = if square { source * source } else { source };
                    let way = y - *x;
                    *x = if near {
                        *x + way * step
                    } else {
                        y - way * rest
                    };
                }
            },
        );
    }
}

pub(super) fn same_shape(var: &Var, source: &Tensor) -> Result<()> {
    if source.dims() == var.dims() {
        return Ok(());
    }
    let must = format!("{:?} as the updated tensor has", var.dims());
    Err(Error::shape("source of an update", must, source.dims()))
}

/// Whether an update of `var` may be a pass over its CPU slice.
pub(super) fn has_fused_pass(var: &Var) -> bool {
    var.device().is_cpu() && loss_dtype(var.dtype()) == var.dtype() && var.is_contiguous()
}
