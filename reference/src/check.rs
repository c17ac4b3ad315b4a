//! Checks that several modules share.

use ndarray::{ArrayRef, Dimension};

/// Index of the first element, in row-major order, that is infinite or NaN.
pub(crate) fn first_non_finite<D: Dimension>(x: &ArrayRef<f64, D>) -> Option<Vec<usize>> {
    // Most are: without an index for each element.
    if let Some(all) = x.as_slice_memory_order()
        && all.iter().all(|v| v.is_finite())
    {
        return None;
    }
    let x = x.view().into_dyn();
    x.indexed_iter()
        .find(|(_, v)| !v.is_finite())
        .map(|(at, _)| at.slice().to_vec())
}
