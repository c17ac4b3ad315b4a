//! Conversion between candle tensors and the plain slices that the fused CPU operations work on.

use std::borrow::Cow;
use std::cell::RefCell;

use candle_core::backend::BackendStorage;
use candle_core::op::BackpropOp;
use candle_core::{
    CpuStorage, DType, Error, InplaceOp1, Layout, Result, Shape, Storage, Tensor, Var,
};

use super::real::Real;
use crate::nn::{Path, note};

/// Elements handled by one task of an element-wise operation.
pub(crate) const CHUNK: usize = 1 << 14;

/// Most partial results that a reduction over the batch keeps: fixed, so that the order of the
/// final sum does not depend on the number of threads.
pub(crate) const PARTIALS: usize = 16;

/// Runs `$run::<R>(…)` with the arithmetic type of `$dtype`.
macro_rules! by_dtype {
    ($dtype:expr, $op:literal, $run:ident($($argument:expr),* $(,)?)) => {
        match $dtype {
            candle_core::DType::F64 => $run::<f64>($($argument),*),
            candle_core::DType::F32 | candle_core::DType::BF16 | candle_core::DType::F16 => {
                $run::<f32>($($argument),*)
            }
            other => Err(candle_core::Error::UnsupportedDTypeForOp(other, $op)),
        }
    };
}
pub(crate) use by_dtype;

/// The elements of a contiguous tensor, borrowed where they are stored as `R` already.
pub(crate) fn load<'a, R: Real>(storage: &'a CpuStorage, layout: &Layout) -> Result<Cow<'a, [R]>> {
    note(Path::Fused);
    let Some((start, end)) = layout.contiguous_offsets() else {
        return Err(not_contiguous());
    };
    if let Some(values) = R::slice(storage) {
        return Ok(Cow::Borrowed(&values[start..end]));
    }
    let widened = R::widened(storage, start..end);
    widened
        .map(Cow::Owned)
        .ok_or_else(|| wrong_dtype::<R>(storage.dtype()))
}

/// Calls `f` with the elements of a CPU tensor in row-major order.
pub(crate) fn with<R: Real, T>(x: &Tensor, f: impl FnOnce(&[R]) -> Result<T>) -> Result<T> {
    let x = x.contiguous()?;
    let (storage, layout) = x.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => f(&load(storage, layout)?),
        _ => Err(Error::Msg("a fused operation got a tensor that is not on the CPU".into()).bt()),
    }
}

/// Whether no two of the tensors lie in one storage: of one that is lent to be written nothing can be read.
pub(crate) fn are_apart<'a>(tensors: impl Iterator<Item = &'a Tensor>) -> bool {
    let address = |x: &Tensor| std::ptr::from_ref(&*x.storage_and_layout().0).addr();
    let mut addresses: Vec<usize> = tensors.map(address).collect();
    addresses.sort_unstable();
    addresses.is_sorted_by(|a, b| a < b)
}

/// Calls `f` with the elements of contiguous CPU variables, all of them writable; they must be [apart](are_apart).
pub(crate) fn with_variables<R: Real>(vars: &[&Var], f: &dyn Fn(Vec<&mut [R]>)) -> Result<()> {
    lend(vars, Vec::new(), f)
}

/// candle lends one storage at a time to an operation in place: each holds what it was lent while the next is asked for.
fn lend<R: Real>(vars: &[&Var], held: Vec<&mut [R]>, f: &dyn Fn(Vec<&mut [R]>)) -> Result<()> {
    let Some((var, rest)) = vars.split_first() else {
        f(held);
        return Ok(());
    };
    let held = RefCell::new(held);
    var.inplace_op1(&Lend { held, rest, f })
}

struct Lend<'a, R: Real> {
    held: RefCell<Vec<&'a mut [R]>>,
    rest: &'a [&'a Var],
    f: &'a dyn Fn(Vec<&mut [R]>),
}

impl<R: Real> InplaceOp1 for Lend<'_, R> {
    fn name(&self) -> &'static str {
        "update in place"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            return Err(not_contiguous());
        };
        let dtype = storage.dtype();
        let own = R::slice_mut(storage).ok_or_else(|| wrong_dtype::<R>(dtype))?;
        let mut held = self.held.take();
        held.push(&mut own[start..end]);
        lend(self.rest, held, self.f)
    }
}

/// A constant tensor on the CPU, rounded once to `dtype`.
pub(crate) fn tensor<R: Real>(values: Vec<R>, shape: impl Into<Shape>, dtype: DType) -> Tensor {
    let storage = Storage::Cpu(R::store(values, dtype));
    Tensor::from_storage(storage, shape, BackpropOp::none(), false)
}

fn not_contiguous() -> Error {
    let op = "fused operation";
    Error::RequiresContiguous { op }.bt()
}

fn wrong_dtype<R: Real>(got: DType) -> Error {
    Error::UnexpectedDType {
        msg: "operands of one operation must have one dtype",
        expected: R::DTYPE,
        got,
    }
    .bt()
}

/// Adds `term` to `total`, element by element.
#[inline(always)]
pub(crate) fn accumulate<R: Real>(total: &mut [R], term: &[R]) {
    for (total, &term) in total.iter_mut().zip(term) {
        *total += term;
    }
}
