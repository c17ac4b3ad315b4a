//! Named tensors, and what is refused of them.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow, bail};
use ndarray::{ArrayRef, CowArray, Dimension, IxDyn};

use crate::naming::{nearest, quoted};

/// Tensors by name, their own or somebody's who keeps them: nothing is copied to be asked about.
pub type Tensors<'a> = BTreeMap<String, CowArray<'a, f64, IxDyn>>;

/// The tensor whose elements may be whole numbers, as other programs write classes.
pub const LABELS: &str = "labels";

/// Tensors must be all of `required`, perhaps some of `optional`, no others, and finite.
///
/// # Errors
/// The first that is missing, unknown (with the nearest known name) or not finite (with the element's index).
pub fn check(tensors: &Tensors<'_>, required: &[&str], optional: &[&str]) -> Result<()> {
    for name in tensors.keys() {
        if !required.contains(&name.as_str()) && !optional.contains(&name.as_str()) {
            return Err(unknown(name, required, optional));
        }
    }
    if let Some(name) = required.iter().find(|name| !tensors.contains_key(**name)) {
        bail!("there is no tensor `{name}`; needed: {}", quoted(required));
    }
    tensors
        .iter()
        .try_for_each(|(name, tensor)| refuse_non_finite(name, tensor))
}

/// "unknown tensor …", with the nearest known one.
pub fn unknown(other: &str, required: &[&str], optional: &[&str]) -> anyhow::Error {
    let known = [required, optional].concat();
    let hint = nearest(other, known.iter().copied())
        .map(|name| format!("did you mean `{name}`? "))
        .unwrap_or_default();
    anyhow!("unknown tensor `{other}`; {hint}known: {}", quoted(&known))
}

/// Names the first element that is not finite.
///
/// # Errors
/// That there is one.
pub fn refuse_non_finite<A: Copy + Into<f64>, D: Dimension>(
    name: &str,
    tensor: &ArrayRef<A, D>,
) -> Result<()> {
    match first_non_finite(tensor) {
        Some((index, value)) => {
            bail!("tensor `{name}` must hold finite numbers, got {value} at {index}")
        }
        None => Ok(()),
    }
}

/// Index, as `[i, j]`, and value of the first element that is infinite or NaN.
pub fn first_non_finite<A: Copy + Into<f64>, D: Dimension>(
    tensor: &ArrayRef<A, D>,
) -> Option<(String, f64)> {
    let tensor = tensor.view().into_dyn();
    tensor
        .indexed_iter()
        .map(|(index, value)| (index, (*value).into()))
        .find(|(_, value)| !value.is_finite())
        .map(|(index, value)| (format!("{:?}", index.slice()), value))
}
