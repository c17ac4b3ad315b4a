//! Named tensors, and what is refused of them.

use std::collections::BTreeMap;

use anyhow::{Result, anyhow, bail};
use ndarray::ArrayD;

use crate::naming::{nearest, quoted};

/// Tensors by name.
pub type Tensors = BTreeMap<String, ArrayD<f64>>;

/// The tensor whose elements may be whole numbers, as other programs write classes.
pub const LABELS: &str = "labels";

/// Tensors must be all of `required`, perhaps some of `optional`, no others, and finite.
///
/// # Errors
/// The first that is missing, unknown (with the nearest known name) or not finite (with the element's index).
pub fn check(tensors: &Tensors, required: &[&str], optional: &[&str]) -> Result<()> {
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
pub fn refuse_non_finite<A: Copy + Into<f64>>(name: &str, tensor: &ArrayD<A>) -> Result<()> {
    match first_non_finite(tensor) {
        Some((index, value)) => {
            bail!("tensor `{name}` must hold finite numbers, got {value} at {index}")
        }
        None => Ok(()),
    }
}

/// Index, as `[i, j]`, and value of the first element that is infinite or NaN.
pub fn first_non_finite<A: Copy + Into<f64>>(tensor: &ArrayD<A>) -> Option<(String, f64)> {
    tensor
        .indexed_iter()
        .map(|(index, value)| (index, (*value).into()))
        .find(|(_, value)| !value.is_finite())
        .map(|(index, value)| (format!("{:?}", ndarray::Dimension::slice(&index)), value))
}
