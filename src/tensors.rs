//! Named f64 tensors in safetensors files: f32 or f64 in, f64 out.

use std::borrow::Cow;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use ndarray::ArrayD;
use safetensors::tensor::{Dtype, SafeTensors, TensorView, View};
use serde_json::Value;

use crate::files;
use crate::names::quoted;
use sadm_oracle::tensors::{check, refuse_non_finite, unknown};

pub use sadm_oracle::tensors::{LABELS, Tensors, first_non_finite};

/// The tensors `names` of a safetensors file, each f32 (widened, exactly) or f64. Other tensors of it are left alone.
///
/// # Errors
/// A missing or unreadable file, one that is cut short or is no safetensors file, a missing
/// tensor, another dtype, an infinite or NaN element (with its index).
pub fn read<'a>(path: &Path, names: impl IntoIterator<Item = &'a str>) -> Result<Tensors<'static>> {
    opened(path, |file| chosen(file, names))
}

/// The tensors `required` of a safetensors file and those of `optional` that it has, as [`read`] does; it may hold no
/// others.
///
/// # Errors
/// As [`read`]; a tensor with another name, with the nearest known one.
pub fn read_exactly(path: &Path, required: &[&str], optional: &[&str]) -> Result<Tensors<'static>> {
    opened(path, |file| {
        let present = optional.iter().filter(|name| file.tensor(name).is_ok());
        let tensors = chosen(file, required.iter().chain(present).copied())?;
        let mut names = file.names();
        names.sort_unstable();
        match names.into_iter().find(|name| !tensors.contains_key(*name)) {
            None => Ok(tensors),
            Some(other) => Err(unknown(other, required, optional)),
        }
    })
}

/// The tensors `required` and those of `optional` that are among `NAME=NUMBERS`, where the numbers are a list of equally
/// long lists, as deep as the tensor has axes: `t=[0.5, 1]`, `atoms=[[1, 0], [0, 2]]`.
///
/// # Errors
/// Text without `=`; what is no list of numbers, or one of unequal lists, or empty; a name given twice, missing or unknown.
pub fn parse_exactly(
    given: &[String],
    required: &[&str],
    optional: &[&str],
) -> Result<Tensors<'static>> {
    let mut tensors = Tensors::new();
    for text in given {
        let (name, numbers) = text
            .split_once('=')
            .ok_or_else(|| anyhow!("a tensor must be NAME=NUMBERS, got `{text}`"))?;
        let name = name.trim();
        if !required.contains(&name) && !optional.contains(&name) {
            return Err(unknown(name, required, optional));
        }
        let tensor = parsed(numbers).map_err(|reason| {
            anyhow!("tensor `{name}` must be a list of numbers, or of equally long lists of them: {reason}")
        })?;
        if tensors.insert(name.to_owned(), tensor.into()).is_some() {
            bail!("tensor `{name}` is given twice");
        }
    }
    check(&tensors, required, optional)?;
    Ok(tensors)
}

/// A tensor from a list of lists, as JSON writes it.
fn parsed(text: &str) -> Result<ArrayD<f64>> {
    let value: Value = serde_json::from_str(text)?;
    let (mut shape, mut level) = (Vec::new(), &value);
    while let Value::Array(items) = level {
        shape.push(items.len());
        level = items.first().ok_or_else(|| anyhow!("an empty list"))?;
    }
    if shape.is_empty() {
        bail!("`{text}` is no list");
    }
    let mut elements = Vec::new();
    flatten(&value, &shape, &mut elements)?;
    Ok(ArrayD::from_shape_vec(shape, elements)?)
}

/// Appends the numbers of a list that must have this shape.
fn flatten(value: &Value, shape: &[usize], elements: &mut Vec<f64>) -> Result<()> {
    match (value, shape) {
        (Value::Number(number), []) => {
            let number = number.as_f64().filter(|x| x.is_finite());
            elements.push(number.ok_or_else(|| anyhow!("{value} is no finite number"))?);
            Ok(())
        }
        (Value::Array(items), [length, inner @ ..]) if items.len() == *length => items
            .iter()
            .try_for_each(|item| flatten(item, inner, elements)),
        (Value::Array(items), [length, ..]) => {
            bail!("a list of {} stands beside one of {length}", items.len())
        }
        _ => bail!("{value} stands where its neighbours differ in depth or are no numbers"),
    }
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
fn chosen<'a>(
    file: &SafeTensors<'_>,
    names: impl IntoIterator<Item = &'a str>,
) -> Result<Tensors<'static>> {
    names
        .into_iter()
        .map(|name| {
            let view = file.tensor(name).map_err(|_| missing(file, name))?;
            let tensor = to_f64(name, &view)?;
            refuse_non_finite(name, &tensor)?;
            Ok((name.to_owned(), tensor.into()))
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
        Dtype::I64 if name == LABELS => {
            let elements = view.data().as_chunks::<8>().0.iter();
            // A class above 2⁵³ would be rounded; one above 2³² is refused where it is used.
            elements.map(|b| i64::from_le_bytes(*b) as f64).collect()
        }
        Dtype::I32 if name == LABELS => {
            let elements = view.data().as_chunks::<4>().0.iter();
            elements.map(|b| i32::from_le_bytes(*b).into()).collect()
        }
        Dtype::U8 if name == LABELS => view.data().iter().map(|b| f64::from(*b)).collect(),
        other if name == LABELS => {
            bail!("tensor `{name}` must be F32, F64, I64, I32 or U8, got {other}")
        }
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
    fn numbers_are_read_row_by_row() -> Result<()> {
        let given = [
            "a=[[1, 2.5, -3], [4e-1, 5, 6]]".to_owned(),
            "b=[7]".to_owned(),
        ];
        let read = parse_exactly(&given, &["a"], &["b", "c"])?;
        assert_eq!(
            read["a"],
            array![[1.0, 2.5, -3.0], [0.4, 5.0, 6.0]].into_dyn()
        );
        assert_eq!(read["b"], array![7.0].into_dyn());
        assert_eq!(read.len(), 2);
        Ok(())
    }

    #[test]
    fn numbers_that_make_no_tensor_are_refused() {
        let said = |given: &[&str]| {
            let given: Vec<String> = given.iter().map(|&g| g.to_owned()).collect();
            parse_exactly(&given, &["a"], &[])
                .expect_err("refused")
                .to_string()
        };
        for (given, why) in [
            ("a", "NAME=NUMBERS"),
            ("a=3", "no list"),
            ("a=[]", "an empty list"),
            ("a=[[1, 2], [3]]", "a list of 1 stands beside one of 2"),
            ("a=[1, [2]]", "differ in depth"),
            ("a=[1, \"x\"]", "differ in depth or are no numbers"),
            ("a=[1, 1e999]", "must be a list of numbers"),
            ("a=[1", "must be a list of numbers"),
            ("b=[1]", "unknown tensor `b`"),
        ] {
            assert!(said(&[given]).contains(why), "{given}: {}", said(&[given]));
        }
        assert!(said(&["a=[1]", "a=[2]"]).contains("given twice"));
        assert!(said(&[]).contains("there is no tensor `a`"));
    }

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
