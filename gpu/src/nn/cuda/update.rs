//! AdamW's step and the average that follows it.

use std::cell::RefCell;

use candle_core::cuda_backend::cudarc::driver::CudaViewMut;
use candle_core::{CpuStorage, CudaStorage, DType, Error, InplaceOp1, Layout, Result, Tensor, Var};

use super::activation::blocks;
use super::launch::{Element, Read, THREADS, gpu, launch};

/// The scalars of a step, in the kernel's order; 1 − β stands before β.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scalars {
    pub(crate) first: [f64; 2],
    pub(crate) second: [f64; 2],
    pub(crate) keep: f64,
    pub(crate) rate: f64,
    pub(crate) root: f64,
    pub(crate) eps: f64,
    /// The average's; unused where there is none.
    pub(crate) average: [f64; 2],
}

/// One step of θ, m, v and perhaps θ̄, contiguous, of `grad`'s type and [apart](crate::nn::are_apart).
pub(crate) fn adamw(vars: &[&Var], grad: &Tensor, scalars: &Scalars) -> Result<()> {
    let grad = &grad.contiguous()?;
    match grad.dtype() {
        DType::F32 => lend::<f32>(vars, Vec::new(), grad, scalars),
        DType::F64 => lend::<f64>(vars, Vec::new(), grad, scalars),
        other => Err(Error::UnsupportedDTypeForOp(other, "adamw").bt()),
    }
}

/// As on the CPU: each variable holds what it was lent while the next is asked for.
fn lend<T: Element>(
    vars: &[&Var],
    held: Vec<CudaViewMut<'_, T>>,
    grad: &Tensor,
    scalars: &Scalars,
) -> Result<()> {
    let Some((var, rest)) = vars.split_first() else {
        return step(held, grad, scalars);
    };
    let held = RefCell::new(held);
    var.inplace_op1(&Lend {
        held,
        rest,
        grad,
        scalars,
    })
}

struct Lend<'a, T: Element> {
    held: RefCell<Vec<CudaViewMut<'a, T>>>,
    rest: &'a [&'a Var],
    grad: &'a Tensor,
    scalars: &'a Scalars,
}

impl<T: Element> InplaceOp1 for Lend<'_, T> {
    fn name(&self) -> &'static str {
        "update in place"
    }

    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout) -> Result<()> {
        Err(Error::Msg("a kernel got a variable that is not on a GPU".into()).bt())
    }

    fn cuda_fwd(&self, storage: &mut CudaStorage, layout: &Layout) -> Result<()> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            let op = "kernel";
            return Err(Error::RequiresContiguous { op }.bt());
        };
        let own = storage.as_cuda_slice_mut::<T>()?.slice_mut(start..end);
        let mut held = self.held.take();
        held.push(own);
        lend(self.rest, held, self.grad, self.scalars)
    }
}

fn step<T: Element>(vars: Vec<CudaViewMut<'_, T>>, grad: &Tensor, by: &Scalars) -> Result<()> {
    let device = &gpu(grad)?;
    let count = grad.elem_count();
    let of_grad = Read::new(grad);
    let grad = of_grad.view::<T>()?;
    let mut vars = vars.into_iter();
    let (Some(mut theta), Some(mut m), Some(mut v)) = (vars.next(), vars.next(), vars.next())
    else {
        unreachable!("an update has a parameter and two moments");
    };
    let [first, first_rest] = by.first;
    let [second, second_rest] = by.second;
    let [average, average_rest] = by.average;
    let Scalars {
        keep,
        rate,
        root,
        eps,
        ..
    } = by;
    if let Some(mut following) = vars.next() {
        launch!(device, ADAMW, "adamw", T, blocks(count), THREADS;
            &mut theta, &mut m, &mut v, &mut following, &grad, &first, &first_rest, &second, &second_rest,
            keep, rate, root, eps, &average, &average_rest, &count);
    } else {
        launch!(device, ADAMW, "adamw", T, blocks(count), THREADS;
            &mut theta, &mut m, &mut v, &0_u64, &grad, &first, &first_rest, &second, &second_rest,
            keep, rate, root, eps, &average, &average_rest, &count);
    }
    Ok(())
}
