//! Named f64 tensors in safetensors files: f32 or f64 in, f64 out.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use ndarray::ArrayD;
use safetensors::tensor::{Dtype, SafeTensors, TensorView, View};

use crate::files;
use crate::names::{nearest, quoted};

/// Tensors by name.
pub type Tensors = BTreeMap<String, ArrayD<f64>>;

/// The tensors `names` of a safetensors file, each f32 (widened, exactly) or f64. Other tensors of it are left alone.
///
/// # Errors
/// A missing or unreadable file, one that is cut short or is no safetensors file, a missing
/// tensor, another dtype, an infinite or NaN element (with its index).
pub fn read<'a>(path: &Path, names: impl IntoIterator<Item = &'a str>) -> Result<Tensors> {
    opened(path, |file| chosen(file, names))
}

/// The tensors `required` of a safetensors file and those of `optional` that it has, as [`read`] does; it may hold no
/// others.
///
/// # Errors
/// As [`read`]; a tensor with another name, with the nearest known one.
pub fn read_exactly(path: &Path, required: &[&str], optional: &[&str]) -> Result<Tensors> {
    opened(path, |file| {
        let present = optional.iter().filter(|name| file.tensor(name).is_ok());
        let tensors = chosen(file, required.iter().chain(present).copied())?;
        let mut names = file.names();
        names.sort_unstable();
        match names.into_iter().find(|name| !tensors.contains_key(*name)) {
            None => Ok(tensors),
            Some(other) => {
                let known = [required, optional].concat();
                let hint = nearest(other, known.iter().copied())
                    .map(|name| format!("did you mean `{name}`? "))
                    .unwrap_or_default();
                bail!("unknown tensor `{other}`; {hint}known: {}", quoted(&known))
            }
        }
    })
}

/// What `f` makes of a file; errors name it.
fn opened<T>(path: &Path, f: impl FnOnce(&SafeTensors<'_>) -> Result<T>) -> Result<T> {
    let bytes = files::read(path)?;
    let file = SafeTensors::deserialize(&bytes).map_err(|reason| {
        anyhow!(
            "`{}` is not a whole safetensors file: {reason}",
            path.display()
        )
    })?;
    f(&file).with_context(|| format!("in `{}`", path.display()))
}

/// These tensors of a file, all of which it must have.
fn chosen<'a>(file: &SafeTensors<'_>, names: impl IntoIterator<Item = &'a str>) -> Result<Tensors> {
    names
        .into_iter()
        .map(|name| {
            let view = file.tensor(name).map_err(|_| missing(file, name))?;
            let tensor = to_f64(name, &view)?;
            refuse_non_finite(name, &tensor)?;
            Ok((name.to_owned(), tensor))
        })
        .collect()
}

/// "there is no tensor …", with what there is instead.
fn missing(file: &SafeTensors<'_>, name: &str) -> anyhow::Error {
    let mut present = file.names();
    present.sort_unstable();
    if present.is_empty() {
        anyhow!("there is no tensor `{name}`; the file is empty")
    } else {
        anyhow!(
            "there is no tensor `{name}`; the file holds {}",
            quoted(&present)
        )
    }
}

/// Reads little-endian elements; f32 → f64 is exact.
fn to_f64(name: &str, view: &TensorView<'_>) -> Result<ArrayD<f64>> {
    let elements: Vec<f64> = match view.dtype() {
        Dtype::F64 => view
            .data()
            .as_chunks::<8>()
            .0
            .iter()
            .map(|b| f64::from_le_bytes(*b))
            .collect(),
        Dtype::F32 => floats(view).map(f64::from).collect(),
        other => bail!("tensor `{name}` must be F32 or F64, got {other}"),
    };
    ArrayD::from_shape_vec(view.shape().to_vec(), elements)
        .with_context(|| format!("tensor `{name}` has fewer elements than its shape says"))
}

/// A tensor of F32, as it is.
///
/// # Errors
/// An infinite or NaN element, with its index.
pub fn singles(name: &str, view: &TensorView<'_>) -> Result<ArrayD<f32>> {
    let tensor = ArrayD::from_shape_vec(view.shape().to_vec(), floats(view).collect())
        .with_context(|| format!("tensor `{name}` has fewer elements than its shape says"))?;
    refuse_non_finite(name, &tensor)?;
    Ok(tensor)
}

/// Little-endian elements of four bytes.
fn floats(view: &TensorView<'_>) -> impl Iterator<Item = f32> {
    let elements = view.data().as_chunks::<4>().0.iter();
    elements.map(|b| f32::from_le_bytes(*b))
}

/// Names the first element that is not a number.
fn refuse_non_finite<A: Copy + Into<f64>>(name: &str, tensor: &ArrayD<A>) -> Result<()> {
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

/// Writes tensors as f64, whole or not at all.
///
/// # Errors
/// If the folder is missing or cannot be written to.
pub fn write<'a, 'b>(
    path: &Path,
    tensors: impl IntoIterator<Item = (&'a str, &'b ArrayD<f64>)>,
) -> Result<()> {
    let views = tensors
        .into_iter()
        .map(|(name, tensor)| (name, LittleEndian::of(tensor)));
    let bytes = safetensors::serialize(views, None)
        .map_err(|reason| anyhow!("cannot lay out `{}`: {reason}", path.display()))?;
    files::write_atomically(path, |out| Ok(out.write_all(&bytes)?))
}

/// A tensor as the bytes that the file will hold.
struct LittleEndian {
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

impl LittleEndian {
    fn of(tensor: &ArrayD<f64>) -> Self {
        Self {
            shape: tensor.shape().to_vec(),
            bytes: tensor.iter().flat_map(|x| x.to_le_bytes()).collect(),
        }
    }
}

impl View for LittleEndian {
    fn dtype(&self) -> Dtype {
        Dtype::F64
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }
    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn what_is_written_is_read_back_bit_for_bit() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("a.safetensors");
        let a = array![[0.1, -2.5e-300, 3.0], [4.0, 5.0, 1.0 / 3.0]].into_dyn();
        write(&path, [("a", &a)])?;
        assert_eq!(read_exactly(&path, &["a"], &["b"])?["a"], a);
        Ok(())
    }

    #[test]
    fn a_transposed_array_is_written_in_the_order_of_its_indices() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("a.safetensors");
        let a = array![[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
            .reversed_axes()
            .into_dyn();
        write(&path, [("a", &a)])?;
        assert_eq!(read_exactly(&path, &["a"], &["b"])?["a"], a);
        Ok(())
    }
}
