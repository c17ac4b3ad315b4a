//! NumPy files, written: arrays by name in `.npz`.

use std::io::{Cursor, Write};
use std::path::Path;

use anyhow::Result;
use ndarray::ArrayD;
use npyz::{DType, TypeStr, WriterBuilder, npz};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::files;

/// An array that is to be written.
pub enum Array<'a> {
    /// `uint8`.
    Bytes(&'a ArrayD<u8>),
    /// `int64`.
    Integers(&'a ArrayD<i64>),
    /// `float64`.
    Reals(&'a ArrayD<f64>),
    /// One axis of `str`.
    Texts(&'a [String]),
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
            Array::Texts(texts) => add_texts(&mut archive, texts)?,
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

/// An array of NumPy's type `<U…`, as wide as its longest text.
fn add_texts(out: &mut impl Write, texts: &[String]) -> Result<()> {
    let width = texts.iter().map(|text| text.chars().count()).max();
    let kind: TypeStr = format!("<U{}", width.unwrap_or(0).max(1)).parse()?;
    let mut writer = npyz::WriteOptions::new()
        .dtype(DType::Plain(kind))
        .shape(&[texts.len() as u64])
        .writer(out)
        .begin_nd()?;
    writer.extend(texts.iter().map(String::as_str))?;
    writer.finish()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::array;
    use sadm_gpu::data::npz::{Numbers, read_npy, read_npz};

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
        assert_eq!(read["arr_1"], Numbers::Whole(integers.mapv(|x| x as f64)));
        assert_eq!(read["mu"], Numbers::Reals(mu));
        assert_eq!(read["sigma"], Numbers::Reals(sigma));
        let whole = std::fs::read(&path)?;
        for length in [0, 10, whole.len() / 2, whole.len() - 1] {
            std::fs::write(&path, &whole[..length])?;
            let message = format!("{:#}", read_npz(&path).expect_err("cut short"));
            assert!(
                message.contains("a.npz: is not a whole .npz file"),
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
