//! Between candle tensors and the plain slices that the fused CPU operations work on.

use std::borrow::Cow;

use candle_core::backend::BackendStorage;
use candle_core::op::BackpropOp;
use candle_core::{CpuStorage, DType, Error, Layout, Result, Shape, Storage, Tensor};

use super::real::Real;

/// Elements handled by one task of an element-wise operation.
pub(super) const CHUNK: usize = 1 << 14;

/// Most partial results that a reduction over the batch keeps: fixed, so that the order of the
/// final sum does not depend on the number of threads.
pub(super) const PARTIALS: usize = 16;

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
pub(super) use by_dtype;

/// The elements of a contiguous tensor, borrowed where they are stored as `R` already.
pub(super) fn load<'a, R: Real>(storage: &'a CpuStorage, layout: &Layout) -> Result<Cow<'a, [R]>> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        return Err(Error::RequiresContiguous {
            op: "fused operation",
        }
        .bt());
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
pub(super) fn with<R: Real, T>(x: &Tensor, f: impl FnOnce(&[R]) -> Result<T>) -> Result<T> {
    let x = x.contiguous()?;
    let (storage, layout) = x.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => f(&load(storage, layout)?),
        _ => Err(Error::Msg("a fused operation got a tensor that is not on the CPU".into()).bt()),
    }
}

/// A constant tensor on the CPU, rounded once to `dtype`.
pub(super) fn tensor<R: Real>(values: Vec<R>, shape: impl Into<Shape>, dtype: DType) -> Tensor {
    let storage = Storage::Cpu(R::store(values, dtype));
    Tensor::from_storage(storage, shape, BackpropOp::none(), false)
}

/// A matrix inside a slice of a storage: rows × columns, element `(i, j)` at
/// `offset + i · strides.0 + j · strides.1`.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    pub storage: &'a CpuStorage,
    pub offset: usize,
    pub shape: (usize, usize),
    pub strides: (usize, usize),
}

impl<'a> Matrix<'a> {
    /// A row-major matrix that starts at `offset`.
    pub(super) fn rows(storage: &'a CpuStorage, offset: usize, shape: (usize, usize)) -> Self {
        let strides = (shape.1, 1);
        Self {
            storage,
            offset,
            shape,
            strides,
        }
    }

    /// The transpose, without moving an element.
    pub(super) fn t(self) -> Self {
        Self {
            shape: (self.shape.1, self.shape.0),
            strides: (self.strides.1, self.strides.0),
            ..self
        }
    }

    /// Whether every element lies inside the storage; candle's product does not look.
    fn fits<R: Real>(&self) -> bool {
        let length = R::slice(self.storage).map_or(0, <[R]>::len);
        let (rows, columns) = self.shape;
        rows == 0 || columns == 0 || {
            let last = (rows - 1) * self.strides.0 + (columns - 1) * self.strides.1;
            self.offset + last < length
        }
    }

    fn layout(&self) -> Layout {
        let strides = vec![self.strides.0, self.strides.1];
        Layout::new(Shape::from(self.shape), strides, self.offset)
    }
}

/// The product `A B`, row-major, by candle's binding of the `gemm` crate.
///
/// # Errors
/// Inner sizes that differ, a matrix that reaches beyond its storage, another dtype.
pub(super) fn matmul<R: Real>(a: Matrix<'_>, b: Matrix<'_>) -> Result<Vec<R>> {
    if a.shape.1 != b.shape.0 || !a.fits::<R>() || !b.fits::<R>() {
        return Err(Error::Msg(format!("cannot multiply {:?} by {:?}", a.shape, b.shape)).bt());
    }
    let size = (1, a.shape.0, b.shape.1, a.shape.1);
    let product = a
        .storage
        .matmul(b.storage, size, &a.layout(), &b.layout())?;
    R::into_vec(product).ok_or_else(|| wrong_dtype::<R>(a.storage.dtype()))
}

/// The elements of a storage that was made with type `R`, to write.
pub(super) fn slice_mut<R: Real>(storage: &mut CpuStorage) -> Result<&mut [R]> {
    let dtype = storage.dtype();
    R::slice_mut(storage).ok_or_else(|| wrong_dtype::<R>(dtype))
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
pub(super) fn accumulate<R: Real>(total: &mut [R], term: &[R]) {
    for (total, &term) in total.iter_mut().zip(term) {
        *total += term;
    }
}
