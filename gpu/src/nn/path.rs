//! Which implementation of an operation runs.

use std::cell::RefCell;
use std::collections::BTreeSet;

use candle_core::Tensor;

#[cfg(feature = "cuda")]
use super::cuda;

/// Which implementation of an operation runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Path {
    /// One custom operation with its own backward: the CPU, and on GPUs what has a [kernel](super::Layers).
    Fused,
    /// A chain of candle operations: everything else.
    Composed,
}

impl Path {
    /// The path of operations on `x` that have no kernel for GPUs.
    pub fn of(x: &Tensor) -> Self {
        if x.device().is_cpu() {
            Self::Fused
        } else {
            Self::Composed
        }
    }

    /// The path of an operation that has a kernel for GPUs, on tensors one of which is on its device.
    pub(crate) fn with_kernel<'a>(
        tensors: impl IntoIterator<Item = &'a Tensor, IntoIter: Clone>,
    ) -> Self {
        let mut tensors = tensors.into_iter();
        #[cfg(feature = "cuda")]
        if cuda::serve(tensors.clone()) {
            return Self::Fused;
        }
        tensors.next().map_or(Self::Composed, Self::of)
    }
}

thread_local! {
    static RAN: RefCell<Option<BTreeSet<Path>>> = const { RefCell::new(None) };
}

/// What `f` returns, and the paths that ran in it on this thread: a fused operation says so where it reads its operands on the CPU,
/// a chain where it begins. Whoever compares the two paths can ask which ones it compared.
pub fn traced<T>(f: impl FnOnce() -> T) -> (T, BTreeSet<Path>) {
    let outer = RAN.with_borrow_mut(|ran| ran.replace(BTreeSet::new()));
    let result = f();
    let ran = RAN
        .with_borrow_mut(|ran| std::mem::replace(ran, outer))
        .unwrap_or_default();
    RAN.with_borrow_mut(|outer| {
        if let Some(outer) = outer {
            outer.extend(&ran);
        }
    });
    (result, ran)
}

/// Says that a path runs.
pub(crate) fn note(path: Path) {
    RAN.with_borrow_mut(|ran| {
        if let Some(ran) = ran {
            ran.insert(path);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{composed, silu};
    use candle_core::{DType, Device};

    #[test]
    fn the_path_that_ran_is_known() {
        let x = Tensor::ones(3, DType::F32, &Device::Cpu).expect("ones");
        let paths = |f: &dyn Fn() -> candle_core::Result<Tensor>| {
            let (y, paths) = traced(f);
            y.expect("an activation");
            paths.into_iter().collect::<Vec<_>>()
        };
        assert_eq!(paths(&|| silu(&x)), [Path::Fused]);
        assert_eq!(paths(&|| composed::silu(&x)), [Path::Composed]);
        assert!(paths(&|| &x + 1.0).is_empty());
        let nested = paths(&|| {
            assert_eq!(paths(&|| silu(&x)), [Path::Fused]);
            composed::silu(&x)
        });
        assert_eq!(nested, [Path::Fused, Path::Composed]);
    }
}
