//! NumPy files: arrays by name in `.npz`, one array in `.npy`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Cursor, Read, Write};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use flate2::read::DeflateDecoder;
use ndarray::{ArrayD, IxDyn, ShapeBuilder};
use npyz::{DType, NpyFile, Order, TypeChar, WriterBuilder, npz};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::files;

/// An array as it is kept here, each in row-major order: bytes (images) and single precision as they are, every other
/// real type as f64.
#[derive(Debug, Clone, PartialEq)]
pub enum Numbers {
    /// `uint8`.
    Bytes(ArrayD<u8>),
    /// `float32`, or `float16` widened.
    Singles(ArrayD<f32>),
    /// Any other real number, widened.
    Reals(ArrayD<f64>),
}

impl Numbers {
    /// The shape.
    pub fn shape(&self) -> &[usize] {
        match self {
            Self::Bytes(x) => x.shape(),
            Self::Singles(x) => x.shape(),
            Self::Reals(x) => x.shape(),
        }
    }

    /// As f64.
    pub fn into_reals(self) -> ArrayD<f64> {
        match self {
            Self::Bytes(x) => x.mapv(f64::from),
            Self::Singles(x) => x.mapv(f64::from),
            Self::Reals(x) => x,
        }
    }
}

/// The array of a `.npy` file.
///
/// # Errors
/// A missing file, one that is no `.npy`, is cut short or holds no real numbers.
pub fn read_npy(path: &Path) -> Result<Numbers> {
    let file = open(path)?;
    let size = file.metadata().map_or(0, |about| about.len());
    array(BufReader::new(file), size)
        .with_context(|| format!("`{}` is not a whole .npy file", path.display()))
}

/// The arrays of a `.npz` file, stored or compressed.
///
/// # Errors
/// A missing file, one that is no `.npz`, is cut short or holds something other than real numbers.
pub fn read_npz(path: &Path) -> Result<BTreeMap<String, Numbers>> {
    let broken = || format!("`{}` is not a whole .npz file", path.display());
    let mut archive = ZipArchive::new(BufReader::new(open(path)?)).with_context(broken)?;
    let mut arrays = BTreeMap::new();
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).with_context(broken)?;
        let file_name = entry.name().with_context(broken)?.into_owned();
        let Some(name) = npz::array_name_from_file_name(&file_name) else {
            continue;
        };
        let (size, method) = (entry.size(), entry.compression());
        let read = if method == CompressionMethod::STORE {
            array(entry, size)
        } else if method == CompressionMethod::DEFLATE {
            // No deflated stream grows by more than 1032: a size beyond that is no size to make room for.
            let possible = entry.compressed_size().saturating_mul(1032);
            array(DeflateDecoder::new(entry), size.min(possible))
        } else {
            Err(anyhow!(
                "it is compressed by {method}, not deflated or stored"
            ))
        };
        let read = read.with_context(|| format!("array `{name}` of `{}`", path.display()))?;
        arrays.insert(name.to_owned(), read);
    }
    Ok(arrays)
}

fn open(path: &Path) -> Result<File> {
    File::open(path).with_context(|| format!("cannot read `{}`", path.display()))
}

/// The array that `reader` holds in at most `size` bytes.
fn array(reader: impl Read, size: u64) -> Result<Numbers> {
    let file = NpyFile::new(reader)?;
    let DType::Plain(kind) = file.dtype() else {
        bail!("its elements are records, not numbers");
    };
    let width = kind.num_bytes().unwrap_or(0) as u64;
    let bytes = file.len().checked_mul(width);
    if bytes.is_none_or(|bytes| bytes > size) {
        bail!(
            "its shape {:?} needs more than its {size} bytes",
            file.shape()
        );
    }
    match (kind.type_char(), width) {
        (TypeChar::Uint, 1) => Ok(Numbers::Bytes(shaped(file, |x: u8| x)?)),
        (TypeChar::Float, 8) => reals(file, |x: f64| x),
        (TypeChar::Float, 4) => Ok(Numbers::Singles(shaped(file, |x: f32| x)?)),
        (TypeChar::Float, 2) => Ok(Numbers::Singles(shaped(file, half::f16::to_f32)?)),
        (TypeChar::Int, 8) => reals(file, |x: i64| x as f64),
        (TypeChar::Int, 4) => reals(file, |x: i32| f64::from(x)),
        (TypeChar::Int, 2) => reals(file, |x: i16| f64::from(x)),
        (TypeChar::Uint, 4) => reals(file, |x: u32| f64::from(x)),
        _ => bail!("its elements are {kind}, not real numbers"),
    }
}

fn reals<T: npyz::Deserialize, R: Read>(file: NpyFile<R>, widen: fn(T) -> f64) -> Result<Numbers> {
    Ok(Numbers::Reals(shaped(file, widen)?))
}

/// Elements in the order of their indices, whatever their order in the file.
fn shaped<T: npyz::Deserialize, U: Clone, R: Read>(
    file: NpyFile<R>,
    convert: fn(T) -> U,
) -> Result<ArrayD<U>> {
    let shape = file
        .shape()
        .iter()
        .map(|n| usize::try_from(*n))
        .collect::<Result<Vec<_>, _>>()?;
    let fortran = file.order() == Order::Fortran;
    let elements = file
        .data::<T>()
        .map_err(|reason| anyhow!("{reason}"))?
        .map(|x| x.map(convert))
        .collect::<Result<Vec<U>, _>>()?;
    let array = ArrayD::from_shape_vec(IxDyn(&shape).set_f(fortran), elements)?;
    Ok(if fortran {
        array.as_standard_layout().into_owned()
    } else {
        array
    })
}

/// An array that is to be written.
pub enum Array<'a> {
    /// `uint8`.
    Bytes(&'a ArrayD<u8>),
    /// `int64`.
    Integers(&'a ArrayD<i64>),
    /// `float64`.
    Reals(&'a ArrayD<f64>),
}

/// Writes arrays by name as `.npz`, uncompressed, whole or not at all.
///
/// # Errors
/// If the folder is missing or cannot be written to.
pub fn write_npz(path: &Path, arrays: &[(&str, Array<'_>)]) -> Result<()> {
    // In memory first: an archive that is dropped where its file cannot be written says so on standard error by itself.
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::STORE)
        .large_file(true);
    for (name, array) in arrays {
        archive.start_file(npz::file_name_from_array_name(name), options)?;
        match array {
            Array::Bytes(array) => add(&mut archive, array)?,
            Array::Integers(array) => add(&mut archive, array)?,
            Array::Reals(array) => add(&mut archive, array)?,
        }
    }
    let bytes = archive.finish()?.into_inner();
    files::write_atomically(path, |out| Ok(out.write_all(&bytes)?))
}

fn add<T: npyz::AutoSerialize + Copy>(out: &mut impl Write, array: &ArrayD<T>) -> Result<()> {
    let shape: Vec<u64> = array.shape().iter().map(|n| *n as u64).collect();
    let mut writer = npyz::WriteOptions::new()
        .default_dtype()
        .shape(&shape)
        .writer(out)
        .begin_nd()?;
    writer.extend(array.iter().copied())?;
    writer.finish()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;

    #[test]
    fn what_is_written_is_read_back_and_half_a_file_is_refused() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("a.npz");
        let (mu, sigma) = (
            array![1.5, -2.0].into_dyn(),
            array![[1.0, 0.1], [0.1, 3.0]].into_dyn(),
        );
        let (bytes, integers) = (
            array![[[7_u8, 255]]].into_dyn(),
            array![-1_i64, 3].into_dyn(),
        );
        let arrays = [
            ("mu", Array::Reals(&mu)),
            ("sigma", Array::Reals(&sigma)),
            ("arr_0", Array::Bytes(&bytes)),
            ("arr_1", Array::Integers(&integers)),
        ];
        write_npz(&path, &arrays)?;
        let read = read_npz(&path)?;
        assert_eq!(read["arr_0"], Numbers::Bytes(bytes));
        assert_eq!(read["arr_1"], Numbers::Reals(integers.mapv(|x| x as f64)));
        assert_eq!(read["mu"], Numbers::Reals(mu));
        assert_eq!(read["sigma"], Numbers::Reals(sigma));
        let whole = std::fs::read(&path)?;
        for length in [0, 10, whole.len() / 2, whole.len() - 1] {
            std::fs::write(&path, &whole[..length])?;
            let message = format!("{:#}", read_npz(&path).expect_err("cut short"));
            assert!(
                message.contains("a.npz` is not a whole .npz file"),
                "{message}"
            );
        }
        Ok(())
    }

    /// A header that promises more than the file holds must not allocate for it.
    #[test]
    fn a_header_that_promises_too_much_is_refused() -> Result<()> {
        let header = "{'descr': '<f8', 'fortran_order': False, 'shape': (9000000000000000, 9), }";
        let padded = format!("{header:<117}\n");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend(u16::try_from(padded.len())?.to_le_bytes());
        bytes.extend(padded.as_bytes());
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("a.npy");
        std::fs::write(&path, bytes)?;
        let message = format!("{:#}", read_npy(&path).expect_err("no elements"));
        assert!(message.contains("bytes"), "{message}");
        Ok(())
    }
}
